//! Cases of the grouped matmul.

use super::{GroupedMatMul, Stack};
use crate::cases::Case;
use crate::formats::{self, Format};
use crate::gated::Activation;
use crate::graph::{Rows, Weight};
use crate::op::Op;
use crate::route::{Gating, Route};

/// What is multiplied.
#[derive(Debug, Clone, Copy)]
struct Shape {
    matrices: usize,
    slots: usize,
    parts: usize,
    rows: usize,
    columns: usize,
    stack: Stack,
}

/// How slots come to their matrices and their inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputRows {
    /// Chosen, one input for all slots.
    Chosen,
    /// Chosen, an input for each slot.
    ChosenApart,
    /// Each its own, an input for each slot.
    Own,
    /// The same, the first elements of a wider one.
    OwnFirst,
}

/// Every format, chosen and own; more tokens of one matrix than a tile holds, matrices that nobody chose, odd rows and widths,
/// biases, shards that end within a matrix.
pub fn cases() -> Vec<Case> {
    let shape = |matrices, slots, parts, rows, columns| Shape {
        matrices,
        slots,
        parts,
        rows,
        columns,
        stack: Stack::PartByPart,
    };
    let mut cases = Vec::new();
    for format in formats::GGUF {
        cases.push(case(format, shape(5, 2, 2, 37, 64), 1, InputRows::Chosen, false, 1.0));
        cases.push(case(format, shape(5, 2, 2, 37, 64), 45, InputRows::Chosen, false, 1.0));
    }
    for format in &formats::GGUF[..3] {
        for tokens in [1, 3, 8, 9, 130] {
            cases.push(case(*format, shape(7, 3, 1, 70, 96), tokens, InputRows::ChosenApart, true, 1.0));
            cases.push(case(*format, shape(3, 3, 1, 33, 64), tokens, InputRows::Own, false, 1.0));
            cases.push(case(*format, shape(4, 4, 1, 24, 96), tokens, InputRows::OwnFirst, false, 1.0));
            let mut sharded = case(*format, shape(6, 2, 2, 40, 64), tokens, InputRows::Chosen, true, 1.0);
            // Room for a few rows.
            sharded.max_shard = Some(16 * 1024);
            sharded.name += ", in shards";
            cases.push(sharded);
        }
    }
    for stack in [Stack::PartByPart, Stack::MatrixByMatrix, Stack::RowByRow] {
        let shape = Shape { stack, ..shape(6, 2, 2, 41, 64) };
        for tokens in [3, 20] {
            let plain = case(formats::F16, shape, tokens, InputRows::Chosen, true, 1.0);
            let gated = gated(plain.clone());
            let sharded =
                Case { max_shard: Some(16 * 1024), name: format!("{}, in shards", gated.name), ..gated.clone() };
            cases.extend([plain, gated, sharded]);
        }
    }
    // As many as there may be.
    cases.push(case(formats::F32, shape(1000, 2, 1, 2, 4), 20, InputRows::Chosen, false, 1.0));
    for tokens in [2, 40] {
        cases.push(case(formats::F32, shape(4, 4, 1, 9, 12), tokens, InputRows::Own, false, 1e5));
        cases.push(case(formats::F32, shape(1, 1, 1, 9, 20), tokens, InputRows::OwnFirst, false, 1.0));
        cases.push(case(formats::F32, shape(300, 8, 2, 5, 20), tokens, InputRows::Chosen, true, 1e5));
    }
    cases
}

/// Gate and up of 8 out of 32 experts in the shape of Qwen3-30B-A3B, for a token and a prompt.
pub fn large_cases() -> Vec<Case> {
    let shape = Shape { matrices: 32, slots: 8, parts: 2, rows: 768, columns: 2048, stack: Stack::PartByPart };
    let of = |format: Format| [1, 128].map(|tokens| case(format, shape, tokens, InputRows::Chosen, false, 1.0));
    formats::GGUF[..5].iter().copied().flat_map(of).collect()
}

fn case(format: Format, shape: Shape, tokens: usize, input_rows: InputRows, biased: bool, magnitude: f32) -> Case {
    let Shape { matrices, slots, parts, rows, columns, stack } = shape;
    let columns = columns.next_multiple_of(format.block_elements);
    let bias = if biased { ", biased" } else { "" };
    let name = format!(
        "{input_rows:?} {tokens}x{columns} by {slots} of {matrices} x {parts} x {rows}, {stack:?}{bias} to {magnitude:e}"
    );
    let mut case = Case::new("grouped_matmul", name, tokens);
    (case.format, case.magnitude) = (Some(format), magnitude);
    let width = match input_rows {
        InputRows::Chosen => columns,
        InputRows::ChosenApart | InputRows::Own => slots * columns,
        InputRows::OwnFirst => slots * (columns + 8),
    };
    let input = case.graph.input("input", Rows::Tokens, width);
    let mut inputs = vec![("input", case.graph.whole(input))];
    if matches!(input_rows, InputRows::Chosen | InputRows::ChosenApart) {
        let logits = case.graph.input("logits", Rows::Tokens, matrices);
        let routes = case.graph.value("routes", Rows::Tokens, 2 * slots);
        let route = Route { chosen: slots, gating: Gating::Softmax, normalised: true, scale: 1.0, groups: None };
        let all = case.graph.whole(logits);
        case.graph.node(Op::Route(route), &[("logits", all)], &[], None, Some(routes));
        inputs.push(("routes", case.graph.whole(routes)));
    }
    let mut weights = vec![("weight", case.random_weight(&[parts * matrices * rows], columns))];
    if biased {
        let count = parts * matrices * rows;
        let numbers: Vec<f32> = (0..count).map(|row| (row as f32 * 0.7).sin() * 3.0).collect();
        weights.push(("bias", case.graph.weight(Weight::computed("bias", count, numbers))));
    }
    let output = case.graph.value("output", Rows::Tokens, parts * slots * rows);
    let op = Op::GroupedMatMul(GroupedMatMul { matrices, slots, parts, stack, gate: None });
    case.graph.node(op, &inputs, &weights, None, Some(output));
    case.output(output);
    case
}

/// The same of two parts that meet in a gate.
fn gated(mut case: Case) -> Case {
    let last = case.graph.nodes.last_mut().expect("a case has nodes");
    if let (Op::GroupedMatMul(op), Some(output)) = (&mut last.op, last.output) {
        op.gate = Some(Activation::Silu);
        case.graph.values[output.0].width /= 2;
    }
    case.name += ", gated";
    case
}
