//! F32: IEEE single precision.

use super::panel::PanelFormat;
use super::{Format, FormatInfo, Scale, float_row_bytes};

/// IEEE single precision.
pub const F32: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "f32",
    gguf_id: Some(0),
    block_elements: 1,
    block_bytes: 4,
    scales: &[Scale::single(0)],
    exact_in_f16: false,
    byte_codes: None,
    table: &[],
    device_row_bytes: |elements| float_row_bytes(elements, 4),
    decode,
    repack: None,
    encode: Some(encode),
    panel: Some(&PanelFormat::of_floats::<super::float_panels::F32>()),
    wgsl: concat!(include_str!("decode.wgsl"), include_str!("../quads_together.wgsl"), include_str!("../values.wgsl")),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (bytes, element) in blocks.chunks_exact(4).zip(elements) {
        *element = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
}

fn encode(elements: &[f32], _: Option<&[f32]>, blocks: &mut [u8]) {
    for (element, bytes) in elements.iter().zip(blocks.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&element.to_le_bytes());
    }
}
