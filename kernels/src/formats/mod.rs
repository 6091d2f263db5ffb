//! Weight formats: how a row of numbers lies in a file and on a device. One folder and one line of [`ALL`] each.
//!
//! On a device a row is planes of codes, then of scales, each padded to 16 bytes, so that a shader reads
//! `vec4<u32>` at 16-byte steps and finds a row from its index alone; a format's table, if it has one, lies before the
//! first row. Shaders consume quarters of *blocks of 32* ([`BLOCK32`] elements), as two quads of 4 elements: `decode.wgsl` of each
//! format gives `$decode(row, blocks32, block32, quarter) -> Quarter`, and says by `$quads(quarter)` which two quads these are.

/// The WGSL of a format: its own files, and what formats of its kind share.
macro_rules! wgsl {
    // Codes in the two halves of a block of 32.
    (codes: $($file:expr),+) => { wgsl!(of: [$($file),+], "../quads_apart.wgsl", "../codes.wgsl", "../plane.wgsl") };
    // Values in the two halves of a block of 32.
    (values: $($file:expr),+) => { wgsl!(of: [$($file),+], "../quads_apart.wgsl", "../values.wgsl", "../plane.wgsl") };
    // Values by entries of a grid.
    (grid: $($file:expr),+) => {
        wgsl!(of: [$($file),+], "../quads_together.wgsl", "../values.wgsl", "../grid.wgsl", "../plane.wgsl")
    };
    (of: [$($file:expr),+], $($shared:literal),+) => { concat!($(include_str!($file),)+ $(include_str!($shared)),+) };
}

mod bf16;
pub mod codebook;
mod f16;
mod f32;
mod f64;
mod float_panels;
pub mod fp8;
mod grid;
pub mod grouped;
pub mod int;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod nvfp4;
mod packing;
pub mod panel;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod rounding;
mod scale;
mod search;
mod tq1_0;
mod tq2_0;

use self::panel::PanelFormat;
use std::fmt;
use std::mem::take;
use std::ops::Deref;

pub use self::bf16::BF16;
pub use self::f16::F16;
pub use self::f32::F32;
pub use self::f64::F64;
pub use self::iq1_m::IQ1_M;
pub use self::iq1_s::IQ1_S;
pub use self::iq2_s::IQ2_S;
pub use self::iq2_xs::IQ2_XS;
pub use self::iq2_xxs::IQ2_XXS;
pub use self::iq3_s::IQ3_S;
pub use self::iq3_xxs::IQ3_XXS;
pub use self::iq4_nl::IQ4_NL;
pub use self::iq4_xs::IQ4_XS;
pub use self::mxfp4::MXFP4;
pub use self::nvfp4::NVFP4;
pub use self::q2_k::Q2_K;
pub use self::q3_k::Q3_K;
pub use self::q4_0::Q4_0;
pub use self::q4_1::Q4_1;
pub use self::q4_k::Q4_K;
pub use self::q5_0::Q5_0;
pub use self::q5_1::Q5_1;
pub use self::q5_k::Q5_K;
pub use self::q6_k::Q6_K;
pub use self::q8_0::Q8_0;
pub use self::scale::Scale;
pub use self::tq1_0::TQ1_0;
pub use self::tq2_0::TQ2_0;

/// The format of microscaled floats, which directories of gpt-oss hold too.
pub const MICROSCALED: Format = MXFP4;

/// Elements that a shader decodes at once. Device rows are padded with zeros to whole blocks of 32.
pub const BLOCK32: usize = 32;

/// The formats of GGUF files, in the order of their ids.
pub const GGUF: [Format; 27] = [
    F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ2_XXS, IQ2_XS, IQ3_XXS, IQ1_S, IQ4_NL,
    IQ3_S, IQ2_S, IQ4_XS, F64, IQ1_M, BF16, TQ1_0, TQ2_0, MXFP4, NVFP4,
];

