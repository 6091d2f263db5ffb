//! MXFP4: blocks of 32 elements, each a byte of exponent (E8M0) and 16 bytes of nibbles (E2M1), the microscaling format of
//! the Open Compute Project (ggml's `block_mxfp4`).
//!
//! The low nibbles are elements 0 to 15, the high ones 16 to 31.

pub mod panel;

use super::packing::NIBBLES;
use super::panel::PanelFormat;
use super::{BLOCK32, Format, FormatInfo, Scale, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 1 + 16;

/// Nibbles; exponents.
const PLANES: [usize; 2] = [16, 1];

/// Twice what nibbles stand for (a sign, two bits of exponent and one of mantissa), as values.wgsl has it too.
pub(super) const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// A byte of exponent and 16 bytes of 4-bit floating-point numbers per 32 elements.
pub const MXFP4: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "mxfp4",
    gguf_id: Some(39),
    block_elements: BLOCK32,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::exponent(0)],
    exact_in_f16: true,
    byte_codes: Some(32),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / BLOCK32, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: Some(&PanelFormat::of_codes::<panel::Mxfp4>()),
    wgsl: wgsl!(values: "decode.wgsl", "values.wgsl"),
};

/// Half of two to the power of an exponent minus 127; the two smallest are subnormal.
fn half_scale(exponent: u8) -> f32 {
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { u32::from(exponent - 1) << 23 })
}

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(BLOCK32)) {
        let scale = half_scale(block[0]);
        let codes: [u8; BLOCK32] = NIBBLES.unpack(&block[1..]);
        for (code, element) in codes.iter().zip(out) {
            *element = scale * f32::from(DOUBLED[usize::from(*code)]);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, exponent]| {
        exponent.copy_from_slice(&block[..1]);
        nibbles.copy_from_slice(&block[1..]);
    });
}

fn encode(elements: &[f32], _: Option<&[f32]>, blocks: &mut [u8]) {
    for (values, block) in elements.chunks_exact(BLOCK32).zip(blocks.chunks_exact_mut(BLOCK_BYTES)) {
        let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        // The largest E2M1 has exponent 2.
        block[0] = if largest > 0.0 { (largest.log2().floor() - 2.0 + 127.0) as u8 } else { 0 };
        let scale = half_scale(block[0]);
        let nearest = |value: &f32| {
            let error = |code: &u8| (scale * f32::from(DOUBLED[usize::from(*code)]) - value).abs();
            (0..16).min_by(|a, b| error(a).total_cmp(&error(b))).expect("16 codes")
        };
        let codes: Vec<u8> = values.iter().map(nearest).collect();
        NIBBLES.pack(&codes, &mut block[1..]);
    }
}
