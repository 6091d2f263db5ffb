//! Q8_0: blocks of 32 elements, each a half-precision scale and 32 signed bytes (ggml's `block_q8_0`).

pub mod panel;

use super::panel::PanelFormat;
use super::search::{Group, Integers, each_block};
use super::{BLOCK32, Format, FormatInfo, Scale, half_at, planes_row_bytes, put_half, repack_planes};

const BLOCK_BYTES: usize = 2 + 32;

/// Codes; scales.
const PLANES: [usize; 2] = [32, 2];

/// A half-precision scale and 32 signed bytes per 32 elements.
pub const Q8_0: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "q8_0",
    gguf_id: Some(8),
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
    panel: Some(&PanelFormat::of_codes::<panel::Q8_0>()),
    wgsl: wgsl!(values: "decode.wgsl"),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (block, out) in blocks.chunks_exact(BLOCK_BYTES).zip(elements.chunks_exact_mut(BLOCK32)) {
        let scale = half_at(block);
        for (code, element) in block[2..].iter().zip(out) {
            *element = scale * f32::from(*code as i8);
        }
    }
}

fn repack(row: &[u8], device_row: &mut [u8]) {
    repack_planes(row, BLOCK_BYTES, device_row, PLANES, |block, [codes, scale]| {
        scale.copy_from_slice(&block[..2]);
        codes.copy_from_slice(&block[2..]);
    });
}

fn encode(elements: &[f32], importance: Option<&[f32]>, blocks: &mut [u8]) {
    each_block(elements, importance, blocks, |[group]: &[Group<BLOCK32>; 1], block| {
        let (scale, codes) = match importance {
            None => rounded(&group.values),
            Some(_) => group.scaled::<Integers<-127, 127>>(),
        };
        put_half(block, scale);
        block[2..].copy_from_slice(&codes.map(|code| code as u8));
    });
}

/// A scale and codes, as ggml's `quantize_row_q8_0_ref` has them.
fn rounded(values: &[f32; BLOCK32]) -> (f32, [i8; BLOCK32]) {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    (scale, values.map(|value| (value * inverse).round() as i8))
}
