//! A stage's plan: which buffers hold weights, caches and values on its device, and the recordings over them.
//!
//! All of it is arithmetic on a graph and a device's limits; nothing is allocated here.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use plywood_kernels::Graph;
use plywood_kernels::formats::UNIT;
use plywood_kernels::graph::{CacheId, Node, Rows, Slice, ValueId, Want, Weight, WeightId};
use plywood_kernels::kv_cache::KvType;
use plywood_kernels::op::{Binding, Class, DeviceCache, DeviceWeight, Features, Lowered, Shard, Site, View};
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
    /// The keys and the values of each shard.
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
    /// The scratch buffers, shared by all nodes.
    scratch: Vec<Handle>,
}

impl StagePlan {
    /// Plans the nodes of a stage for a device.
    pub fn new(graph: &Graph, nodes: Range<usize>, limits: Limits, steps: StepLimits) -> Result<StagePlan> {
        let mut buffers = Vec::new();
        let step = StepBuffers {
            tokens: allot(&mut buffers, "tokens", 16 * steps.tokens as u64, Purpose::Activations),
            blocks: allot(&mut buffers, "blocks", 16 * steps.tokens as u64, Purpose::Activations),
            selected: allot(&mut buffers, "selected", 4 * steps.selected as u64, Purpose::Activations),
            pages: allot(
                &mut buffers,
                "page table",
                4 * (steps.sequences * steps.pages_per_sequence()) as u64,
                Purpose::Activations,
            ),
        };
        let (received, sent) = crossing(graph, &nodes);
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
            scratch: Vec::new(),
        };
        for node in &graph.nodes[plan.nodes.clone()] {
            for weight in &node.weights {
                if !plan.weights.contains_key(weight) {
                    let planned = plan.plan_weight(&graph.weights[weight.0])?;
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
        plan.assign_scratch(graph);
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
        let alignment = (self.limits.uniform_alignment as usize / 4).max(4);
        let needed = graph.needed(&key.wants);
        for index in needed.iter().filter(|index| self.nodes.contains(index)) {
            let node = &graph.nodes[*index];
            for dispatch in self.lower(graph, node, key).dispatches {
                let params = recording.params.len();
                recording.params.extend(&dispatch.params);
                // A uniform struct's size is a multiple of 16 bytes.
                let words = dispatch.params.len().next_multiple_of(4);
                recording.params.resize((params + words).next_multiple_of(alignment), 0);
                recording.commands.push(Command {
                    buffers: dispatch.bindings.iter().map(|binding| self.resolve(node, *binding)).collect(),
                    shader: dispatch.shader,
                    params,
                    params_bytes: words * 4,
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

    fn lower(&self, graph: &Graph, node: &Node, key: &Key) -> Lowered {
        let rows = node.output.map_or(Rows::Tokens, |value| graph.values[value.0].rows);
        let view = |slice: &Slice| View {
            offset: slice.offset as u32,
            stride: Self::stride(graph, slice.value) as u32,
            width: slice.width as u32,
        };
        node.op.kernel().lower(&Site {
            features: self.limits.features,
            class: match rows {
                Rows::Tokens => key.tokens,
                Rows::Selected => key.selected,
            },
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

    /// Cuts a weight into shards: rows of one format, as many as a binding holds.
    fn plan_weight(&mut self, weight: &Weight) -> Result<PlannedWeight> {
        let mut planned = PlannedWeight {
            device: DeviceWeight { columns: weight.columns as u32, shards: Vec::new() },
            shards: Vec::new(),
        };
        let mut first_row = 0;
        let mut part = 0;
        while part < weight.parts.len() {
            let format = weight.device_format(&weight.parts[part]);
            let row_bytes = (format.device_row_bytes)(weight.columns) as u64;
            let most_rows = (self.limits.max_shard / row_bytes) as usize;
            if most_rows == 0 {
                return Err(self.binding_error(&weight.name, row_bytes, "use another adapter"));
            }
            // Parts of one format that follow each other share shards.
            let run = weight.parts[part..].iter().take_while(|next| weight.device_format(next) == format).count();
            let mut pieces: Vec<Piece> =
                (part..part + run).map(|part| Piece { part, rows: 0..weight.parts[part].rows }).collect();
            pieces.reverse();
            while !pieces.is_empty() {
                let (mut shard, mut rows) = (Vec::new(), 0);
                while let Some(mut piece) = pieces.pop() {
                    let take = piece.rows.len().min(most_rows - rows);
                    let rest = piece.rows.start + take..piece.rows.end;
                    piece.rows.end = rest.start;
                    rows += take;
                    if take > 0 {
                        shard.push(Piece { part: piece.part, rows: piece.rows });
                    }
                    if !rest.is_empty() {
                        pieces.push(Piece { part: piece.part, rows: rest });
                        break;
                    }
                }
                let label = if planned.shards.is_empty() {
                    weight.name.clone()
                } else {
                    format!("{} +{first_row}", weight.name)
                };
                let handle = allot(&mut self.buffers, label, row_bytes * rows as u64, Purpose::Weights);
                planned.shards.push((handle, shard));
                planned.device.shards.push(Shard {
                    format,
                    first_row,
                    rows: rows as u32,
                    row_stride: (row_bytes / 16) as u32,
                });
                first_row += rows as u32;
            }
            part += run;
        }
        Ok(planned)
    }

    /// Cuts a cache slot into shards: as many KV heads as a binding holds.
    fn plan_cache(&mut self, graph: &Graph, cache: CacheId) -> Result<PlannedCache> {
        let slot = graph.caches[cache.0];
        let numbers = (self.steps.pages * PAGE_TOKENS * slot.head_width) as u64;
        let head_bytes = self.steps.kv_type.bytes(numbers);
        let most_heads = (self.limits.max_shard / head_bytes.max(1)) as usize;
        if most_heads == 0 {
            return Err(self.binding_error("the KV cache of one head", head_bytes, "use a smaller --context"));
        }
        let mut heads = Vec::new();
        while heads.iter().sum::<u32>() < slot.kv_heads as u32 {
            heads.push((slot.kv_heads - heads.iter().sum::<u32>() as usize).min(most_heads) as u32);
        }
        let mut shards = Vec::new();
        for heads in &heads {
            let mut allot = |what| {
                let label = format!("{what} of slot {} in {} heads", cache.0, heads);
                allot(&mut self.buffers, label, head_bytes * u64::from(*heads), Purpose::KvCache)
            };
            shards.push((allot("keys"), allot("values")));
        }
        let device = DeviceCache {
            slot,
            kv_type: self.steps.kv_type,
            shards: heads,
            context: self.steps.context as u32,
            pages_per_sequence: self.steps.pages_per_sequence() as u32,
        };
        Ok(PlannedCache { device, shards })
    }

    /// Gives each value a buffer; a buffer is taken again once no later node reads what it held.
    fn assign_values(&mut self, graph: &Graph) {
        let mut last_use: HashMap<ValueId, usize> = HashMap::new();
        for index in self.nodes.clone() {
            let node = &graph.nodes[index];
            let used = node.inputs.iter().map(|slice| slice.value).chain(node.output);
            used.for_each(|value| _ = last_use.insert(value, index));
        }
        let kept = self.sent.iter().chain(graph.outputs.iter().map(|(_, value)| value));
        kept.for_each(|value| _ = last_use.entry(*value).and_modify(|last| *last = usize::MAX));
        let mut free: Vec<Handle> = Vec::new();
        for value in self.received.clone() {
            self.assign_value(graph, value, &mut free);
        }
        for index in self.nodes.clone() {
            let node = &graph.nodes[index];
            if let Some(value) = node.output {
                self.assign_value(graph, value, &mut free);
            }
            // Only now, so that no op reads what it writes.
            let mut ended: Vec<ValueId> =
                last_use.iter().filter(|(_, last)| **last == index).map(|(id, _)| *id).collect();
            ended.sort();
            free.extend(ended.iter().map(|value| self.values[value]));
        }
    }

    /// Gives a value the free buffer that needs to grow least, or a new one.
    fn assign_value(&mut self, graph: &Graph, value: ValueId, free: &mut Vec<Handle>) {
        if self.values.contains_key(&value) {
            return;
        }
        let facts = &graph.values[value.0];
        let bytes = (4 * Self::stride(graph, value) * self.steps.rows(facts.rows)) as u64;
        let growth = |handle: &Handle| {
            let size = self.buffers[handle.0].bytes;
            (bytes.saturating_sub(size), size)
        };
        let best = (0..free.len()).min_by_key(|index| growth(&free[*index]));
        let handle = match best {
            Some(index) => {
                let handle = free.remove(index);
                let buffer = &mut self.buffers[handle.0];
                buffer.bytes = buffer.bytes.max(bytes);
                handle
            }
            None => allot(&mut self.buffers, facts.name, bytes, Purpose::Activations),
        };
        self.values.insert(value, handle);
    }

    /// Allots scratch buffers that fit every node in every class.
    fn assign_scratch(&mut self, graph: &Graph) {
        let mut sizes: Vec<u64> = Vec::new();
        let largest = |most: usize| Class::Columns(most.clamp(1, MAX_COLUMNS) as u32);
        let few = (largest(self.steps.tokens), largest(self.steps.selected));
        for (tokens, selected) in [few, (Class::Many, Class::Many)] {
            let key = Key { tokens, selected, wants: Vec::new() };
            for node in &graph.nodes[self.nodes.clone()] {
                for (index, bytes) in self.lower(graph, node, &key).scratch.into_iter().enumerate() {
                    sizes.resize(sizes.len().max(index + 1), 0);
                    sizes[index] = sizes[index].max(bytes);
                }
            }
        }
        self.scratch =
            sizes.into_iter().map(|bytes| allot(&mut self.buffers, "scratch", bytes, Purpose::Activations)).collect();
    }

    fn check_bindings(&self) -> Result<()> {
        match self.buffers.iter().find(|buffer| buffer.bytes > self.limits.max_binding) {
            Some(buffer) => Err(self.binding_error(&buffer.label, buffer.bytes, "use a smaller --context")),
            None => Ok(()),
        }
    }

    fn binding_error(&self, what: &str, bytes: u64, advice: &'static str) -> Error {
        let device = self.limits.device.clone();
        Error::Binding { device, what: what.to_string(), bytes, limit: self.limits.max_binding, advice }
    }
}

fn allot(buffers: &mut Vec<BufferPlan>, label: impl Into<String>, bytes: u64, purpose: Purpose) -> Handle {
    buffers.push(BufferPlan { label: label.into(), bytes: bytes.next_multiple_of(16).max(16), purpose });
    Handle(buffers.len() - 1)
}

/// The values that enter a range of nodes and those that leave it for later nodes.
fn crossing(graph: &Graph, nodes: &Range<usize>) -> (Vec<ValueId>, Vec<ValueId>) {
    let written =
        |range: Range<usize>| -> Vec<ValueId> { graph.nodes[range].iter().filter_map(|node| node.output).collect() };
    let read = |range: Range<usize>| -> Vec<ValueId> {
        let mut values: Vec<ValueId> =
            graph.nodes[range].iter().flat_map(|node| node.inputs.iter().map(|slice| slice.value)).collect();
        values.sort();
        values.dedup();
        values
    };
    let (inside, behind) = (written(nodes.clone()), read(nodes.end..graph.nodes.len()));
    let received = read(nodes.clone()).into_iter().filter(|value| !inside.contains(value)).collect::<Vec<_>>();
    // What was received and is read further behind passes through.
    let before: Vec<ValueId> = written(0..nodes.start).into_iter().chain(graph.inputs.iter().copied()).collect();
    let passing = behind.iter().filter(|value| before.contains(value) && !received.contains(value));
    let received: Vec<ValueId> = received.iter().chain(passing).copied().collect();
    let sent = behind.into_iter().filter(|value| inside.contains(value) || received.contains(value)).collect();
    (received, sent)
}
