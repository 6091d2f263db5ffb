//! IQ4_XS: super-blocks of 256 elements, each a half-precision scale, 8 high pairs of bits and 8 low nibbles of factors of
//! it for every 32 elements, and 128 bytes of nibbles (ggml's `block_iq4_xs`).
//!
//! A nibble stands for its one of IQ4_NL's values, a factor for itself minus 32.

pub mod panel;

use super::iq4_nl::{VALUES, Values, nibble};
use super::packing::{NIBBLES, Packing};
use super::panel::PanelFormat;
use super::search::scale::ScaledBlock;
use super::search::{Group, Integers, each_block};
use super::{BLOCK32, Format, FormatInfo, SUPER_BLOCK, Scale, half_at, planes_row_bytes, put_half, repack_planes};

const BLOCK_BYTES: usize = 8 + 128;

/// High pairs of bits and low nibbles of the 8 factors.
const FACTOR_HIGH: Packing = Packing { bits: 2, stride: 1 };
const FACTOR_LOW: Packing = Packing { bits: 4, stride: 1 };

/// Nibbles; what a file has before them.
const PLANES: [usize; 2] = [128, 8];

/// 4 bits per element, 6 bits of scale per 32, and a half-precision scale per 256, with steps that are finer near 0.
pub const IQ4_XS: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "iq4_xs",
    gguf_id: Some(23),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: Some(32),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(|row, device_row| {
        repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, head]| {
            head.copy_from_slice(&block[..8]);
            nibbles.copy_from_slice(&block[8..]);
        });
    }),
    encode: Some(encode),
    panel: Some(&PanelFormat::of_codes::<panel::Iq4Xs>()),
    wgsl: wgsl!(values: "decode.wgsl", "../iq4_nl/values.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let scale = half_at(block);
        let high: [u8; 8] = FACTOR_HIGH.unpack(&block[2..4]);
        let low: [u8; 8] = FACTOR_LOW.unpack(&block[4..8]);
        let codes: [u8; SUPER_BLOCK] = NIBBLES.unpack(&block[8..]);
        for (index, element) in out.iter_mut().enumerate() {
            let block32 = index / BLOCK32;
            let scale = scale * f32::from((low[block32] | high[block32] << 4) as i8 - 32);
            *element = scale * f32::from(VALUES[usize::from(codes[index])]);
        }
    }
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |groups: &[Group<BLOCK32>; SUPER_BLOCK / BLOCK32], block| {
        let found = ScaledBlock::search::<Integers<-32, 31>, Values>(groups);
        let factors = found.factors.map(|factor| (factor + 32) as u8);
        put_half(block, found.scale);
        FACTOR_HIGH.pack(&factors.map(|factor| factor >> 4), &mut block[2..4]);
        FACTOR_LOW.pack(&factors, &mut block[4..8]);
        let codes: [u8; SUPER_BLOCK] = std::array::from_fn(|index| nibble(found.levels.as_flattened()[index]));
        NIBBLES.pack(&codes, &mut block[8..]);
    });
}
