//! What a token's experts gave, added up by their shares.

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Launch, Lowered};
use crate::graph::Rows;
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision};
use crate::op::{Kernel, Op};
use crate::params;
use crate::reference::Operands;
use crate::route::{Gating, Route};

/// Inputs: `results` `[tokens, slots * width]`, `routes` `[tokens, 2 * slots]` of [`Route`], `addend` `[tokens, width]`; and where there is a
/// shared expert, what it gave, `shared_results` `[tokens, width]`, and its gate, `shared_gate` `[tokens, 1]`.
///
/// Output `[tokens, width]`: the addend, plus each slot's result times its share, plus the shared expert's times the logistic function of its
/// gate.
#[derive(Debug, Clone)]
pub struct MoeCombine {
    /// Results of a token.
    pub slots: usize,
}

impl Kernel for MoeCombine {
    fn name(&self) -> &'static str {
        "moe_combine"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let shared = match context.inputs.has("shared_results") {
            true => include_str!("shared_gated.wgsl"),
            false => include_str!("shared_none.wgsl"),
        };
        let shader = ("moe_combine", include_str!("moe_combine.wgsl"));
        let modules = vec![("shared", shared)];
        Lowered::one(Launch::elementwise(context, shader, modules, params! { slots: self.slots as u32 }, vec![]))
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        run.each_row(self.slots * run.operands.inputs["addend"].width, |operands, row, out| {
            let [results, routes, addend] = ["results", "routes", "addend"].map(|name| operands.inputs[name].row(row));
            out.copy_from_slice(addend);
            let mut add = |numbers: &[f32], factor: f32| {
                out.iter_mut().zip(numbers).for_each(|(out, number)| *out += number * factor);
            };
            for (result, share) in results.chunks_exact(addend.len()).zip(&routes[self.slots..]) {
                add(result, *share);
            }
            if let Some(shared) = operands.inputs.get("shared_results") {
                let gate = f64::from(operands.inputs["shared_gate"].row(row)[0]);
                add(shared.row(row), (1.0 / (1.0 + (-gate).exp())) as f32);
            }
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let [results, routes, addend] = ["results", "routes", "addend"].map(|name| operands.inputs[name]);
        let number = |number: &f32| f64::from(*number);
        let combined = |row: usize, column: usize| {
            let result = |slot: usize| number(&results.row(row)[slot * addend.width + column]);
            let share = |slot: usize| number(&routes.row(row)[self.slots + slot]);
            let shared = operands.inputs.get("shared_results").map_or(0.0, |shared| {
                let gate = number(&operands.inputs["shared_gate"].row(row)[0]);
                number(&shared.row(row)[column]) / (1.0 + (-gate).exp())
            });
            let sum: f64 = (0..self.slots).map(|slot| share(slot) * result(slot)).sum();
            (number(&addend.row(row)[column]) + sum + shared) as f32
        };
        (0..operands.rows).flat_map(|row| (0..addend.width).map(move |column| combined(row, column))).collect()
    }
}

/// One slot and many, with a shared expert and without, gates where exp overflows.
pub fn cases() -> Vec<Case> {
    let case = |(slots, width, tokens, shared, magnitude): (usize, usize, usize, bool, f32)| {
        let name = format!("{tokens}x{slots}x{width}, shared {shared}, to {magnitude:e}");
        let mut case = Case::new("moe_combine", name, tokens);
        case.magnitude = magnitude;
        let logits = case.graph.input("logits", Rows::Tokens, slots + 1);
        let routes = case.graph.value("routes", Rows::Tokens, 2 * slots);
        let route = Route { chosen: slots, gating: Gating::Softmax, normalised: false, scale: 1.5, groups: None };
        let all = case.graph.whole(logits);
        case.graph.node(Op::Route(route), &[("logits", all)], &[], None, Some(routes));
        let results = case.graph.input("results", Rows::Tokens, slots * width);
        let mut inputs = vec![("results", results), ("routes", routes)];
        inputs.push(("addend", case.graph.input("addend", Rows::Tokens, width)));
        if shared {
            inputs.push(("shared_results", case.graph.input("shared", Rows::Tokens, width)));
            inputs.push(("shared_gate", case.graph.input("gate", Rows::Tokens, 1)));
        }
        let output = case.graph.value("combined", Rows::Tokens, width);
        let inputs: Vec<_> = inputs.into_iter().map(|(name, value)| (name, case.graph.whole(value))).collect();
        case.graph.node(Op::MoeCombine(MoeCombine { slots }), &inputs, &[], None, Some(output));
        case.output(output);
        case
    };
    [(1, 1, 1, false, 1.0), (2, 33, 5, true, 3.0), (8, 172, 130, false, 1.0), (4, 64, 9, true, 1e4)].map(case).to_vec()
}
