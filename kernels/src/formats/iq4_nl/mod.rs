//! IQ4_NL: blocks of 32 elements, each a half-precision scale and 16 bytes of nibbles (ggml's `block_iq4_nl`).
//!
//! The low nibbles are elements 0 to 15, the high ones 16 to 31; a nibble stands for its one of [`VALUES`].

use super::packing::NIBBLES;
use super::{Format, Layout, UNIT, half_at, repack_scaled, scaled_row_bytes};

const CODE_BYTES: usize = 16;

/// What nibbles stand for; values.wgsl has the same numbers.
pub(super) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// A half-precision scale and 16 bytes of nibbles per 32 elements, with steps that are finer near 0.
pub const IQ4_NL: Format = Format(&LAYOUT);

static LAYOUT: Layout = Layout {
    name: "iq4_nl",
    gguf_id: 20,
    block_elements: UNIT,
    block_bytes: 2 + CODE_BYTES,
    halves: &[0],
    f16_units: true,
    device_row_bytes: |elements| scaled_row_bytes(elements, CODE_BYTES),
    decode,
    repack: |row, device_row| repack_scaled(row, device_row, CODE_BYTES),
    encode: None,
    wgsl: concat!(include_str!("decode.wgsl"), include_str!("values.wgsl"), include_str!("../plane.wgsl")),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(2 + CODE_BYTES).zip(elements.chunks_exact_mut(UNIT)) {
        let scale = half_at(block);
        let codes: [u8; UNIT] = NIBBLES.unpack(&block[2..]);
        for (code, element) in codes.iter().zip(out) {
            *element = scale * f32::from(VALUES[usize::from(*code)]);
        }
    }
}
