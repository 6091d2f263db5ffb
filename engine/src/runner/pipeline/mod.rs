//! A model's stages as a pipeline, each run by one thread at a time. Steps follow each other through them: while the second stage has
//! one, the first has the next, of the same prompt or of another session.
//!
//! What crosses to a stage lies in memory that was used for it before: three sets of values go round at each cut.

use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use plywood_kernels::graph::{Output, Values};
use plywood_kernels::step::Step;

use super::fair_lock::{FairGuard, FairLock};
use crate::error::{Error, Result};
use crate::session::cancel::Cancel;
use crate::stage::{Stage, StageQueue, StageTimes, Ticket};

/// Sets of values that are kept for a cut: one that a stage reads, one that waits for it, one that the stage before writes meanwhile.
const RING: usize = 3;

/// A step, and what is wanted of it.
pub(crate) struct WantedStep {
    pub step: Step,
    pub requested: Vec<Output>,
    /// Of the sessions that it is for.
    pub cancels: Vec<Cancel>,
}

impl WantedStep {
    /// Whether nobody waits for its results any more.
    fn is_cancelled(&self) -> bool {
        !self.cancels.is_empty() && self.cancels.iter().all(Cancel::is_cancelled)
    }
}

/// The stages.
pub(crate) struct Pipeline {
    slots: Vec<StageSlot>,
    /// Whether there are several stages, all of which may run at the same time.
    pub overlaps: bool,
    /// Whether there is one stage, which takes a step before the results of the last were fetched.
    pub queues: bool,
}

/// A stage in the pipeline, and what waits for it.
struct StageSlot {
    lock: FairLock,
    /// `None` once the pipeline was emptied.
    stage: Mutex<Option<Box<dyn Stage>>>,
    /// Values that crossed to it, whose memory the next take.
    ring: Mutex<Vec<Values>>,
}

impl Pipeline {
    /// A pipeline of stages in their order.
    pub fn new(mut stages: Vec<Box<dyn Stage>>) -> Pipeline {
        let queues = stages.len() == 1 && stages[0].queue().is_some();
        let overlaps = stages.len() > 1 && stages.iter().all(|stage| stage.overlaps());
        let slot = |stage| StageSlot {
            lock: FairLock::default(),
            stage: Mutex::new(Some(stage)),
            ring: Mutex::new(Vec::new()),
        };
        Pipeline { slots: stages.into_iter().map(slot).collect(), overlaps, queues }
    }

    /// How many stages there are.
    pub fn stages(&self) -> usize {
        self.slots.len()
    }

