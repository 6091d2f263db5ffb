//! FP8 (E4M3) weights with a scale for a tensor, a row, or a square of it: `weight` and `weight_scale` (compressed-tensors, vLLM,
//! FBGEMM) or `weight_scale_inv` (DeepSeek), by which codes are multiplied.

use plywood_kernels::formats::fp8;
use serde_json::Value;

use crate::error::Result;
use crate::json::Json;

use super::assembly::{Assembled, Coded, assembled, fitting};
use super::codes::Codes;
use super::heads::{Heads, Scales, Second};
use super::matrix::{Element, Matrix, NUMBERS};
use super::table::{Table, wrong};

/// The names under which scales are found.
const SCALES: [&str; 2] = [".weight_scale_inv", ".weight_scale"];

pub(super) fn assemble(table: &mut Table, stem: &str) -> Result<Assembled> {
    let codes = Matrix::of(table.required(stem, ".weight")?, &[Element::Byte])?;
    let scales = SCALES.iter().find_map(|end| table.take(stem, end));
    let scales = scales.ok_or_else(|| wrong(stem, "its scale, weight_scale or weight_scale_inv, is missing"))?;
    let scales = Matrix::of(scales, &NUMBERS)?;
    let (rows, columns) = (codes.rows, codes.columns);
    let (row_group, group) = groups(table, stem, &scales, rows, columns)?;
    let uneven = || wrong(stem, format!("rows of {columns} in groups of {group} are no multiples of 32"));
    let format = fitting(fp8::ALL, columns, group.min(columns)).ok_or_else(uneven)?;
    let heads = Heads { scales: Scales::grid(scales, row_group, group, false), second: Second::Nothing };
    let codes = Codes { nan: Some(fp8::NAN), ..Codes::in_order(codes, 8) };
    assembled(stem, rows, Coded { format, columns, codes, heads, order: None })
}

/// Rows and columns that share a scale.
fn groups(table: &Table, stem: &str, scales: &Matrix, rows: usize, columns: usize) -> Result<(usize, usize)> {
    if (scales.rows, scales.columns) == (1, 1) {
        return Ok((rows.max(1), columns.max(1)));
    }
    if (scales.rows, scales.columns) == (rows, 1) {
        return Ok((1, columns.max(1)));
    }
    table.fp8_block.ok_or_else(|| {
        let shape = format!("[{}, {}]", scales.rows, scales.columns);
        wrong(stem, format!("config.json has no weight_block_size for scales of shape {shape}"))
    })
}

/// The rows and columns that share a scale by the settings, if these say so.
pub(super) fn block(sections: &[Json]) -> Result<Option<(usize, usize)>> {
    for section in sections {
        // DeepSeek's key; compressed-tensors keeps it with each group of layers.
        let mut sizes = section.integers("weight_block_size")?;
        if let Some(groups) = section.get("config_groups").and_then(Value::as_object) {
            let found = groups.values().filter_map(|group| group.pointer("/weights/block_structure")?.as_array());
            let found = found.map(|sizes| sizes.iter().filter_map(Value::as_u64).collect());
            sizes = found.chain([sizes]).find(|sizes: &Vec<u64>| !sizes.is_empty()).unwrap_or_default();
        }
        if let [row_group, group] = sizes[..]
            && row_group > 0
            && group > 0
        {
            return Ok(Some((row_group as usize, group as usize)));
        }
    }
    Ok(None)
}
