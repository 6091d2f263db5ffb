//! TQ2_0: super-blocks of 256 elements, each 64 bytes of pairs of bits and a half-precision scale (ggml's `block_tq2_0`).
//!
//! A code stands for itself minus 1: the elements are ternary.

use super::packing::{PAIRS, Packing};
use super::{Format, FormatInfo, SUPER_BLOCK, Scale, half_at, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 64 + 2;

/// Pairs of bits in a file.
const CODES: Packing = Packing { bits: 2, stride: 32 };

/// Pairs of bits; scales.
const PLANES: [usize; 2] = [64, 2];

/// Ternary elements of 2 bits and a half-precision scale per 256.
pub const TQ2_0: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "tq2_0",
    gguf_id: Some(35),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(64)],
    exact_in_f16: true,
    byte_codes: Some(32),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: None,
    wgsl: wgsl!(codes: "decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let codes: [u8; SUPER_BLOCK] = CODES.unpack(&block[..64]);
        let scale = half_at(&block[64..]);
        for (code, element) in codes.iter().zip(out) {
            *element = scale * f32::from(*code as i8 - 1);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [pairs, scale]| {
        CODES.repack::<SUPER_BLOCK>(&block[..64], PAIRS, pairs);
        scale.copy_from_slice(&block[64..]);
    });
}

fn encode(elements: &[f32], _: Option<&[f32]>, blocks: &mut [u8]) {
    for (values, block) in elements.chunks_exact(SUPER_BLOCK).zip(blocks.chunks_exact_mut(BLOCK_BYTES)) {
        let scale = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let codes: Vec<u8> = values.iter().map(|value| ((value * inverse).round() + 1.0) as u8).collect();
        CODES.pack(&codes, &mut block[..64]);
        block[64..].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
    }
}
