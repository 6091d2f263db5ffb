//! Builds the graph of a transformer from a model's numbers and the table of its tensors.

use std::collections::HashMap;
use std::sync::Arc;

use plywood_kernels::add::Add;
use plywood_kernels::attention::Attention;
use plywood_kernels::embedding::Embedding;
use plywood_kernels::gated::Gated;
use plywood_kernels::graph::{CacheSlot, Graph, Part, Rows, Slice, Source, Value, ValueId, Want, Weight, WeightId};
use plywood_kernels::kv_cache::KvWrite;
use plywood_kernels::matmul::MatMul;
use plywood_kernels::op::Op;
use plywood_kernels::reorder::{self, Reorder};
use plywood_kernels::rms_norm::RmsNorm;
use plywood_kernels::rope::{self, Rope};
use plywood_kernels::sample::{Argmax, MAX_TOP_K, Normaliser, TopK};
use plywood_kernels::select_rows::SelectRows;
use plywood_kernels::soft_cap::SoftCap;

use crate::architectures::{HeadNorms, Norms};
use crate::checkpoint::{TensorInfo, Weights};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::names::{self, Role};

/// Builds the graph of a model for sequences of up to `context` tokens.
///
/// Of the weights only vectors are read, which go into it as numbers: norms, biases and RoPE's factors. Errors name the
/// tensor that is missing, has another shape than the configuration says, has a type that does not
/// run, or has no place in the architecture.
pub fn build(weights: &dyn Weights, config: &Config, context: usize) -> Result<Graph> {
    let tensors = weights.tensors();
    let by_name = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.as_str(), index)).collect();
    let used = vec![false; tensors.len()];
    let orders = HashMap::new();
    let mut builder = Builder { weights, config, by_name, used, orders, graph: Graph::default() };
    builder.model(context)?;
    builder.check_all_used()?;
    Ok(builder.graph)
}

/// The longest bias that is looked at, in bytes.
const ZERO_BIAS_LIMIT: u64 = 1 << 20;

struct Builder<'a> {
    weights: &'a dyn Weights,
    config: &'a Config,
    by_name: HashMap<&'a str, usize>,
    /// Which tensors have found a place.
    used: Vec<bool>,
    /// The orders of the columns of weights whose columns were sorted.
    orders: HashMap<WeightId, Arc<[u32]>>,
    graph: Graph,
}

impl<'a> Builder<'a> {
    fn model(&mut self, context: usize) -> Result<()> {
        let config = self.config;
        let vocabulary = (Role::Embedding, config.vocabulary);
        let embedding = self.matrix("embedding".into(), 0, config.width, &[vocabulary])?;
        if self.orders.contains_key(&embedding) {
            let tensor = names::name(config.kind, Role::Embedding, 0);
            return Err(Error::Packed { tensor, reason: "an embedding has an activation order".into() });
        }
        let rotations = self.rotations("rope", &config.rope, context)?;
        let local = config.architecture.local_base && config.attends.iter().any(|layer| layer.window.is_some());
        let local_rotations =
            if local { self.rotations("local rope", &config.local_rope, context)? } else { rotations };
        let mut residual = self.graph.value("residual", Rows::Tokens, config.width);
        let op = Op::Embedding(Embedding { scale: config.scales.embedding });
        self.graph.node(op, &[], &[embedding], None, Some(residual));
        for layer in 0..config.layers {
            self.graph.mark();
            let rotations = if config.attends[layer].window.is_some() { local_rotations } else { rotations };
            residual = self.attention(layer, residual, rotations)?;
            residual = self.feed_forward(layer, residual)?;
        }
        self.graph.mark();
        let output = if config.tied {
            embedding
        } else {
            self.matrix("output".into(), 0, config.width, &[(Role::Output, config.vocabulary)])?
        };
        self.output(residual, output)
    }

