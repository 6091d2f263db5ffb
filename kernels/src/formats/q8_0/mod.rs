//! Q8_0: blocks of 32 elements, each a half-precision scale and 32 signed bytes (ggml's `block_q8_0`).

use super::{Format, Layout, UNIT, half_at, repack_scaled, scaled_row_bytes};

const CODE_BYTES: usize = 32;

/// A half-precision scale and 32 signed bytes per 32 elements.
pub const Q8_0: Format = Format(&LAYOUT);

static LAYOUT: Layout = Layout {
    name: "q8_0",
    gguf_id: 8,
    block_elements: UNIT,
    block_bytes: 2 + CODE_BYTES,
    halves: &[0],
    f16_units: true,
    device_row_bytes: |elements| scaled_row_bytes(elements, CODE_BYTES),
    decode,
    repack: |row, device_row| repack_scaled(row, device_row, CODE_BYTES),
    encode: Some(encode),
    wgsl: include_str!("decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(2 + CODE_BYTES).zip(elements.chunks_exact_mut(UNIT)) {
        let scale = half_at(block);
        for (code, element) in block[2..].iter().zip(out) {
            *element = scale * f32::from(*code as i8);
        }
    }
}

fn encode(elements: &[f32], blocks: &mut [u8]) {
    for (values, block) in elements.chunks_exact(UNIT).zip(blocks.chunks_exact_mut(2 + CODE_BYTES)) {
        let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        block[..2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
        for (value, code) in values.iter().zip(&mut block[2..]) {
            *code = (value * inverse).round() as i8 as u8;
        }
    }
}
