//! AWQ (Lin et al., <https://arxiv.org/abs/2306.00978>) as AutoAWQ writes it, in its `gemm` version: `qweight` `[in, out / 8]`,
//! `qzeros` `[groups, out / 8]`, `scales` `[groups, out]`; eight outputs in a word, even ones first.

use crate::error::Result;

use super::assembly::Assembled;
use super::codes::{Along, Codes};
use super::gptq::Stored;
use super::heads::{Heads, Scales, Second};
use super::ints::{Ints, group_columns};
use super::table::{Table, wrong};

/// The slot in a word of each of 8 outputs.
const SLOTS: [u8; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

pub(super) fn assemble(table: &mut Table, stem: &str) -> Result<Assembled> {
    for key in ["version", "checkpoint_format"] {
        if let Some(version) = table.text(key)?.filter(|version| !version.eq_ignore_ascii_case("gemm")) {
            let reason = format!("it is packed for {version} kernels, and of AWQ only the version gemm is read");
            return Err(wrong(stem, reason));
        }
    }
    let Stored { codes, zeros, scales } = Stored::take(table, stem)?;
    let (rows, columns) = (scales.columns, codes.rows);
    let group = group_columns(stem, columns, scales.rows)?;
    let packed = |matrix| Codes { transposed: true, along: Along::Rows, order: SLOTS, ..Codes::in_order(matrix, 4) };
    let second = Second::Zeros { codes: packed(zeros), group, plus: 0 };
    let heads = Heads { scales: Scales::grid(scales, 1, group, true), second };
    Ints { rows, columns, group, codes: packed(codes), heads, order: None }.assemble(stem)
}
