//! The oracle: runs any graph on the CPU, op by op, naively, accumulating in float64.

use std::sync::Arc;

use crate::formats::Format;
use crate::graph::{CacheSlot, CachedValues, Graph, Node, Output, Rows, Slice, Values, Weight};
use crate::kv_cache::KvType;
use crate::named::Named;
use crate::step::{PAGE_TOKENS, Step};

/// Some rows of a host weight, as a file holds them.
#[derive(Debug, Clone)]
pub struct HostPart {
    /// Their format.
    pub format: Format,
    /// Rows.
    pub rows: usize,
    /// The rows' blocks, one row after the other.
    pub bytes: Arc<Vec<u8>>,
}

/// A weight in host memory: `[rows, columns]`, stacked from parts.
#[derive(Debug, Clone)]
pub struct HostWeight {
    /// Elements in a row.
    pub columns: usize,
    /// Its parts in order.
    pub parts: Vec<HostPart>,
}

impl HostWeight {
    /// Rows of all parts.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Decodes one row.
    pub fn decode_row(&self, row: usize, elements: &mut [f32]) {
        let mut row = row;
        for part in &self.parts {
            if row < part.rows {
                let bytes = part.bytes.len() / part.rows;
                return part.format.decode_row(&part.bytes[row * bytes..][..bytes], elements);
            }
            row -= part.rows;
        }
        panic!("row {row} lies past the end of a weight");
    }

    /// One row, decoded.
    pub fn row(&self, row: usize) -> Vec<f32> {
        let mut elements = vec![0.0; self.columns];
        self.decode_row(row, &mut elements);
        elements
    }
}

/// A cache slot in host memory.
#[derive(Debug, Clone)]
pub struct HostCache {
    slot: CacheSlot,
    kv_type: KvType,
    /// `[pages * PAGE_TOKENS, kv_heads, key_width]`.
    keys: Vec<f32>,
    /// `[pages * PAGE_TOKENS, kv_heads, value_width]`; empty where values are the first elements of keys.
    values: Vec<f32>,
}

impl HostCache {
    /// An empty cache of this many pages.
    pub fn new(slot: CacheSlot, kv_type: KvType, pages: usize) -> HostCache {
        HostCache::within(slot, kv_type, pages, [Vec::new(), Vec::new()])
    }

    /// An empty cache of this many pages in memory that has room for its keys and values.
    pub fn within(slot: CacheSlot, kv_type: KvType, pages: usize, memory: [Vec<f32>; 2]) -> HostCache {
        let [mut keys, mut values] = memory;
        let [key_numbers, value_numbers] = HostCache::numbers(&slot, pages);
        keys.resize(key_numbers, f32::NAN);
        values.resize(value_numbers, f32::NAN);
        HostCache { slot, kv_type, keys, values }
    }

    /// How many numbers the keys and the values of this many pages are.
    pub fn numbers(slot: &CacheSlot, pages: usize) -> [usize; 2] {
        let keys = pages * PAGE_TOKENS * slot.kv_heads * slot.key_width;
        [keys, pages * PAGE_TOKENS * slot.numbers() - keys]
    }

    /// The slot.
    pub fn slot(&self) -> &CacheSlot {
        &self.slot
    }

    /// Keys, or values, that lie before that of a head at a place.
    fn at(&self, (page, token): (usize, usize), head: usize) -> usize {
        (page * PAGE_TOKENS + token) * self.slot.kv_heads + head
    }

    /// The key of a head at a place (page, token in the page).
    pub fn key(&self, place: (usize, usize), head: usize) -> &[f32] {
        &self.keys[self.at(place, head) * self.slot.key_width..][..self.slot.key_width]
    }

    /// The value of a head at a place (page, token in the page).
    pub fn value(&self, place: (usize, usize), head: usize) -> &[f32] {
        match self.slot.values {
            CachedValues::Own => &self.values[self.at(place, head) * self.slot.value_width..][..self.slot.value_width],
            CachedValues::InKeys => &self.key(place, head)[..self.slot.value_width],
        }
    }

    /// Writes the keys and values of all heads at a place, rounded as the cache stores them; `values` are empty where they are the
    /// first elements of keys.
    pub fn write(&mut self, place: (usize, usize), keys: &[f32], values: &[f32]) {
        let first = self.at(place, 0);
        for (memory, width, numbers) in
            [(&mut self.keys, self.slot.key_width, keys), (&mut self.values, self.slot.value_width, values)]
        {
            for (head, numbers) in numbers.chunks(width).enumerate() {
                let stored = &mut memory[(first + head) * width..][..width];
                stored.copy_from_slice(numbers);
                self.kv_type.round(stored);
            }
        }
    }
}

