//! The columns of a value in another order, for weights whose columns were sorted by the group that scales them.
//!
//! GPTQ's activation order (`desc_act`) quantises columns by the size of their activations, so that a group's columns lie
//! anywhere. Sorted, a group is a block; then the input must be in the same order.

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Binding, Launch, Lowered, read};
use crate::graph::{Rows, Weight};
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision};
use crate::op::{Kernel, Op};
use crate::random::Random;
use crate::reference::Operands;

/// `input` `[rows, width]`, weight `order` `[1, width]` of whole numbers below `width`, below 2^24; output `[rows, width]`.
#[derive(Debug, Clone)]
pub struct Reorder;

impl Kernel for Reorder {
    fn name(&self) -> &'static str {
        "reorder"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let order = read("order", "f32", "[width], whole numbers", Binding::Shard { weight: "order", shard: 0 });
        let shader = ("reorder", include_str!("reorder.wgsl"));
        Lowered::one(Launch::elementwise(context, shader, vec![], vec![], vec![order]))
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        let order = run.operands.weights["order"].row(0);
        run.each_row(order.len(), |operands, row, out| {
            let input = operands.inputs["input"].row(row);
            out.iter_mut().zip(&order).for_each(|(out, column)| *out = input[*column as usize]);
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let order = operands.weights["order"].row(0);
        let input = &operands.inputs["input"];
        (0..operands.rows).flat_map(|row| order.iter().map(move |column| input.row(row)[*column as usize])).collect()
    }
}

/// A weight that says which column of the input each column of the output is.
pub fn order_weight(name: String, order: &[u32]) -> Weight {
    let numbers: Vec<f32> = order.iter().map(|column| *column as f32).collect();
    Weight::computed(name, order.len(), numbers)
}

/// Shuffled columns: one, and widths that nothing divides.
pub fn cases() -> Vec<Case> {
    let case = |(width, tokens): (usize, usize)| {
        let mut case = Case::new("reorder", format!("{tokens}x{width}"), tokens);
        let mut order: Vec<u32> = (0..width as u32).collect();
        Random::new(width as u64).shuffle(&mut order);
        let input = case.graph.input("input", Rows::Tokens, width);
        let weight = case.graph.weight(order_weight("order".into(), &order));
        let reordered = case.graph.value("reordered", Rows::Tokens, width);
        let inputs = [("input", case.graph.whole(input))];
        case.graph.node(Op::Reorder(Reorder), &inputs, &[("order", weight)], None, Some(reordered));
        case.output(reordered);
        case
    };
    [(1, 1), (33, 5), (2048, 100)].into_iter().map(case).collect()
}
