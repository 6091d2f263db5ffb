//! bitsandbytes' NF4 and FP4 (<https://arxiv.org/abs/2305.14314>), as transformers saves them: `weight` of bytes, the high nibble
//! first, scales in `weight.absmax`, perhaps quantised again, and the rest as JSON in `weight.quant_state.…`.

use plywood_kernels::Format;
use plywood_kernels::formats::codebook;

use crate::error::{Error, Result};
use crate::json::Json;

use super::assembly::{Assembled, Coded, assembled, fitting};
use super::codes::Codes;
use super::heads::{Heads, Nested, Scales, Second, Spread};
use super::matrix::{Element, Matrix};
use super::table::{Table, wrong};

/// Nibbles of a byte, the high one first.
const SLOTS: [u8; 8] = [1, 0, 1, 0, 1, 0, 1, 0];

/// The longest `quant_state`, in bytes.
const STATE_LIMIT: usize = 1 << 16;

pub(super) fn nf4(table: &mut Table, stem: &str) -> Result<Assembled> {
    assemble(table, stem, "nf4", &codebook::NF4, codebook::NF4_FORMATS)
}

pub(super) fn fp4(table: &mut Table, stem: &str) -> Result<Assembled> {
    assemble(table, stem, "fp4", &codebook::FP4, codebook::FP4_FORMATS)
}

fn assemble(table: &mut Table, stem: &str, kind: &str, numbers: &[f32; 16], formats: [Format; 2]) -> Result<Assembled> {
    let state = state(table, stem, kind)?;
    let wanted = |key: &str| state.integer(key)?.ok_or_else(|| state.missing(key));
    let shape = state.integers("shape")?;
    let [rows, columns] = shape[..] else {
        return Err(wrong(stem, format!("it has shape {shape:?}, and should be a matrix")));
    };
    let (rows, columns, group) = (rows as usize, columns as usize, wanted("blocksize")? as usize);
    // A block's columns share a scale where blocks divide both a row and a group.
    let uneven = || wrong(stem, format!("rows of {columns} in blocks of {group} are no multiples of 32"));
    let format = fitting(formats, columns, group).ok_or_else(uneven)?;
    check_table(table, stem, numbers)?;
    let byte = [Element::Byte];
    let codes = Matrix::of_bytes(table.required(stem, ".weight")?).reshaped(rows, columns / 2)?;
    let absmax = table.required(stem, ".weight.absmax")?;
    let (matrix, nested) = match table.take(stem, ".weight.nested_absmax") {
        None => (Matrix::of(absmax, &[Element::Single])?, None),
        Some(scales) => {
            let map = Matrix::of(table.required(stem, ".weight.nested_quant_map")?, &[Element::Single])?;
            map.check(256, 1)?;
            let map = map.read_all(table.files)?.chunks_exact(4).map(|bytes| map.element.number(bytes)).collect();
            let group = wanted("nested_blocksize")? as usize;
            let offset = state.number("nested_offset")?.unwrap_or(0.0) as f32;
            let scales = Matrix::of(scales, &[Element::Single])?;
            if group == 0 {
                return Err(state.wrong("nested_blocksize", group, "above 0"));
            }
            (Matrix::of(absmax, &byte)?, Some(Nested { table: map, scales, group, offset }))
        }
    };
    let groups = matrix.rows.saturating_mul(matrix.columns);
    let scales = Scales { matrix: matrix.reshaped(groups, 1)?, spread: Spread::Flat { group }, nested };
    let codes = Codes { order: SLOTS, ..Codes::in_order(codes, 4) };
    assembled(
        stem,
        rows,
        Coded { format, columns, codes, heads: Heads { scales, second: Second::Nothing }, order: None },
    )
}

/// The settings in the bytes of a tensor.
fn state(table: &mut Table, stem: &str, kind: &str) -> Result<Json> {
    let tensor =
        Matrix::of(table.required(stem, &format!(".weight.quant_state.bitsandbytes__{kind}"))?, &[Element::Byte])?;
    if tensor.rows > STATE_LIMIT {
        return Err(wrong(&tensor.name, format!("it has {} bytes", tensor.rows)));
    }
    let bytes = tensor.read(table.files, 0..tensor.rows, 0..tensor.columns)?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| wrong(&tensor.name, format!("it is no JSON: {error}")))?;
    Ok(Json { file: tensor.name.into(), value })
}

/// Checks that the file's own table is the one that the format has.
fn check_table(table: &mut Table, stem: &str, numbers: &[f32; 16]) -> Result<()> {
    let Some(map) = table.take(stem, ".weight.quant_map") else { return Ok(()) };
    let map = Matrix::of(map, &[Element::Single])?;
    map.check(16, 1)?;
    let stored = map.read_all(table.files)?;
    let differs = |(bytes, number): (&[u8], &f32)| (map.element.number(bytes) - number).abs() > 1e-6;
    if stored.chunks_exact(4).zip(numbers).any(differs) {
        return Err(Error::WrongNumbers { tensor: map.name, wanted: "the numbers that bitsandbytes gives its codes" });
    }
    Ok(())
}
