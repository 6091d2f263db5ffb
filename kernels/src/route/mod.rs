//! The router of a mixture of experts (Shazeer et al., <https://arxiv.org/abs/1701.06538>): which experts a token is sent to, and
//! with which shares.

mod cases;

use std::cmp::Ordering;

use crate::candidate::Candidate;
use crate::dispatch::{Binding, Count, Extent, Grid, Launch, Lowered, Work, read, write};
use crate::lowering::LoweringContext;
use crate::op::Kernel;
use crate::reference::Operands;
use crate::{params, shared};

pub use self::cases::cases;

/// `logits` `[tokens, experts]`; perhaps a weight `correction` `[experts]` in F32, which is added to the scores for the choice but not to the shares.
///
/// Output `[tokens, 2 * chosen]`: the ids of the experts as numbers, from the best on, the lower id first of equals, then their
/// shares.
#[derive(Debug, Clone)]
pub struct Route {
    /// Experts of a token.
    pub chosen: usize,
    /// What makes scores of logits.
    pub gating: Gating,
    /// Whether the shares are divided by their sum.
    pub normalised: bool,
    /// What the shares are multiplied by.
    pub scale: f32,
    /// Groups of experts, of which some are left out.
    pub groups: Option<Groups>,
}

/// What makes scores of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts.
    Softmax,
    /// The logistic function of each.
    Sigmoid,
}

/// Groups of experts that are neighbours (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// Groups, all of one size.
    pub count: usize,
    /// The best this many groups stay.
    pub kept: usize,
    /// A group is as good as the sum of its best this many experts.
    pub best: usize,
}

/// Added to the sum that shares are divided by, as DeepSeek-V3 does; shares_normalised.wgsl has it too.
const SUM_EPSILON: f64 = 1e-20;

impl Gating {
    fn wgsl(self) -> &'static str {
        match self {
            Gating::Softmax => include_str!("softmax.wgsl"),
            Gating::Sigmoid => include_str!("sigmoid.wgsl"),
        }
    }

    fn apply(self, logits: &[f32]) -> Vec<f64> {
        let exp = |shift: f64| logits.iter().map(move |logit| (f64::from(*logit) - shift).exp());
        match self {
            Gating::Softmax => {
                let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                let total: f64 = exp(largest).sum();
                exp(largest).map(|exp| exp / total).collect()
            }
            Gating::Sigmoid => logits.iter().map(|logit| 1.0 / (1.0 + (-f64::from(*logit)).exp())).collect(),
        }
    }
}

impl Kernel for Route {
    fn name(&self) -> &'static str {
        "route"
    }

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        let of_size = |workgroup| Candidate::new("token by token").with("workgroup", workgroup);
        context.features.sizes([64, 16]).map(of_size).to_vec()
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        let logits = context.inputs["logits"];
        let groups = self.groups.unwrap_or(Groups { count: 1, kept: 1, best: 1 });
        let mut bindings = vec![
            read("logits", "f32", "[tokens, EXPERTS]", Binding::Input("logits")),
            write("output", "f32", "[tokens, 2 * CHOSEN] of experts, then their shares", Binding::Output),
        ];
        let ranking = if context.weights.has("correction") {
            let correction = Binding::Shard { weight: "correction", shard: 0 };
            bindings.push(read("correction", "f32", "[EXPERTS]", correction));
            include_str!("ranking_corrected.wgsl")
        } else if self.ranks_by_logits() {
            include_str!("ranking_logits.wgsl")
        } else {
            include_str!("ranking_scores.wgsl")
        };
        let shares = match self.normalised {
            true => include_str!("shares_normalised.wgsl"),
            false => include_str!("shares_plain.wgsl"),
        };
        Lowered::one(Launch {
            shader: ("route", include_str!("route.wgsl")),
            modules: vec![
                shared::reduce(context.features),
                ("gating", self.gating.wgsl()),
                ("ranking", ranking),
                ("shares", shares),
            ],
            constants: vec![
                ("WORKGROUP", candidate.number("workgroup")),
                ("EXPERTS", logits.width),
                ("CHOSEN", self.chosen as u32),
                ("GROUPS", groups.count as u32),
                ("KEPT", groups.kept as u32),
                ("BEST", groups.best as u32),
            ],
            params: params! { logits: logits, output: context.output(), scale: self.scale },
            bindings,
            grid: Grid { spread: Count::fixed(1), rows: Count::each(Extent::Rows(context.rows)) },
            work: Work::fixed(u64::from(logits.width) * (self.chosen as u64 + 4)),
        })
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let correction = operands.weights.get("correction").map(|weight| weight.row(0));
        let mut output = Vec::new();
        for row in 0..operands.rows {
            let logits = operands.inputs["logits"].row(row);
            let scores = self.gating.apply(logits);
            let ranks: Vec<f64> = match &correction {
                Some(correction) => scores.iter().zip(correction).map(|(s, c)| s + f64::from(*c)).collect(),
                None if self.ranks_by_logits() => logits.iter().copied().map(f64::from).collect(),
                None => scores.clone(),
            };
            let mut order = ranked(&ranks);
            if let Some(groups) = self.groups {
                let kept = groups.kept_of(&ranks);
                order.retain(|expert| kept.contains(&(expert * groups.count / ranks.len())));
            }
            order.truncate(self.chosen);
            let sum: f64 = order.iter().map(|expert| scores[*expert]).sum();
            let divisor = if self.normalised { sum + SUM_EPSILON } else { 1.0 };
            output.extend(order.iter().map(|expert| *expert as f32));
            output.extend(order.iter().map(|expert| (scores[*expert] / divisor * f64::from(self.scale)) as f32));
        }
        output
    }
}

impl Route {
    /// Whether logits, which underflow nowhere, rank experts as their scores do: unless scores are added up.
    fn ranks_by_logits(&self) -> bool {
        self.groups.is_none_or(|groups| groups.best == 1)
    }
}

impl Groups {
    /// The groups that stay.
    fn kept_of(&self, ranks: &[f64]) -> Vec<usize> {
        let score = |group: &[f64]| ranked(group)[..self.best].iter().map(|expert| group[*expert]).sum();
        let scores: Vec<f64> = ranks.chunks(ranks.len() / self.count).map(score).collect();
        ranked(&scores)[..self.kept].to_vec()
    }
}

/// Places from the largest number to the smallest, the lower place first of equals.
fn ranked(numbers: &[f64]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..numbers.len()).collect();
    // Plus and minus zero are equal.
    let order = |a: usize, b: usize| numbers[b].partial_cmp(&numbers[a]).unwrap_or(Ordering::Equal);
    places.sort_by(|a, b| order(*a, *b).then(a.cmp(b)));
    places
}
