//! What nodes become on the device: each is lowered once for each batch, by the candidate that is chosen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use plywood_kernels::candidate::Candidate;
use plywood_kernels::dispatch::{Binding, Dispatch, Lowered, Shader};
use plywood_kernels::graph::{Node, Slice};
use plywood_kernels::lowering::{Batch, LoweringContext, View};
use plywood_kernels::step::MAX_FEW;

use super::buffers::allot;
use super::{ChosenKernel, LoweredNode, PlannedDispatch, StagePlan};
use crate::devices::tuning::Preference;
use crate::ledger::Purpose;
use crate::stage::recording::{Command, Handle};

/// What lowering collects over all nodes and batches.
#[derive(Default)]
struct Lowering {
    /// Bytes of each scratch buffer.
    scratch: Vec<u64>,
    /// Parameters of all dispatches, in words.
    words: Vec<u32>,
    /// Where parameters lie in them.
    offsets: HashMap<Vec<u32>, usize>,
    /// Equal shaders are kept once.
    shaders: HashSet<Arc<Shader>>,
}

impl StagePlan {
    /// Lowers every node for every batch, and allots the scratch buffers and the parameters that any recording needs.
    pub(super) fn lower(&mut self) {
        let mut lowering = Lowering::default();
        let of_node = |node: &Node| {
            self.steps
                .batches(self.rows_of(node))
                .map(|batch| (batch, self.lower_node(node, batch, &mut lowering)))
                .collect()
        };
        self.lowered = self.nodes.iter().map(of_node).collect();
        let mut scratch = |bytes| allot(&mut self.buffers, "scratch", bytes, Purpose::Activations);
        self.scratch = lowering.scratch.into_iter().map(&mut scratch).collect();
        self.params.words = lowering.words;
        let bytes = 4 * self.params.words.len() as u64;
        self.params.buffer = allot(&mut self.buffers, "parameters", bytes, Purpose::Activations);
    }

