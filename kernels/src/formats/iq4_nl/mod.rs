//! IQ4_NL: blocks of 32 elements, each a half-precision scale and 16 bytes of nibbles (ggml's `block_iq4_nl`).
//!
//! The low nibbles are elements 0 to 15, the high ones 16 to 31; a nibble stands for its one of [`VALUES`].

use super::packing::NIBBLES;
use super::{Format, Layout, Scale, UNIT, half_at, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 2 + 16;

/// Nibbles; scales.
const PLANES: [usize; 2] = [16, 2];

/// What nibbles stand for; values.wgsl has the same numbers.
pub(super) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// A half-precision scale and 16 bytes of nibbles per 32 elements, with steps that are finer near 0.
pub const IQ4_NL: Format = Format(&LAYOUT);

static LAYOUT: Layout = Layout {
    name: "iq4_nl",
    gguf_id: Some(20),
    block_elements: UNIT,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    f16_units: true,
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / UNIT, &PLANES),
    decode,
    repack,
    encode: None,
    wgsl: concat!(include_str!("decode.wgsl"), include_str!("values.wgsl"), include_str!("../plane.wgsl")),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(UNIT)) {
        let scale = half_at(block);
        let codes: [u8; UNIT] = NIBBLES.unpack(&block[2..]);
        for (code, element) in codes.iter().zip(out) {
            *element = scale * f32::from(VALUES[usize::from(*code)]);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, scale]| {
        scale.copy_from_slice(&block[..2]);
        nibbles.copy_from_slice(&block[2..]);
    });
}
