//! Panels: how the host holds a weight. 16 rows lie interleaved, so that one vector has the same 4 elements of each, and no sum is ever taken
//! across lanes. The bytes are those of the file in another order.

use std::marker::PhantomData;

use crate::host::product::{Decoded, FloatPanel, FloatProduct, Floats, Integer, IntegerProduct};
use crate::simd::{Isa, LANES, Lanes};

/// Some bytes of a file's blocks, and where a panel has them.
#[derive(Debug, Clone, Copy)]
pub struct Plane {
    /// The first byte in a row's blocks.
    pub file: usize,
    /// Bytes of a row.
    pub bytes: usize,
    /// Bytes of a row that stay together: those of the first row, then those of the second, and so on.
    pub group: usize,
    /// The first byte in the panel's block.
    pub panel: usize,
    /// Bits that are flipped in each byte.
    pub flipped: u8,
}

impl Plane {
    /// A plane whose bytes stay as they are.
    pub const fn new(file: usize, bytes: usize, group: usize, panel: usize) -> Plane {
        Plane { file, bytes, group, panel, flipped: 0 }
    }
}

/// How large the codes of a format are, which decides how they are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codes {
    /// Up to 15.
    Bits4,
    /// Up to 31.
    Bits5,
    /// Up to 63.
    Bits6,
    /// Any byte, which stands for itself less 128.
    Offset,
}

impl Codes {
    /// Dot products that may be added before [`Lanes::finish`].
    pub const fn chain(self) -> usize {
        match self {
            Codes::Bits4 => 8,
            Codes::Bits5 => 4,
            Codes::Bits6 => 2,
            Codes::Offset => 1,
        }
    }
}

/// The most ways to read a byte.
pub const MOST_WAYS: usize = 4;

/// The most spans of a block.
pub const MOST_SPANS: usize = 16;

/// The inner loops of a format of codes. An element is `scale * (code - ZERO) - minimum`.
///
/// A quad is 4 elements of a row. Codes that share bytes, such as low and high nibbles, are several ways to read them: a block is groups of
/// `WAYS * RUN` quads, and each way gives a run of them.
pub trait Panel: 'static {
    /// Elements of a row in a block of the panel: those of one or several blocks of the file.
    const ELEMENTS: usize;
    /// Bytes of a block of the panel, a multiple of 64.
    const BYTES: usize;
    /// Where the file's bytes lie in it.
    const PLANES: &'static [Plane];
    /// Elements that share a scale: 16 or 32.
    const SPAN: usize;
    /// Ways to read a byte, at most [`MOST_WAYS`].
    const WAYS: usize;
    /// Quads of a run, which lie in one span.
    const RUN: usize;
    /// How large codes are.
    const CODES: Codes;
    /// The code that stands for 0.
    const ZERO: i32;
    /// Whether there are minima.
    const HAS_MINIMA: bool = false;

    /// Puts the scales of every span, and the minima where there are some.
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], minima: &mut [[f32; LANES]]);
    /// The first quad of a run, counted from the begin of the block.
    #[inline(always)]
    fn run(group: usize, way: usize) -> usize {
        Self::RUN * (Self::WAYS * group + way)
    }
    /// The codes of a quad of a run.
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes;
}

/// What the host does with a format that lies in panels.
#[derive(Debug)]
pub struct PanelFormat {
    /// Elements of a row in a block of the panel.
    pub elements: usize,
    /// Bytes of a block of the panel.
    pub bytes: usize,
    /// Where the file's bytes lie in it.
    pub planes: &'static [Plane],
    /// Multiplies a panel with activations in 8 bits; `None` of floats.
    pub integer: Option<fn(Isa, IntegerProduct)>,
    /// Multiplies a panel with activations in single precision.
    pub float: fn(Isa, FloatProduct),
}

/// Bytes of a panel that are packed row after row, so that they stay in the first cache.
const PACKED_TOGETHER: usize = 8 << 10;

impl PanelFormat {
    /// That of a format of codes.
    pub const fn of_codes<P: Panel>() -> PanelFormat {
        PanelFormat {
            elements: P::ELEMENTS,
            bytes: P::BYTES,
            planes: P::PLANES,
            integer: Some(|isa, product| isa.run(Integer::<P>(product, PhantomData))),
            float: |isa, product| isa.run(Decoded::<P>(product, PhantomData)),
        }
    }

    /// That of a format of floats.
    pub const fn of_floats<P: FloatPanel>() -> PanelFormat {
        PanelFormat {
            elements: 1,
            bytes: LANES * P::BYTES,
            planes: &const { [Plane::new(0, P::BYTES, P::BYTES, 0)] },
            integer: None,
            float: |isa, product| isa.run(Floats::<P>(product, PhantomData)),
        }
    }

    /// Bytes of a panel of 16 rows with this many columns.
    pub fn panel_bytes(&self, columns: usize) -> usize {
        columns.div_ceil(self.elements) * self.bytes
    }

    /// Puts the file's bytes of up to 16 rows into a panel. What pads rows, and lanes without a row, stay as they are.
    pub fn pack(&self, rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
        let blocks = (PACKED_TOGETHER / self.bytes).max(1);
        let file_bytes = blocks * self.file_bytes();
        for (index, place) in panel.chunks_mut(blocks * self.bytes).enumerate() {
            let columns = (index * file_bytes).min(row_bytes)..((index + 1) * file_bytes).min(row_bytes);
            for (lane, row) in rows.chunks(row_bytes).enumerate() {
                self.pack_row(&row[columns.clone()], lane, place);
            }
        }
    }

