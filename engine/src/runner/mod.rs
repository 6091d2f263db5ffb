//! Runs steps over the stages of a model, and gathers what several sessions want into one step.

mod fair_lock;
pub(crate) mod loading;
mod pages;
mod pipeline;
pub(crate) mod scheduler;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plywood_kernels::Graph;
use plywood_kernels::graph::{Output, ValueId, Values};
use plywood_kernels::sample::draw::{Draw, GREEDY};
use plywood_kernels::step::{Step, Token};

use self::fair_lock::FairGuard;
use self::pages::Pages;
use self::pipeline::{Pipeline, WantedStep};
use crate::error::Result;
use crate::session::cancel::Cancel;
use crate::stage::plan::StepLimits;
use crate::stage::{Stage, Ticket, TicketStub};

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
    pub requested: Vec<Output>,
    /// How the next token of each of them is drawn, where that is wanted.
    pub draw: Option<Draw>,
    /// Whether its only token is the one that the sequence's last step chose, which nobody has read yet.
    pub is_ahead: bool,
    /// Tells whether somebody cancelled the run.
    pub cancel: Cancel,
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
    /// The id that was drawn, where one was wanted.
    pub drawn: Option<u32>,
    /// The logarithm of the sum of exponentials, where it was wanted.
    pub log_sum_exp: Option<f32>,
}

/// A step of one run that a device has begun.
pub(crate) struct QueuedStep {
    step: Step,
    ticket: Ticket,
}

impl QueuedStep {
    /// What tells whether somebody still has it.
    pub fn stub(&self) -> TicketStub {
        self.ticket.stub()
    }
}

/// The stages of a model with the pages of its sequences, which any number of threads run steps on.
pub(crate) struct Runner {
    pub graph: Arc<Graph>,
    pub limits: StepLimits,
    pub pipeline: Pipeline,
    pages: Mutex<Pages>,
}

impl Runner {
    pub fn new(graph: Arc<Graph>, stages: Vec<Box<dyn Stage>>, limits: StepLimits) -> Runner {
        Runner { graph, limits, pipeline: Pipeline::new(stages), pages: Mutex::new(Pages::new(limits)) }
    }

    /// Gives a sequence's pages back but for those that its first `tokens` need.
    pub fn truncate(&self, sequence: u32, tokens: usize) {
        self.pages().truncate(sequence, tokens);
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tokens that one run may have: those of a step, or of so many that all stages have something to do.
    pub fn run_tokens(&self) -> usize {
        if self.pipeline.overlaps {
            self.limits.tokens * STAGE_PIECES * self.pipeline.stages()
        } else {
            self.limits.tokens
        }
    }

    /// Runs one step of several runs, or the pieces of a single long one; gives the rows of each.
    pub fn run<'a>(&'a self, guard: FairGuard<'a>, runs: &[&Run]) -> Result<Vec<Vec<Row>>> {
        match runs {
            [run] => self.pieces(guard, run).map(|rows| vec![rows]),
            runs => self.step(guard, runs),
        }
    }

    /// Begins a run of one step, where the pipeline [`queues`](Pipeline::queues).
    pub fn submit(&self, guard: FairGuard, run: &Run) -> Result<QueuedStep> {
        let step = self.prepare(&[run])?;
        let ticket = self.pipeline.submit(guard, &step)?;
        Ok(QueuedStep { step: step.step, ticket })
    }

    /// Waits for a step; gives its rows.
    pub fn collect(&self, queued: QueuedStep) -> Result<Vec<Row>> {
        let values = self.pipeline.collect(queued.ticket)?;
        Ok(self.rows(&queued.step, &values))
    }

