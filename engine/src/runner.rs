//! Runs steps over the stages of a model, and gathers what several sessions want into one step.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use plywood_kernels::Graph;
use plywood_kernels::graph::{ValueId, Want};
use plywood_kernels::reference::Values;
use plywood_kernels::step::{PAGE_TOKENS, Step, Token};

use crate::error::{Error, Result};
use crate::pipeline::{self, WantedStep};
use crate::plan::StepLimits;
use crate::stage::Stage;

/// Into how many pieces for each stage a long run is cut, where stages run at the same time: with more of them the stages wait less for
/// the first and the last, with fewer each piece is more efficient.
const STAGE_PIECES: usize = 4;

/// Tokens in the tiles of the largest matmul, of which pieces have whole numbers.
const TILE_TOKENS: usize = 64;

/// Consecutive tokens of one sequence that are to be run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The sequence's row of the page table.
    pub sequence: u32,
    /// The first token's position.
    pub position: usize,
    /// Whether the sequence is a long one (see [`Graph::long_above`]).
    pub long: bool,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Those whose logits are wanted, by their place in `tokens`.
    pub selected: Vec<usize>,
    /// What is wanted of these.
    pub wants: Vec<Want>,
    /// Whether somebody cancelled the run.
    pub cancel: Arc<AtomicBool>,
}

/// What a step found for one selected token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// All logits, where they were wanted.
    pub logits: Vec<f32>,
    /// The id of the largest logit, where it was wanted.
    pub argmax: Option<u32>,
    /// The largest logits with their ids, from the largest on, where they were wanted.
    pub top_k: Vec<(u32, f32)>,
    /// The logarithm of the sum of exponentials, where it was wanted.
    pub normaliser: Option<f32>,
}

/// The stages of a model with the pages of its sequences.
pub(crate) struct Runner {
    pub graph: Arc<Graph>,
    pub stages: Vec<Box<dyn Stage>>,
    pub limits: StepLimits,
    /// Pages that no sequence has.
    free_pages: Vec<u32>,
    /// `[sequences, pages_per_sequence]`.
    page_table: Vec<u32>,
    /// Pages that each sequence has.
    held_pages: Vec<usize>,
}

impl Runner {
    pub fn new(graph: Arc<Graph>, stages: Vec<Box<dyn Stage>>, limits: StepLimits) -> Runner {
        Runner {
            graph,
            stages,
            limits,
            free_pages: (0..limits.pages as u32).rev().collect(),
            page_table: vec![0; limits.sequences * limits.pages_per_sequence()],
            held_pages: vec![0; limits.sequences],
        }
    }

    /// Gives a sequence's pages back but for those that its first `tokens` need.
    pub fn truncate(&mut self, sequence: u32, tokens: usize) {
        let kept = tokens.div_ceil(PAGE_TOKENS);
        let row = sequence as usize * self.limits.pages_per_sequence();
        let held = &mut self.held_pages[sequence as usize];
        while *held > kept {
            *held -= 1;
            self.free_pages.push(self.page_table[row + *held]);
        }
    }

    /// Takes pages for a sequence of so many tokens. There is a page for every token of every sequence's context.
    fn grow(&mut self, sequence: u32, tokens: usize) -> Result<()> {
        if tokens > self.limits.context {
            return Err(Error::ContextFull { tokens, context: self.limits.context });
        }
        let row = sequence as usize * self.limits.pages_per_sequence();
        let held = &mut self.held_pages[sequence as usize];
        while *held < tokens.div_ceil(PAGE_TOKENS) {
            let page = self.free_pages.pop().ok_or(Error::NoSession { sessions: self.limits.sequences })?;
            self.page_table[row + *held] = page;
            *held += 1;
        }
        Ok(())
    }

    /// Tokens that one run may have: those of a step, or of so many that all stages have something to do.
    fn run_tokens(&self) -> usize {
        if pipeline::overlap(&self.stages) {
            self.limits.tokens * STAGE_PIECES * self.stages.len()
        } else {
            self.limits.tokens
        }
    }

