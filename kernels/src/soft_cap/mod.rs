//! Softly bounded numbers: `cap * tanh(x / cap)`, as Gemma 2 bounds its logits (<https://arxiv.org/abs/2408.00118>).

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Launch, Lowered};
use crate::graph::Rows;
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision};
use crate::op::{Kernel, Op};
use crate::reference::Operands;
use crate::simd::{Lanes, WithLanes, math};
use crate::{params, shared};

/// `input` and output of one shape.
#[derive(Debug, Clone)]
pub struct SoftCap {
    /// What no result is beyond.
    pub cap: f32,
}

impl Kernel for SoftCap {
    fn name(&self) -> &'static str {
        "soft_cap"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let shader = ("soft_cap", include_str!("soft_cap.wgsl"));
        let modules = vec![shared::GRID, shared::TANH];
        Lowered::one(Launch::elementwise(context, shader, modules, params! { cap: self.cap }, vec![]))
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        let isa = run.isa;
        run.each_row(20 * run.operands.inputs["input"].width, |operands, row, out| {
            isa.run(CappedRow { cap: self.cap, input: operands.inputs["input"].row(row), out });
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let cap = f64::from(self.cap);
        let bounded = |x: &f32| (cap * (f64::from(*x) / cap).tanh()) as f32;
        (0..operands.rows).flat_map(|row| operands.inputs["input"].row(row).iter().map(bounded)).collect()
    }
}

/// One row on the host.
struct CappedRow<'a> {
    cap: f32,
    input: &'a [f32],
    out: &'a mut [f32],
}

impl WithLanes for CappedRow<'_> {
    type Output = ();

    // The compiler makes vectors of this.
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        for (out, x) in self.out.iter_mut().zip(self.input) {
            *out = self.cap * math::tanh(x / self.cap);
        }
    }
}

/// Numbers far below the bound, about it, and far above.
pub fn cases() -> Vec<Case> {
    let case = |(width, tokens, magnitude): (usize, usize, f32)| {
        let mut case = Case::new("soft_cap", format!("{tokens}x{width} to {magnitude:e}"), tokens);
        case.magnitude = magnitude;
        let input = case.graph.input("input", Rows::Tokens, width);
        let bounded = case.graph.value("bounded", Rows::Tokens, width);
        let inputs = [("input", case.graph.whole(input))];
        case.graph.node(Op::SoftCap(SoftCap { cap: 30.0 }), &inputs, &[], None, Some(bounded));
        case.output(bounded);
        case
    };
    [(1, 1, 1.0), (33, 5, 0.1), (172, 513, 60.0), (2048, 3, 1e6)].into_iter().map(case).collect()
}
