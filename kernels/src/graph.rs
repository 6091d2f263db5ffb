//! What a model computes, as data: values, weights, cache slots and the ops between them.
//!
//! A graph names no device. The engine cuts it at its layer marks, [`crate::fuse`] rewrites the part of each device, and
//! [`crate::reference`] can run any of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::formats::{F32, Format};
use crate::named::Named;
use crate::op::Op;

/// A value by its place in [`Graph::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// A weight by its place in [`Graph::weights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub usize);

/// A cache slot by its place in [`Graph::caches`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheId(pub usize);

/// How many rows a value has in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rows {
    /// One for each token of the step.
    Tokens,
    /// One for each token whose logits somebody wants.
    Selected,
}

/// What the 32-bit elements of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Single-precision numbers.
    F32,
    /// Indices: bit patterns of `u32`.
    U32,
}

/// An activation: `[rows, width]` elements of 32 bits.
#[derive(Debug, Clone)]
pub struct Value {
    /// What it is, for labels: `residual`, `logits`.
    pub name: &'static str,
    /// How many rows it has.
    pub rows: Rows,
    /// Elements in a row.
    pub width: usize,
    /// What its elements are.
    pub element: Element,
}

/// The numbers of values in host memory, as they go into a step, from stage to stage, and out of it: `[rows, width]` each, an index as
/// its bits.
pub type Values = HashMap<ValueId, Vec<f32>>;

/// Columns `offset .. offset + width` of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The value.
    pub value: ValueId,
    /// First column.
    pub offset: usize,
    /// Columns.
    pub width: usize,
}

/// Where the numbers of a weight come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The tensor of this index in the model's files.
    Tensor(usize),
    /// Computed when the graph was built, such as RoPE's tables.
    Computed(Arc<[f32]>),
    /// Rows of blocks of the part's format, as a file holds them: the random weights of cases.
    Blocks(Arc<Vec<u8>>),
}

/// Some rows of a weight, as one source holds them.
#[derive(Debug, Clone)]
pub struct WeightPart {
    /// Where the numbers come from.
    pub source: Source,
    /// Their format there.
    pub format: Format,
    /// Rows.
    pub rows: usize,
}

/// A matrix `[rows, columns]`, stacked from parts; a vector is one row.
#[derive(Debug, Clone)]
pub struct Weight {
    /// What it is, for labels: `layers.3.attention.qkv`.
    pub name: String,
    /// Elements in a row.
    pub columns: usize,
    /// What it is stacked from, from the first row on.
    pub parts: Vec<WeightPart>,
    /// The format in which a device holds it, where that is not the one of its parts: what its numbers are quantised to at load.
    pub held: Option<Format>,
}

impl Weight {
    /// A matrix of single-precision numbers that are known when the graph is built, row by row.
    pub fn computed(name: impl Into<String>, columns: usize, numbers: impl Into<Arc<[f32]>>) -> Weight {
        let numbers = numbers.into();
        let part = WeightPart { rows: numbers.len() / columns, source: Source::Computed(numbers), format: F32 };
        Weight { name: name.into(), columns, parts: vec![part], held: None }
    }

    /// Rows of all parts.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// The format in which a device holds a part.
    pub fn device_format(&self, part: &WeightPart) -> Format {
        self.held.unwrap_or(part.format)
    }
}

/// What attention remembers of each token in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSlot {
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of one head's key: a multiple of 4.
    pub key_width: usize,
    /// Elements of one head's value: a multiple of 4.
    pub value_width: usize,
    /// Where values lie.
    pub values: CachedValues,
}

/// Where the values of a cache slot lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachedValues {
    /// In memory of their own.
    Own,
    /// A value is the first elements of its key (latent attention, DeepSeek-V2, <https://arxiv.org/abs/2405.04434>, §2.1).
    InKeys,
}

impl CacheSlot {
    /// A slot whose keys and values are of one width.
    pub fn plain(kv_heads: usize, head_width: usize) -> CacheSlot {
        CacheSlot { kv_heads, key_width: head_width, value_width: head_width, values: CachedValues::Own }
    }

    /// Elements from a head's value of a token to that of the next.
    pub fn value_stride(&self) -> usize {
        match self.values {
            CachedValues::Own => self.value_width,
            CachedValues::InKeys => self.key_width,
        }
    }

