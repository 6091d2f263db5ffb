//! Integers of 4 and 8 bits in groups of columns, whoever published them.

use std::sync::Arc;

use plywood_kernels::formats::int;

use crate::error::Result;
use crate::file::File;
use crate::weights::TensorInfo;

use super::assembly::{Assembled, Coded, assembled, fitting};
use super::codes::Codes;
use super::heads::Heads;
use super::matrix::{Element, Matrix};
use super::table::wrong;

/// A weight of integers.
pub struct Ints {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Columns of a group.
    pub group: usize,
    /// The codes.
    pub codes: Codes,
    /// Scales, and zero points or biases.
    pub heads: Heads,
    /// The order of the columns.
    pub order: Option<Arc<[u32]>>,
}

impl Ints {
    /// The weight of this name.
    pub fn assemble(self, stem: &str) -> Result<Assembled> {
        let Ints { rows, columns, group, codes, heads, order } = self;
        let formats = heads.pair().into_iter().flat_map(|pair| int::formats(codes.bits, pair));
        let uneven = || wrong(stem, format!("groups of {group} columns are no multiple of 32"));
        let format = fitting(formats, columns, group).ok_or_else(uneven)?;
        assembled(stem, rows, Coded { format, columns, codes, heads, order })
    }
}

/// Bits of a code that are read.
pub fn check_bits(stem: &str, bits: usize) -> Result<usize> {
    match bits {
        4 | 8 => Ok(bits),
        _ => Err(wrong(stem, format!("codes of {bits} bits are not read, only 4 and 8"))),
    }
}

/// Columns of a group, where this many groups divide them.
pub fn group_columns(stem: &str, columns: usize, groups: usize) -> Result<usize> {
    let group = columns.checked_div(groups).filter(|group| *group > 0 && group * groups == columns);
    group.ok_or_else(|| wrong(stem, format!("{groups} groups do not divide {columns} columns")))
}

/// The columns sorted by their groups, out of the group of each; `None` where they are sorted already, or no groups are given.
pub fn group_order(files: &[File], tensor: TensorInfo, columns: usize, groups: usize) -> Result<Option<Arc<[u32]>>> {
    let matrix = Matrix::of(tensor, &[Element::Word])?;
    if matrix.rows == 0 {
        return Ok(None);
    }
    matrix.check(columns, 1)?;
    let bytes = matrix.read_all(files)?;
    let of_column: Vec<i32> = bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word)).collect();
    // compressed-tensors writes -1 everywhere where there is no order.
    if of_column.iter().all(|group| *group == -1) {
        return Ok(None);
    }
    let mut sizes = vec![0usize; groups];
    for (column, group) in of_column.iter().enumerate() {
        let size = usize::try_from(*group).ok().and_then(|group| sizes.get_mut(group));
        let outside = || wrong(&matrix.name, format!("column {column} belongs to group {group}, of {groups}"));
        *size.ok_or_else(outside)? += 1;
    }
    if let Some(group) = sizes.iter().position(|size| size * groups != columns) {
        let reason = format!("group {group} has {} columns, and all must have as many", sizes[group]);
        return Err(wrong(&matrix.name, reason));
    }
    if of_column.is_sorted() {
        return Ok(None);
    }
    let mut order: Vec<u32> = (0..columns as u32).collect();
    order.sort_by_key(|column| of_column[*column as usize]);
    Ok(Some(order.into()))
}
