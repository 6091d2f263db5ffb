//! IQ3_S: super-blocks of 256 elements, each a half-precision scale, 64 low bytes of indices into a grid of 4 elements, 8 of
//! their high bits, 32 of signs, and 4 bits of scale for every 32 elements (ggml's `block_iq3_s`).

use super::packing::Packing;
use super::{BLOCK32, Format, FormatInfo, SUPER_BLOCK, Scale, grid, half_at, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 2 + 64 + 8 + 32 + 4;

/// High bits of indices.
const HIGH: Packing = Packing { bits: 1, stride: 1 };

/// Scales of blocks of 32.
const SCALES: Packing = Packing { bits: 4, stride: 1 };

/// Low bytes of indices; signs; high bits of indices, and scales of blocks of 32; scales of them.
const PLANES: [usize; 4] = [64, 32, 12, 2];

static GRID: [u8; 1024] = grid::from_hex(include_bytes!("grid.hex"));

/// What codes of the grid stand for, as decode.wgsl has it too.
const VALUES: [i8; 8] = [1, 3, 5, 7, 9, 11, 13, 15];

/// 3.4 bits per element with the scales: 4 bits per 32 elements, and a half-precision one per 256.
pub const IQ3_S: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "iq3_s",
    gguf_id: Some(21),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: None,
    table: &GRID,
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(|row, device_row| {
        repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [indices, signs, head, scale]| {
            scale.copy_from_slice(&block[..2]);
            indices.copy_from_slice(&block[2..66]);
            head[..8].copy_from_slice(&block[66..74]);
            signs.copy_from_slice(&block[74..106]);
            head[8..].copy_from_slice(&block[106..]);
        });
    }),
    encode: None,
    panel: None,
    wgsl: wgsl!(grid: "decode.wgsl", "../iq3_xxs/nibbles.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let scale = half_at(block);
        let high: [u8; 64] = HIGH.unpack(&block[66..74]);
        let scales: [u8; 8] = SCALES.unpack(&block[106..]);
        for (group, out) in out.chunks_exact_mut(4).enumerate() {
            let scale = scale * f32::from(1 + 2 * scales[group * 4 / BLOCK32]);
            let index = usize::from(block[2 + group]) | usize::from(high[group]) << 8;
            // A byte of signs is for two entries.
            let signs = block[74 + group / 2] >> (group % 2 * 4);
            grid::decode(grid::entry(&GRID, index), &VALUES, signs, scale, out);
        }
    }
}
