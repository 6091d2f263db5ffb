//! compressed-tensors (<https://github.com/vllm-project/compressed-tensors>): `pack-quantized` integers of 4 and 8 bits
//! (`weight_packed` `[out, in * bits / 32]`), and integers in bytes; FP8 is in [`super::fp8`].

use crate::error::Result;

use super::assembly::Assembled;
use super::codes::{Along, Codes};
use super::heads::{Heads, Scales, Second};
use super::ints::{Ints, check_bits, group_columns, group_order};
use super::matrix::{Element, Matrix, NUMBERS};
use super::table::{Table, wrong};

/// `pack-quantized`.
pub(super) fn packed(table: &mut Table, stem: &str) -> Result<Assembled> {
    let codes = Matrix::of(table.required(stem, ".weight_packed")?, &[Element::Word])?;
    let scales = Matrix::of(table.required(stem, ".weight_scale")?, &NUMBERS)?;
    let shape = Matrix::of(table.required(stem, ".weight_shape")?, &[Element::Long, Element::Word])?;
    shape.check(2, 1)?;
    let stored = shape.read_all(table.files)?;
    let mut sizes = stored.chunks_exact(shape.element.bytes()).map(size);
    let (rows, columns) = (sizes.next().unwrap_or(0), sizes.next().unwrap_or(0));
    let bits = check_bits(stem, codes.columns.saturating_mul(32).checked_div(columns).unwrap_or(0))?;
    let group = group_columns(stem, columns, scales.columns)?;
    let second = match table.take(stem, ".weight_zero_point") {
        None => Second::Zero(1 << (bits - 1)),
        Some(tensor) => {
            let matrix = Matrix::of(tensor, &[Element::Word])?;
            Second::Zeros { codes: Codes { along: Along::Rows, ..Codes::in_order(matrix, bits) }, group, plus: 0 }
        }
    };
    let order = match table.take(stem, ".weight_g_idx") {
        Some(tensor) => group_order(table.files, tensor, columns, scales.columns)?,
        None => None,
    };
    let heads = Heads { scales: Scales::grid(scales, 1, group, false), second };
    Ints { rows, columns, group, codes: Codes::in_order(codes, bits), heads, order }.assemble(stem)
}

/// A little-endian size; what is not one is larger than all.
fn size(bytes: &[u8]) -> usize {
    let mut long = [0; 8];
    long[..bytes.len()].copy_from_slice(bytes);
    usize::try_from(i64::from_le_bytes(long)).unwrap_or(usize::MAX)
}

/// `int-quantized`: signed bytes.
pub(super) fn bytes(table: &mut Table, stem: &str) -> Result<Assembled> {
    if table.take(stem, ".SCB").is_some() {
        return Err(wrong(stem, "it is quantised by LLM.int8 of bitsandbytes, of which NF4 and FP4 are read"));
    }
    let codes = Matrix::of(table.required(stem, ".weight")?, &[Element::Byte])?;
    let scales = Matrix::of(table.required(stem, ".weight_scale")?, &NUMBERS)?;
    let (rows, columns) = (codes.rows, codes.columns);
    let group = group_columns(stem, columns, scales.columns)?;
    let row_group = rows.checked_div(scales.rows).unwrap_or(0).max(1);
    let signed = |matrix| Codes { flip: 128, ..Codes::in_order(matrix, 8) };
    let second = match table.take(stem, ".weight_zero_point") {
        None => Second::Zero(128),
        Some(tensor) => Second::Zeros { codes: signed(Matrix::of(tensor, &[Element::Byte])?), group, plus: 0 },
    };
    let heads = Heads { scales: Scales::grid(scales, row_group, group, false), second };
    Ints { rows, columns, group, codes: signed(codes), heads, order: None }.assemble(stem)
}
