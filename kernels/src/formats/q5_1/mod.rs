//! Q5_1: blocks of 32 elements, each a half-precision scale and minimum, 4 bytes of high bits and 16 of low nibbles
//! (ggml's `block_q5_1`).
//!
//! The low nibbles of bytes are elements 0 to 15, the high ones 16 to 31.

use super::packing::{BITS, NIBBLES, Packing};
use super::search::{Group, each_block};
use super::{BLOCK32, Format, FormatInfo, Scale, half_at, planes_row_bytes, put_half, repack_planes, rounding};

const BLOCK_BYTES: usize = 4 + 4 + 16;

/// High bits in a file.
const HIGH: Packing = Packing { bits: 1, stride: 1 };

/// Low nibbles; high bits; scales and minima.
const PLANES: [usize; 3] = [16, 4, 4];

/// A half-precision scale and minimum and 5 bits per element, for 32 elements.
pub const Q5_1: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q5_1",
    gguf_id: Some(7),
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
    panel: None,
    wgsl: wgsl!(codes: "decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(BLOCK32)) {
        let (scale, minimum) = (half_at(block), half_at(&block[2..]));
        let high: [u8; BLOCK32] = HIGH.unpack(&block[4..8]);
        let low: [u8; BLOCK32] = NIBBLES.unpack(&block[8..]);
        for ((low, high), element) in low.iter().zip(high).zip(out) {
            *element = scale * f32::from(low | high << 4) + minimum;
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, bits, affine]| {
        affine.copy_from_slice(&block[..4]);
        HIGH.repack::<BLOCK32>(&block[4..8], BITS, bits);
        nibbles.copy_from_slice(&block[8..]);
    });
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |[group]: &[Group<BLOCK32>; 1], block| {
        let (scale, minimum, codes) = match importance {
            None => rounding::affine::<31>(&group.values),
            Some(_) => group.affine::<31>(),
        };
        put_half(block, scale);
        put_half(&mut block[2..], minimum);
        HIGH.pack(&codes.map(|code| code >> 4), &mut block[4..8]);
        NIBBLES.pack(&codes, &mut block[8..]);
    });
}
