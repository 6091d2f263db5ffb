//! NVFP4: blocks of 64 elements, each a byte of scale (UE4M3) for every 16 elements and 32 bytes of nibbles (E2M1; ggml's
//! `block_nvfp4`).
//!
//! Of every 8 bytes the low nibbles are 8 elements, the high ones the next 8.

use super::mxfp4::DOUBLED;
use super::packing::{NIBBLES, Packing};
use super::{Format, FormatInfo, planes_row_bytes, repack_planes};

const BLOCK_ELEMENTS: usize = 64;
const BLOCK_BYTES: usize = 4 + 32;

/// Nibbles in a file.
const CODES: Packing = Packing { bits: 4, stride: 8 };

/// Nibbles; scales.
const PLANES: [usize; 2] = [32, 4];

/// 4-bit floating-point numbers and a byte of floating-point scale per 16.
pub const NVFP4: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "nvfp4",
    gguf_id: Some(40),
    block_elements: BLOCK_ELEMENTS,
    block_bytes: BLOCK_BYTES,
    scales: &[],
    exact_in_f16: true,
    byte_codes: Some(16),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / BLOCK_ELEMENTS, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: None,
    wgsl: concat!(
        include_str!("decode.wgsl"),
        include_str!("../mxfp4/values.wgsl"),
        include_str!("../quads_apart.wgsl"),
        include_str!("../plane.wgsl")
    ),
};

/// Half of an unsigned number of 4 bits of exponent and 3 of mantissa. ggml takes what would be a NaN as 0.
fn half_scale(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    match (byte, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => 0.5 * mantissa * 2f32.powi(-9),
        _ => 0.5 * (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    }
}

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(BLOCK_ELEMENTS)) {
        let codes: [u8; BLOCK_ELEMENTS] = CODES.unpack(&block[4..]);
        let groups = block[..4].iter().zip(codes.chunks_exact(16)).zip(out.chunks_exact_mut(16));
        for ((scale, codes), out) in groups {
            let scale = half_scale(*scale);
            for (code, element) in codes.iter().zip(out) {
                *element = scale * f32::from(DOUBLED[usize::from(*code)]);
            }
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, scales]| {
        scales.copy_from_slice(&block[..4]);
        CODES.repack::<BLOCK_ELEMENTS>(&block[4..], NIBBLES, nibbles);
    });
}

/// A scale, rounded as ggml does: 256 and more become the largest, 448.
fn scale_byte(scale: f32) -> u8 {
    if scale < 2f32.powi(-6) {
        return ((scale * 512.0 + 0.5) as u8).min(7);
    }
    let rounded = ((scale.to_bits() + (1 << 19)) >> 20) - (120 << 3);
    if rounded < 15 << 3 { rounded as u8 } else { 0x7e }
}

fn encode(elements: &[f32], _: Option<&[f32]>, blocks: &mut [u8]) {
    for (values, block) in elements.chunks_exact(BLOCK_ELEMENTS).zip(blocks.chunks_exact_mut(BLOCK_BYTES)) {
        let mut codes = [0; BLOCK_ELEMENTS];
        for (group, values) in values.chunks_exact(16).enumerate() {
            // The largest E2M1 is 6.
            block[group] = scale_byte(values.iter().fold(0f32, |largest, value| largest.max(value.abs())) / 6.0);
            let scale = half_scale(block[group]);
            for (value, code) in values.iter().zip(&mut codes[group * 16..]) {
                let error = |code: &u8| (scale * f32::from(DOUBLED[usize::from(*code)]) - value).abs();
                *code = (0..16).min_by(|a, b| error(a).total_cmp(&error(b))).expect("16 codes");
            }
        }
        CODES.pack(&codes, &mut block[4..]);
    }
}