    /// Waits for the lock of the first stage; where stages do not overlap it stands for all of them.
    pub fn enter(&self) -> FairGuard<'_> {
        self.slots[0].lock.lock()
    }

    /// The lock of the first stage, if nobody has it or waits for it.
    pub fn try_enter(&self) -> Option<FairGuard<'_>> {
        self.slots[0].lock.try_lock()
    }

    /// Begins a step whose results are fetched later, with the lock of the stage, which [`Pipeline::queues`].
    pub fn submit(&self, _guard: FairGuard, wanted: &WantedStep) -> Result<Ticket> {
        let is_cancelled = || wanted.is_cancelled();
        self.with_queue(|queue| queue.submit(&wanted.step, &wanted.requested, &Values::new(), &is_cancelled))
    }

    /// Waits for a step that was begun; gives its results.
    pub fn collect(&self, ticket: Ticket) -> Result<Values> {
        let mut results = Values::new();
        self.with_queue(|queue| queue.collect(ticket, &mut results))?;
        Ok(results)
    }

    fn with_queue<T>(&self, ask: impl FnOnce(&mut dyn StageQueue) -> Result<T>) -> Result<T> {
        match self.slots[0].stage().as_mut() {
            Some(stage) => ask(stage.queue().expect("the one stage queues steps")),
            None => Err(Error::Unloaded),
        }
    }

    /// Runs one step over all stages, with the lock of the first; gives the results.
    pub fn run<'a>(&'a self, mut guard: FairGuard<'a>, step: &WantedStep) -> Result<Values> {
        let mut values = Values::new();
        for index in 0..self.slots.len() {
            if index > 0 && self.overlaps {
                // Whoever waits for the stage that was left finds it free once the next is reached.
                guard = self.slots[index].lock.lock();
            }
            values = self.run_stage(index, step, values)?;
        }
        drop(guard);
        Ok(values)
    }

    /// Runs steps in order over all stages; gives the results of each. Where one is cancelled or fails, none begins any more.
    pub fn run_all(&self, steps: &[WantedStep]) -> Result<Vec<Values>> {
        if steps.len() < 2 || !self.overlaps {
            return steps.iter().map(|step| self.run(self.enter(), step)).collect();
        }
        let in_order = |index: usize, place: usize, values: Values| {
            let _guard = self.slots[index].lock.lock();
            self.run_stage(index, &steps[place], values)
        };
        std::thread::scope(|scope| {
            // Of each stage's results one waits for the next stage, so that a slow stage holds up those before it.
            let (first, mut received) = sync_channel::<(usize, Values)>(1);
            let (last, results) = channel();
            let mut workers = Vec::new();
            for index in 1..self.slots.len() {
                let (sent, next) = sync_channel(1);
                let inputs = std::mem::replace(&mut received, next);
                let last = (index + 1 == self.slots.len()).then(|| last.clone());
                workers.push(scope.spawn(move || -> Result<()> {
                    for (place, values) in inputs {
                        let values = in_order(index, place, values)?;
                        // Nobody receives any more where a later stage failed, which says why.
                        let gone = match &last {
                            Some(last) => last.send(values).is_err(),
                            None => sent.send((place, values)).is_err(),
                        };
                        if gone {
                            break;
                        }
                    }
                    Ok(())
                }));
            }
            drop(last);
            let mut fed = Ok(true);
            for place in 0..steps.len() {
                fed = in_order(0, place, Values::new()).map(|values| first.send((place, values)).is_ok());
                if !matches!(fed, Ok(true)) {
                    break;
                }
            }
            drop(first);
            for worker in workers {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            fed?;
            Ok(results.into_iter().collect())
        })
    }

    /// Runs one stage's part of a step on what crossed to it; gives what crosses to the next, or the results.
    fn run_stage(&self, index: usize, wanted: &WantedStep, given: Values) -> Result<Values> {
        let is_cancelled = || wanted.is_cancelled();
        if is_cancelled() {
            return Err(Error::Cancelled);
        }
        let mut results = self.slots.get(index + 1).and_then(|next| next.ring().pop()).unwrap_or_default();
        match self.slots[index].stage().as_mut() {
            Some(stage) => stage.run(&wanted.step, &wanted.requested, &given, &mut results, &is_cancelled)?,
            None => return Err(Error::Unloaded),
        }
        let mut ring = self.slots[index].ring();
        if index > 0 && ring.len() < RING {
            ring.push(given);
        }
        Ok(results)
    }

    /// Asks each stage something, in their order; those that are gone are left out.
    pub fn ask<T>(&self, mut question: impl FnMut(&mut dyn Stage) -> T) -> Vec<T> {
        let _guard = (!self.overlaps).then(|| self.enter());
        self.slots.iter().filter_map(|place| place.stage().as_mut().map(|stage| question(stage.as_mut()))).collect()
    }

    /// How long each stage has been busy.
    pub fn times(&self) -> Vec<StageTimes> {
        self.ask(|stage| stage.times().clone())
    }

    /// Waits for what runs and frees all stages; steps that come later are [`Error::Unloaded`].
    pub fn empty(&self) {
        for place in &self.slots {
            let _guard = place.lock.lock();
            drop(place.stage().take());
            place.ring().clear();
        }
    }
}

impl StageSlot {
    // A panic in a step leaves no half-written state that a later step would read.
    fn stage(&self) -> MutexGuard<'_, Option<Box<dyn Stage>>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) -> MutexGuard<'_, Vec<Values>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
