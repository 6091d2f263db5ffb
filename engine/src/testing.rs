//! What our own tests and benches reach of the engine's inside. Apps don't: nothing here is stable.

use std::sync::Arc;

pub use crate::devices::tuning::{Choices, Preference};
pub use crate::faults::{Allocation, Call, Failure, Faults};
pub use crate::stage::overlap;
pub use crate::stage::plan::{Limits, StagePlan};
pub use crate::stage::recording::Key;
pub use crate::tools::case::case_plan;

/// What tests and benches set when they open a model.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// Which kernels are taken.
    pub choices: Choices,
    /// The largest shard of a weight or a cache in bytes; the largest binding where `None`.
    pub max_shard: Option<u64>,
    /// Failures that are ordered.
    pub faults: Option<Arc<Faults>>,
}

impl From<&Arc<Faults>> for Hooks {
    fn from(faults: &Arc<Faults>) -> Hooks {
        Hooks { faults: Some(Arc::clone(faults)), ..Hooks::default() }
    }
}