    /// Attention of one layer with its norms and the addition to the residual stream.
    fn attention(&mut self, layer: usize, residual: ValueId, rotations: WeightId) -> Result<ValueId> {
        let config = self.config;
        let label = |part: &str| format!("layers.{layer}.attention.{part}");
        let (queries, keys) = (config.heads * config.head_width, config.kv_heads * config.head_width);
        let input = match config.architecture.norms {
            Norms::Behind => residual,
            Norms::Before | Norms::BeforeAndBehind => self.norm(label("norm"), Role::AttentionNorm, layer, residual)?,
        };
        let parts = [(Role::Query, queries), (Role::Key, keys), (Role::Value, keys)];
        let fused = [(Role::Qkv, queries + 2 * keys)];
        let parts: &[_] = if config.architecture.fused { &fused } else { &parts };
        let weight = self.matrix(label("qkv"), layer, config.width, parts)?;
        let biases = [(Role::QueryBias, queries), (Role::KeyBias, keys), (Role::ValueBias, keys)];
        let bias = if config.biases { Some(self.bias(label("qkv.bias"), layer, &biases)?) } else { None };
        let qkv = self.product("qkv", input, weight, bias, 1.0);

        let value = Slice { value: qkv, offset: queries + keys, width: keys };
        let mut query = Slice { value: qkv, offset: 0, width: queries };
        let mut key = Slice { value: qkv, offset: queries, width: keys };
        match config.architecture.head_norms {
            HeadNorms::None => {}
            HeadNorms::Heads => {
                let roles = [(Role::QueryNorm, config.heads), (Role::KeyNorm, config.kv_heads)];
                let mut weights = Vec::new();
                for (role, heads) in roles {
                    weights.extend(self.norm_weights(role, layer, config.head_width)?.repeat(heads));
                }
                let weight = self.computed(label("heads.norm"), weights);
                let both = Slice { value: qkv, offset: 0, width: queries + keys };
                let normed = self.normed("normed_heads", both, weight, config.heads + config.kv_heads);
                query.value = normed;
                key.value = normed;
            }
            HeadNorms::Whole => {
                for (slice, role, name) in
                    [(&mut query, Role::QueryNorm, "normed_queries"), (&mut key, Role::KeyNorm, "normed_keys")]
                {
                    let weights = self.norm_weights(role, layer, slice.width)?;
                    let weight = self.computed(label(name), weights);
                    let normed = self.normed(name, *slice, weight, 1);
                    *slice = self.graph.whole(normed);
                }
            }
        }
        if config.attends[layer].turned {
            (query, key) = self.turned(query, key, rotations);
        }

        let slot = CacheSlot { kv_heads: config.kv_heads, head_width: config.head_width };
        let cache = self.graph.cache(slot);
        self.graph.node(Op::KvWrite(KvWrite), &[key, value], &[], Some(cache), None);
        let attended = self.graph.value("attended", Rows::Tokens, queries);
        let attention = Attention {
            heads: config.heads,
            scale: config.scales.score,
            window: config.attends[layer].window,
            soft_cap: config.score_cap,
        };
        self.graph.node(Op::Attention(attention), &[query], &[], Some(cache), Some(attended));

        let parts = [(Role::AttentionOutput, config.width)];
        let weight = self.matrix(label("output"), layer, queries, &parts)?;
        let bias = [(Role::AttentionOutputBias, config.width)];
        let has_bias = config.biases && self.is_there(Role::AttentionOutputBias, layer);
        let bias = if has_bias { Some(self.bias(label("output.bias"), layer, &bias)?) } else { None };
        let projected = self.product("projected", attended, weight, bias, config.scales.residual);
        self.added(label("post_norm"), Role::PostAttentionNorm, layer, projected, residual)
    }

    /// Queries and keys turned by their positions: at once, where they lie side by side.
    fn turned(&mut self, query: Slice, key: Slice, rotations: WeightId) -> (Slice, Slice) {
        let config = self.config;
        let mut turn = |turned: Slice, heads: usize| {
            let rotated = self.graph.value("rotated", Rows::Tokens, turned.width);
            let rope = Rope {
                heads,
                head_width: config.head_width,
                rotated: config.rope.rotated,
                pairing: config.architecture.pairing(config.kind),
            };
            self.graph.node(Op::Rope(rope), &[turned], &[rotations], None, Some(rotated));
            rotated
        };
        if query.value == key.value && key.offset == query.offset + query.width {
            let both = Slice { width: query.width + key.width, ..query };
            let value = turn(both, config.heads + config.kv_heads);
            return (
                Slice { value, offset: 0, width: query.width },
                Slice { value, offset: query.width, width: key.width },
            );
        }
        let (queries, keys) = (turn(query, config.heads), turn(key, config.kv_heads));
        (self.graph.whole(queries), self.graph.whole(keys))
    }

