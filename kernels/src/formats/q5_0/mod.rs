//! Q5_0: blocks of 32 elements, each a half-precision scale, 4 bytes of high bits and 16 of low nibbles (ggml's `block_q5_0`).
//!
//! The low nibbles of bytes are elements 0 to 15, the high ones 16 to 31; a code stands for itself minus 16.

use super::packing::{BITS, NIBBLES, Packing};
use super::search::{Group, Integers, each_block};
use super::{BLOCK32, Format, FormatInfo, Scale, half_at, planes_row_bytes, put_half, repack_planes, rounding};

const BLOCK_BYTES: usize = 2 + 4 + 16;

/// High bits in a file.
const HIGH: Packing = Packing { bits: 1, stride: 1 };

/// Low nibbles; high bits; scales.
const PLANES: [usize; 3] = [16, 4, 2];

/// A half-precision scale and 5 bits per element, for 32 elements.
pub const Q5_0: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q5_0",
    gguf_id: Some(6),
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
    panel: None,
    wgsl: wgsl!(codes: "decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(BLOCK32)) {
        let scale = half_at(block);
        let high: [u8; BLOCK32] = HIGH.unpack(&block[2..6]);
        let low: [u8; BLOCK32] = NIBBLES.unpack(&block[6..]);
        for ((low, high), element) in low.iter().zip(high).zip(out) {
            *element = scale * f32::from((low | high << 4) as i8 - 16);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, bits, scale]| {
        scale.copy_from_slice(&block[..2]);
        HIGH.repack::<BLOCK32>(&block[2..6], BITS, bits);
        nibbles.copy_from_slice(&block[6..]);
    });
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |[group]: &[Group<BLOCK32>; 1], block| {
        let (scale, levels) = match importance {
            None => rounding::symmetric::<Integers<-16, 15>>(&group.values),
            Some(_) => group.scaled::<Integers<-16, 15>>(),
        };
        let codes = levels.map(|level| (level + 16) as u8);
        put_half(block, scale);
        HIGH.pack(&codes.map(|code| code >> 4), &mut block[2..6]);
        NIBBLES.pack(&codes, &mut block[6..]);
    });
}
