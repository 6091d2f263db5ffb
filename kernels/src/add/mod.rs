//! Sum of two values, element by element.

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Launch, Lowered};
use crate::graph::Rows;
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision};
use crate::op::{Kernel, Op};
use crate::reference::Operands;

/// Inputs `a` and `b` of one shape; output a + b.
#[derive(Debug, Clone)]
pub struct Add;

impl Kernel for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let shader = ("add", include_str!("add.wgsl"));
        Lowered::one(Launch::elementwise(context, shader, vec![], vec![], vec![]))
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        run.each_row(run.operands.inputs["a"].width, |operands, row, out| {
            let [a, b] = ["a", "b"].map(|name| operands.inputs[name].row(row));
            out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a + b);
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let (a, b) = (&operands.inputs["a"], &operands.inputs["b"]);
        let sum = |row| a.row(row).iter().zip(b.row(row)).map(|(a, b)| a + b);
        (0..operands.rows).flat_map(sum).collect()
    }
}

/// Odd and even widths, one row and many.
pub fn cases() -> Vec<Case> {
    let case = |(width, tokens): (usize, usize)| {
        let mut case = Case::new("add", format!("{tokens}x{width}"), tokens);
        let a = case.graph.input("a", Rows::Tokens, width);
        let b = case.graph.input("b", Rows::Tokens, width);
        let sum = case.graph.value("sum", Rows::Tokens, width);
        let inputs = [("a", case.graph.whole(a)), ("b", case.graph.whole(b))];
        case.graph.node(Op::Add(Add), &inputs, &[], None, Some(sum));
        case.output(sum);
        case
    };
    [(1, 1), (33, 5), (64, 513), (2048, 3)].into_iter().map(case).collect()
}
