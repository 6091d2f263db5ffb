//! TQ1_0: super-blocks of 256 elements, each 52 bytes of ternary digits and a half-precision scale (ggml's `block_tq1_0`).
//!
//! A byte is a fraction of 5 digits (the last 4 bytes: of 4), 256 times it and rounded up; a digit stands for itself minus 1.

use super::{Format, FormatInfo, SUPER_BLOCK, Scale, half_at, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 52 + 2;

/// Stretches of bytes that have this many digits each: all first digits, then all second ones, and so on.
const STRETCHES: [(std::ops::Range<usize>, usize); 3] = [(0..32, 5), (32..48, 5), (48..52, 4)];

/// Bytes of 5 digits; bytes of 4; scales.
const PLANES: [usize; 3] = [48, 4, 2];

/// Ternary elements, 5 to a byte, and a half-precision scale per 256.
pub const TQ1_0: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "tq1_0",
    gguf_id: Some(34),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(52)],
    exact_in_f16: true,
    byte_codes: None,
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: None,
    wgsl: concat!(include_str!("decode.wgsl"), include_str!("../quads_apart.wgsl"), include_str!("../plane.wgsl")),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let scale = half_at(&block[52..]);
        let mut out = out.iter_mut();
        for (bytes, digits) in STRETCHES {
            for digit in 0..digits as u32 {
                for (byte, element) in block[bytes.clone()].iter().zip(&mut out) {
                    // What is left of the fraction after the digits before, times 3: its whole part is the digit.
                    let code = (u16::from(byte.wrapping_mul(3u8.pow(digit))) * 3) >> 8;
                    *element = scale * f32::from(code as i8 - 1);
                }
            }
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [fives, fours, scale]| {
        fives.copy_from_slice(&block[..48]);
        fours.copy_from_slice(&block[48..52]);
        scale.copy_from_slice(&block[52..]);
    });
}

fn encode(elements: &[f32], _: Option<&[f32]>, blocks: &mut [u8]) {
    for (values, block) in elements.chunks_exact(SUPER_BLOCK).zip(blocks.chunks_exact_mut(BLOCK_BYTES)) {
        let scale = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let codes: Vec<u16> = values.iter().map(|value| ((value * inverse).round() + 1.0) as u16).collect();
        let mut first = 0;
        for (bytes, digits) in STRETCHES {
            let stride = bytes.len();
            for (index, byte) in block[bytes].iter_mut().enumerate() {
                let digit = |digit: usize| codes[first + digit * stride + index] * 3u16.pow(4 - digit as u32);
                let number: u16 = (0..digits).map(digit).sum();
                *byte = (number * 256).div_ceil(243) as u8;
            }
            first += digits * stride;
        }
        block[52..].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
    }
}
