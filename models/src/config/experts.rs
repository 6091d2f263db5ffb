//! The settings of a mixture of experts.

use plywood_kernels::route::{Gating, Groups};

/// A mixture of experts: which layers have one, and how tokens are sent to experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Experts of a layer.
    pub count: usize,
    /// Experts of a token.
    pub chosen: usize,
    /// Elements inside an expert.
    pub width: usize,
    /// What makes scores of the router's logits.
    pub gating: Gating,
    /// Whether the shares of a token's experts are made to add up to 1.
    pub normalised: bool,
    /// What shares are multiplied by.
    pub scale: f32,
    /// Groups of experts, of which some are left out.
    pub groups: Option<Groups>,
    /// Elements inside the expert that all tokens go through, if there is one.
    pub shared: Option<usize>,
    /// Of each layer, whether it has experts; others have one feed-forward.
    pub layers: Vec<bool>,
}

/// How many experts of a group tell how good it is, by what makes the scores (llama.cpp's rule).
pub(super) fn best_of_group(gating: Gating) -> usize {
    match gating {
        Gating::Softmax => 1,
        Gating::Sigmoid => 2,
    }
}

impl Experts {
    /// What does not fit together: a number's name, the number, and what it should be.
    pub(super) fn check(&self, largest: u64, most_experts: usize) -> Option<(&'static str, String, String)> {
        let sizes = [
            ("the number of experts", self.count, most_experts as u64),
            ("the number of experts of a token", self.chosen, self.count as u64),
            ("the width of an expert", self.width, largest),
            ("the width of the shared expert", self.shared.unwrap_or(1), largest),
        ];
        for (name, found, limit) in sizes {
            if found == 0 || found as u64 > limit {
                return Some((name, found.to_string(), format!("from 1 to {limit}")));
            }
        }
        if !self.width.is_multiple_of(4) {
            return Some(("the width of an expert", self.width.to_string(), "a multiple of 4".into()));
        }
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return Some(("the scale of experts' shares", self.scale.to_string(), "a number above 0".into()));
        }
        let groups = self.groups?;
        if groups.count == 0 || !self.count.is_multiple_of(groups.count) {
            let wanted = format!("a divisor of the number of experts, {}", self.count);
            return Some(("the number of groups of experts", groups.count.to_string(), wanted));
        }
        let group = self.count / groups.count;
        if groups.kept == 0 || groups.kept > groups.count || groups.kept * group < self.chosen {
            let wanted = format!("at most {}, with {} experts at least", groups.count, self.chosen);
            return Some(("the number of groups of a token", groups.kept.to_string(), wanted));
        }
        if groups.best > group {
            return Some(("the size of a group of experts", group.to_string(), format!("{} at least", groups.best)));
        }
        None
    }
}
