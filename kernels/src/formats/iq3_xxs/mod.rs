//! IQ3_XXS: super-blocks of 256 elements, each a half-precision scale, 64 bytes of indices into a grid of 4 elements, and for
//! every 32 elements 4 times 7 bits of signs and 4 bits of scale (ggml's `block_iq3_xxs`).

use super::{BLOCK32, Format, FormatInfo, SUPER_BLOCK, Scale, grid, half_at, planes_row_bytes, repack_planes, word_at};

const BLOCK_BYTES: usize = 2 + 64 + 32;

/// Indices; signs and scales of blocks of 32; scales of them.
const PLANES: [usize; 3] = [64, 32, 2];

static GRID: [u8; 512] = grid::from_hex(include_bytes!("grid.hex"));

/// What codes of the grid stand for, as decode.wgsl has it too.
const VALUES: [i8; 8] = [4, 12, 20, 28, 36, 44, 52, 62];

/// 3 bits per element, 4 bits of scale per 32, and a half-precision scale per 256.
pub const IQ3_XXS: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "iq3_xxs",
    gguf_id: Some(18),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: None,
    table: &GRID,
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(|row, device_row| {
        repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [indices, signs, scale]| {
            scale.copy_from_slice(&block[..2]);
            indices.copy_from_slice(&block[2..66]);
            signs.copy_from_slice(&block[66..]);
        });
    }),
    encode: None,
    panel: None,
    wgsl: wgsl!(grid: "decode.wgsl", "nibbles.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let scale = half_at(block);
        for (group, out) in out.chunks_exact_mut(4).enumerate() {
            let block32 = group * 4 / BLOCK32;
            let signs = word_at(&block[66 + 4 * block32..]);
            let scale = scale * (0.5 + (signs >> 28) as f32) * 0.5;
            // A byte of signs is for two entries.
            let signs = grid::even(signs >> (7 * (group / 2 % 4))) >> (group % 2 * 4);
            grid::decode(grid::entry(&GRID, block[2 + group].into()), &VALUES, signs, scale, out);
        }
    }
}
