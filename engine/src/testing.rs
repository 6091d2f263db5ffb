//! What our own tests and benches reach of the engine's inside. Apps don't: nothing here is stable.

use std::sync::Arc;

use plywood_kernels::host::Threads;

pub use crate::devices::tuning::{Choices, Preference};
pub use crate::faults::{Allocation, Call, Failure, Faults};
pub use crate::stage::overlap;
pub use crate::stage::plan::{Limits, StagePlan};
pub use crate::stage::recording::Key;
pub use crate::tools::case::case_plan;

use crate::host::Team;

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

/// Runs something with the threads of the host awake: as many as there are cores, or this many.
pub fn on_host_threads<T>(count: Option<usize>, run: impl FnOnce(&dyn Threads) -> T) -> T {
    Team::of(count).enter(|crew| run(crew))
}

impl From<&Arc<Faults>> for Hooks {
    fn from(faults: &Arc<Faults>) -> Hooks {
        Hooks { faults: Some(Arc::clone(faults)), ..Hooks::default() }
    }
}