    /// The gated feed-forward of one layer with its norms and the addition to the residual stream.
    fn feed_forward(&mut self, layer: usize, residual: ValueId) -> Result<ValueId> {
        let config = self.config;
        let label = |part: &str| format!("layers.{layer}.feed_forward.{part}");
        let inner = config.feed_forward;
        let input = match config.architecture.norms {
            Norms::Behind => residual,
            Norms::Before => self.norm(label("norm"), Role::FeedForwardNorm, layer, residual)?,
            Norms::BeforeAndBehind => self.norm(label("norm"), Role::PreFeedForwardNorm, layer, residual)?,
        };
        let parts = [(Role::Gate, inner), (Role::Up, inner)];
        let fused = [(Role::GateUp, 2 * inner)];
        let parts: &[_] = if config.architecture.fused { &fused } else { &parts };
        let weight = self.matrix(label("gate_up"), layer, config.width, parts)?;
        let gate_up = self.product("gate_up", input, weight, None, 1.0);

        let gate = Slice { value: gate_up, offset: 0, width: inner };
        let up = Slice { value: gate_up, offset: inner, width: inner };
        let gated = self.graph.value("gated", Rows::Tokens, inner);
        let activation = config.architecture.activation;
        self.graph.node(Op::Gated(Gated { activation }), &[gate, up], &[], None, Some(gated));

        let parts = [(Role::Down, config.width)];
        let weight = self.matrix(label("down"), layer, inner, &parts)?;
        let down = self.product("down", gated, weight, None, config.scales.residual);
        self.added(label("post_norm"), Role::PostFeedForwardNorm, layer, down, residual)
    }

    /// The residual stream with what a part of a layer gave, normalised in families that do so.
    fn added(
        &mut self,
        label: String,
        norm: Role,
        layer: usize,
        addend: ValueId,
        residual: ValueId,
    ) -> Result<ValueId> {
        match self.config.architecture.norms {
            Norms::Before => Ok(self.add(addend, residual)),
            Norms::Behind | Norms::BeforeAndBehind => {
                let normed = self.norm(label, norm, layer, addend)?;
                Ok(self.add(normed, residual))
            }
        }
    }

    /// From the residual stream behind the last layer to everything that a step can be asked for.
    fn output(&mut self, residual: ValueId, output: WeightId) -> Result<()> {
        let config = self.config;
        let selected = self.graph.value("selected", Rows::Selected, config.width);
        let all = self.graph.whole(residual);
        self.graph.node(Op::SelectRows(SelectRows), &[all], &[], None, Some(selected));
        let normed = self.norm("output.norm".into(), Role::OutputNorm, 0, selected)?;
        let mut logits = self.product("logits", normed, output, None, config.scales.logit);
        if let Some(cap) = config.logit_cap {
            let capped = self.graph.value("capped_logits", Rows::Selected, config.vocabulary);
            let all = self.graph.whole(logits);
            self.graph.node(Op::SoftCap(SoftCap { cap }), &[all], &[], None, Some(capped));
            logits = capped;
        }

        let count = config.vocabulary.min(MAX_TOP_K);
        let argmax = self.graph.index_value("argmax", Rows::Selected, 1);
        let top_k = self.graph.index_value("top_k", Rows::Selected, 2 * count);
        let normaliser = self.graph.value("normaliser", Rows::Selected, 1);
        let all = self.graph.whole(logits);
        self.graph.node(Op::Argmax(Argmax), &[all], &[], None, Some(argmax));
        self.graph.node(Op::TopK(TopK { count }), &[all], &[], None, Some(top_k));
        self.graph.node(Op::Normaliser(Normaliser), &[all], &[], None, Some(normaliser));
        self.graph.outputs =
            vec![(Want::Logits, logits), (Want::Argmax, argmax), (Want::TopK, top_k), (Want::Normaliser, normaliser)];
        Ok(())
    }

    /// A norm of all of a value.
    fn norm(&mut self, label: String, role: Role, layer: usize, input: ValueId) -> Result<ValueId> {
        let weights = self.norm_weights(role, layer, self.config.width)?;
        let weight = self.computed(label, weights);
        let all = self.graph.whole(input);
        Ok(self.normed("normed", all, weight, 1))
    }

