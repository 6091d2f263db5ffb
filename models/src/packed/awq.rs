//! AWQ (Lin et al., <https://arxiv.org/abs/2306.00978>) as AutoAWQ writes it, in its `gemm` version: `qweight` `[in, out / 8]`,
//! `qzeros` `[groups, out / 8]`, `scales` `[groups, out]`; eight outputs in a word, even ones first.

use crate::error::Result;

use super::codes::{Along, Codes};
use super::gptq::Stored;
use super::{Assembled, Table, wrong};

/// The slot in a word of each of 8 outputs.
const SLOTS: [u8; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

pub(super) fn assemble(table: &mut Table, stem: &str) -> Result<Assembled> {
    let section = table.sections.first();
    if let Some(version) = section.map(|section| section.text("version")).transpose()?.flatten()
        && !version.eq_ignore_ascii_case("gemm")
    {
        return Err(wrong(stem, format!("it is packed for {version} kernels, and only AWQ's version gemm is read")));
    }
    let stored = Stored::take(table, stem)?;
    let packed = |matrix| Codes { transposed: true, along: Along::Rows, order: SLOTS, ..Codes::in_order(matrix, 4) };
    let columns = stored.codes.rows;
    let codes = packed(stored.codes);
    stored.groups.assemble(stem, columns, codes, packed(stored.zeros), 0, None)
}