    /// Numbers that are stored of each token.
    pub fn numbers(&self) -> usize {
        let values = match self.values {
            CachedValues::Own => self.value_width,
            CachedValues::InKeys => 0,
        };
        self.kv_heads * (self.key_width + values)
    }
}

/// An op with what it reads and writes.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// Activations read, by the names that the op's documentation gives.
    pub inputs: Named<Slice>,
    /// Weights read, likewise.
    pub weights: Named<WeightId>,
    /// The cache slot read or written.
    pub cache: Option<CacheId>,
    /// The value written; `None` where the cache is all that changes.
    pub output: Option<ValueId>,
}

/// What a step can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Output {
    /// All logits of each selected row.
    Logits,
    /// The id of the largest logit of each selected row.
    Argmax,
    /// The largest logits of each selected row with their ids.
    TopK,
    /// The id that is drawn for each selected row from its largest logits: in a generation by its sampling, else always the largest.
    Drawn,
    /// The logarithm of the sum of the exponentials of each selected row's logits.
    LogSumExp,
}

impl Output {
    /// Whether it is the id of the token that comes next.
    pub fn is_choice(self) -> bool {
        matches!(self, Output::Argmax | Output::Drawn)
    }
}

/// A graph of ops in the order in which they run.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Activations.
    pub values: Vec<Value>,
    /// Weights.
    pub weights: Vec<Weight>,
    /// Cache slots, one for each layer that attends.
    pub caches: Vec<CacheSlot>,
    /// Ops in order.
    pub nodes: Vec<Node>,
    /// The index of the first node of each layer, then of the first node after the last layer: where it may be cut.
    pub marks: Vec<usize>,
    /// Values given from outside rather than computed (op cases only; a model's input is its tokens).
    pub inputs: Vec<ValueId>,
    /// Values that can be asked for.
    pub outputs: Vec<(Output, ValueId)>,
    /// Sequences of more tokens than this are long: all of their tokens are rotated by the second of RoPE's tables. `None` where there is one
    /// table for all.
    pub long_above: Option<usize>,
}

impl Graph {
    /// Adds a value of single-precision numbers.
    pub fn value(&mut self, name: &'static str, rows: Rows, width: usize) -> ValueId {
        self.values.push(Value { name, rows, width, element: Element::F32 });
        ValueId(self.values.len() - 1)
    }

    /// Adds a value of indices.
    pub fn index_value(&mut self, name: &'static str, rows: Rows, width: usize) -> ValueId {
        self.values.push(Value { name, rows, width, element: Element::U32 });
        ValueId(self.values.len() - 1)
    }

    /// Adds a value that is given from outside.
    pub fn input(&mut self, name: &'static str, rows: Rows, width: usize) -> ValueId {
        let value = self.value(name, rows, width);
        self.inputs.push(value);
        value
    }

    /// Adds a weight.
    pub fn weight(&mut self, weight: Weight) -> WeightId {
        self.weights.push(weight);
        WeightId(self.weights.len() - 1)
    }

    /// Adds a cache slot.
    pub fn cache(&mut self, slot: CacheSlot) -> CacheId {
        self.caches.push(slot);
        CacheId(self.caches.len() - 1)
    }

