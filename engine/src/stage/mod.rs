//! A stage: some nodes of a graph on one device, and what GPU and host stages share.

pub mod plan;
pub mod recording;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use plywood_kernels::dispatch::StepSize;
use plywood_kernels::graph::{Output, Rows, Source, ValueId, Values, Weight, WeightPart};
use plywood_kernels::sample::draw::Draw;
use plywood_kernels::step::Step;
use plywood_kernels::{Format, Graph};

use crate::error::Result;
use crate::stage::plan::StagePlan;
use crate::stage::recording::Handle;
use crate::threads::threads;

/// Rows are read from files in pieces of about this many bytes.
pub(crate) const READ_BYTES: usize = 4 << 20;

/// Where the bytes of tensors come from.
pub trait WeightReader: Sync {
    /// Fills `bytes` from an offset of a tensor's data.
    fn read(&self, tensor: usize, offset: u64, bytes: &mut [u8]) -> Result<()>;
}

/// A stage on a device.
pub(crate) trait Stage: Send {
    /// Runs a step on values from the stage before. `results` then holds those that the next stages read and the results wanted, in
    /// the memory that it had where there is enough. A step that `is_cancelled` ends as soon as the device can be left.
    fn run(
        &mut self,
        step: &Step,
        requested: &[Output],
        given: &Values,
        results: &mut Values,
        is_cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<()>;

    /// Itself, if it takes a step before the results of the last were fetched.
    fn queue(&mut self) -> Option<&mut dyn StageQueue> {
        None
    }

    /// Its plan.
    fn plan(&self) -> &StagePlan;

    /// Whether it may run on a thread of its own while other stages run.
    fn overlaps(&self) -> bool;

    /// How long it was busy.
    fn times(&self) -> &StageTimes;

    /// Measures its kernels one by one from now on, or no longer; gives what they took while it did. `None` where the device cannot tell.
    fn profile(&mut self, _on: bool) -> Result<Option<KernelTimes>> {
        Ok(None)
    }

    /// Bytes that it reads and writes per second when it copies; `None` for the host.
    fn copy_bandwidth(&self) -> Result<Option<f64>> {
        Ok(None)
    }

    /// An error if its device does not work; the host does.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Fills everything but the weights with NaN, so that a test sees what is read unwritten.
    fn poison(&mut self) -> Result<()>;
}

/// A stage that takes a step before the results of the last were fetched.
pub(crate) trait StageQueue {
    /// Begins a step, as [`Stage::run`] does. A step that [`Step::is_ahead`] begins with the token that the last step of its sequence chose, if
    /// that was asked for one choice of one token.
    fn submit(
        &mut self,
        step: &Step,
        requested: &[Output],
        given: &Values,
        is_cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Ticket>;

    /// Waits for a step and fetches its results, as [`Stage::run`] does.
    fn collect(&mut self, ticket: Ticket, results: &mut Values) -> Result<()>;
}

/// A step that a stage has begun. Where it is dropped nobody fetches the results.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Arc<Mutex<Option<Result<Values>>>>);

impl Ticket {
    /// What came of its step, if the stage had to fetch that before it was asked for.
    pub fn take(&self) -> Option<Result<Values>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The stage's side of it.
    pub fn stub(&self) -> TicketStub {
        TicketStub(Arc::downgrade(&self.0))
    }
}

/// What a stage keeps of a ticket.
#[derive(Debug, Clone)]
pub(crate) struct TicketStub(Weak<Mutex<Option<Result<Values>>>>);

impl TicketStub {
    /// Whether the ticket is this one.
    pub fn is_of(&self, ticket: &Ticket) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&ticket.0))
    }

    /// Whether somebody still has the ticket.
    pub fn is_awaited(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Keeps what came of the step for whoever has the ticket.
    pub fn keep(&self, outcome: Result<Values>) {
        if let Some(ticket) = self.0.upgrade() {
            *ticket.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        }
    }
}

/// What a kernel's dispatches took, or on the host its nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct KernelTime {
    /// How many there were.
    pub dispatches: u64,
    /// Seconds of all of them.
    pub seconds: f64,
}

impl KernelTime {
    /// Adds one.
    pub(crate) fn add(&mut self, seconds: f64) {
        self.dispatches += 1;
        self.seconds += seconds;
    }
}