    /// A slice whose groups are normalised each by itself.
    fn normed(&mut self, name: &'static str, input: Slice, weight: WeightId, groups: usize) -> ValueId {
        let normed = self.graph.value(name, self.graph.values[input.value.0].rows, input.width);
        let op = Op::RmsNorm(RmsNorm { epsilon: self.config.norm_epsilon, groups });
        self.graph.node(op, &[input], &[weight], None, Some(normed));
        normed
    }

    /// The weights of a norm as they are multiplied with.
    fn norm_weights(&mut self, role: Role, layer: usize, columns: usize) -> Result<Vec<f32>> {
        let offset = self.config.architecture.norm_offset(self.config.kind);
        let mut weights = self.vector(role, layer, columns)?;
        weights.iter_mut().for_each(|weight| *weight += offset);
        Ok(weights)
    }

    /// Biases side by side.
    fn bias(&mut self, label: String, layer: usize, parts: &[(Role, usize)]) -> Result<WeightId> {
        let mut numbers = Vec::new();
        for (role, columns) in parts {
            numbers.extend(self.vector(*role, layer, *columns)?);
        }
        Ok(self.computed(label, numbers))
    }

    /// A vector of numbers that are known when the graph is built.
    fn computed(&mut self, name: String, numbers: Vec<f32>) -> WeightId {
        self.graph.weight(Weight::computed(name, numbers.len(), numbers))
    }

    /// The numbers of a vector.
    fn vector(&mut self, role: Role, layer: usize, columns: usize) -> Result<Vec<f32>> {
        let missing = || Error::MissingTensor { tensor: names::name(self.config.kind, role, layer) };
        let (index, tensor) = self.tensor(role, layer, &[columns])?.ok_or_else(missing)?;
        let format = tensor.format()?;
        let mut bytes = vec![0; tensor.bytes as usize];
        self.weights.read_checked(index, 0, &mut bytes)?;
        let mut numbers = vec![0.0; columns];
        format.decode_row(&bytes, &mut numbers);
        Ok(numbers)
    }

    /// Whether a tensor is there.
    fn is_there(&self, role: Role, layer: usize) -> bool {
        self.by_name.contains_key(names::name(self.config.kind, role, layer).as_str())
    }

    /// A matrix product with all of a value, a bias and a factor.
    fn product(
        &mut self,
        name: &'static str,
        input: ValueId,
        weight: WeightId,
        bias: Option<WeightId>,
        scale: f32,
    ) -> ValueId {
        let rows = self.graph.values[input.0].rows;
        let output = self.graph.value(name, rows, self.graph.weights[weight.0].rows());
        let input = self.reordered(input, weight);
        let all = self.graph.whole(input);
        let weights: Vec<WeightId> = [Some(weight), bias].into_iter().flatten().collect();
        self.graph.node(Op::MatMul(MatMul { scale }), &[all], &weights, None, Some(output));
        output
    }

    /// A value with its columns in the order of a weight's.
    fn reordered(&mut self, input: ValueId, weight: WeightId) -> ValueId {
        let Some(order) = self.orders.get(&weight) else { return input };
        let label = format!("{}.order", self.graph.weights[weight.0].name);
        let order = self.graph.weight(reorder::order_weight(label, order));
        let Value { rows, width, .. } = self.graph.values[input.0];
        let reordered = self.graph.value("reordered", rows, width);
        let all = self.graph.whole(input);
        self.graph.node(Op::Reorder(Reorder), &[all], &[order], None, Some(reordered));
        reordered
    }

    /// The residual stream with something added.
    fn add(&mut self, addend: ValueId, residual: ValueId) -> ValueId {
        let sum = self.graph.value("residual", Rows::Tokens, self.config.width);
        let inputs = [self.graph.whole(addend), self.graph.whole(residual)];
        self.graph.node(Op::Add(Add), &inputs, &[], None, Some(sum));
        sum
    }

    /// A weight matrix stacked from tensors of so many rows each.
    fn matrix(&mut self, label: String, layer: usize, columns: usize, stack: &[(Role, usize)]) -> Result<WeightId> {
        let parts = stack.iter().map(|(role, rows)| self.part(*role, layer, *rows, columns));
        let parts = parts.collect::<Result<Vec<Part>>>()?;
        let order = self.order(&parts)?;
        let weight = self.graph.weight(Weight { name: label, columns, parts, held: None });
        self.orders.extend(order.map(|order| (weight, order)));
        Ok(weight)
    }

