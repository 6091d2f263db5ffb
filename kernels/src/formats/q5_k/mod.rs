//! Q5_K: super-blocks of 256 elements, each a half-precision scale and minimum, 12 bytes of 6-bit factors of both for every
//! 32 elements, 32 bytes of high bits and 128 of low nibbles (ggml's `block_q5_K`).

pub mod panel;

use super::packing::{BITS, NIBBLES, Packing};
use super::panel::PanelFormat;
use super::q4_k::{affine, write_affine};
use super::search::affine::AffineBlock;
use super::search::{Group, each_block};
use super::{BLOCK32, Format, FormatInfo, SUPER_BLOCK, Scale, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 16 + 32 + 128;

/// High bits and low nibbles in a file.
const HIGH: Packing = Packing { bits: 1, stride: 32 };
const LOW: Packing = Packing { bits: 4, stride: 32 };

/// Low nibbles; high bits; what a file has before them.
const PLANES: [usize; 3] = [128, 32, 16];

/// 5 bits per element, 6 bits of scale and minimum per 32, and a half-precision scale and minimum per 256.
pub const Q5_K: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q5_k",
    gguf_id: Some(13),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0), Scale::half(2)],
    exact_in_f16: false,
    byte_codes: Some(32),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: Some(&PanelFormat::of_codes::<panel::Q5K>()),
    wgsl: wgsl!(codes: "decode.wgsl", "../q4_k/affine.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let high: [u8; SUPER_BLOCK] = HIGH.unpack(&block[16..48]);
        let low: [u8; SUPER_BLOCK] = LOW.unpack(&block[48..]);
        let affine = affine(block);
        for (index, element) in out.iter_mut().enumerate() {
            let (scale, minimum) = affine[index / BLOCK32];
            *element = scale * f32::from(low[index] | high[index] << 4) - minimum;
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, bits, head]| {
        head.copy_from_slice(&block[..16]);
        HIGH.repack::<SUPER_BLOCK>(&block[16..48], BITS, bits);
        LOW.repack::<SUPER_BLOCK>(&block[48..], NIBBLES, nibbles);
    });
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |groups: &[Group<BLOCK32>; SUPER_BLOCK / BLOCK32], block| {
        let found = AffineBlock::search::<63, 31>(groups);
        let codes = found.codes.as_flattened();
        let high: [u8; SUPER_BLOCK] = std::array::from_fn(|index| codes[index] >> 4);
        write_affine(&found, block);
        HIGH.pack(&high, &mut block[16..48]);
        LOW.pack(codes, &mut block[48..]);
    });
}