    /// What a node's kernel knows when it is lowered for a batch.
    fn context(&self, node: &Node, batch: Batch) -> LoweringContext<'_> {
        let rows = self.rows_of(node);
        let view = |slice: &Slice| View {
            offset: slice.offset as u32,
            stride: Self::stride(&self.graph, slice.value) as u32,
            width: slice.width as u32,
        };
        LoweringContext {
            features: self.limits.features,
            precision: self.limits.precision,
            batch,
            rows,
            max_rows: self.steps.rows(rows) as u32,
            inputs: node.inputs.map(view),
            output: node.output.map(|value| view(&self.graph.whole(value))),
            weights: node.weights.map(|weight| &self.weights[weight].device),
            cache: node.cache.map(|cache| &self.caches[&cache].device),
        }
    }

    /// The candidates that a node has in a batch, the kernel's best guess first.
    pub fn candidates(&self, node: &Node, batch: Batch) -> Vec<Candidate> {
        match self.limits.features.is_host() {
            true => node.op.kernel().host_candidates(self.limits.precision),
            false => node.op.kernel().candidates(&self.context(node, batch)),
        }
    }

    /// The candidates of its nodes in any batch besides their kernels' best guesses.
    pub fn preferences(&self) -> Vec<Preference> {
        let of_node = |node| {
            let batches = self.steps.batches(self.rows_of(node));
            let others = batches.flat_map(move |batch| self.candidates(node, batch).into_iter().skip(1));
            others.map(|candidate| Preference::of(&node.op, &candidate))
        };
        let mut preferences: Vec<Preference> = self.nodes.iter().flat_map(of_node).collect();
        preferences.sort();
        preferences.dedup();
        preferences
    }

    /// Whether any of its candidates rounds activations to 8 bits.
    pub fn rounds(&self) -> bool {
        self.lowered.iter().flat_map(BTreeMap::values).any(|lowered| lowered.candidate.rounds())
    }

    /// The candidates that its ops take, each once.
    pub fn kernels(&self) -> Vec<ChosenKernel> {
        let of_node = |(node, lowered): (&Node, &BTreeMap<Batch, LoweredNode>)| {
            let op = node.op.kernel().name();
            let of_batch = |(batch, lowered): (&Batch, &LoweredNode)| ChosenKernel {
                op,
                batch: if let Batch::Few(_) = batch { Batch::Few(MAX_FEW as u32) } else { *batch },
                candidate: lowered.candidate.to_string(),
            };
            lowered.iter().map(of_batch).collect::<Vec<_>>()
        };
        let mut kernels: Vec<ChosenKernel> = self.nodes.iter().zip(&self.lowered).flat_map(of_node).collect();
        kernels.sort();
        kernels.dedup();
        kernels
    }

    fn lower_node(&self, node: &Node, batch: Batch, lowering: &mut Lowering) -> LoweredNode {
        let kernel = node.op.kernel();
        let candidate = self.limits.choices.choose(kernel.name(), self.candidates(node, batch));
        if self.limits.features.is_host() {
            return LoweredNode { candidate: Arc::new(candidate), dispatches: Vec::new() };
        }
        let Lowered { dispatches, scratch } = kernel.lower(&self.context(node, batch), &candidate);
        lowering.scratch.resize(lowering.scratch.len().max(scratch.len()), 0);
        lowering.scratch.iter_mut().zip(scratch).for_each(|(most, bytes)| *most = bytes.max(*most));
        let alignment = (self.limits.uniform_alignment as usize / 4).max(4);
        let dispatches = dispatches.into_iter().map(|dispatch| lowering.place(dispatch, alignment)).collect();
        LoweredNode { candidate: Arc::new(candidate), dispatches }
    }

    /// The commands of a node in a batch.
    pub(super) fn commands(&self, index: usize, batch: Batch) -> impl Iterator<Item = Command> {
        let (node, lowered) = (&self.nodes[index], &self.lowered[index][&batch]);
        lowered.dispatches.iter().map(|dispatch| Command {
            candidate: Arc::clone(&lowered.candidate),
            shader: Arc::clone(&dispatch.shader),
            params: dispatch.params,
            params_bytes: dispatch.params_bytes,
            buffers: dispatch.bindings.iter().map(|binding| self.resolve(node, *binding)).collect(),
            grid: dispatch.grid,
            work: dispatch.work,
        })
    }

    fn resolve(&self, node: &Node, binding: Binding) -> Handle {
        let cache = || &self.caches[&node.cache.expect("the op uses the cache")];
        match binding {
            Binding::Input(name) => self.values[&node.inputs[name].value],
            Binding::Output => self.values[&node.output.expect("the op writes a value")],
            Binding::Shard { weight, shard } => self.weights[&node.weights[weight]].shards[shard].0,
            Binding::Keys(shard) => cache().shards[shard].0,
            Binding::Values(shard) => cache().shards[shard].1,
            Binding::Scratch(index) => self.scratch[index],
            Binding::Tokens => self.step.tokens,
            Binding::Blocks => self.step.blocks,
            Binding::Selected => self.step.selected,
            Binding::Draws => self.step.draws,
            Binding::Pages => self.step.pages,
        }
    }
}

impl Lowering {
    /// Gives the parameters of a dispatch their place, at a multiple of this many words.
    fn place(&mut self, dispatch: Dispatch, alignment: usize) -> PlannedDispatch {
        let Dispatch { shader, params, bindings, grid, work } = dispatch;
        // A uniform struct's size is a multiple of 16 bytes.
        let params_bytes = params.len().next_multiple_of(4) * 4;
        let offset = *self.offsets.entry(params).or_insert_with_key(|params| {
            let offset = self.words.len();
            self.words.extend(params);
            self.words.resize(self.words.len().next_multiple_of(alignment), 0);
            offset
        });
        let shader = match self.shaders.get(&shader) {
            Some(shader) => Arc::clone(shader),
            None => {
                let shader = Arc::new(shader);
                self.shaders.insert(Arc::clone(&shader));
                shader
            }
        };
        PlannedDispatch { shader, params: offset, params_bytes, bindings, grid, work }
    }
}