    /// The order of the columns that all parts of a weight have.
    fn order(&self, parts: &[Part]) -> Result<Option<Arc<[u32]>>> {
        let tensors = parts.iter().filter_map(|part| match part.source {
            Source::Tensor(index) => Some(index),
            _ => None,
        });
        let tensors: Vec<usize> = tensors.collect();
        let order = tensors.first().and_then(|tensor| self.weights.order(*tensor));
        let name = |tensor: usize| self.weights.tensors()[tensor].name.clone();
        match tensors.iter().find(|tensor| self.weights.order(**tensor) != order) {
            None => Ok(order.cloned()),
            Some(other) => Err(Error::DifferentOrders { first: name(tensors[0]), second: name(*other) }),
        }
    }

    /// A tensor as part of a weight, checked against the shape that the configuration wants.
    fn part(&mut self, role: Role, layer: usize, rows: usize, columns: usize) -> Result<Part> {
        let missing = || Error::MissingTensor { tensor: names::name(self.config.kind, role, layer) };
        let (index, tensor) = self.tensor(role, layer, &[rows, columns])?.ok_or_else(missing)?;
        Ok(Part { source: Source::Tensor(index), format: tensor.format()?, rows })
    }

    /// A tensor, if it is there; it must have the shape.
    fn tensor(&mut self, role: Role, layer: usize, shape: &[usize]) -> Result<Option<(usize, &'a TensorInfo)>> {
        let name = names::name(self.config.kind, role, layer);
        let Some(&index) = self.by_name.get(name.as_str()) else { return Ok(None) };
        let tensor = &self.weights.tensors()[index];
        if tensor.shape != shape {
            return Err(Error::WrongShape { tensor: name, found: tensor.shape.clone(), wanted: shape.to_vec() });
        }
        self.used[index] = true;
        Ok(Some((index, tensor)))
    }

    /// A table of rotations.
    fn rotations(&mut self, name: &str, rope: &config::Rope, context: usize) -> Result<WeightId> {
        let mut frequencies = rope.inverse_frequencies();
        if let Some(factors) = self.rope_factors()? {
            frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= f64::from(factor));
        }
        let table = rope::tables(&frequencies, context, 1.0);
        Ok(self.graph.weight(Weight::computed(name, rope.rotated, table)))
    }

    /// What the file divides RoPE's frequencies by, such as converters compute it for `llama3` scaling.
    fn rope_factors(&mut self) -> Result<Option<Vec<f32>>> {
        let count = self.config.rope.rotated / 2;
        let Some((index, tensor)) = self.tensor(Role::RopeFactors, 0, &[count])? else { return Ok(None) };
        let format = tensor.format()?;
        let mut bytes = vec![0; tensor.bytes as usize];
        self.weights.read(index, 0, &mut bytes)?;
        let mut factors = vec![0.0; count];
        format.decode_row(&bytes, &mut factors);
        match factors.iter().find(|factor| !(factor.is_finite() && **factor > 0.0)) {
            None => Ok(Some(factors)),
            Some(_) => Err(Error::WrongNumbers { tensor: tensor.name.clone(), wanted: "numbers above 0" }),
        }
    }

    /// Checks that no tensor is left over that would change the result.
    fn check_all_used(&self) -> Result<()> {
        let output = names::name(self.config.kind, Role::Output, 0);
        let redundant = |name: &str| names::is_redundant(name) || (self.config.tied && name == output);
        for (index, tensor) in self.weights.tensors().iter().enumerate() {
            if !self.used[index] && !redundant(&tensor.name) && !self.is_zero_bias(index)? {
                return Err(Error::UnusedTensor {
                    tensor: tensor.name.clone(),
                    architecture: self.config.architecture.name_in(self.config.kind).into(),
                });
            }
        }
        Ok(())
    }

    /// Whether a tensor is a bias of zeros, as quantisers write them for layers that have none.
    fn is_zero_bias(&self, index: usize) -> Result<bool> {
        let tensor = &self.weights.tensors()[index];
        let small = tensor.shape.len() == 1 && tensor.bytes <= ZERO_BIAS_LIMIT;
        if !tensor.name.ends_with(".bias") || !small || tensor.format().is_err() {
            return Ok(false);
        }
        let mut bytes = vec![0; tensor.bytes as usize];
        self.weights.read(index, 0, &mut bytes)?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }
}
