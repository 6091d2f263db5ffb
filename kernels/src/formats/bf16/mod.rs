//! BF16: the upper half of a single-precision number.

use super::panel::PanelFormat;
use super::{Format, FormatInfo, Scale, float_row_bytes};

/// The upper half of a single-precision number.
pub const BF16: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "bf16",
    gguf_id: Some(30),
    block_elements: 1,
    block_bytes: 2,
    scales: &[Scale::bfloat(0)],
    exact_in_f16: false,
    byte_codes: None,
    table: &[],
    device_row_bytes: |elements| float_row_bytes(elements, 2),
    decode,
    repack: None,
    encode: Some(encode),
    panel: Some(&PanelFormat::of_floats::<super::float_panels::Bf16>()),
    wgsl: concat!(
        include_str!("quad.wgsl"),
        include_str!("../halves.wgsl"),
        include_str!("../quads_together.wgsl"),
        include_str!("../values.wgsl")
    ),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (bytes, element) in blocks.chunks_exact(2).zip(elements) {
        *element = half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    }
}

fn encode(elements: &[f32], _: Option<&[f32]>, blocks: &mut [u8]) {
    for (element, bytes) in elements.iter().zip(blocks.chunks_exact_mut(2)) {
        bytes.copy_from_slice(&half::bf16::from_f32(*element).to_le_bytes());
    }
}
