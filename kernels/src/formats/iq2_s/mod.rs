//! IQ2_S: super-blocks of 256 elements, each a half-precision scale, 32 low bytes of indices into a grid of 8 elements, 32
//! bytes of signs, 8 of high pairs of bits of indices, and 4 bits of scale for every 16 elements (ggml's `block_iq2_s`).

use super::iq2_xs::SCALES;
use super::iq2_xxs::VALUES;
use super::packing::Packing;
use super::{Format, FormatInfo, SUPER_BLOCK, Scale, grid, half_at, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 2 + 32 + 32 + 8 + 8;

/// High bits of indices.
const HIGH: Packing = Packing { bits: 2, stride: 1 };

/// Low bytes of indices beside signs, a word of each in turn; high bits of indices, and scales of 16 elements; scales of them.
const PLANES: [usize; 3] = [64, 16, 2];

static GRID: [u8; 2048] = grid::from_hex(include_bytes!("grid.hex"));

/// 2.5 bits per element with the scales: 4 bits per 16 elements, and a half-precision one per 256.
pub const IQ2_S: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "iq2_s",
    gguf_id: Some(22),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: None,
    table: &GRID,
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(repack),
    encode: None,
    panel: None,
    wgsl: wgsl!(grid: "decode.wgsl", "../iq2_xxs/pairs.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let scale = half_at(block);
        let high: [u8; 32] = HIGH.unpack(&block[66..74]);
        let scales: [u8; 16] = SCALES.unpack(&block[74..]);
        for (group, out) in out.chunks_exact_mut(8).enumerate() {
            let scale = scale * (0.5 + f32::from(scales[group / 2])) * 0.25;
            let index = usize::from(block[2 + group]) | usize::from(high[group]) << 8;
            grid::decode(grid::entry(&GRID, index), &VALUES, block[34 + group], scale, out);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [codes, head, scale]| {
        scale.copy_from_slice(&block[..2]);
        let parts = block[2..34].chunks_exact(4).zip(block[34..66].chunks_exact(4));
        for (codes, (low, signs)) in codes.chunks_exact_mut(8).zip(parts) {
            codes[..4].copy_from_slice(low);
            codes[4..].copy_from_slice(signs);
        }
        head.copy_from_slice(&block[66..]);
    });
}
