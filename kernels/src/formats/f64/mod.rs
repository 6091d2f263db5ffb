//! F64: IEEE double precision in a file, rounded to single precision wherever it is read.

use super::{Format, FormatInfo, Scale, float_row_bytes};

/// IEEE double precision, computed with in single precision.
pub const F64: Format = Format(&INFO);

static INFO: FormatInfo = FormatInfo {
    name: "f64",
    gguf_id: Some(28),
    block_elements: 1,
    block_bytes: 8,
    scales: &[Scale::double(0)],
    exact_in_f16: false,
    byte_codes: None,
    table: &[],
    device_row_bytes: |elements| float_row_bytes(elements, 4),
    decode: |blocks, elements| {
        for (number, element) in numbers(blocks).zip(elements) {
            *element = number;
        }
    },
    repack: Some(|row, device_row| {
        for (number, bytes) in numbers(row).zip(device_row.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&number.to_le_bytes());
        }
    }),
    encode: Some(|elements, _, blocks| {
        for (element, bytes) in elements.iter().zip(blocks.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&f64::from(*element).to_le_bytes());
        }
    }),
    panel: None,
    wgsl: concat!(
        include_str!("../f32/decode.wgsl"),
        include_str!("../quads_together.wgsl"),
        include_str!("../values.wgsl")
    ),
};

fn numbers(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let (numbers, _) = bytes.as_chunks();
    numbers.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32)
}
