//! Q4_K: super-blocks of 256 elements, each a half-precision scale and minimum, 12 bytes of 6-bit factors of both for every
//! 32 elements, and 128 bytes of nibbles (ggml's `block_q4_K`).

pub mod panel;

use super::packing::{NIBBLES, Packing};
use super::panel::PanelFormat;
use super::search::affine::AffineBlock;
use super::search::{Group, each_block};
use super::{BLOCK32, Format, FormatInfo, SUPER_BLOCK, Scale, half_at, planes_row_bytes, put_half, repack_planes};

const BLOCK_BYTES: usize = 16 + 128;

/// Nibbles in a file.
const CODES: Packing = Packing { bits: 4, stride: 32 };

/// Nibbles; what a file has before them.
const PLANES: [usize; 2] = [128, 16];

/// 4 bits per element, 6 bits of scale and minimum per 32, and a half-precision scale and minimum per 256.
pub const Q4_K: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q4_k",
    gguf_id: Some(12),
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
    panel: Some(&PanelFormat::of_codes::<panel::Q4K>()),
    wgsl: concat!(
        include_str!("decode.wgsl"),
        include_str!("affine.wgsl"),
        include_str!("../quads_apart.wgsl"),
        include_str!("../codes.wgsl")
    ),
};

/// The scale and minimum of each of 8 blocks of 32, out of the 16 bytes that a super-block of Q4_K or Q5_K begins with.
pub(super) fn affine(head: &[u8]) -> [(f32, f32); SUPER_BLOCK / BLOCK32] {
    let (scale, minimum) = (half_at(head), half_at(&head[2..]));
    // Of blocks of 32 0 to 3 the factors are the low 6 bits of bytes; of the others their high bits are above those.
    let (scales, minima, nibbles) = (&head[4..8], &head[8..12], &head[12..16]);
    std::array::from_fn(|block32| {
        let (scale_factor, minimum_factor) = match block32.checked_sub(4) {
            None => (scales[block32] & 63, minima[block32] & 63),
            Some(block32) => {
                (nibbles[block32] & 15 | scales[block32] >> 6 << 4, nibbles[block32] >> 4 | minima[block32] >> 6 << 4)
            }
        };
        (scale * f32::from(scale_factor), minimum * f32::from(minimum_factor))
    })
}

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let codes: [u8; SUPER_BLOCK] = CODES.unpack(&block[16..]);
        let blocks32 = codes.chunks_exact(BLOCK32).zip(affine(block)).zip(out.chunks_exact_mut(BLOCK32));
        for ((codes, (scale, minimum)), out) in blocks32 {
            for (code, element) in codes.iter().zip(out) {
                *element = scale * f32::from(*code) - minimum;
            }
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, head]| {
        head.copy_from_slice(&block[..16]);
        CODES.repack::<SUPER_BLOCK>(&block[16..], NIBBLES, nibbles);
    });
}

/// Writes the 16 bytes that a super-block of Q4_K or Q5_K begins with.
pub(super) fn write_affine(block: &AffineBlock<{ SUPER_BLOCK / BLOCK32 }, BLOCK32>, head: &mut [u8]) {
    put_half(head, block.scale);
    put_half(&mut head[2..], block.minimum);
    let (scales, minima) = (&block.scale_factors, &block.minimum_factors);
    for block32 in 0..4 {
        let (scale, minimum) = (scales[block32 + 4], minima[block32 + 4]);
        head[4 + block32] = scales[block32] | scale >> 4 << 6;
        head[8 + block32] = minima[block32] | minimum >> 4 << 6;
        head[12 + block32] = scale & 15 | minimum << 4;
    }
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |groups: &[Group<BLOCK32>; SUPER_BLOCK / BLOCK32], block| {
        let found = AffineBlock::search::<63, 15>(groups);
        write_affine(&found, block);
        CODES.pack(found.codes.as_flattened(), &mut block[16..]);
    });
}
