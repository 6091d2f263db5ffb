//! Cases of the router.

use super::{Gating, Groups, Route};
use crate::cases::Case;
use crate::graph::{Rows, Weight};
use crate::moe_combine::MoeCombine;
use crate::op::Op;

/// One expert and hundreds, all chosen and few, equal logits, logits where exp overflows, groups scored by one and by two.
pub fn cases() -> Vec<Case> {
    let groups = |count, kept, best| Some(Groups { count, kept, best });
    let (softmax, sigmoid) = (Gating::Softmax, Gating::Sigmoid);
    [
        case(softmax, 1, 1, 1, None, false),
        case(softmax, 8, 2, 5, None, false),
        case(softmax, 60, 4, 130, None, false),
        case(softmax, 128, 8, 1, None, false),
        case(softmax, 160, 6, 9, groups(8, 3, 1), false),
        case(sigmoid, 7, 7, 3, None, true),
        case(sigmoid, 256, 8, 17, groups(8, 4, 2), true),
        case(sigmoid, 513, 3, 2, groups(3, 2, 1), false),
        case(sigmoid, 24, 4, 33, groups(6, 2, 2), false),
        case(sigmoid, 1000, 16, 3, None, true),
        of_magnitude(case(softmax, 33, 5, 20, None, false), 1e4, 0.0),
        of_magnitude(case(softmax, 12, 5, 20, groups(4, 2, 1), false), 2.0, 0.5),
        of_magnitude(case(sigmoid, 16, 5, 20, None, false), 2.0, 0.5),
    ]
    .to_vec()
}

fn of_magnitude(mut case: Case, magnitude: f32, grain: f32) -> Case {
    (case.magnitude, case.grain) = (magnitude, grain);
    case.name += &format!(", to {magnitude:e} in steps of {grain}");
    case
}

fn case(gating: Gating, experts: usize, chosen: usize, tokens: usize, groups: Option<Groups>, corrected: bool) -> Case {
    let name = format!("{gating:?} {tokens}x{experts} to {chosen}, {groups:?}, corrected {corrected}");
    let mut case = Case::new("route", name, tokens);
    case.magnitude = 3.0;
    let logits = case.graph.input("logits", Rows::Tokens, experts);
    let routes = case.graph.value("routes", Rows::Tokens, 2 * chosen);
    let correction: Vec<f32> = (0..experts).map(|expert| (expert as f32 * 1.3).sin()).collect();
    let correction =
        corrected.then(|| ("correction", case.graph.weight(Weight::computed("correction", experts, correction))));
    let route = Route { chosen, gating, normalised: corrected, scale: 2.5, groups };
    let all = case.graph.whole(logits);
    case.graph.node(Op::Route(route), &[("logits", all)], correction.as_slice(), None, Some(routes));
    case.output(routes);
    // Beside the ids, errors of shares would not show.
    let results = case.graph.input("results", Rows::Tokens, chosen);
    let addend = case.graph.input("addend", Rows::Tokens, 1);
    let combined = case.graph.value("combined", Rows::Tokens, 1);
    let inputs = [("results", results), ("routes", routes), ("addend", addend)];
    let inputs = inputs.map(|(name, value)| (name, case.graph.whole(value)));
    case.graph.node(Op::MoeCombine(MoeCombine { slots: chosen }), &inputs, &[], None, Some(combined));
    case.output(combined);
    case
}
