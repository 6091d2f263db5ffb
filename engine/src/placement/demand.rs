//! What a model costs: bytes and work of each layer, and of what lies before and after the layers.

use std::collections::BTreeSet;
use std::ops::Range;

use plywood_kernels::Graph;
use plywood_kernels::fuse;
use plywood_kernels::graph::{Node, WeightId};
use plywood_kernels::kv_cache::KvType;
use plywood_kernels::step::PAGE_TOKENS;

use super::device::Device;
use crate::stage::plan::{Limits, StepLimits};

/// What some nodes cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of weights that are held.
    pub weights: u64,
    /// Bytes of the KV cache, in each of its types in the order of [`KvType::ALL`].
    pub cache: [u64; KvType::ALL.len()],
    /// Bytes of weights that one token reads.
    pub read: u64,
    /// Multiply-adds of one token.
    pub multiply_adds: u64,
    /// Dispatches of one token, roughly.
    pub dispatches: u64,
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.weights = self.weights.saturating_add(other.weights);
        for (sum, bytes) in self.cache.iter_mut().zip(other.cache) {
            *sum = sum.saturating_add(bytes);
        }
        self.read = self.read.saturating_add(other.read);
        self.multiply_adds = self.multiply_adds.saturating_add(other.multiply_adds);
        self.dispatches = self.dispatches.saturating_add(other.dispatches);
    }

    /// Bytes of the KV cache as a device stores it.
    pub fn cache_bytes(&self, device: &Device) -> u64 {
        self.cache[device.kv_type as usize]
    }

    /// Bytes held on a device.
    pub fn bytes(&self, device: &Device) -> u64 {
        self.weights.saturating_add(self.cache_bytes(device))
    }
}

/// What a model costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// The embedding, with the first stage.
    pub before: Cost,
    /// Each layer.
    pub layers: Vec<Cost>,
    /// The output, with the last stage.
    pub after: Cost,
    /// Bytes that count in `before` and in `after` and that one stage would hold once: a tied embedding.
    pub tied: u64,
    /// Bytes that every stage takes besides: activations, staging, tables that all layers read.
    pub stage: u64,
    /// Bytes that cross a cut with each token.
    pub crossing: u64,
}

impl Demand {
    /// What a graph costs in steps of these limits, rewritten as for a device, besides what every stage takes.
    pub fn of(graph: &Graph, steps: &StepLimits, limits: &Limits) -> Demand {
        let layers = graph.layers();
        let range = |index: usize| graph.marks[index]..graph.marks[index + 1];
        let end = graph.marks[layers]..graph.nodes.len();
        let used = |nodes: Range<usize>| -> BTreeSet<WeightId> {
            graph.nodes[nodes].iter().flat_map(|node| node.weights.iter().copied()).collect()
        };
        // What several layers read is a table that every stage needs.
        let mut seen = BTreeSet::new();
        let mut everywhere = BTreeSet::new();
        for layer in 0..layers {
            everywhere.extend(used(range(layer)).into_iter().filter(|weight| !seen.insert(*weight)));
        }
        let held = |weights: BTreeSet<WeightId>| -> u64 {
            weights.difference(&everywhere).map(|weight| weight_bytes(graph, *weight)).sum()
        };
        let cost = |nodes: Range<usize>| {
            let mut sum = Cost { weights: held(used(nodes.clone())), ..Cost::default() };
            let rewritten = fuse::rewrite(graph, nodes, limits.features, &limits.choices.rules);
            rewritten.iter().for_each(|node| sum.add(node_cost(graph, node, steps)));
            sum
        };
        let (first, last) = (used(0..graph.marks[0]), used(end.clone()));
        Demand {
            before: cost(0..graph.marks[0]),
            layers: (0..layers).map(|layer| cost(range(layer))).collect(),
            after: cost(end),
            tied: first.intersection(&last).map(|weight| weight_bytes(graph, *weight)).sum(),
            stage: everywhere.iter().map(|weight| weight_bytes(graph, *weight)).sum(),
            crossing: graph.nodes[..graph.marks[0]]
                .iter()
                .filter_map(|node| node.output)
                .map(|value| 4 * graph.values[value.0].width as u64)
                .sum(),
        }
    }

    /// All costs of a range of layers, with the ends that go with it.
    pub fn cost(&self, range: Range<usize>) -> Cost {
        let mut sum = Cost::default();
        if range.start == 0 {
            sum.add(self.before);
        }
        self.layers[range.clone()].iter().for_each(|layer| sum.add(*layer));
        if range.end == self.layers.len() {
            sum.add(self.after);
            if range.start == 0 {
                sum.weights = sum.weights.saturating_sub(self.tied);
            }
        }
        sum
    }

    /// Bytes that a range of layers takes on a device.
    pub fn bytes(&self, device: &Device, range: Range<usize>) -> u64 {
        self.cost(range).bytes(device).saturating_add(self.stage)
    }
}

/// Bytes of a weight on a device.
fn weight_bytes(graph: &Graph, weight: WeightId) -> u64 {
    let weight = &graph.weights[weight.0];
    let of_part = |part| {
        let format = weight.device_format(part);
        let rows = ((format.device_row_bytes)(weight.columns) as u64).saturating_mul(part.rows as u64);
        rows.saturating_add(format.table.len() as u64)
    };
    weight.parts.iter().map(of_part).fold(0, u64::saturating_add)
}

/// What a node costs besides the weights that it holds.
fn node_cost(graph: &Graph, node: &Node, steps: &StepLimits) -> Cost {
    let (read, of) = node.op.matrices_met().unwrap_or((0, 1));
    let weights = node.weights.iter();
    let elements = |weight: &WeightId| {
        let weight = &graph.weights[weight.0];
        weight.rows() as u64 * weight.columns as u64
    };
    let (bytes, elements) = weights.fold((0u64, 0u64), |(bytes, sum), weight| {
        (bytes.saturating_add(weight_bytes(graph, *weight)), sum.saturating_add(elements(weight)))
    });
    // The node that writes a cache slot is the one that counts it.
    let cache = node.cache.filter(|_| node.op.kernel().writes_cache());
    let tokens = (steps.pages as u64).saturating_mul(PAGE_TOKENS as u64);
    let stored =
        |kv_type: KvType| cache.map_or(0, |cache| tokens.saturating_mul(kv_type.token_bytes(&graph.caches[cache.0])));
    Cost {
        weights: 0,
        cache: KvType::ALL.map(stored),
        read: (bytes / of).saturating_mul(read),
        multiply_adds: (elements / of).saturating_mul(read),
        dispatches: 1,
    }
}
