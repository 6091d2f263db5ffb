//! MLX's affine quantisation (`mlx.core.quantize`): `weight` `[out, in * bits / 32]`, `scales` and `biases` `[out, groups]`;
//! bits and size of a group are in `config.json`, perhaps for each weight.

use crate::error::Result;
use crate::json::Json;

use super::assembly::Assembled;
use super::codes::Codes;
use super::heads::{Heads, Scales, Second};
use super::ints::{Ints, check_bits};
use super::matrix::{Element, Matrix, NUMBERS};
use super::table::{Table, wrong};

pub(super) fn assemble(table: &mut Table, stem: &str) -> Result<Assembled> {
    let (bits, group) = settings(&table.sections, stem)?;
    let packed = Matrix::of(table.required(stem, ".weight")?, &[Element::Word])?;
    let scales = Matrix::of(table.required(stem, ".scales")?, &NUMBERS)?;
    let biases = Matrix::of(table.required(stem, ".biases")?, &NUMBERS)?;
    let bits = check_bits(stem, bits)?;
    let (rows, columns) = (packed.rows, packed.columns.saturating_mul(32 / bits));
    if group == 0 || !columns.is_multiple_of(group) {
        return Err(wrong(stem, format!("groups of {group} do not divide {columns} columns")));
    }
    let grid = |matrix| Scales::grid(matrix, 1, group, false);
    let heads = Heads { scales: grid(scales), second: Second::Biases(grid(biases)) };
    Ints { rows, columns, group, codes: Codes::in_order(packed, bits), heads, order: None }.assemble(stem)
}

/// Bits of a code and columns of a group: those of this weight, else those of all.
fn settings(sections: &[Json], stem: &str) -> Result<(usize, usize)> {
    for section in sections.iter().rev() {
        // Where a weight is not quantised, false stands in the place of its settings.
        let own = section.get(stem).filter(|own| own.is_object());
        let own = own.map(|own| Json { file: section.file.clone(), value: own.clone() });
        let of = own.as_ref().unwrap_or(section);
        if let Some(mode) = of.text("mode")?.filter(|mode| *mode != "affine") {
            return Err(wrong(stem, format!("it is quantised in MLX's mode {mode}, and only affine is read")));
        }
        if let (Some(bits), Some(group)) = (of.integer("bits")?, of.integer("group_size")?) {
            return Ok((bits as usize, group as usize));
        }
    }
    Err(wrong(stem, "config.json does not say the bits and the group_size of its quantization"))
}
