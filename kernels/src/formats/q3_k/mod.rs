//! Q3_K: super-blocks of 256 elements, each 32 bytes of high bits, 64 of low pairs of bits, 12 of 6-bit scales for every 16
//! elements, and a half-precision scale (ggml's `block_q3_K`).
//!
//! A code stands for itself minus 4, a scale for itself minus 32.

pub mod panel;

use super::packing::{BITS, PAIRS, Packing};
use super::panel::PanelFormat;
use super::search::scale::ScaledBlock;
use super::search::{Group, Integers, each_block};
use super::{Format, FormatInfo, SUPER_BLOCK, Scale, half_at, planes_row_bytes, put_half, repack_planes};

const BLOCK_BYTES: usize = 32 + 64 + 12 + 2;

/// High bits and low pairs of bits in a file.
const HIGH: Packing = Packing { bits: 1, stride: 32 };
const LOW: Packing = Packing { bits: 2, stride: 32 };

/// Low nibbles and high pairs of bits of the 16 scales.
const SCALE_LOW: Packing = Packing { bits: 4, stride: 8 };
const SCALE_HIGH: Packing = Packing { bits: 2, stride: 4 };

/// Low pairs of bits; high bits; scales as in a file, which take 14 bytes of the 16.
const PLANES: [usize; 3] = [64, 32, 16];

/// 3 bits per element, 6 bits of scale per 16, and a half-precision scale per 256.
pub const Q3_K: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q3_k",
    gguf_id: Some(11),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(108)],
    exact_in_f16: true,
    byte_codes: Some(16),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: Some(&PanelFormat::of_codes::<panel::Q3K>()),
    wgsl: wgsl!(codes: "decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let high: [u8; SUPER_BLOCK] = HIGH.unpack(&block[..32]);
        let low: [u8; SUPER_BLOCK] = LOW.unpack(&block[32..96]);
        let scale_low: [u8; 16] = SCALE_LOW.unpack(&block[96..104]);
        let scale_high: [u8; 16] = SCALE_HIGH.unpack(&block[104..108]);
        let scale = half_at(&block[108..]);
        for (index, element) in out.iter_mut().enumerate() {
            let group = index / 16;
            let scale = scale * f32::from((scale_low[group] | scale_high[group] << 4) as i8 - 32);
            *element = scale * f32::from((low[index] | high[index] << 2) as i8 - 4);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [pairs, bits, scales]| {
        HIGH.repack::<SUPER_BLOCK>(&block[..32], BITS, bits);
        LOW.repack::<SUPER_BLOCK>(&block[32..96], PAIRS, pairs);
        scales[..14].copy_from_slice(&block[96..]);
    });
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |groups: &[Group<16>; 16], block| {
        let found = ScaledBlock::search::<Integers<-32, 31>, Integers<-4, 3>>(groups);
        let codes: [u8; SUPER_BLOCK] = std::array::from_fn(|index| (found.levels.as_flattened()[index] + 4) as u8);
        HIGH.pack(&codes.map(|code| code >> 2), &mut block[..32]);
        LOW.pack(&codes, &mut block[32..96]);
        let factors = found.factors.map(|factor| (factor + 32) as u8);
        SCALE_LOW.pack(&factors, &mut block[96..104]);
        SCALE_HIGH.pack(&factors.map(|factor| factor >> 4), &mut block[104..108]);
        put_half(&mut block[108..], found.scale);
    });
}
