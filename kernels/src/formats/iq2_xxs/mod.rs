//! IQ2_XXS: super-blocks of 256 elements, each a half-precision scale and 8 bytes for every 32 elements: 4 indices into a
//! grid of 8 elements, 7 bits of signs for each, and 4 of scale (ggml's `block_iq2_xxs`).

use super::{BLOCK32, Format, FormatInfo, SUPER_BLOCK, Scale, grid, half_at, planes_row_bytes, repack_planes, word_at};

const BLOCK_BYTES: usize = 2 + 64;

/// Indices, signs and scales of blocks of 32; scales of them.
const PLANES: [usize; 2] = [64, 2];

static GRID: [u8; 512] = grid::from_hex(include_bytes!("grid.hex"));

/// What codes of the grid stand for, as pairs.wgsl has it too.
pub(super) const VALUES: [i8; 3] = [8, 25, 43];

/// 2 bits per element, 4 bits of scale per 32, and a half-precision scale per 256.
pub const IQ2_XXS: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "iq2_xxs",
    gguf_id: Some(16),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: None,
    table: &GRID,
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(|row, device_row| {
        repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [codes, scale]| {
            scale.copy_from_slice(&block[..2]);
            codes.copy_from_slice(&block[2..]);
        });
    }),
    encode: None,
    panel: None,
    wgsl: wgsl!(grid: "decode.wgsl", "pairs.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let scale = half_at(block);
        for (codes, out) in block[2..].chunks_exact(8).zip(out.chunks_exact_mut(BLOCK32)) {
            let signs = word_at(&codes[4..]);
            let scale = scale * (0.5 + (signs >> 28) as f32) * 0.25;
            for (group, out) in out.chunks_exact_mut(8).enumerate() {
                let entry = grid::entry(&GRID, codes[group].into());
                grid::decode(entry, &VALUES, grid::even(signs >> (7 * group)), scale, out);
            }
        }
    }
}
