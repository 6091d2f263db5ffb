//! Products of slots on the host: only matrices that a slot of the step meets are read, each once for all of its slots.

use std::ops::Range;

use super::{GroupedMatMul, Stack};
use crate::gated;
use crate::host::HostRun;
use crate::host::matrix::Input;
use crate::host::output::OutputRows;
use crate::matmul::host::{INTEGER, parts};
use crate::reference::Matrix;

/// The products of a step. A gate after them has rows of its own: what joins it leaves the host out.
pub fn run(op: &GroupedMatMul, run: &mut HostRun) {
    gated::run_products(op.gate, run, |run, into| multiply(op, run, into));
}

/// The products, into the output of the step or other rows.
fn multiply(op: &GroupedMatMul, run: &mut HostRun, into: Option<&OutputRows>) {
    let matrix = run.matrix.expect("the op has a matrix");
    let (input, tokens) = (run.operands.inputs["input"], run.operands.rows);
    let (slots, columns) = (op.slots, matrix.columns);
    let part_rows = matrix.rows() / (op.parts * op.matrices);
    // Rows of input: one for each token, or one for each slot.
    let is_shared = input.width == columns;
    let (per_token, slot_width) = if is_shared { (1, 0) } else { (slots, input.width / slots) };
    let row_of = |row: usize| &input.row(row / per_token)[row % per_token * slot_width..][..columns];
    let is_integer = run.candidate.method() == INTEGER && matrix.takes_integers();
    let scratch = &mut *run.scratch;
    if is_integer {
        scratch.input.quantise(run.isa, run.threads, tokens * per_token, columns, row_of);
    }
    // Single-precision rows must lie at equal distances.
    let floats = &mut scratch.floats;
    floats.clear();
    if !is_integer || !matrix.takes_only_integers() {
        (0..tokens * per_token).for_each(|row| floats.extend_from_slice(row_of(row)));
    }
    let floats = Matrix { data: floats, stride: columns, offset: 0, width: columns };
    let given = if is_integer { Input::Quantised(&scratch.input, floats) } else { Input::Floats(floats) };

    // Slots sorted by their matrices: of each matrix the rows of input, and token and slot of each.
    let routes = run.operands.inputs.get("routes");
    let matrix_of = |token: usize, slot: usize| routes.map_or(slot, |routes| routes.row(token)[slot] as usize);
    let mut listed: Vec<(usize, u32)> = Vec::with_capacity(tokens * slots);
    for token in 0..tokens {
        listed.extend((0..slots).map(|slot| (matrix_of(token, slot), (token * slots + slot) as u32)));
    }
    listed.sort_unstable();
    scratch.rows.clear();
    scratch.rows.extend(listed.iter().map(|(_, slot)| if is_shared { slot / slots as u32 } else { *slot }));
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (place, (matrix, _)) in listed.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if listed[run.start].0 == *matrix => run.end = place + 1,
            _ => runs.push(place..place + 1),
        }
    }

    let strides = op.strides(part_rows);
    let bias = run.operands.weights.get("bias").map(|bias| bias.row(0));
    // The rows of a matrix lie together, or those of each part.
    let pieces = if op.stack == Stack::PartByPart { op.parts } else { 1 };
    let piece_rows = op.parts * part_rows / pieces;
    let cuts = parts(run.threads.count(), tokens).div_ceil(runs.len()).max(1);
    let own = run.output.as_ref().expect("the op writes a value");
    let (isa, output, rows) = (run.isa, into.unwrap_or(own), &scratch.rows);
    run.threads.each(runs.len() * pieces * cuts, &|item| {
        let (run, piece, cut) = (&runs[item / cuts / pieces], item / cuts % pieces, item % cuts);
        let first = match op.stack {
            Stack::PartByPart => piece * strides.part + listed[run.start].0 * strides.matrix,
            Stack::MatrixByMatrix | Stack::RowByRow => listed[run.start].0 * strides.matrix,
        };
        let range = matrix.cut(first..first + piece_rows, cuts, cut);
        matrix.multiply(isa, range, given, &rows[run.clone()], |first, index, products| {
            let slot = listed[run.start + index].1 as usize;
            for (row, product) in (first..).zip(products) {
                let (part, _, row_of_part) = strides.place(row, op.stack);
                let column = (part * slots + slot % slots) * part_rows + row_of_part;
                let bias = bias.as_ref().map_or(0.0, |bias| bias[row]);
                output.put(slot / slots, column, &[product + bias]);
            }
        });
    });
}