/// Every format that this build runs: those of GGUF files, then those of quantised Hugging Face directories.
pub static ALL: [Format; COUNT] = {
    let mut all = [F32; COUNT];
    let mut count = put(&mut all, 0, &GGUF);
    count = put(&mut all, count, &int::ALL);
    count = put(&mut all, count, &fp8::ALL);
    put(&mut all, count, &codebook::ALL);
    all
};

const COUNT: usize = GGUF.len() + int::ALL.len() + fp8::ALL.len() + codebook::ALL.len();

/// Copies formats to a place of a table; gives the place after them.
const fn put(all: &mut [Format; COUNT], at: usize, formats: &[Format]) -> usize {
    let mut index = 0;
    while index < formats.len() {
        all[at + index] = formats[index];
        index += 1;
    }
    at + formats.len()
}

/// Elements of a super-block, which has scales of its own for groups of 16 or 32.
const SUPER_BLOCK: usize = 256;

/// Rearranges one row of file bytes into a device row.
pub type Repack = fn(row: &[u8], device_row: &mut [u8]);

/// Quantises elements into whole blocks of file bytes. `importance` says what the squared error of each element counts,
/// where it is known; else all count the same.
pub type Encode = fn(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]);

/// The facts of one weight format.
pub struct FormatInfo {
    /// Lower-case name, as GGUF tools spell it: `q8_0`.
    pub name: &'static str,
    /// The type's number in a GGUF tensor table (`ggml_type`), of a format that GGUF files have.
    pub gguf_id: Option<u32>,
    /// Elements of a block; a row must be a whole number of blocks.
    pub block_elements: usize,
    /// Bytes of a block in a file.
    pub block_bytes: usize,
    /// The numbers of a block that its elements are scaled or shifted by, or its only element: what must be finite.
    pub scales: &'static [Scale],
    /// Whether elements before their scale are exact in f16 (and nothing is added after it), so that a tile may hold them as such.
    pub exact_in_f16: bool,
    /// Where its codes are signed bytes, or bytes below 128, as integer dot products take them: how many elements of a block of 32 have one scale,
    /// 16 or 32. Its WGSL leaves to `Codes` what they are held in.
    pub byte_codes: Option<u32>,
    /// What lies before the first row of a shard, a multiple of 16 bytes: naga copies a constant array at each access.
    pub table: &'static [u8],
    /// Bytes of a row of this many elements on a device, a multiple of 16.
    pub device_row_bytes: fn(elements: usize) -> usize,
    /// Decodes whole blocks of file bytes into as many elements.
    pub decode: fn(blocks: &[u8], elements: &mut [f32]),
    /// Rearranges one row of file bytes into a device row; `None` where its bytes stay as they are. What pads a row is not written.
    pub repack: Option<Repack>,
    /// How elements become blocks, in a format that we write.
    pub encode: Option<Encode>,
    /// How the host holds it; rows as in a file, which are decoded as they are needed, where `None`.
    pub panel: Option<&'static PanelFormat>,
    /// `fn $decode(row: u32, blocks32: u32, block32: u32, quarter: u32) -> Quarter` over the binding `$words`, and
    /// `fn $quads(quarter: u32) -> vec2<u32>`.
    pub wgsl: &'static str,
}

