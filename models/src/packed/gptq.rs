//! GPTQ (Frantar et al., <https://arxiv.org/abs/2210.17323>) as AutoGPTQ and GPTQModel write it: `qweight`
//! `[in * bits / 32, out]`, `qzeros` `[groups, out * bits / 32]`, `scales` `[groups, out]`, `g_idx` `[in]`.
//!
//! The first version of the format stores zero points minus 1. With activation order `g_idx` says each column's group.

use std::sync::Arc;

use plywood_kernels::formats::int;

use crate::checkpoint::TensorInfo;
use crate::error::Result;
use crate::file::File;

use super::codes::{Along, Codes};
use super::heads::{Heads, Scales, Zero};
use super::matrix::{Element, Matrix};
use super::{Assembled, Assembly, Table, assembled, block_elements, wrong};

/// The stored tensors that AWQ and GPTQ share.
pub(super) struct Stored {
    pub codes: Matrix,
    pub zeros: Matrix,
    pub groups: Groups,
}

/// The scales of the groups, `[groups, out]`.
pub(super) struct Groups {
    scales: Matrix,
}

impl Stored {
    pub fn take(table: &mut Table, stem: &str) -> Result<Stored> {
        let words = |tensor| Matrix::of(tensor, &[Element::Word]);
        let codes = words(table.required(stem, ".qweight")?)?;
        let zeros = words(table.required(stem, ".qzeros")?)?;
        let numbers = [Element::Half, Element::Bfloat, Element::Single];
        let scales = Matrix::of(table.required(stem, ".scales")?, &numbers)?;
        Ok(Stored { codes, zeros, groups: Groups { scales } })
    }
}

impl Groups {
    /// The weight whose groups these are.
    pub fn assemble(
        self,
        stem: &str,
        columns: usize,
        codes: Codes,
        zeros: Codes,
        plus: u16,
        order: Option<Arc<[u32]>>,
    ) -> Result<Assembled> {
        let (groups, rows, bits) = (self.scales.rows, self.scales.columns, codes.bits);
        if groups == 0 || !columns.is_multiple_of(groups) {
            return Err(wrong(stem, format!("{groups} groups do not divide {columns} columns")));
        }
        let group = columns / groups;
        let zero = Zero::Stored { codes: zeros, group, plus };
        let heads = Heads::with_zero(Scales::grid(self.scales, 1, group, true), zero);
        assemble_ints(stem, rows, columns, group, bits, codes, heads, order)
    }
}

/// A weight of integers with a pair of numbers for each group of columns.
#[allow(clippy::too_many_arguments, reason = "they are the facts of a weight")]
pub(super) fn assemble_ints(
    stem: &str,
    rows: usize,
    columns: usize,
    group: usize,
    bits: usize,
    codes: Codes,
    heads: Heads,
    order: Option<Arc<[u32]>>,
) -> Result<Assembled> {
    let block = block_elements(stem, group, &[128, 64, 32])?;
    let format = heads.pair().and_then(|pair| int::format(bits, block, pair));
    let format = format.ok_or_else(|| wrong(stem, format!("codes of {bits} bits are not read, only 4 and 8")))?;
    assembled(stem, rows, Assembly { format, columns, codes, heads, order })
}

pub(super) fn assemble(table: &mut Table, stem: &str) -> Result<Assembled> {
    let section = table.sections.first();
    let text = |key: &str| section.map(|section| section.text(key)).transpose().map(Option::flatten);
    let plus = match text("checkpoint_format")? {
        None | Some("gptq") => 1,
        Some("gptq_v2") => 0,
        Some(other) => {
            return Err(wrong(stem, format!("it is packed as {other}, and only gptq and gptq_v2 are read")));
        }
    };
    let stored = Stored::take(table, stem)?;
    let bits = stored.zeros.columns.saturating_mul(32) / stored.groups.scales.columns.max(1);
    if !matches!(bits, 4 | 8) {
        return Err(wrong(stem, format!("codes of {bits} bits are not read, only 4 and 8")));
    }
    let columns = stored.codes.rows.saturating_mul(32 / bits);
    let order = match table.take(stem, ".g_idx") {
        Some(tensor) => group_order(table.files, tensor, columns, stored.groups.scales.rows)?,
        None => None,
    };
    let packed = |matrix, along| Codes { transposed: true, along, ..Codes::in_order(matrix, bits) };
    let (codes, zeros) = (packed(stored.codes, Along::Columns), packed(stored.zeros, Along::Rows));
    stored.groups.assemble(stem, columns, codes, zeros, plus, order)
}

/// The columns sorted by their groups, out of the group of each; `None` where they are sorted already.
pub(super) fn group_order(
    files: &[File],
    tensor: TensorInfo,
    columns: usize,
    groups: usize,
) -> Result<Option<Arc<[u32]>>> {
    let matrix = Matrix::of(tensor, &[Element::Word])?;
    if matrix.rows == 0 {
        return Ok(None);
    }
    matrix.check(columns, 1)?;
    let of_column: Vec<u32> =
        matrix.read_all(files)?.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let mut sizes = vec![0usize; groups];
    for (column, group) in of_column.iter().enumerate() {
        match sizes.get_mut(*group as usize) {
            Some(size) => *size += 1,
            None => {
                let reason = format!("column {column} belongs to group {}, of {groups}", *group as i32);
                return Err(wrong(&matrix.name, reason));
            }
        }
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