    /// Runs one step of several runs, or the pieces of a single long one; gives the rows of each.
    fn run(&mut self, runs: &[&Run]) -> Result<Vec<Vec<Row>>> {
        match runs {
            [run] => self.pieces(run).map(|rows| vec![rows]),
            runs => self.step(runs),
        }
    }

    /// Runs a run, cut into pieces that go through the stages one behind the other.
    fn pieces(&mut self, run: &Run) -> Result<Vec<Row>> {
        let most = self.limits.tokens.min(if run.selected.len() > 1 { self.limits.selected } else { usize::MAX });
        let even = run.tokens.len().div_ceil(STAGE_PIECES * self.stages.len()).next_multiple_of(TILE_TOKENS);
        let size = if pipeline::overlap(&self.stages) { even.clamp(1, most) } else { most };
        let mut steps = Vec::new();
        for (index, tokens) in run.tokens.chunks(size).enumerate() {
            let first = index * size;
            let selected = run.selected.iter().filter(|place| (first..first + tokens.len()).contains(place));
            let piece = Run {
                position: run.position + first,
                tokens: tokens.to_vec(),
                selected: selected.map(|place| place - first).collect(),
                wants: run.wants.clone(),
                cancel: Arc::clone(&run.cancel),
                ..*run
            };
            steps.push(self.prepare(&[&piece])?);
        }
        let on = || !run.cancel.swap(false, Ordering::Relaxed);
        let values = pipeline::run(&mut self.stages, &steps, &on)?;
        Ok(steps.iter().zip(values).flat_map(|((step, _), values)| self.rows(step, &values)).collect())
    }

    /// Runs one step of several runs; gives the rows of each.
    fn step(&mut self, runs: &[&Run]) -> Result<Vec<Vec<Row>>> {
        if runs.iter().all(|run| run.tokens.is_empty()) {
            return Ok(vec![Vec::new(); runs.len()]);
        }
        let steps = [self.prepare(runs)?];
        let values = pipeline::run(&mut self.stages, &steps, &|| true)?;
        let mut rows = steps.iter().zip(values).flat_map(|((step, _), values)| self.rows(step, &values));
        Ok(runs.iter().map(|run| rows.by_ref().take(run.selected.len()).collect()).collect())
    }

    /// A step of several runs, for which their sequences get pages, and what is wanted of it.
    fn prepare(&mut self, runs: &[&Run]) -> Result<WantedStep> {
        let mut step = Step { pages_per_sequence: self.limits.pages_per_sequence(), ..Step::default() };
        let mut wants = Vec::new();
        for run in runs {
            self.grow(run.sequence, run.position + run.tokens.len())?;
            let first = step.tokens.len();
            step.selected.extend(run.selected.iter().map(|place| (first + place) as u32));
            let token = |(place, id): (usize, &u32)| Token {
                id: *id,
                position: (run.position + place) as u32,
                sequence: run.sequence,
                long: run.long,
            };
            step.tokens.extend(run.tokens.iter().enumerate().map(token));
            if !run.selected.is_empty() {
                wants.extend(&run.wants);
            }
        }
        step.pages.clone_from(&self.page_table);
        Ok((step, wants))
    }

    /// The results of a step, row by row.
    fn rows(&self, step: &Step, values: &Values) -> Vec<Row> {
        let found: HashMap<Want, (&ValueId, &Vec<f32>)> =
            self.graph.outputs.iter().filter_map(|(want, value)| Some((*want, (value, values.get(value)?)))).collect();
        let row_of = |want: Want, row: usize| -> &[f32] {
            found.get(&want).map_or(&[], |(value, data)| {
                let width = self.graph.values[value.0].width;
                &data[row * width..][..width]
            })
        };
        let row = |row: usize| {
            let (ids, logits) = row_of(Want::TopK, row).split_at(row_of(Want::TopK, row).len() / 2);
            Row {
                logits: row_of(Want::Logits, row).to_vec(),
                argmax: row_of(Want::Argmax, row).first().map(|bits| bits.to_bits()),
                top_k: ids.iter().map(|bits| bits.to_bits()).zip(logits.iter().copied()).collect(),
                normaliser: row_of(Want::Normaliser, row).first().copied(),
            }
        };
        (0..step.selected.len()).map(row).collect()
    }
}

