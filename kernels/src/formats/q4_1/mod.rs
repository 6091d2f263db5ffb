//! Q4_1: blocks of 32 elements, each a half-precision scale and minimum and 16 bytes of nibbles (ggml's `block_q4_1`).
//!
//! The low nibbles are elements 0 to 15, the high ones 16 to 31.

pub mod panel;

use super::packing::NIBBLES;
use super::panel::PanelFormat;
use super::search::{Group, each_block};
use super::{BLOCK32, Format, FormatInfo, Scale, half_at, planes_row_bytes, put_half, repack_planes, rounding};

const BLOCK_BYTES: usize = 4 + 16;

/// Nibbles; scales and minima.
const PLANES: [usize; 2] = [16, 4];

/// A half-precision scale and minimum and 16 bytes of nibbles per 32 elements.
pub const Q4_1: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q4_1",
    gguf_id: Some(3),
    block_elements: BLOCK32,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0), Scale::half(2)],
    exact_in_f16: false,
    byte_codes: Some(32),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / BLOCK32, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: Some(&PanelFormat::of_codes::<panel::Q4_1>()),
    wgsl: wgsl!(codes: "decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(BLOCK32)) {
        let (scale, minimum) = (half_at(block), half_at(&block[2..]));
        let codes: [u8; BLOCK32] = NIBBLES.unpack(&block[4..]);
        for (code, element) in codes.iter().zip(out) {
            *element = scale * f32::from(*code) + minimum;
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, affine]| {
        affine.copy_from_slice(&block[..4]);
        nibbles.copy_from_slice(&block[4..]);
    });
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |[group]: &[Group<BLOCK32>; 1], block| {
        let (scale, minimum, codes) = match importance {
            None => rounding::affine::<15>(&group.values),
            Some(_) => group.affine::<15>(),
        };
        put_half(block, scale);
        put_half(&mut block[2..], minimum);
        NIBBLES.pack(&codes, &mut block[4..]);
    });
}
