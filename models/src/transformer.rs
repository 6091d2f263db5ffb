//! Builds the graph of a transformer from a model's numbers and the table of its tensors.

use std::collections::HashMap;
use std::sync::Arc;

use plywood_kernels::add::Add;
use plywood_kernels::attention::Attention;
use plywood_kernels::embedding::Embedding;
use plywood_kernels::formats::F32;
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

use crate::checkpoint::{TensorInfo, Weights};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::names::{self, Role};

/// Builds the graph of a model for sequences of up to `context` tokens.
///
/// Nothing of the weights is read, except RoPE's factors where a file has them. Errors name the
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
        let rotations = self.rotations(context)?;
        let mut residual = self.graph.value("residual", Rows::Tokens, config.width);
        self.graph.node(Op::Embedding(Embedding::PLAIN), &[], &[embedding], None, Some(residual));
        for layer in 0..config.layers {
            self.graph.mark();
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

    /// Attention of one layer with its norm and the addition to the residual stream.
    fn attention(&mut self, layer: usize, residual: ValueId, rotations: WeightId) -> Result<ValueId> {
        let config = self.config;
        let (queries, keys) = (config.heads * config.head_width, config.kv_heads * config.head_width);
        let normed = self.norm(format!("layers.{layer}.attention.norm"), Role::AttentionNorm, layer, residual)?;
        let parts = [(Role::Query, queries), (Role::Key, keys), (Role::Value, keys)];
        let weight = self.matrix(format!("layers.{layer}.attention.qkv"), layer, config.width, &parts)?;
        let qkv = self.product("qkv", normed, weight);

        let turned = Slice { value: qkv, offset: 0, width: queries + keys };
        let rotated = self.graph.value("rotated", Rows::Tokens, turned.width);
        let rope = Rope {
            heads: config.heads + config.kv_heads,
            head_width: config.head_width,
            rotated: config.rope.rotated,
            pairing: config.architecture.pairing(config.kind),
        };
        self.graph.node(Op::Rope(rope), &[turned], &[rotations], None, Some(rotated));

        let slot = CacheSlot { kv_heads: config.kv_heads, head_width: config.head_width };
        let cache = self.graph.cache(slot);
        let key = Slice { value: rotated, offset: queries, width: keys };
        let value = Slice { value: qkv, offset: queries + keys, width: keys };
        self.graph.node(Op::KvWrite(KvWrite), &[key, value], &[], Some(cache), None);

        let query = Slice { value: rotated, offset: 0, width: queries };
        let attended = self.graph.value("attended", Rows::Tokens, queries);
        let scale = (config.head_width as f64).sqrt().recip() as f32;
        let attention = Attention { heads: config.heads, scale, window: None, soft_cap: None };
        self.graph.node(Op::Attention(attention), &[query], &[], Some(cache), Some(attended));

        let parts = [(Role::AttentionOutput, config.width)];
        let weight = self.matrix(format!("layers.{layer}.attention.output"), layer, queries, &parts)?;
        let projected = self.product("projected", attended, weight);
        Ok(self.add(projected, residual))
    }

    /// The gated feed-forward of one layer with its norm and the addition to the residual stream.
    fn feed_forward(&mut self, layer: usize, residual: ValueId) -> Result<ValueId> {
        let config = self.config;
        let inner = config.feed_forward;
        let normed = self.norm(format!("layers.{layer}.feed_forward.norm"), Role::FeedForwardNorm, layer, residual)?;
        let parts = [(Role::Gate, inner), (Role::Up, inner)];
        let weight = self.matrix(format!("layers.{layer}.feed_forward.gate_up"), layer, config.width, &parts)?;
        let gate_up = self.product("gate_up", normed, weight);

        let gate = Slice { value: gate_up, offset: 0, width: inner };
        let up = Slice { value: gate_up, offset: inner, width: inner };
        let gated = self.graph.value("gated", Rows::Tokens, inner);
        let activation = config.architecture.activation;
        self.graph.node(Op::Gated(Gated { activation }), &[gate, up], &[], None, Some(gated));

        let parts = [(Role::Down, config.width)];
        let weight = self.matrix(format!("layers.{layer}.feed_forward.down"), layer, inner, &parts)?;
        let down = self.product("down", gated, weight);
        Ok(self.add(down, residual))
    }

    /// From the residual stream behind the last layer to everything that a step can be asked for.
    fn output(&mut self, residual: ValueId, output: WeightId) -> Result<()> {
        let config = self.config;
        let selected = self.graph.value("selected", Rows::Selected, config.width);
        let all = self.graph.whole(residual);
        self.graph.node(Op::SelectRows(SelectRows), &[all], &[], None, Some(selected));
        let normed = self.norm("output.norm".into(), Role::OutputNorm, 0, selected)?;
        let logits = self.product("logits", normed, output);

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
        let columns = self.config.width;
        let part = self.part(role, layer, &[columns])?;
        let weight = self.graph.weight(Weight { name: label, columns, parts: vec![part], held: Some(F32) });
        let rows = self.graph.values[input.0].rows;
        let normed = self.graph.value("normed", rows, columns);
        let op = Op::RmsNorm(RmsNorm { epsilon: self.config.norm_epsilon });
        let all = self.graph.whole(input);
        self.graph.node(op, &[all], &[weight], None, Some(normed));
        Ok(normed)
    }

    /// A matrix product with all of a value.
    fn product(&mut self, name: &'static str, input: ValueId, weight: WeightId) -> ValueId {
        let rows = self.graph.values[input.0].rows;
        let output = self.graph.value(name, rows, self.graph.weights[weight.0].rows());
        let input = self.reordered(input, weight);
        let all = self.graph.whole(input);
        self.graph.node(Op::MatMul(MatMul::PLAIN), &[all], &[weight], None, Some(output));
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
        let parts = stack.iter().map(|(role, rows)| self.part(*role, layer, &[*rows, columns]));
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
    fn part(&mut self, role: Role, layer: usize, shape: &[usize]) -> Result<Part> {
        let (index, tensor) = self
            .tensor(role, layer, shape)?
            .ok_or_else(|| Error::MissingTensor { tensor: names::name(self.config.kind, role, layer) })?;
        let rows = if shape.len() == 1 { 1 } else { shape[0] };
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

    /// The table of rotations, one for all layers.
    fn rotations(&mut self, context: usize) -> Result<WeightId> {
        let rotated = self.config.rope.rotated;
        let mut frequencies = self.config.rope.inverse_frequencies();
        if let Some(factors) = self.rope_factors()? {
            frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= f64::from(factor));
        }
        let table = rope::tables(&frequencies, context, 1.0);
        let part = Part { rows: table.len() / rotated, source: Source::Computed(table.into()), format: F32 };
        Ok(self.graph.weight(Weight { name: "rope".into(), columns: rotated, parts: vec![part], held: None }))
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
        if !tensor.name.ends_with(".bias") || tensor.shape.len() != 1 || tensor.bytes > ZERO_BIAS_LIMIT {
            return Ok(false);
        }
        let mut bytes = vec![0; tensor.bytes as usize];
        self.weights.read(index, 0, &mut bytes)?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }
}
