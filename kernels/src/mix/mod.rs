//! What a token's experts gave, added up by their shares.

use crate::cases::Case;
use crate::graph::Rows;
use crate::op::{Binding, Dispatch, Kernel, Lowered, Op, Site};
use crate::reference::Operands;
use crate::route::{Gating, Route};

/// Inputs: results `[tokens, slots * width]`, routes `[tokens, 2 * slots]` of [`Route`], an addend `[tokens, width]`; then perhaps what
/// a shared expert gave `[tokens, width]` and its gate `[tokens, 1]`.
///
/// Output `[tokens, width]`: the addend, plus each slot's result times its share, plus the shared expert's times the logistic function of its
/// gate.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Results of a token.
    pub slots: usize,
}

impl Kernel for Mix {
    fn name(&self) -> &'static str {
        "mix"
    }

    fn lower(&self, site: &Site) -> Lowered {
        let is_shared = site.inputs.len() > 3;
        let shared = match is_shared {
            true => include_str!("shared_gated.wgsl"),
            false => include_str!("shared_none.wgsl"),
        };
        let mut bindings = vec![Binding::Input(0), Binding::Input(1), Binding::Input(2), Binding::Output];
        bindings.extend((3..site.inputs.len()).map(Binding::Input));
        let shader = ("mix", include_str!("mix.wgsl"));
        let modules = vec![("shared", shared)];
        Lowered::one(Dispatch::elementwise(site, shader, modules, &[self.slots as u32], bindings))
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let [results, routes, addend, ..] = operands.inputs[..] else { unreachable!("three inputs at least") };
        let number = |number: &f32| f64::from(*number);
        let mixed = |row: usize, column: usize| {
            let result = |slot: usize| number(&results.row(row)[slot * addend.width + column]);
            let share = |slot: usize| number(&routes.row(row)[self.slots + slot]);
            let shared = operands.inputs.get(3).map_or(0.0, |shared| {
                let gate = number(&operands.inputs[4].row(row)[0]);
                number(&shared.row(row)[column]) / (1.0 + (-gate).exp())
            });
            let sum: f64 = (0..self.slots).map(|slot| share(slot) * result(slot)).sum();
            (number(&addend.row(row)[column]) + sum + shared) as f32
        };
        (0..operands.rows).flat_map(|row| (0..addend.width).map(move |column| mixed(row, column))).collect()
    }
}

/// One slot and many, with a shared expert and without, gates where exp overflows.
pub fn cases() -> Vec<Case> {
    let case = |(slots, width, tokens, shared, magnitude): (usize, usize, usize, bool, f32)| {
        let name = format!("{tokens}x{slots}x{width}, shared {shared}, to {magnitude:e}");
        let mut case = Case::new("mix", name, tokens);
        case.magnitude = magnitude;
        let logits = case.graph.input("logits", Rows::Tokens, slots + 1);
        let routes = case.graph.value("routes", Rows::Tokens, 2 * slots);
        let route = Route { chosen: slots, gating: Gating::Softmax, normalised: false, scale: 1.5, groups: None };
        let all = case.graph.whole(logits);
        case.graph.node(Op::Route(route), &[all], &[], None, Some(routes));
        let mut inputs = vec![case.graph.input("results", Rows::Tokens, slots * width), routes];
        inputs.push(case.graph.input("addend", Rows::Tokens, width));
        if shared {
            inputs.push(case.graph.input("shared", Rows::Tokens, width));
            inputs.push(case.graph.input("gate", Rows::Tokens, 1));
        }
        let output = case.graph.value("mixed", Rows::Tokens, width);
        let inputs: Vec<_> = inputs.into_iter().map(|value| case.graph.whole(value)).collect();
        case.graph.node(Op::Mix(Mix { slots }), &inputs, &[], None, Some(output));
        case.output(output);
        case
    };
    [(1, 1, 1, false, 1.0), (2, 33, 5, true, 3.0), (8, 172, 130, false, 1.0), (4, 64, 9, true, 1e4)].map(case).to_vec()
}