    /// Runs a run, cut into pieces that go through the stages one after the other.
    fn pieces<'a>(&'a self, guard: FairGuard<'a>, run: &Run) -> Result<Vec<Row>> {
        let most = self.limits.tokens.min(if run.selected.len() > 1 { self.limits.selected } else { usize::MAX });
        let even = run.tokens.len().div_ceil(STAGE_PIECES * self.pipeline.stages()).next_multiple_of(TILE_TOKENS);
        let size = if self.pipeline.overlaps { even.clamp(1, most) } else { most };
        let mut steps = Vec::new();
        for (index, tokens) in run.tokens.chunks(size).enumerate() {
            let first = index * size;
            let selected = run.selected.iter().filter(|place| (first..first + tokens.len()).contains(place));
            let piece = Run {
                position: run.position + first,
                tokens: tokens.to_vec(),
                selected: selected.map(|place| place - first).collect(),
                requested: run.requested.clone(),
                cancel: run.cancel.clone(),
                ..*run
            };
            steps.push(self.prepare(&[&piece])?);
        }
        let values = match &steps[..] {
            [step] => vec![self.pipeline.run(guard, step)?],
            steps => {
                // Other sessions' steps come between the pieces.
                drop(guard);
                self.pipeline.run_all(steps)?
            }
        };
        Ok(steps.iter().zip(values).flat_map(|(step, values)| self.rows(&step.step, &values)).collect())
    }

    /// Runs one step of several runs; gives the rows of each.
    pub fn step<'a>(&'a self, guard: FairGuard<'a>, runs: &[&Run]) -> Result<Vec<Vec<Row>>> {
        if runs.iter().all(|run| run.tokens.is_empty()) {
            return Ok(vec![Vec::new(); runs.len()]);
        }
        let step = self.prepare(runs)?;
        let values = self.pipeline.run(guard, &step)?;
        let mut rows = self.rows(&step.step, &values).into_iter();
        Ok(runs.iter().map(|run| rows.by_ref().take(run.selected.len()).collect()).collect())
    }

    /// A step of several runs, for which their sequences get pages, and what is wanted of it.
    fn prepare(&self, runs: &[&Run]) -> Result<WantedStep> {
        let mut step = Step { pages_per_sequence: self.limits.pages_per_sequence(), ..Step::default() };
        let mut requested = Vec::new();
        let mut pages = self.pages();
        for run in runs {
            pages.grow(run.sequence, run.position + run.tokens.len())?;
            let first = step.tokens.len();
            step.selected.extend(run.selected.iter().map(|place| (first + place) as u32));
            step.is_ahead |= run.is_ahead;
            let token = |(place, id): (usize, &u32)| Token {
                id: *id,
                position: (run.position + place) as u32,
                sequence: run.sequence,
                long: run.long,
            };
            step.tokens.extend(run.tokens.iter().enumerate().map(token));
            if !run.selected.is_empty() {
                requested.extend(&run.requested);
            }
        }
        if requested.contains(&Output::Drawn) {
            let of_run = |run: &&Run| std::iter::repeat_n(run.draw.unwrap_or(GREEDY), run.selected.len());
            step.draws = runs.iter().flat_map(of_run).collect();
        }
        step.pages.extend_from_slice(pages.table());
        Ok(WantedStep { step, requested, cancels: runs.iter().map(|run| run.cancel.clone()).collect() })
    }

    /// The results of a step, row by row.
    fn rows(&self, step: &Step, values: &Values) -> Vec<Row> {
        let found: HashMap<Output, (&ValueId, &Vec<f32>)> = self
            .graph
            .outputs
            .iter()
            .filter_map(|(output, value)| Some((*output, (value, values.get(value)?))))
            .collect();
        let row_of = |output: Output, row: usize| -> &[f32] {
            found.get(&output).map_or(&[], |(value, data)| {
                let width = self.graph.values[value.0].width;
                &data[row * width..][..width]
            })
        };
        let row = |row: usize| {
            let (ids, logits) = row_of(Output::TopK, row).split_at(row_of(Output::TopK, row).len() / 2);
            Row {
                logits: row_of(Output::Logits, row).to_vec(),
                argmax: row_of(Output::Argmax, row).first().map(|bits| bits.to_bits()),
                drawn: row_of(Output::Drawn, row).first().map(|bits| bits.to_bits()),
                top_k: ids.iter().map(|bits| bits.to_bits()).zip(logits.iter().copied()).collect(),
                log_sum_exp: row_of(Output::LogSumExp, row).first().copied(),
            }
        };
        (0..step.selected.len()).map(row).collect()
    }
}
