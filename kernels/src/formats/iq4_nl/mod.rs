//! IQ4_NL: blocks of 32 elements, each a half-precision scale and 16 bytes of nibbles (ggml's `block_iq4_nl`).
//!
//! The low nibbles are elements 0 to 15, the high ones 16 to 31; a nibble stands for its one of [`VALUES`].

pub mod panel;

use super::packing::NIBBLES;
use super::panel::PanelFormat;
use super::search::{Group, Lanes, Levels, ROUND, each_block};
use super::{BLOCK32, Format, FormatInfo, Scale, half_at, planes_row_bytes, put_half, repack_planes};

const BLOCK_BYTES: usize = 2 + 16;

/// Nibbles; scales.
const PLANES: [usize; 2] = [16, 2];

/// What nibbles stand for; values.wgsl has the same numbers.
pub(super) const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// A half-precision scale and 16 bytes of nibbles per 32 elements, with steps that are finer near 0.
pub const IQ4_NL: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "iq4_nl",
    gguf_id: Some(20),
    block_elements: BLOCK32,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: Some(32),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / BLOCK32, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: Some(&PanelFormat::of_codes::<panel::Iq4Nl>()),
    wgsl: wgsl!(values: "decode.wgsl", "values.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(BLOCK32)) {
        let scale = half_at(block);
        let codes: [u8; BLOCK32] = NIBBLES.unpack(&block[2..]);
        for (code, element) in codes.iter().zip(out) {
            *element = scale * f32::from(VALUES[usize::from(*code)]);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, scale]| {
        scale.copy_from_slice(&block[..2]);
        nibbles.copy_from_slice(&block[2..]);
    });
}

/// The numbers that nibbles stand for.
pub(super) struct Values;

impl Levels for Values {
    const ENDS: [f32; 2] = [-127.0, 113.0];
    const STARTS: &[Lanes] = &[[-24.0, -16.0, -8.0, 0.0, 8.0, 16.0, 24.0, 32.0]];

    #[inline(always)]
    fn nearest(number: f32) -> f32 {
        NEAREST[(number.clamp(-127.0, 113.0) * 2.0 + ROUND).to_bits() as usize % NEAREST.len()]
    }
}

/// The one of [`VALUES`] that is nearest to a half of each integer in -256..256, at its place modulo 512.
static NEAREST: [f32; 512] = {
    let mut nearest = [0.0; 512];
    let mut doubled = -256;
    while doubled < 256 {
        let mut code = 0;
        while code < 15 && doubled > VALUES[code] as i32 + VALUES[code + 1] as i32 {
            code += 1;
        }
        nearest[doubled as usize % 512] = VALUES[code] as f32;
        doubled += 1;
    }
    nearest
};

/// The nibble that stands for a value.
pub(super) fn nibble(value: i8) -> u8 {
    VALUES.partition_point(|other| *other < value) as u8
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |[group]: &[Group<BLOCK32>; 1], block| {
        let (scale, levels) = group.scaled::<Values>();
        put_half(block, scale);
        NIBBLES.pack(&levels.map(nibble), &mut block[2..]);
    });
}
