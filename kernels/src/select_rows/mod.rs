//! The rows of a value whose logits are wanted.

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Binding, Launch, Lowered, read};
use crate::graph::Rows;
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision};
use crate::op::{Kernel, Op};
use crate::reference::Operands;

/// `input` `[tokens, width]`; output `[selected, width]`, the input's rows that the step selects.
#[derive(Debug, Clone)]
pub struct SelectRows;

impl Kernel for SelectRows {
    fn name(&self) -> &'static str {
        "select_rows"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let selected = read("selected", "u32", "[selected]", Binding::Selected);
        let shader = ("select_rows", include_str!("select_rows.wgsl"));
        Lowered::one(Launch::elementwise(context, shader, vec![], vec![], vec![selected]))
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        run.each_row(run.operands.inputs["input"].width, |operands, row, out| {
            out.copy_from_slice(operands.inputs["input"].row(operands.step.selected[row] as usize));
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let input = &operands.inputs["input"];
        operands.step.selected.iter().flat_map(|token| input.row(*token as usize)).copied().collect()
    }
}

/// One token, and many of which few are wanted.
pub fn cases() -> Vec<Case> {
    let case = |(width, tokens): (usize, usize)| {
        let mut case = Case::new("select_rows", format!("{tokens}x{width}"), tokens);
        let input = case.graph.input("input", Rows::Tokens, width);
        let selected = case.graph.value("selected", Rows::Selected, width);
        let inputs = [("input", case.graph.whole(input))];
        case.graph.node(Op::SelectRows(SelectRows), &inputs, &[], None, Some(selected));
        case.output(selected);
        case
    };
    [(1, 1), (33, 5), (2048, 100)].into_iter().map(case).collect()
}
