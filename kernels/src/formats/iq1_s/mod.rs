//! IQ1_S: super-blocks of 256 elements, each a half-precision scale, 32 low bytes of indices into a grid of 8 elements, and 16
//! bits for every 32 elements: high bits of indices, a scale, and which way elements are shifted (ggml's `block_iq1_s`).

use super::{BLOCK32, Format, FormatInfo, SUPER_BLOCK, Scale, grid, half_at, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 2 + 32 + 16;

/// Low bytes of indices; high bits of indices, scales and shifts of blocks of 32; the scales of these scales.
const PLANES: [usize; 3] = [32, 16, 2];

pub(super) static GRID: [u8; 4096] = grid::from_hex(include_bytes!("grid.hex"));

/// By how much elements are shifted, up or down.
pub(super) const SHIFT: f32 = 0.125;

/// 11 bits for 8 elements, 3 bits of scale per 32, and a half-precision scale per 256.
pub const IQ1_S: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "iq1_s",
    gguf_id: Some(19),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: None,
    table: &GRID,
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(|row, device_row| {
        repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [low, high, scale]| {
            scale.copy_from_slice(&block[..2]);
            low.copy_from_slice(&block[2..34]);
            high.copy_from_slice(&block[34..]);
        });
    }),
    encode: None,
    panel: None,
    wgsl: concat!(
        include_str!("decode.wgsl"),
        include_str!("shifted.wgsl"),
        include_str!("../quads_together.wgsl"),
        include_str!("../grid.wgsl"),
        include_str!("../plane.wgsl")
    ),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let scale = half_at(block);
        for (group, out) in out.chunks_exact_mut(8).enumerate() {
            let block32 = group * 8 / BLOCK32;
            let high = usize::from(u16::from_le_bytes([block[34 + 2 * block32], block[35 + 2 * block32]]));
            let scale = scale * (2 * (high >> 12 & 7) + 1) as f32;
            let index = usize::from(block[2 + group]) | (high >> (group % 4 * 3) & 7) << 8;
            decode_entry(index, if high >> 15 == 1 { -SHIFT } else { SHIFT }, scale, out);
        }
    }
}

/// The elements of an entry: codes stand for themselves minus 1, shifted by this much, times a scale.
pub(super) fn decode_entry(index: usize, shift: f32, scale: f32, elements: &mut [f32]) {
    let entry = grid::entry(&GRID, index);
    for (place, element) in elements.iter_mut().enumerate() {
        *element = scale * (f32::from(entry >> (2 * place) & 3) - 1.0 + shift);
    }
}
