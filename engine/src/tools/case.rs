//! A case as a stage: a tiny graph planned as a model is.

use std::sync::Arc;

use plywood_kernels::cases::Case;

use crate::error::Result;
use crate::stage::plan::{Limits, StagePlan, StepLimits};

/// The plan of a case for a device.
pub fn case_plan(case: &Case, limits: Limits) -> Result<StagePlan> {
    let most = |count: fn(&plywood_kernels::Step) -> usize| case.steps.iter().map(count).max().unwrap_or(0).max(1);
    let steps = StepLimits {
        tokens: most(|step| step.tokens.len()),
        selected: most(|step| step.selected.len()),
        sequences: most(|step| step.pages.len() / step.pages_per_sequence.max(1)),
        context: case.context(),
        pages: case.pages(),
        kv_type: case.kv_type,
    };
    let max_shard = case.max_shard.unwrap_or(limits.max_shard);
    StagePlan::new(&Arc::new(case.graph.clone()), 0..case.graph.nodes.len(), Limits { max_shard, ..limits }, steps)
}