    /// Adds an op.
    pub fn node(
        &mut self,
        op: Op,
        inputs: &[(&'static str, Slice)],
        weights: &[(&'static str, WeightId)],
        cache: Option<CacheId>,
        output: Option<ValueId>,
    ) {
        let (inputs, weights) = (inputs.iter().copied().collect(), weights.iter().copied().collect());
        self.nodes.push(Node { op, inputs, weights, cache, output });
    }

    /// Marks that a layer begins with the next node (or, after the last layer, that it has ended).
    pub fn mark(&mut self) {
        self.marks.push(self.nodes.len());
    }

    /// All columns of a value.
    pub fn whole(&self, value: ValueId) -> Slice {
        Slice { value, offset: 0, width: self.values[value.0].width }
    }

    /// Layers between the marks.
    pub fn layers(&self) -> usize {
        self.marks.len().saturating_sub(1)
    }

    /// The nodes needed for what is wanted (writing the cache always is), in order: the rest is dead.
    pub fn needed(&self, requested: &[Output]) -> Vec<usize> {
        needed(&self.nodes, &mut self.wanted(requested))
    }

    /// The values that are wanted.
    pub fn wanted(&self, requested: &[Output]) -> HashSet<ValueId> {
        let wanted = self.outputs.iter().filter(|(output, _)| requested.contains(output));
        wanted.map(|(_, value)| *value).collect()
    }

    /// The matrices that ops read shard by shard, for each op that does.
    pub fn matrices(&self) -> Vec<WeightId> {
        let readers = self.nodes.iter().filter(|node| node.op.kernel().takes_shards());
        readers.map(|node| node.weights["weight"]).collect()
    }

    /// Has every matrix of floats held in a format, where its blocks divide the rows; what else there is stays as it is, as do
    /// routers, which are small and decide much.
    ///
    /// Panics for a format that is only read.
    pub fn quantise(&mut self, format: Format) {
        assert!(format.encode.is_some(), "{format} is only read");
        let routes = self.nodes.iter().filter(|node| matches!(node.op, Op::Route(_)));
        let logits: Vec<ValueId> = routes.map(|node| node.inputs["logits"].value).collect();
        let routers = self.nodes.iter().filter(|node| node.output.is_some_and(|value| logits.contains(&value)));
        let routers: Vec<WeightId> = routers.filter_map(|node| node.weights.get("weight").copied()).collect();
        for weight in self.matrices().into_iter().filter(|weight| !routers.contains(weight)) {
            let weight = &mut self.weights[weight.0];
            let floats = weight.parts.iter().all(|part| part.format.is_float());
            if floats && weight.columns.is_multiple_of(format.block_elements) {
                weight.held = Some(format);
            }
        }
    }

    /// Elements of weights that a token does not meet: the matrices that it was not sent to.
    pub fn unchosen_elements(&self) -> u64 {
        self.nodes.iter().map(|node| self.elements_of_node(node)[1]).sum()
    }

    /// Elements of weights that a token meets at some nodes of the graph.
    pub fn met_elements(&self, nodes: &[Node]) -> u64 {
        nodes.iter().map(|node| self.elements_of_node(node)[0]).sum()
    }

    /// Elements of the weights of a product that a token meets, and that it does not.
    fn elements_of_node(&self, node: &Node) -> [u64; 2] {
        let Some((met, of)) = node.op.matrices_met() else { return [0, 0] };
        let weights = node.weights.iter().map(|weight| &self.weights[weight.0]);
        let elements: usize = weights.map(|weight| weight.rows() * weight.columns).sum();
        [met, of - met].map(|matrices| elements as u64 / of * matrices)
    }
}

/// Of some nodes those that are needed where the values in `read` are read after them, in order; what they read is added to it.
/// Nodes that write the cache always are.
pub fn needed(nodes: &[Node], read: &mut HashSet<ValueId>) -> Vec<usize> {
    let mut needed = Vec::new();
    for (index, node) in nodes.iter().enumerate().rev() {
        if node.op.kernel().writes_cache() || node.output.is_some_and(|value| read.contains(&value)) {
            read.extend(node.inputs.iter().map(|slice| slice.value));
            needed.push(index);
        }
    }
    needed.reverse();
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::add::Add;
    use crate::matmul::MatMul;

    /// Two layers, each a matmul whose product is added to the residual; the products of `shared` layers are outputs too.
    fn graph(shared: &[usize]) -> Graph {
        let mut graph = Graph::default();
        let mut residual = graph.input("residual", Rows::Tokens, 4);
        for layer in 0..2 {
            graph.mark();
            let weight = graph.weight(Weight { name: "weight".into(), columns: 4, parts: Vec::new(), held: None });
            let (product, sum) = (graph.value("product", Rows::Tokens, 4), graph.value("sum", Rows::Tokens, 4));
            let (input, weights) = ([("input", graph.whole(residual))], [("weight", weight)]);
            graph.node(Op::MatMul(MatMul::PLAIN), &input, &weights, None, Some(product));
            let addends = [("a", graph.whole(residual)), ("b", graph.whole(product))];
            graph.node(Op::Add(Add), &addends, &[], None, Some(sum));
            if shared.contains(&layer) {
                graph.outputs.push((Output::LogSumExp, product));
            }
            residual = sum;
        }
        graph.mark();
        graph.outputs.push((Output::Logits, residual));
        graph
    }

    #[test]
    fn only_what_is_wanted_is_needed() {
        let graph = graph(&[0]);
        assert_eq!(graph.needed(&[Output::Logits]), [0, 1, 2, 3]);
        assert_eq!(graph.needed(&[Output::LogSumExp]), [0]);
        assert!(graph.needed(&[]).is_empty());
    }
}
