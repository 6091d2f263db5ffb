//! Panels: how the host holds a weight. 16 rows lie interleaved, so that one vector has the same 4 elements of each, and no sum is ever taken
//! across lanes. The bytes are those of the file in another order.

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

/// The most spans of a block.
pub const MOST_SPANS: usize = 16;

/// The inner loops of a format of codes. An element is `scale * (code - ZERO) - minimum`.
pub trait Panel: 'static {
    /// Elements of a row in a block of the panel: those of one or several blocks of the file.
    const ELEMENTS: usize;
    /// Bytes of a block of the panel, a multiple of 64.
    const BYTES: usize;
    /// Where the file's bytes lie in it.
    const PLANES: &'static [Plane];
    /// Elements that share a scale: 16 or 32.
    const SPAN: usize;
    /// How large codes are.
    const CODES: Codes;
    /// The code that stands for 0.
    const ZERO: i32;
    /// Whether there are minima.
    const HAS_MINIMA: bool = false;

    /// Puts the scales of every span, and the minima where there are some.
    fn scales<L: Lanes>(
        lanes: L,
        block: &[u8],
        scales: &mut [[f32; LANES]; MOST_SPANS],
        minima: &mut [[f32; LANES]; MOST_SPANS],
    );
    /// Codes `4 * quad..` of a span.
    fn codes<L: Lanes>(lanes: L, block: &[u8], span: usize, quad: usize) -> L::Bytes;
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

impl PanelFormat {
    /// That of a format of codes.
    pub const fn of_codes<P: Panel>() -> PanelFormat {
        PanelFormat {
            elements: P::ELEMENTS,
            bytes: P::BYTES,
            planes: P::PLANES,
            integer: Some(|isa, product| isa.run(Integer::<P>::of(product))),
            float: |isa, product| isa.run(Decoded::<P>::of(product)),
        }
    }

    /// That of a format of floats.
    pub const fn of_floats<P: FloatPanel>() -> PanelFormat {
        PanelFormat {
            elements: 1,
            bytes: LANES * P::BYTES,
            planes: &const { [Plane::new(0, P::BYTES, P::BYTES, 0)] },
            integer: None,
            float: |isa, product| isa.run(Floats::<P>::of(product)),
        }
    }

    /// Bytes of a panel of 16 rows with this many columns.
    pub fn panel_bytes(&self, columns: usize) -> usize {
        columns.div_ceil(self.elements) * self.bytes
    }

    /// Puts the file's bytes of up to 16 rows into a panel. What pads rows, and lanes without a row, stay as they are.
    pub fn pack(&self, rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
        let file_bytes = self.file_bytes();
        for (index, block) in panel.chunks_exact_mut(self.bytes).enumerate() {
            let first = index * file_bytes;
            // A row may end within a block of the panel.
            for plane in self.planes.iter().filter(|plane| first + plane.file + plane.bytes <= row_bytes) {
                let (rows, block) = (&rows[first + plane.file..], &mut block[plane.panel..]);
                match plane.group {
                    4 => pack_groups::<4>(rows, row_bytes, plane, block),
                    2 => pack_groups::<2>(rows, row_bytes, plane, block),
                    group => unreachable!("no plane has groups of {group} bytes"),
                }
            }
        }
    }

    /// Gives the file's bytes of one row back.
    pub fn unpack_row(&self, panel: &[u8], lane: usize, file: &mut [u8]) {
        let file_bytes = self.file_bytes();
        for (file, block) in file.chunks_mut(file_bytes).zip(panel.chunks_exact(self.bytes)) {
            let end = file.len();
            for plane in self.planes.iter().filter(|plane| plane.file + plane.bytes <= end) {
                let groups = file[plane.file..plane.file + plane.bytes].chunks_exact_mut(plane.group);
                let lanes = block[plane.panel..].chunks(LANES * plane.group);
                for (group, lanes) in groups.zip(lanes) {
                    let place = &lanes[lane * plane.group..][..plane.group];
                    group.iter_mut().zip(place).for_each(|(to, from)| *to = from ^ plane.flipped);
                }
            }
        }
    }

    /// Bytes of a row in a file that make a block of the panel.
    fn file_bytes(&self) -> usize {
        self.planes.iter().map(|plane| plane.bytes).sum()
    }
}

/// Puts a plane of some rows into its place, group by group; rows begin with the plane's bytes.
#[inline(always)]
fn pack_groups<const GROUP: usize>(rows: &[u8], row_bytes: usize, plane: &Plane, place: &mut [u8]) {
    let flipped = [plane.flipped; GROUP];
    let (lines, _) = place.as_chunks_mut::<GROUP>();
    for (lane, row) in rows.chunks(row_bytes).enumerate() {
        // The last row's bytes after the plane are not there.
        let (groups, _) = row[..plane.bytes].as_chunks::<GROUP>();
        for (index, group) in groups.iter().enumerate() {
            let mut bytes = *group;
            for byte in 0..GROUP {
                bytes[byte] ^= flipped[byte];
            }
            lines[index * LANES + lane] = bytes;
        }
    }
}

/// The 64 bytes at a multiple of 64.
#[inline(always)]
pub fn line(block: &[u8], index: usize) -> &[u8; 64] {
    block[64 * index..64 * index + 64].try_into().expect("64 bytes")
}

/// The 16 half-precision numbers at a byte.
#[inline(always)]
pub fn halves_at<L: Lanes>(lanes: L, block: &[u8], at: usize) -> L::Floats {
    lanes.halves(block[at..at + 2 * LANES].try_into().expect("32 bytes"))
}
