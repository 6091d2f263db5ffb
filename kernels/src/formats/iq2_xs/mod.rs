//! IQ2_XS: super-blocks of 256 elements, each a half-precision scale, 9 bits of index into a grid of 8 elements and 7 of
//! signs for every 8, and 4 bits of scale for every 16 (ggml's `block_iq2_xs`).

use super::iq2_xxs::VALUES;
use super::packing::Packing;
use super::{Format, FormatInfo, SUPER_BLOCK, Scale, grid, half_at, planes_row_bytes, repack_planes};

const BLOCK_BYTES: usize = 2 + 64 + 8;

/// Scales of 16 elements.
pub(super) const SCALES: Packing = Packing { bits: 4, stride: 1 };

/// Indices and signs; scales of 16 elements; scales of them.
const PLANES: [usize; 3] = [64, 8, 2];

static GRID: [u8; 1024] = grid::from_hex(include_bytes!("grid.hex"));

/// 2 bits per element, 4 bits of scale per 16, and a half-precision scale per 256.
pub const IQ2_XS: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "iq2_xs",
    gguf_id: Some(17),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: None,
    table: &GRID,
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(|row, device_row| {
        repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [codes, scales, scale]| {
            scale.copy_from_slice(&block[..2]);
            codes.copy_from_slice(&block[2..66]);
            scales.copy_from_slice(&block[66..]);
        });
    }),
    encode: None,
    panel: None,
    wgsl: wgsl!(grid: "decode.wgsl", "../iq2_xxs/pairs.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let scale = half_at(block);
        let scales: [u8; 16] = SCALES.unpack(&block[66..]);
        for (group, out) in out.chunks_exact_mut(8).enumerate() {
            let code = u16::from_le_bytes([block[2 + 2 * group], block[3 + 2 * group]]);
            let scale = scale * (0.5 + f32::from(scales[group / 2])) * 0.25;
            let entry = grid::entry(&GRID, usize::from(code & 511));
            grid::decode(entry, &VALUES, grid::even(u32::from(code >> 9)), scale, out);
        }
    }
}
