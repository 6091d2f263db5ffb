//! F16: IEEE half precision.

use super::panel::PanelFormat;
use super::{Format, FormatInfo, Scale, float_row_bytes, half_at};

/// IEEE half precision.
pub const F16: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "f16",
    gguf_id: Some(1),
    block_elements: 1,
    block_bytes: 2,
    scales: &[Scale::half(0)],
    exact_in_f16: true,
    byte_codes: None,
    table: &[],
    device_row_bytes: |elements| float_row_bytes(elements, 2),
    decode,
    repack: None,
    encode: Some(encode),
    panel: Some(&PanelFormat::of_floats::<super::float_panels::F16>()),
    wgsl: concat!(
        include_str!("quad.wgsl"),
        include_str!("../halves.wgsl"),
        include_str!("../quads_together.wgsl"),
        include_str!("../values.wgsl")
    ),
};

fn decode(blocks: &[u8], elements: &mut [f32]) {
    for (bytes, element) in blocks.chunks_exact(2).zip(elements) {
        *element = half_at(bytes);
    }
}

fn encode(elements: &[f32], _: Option<&[f32]>, blocks: &mut [u8]) {
    for (element, bytes) in elements.iter().zip(blocks.chunks_exact_mut(2)) {
        bytes.copy_from_slice(&half::f16::from_f32(*element).to_le_bytes());
    }
}
