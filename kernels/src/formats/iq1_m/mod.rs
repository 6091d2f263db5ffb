//! IQ1_M: super-blocks of 256 elements, each 32 low bytes of indices into IQ1_S's grid of 8 elements, 16 bytes of nibbles for
//! every 8 elements, 3 high bits of an index and which way they are shifted, and 4 times 16 bits: 12 for the scales of 16
//! elements, 4 of a half-precision scale (ggml's `block_iq1_m`).

use super::iq1_s::{GRID, SHIFT, decode_entry};
use super::packing::Packing;
use super::scale::half_in;
use super::{Format, FormatInfo, SUPER_BLOCK, Scale, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 32 + 16 + 8;

/// High bits of indices, and shifts.
const HIGH: Packing = Packing { bits: 4, stride: 1 };

/// Low bytes of indices; high bits of indices and shifts; scales.
const PLANES: [usize; 3] = [32, 16, 8];

/// The half-precision scale: the highest nibbles of four numbers of 16 bits.
const SCALE: [usize; 4] = [2 * 49 + 1, 2 * 51 + 1, 2 * 53 + 1, 2 * 55 + 1];

/// 11 bits and one of shift for 8 elements, 3 bits of scale per 16, and a half-precision scale per 256.
pub const IQ1_M: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "iq1_m",
    gguf_id: Some(29),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half_in(SCALE)],
    exact_in_f16: true,
    byte_codes: None,
    table: &GRID,
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(|row, device_row| {
        repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [low, high, scales]| {
            low.copy_from_slice(&block[..32]);
            high.copy_from_slice(&block[32..48]);
            scales.copy_from_slice(&block[48..]);
        });
    }),
    encode: None,
    panel: None,
    wgsl: concat!(
        include_str!("decode.wgsl"),
        include_str!("../iq1_s/shifted.wgsl"),
        include_str!("../quads_together.wgsl"),
        include_str!("../grid.wgsl"),
        include_str!("../plane.wgsl")
    ),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let scale = half_in(block, SCALE);
        let high: [u8; 32] = HIGH.unpack(&block[32..48]);
        for (group, out) in out.chunks_exact_mut(8).enumerate() {
            // Each 16 bits have the scales of 4 times 16 elements.
            let bits = &block[48 + group / 8 * 2..];
            let factor = u16::from_le_bytes([bits[0], bits[1]]) >> (group / 2 % 4 * 3) & 7;
            let index = usize::from(block[group]) | usize::from(high[group] & 7) << 8;
            let shift = if high[group] & 8 == 0 { SHIFT } else { -SHIFT };
            decode_entry(index, shift, scale * f32::from(2 * factor + 1), out);
        }
    }
}