    /// Puts some blocks of a row into a panel.
    fn pack_row(&self, file: &[u8], lane: usize, place: &mut [u8]) {
        if let Some(plane) = self.whole_rows(file.len()) {
            return plane.pack(file, lane, place);
        }
        for (file, block) in file.chunks(self.file_bytes()).zip(place.chunks_exact_mut(self.bytes)) {
            // A row may end within a block of the panel.
            for plane in self.planes.iter().filter(|plane| plane.file + plane.bytes <= file.len()) {
                plane.pack(&file[plane.file..plane.file + plane.bytes], lane, &mut block[plane.panel..]);
            }
        }
    }

    /// Gives the file's bytes of one row back.
    pub fn unpack_row(&self, panel: &[u8], lane: usize, file: &mut [u8]) {
        if let Some(plane) = self.whole_rows(file.len()) {
            return plane.unpack(panel, lane, file);
        }
        let file_bytes = self.file_bytes();
        for (file, block) in file.chunks_mut(file_bytes).zip(panel.chunks_exact(self.bytes)) {
            let end = file.len();
            for plane in self.planes.iter().filter(|plane| plane.file + plane.bytes <= end) {
                plane.unpack(&block[plane.panel..], lane, &mut file[plane.file..plane.file + plane.bytes]);
            }
        }
    }

    /// The one plane of floats, in which rows lie as a whole.
    fn whole_rows(&self, row_bytes: usize) -> Option<Plane> {
        (self.elements == 1).then(|| Plane { bytes: row_bytes, ..self.planes[0] })
    }

    /// Bytes of a row in a file that make a block of the panel.
    fn file_bytes(&self) -> usize {
        self.planes.iter().map(|plane| plane.bytes).sum()
    }
}

impl Plane {
    /// Puts the bytes of one row into its place.
    fn pack(&self, bytes: &[u8], lane: usize, place: &mut [u8]) {
        match (self.group, self.flipped) {
            (4, 0) => pack_groups::<4>(bytes, lane, place, |group| group),
            (4, flipped) => pack_groups::<4>(bytes, lane, place, |group| group.map(|byte| byte ^ flipped)),
            (2, 0) => pack_groups::<2>(bytes, lane, place, |group| group),
            (1, 0) => pack_groups::<1>(bytes, lane, place, |group| group),
            (group, _) => unreachable!("no plane has groups of {group} such bytes"),
        }
    }

    /// Gives the bytes of one row back.
    fn unpack(&self, place: &[u8], lane: usize, bytes: &mut [u8]) {
        for (group, lanes) in bytes.chunks_exact_mut(self.group).zip(place.chunks(LANES * self.group)) {
            let place = &lanes[lane * self.group..][..self.group];
            group.iter_mut().zip(place).for_each(|(to, from)| *to = from ^ self.flipped);
        }
    }
}

/// Puts the groups of a row into its lane.
#[inline(always)]
fn pack_groups<const GROUP: usize>(
    bytes: &[u8],
    lane: usize,
    place: &mut [u8],
    group: impl Fn([u8; GROUP]) -> [u8; GROUP],
) {
    let (lines, _) = place.as_chunks_mut::<GROUP>().0.as_chunks_mut::<LANES>();
    for (line, bytes) in lines.iter_mut().zip(bytes.as_chunks::<GROUP>().0) {
        line[lane % LANES] = group(*bytes);
    }
}

/// The 64 bytes at a multiple of 64.
#[inline(always)]
pub fn line(block: &[u8], index: usize) -> &[u8; 64] {
    block[64 * index..64 * index + 64].try_into().expect("64 bytes")
}

/// Nibbles at a line.
#[inline(always)]
pub fn nibbles<L: Lanes>(lanes: L, block: &[u8], index: usize, way: usize) -> L::Bytes {
    lanes.bits(lanes.bytes(line(block, index)), 4 * way as u32, 15)
}

/// The scales of two blocks, in half precision.
#[inline(always)]
pub fn two_scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]]) {
    for (span, scales) in scales[..2].iter_mut().enumerate() {
        lanes.store(halves_at(lanes, block, 32 * span), scales);
    }
}

/// [`Panel::run`] of formats of 256 elements that pack quarters of 32 of each half over each other: a run is half a quarter.
pub const fn run_of_quarter(group: usize, way: usize) -> usize {
    32 * (group / 2) + 8 * way + 4 * (group % 2)
}

/// A table of what codes stand for, 128 more, as [`Codes::Offset`] wants it.
pub const fn offset_table(values: [i8; 16]) -> [u8; 16] {
    let mut table = [0; 16];
    let mut code = 0;
    while code < 16 {
        table[code] = (values[code] as i32 + 128) as u8;
        code += 1;
    }
    table
}

/// The 16 half-precision numbers at a byte.
#[inline(always)]
pub fn halves_at<L: Lanes>(lanes: L, block: &[u8], at: usize) -> L::Floats {
    lanes.halves(block[at..at + 2 * LANES].try_into().expect("32 bytes"))
}
