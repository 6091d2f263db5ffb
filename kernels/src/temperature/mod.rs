//! Queries that grow with their position, so that attention stays as sharp over many keys as over few: Llama 4 does so in
//! some layers (transformers' `modeling_llama4.py`, `attn_scale`), Ministral 3 in all.

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Launch, Lowered, read_tokens};
use crate::graph::{Rows, Slice};
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision};
use crate::op::{Kernel, Op};
use crate::reference::Operands;
use crate::{params, shared};

/// Multiplies each row by `1 + growth * ln(1 + position / span)` of its token's position, the division being whole.
///
/// `input` and output `[tokens, width]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// What the factor grows by with the logarithm.
    pub growth: f32,
    /// Positions, at least 1, in which the factor stays the same; it is 1 in the first of them.
    pub span: u32,
}

impl Kernel for Temperature {
    fn name(&self) -> &'static str {
        "temperature"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let shader = ("temperature", include_str!("temperature.wgsl"));
        let params = params! { growth: self.growth, span: self.span };
        Lowered::one(Launch::elementwise(context, shader, vec![shared::GRID], params, vec![read_tokens()]))
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        run.each_row(run.operands.inputs["input"].width, |operands, row, out| {
            let spans = operands.step.tokens[row].position / self.span;
            let factor = (1.0 + f64::from(self.growth) * f64::from(spans).ln_1p()) as f32;
            out.iter_mut().zip(operands.inputs["input"].row(row)).for_each(|(out, x)| *out = x * factor);
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let mut output = Vec::new();
        for (row, token) in operands.step.tokens.iter().enumerate() {
            let spans = token.position / self.span;
            let factor = 1.0 + f64::from(self.growth) * f64::from(spans).ln_1p();
            output.extend(operands.inputs["input"].row(row).iter().map(|x| (f64::from(*x) * factor) as f32));
        }
        output
    }
}

/// Positions about the ends of spans, far ones, and columns of a wider value.
pub fn cases() -> Vec<Case> {
    let case = |(width, tokens, first, growth, span): (usize, usize, u32, f32, u32)| {
        let mut case = Case::new("temperature", format!("{tokens}x{width} from {first} in spans of {span}"), tokens);
        case.steps[0].tokens.iter_mut().for_each(|token| token.position += first);
        let both = case.graph.input("rotated", Rows::Tokens, width + 16);
        let scaled = case.graph.value("scaled", Rows::Tokens, width);
        let op = Op::Temperature(Temperature { growth, span });
        let input = Slice { value: both, offset: 16, width };
        case.graph.node(op, &[("input", input)], &[], None, Some(scaled));
        case.output(scaled);
        case
    };
    [(1, 1, 0, 0.1, 16), (96, 40, 0, 0.1, 16), (33, 5, 16_382, 1.0, 16_384), (4096, 3, 262_140, 0.1, 16_384)]
        .into_iter()
        .map(case)
        .collect()
}
