//! compressed-tensors (<https://github.com/vllm-project/compressed-tensors>): `pack-quantized` integers of 4 and 8 bits
//! (`weight_packed` `[out, in * bits / 32]`), and integers in bytes; FP8 is in [`super::fp8`].

use crate::error::Result;

use super::codes::{Along, Codes};
use super::gptq::{assemble_ints, group_order};
use super::heads::{Heads, Scales, Zero};
use super::matrix::{Element, Matrix};
use super::{Assembled, Table, wrong};

const NUMBERS: [Element; 3] = [Element::Half, Element::Bfloat, Element::Single];

/// `pack-quantized`.
pub(super) fn packed(table: &mut Table, stem: &str) -> Result<Assembled> {
    let packed = Matrix::of(table.required(stem, ".weight_packed")?, &[Element::Word])?;
    let scales = Matrix::of(table.required(stem, ".weight_scale")?, &NUMBERS)?;
    let shape = Matrix::of(table.required(stem, ".weight_shape")?, &[Element::Long, Element::Word])?;
    shape.check(2, 1)?;
    let sizes: Vec<usize> =
        shape.read_all(table.files)?.chunks_exact(shape.element.bytes()).map(|bytes| size(bytes)).collect();
    let (rows, columns) = (sizes[0], sizes[1]);
    let bits = packed.columns.saturating_mul(32).checked_div(columns).unwrap_or(0);
    let group = columns.checked_div(scales.columns).unwrap_or(0);
    if group == 0 || group * scales.columns != columns {
        return Err(wrong(stem, format!("{} groups do not divide {columns} columns", scales.columns)));
    }
    if !matches!(bits, 4 | 8) {
        return Err(wrong(stem, format!("codes of {bits} bits are not read, only 4 and 8")));
    }
    let zero = match table.take(stem, ".weight_zero_point") {
        None => Zero::Fixed(1 << (bits - 1)),
        Some(tensor) => {
            let matrix = Matrix::of(tensor, &[Element::Word])?;
            Zero::Stored { codes: Codes { along: Along::Rows, ..Codes::in_order(matrix, bits) }, group, plus: 0 }
        }
    };
    let order = match table.take(stem, ".weight_g_idx") {
        Some(tensor) => group_order(table.files, tensor, columns, scales.columns)?,
        None => None,
    };
    let heads = Heads::with_zero(Scales::grid(scales, 1, group, false), zero);
    assemble_ints(stem, rows, columns, group, bits, Codes::in_order(packed, bits), heads, order)
}

/// A little-endian size; what is not one is larger than all.
fn size(bytes: &[u8]) -> usize {
    let mut long = [0; 8];
    long[..bytes.len()].copy_from_slice(bytes);
    usize::try_from(i64::from_le_bytes(long)).unwrap_or(usize::MAX)
}

/// `int-quantized`: signed bytes.
pub(super) fn bytes(table: &mut Table, stem: &str) -> Result<Assembled> {
    let matrix = Matrix::of(table.required(stem, ".weight")?, &[Element::Byte])?;
    let scales = Matrix::of(table.required(stem, ".weight_scale")?, &NUMBERS)?;
    let (rows, columns) = (matrix.rows, matrix.columns);
    let group = columns.checked_div(scales.columns).unwrap_or(0);
    let row_group = rows.checked_div(scales.rows).unwrap_or(0).max(1);
    if group == 0 || group * scales.columns != columns {
        return Err(wrong(stem, format!("{} groups do not divide {columns} columns", scales.columns)));
    }
    let signed = |matrix| Codes { flip: 128, ..Codes::in_order(matrix, 8) };
    let zero = match table.take(stem, ".weight_zero_point") {
        None => Zero::Fixed(128),
        Some(tensor) => Zero::Stored { codes: signed(Matrix::of(tensor, &[Element::Byte])?), group, plus: 0 },
    };
    let heads = Heads::with_zero(Scales::grid(scales, row_group, group, false), zero);
    assemble_ints(stem, rows, columns, group, 8, signed(matrix), heads, None)
}
