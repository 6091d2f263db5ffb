//! Q6_K: super-blocks of 256 elements, each 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales and a
//! half-precision one (ggml's `block_q6_K`). A code stands for itself minus 32.

pub mod panel;

use super::packing::{NIBBLES, PAIRS, Packing};
use super::panel::PanelFormat;
use super::search::scale::ScaledBlock;
use super::search::{Group, Integers, each_block};
use super::{Format, FormatInfo, SUPER_BLOCK, Scale, half_at, planes_row_bytes, put_half, repack_planes};

const BLOCK_BYTES: usize = 128 + 64 + 16 + 2;

/// Low nibbles and high pairs of bits in a file.
const LOW: Packing = Packing { bits: 4, stride: 64 };
const HIGH: Packing = Packing { bits: 2, stride: 32 };

/// Low nibbles; high pairs of bits; scales of 16 elements; scales of them.
const PLANES: [usize; 4] = [128, 64, 16, 2];

/// 6 bits per element, a signed byte of scale per 16, and a half-precision scale per 256.
pub const Q6_K: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q6_k",
    gguf_id: Some(14),
    block_elements: SUPER_BLOCK,
    block_bytes: BLOCK_BYTES,
    scales: &[Scale::half(208)],
    exact_in_f16: true,
    byte_codes: Some(16),
    table: &[],
    device_row_bytes: |elements| planes_row_bytes(elements / SUPER_BLOCK, &PLANES),
    decode,
    repack: Some(repack),
    encode: Some(encode),
    panel: Some(&PanelFormat::of_codes::<panel::Q6K>()),
    wgsl: wgsl!(codes: "decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(SUPER_BLOCK)) {
        let low: [u8; SUPER_BLOCK] = LOW.unpack(&block[..128]);
        let high: [u8; SUPER_BLOCK] = HIGH.unpack(&block[128..192]);
        let scale = half_at(&block[208..]);
        for (index, element) in out.iter_mut().enumerate() {
            let scale = scale * f32::from(block[192 + index / 16] as i8);
            *element = scale * f32::from((low[index] | high[index] << 4) as i8 - 32);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [nibbles, pairs, scales, scale]| {
        LOW.repack::<SUPER_BLOCK>(&block[..128], NIBBLES, nibbles);
        HIGH.repack::<SUPER_BLOCK>(&block[128..192], PAIRS, pairs);
        scales.copy_from_slice(&block[192..208]);
        scale.copy_from_slice(&block[208..]);
    });
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |groups: &[Group<16>; 16], block| {
        let found = ScaledBlock::search::<Integers<-128, 127>, Integers<-32, 31>>(groups);
        let codes: [u8; SUPER_BLOCK] = std::array::from_fn(|index| (found.levels.as_flattened()[index] + 32) as u8);
        LOW.pack(&codes, &mut block[..128]);
        HIGH.pack(&codes.map(|code| code >> 4), &mut block[128..192]);
        block[192..208].copy_from_slice(&found.factors.map(|factor| factor as u8));
        put_half(&mut block[208..], found.scale);
    });
}