/// A weight format: a handle to its [`FormatInfo`], compared by name.
#[derive(Clone, Copy)]
pub struct Format(&'static FormatInfo);

impl Format {
    /// The format with this number in GGUF files, if this build runs it.
    pub fn from_gguf_id(id: u32) -> Option<Format> {
        ALL.into_iter().find(|format| format.gguf_id == Some(id))
    }

    /// The format of this name in any case, if this build runs it.
    pub fn from_name(name: &str) -> Option<Format> {
        ALL.into_iter().find(|format| format.name.eq_ignore_ascii_case(name))
    }

    /// Whether its elements are floating-point numbers by themselves, rather than codes of a block.
    pub fn is_float(self) -> bool {
        self.block_elements == 1
    }

    /// Bytes of a row of `elements` in a file; `None` where blocks do not divide it or the size overflows.
    pub fn file_row_bytes(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_elements) {
            return None;
        }
        (elements / self.block_elements).checked_mul(self.block_bytes)
    }

    /// The index of the first block of file bytes whose elements are not all finite, if there is one.
    pub fn not_finite(self, blocks: &[u8]) -> Option<usize> {
        let finite = |blocks: &[u8]| self.scales.iter().all(|scale| scale.is_finite(blocks, self.block_bytes));
        if finite(blocks) {
            return None;
        }
        blocks.chunks_exact(self.block_bytes).position(|block| !finite(block))
    }

    /// Whether a half-precision scale of some blocks is the largest there is, which stands for one that is larger.
    pub fn is_saturated(self, blocks: &[u8]) -> bool {
        self.scales.iter().any(|scale| scale.is_saturated(blocks, self.block_bytes))
    }

    /// Decodes one row of file bytes.
    pub fn decode_row(self, row: &[u8], elements: &mut [f32]) {
        (self.decode)(row, elements);
    }

    /// Rearranges one row of file bytes into a device row, of which what pads it is not written: zero it once, for all rows.
    pub fn repack_row(self, row: &[u8], device_row: &mut [u8]) {
        match self.repack {
            Some(repack) => repack(row, device_row),
            None => device_row[..row.len()].copy_from_slice(row),
        }
    }

    /// Quantises a row or several into file bytes.
    ///
    /// Panics for a format that is only read.
    pub fn encode_rows(self, elements: &[f32]) -> Vec<u8> {
        let mut blocks = vec![0; elements.len() / self.block_elements * self.block_bytes];
        self.encode_row(elements, None, &mut blocks);
        blocks
    }

    /// Quantises one row into its file bytes, the squared error of each element counted by its importance.
    ///
    /// Panics for a format that is only read.
    pub fn encode_row(self, row: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
        let encode = self.encode.unwrap_or_else(|| panic!("{self} is only read"));
        encode(row, importance, blocks);
    }
}

impl Deref for Format {
    type Target = FormatInfo;

    fn deref(&self) -> &FormatInfo {
        self.0
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Format) -> bool {
        self.name == other.name
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

/// Bytes of a device row whose elements have `element_bytes` each.
fn float_row_bytes(elements: usize, element_bytes: usize) -> usize {
    elements.next_multiple_of(BLOCK32) * element_bytes
}

/// Bytes of a device row of several planes, each of this many bytes per block and padded to 16.
fn planes_row_bytes(blocks: usize, planes: &[usize]) -> usize {
    planes.iter().map(|bytes| (blocks * bytes).next_multiple_of(16)).sum()
}

/// Hands each block of a row to `repack`, with its places in the planes of a device row.
fn repack_planes<const PLANES: usize>(
    row: &[u8],
    block_bytes: usize,
    device_row: &mut [u8],
    planes: [usize; PLANES],
    repack: impl Fn(&[u8], [&mut [u8]; PLANES]),
) {
    let blocks = row.chunks_exact(block_bytes);
    let mut after = device_row;
    let mut planes = planes.map(|bytes| {
        let (plane, rest) = take(&mut after).split_at_mut((blocks.len() * bytes).next_multiple_of(16));
        after = rest;
        plane[..blocks.len() * bytes].chunks_exact_mut(bytes)
    });
    for block in blocks {
        repack(block, planes.each_mut().map(|plane| plane.next().expect("a plane has a place for every block")));
    }
}

/// The four bytes of a little-endian word.
fn word_at(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The half-precision number in two little-endian bytes.
fn half_at(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// The half-precision number nearest to one that may be beyond all of them.
fn nearest_half(number: f32) -> half::f16 {
    let most = half::f16::MAX.to_f32();
    half::f16::from_f32(number.clamp(-most, most))
}

/// Stores the nearest half-precision number in two little-endian bytes.
fn put_half(bytes: &mut [u8], number: f32) {
    bytes[..2].copy_from_slice(&nearest_half(number).to_le_bytes());
}
