//! A model on its devices: stages loaded at the same time, each from the same files.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plywood_models::Weights;

use crate::devices::open::Hardware;
use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::options::{Options, Progress};
use crate::planning::layout::StageLayout;
use crate::planning::settings::ModelRef;
use crate::planning::{ResolvedLayout, resolve};
use crate::runner::Runner;
use crate::runner::scheduler::Scheduler;
use crate::stage::{Stage, WeightReader};

/// A model on its devices, with the pages of its sequences.
pub(crate) struct Loaded {
    pub scheduler: Scheduler,
    pub ledger: Arc<Ledger>,
    pub notes: Arc<[String]>,
    /// The devices of its stages, by the numbers that they had.
    pub devices: Vec<usize>,
    /// How long loading took.
    pub time: Duration,
}

/// Lays a model out over hardware and loads it. Where that fails, all that was allocated is freed.
pub(crate) fn load(source: ModelRef, options: &mut Options, hardware: &Hardware) -> Result<Loaded> {
    let begin = Instant::now();
    let ResolvedLayout { layout, devices: candidates, notes, .. } = resolve(source, options, hardware)?;
    let limits = layout.steps;
    let (graph, ledger) = (layout.graph, layout.ledger);
    let devices = layout.stages.iter().map(|stage| candidates[stage.device].facts.index).collect();
    let loading = Loading::new(&ledger, options.progress.take());
    let load = |layout: StageLayout| -> Result<Box<dyn Stage>> {
        let mut progress = |bytes| loading.advance(bytes);
        let stage =
            hardware.load(&candidates[layout.device], &graph, layout.plan, &Reader(source.weights), &mut progress);
        stage.inspect_err(|_| loading.end())
    };
    let (here, elsewhere): (Vec<_>, Vec<_>) = layout
        .stages
        .into_iter()
        .enumerate()
        .partition(|(_, stage)| candidates[stage.device].facts.keeps_to_a_thread());
    let mut stages: Vec<(usize, Result<Box<dyn Stage>>)> = std::thread::scope(|scope| {
        let load = &load;
        let begin = |(place, stage)| (place, scope.spawn(move || load(stage)));
        let workers: Vec<_> = elsewhere.into_iter().map(begin).collect();
        let loaded: Vec<_> = here.into_iter().map(|(place, stage)| (place, load(stage))).collect();
        let join = |(place, worker): (usize, std::thread::ScopedJoinHandle<'_, _>)| {
            (place, worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        };
        loaded.into_iter().chain(workers.into_iter().map(join)).collect()
    });
    // Those that ended because another failed come last, so that the reason is told.
    stages.sort_by_key(|(place, stage)| (matches!(stage, Err(Error::Cancelled)), *place));
    let stages = stages.into_iter().map(|(_, stage)| stage).collect::<Result<Vec<_>>>()?;
    Ok(Loaded {
        scheduler: Scheduler::new(Runner::new(graph, stages, limits)),
        ledger: Arc::new(ledger),
        notes: notes.into(),
        devices,
        time: begin.elapsed(),
    })
}

impl Loaded {
    /// What runs its steps.
    pub fn runner(&self) -> &Runner {
        &self.scheduler.runner
    }

    /// Whether all its devices work.
    pub fn works(&self) -> bool {
        let pipeline = &self.runner().pipeline;
        let checked = pipeline.ask(|stage| stage.check());
        checked.len() == pipeline.stages() && checked.iter().all(Result::is_ok)
    }
}

/// Gives tensors from files to stages.
struct Reader<'a>(&'a dyn Weights);

impl WeightReader for Reader<'_> {
    fn read(&self, tensor: usize, offset: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(self.0.read_checked(tensor, offset, bytes)?)
    }
}

/// Counts the bytes of weights that were loaded, for all stages.
struct Loading {
    total: u64,
    state: Mutex<State>,
}

/// How far loading is.
struct State {
    loaded: u64,
    progress: Option<Progress>,
    ended: bool,
}

impl Loading {
    fn new(ledger: &Ledger, progress: Option<Progress>) -> Loading {
        let total = ledger.stages.iter().map(|stage| stage.bytes.weights).sum();
        Loading { total, state: Mutex::new(State { loaded: 0, progress, ended: false }) }
    }

    /// Adds bytes; an error once loading is to end.
    fn advance(&self, bytes: u64) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.loaded = (state.loaded + bytes).min(self.total);
        let loaded = state.loaded;
        let on = state.progress.as_mut().is_none_or(|progress| progress(loaded, self.total));
        state.ended |= !on;
        if state.ended { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Has the other stages end as well.
    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
    }
}

#[cfg(test)]
mod tests;