/// A slice of a value in host memory.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// The value's elements.
    pub data: &'a [f32],
    /// Elements from a row to the next.
    pub stride: usize,
    /// First column.
    pub offset: usize,
    /// Columns.
    pub width: usize,
}

impl Matrix<'_> {
    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.stride + self.offset..][..self.width]
    }
}

/// What an op's reference computes from.
#[derive(Debug)]
pub struct Operands<'a> {
    /// Activations read.
    pub inputs: Named<Matrix<'a>>,
    /// Weights read.
    pub weights: Named<&'a HostWeight>,
    /// The cache slot read or written.
    pub cache: Option<&'a mut HostCache>,
    /// The step.
    pub step: &'a Step,
    /// Rows of the output (of the tokens, where there is none).
    pub rows: usize,
}

impl Operands<'_> {
    /// The cache, of an op that uses one.
    pub fn cache(&mut self) -> &mut HostCache {
        self.cache.as_deref_mut().expect("the op uses the cache")
    }
}

/// Reads the bytes of each weight's parts, as [`Machine::new`] wants them.
pub fn host_weight<E>(
    weight: &Weight,
    mut read: impl FnMut(&crate::graph::WeightPart) -> Result<Arc<Vec<u8>>, E>,
) -> Result<HostWeight, E> {
    let parts =
        weight.parts.iter().map(|part| Ok(HostPart { format: part.format, rows: part.rows, bytes: read(part)? }));
    Ok(HostWeight { columns: weight.columns, parts: parts.collect::<Result<_, E>>()? })
}

/// Runs one node; `compute` is the op's reference or a faster one of the same results.
pub fn run_node(
    graph: &Graph,
    node: &Node,
    values: &mut Values,
    weights: &[HostWeight],
    caches: &mut [HostCache],
    step: &Step,
    compute: impl FnOnce(&Node, &mut Operands) -> Vec<f32>,
) {
    let rows = match node.output.map(|value| graph.values[value.0].rows) {
        Some(Rows::Selected) => step.selected.len(),
        _ => step.tokens.len(),
    };
    let matrix = |slice: &Slice| Matrix {
        data: &values[&slice.value],
        stride: graph.values[slice.value.0].width,
        offset: slice.offset,
        width: slice.width,
    };
    let mut operands = Operands {
        inputs: node.inputs.map(matrix),
        weights: node.weights.map(|weight| &weights[weight.0]),
        cache: node.cache.map(|cache| &mut caches[cache.0]),
        step,
        rows,
    };
    let output = compute(node, &mut operands);
    if let Some(value) = node.output {
        values.insert(value, output);
    }
}

/// A graph with its weights and caches in host memory.
#[derive(Debug)]
pub struct Machine<'a> {
    graph: &'a Graph,
    weights: Vec<HostWeight>,
    caches: Vec<HostCache>,
}

impl<'a> Machine<'a> {
    /// A machine with empty caches of this many pages.
    pub fn new(graph: &'a Graph, weights: Vec<HostWeight>, kv_type: KvType, pages: usize) -> Machine<'a> {
        let caches = graph.caches.iter().map(|slot| HostCache::new(*slot, kv_type, pages)).collect();
        Machine { graph, weights, caches }
    }

    /// Runs the nodes needed for what is wanted, on values given from outside; returns all values.
    pub fn step(&mut self, step: &Step, given: Values, requested: &[Output]) -> Values {
        let mut values = given;
        for index in self.graph.needed(requested) {
            let node = &self.graph.nodes[index];
            let compute = |node: &Node, operands: &mut Operands| node.op.kernel().reference(operands);
            run_node(self.graph, node, &mut values, &self.weights, &mut self.caches, step, compute);
        }
        values
    }
}

/// Normalised mean squared error: `Σ(a−b)² / Σa²` of a reference `a` and what was computed.
///
/// Infinite where anything on either side is not finite; 0 for equal slices, even of zeros.
pub fn nmse(expected: &[f32], computed: &[f32]) -> f64 {
    assert_eq!(expected.len(), computed.len(), "both sides have one shape");
    if expected.iter().chain(computed).any(|value| !value.is_finite()) {
        return f64::INFINITY;
    }
    let pairs = || expected.iter().zip(computed).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let error: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
    let power: f64 = pairs().map(|(a, _)| a * a).sum();
    if error == 0.0 { 0.0 } else { error / power }
}
