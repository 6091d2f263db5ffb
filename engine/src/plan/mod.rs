//! A stage's plan: which buffers hold weights, caches and values on its device, and the recordings over them.
//!
//! All of it is arithmetic on a graph and a device's limits; nothing is allocated here.

mod shards;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use plywood_kernels::Graph;
use plywood_kernels::formats::UNIT;
use plywood_kernels::graph::{CacheId, Node, Rows, Slice, ValueId, Want, WeightId};
use plywood_kernels::kv_cache::KvType;
use plywood_kernels::op::{Binding, Class, DeviceCache, DeviceWeight, Features, Lowered, Site, View};
use plywood_kernels::step::{MAX_COLUMNS, PAGE_TOKENS};

use crate::error::{Error, Result};
use crate::memory::{Bytes, Purpose};
use crate::recording::{Command, Handle, Key, Recording};

/// Rows of a value are allotted in tiles of the largest matmul.
const TILE_ROWS: usize = 64;

/// What a plan must know of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The device's name, for messages.
    pub device: String,
    /// What its shaders can do.
    pub features: Features,
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

    /// The classes that steps may have by the number of their rows of a kind.
    pub fn classes(&self, rows: Rows) -> impl Iterator<Item = Class> {
        let most = self.rows(rows);
        let few = (1..=most.min(MAX_COLUMNS)).map(|columns| Class::Columns(columns as u32));
        few.chain((most > MAX_COLUMNS).then_some(Class::Many))
    }

    /// The most rows of a kind, in whole tiles where there are many.
    fn rows(&self, rows: Rows) -> usize {
        let most = match rows {
            Rows::Tokens => self.tokens,
            Rows::Selected => self.selected,
        };
        if most <= MAX_COLUMNS { most } else { most.next_multiple_of(TILE_ROWS) }
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

/// Rows of one part of a weight that lie behind each other in a shard.
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
    /// The staging buffer through which these and the values received come.
    pub staging: Handle,
}

/// A stage on a device.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// The device.
    pub limits: Limits,
    /// How large steps may be.
    pub steps: StepLimits,
    /// Its nodes of the graph.
    pub nodes: Range<usize>,
    /// Values that come from the stage before, or from outside.
    pub received: Vec<ValueId>,
    /// Values that the stages behind read.
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
    /// The buffer through which the host reads each value that leaves the stage.
    pub readbacks: HashMap<ValueId, Handle>,
    /// The parameters of every dispatch.
    pub params: Params,
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
    /// Where parameters lie in it, in words.
    places: HashMap<Vec<u32>, usize>,
}

impl Params {
    /// Adds the parameters of a dispatch at a multiple of so many words.
    fn add(&mut self, params: Vec<u32>, alignment: usize) {
        if !self.places.contains_key(&params) {
            self.places.insert(params.clone(), self.words.len());
            self.words.extend(params);
            self.words.resize(self.words.len().next_multiple_of(alignment), 0);
        }
    }
}

impl StagePlan {
    /// Plans the nodes of a stage for a device.
    pub fn new(graph: &Graph, nodes: Range<usize>, limits: Limits, steps: StepLimits) -> Result<StagePlan> {
        let mut buffers = Vec::new();
        let mut step = StepBuffers {
            tokens: allot(&mut buffers, "tokens", 16 * steps.tokens as u64, Purpose::Activations),
            blocks: allot(&mut buffers, "blocks", 16 * steps.tokens as u64, Purpose::Activations),
            selected: allot(&mut buffers, "selected", 4 * steps.selected as u64, Purpose::Activations),
            pages: allot(
                &mut buffers,
                "page table",
                4 * (steps.sequences * steps.pages_per_sequence()) as u64,
                Purpose::Activations,
            ),
            staging: Handle(0),
        };
        let words: u64 = buffers.iter().map(|buffer: &BufferPlan| buffer.bytes).sum();
        step.staging = allot(&mut buffers, "step staging", words, Purpose::Staging);
        let (received, sent) = values::crossing(graph, &nodes);
        let mut plan = StagePlan {
            limits,
            steps,
            nodes,
            received,
            sent,
            buffers,
            weights: BTreeMap::new(),
            caches: HashMap::new(),
            values: HashMap::new(),
            step,
            readbacks: HashMap::new(),
            params: Params { buffer: Handle(0), words: Vec::new(), places: HashMap::new() },
            scratch: Vec::new(),
        };
        for node in &graph.nodes[plan.nodes.clone()] {
            for weight in &node.weights {
                if !plan.weights.contains_key(weight) {
                    let planned = plan.plan_weight(&graph.weights[weight.0], node.op.kernel().takes_shards())?;
                    plan.weights.insert(*weight, planned);
                }
            }
            if let Some(cache) = node.cache
                && !plan.caches.contains_key(&cache)
            {
                let planned = plan.plan_cache(graph, cache)?;
                plan.caches.insert(cache, planned);
            }
        }
        plan.assign_values(graph);
        let received: u64 = plan.received.iter().map(|value| plan.value_bytes(graph, *value)).sum();
        plan.buffers[step.staging.0].bytes += received.next_multiple_of(16);
        plan.assign_readbacks(graph);
        plan.lower_all(graph);
        plan.check_bindings()?;
        Ok(plan)
    }

