//! A stage's plan: which buffers hold weights, caches and values on its device, and the recordings over them.
//!
//! All of it is arithmetic on a graph and a device's limits; nothing is allocated here.

mod buffers;
mod build;
mod lowered;
mod shards;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use plywood_kernels::Graph;
use plywood_kernels::candidate::Candidate;
use plywood_kernels::device::Features;
use plywood_kernels::dispatch::{Binding, Grid, Shader, Work};
use plywood_kernels::formats::BLOCK32;
use plywood_kernels::graph::{CacheId, Node, Output, Rows, ValueId, WeightId, needed};
use plywood_kernels::kv_cache::KvType;
use plywood_kernels::lowering::{Batch, DeviceCache, DeviceWeight, Precision};
use plywood_kernels::step::{MAX_FEW, PAGE_TOKENS};

use crate::devices::tuning::Choices;
use crate::ledger::{Bytes, Purpose};
use crate::stage::recording::{Handle, Key, Recording};

/// Rows of a value are allotted in tiles of the largest matmul.
const TILE_ROWS: usize = 64;

/// What a plan must know of a device.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The device's name, for messages.
    pub device: String,
    /// What its shaders can do.
    pub features: Features,
    /// What its kernels may round.
    pub precision: Precision,
    /// Which of its kernels are taken.
    pub choices: Choices,
    /// Threads that compute on the host; as many as there are cores where `None`.
    pub threads: Option<usize>,
    /// The largest storage binding and buffer, in bytes.
    pub max_binding: u64,
    /// The largest shard of a weight or a cache, in bytes; the largest binding but where a test forces shards.
    pub max_shard: u64,
    /// Bytes at a multiple of which a uniform binding may begin.
    pub uniform_alignment: u32,
}

/// How large steps may be, and what they may reach back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepLimits {
    /// Tokens in a step.
    pub tokens: usize,
    /// Tokens of a step whose logits are wanted.
    pub selected: usize,
    /// Sequences in a step.
    pub sequences: usize,
    /// Tokens in a sequence.
    pub context: usize,
    /// Pages of the cache.
    pub pages: usize,
    /// How the cache is stored.
    pub kv_type: KvType,
}

impl StepLimits {
    /// Pages of a sequence.
    pub fn pages_per_sequence(&self) -> usize {
        self.context.div_ceil(PAGE_TOKENS)
    }

    /// The batches that steps may have by the number of their rows of a kind.
    pub fn batches(&self, rows: Rows) -> impl Iterator<Item = Batch> {
        Batch::up_to(self.most(rows))
    }

    /// The most rows of a kind.
    fn most(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens,
            Rows::Selected => self.selected,
        }
    }

    /// The most rows of a kind, in whole tiles where there are many.
    fn rows(&self, rows: Rows) -> usize {
        let most = self.most(rows);
        if most <= MAX_FEW { most } else { most.next_multiple_of(TILE_ROWS) }
    }
}

/// A buffer to be allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferPlan {
    /// What it holds, for labels and messages.
    pub label: String,
    /// Its size, a multiple of 16.
    pub bytes: u64,
    /// What it is for.
    pub purpose: Purpose,
}

/// Rows of one part of a weight that lie after each other in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The part.
    pub part: usize,
    /// Its rows.
    pub rows: Range<usize>,
}

/// A weight on a device.
#[derive(Debug, Clone)]
pub struct PlannedWeight {
    /// As kernels see it.
    pub device: DeviceWeight,
    /// The buffer of each shard, and what fills it.
    pub shards: Vec<(Handle, Vec<Piece>)>,
}

/// A cache slot on a device.
#[derive(Debug, Clone)]
pub struct PlannedCache {
    /// As kernels see it.
    pub device: DeviceCache,
    /// The keys and the values of each shard, one buffer where values are the first elements of keys.
    pub shards: Vec<(Handle, Handle)>,
}

/// The buffers of what changes from step to step.
#[derive(Debug, Clone, Copy)]
pub struct StepBuffers {
    /// `vec4<u32>` for each token.
    pub tokens: Handle,
    /// `vec4<u32>` for each attention block.
    pub blocks: Handle,
    /// `u32` for each selected token.
    pub selected: Handle,
    /// `u32` for each page of each sequence.
    pub pages: Handle,
    /// Two `vec4<u32>` for each selected token.
    pub draws: Handle,
    /// `u32` for each sequence: the token that was chosen for it last, where its step was not read before the next began.
    pub chosen: Handle,
    /// The staging buffers through which what is written of these comes, in turn; values received come through the first.
    pub staging: [Handle; 2],
}

