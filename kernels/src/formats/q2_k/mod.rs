//! Q2_K: super-blocks of 256 elements, each a byte of factors for every 16 elements, 64 bytes of pairs of bits, and a
//! half-precision scale and minimum (ggml's `block_q2_K`).
//!
//! Of a byte of factors the low nibble is the scale's, the high one the minimum's.

pub mod panel;

use super::packing::{PAIRS, Packing};
use super::panel::PanelFormat;
use super::search::affine::AffineBlock;
use super::search::{Group, each_block};
use super::{Format, FormatInfo, SUPER_BLOCK, Scale, half_at, planes_row_bytes, put_half, repack_planes};

const BLOCK_BYTES: usize = 16 + 64 + 4;

/// Pairs of bits in a file.
const CODES: Packing = Packing { bits: 2, stride: 32 };

/// Pairs of bits; factors; scales and minima.
const PLANES: [usize; 3] = [64, 16, 4];

/// 2 bits per element, 4 bits of scale and minimum per 16, and a half-precision scale and minimum per 256.
pub const Q2_K: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q2_k",
    gguf_id: Some(10),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(80), Scale::half(82)],
    exact_in_f16: false,
    byte_codes: Some(16),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: Some(&PanelFormat::of_codes::<panel::Q2K>()),
    wgsl: wgsl!(codes: "decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let codes: [u8; SUPER_BLOCK] = CODES.unpack(&block[16..80]);
        let (scale, minimum) = (half_at(&block[80..]), half_at(&block[82..]));
        for (index, element) in out.iter_mut().enumerate() {
            let factors = block[index / 16];
            let (scale, minimum) = (scale * f32::from(factors & 15), minimum * f32::from(factors >> 4));
            *element = scale * f32::from(codes[index]) - minimum;
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [pairs, factors, affine]| {
        factors.copy_from_slice(&block[..16]);
        CODES.repack::<SUPER_BLOCK>(&block[16..80], PAIRS, pairs);
        affine.copy_from_slice(&block[80..]);
    });
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |groups: &[Group<16>; 16], block| {
        let found = AffineBlock::search::<15, 3>(groups);
        for (byte, (scale, minimum)) in block.iter_mut().zip(found.scale_factors.iter().zip(found.minimum_factors)) {
            *byte = scale | minimum << 4;
        }
        CODES.pack(found.codes.as_flattened(), &mut block[16..80]);
        put_half(&mut block[80..], found.scale);
        put_half(&mut block[82..], found.minimum);
    });
}