    /// Bytes by purpose of all buffers.
    pub fn bytes(&self) -> Bytes {
        let mut bytes = Bytes::default();
        self.buffers.iter().for_each(|buffer| bytes.add(buffer.purpose, buffer.bytes));
        bytes
    }

    /// Elements from a row of a value to the next in its buffer.
    pub fn stride(graph: &Graph, value: ValueId) -> usize {
        graph.values[value.0].width.next_multiple_of(UNIT)
    }

    /// What the stage runs for steps of a kind.
    pub fn record(&self, graph: &Graph, key: &Key) -> Recording {
        let mut recording = Recording::default();
        let needed = graph.needed(&key.wants);
        for index in needed.iter().filter(|index| self.nodes.contains(index)) {
            let node = &graph.nodes[*index];
            let class = match rows_of(graph, node) {
                Rows::Tokens => key.tokens,
                Rows::Selected => key.selected,
            };
            for dispatch in self.lower(graph, node, class).dispatches {
                recording.commands.push(Command {
                    buffers: dispatch.bindings.iter().map(|binding| self.resolve(node, *binding)).collect(),
                    params: self.params.places[&dispatch.params],
                    // A uniform struct's size is a multiple of 16 bytes.
                    params_bytes: dispatch.params.len().next_multiple_of(4) * 4,
                    shader: dispatch.shader,
                    grid: dispatch.grid,
                    work: dispatch.work,
                });
            }
        }
        recording.results = self.results(graph, &needed, &key.wants);
        recording
    }

    /// The values that leave the stage: those that needed nodes behind it read, and the results wanted.
    pub fn results(&self, graph: &Graph, needed: &[usize], wants: &[Want]) -> Vec<ValueId> {
        let behind = needed.iter().filter(|index| **index >= self.nodes.end);
        let read: Vec<ValueId> =
            behind.flat_map(|index| graph.nodes[*index].inputs.iter().map(|slice| slice.value)).collect();
        let wanted = graph.outputs.iter().filter(|(want, _)| wants.contains(want)).map(|(_, value)| *value);
        let mine = wanted.filter(|value| self.values.contains_key(value));
        self.sent.iter().copied().filter(|value| read.contains(value)).chain(mine).collect()
    }

    fn lower(&self, graph: &Graph, node: &Node, class: Class) -> Lowered {
        let rows = rows_of(graph, node);
        let view = |slice: &Slice| View {
            offset: slice.offset as u32,
            stride: Self::stride(graph, slice.value) as u32,
            width: slice.width as u32,
        };
        node.op.kernel().lower(&Site {
            features: self.limits.features,
            class,
            rows,
            max_rows: self.steps.rows(rows) as u32,
            inputs: node.inputs.iter().map(view).collect(),
            output: node.output.map(|value| view(&graph.whole(value))),
            weights: node.weights.iter().map(|weight| &self.weights[weight].device).collect(),
            cache: node.cache.map(|cache| &self.caches[&cache].device),
        })
    }

    fn resolve(&self, node: &Node, binding: Binding) -> Handle {
        let cache = || &self.caches[&node.cache.expect("the op uses the cache")];
        match binding {
            Binding::Input(input) => self.values[&node.inputs[input].value],
            Binding::Output => self.values[&node.output.expect("the op writes a value")],
            Binding::Shard { weight, shard } => self.weights[&node.weights[weight]].shards[shard].0,
            Binding::Keys(shard) => cache().shards[shard].0,
            Binding::Values(shard) => cache().shards[shard].1,
            Binding::Scratch(index) => self.scratch[index],
            Binding::Tokens => self.step.tokens,
            Binding::Blocks => self.step.blocks,
            Binding::Selected => self.step.selected,
            Binding::Pages => self.step.pages,
        }
    }

    fn check_bindings(&self) -> Result<()> {
        let bound = self.buffers.iter().filter(|buffer| buffer.purpose != Purpose::Staging);
        match bound.max_by_key(|buffer| buffer.bytes).filter(|buffer| buffer.bytes > self.limits.max_binding) {
            Some(buffer) => {
                Err(self.binding_error(&buffer.label, buffer.bytes, "use a smaller --context, or another adapter"))
            }
            None => Ok(()),
        }
    }

    fn binding_error(&self, what: &str, bytes: u64, advice: &'static str) -> Error {
        let device = self.limits.device.clone();
        Error::Binding { device, what: what.to_string(), bytes, limit: self.limits.max_binding, advice }
    }
}

/// The rows that a node computes: those of its output, or of the tokens where it writes the cache.
fn rows_of(graph: &Graph, node: &Node) -> Rows {
    node.output.map_or(Rows::Tokens, |value| graph.values[value.0].rows)
}

fn allot(buffers: &mut Vec<BufferPlan>, label: impl Into<String>, bytes: u64, purpose: Purpose) -> Handle {
    buffers.push(BufferPlan { label: label.into(), bytes: bytes.next_multiple_of(16).max(16), purpose });
    Handle(buffers.len() - 1)
}