/// A stage on a device.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// The device.
    pub limits: Limits,
    /// How large steps may be.
    pub steps: StepLimits,
    /// The whole graph.
    pub graph: Arc<Graph>,
    /// The stage's nodes of it.
    pub range: Range<usize>,
    /// What it runs instead of these: the same, rewritten for the device.
    pub nodes: Vec<Node>,
    /// Values that come from the stage before, or from outside.
    pub received: Vec<ValueId>,
    /// Values that the stages after read.
    pub sent: Vec<ValueId>,
    /// Buffers by handle.
    pub buffers: Vec<BufferPlan>,
    /// The weights that its nodes read.
    pub weights: BTreeMap<WeightId, PlannedWeight>,
    /// The cache slots that its nodes use.
    pub caches: HashMap<CacheId, PlannedCache>,
    /// The buffer of each value.
    pub values: HashMap<ValueId, Handle>,
    /// The buffers of what changes from step to step.
    pub step: StepBuffers,
    /// The buffers through which the host reads each value that leaves the stage: two of a choice, so that the next step can begin before
    /// it was read.
    pub readbacks: HashMap<ValueId, Vec<Handle>>,
    /// The parameters of every dispatch.
    pub params: Params,
    /// What each of its nodes was lowered to, for each batch.
    pub lowered: Vec<BTreeMap<Batch, LoweredNode>>,
    /// The scratch buffers, shared by all nodes.
    scratch: Vec<Handle>,
}

/// The parameters of every dispatch of a stage, in one buffer of uniforms; equal ones lie there once.
#[derive(Debug, Clone)]
pub struct Params {
    /// The buffer.
    pub buffer: Handle,
    /// What it holds.
    pub words: Vec<u32>,
}

/// What a node was lowered to for a batch.
#[derive(Debug, Clone)]
pub struct LoweredNode {
    /// The candidate that was chosen.
    pub candidate: Arc<Candidate>,
    /// Its dispatches in order.
    dispatches: Vec<PlannedDispatch>,
}

/// A candidate that an op takes in a stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChosenKernel {
    /// The op, by its kernel's name.
    pub op: &'static str,
    /// For how many rows it is taken; of few rows for the most of them.
    pub batch: Batch,
    /// The candidate, as it is displayed.
    pub candidate: String,
}

/// A dispatch whose parameters have their place.
#[derive(Debug, Clone)]
struct PlannedDispatch {
    shader: Arc<Shader>,
    /// Where its parameters lie, in words.
    params: usize,
    /// Their size in bytes.
    params_bytes: usize,
    bindings: Vec<Binding>,
    grid: Grid,
    work: Work,
}

/// What a step needs of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The stage's nodes that run, by their index in [`StagePlan::nodes`].
    pub nodes: Vec<usize>,
    /// The values that leave the stage: those that needed nodes of later stages read, then the results wanted.
    pub results: Vec<ValueId>,
}

impl StagePlan {
    /// Bytes by purpose of all buffers.
    pub fn bytes(&self) -> Bytes {
        let mut bytes = Bytes::default();
        self.buffers.iter().for_each(|buffer| bytes.add(buffer.purpose, buffer.bytes));
        bytes
    }

    /// Elements from a row of a value to the next in its buffer.
    pub fn stride(graph: &Graph, value: ValueId) -> usize {
        graph.values[value.0].width.next_multiple_of(BLOCK32)
    }

    /// What the stage runs for steps of a kind.
    pub fn record(&self, key: &Key) -> Recording {
        let Needed { nodes, results } = self.needed(&key.requested);
        let commands = nodes.into_iter().flat_map(|index| self.commands(index, self.batch(index, key)));
        Recording { commands: commands.collect(), results }
    }

    /// The batch that a node has in steps of a kind.
    fn batch(&self, index: usize, key: &Key) -> Batch {
        match self.rows_of(&self.nodes[index]) {
            Rows::Tokens => key.tokens,
            Rows::Selected => key.selected,
        }
    }

    /// What a step of which this much is wanted needs of the stage.
    pub fn needed(&self, requested: &[Output]) -> Needed {
        let (wanted, later) = (self.graph.wanted(requested), &self.graph.nodes[self.range.end..]);
        let mut live = wanted.clone();
        let run_later = needed(later, &mut live);
        let read_later: HashSet<ValueId> =
            run_later.iter().flat_map(|index| later[*index].inputs.iter()).map(|slice| slice.value).collect();
        let sent = self.sent.iter().copied().filter(|value| read_later.contains(value));
        let outputs = self.graph.outputs.iter().map(|(_, value)| *value);
        let mine = outputs.filter(|value| wanted.contains(value) && self.values.contains_key(value));
        Needed { results: sent.chain(mine).collect(), nodes: needed(&self.nodes, &mut live) }
    }

    /// The rows that a node computes: those of its output, or of the tokens where it writes the cache.
    fn rows_of(&self, node: &Node) -> Rows {
        node.output.map_or(Rows::Tokens, |value| self.graph.values[value.0].rows)
    }
}