/// Where a session finds what became of its run.
type Reply = Arc<Mutex<Option<Result<Vec<Row>, String>>>>;

/// A run that waits for a step.
struct Job {
    run: Run,
    reply: Reply,
}

impl Drop for Job {
    /// Nobody may wait for a job that was lost with the step it was in.
    fn drop(&mut self) {
        let mut reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner);
        reply.get_or_insert_with(|| Err("the thread that ran this step panicked, which is a defect: report it".into()));
    }
}

/// Turns in the order of asking: std's lock lets the thread that leaves take it again before others wake.
#[derive(Default)]
struct Turns {
    state: Mutex<Tickets>,
    changed: Condvar,
}

/// The ticket that the next to ask gets, and the one whose turn it is.
#[derive(Default)]
struct Tickets {
    next: u64,
    current: u64,
}

/// One thread's turn, which ends when it is dropped.
struct Turn<'a>(&'a Turns);

impl Turns {
    fn take(&self) -> Turn<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = state.next;
        state.next += 1;
        while state.current != mine {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).current += 1;
        self.0.changed.notify_all();
    }
}

/// Gathers runs: whichever thread has the runner takes along what the others queued meanwhile.
pub(crate) struct Scheduler {
    turns: Turns,
    runner: Mutex<Runner>,
    queue: Mutex<Vec<Job>>,
    /// Tokens that one run may have.
    pub run_tokens: usize,
}

impl Scheduler {
    pub fn new(runner: Runner) -> Scheduler {
        let run_tokens = runner.run_tokens();
        Scheduler { turns: Turns::default(), runner: Mutex::new(runner), queue: Mutex::default(), run_tokens }
    }

    /// The runner, for what is no step.
    pub fn with<T>(&self, call: impl FnOnce(&mut Runner) -> T) -> T {
        let _turn = self.turns.take();
        // A panic in a step leaves no half-written state that a later step would read.
        call(&mut self.runner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs tokens, perhaps together with those of other sessions.
    pub fn run(&self, run: Run) -> Result<Vec<Row>> {
        let reply: Reply = Arc::default();
        self.queue().push(Job { run, reply: Arc::clone(&reply) });
        let _turn = self.turns.take();
        let mut runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(outcome) = reply.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // Another session's step carried this run.
                return outcome.map_err(|reason| Error::Step { reason });
            }
            let jobs = self.take(&runner.limits);
            let runs: Vec<&Run> = jobs.iter().map(|job| &job.run).collect();
            match runner.run(&runs) {
                Ok(rows) => jobs.iter().zip(rows).for_each(|(job, rows)| answer(job, Ok(rows))),
                Err(error) => {
                    let others = jobs.iter().filter(|job| !Arc::ptr_eq(&job.reply, &reply));
                    others.for_each(|job| answer(job, Err(error.to_string())));
                    if jobs.iter().any(|job| Arc::ptr_eq(&job.reply, &reply)) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Runs several together in one step. Their tokens must fit it.
    pub fn run_together(&self, runs: &[Run]) -> Result<Vec<Vec<Row>>> {
        self.with(|runner| runner.step(&runs.iter().collect::<Vec<_>>()))
    }

    /// Takes the runs that have waited longest and fit one step together.
    fn take(&self, limits: &StepLimits) -> Vec<Job> {
        let mut queue = self.queue();
        let (mut tokens, mut selected, mut count) = (0, 0, 0);
        for job in queue.iter() {
            tokens += job.run.tokens.len();
            selected += job.run.selected.len();
            if count > 0 && (tokens > limits.tokens || selected > limits.selected) {
                break;
            }
            count += 1;
        }
        queue.drain(..count).collect()
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Vec<Job>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(job: &Job, outcome: Result<Vec<Row>, String>) {
    *job.reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
}
