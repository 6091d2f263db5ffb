//! Microscaled floats of 4 bits as gpt-oss keeps its experts: `…_blocks` `[.., columns / 32, 16]` of bytes, the low nibble first, and
//! `…_scales` `[.., columns / 32]`, exponents that 32 columns share.

use plywood_kernels::formats::MICROSCALED;

use crate::error::Result;

use super::assembly::{Assembled, Coded, assembled};
use super::codes::Codes;
use super::heads::{Heads, Scales, Second};
use super::matrix::Matrix;
use super::table::{Table, wrong};

pub(super) fn assemble(table: &mut Table, stem: &str) -> Result<Assembled> {
    let blocks = table.required(stem, "_blocks")?;
    let scales = table.required(stem, "_scales")?;
    let [matrices @ .., groups, 16] = &blocks.shape[..] else {
        return Err(wrong(&blocks.name, format!("it has shape {:?}, and should end with [groups, 16]", blocks.shape)));
    };
    let too_large = || wrong(&blocks.name, "it is impossibly large");
    let rows = matrices.iter().try_fold(1usize, |rows, size| rows.checked_mul(*size)).ok_or_else(too_large)?;
    let columns = groups.checked_mul(32).ok_or_else(too_large)?;
    let shape = [matrices, &[columns]].concat();
    let codes = Codes::in_order(Matrix::of_bytes(blocks).reshaped(rows, columns / 2)?, 4);
    let scales = Scales::grid(Matrix::of_bytes(scales).reshaped(rows, columns / 32)?, 1, 32, false);
    let heads = Heads { scales, second: Second::Nothing };
    let (tensor, assembly) = assembled(stem, rows, Coded { format: MICROSCALED, columns, codes, heads, order: None })?;
    Ok((crate::weights::TensorInfo { shape, ..tensor }, assembly))
}
