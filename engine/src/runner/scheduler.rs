//! Gathers what several sessions want into steps. There is no thread of its own: a session's thread that has the first stage takes along
//! what others queued meanwhile, and leads it through the line; after it the next thread leads the next step.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{QueuedStep, Row, Run, Runner};
use crate::error::{Error, Result};
use crate::stage::TicketStub;

/// Where a session finds what became of its run.
#[derive(Default)]
struct Reply {
    outcome: Mutex<Option<Result<Vec<Row>>>>,
    given: Condvar,
}

impl Reply {
    fn give(&self, outcome: Result<Vec<Row>>) {
        *self.outcome() = Some(outcome);
        self.given.notify_all();
    }

    /// The outcome, if there is one.
    fn take(&self) -> Option<Result<Vec<Row>>> {
        self.outcome().take()
    }

    /// Waits for the outcome: whoever took the run gives one, also where it panics.
    fn wait(&self) -> Result<Vec<Row>> {
        let mut outcome = self.outcome();
        loop {
            match outcome.take() {
                Some(outcome) => return outcome,
                None => outcome = self.given.wait(outcome).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn outcome(&self) -> MutexGuard<'_, Option<Result<Vec<Row>>>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run that waits for a step.
struct Job {
    run: Run,
    reply: Arc<Reply>,
    answered: bool,
}

impl Job {
    fn answer(mut self, outcome: Result<Vec<Row>>) {
        self.reply.give(outcome);
        self.answered = true;
    }
}

impl Drop for Job {
    /// Nobody may wait for a job that was lost with the step it was in.
    fn drop(&mut self) {
        if !self.answered {
            let reason = "the thread that ran this step panicked, which is a defect: report it".into();
            self.reply.give(Err(Error::Step { reason }));
        }
    }
}

/// Gathers runs for a runner.
pub(crate) struct Scheduler {
    pub runner: Runner,
    queue: Mutex<Vec<Job>>,
    /// The step that was begun last before anybody waited for it, and the sequence that it is of.
    ahead: Mutex<Option<(u32, TicketStub)>>,
}

impl Scheduler {
    pub fn new(runner: Runner) -> Scheduler {
        Scheduler { runner, queue: Mutex::default(), ahead: Mutex::default() }
    }

    /// Begins a run of one step that is waited for later. `None` where others run or wait to be run, since a step together with theirs is
    /// worth more, and where the stages cannot.
    pub fn submit(&self, run: &Run) -> Result<Option<QueuedStep>> {
        let pipeline = &self.runner.pipeline;
        if !pipeline.queues {
            return Ok(None);
        }
        let Some(guard) = pipeline.try_enter() else { return Ok(None) };
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let is_other = |(sequence, stub): &(u32, TicketStub)| *sequence != run.sequence && stub.is_awaited();
        if !self.queue().is_empty() || ahead.as_ref().is_some_and(is_other) {
            return Ok(None);
        }
        let queued = self.runner.submit(guard, run)?;
        *ahead = Some((run.sequence, queued.stub()));
        Ok(Some(queued))
    }

    /// Runs tokens, perhaps together with those of other sessions.
    pub fn run(&self, run: Run) -> Result<Vec<Row>> {
        let reply = Arc::new(Reply::default());
        self.queue().push(Job { run, reply: Arc::clone(&reply), answered: false });
        loop {
            if let Some(outcome) = reply.take() {
                return outcome;
            }
            let guard = self.runner.pipeline.enter();
            let jobs = self.take(&reply);
            if jobs.is_empty() {
                // Another session's step carries this run.
                drop(guard);
                return reply.wait();
            }
            let runs: Vec<&Run> = jobs.iter().map(|job| &job.run).collect();
            match self.runner.run(guard, &runs) {
                Ok(rows) => jobs.into_iter().zip(rows).for_each(|(job, rows)| job.answer(Ok(rows))),
                Err(error) => {
                    let (mine, others): (Vec<Job>, Vec<Job>) =
                        jobs.into_iter().partition(|job| Arc::ptr_eq(&job.reply, &reply));
                    others.into_iter().for_each(|job| job.answer(Err(error.again())));
                    if let Some(job) = mine.into_iter().next() {
                        job.answer(Err(error));
                    }
                }
            }
        }
    }

    /// Runs several together in one step. Their tokens must fit it.
    pub fn run_together(&self, runs: &[Run]) -> Result<Vec<Vec<Row>>> {
        self.runner.step(self.runner.pipeline.enter(), &runs.iter().collect::<Vec<_>>())
    }

    /// Takes the runs that have waited longest and fit one step together; none where `mine` does not wait any more. One that is longer than
    /// a step is led by its own session, so that nobody else's waits for all of it. Those that were cancelled meanwhile are answered.
    fn take(&self, mine: &Arc<Reply>) -> Vec<Job> {
        let mut queue = self.queue();
        queue.extract_if(.., |job| job.run.cancel.is_cancelled()).for_each(|job| job.answer(Err(Error::Cancelled)));
        if !queue.iter().any(|job| Arc::ptr_eq(&job.reply, mine)) {
            return Vec::new();
        }
        let limits = &self.runner.limits;
        let (mut tokens, mut selected, mut taken, mut left) = (0, 0, Vec::new(), Vec::new());
        let mut is_full = false;
        for job in queue.drain(..) {
            let is_long = job.run.tokens.len() > limits.tokens;
            let fits =
                tokens + job.run.tokens.len() <= limits.tokens && selected + job.run.selected.len() <= limits.selected;
            let alone = taken.is_empty() && (!is_long || Arc::ptr_eq(&job.reply, mine));
            if !is_full && (fits || alone) {
                tokens += job.run.tokens.len();
                selected += job.run.selected.len();
                taken.push(job);
            } else {
                is_full |= !is_long;
                left.push(job);
            }
        }
        *queue = left;
        taken
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Job>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
