//! Q4_0: blocks of 32 elements, each a half-precision scale and 16 bytes of nibbles (ggml's `block_q4_0`).
//!
//! The low nibbles are elements 0 to 15, the high ones 16 to 31; a nibble stands for itself minus 8.

pub mod panel;

use super::packing::NIBBLES;
use super::panel::PanelFormat;
use super::search::{Group, Integers, each_block};
use super::{BLOCK32, Format, FormatInfo, Scale, half_at, planes_row_bytes, put_half, repack_planes, rounding};

const BLOCK_BYTES: usize = 2 + 16;

/// Nibbles; scales.
const PLANES: [usize; 2] = [16, 2];

/// A half-precision scale and 16 bytes of nibbles per 32 elements.
pub const Q4_0: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q4_0",
    gguf_id: Some(2),
    block_elements: BLOCK32,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: Some(32),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / BLOCK32, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: Some(&PanelFormat::of_codes::<panel::Q4_0>()),
    wgsl: wgsl!(codes: "decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(BLOCK32)) {
        let scale = half_at(block);
        let (low, high) = out.split_at_mut(BLOCK32 / 2);
        for ((byte, low), high) in block[2..].iter().zip(low).zip(high) {
            *low = scale * f32::from((byte & 15) as i8 - 8);
            *high = scale * f32::from((byte >> 4) as i8 - 8);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, scale]| {
        scale.copy_from_slice(&block[..2]);
        nibbles.copy_from_slice(&block[2..]);
    });
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |[group]: &[Group<BLOCK32>; 1], block| {
        let (scale, levels) = match importance {
            None => rounding::symmetric::<Integers<-8, 7>>(&group.values),
            Some(_) => group.scaled::<Integers<-8, 7>>(),
        };
        let codes = levels.map(|level| (level + 8) as u8);
        put_half(block, scale);
        NIBBLES.pack(&codes, &mut block[2..]);
    });
}