/// What kernels took, by their name and the candidate that was chosen.
pub type KernelTimes = BTreeMap<(&'static str, String), KernelTime>;

/// How many of the latest steps are in a stage's timeline.
const SPANS: usize = 4096;

/// How long a stage was busy, over all its steps.
#[derive(Debug, Clone, Default)]
pub struct StageTimes {
    /// Steps.
    pub steps: u64,
    /// From the writing of a step's inputs, or the end of the step before where that was later, to the arrival of its results.
    pub busy: Duration,
    /// Of that, the CPU's encoding of commands.
    pub encode: Duration,
    /// Dispatches.
    pub dispatches: u64,
    /// When it was busy in its latest steps, at most 4096.
    pub timeline: VecDeque<Range<Instant>>,
}

impl StageTimes {
    /// Adds a step that ends now; gives how long it was.
    pub(crate) fn add(&mut self, begin: Instant, encode: Duration, dispatches: usize) -> Duration {
        let end = Instant::now();
        let begin = self.timeline.back().map_or(begin, |before| begin.max(before.end));
        self.steps += 1;
        self.busy += end - begin;
        self.encode += encode;
        self.dispatches += dispatches as u64;
        if self.timeline.len() == SPANS {
            self.timeline.pop_front();
        }
        self.timeline.push_back(begin..end);
        end - begin
    }
}

/// The share of the time in which at least two stages were busy since some instant, by their timelines.
pub fn overlap(stages: &[StageTimes], since: Instant) -> f64 {
    let spans = stages.iter().flat_map(|times| &times.timeline).filter(|span| span.start >= since);
    let mut changes: Vec<(Instant, i32)> = spans.flat_map(|span| [(span.start, 1), (span.end, -1)]).collect();
    changes.sort();
    let (mut busy, mut both) = (0, Duration::ZERO);
    for pair in changes.windows(2) {
        busy += pair[0].1;
        if busy > 1 {
            both += pair[1].0 - pair[0].0;
        }
    }
    let whole = changes.first().zip(changes.last()).map_or(Duration::ZERO, |(first, last)| last.0 - first.0);
    if whole.is_zero() { 0.0 } else { both.as_secs_f64() / whole.as_secs_f64() }
}

/// The rows that a value has in a step.
pub(crate) fn rows_of(graph: &Graph, value: ValueId, step: &Step) -> usize {
    match graph.values[value.0].rows {
        Rows::Tokens => step.tokens.len(),
        Rows::Selected => step.selected.len(),
    }
}

/// The numbers of a step that dispatches depend on.
pub(crate) fn step_size(step: &Step) -> StepSize {
    StepSize {
        tokens: step.tokens.len() as u32,
        selected: step.selected.len() as u32,
        blocks: step.blocks().len() as u32,
        keys: step.longest() as u32,
    }
}

/// A step's tokens as shaders read them.
pub(crate) fn pack_tokens(step: &Step) -> Vec<u32> {
    step.tokens.iter().flat_map(|token| [token.id, token.position, token.sequence, u32::from(token.long)]).collect()
}

/// How the tokens after the selected ones of a step are drawn, as shaders read it.
pub(crate) fn pack_draws(step: &Step) -> Vec<u32> {
    step.draws.iter().flat_map(Draw::words).collect()
}

/// A step's attention blocks as shaders read them.
pub(crate) fn pack_blocks(step: &Step) -> Vec<u32> {
    step.blocks().iter().flat_map(|block| [block.first, block.tokens, block.sequence, 0]).collect()
}

/// Some rows of a part, as a file of the format in which a device holds them would have them: `bytes` is as long as these are.
pub(crate) fn part_rows(
    weight: &Weight,
    part: &WeightPart,
    rows: Range<usize>,
    reader: &dyn WeightReader,
    bytes: &mut [u8],
) -> Result<()> {
    let held = weight.device_format(part);
    if part.format == held {
        return file_rows(weight, part, rows, reader, bytes);
    }
    let mut file = vec![0; rows.len() * file_row_bytes(weight, part.format)];
    file_rows(weight, part, rows.clone(), reader, &mut file)?;
    requantise(part.format, held, &file, rows.len(), weight.columns, bytes);
    Ok(())
}

/// Bytes of a row of a weight in a file of a format.
pub(crate) fn file_row_bytes(weight: &Weight, format: Format) -> usize {
    format.file_row_bytes(weight.columns).expect("shapes were checked when the graph was built")
}

/// Rows of another format, made on all cores: searching for scales takes longer than reading.
fn requantise(from: Format, to: Format, bytes: &[u8], rows: usize, columns: usize, quantised: &mut [u8]) {
    let (from_bytes, to_bytes) = (bytes.len() / rows, quantised.len() / rows);
    let share = rows.div_ceil(threads());
    std::thread::scope(|scope| {
        for (rows, quantised) in bytes.chunks(share * from_bytes).zip(quantised.chunks_mut(share * to_bytes)) {
            scope.spawn(move || {
                let mut numbers = vec![0.0; columns];
                for (row, quantised) in rows.chunks_exact(from_bytes).zip(quantised.chunks_exact_mut(to_bytes)) {
                    from.decode_row(row, &mut numbers);
                    to.encode_row(&numbers, None, quantised);
                }
            });
        }
    });
}

/// Some rows of a part, as its source has them.
fn file_rows(
    weight: &Weight,
    part: &WeightPart,
    rows: Range<usize>,
    reader: &dyn WeightReader,
    bytes: &mut [u8],
) -> Result<()> {
    match &part.source {
        Source::Computed(numbers) => {
            let numbers = &numbers[rows.start * weight.columns..rows.end * weight.columns];
            part.format.encode_row(numbers, None, bytes);
            Ok(())
        }
        Source::Blocks(blocks) => {
            let row_bytes = blocks.len() / part.rows;
            bytes.copy_from_slice(&blocks[rows.start * row_bytes..rows.end * row_bytes]);
            Ok(())
        }
        Source::Tensor(tensor) => {
            let offset = rows.start * file_row_bytes(weight, part.format);
            reader.read(*tensor, offset as u64, bytes)
        }
    }
}

/// Gives the bytes of a stretch of a buffer in order, some at a time.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8]));

/// Has a stretch of a buffer filled, from an offset on: this many bytes, at most [`READ_BYTES`].
pub(crate) type FillBuffer<'a> = &'a mut dyn FnMut(Handle, u64, usize, Fill) -> Result<()>;

/// Reads the weights of a plan in pieces, and repacks them into the memory from which a device takes them.
pub(crate) fn read_weights(graph: &Graph, plan: &StagePlan, reader: &dyn WeightReader, fill: FillBuffer) -> Result<()> {
    let mut file = Vec::new();
    for (id, planned) in &plan.weights {
        let weight = &graph.weights[id.0];
        for ((handle, pieces), shard) in planned.shards.iter().zip(&planned.device.shards) {
            let (format, mut offset) = (shard.format, 0);
            let row_bytes = (format.device_row_bytes)(weight.columns);
            let (rows_at_once, mut row) = ((READ_BYTES / row_bytes).max(1), vec![0; row_bytes]);
            let mut fill = |bytes: usize, give: Fill| {
                offset += bytes as u64;
                fill(*handle, offset - bytes as u64, bytes, give)
            };
            if !format.table.is_empty() {
                fill(format.table.len(), &mut |put| put(format.table))?;
            }
            for piece in pieces {
                let part = &weight.parts[piece.part];
                for first in piece.rows.clone().step_by(rows_at_once) {
                    let rows = first..(first + rows_at_once).min(piece.rows.end);
                    let bytes = rows.len() * row_bytes;
                    let file_row_bytes = file_row_bytes(weight, format);
                    file.resize(rows.len() * file_row_bytes, 0);
                    part_rows(weight, part, rows, reader, &mut file)?;
                    if bytes > READ_BYTES {
                        // One row, which is longer than a stretch may be.
                        format.repack_row(&file, &mut row);
                        row.chunks(READ_BYTES).try_for_each(|stretch| fill(stretch.len(), &mut |put| put(stretch)))?;
                    } else if format.repack.is_some() || file.len() < bytes {
                        // Only written, never read: a row is put together in the cache.
                        fill(bytes, &mut |put| {
                            for file_row in file.chunks_exact(file_row_bytes) {
                                format.repack_row(file_row, &mut row);
                                put(&row);
                            }
                        })?;
                    } else {
                        fill(bytes, &mut |put| put(&file))?;
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
