//! GPTQ (Frantar et al., <https://arxiv.org/abs/2210.17323>) as AutoGPTQ and GPTQModel write it: `qweight`
//! `[in * bits / 32, out]`, `qzeros` `[groups, out * bits / 32]`, `scales` `[groups, out]`, `g_idx` `[in]`.
//!
//! The first version of the format stores zero points minus 1. With activation order `g_idx` says each column's group.

use crate::error::Result;

use super::assembly::Assembled;
use super::codes::{Along, Codes};
use super::heads::{Heads, Scales, Second};
use super::ints::{Ints, check_bits, group_columns, group_order};
use super::matrix::{Element, Matrix, NUMBERS};
use super::table::{Table, wrong};

/// The stored tensors that AWQ and GPTQ share.
pub(super) struct Stored {
    pub codes: Matrix,
    pub zeros: Matrix,
    pub scales: Matrix,
}

impl Stored {
    pub fn take(table: &mut Table, stem: &str) -> Result<Stored> {
        let words = |tensor| Matrix::of(tensor, &[Element::Word]);
        Ok(Stored {
            codes: words(table.required(stem, ".qweight")?)?,
            zeros: words(table.required(stem, ".qzeros")?)?,
            scales: Matrix::of(table.required(stem, ".scales")?, &NUMBERS)?,
        })
    }
}

pub(super) fn assemble(table: &mut Table, stem: &str) -> Result<Assembled> {
    let plus = match table.text("checkpoint_format")? {
        None | Some("gptq") => 1,
        Some("gptq_v2") => 0,
        Some(other) => return Err(wrong(stem, format!("it is packed as {other}, and only gptq and gptq_v2 are read"))),
    };
    let symmetric = table.section().map(|section| section.boolean("sym")).transpose()?.flatten();
    let Stored { codes, zeros, scales } = Stored::take(table, stem)?;
    let bits = check_bits(stem, zeros.columns.saturating_mul(32).checked_div(scales.columns).unwrap_or(0))?;
    let (rows, columns) = (scales.columns, codes.rows.saturating_mul(32 / bits));
    let group = group_columns(stem, columns, scales.rows)?;
    let order = match table.take(stem, ".g_idx") {
        Some(tensor) => group_order(table.files, tensor, columns, scales.rows)?,
        None => None,
    };
    let packed = |matrix, along| Codes { transposed: true, along, ..Codes::in_order(matrix, bits) };
    let codes = packed(codes, Along::Columns);
    let second = match symmetric {
        // Whatever is stored: makers disagree on whether it is minus 1.
        Some(true) => Second::Zero(1 << (bits - 1)),
        _ => Second::Zeros { codes: packed(zeros, Along::Rows), group, plus },
    };
    let heads = Heads { scales: Scales::grid(scales, 1, group, true), second };
    Ints { rows, columns, group, codes, heads, order }.assemble(stem)
}
