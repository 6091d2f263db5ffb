//! Builds the graph of a transformer from a model's numbers and the table of its tensors.

mod attention;
mod experts;
mod feed_forward;
mod latent;
mod rotations;
mod tensors;

use std::collections::HashMap;
use std::sync::Arc;

use plywood_kernels::add::Add;
use plywood_kernels::embedding::Embedding;
use plywood_kernels::graph::{Graph, Output, Rows, Slice, Value, ValueId, WeightId};
use plywood_kernels::matmul::MatMul;
use plywood_kernels::op::Op;
use plywood_kernels::reorder::{self, Reorder};
use plywood_kernels::rms_norm::RmsNorm;
use plywood_kernels::sample::draw::Drawn;
use plywood_kernels::sample::{Argmax, LogSumExp, MAX_TOP_K, TopK};
use plywood_kernels::select_rows::SelectRows;
use plywood_kernels::soft_cap::SoftCap;

use crate::architectures::Norms;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::names::Role;
use crate::weights::Weights;

use self::rotations::Rotations;

/// Builds the graph of a model for sequences of up to `context` tokens. Errors are those of [`Transformer::read`].
pub fn build(weights: &dyn Weights, config: &Config, context: usize) -> Result<Graph> {
    Ok(Transformer::read(weights, config)?.graph(context))
}

/// A model's graph, complete but for what depends on the context: the tables of rotations.
#[derive(Debug, Clone)]
pub struct Transformer {
    graph: Graph,
    rotations: Vec<Rotations>,
}

impl Transformer {
    /// Puts a model's graph together.
    ///
    /// Of the weights only vectors are read, which go into it as numbers: norms, biases and RoPE's factors. Errors name the
    /// tensor that is missing, has another shape than the configuration says, has a type that does not
    /// run, or has no place in the architecture.
    pub fn read(weights: &dyn Weights, config: &Config) -> Result<Transformer> {
        let tensors = weights.tensors();
        let by_name = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.as_str(), index)).collect();
        let used = vec![false; tensors.len()];
        let (graph, orders, rotations) = (Graph::default(), HashMap::new(), Vec::new());
        let mut builder = Builder { weights, config, by_name, used, orders, graph, rotations };
        builder.model()?;
        builder.check_all_used()?;
        Ok(Transformer { graph: builder.graph, rotations: builder.rotations })
    }

    /// The graph for sequences of up to `context` tokens. What was read is shared with every other graph of this model.
    pub fn graph(&self, context: usize) -> Graph {
        let mut graph = self.graph.clone();
        self.rotations.iter().for_each(|rotations| rotations.make(&mut graph, context));
        graph
    }
}

struct Builder<'a> {
    weights: &'a dyn Weights,
    config: &'a Config,
    by_name: HashMap<&'a str, usize>,
    /// Which tensors have found a place.
    used: Vec<bool>,
    /// The orders of the columns of weights whose columns were sorted.
    orders: HashMap<WeightId, Arc<[u32]>>,
    graph: Graph,
    rotations: Vec<Rotations>,
}

impl Builder<'_> {
    fn model(&mut self) -> Result<()> {
        let config = self.config;
        let vocabulary = (Role::Embedding, config.vocabulary);
        let embedding = self.matrix("embedding".into(), 0, config.width, &[vocabulary])?;
        if self.orders.contains_key(&embedding) {
            let tensor = self.name(Role::Embedding, 0);
            return Err(Error::Packed { tensor, reason: "an embedding has an activation order".into() });
        }
        let rotations = self.rotations("rope", &config.rope)?;
        let local = config.architecture.local_base && config.attends.iter().any(|layer| layer.window.is_some());
        let local_rotations = if local {
            let rope = &config.local_rope;
            self.table("local rope", rope.inverse_frequencies(), None, rope.magnitude)
        } else {
            rotations
        };
        let mut residual = self.graph.value("residual", Rows::Tokens, config.width);
        let op = Op::Embedding(Embedding { scale: config.scales.embedding });
        self.graph.node(op, &[], &[("weight", embedding)], None, Some(residual));
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
            Norms::After | Norms::BeforeAndAfter => {
                let normed = self.norm(label, norm, layer, addend)?;
                Ok(self.add(normed, residual))
            }
        }
    }

    /// From the residual stream after the last layer to everything that a step can be asked for.
    fn output(&mut self, residual: ValueId, output: WeightId) -> Result<()> {
        let config = self.config;
        let selected = self.graph.value("selected", Rows::Selected, config.width);
        let all = self.graph.whole(residual);
        self.graph.node(Op::SelectRows(SelectRows), &[("input", all)], &[], None, Some(selected));
        let normed = self.norm("output.norm".into(), Role::OutputNorm, 0, selected)?;
        let mut logits = self.product("logits", normed, output, None, config.scales.logit);
        if let Some(cap) = config.logit_cap {
            let capped = self.graph.value("capped_logits", Rows::Selected, config.vocabulary);
            let all = self.graph.whole(logits);
            self.graph.node(Op::SoftCap(SoftCap { cap }), &[("input", all)], &[], None, Some(capped));
            logits = capped;
        }

        let count = config.vocabulary.min(MAX_TOP_K);
        let argmax = self.graph.index_value("argmax", Rows::Selected, 1);
        let top_k = self.graph.index_value("top_k", Rows::Selected, 2 * count);
        let drawn = self.graph.index_value("drawn", Rows::Selected, 1);
        let log_sum_exp = self.graph.value("log_sum_exp", Rows::Selected, 1);
        let all = [("logits", self.graph.whole(logits))];
        self.graph.node(Op::Argmax(Argmax), &all, &[], None, Some(argmax));
        self.graph.node(Op::TopK(TopK { count }), &all, &[], None, Some(top_k));
        let candidates = [("candidates", self.graph.whole(top_k))];
        self.graph.node(Op::Drawn(Drawn { count }), &candidates, &[], None, Some(drawn));
        self.graph.node(Op::LogSumExp(LogSumExp), &all, &[], None, Some(log_sum_exp));
        self.graph.outputs = vec![
            (Output::Logits, logits),
            (Output::Argmax, argmax),
            (Output::TopK, top_k),
            (Output::Drawn, drawn),
            (Output::LogSumExp, log_sum_exp),
        ];
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
        self.graph.node(op, &[("input", input)], &[("weight", weight)], None, Some(normed));
        normed
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
        let mut weights = vec![("weight", weight)];
        weights.extend(bias.map(|bias| ("bias", bias)));
        self.graph.node(Op::MatMul(MatMul { scale, ..MatMul::PLAIN }), &[("input", all)], &weights, None, Some(output));
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
        self.graph.node(Op::Reorder(Reorder), &[("input", all)], &[("order", order)], None, Some(reordered));
        reordered
    }

    /// The residual stream with something added.
    fn add(&mut self, addend: ValueId, residual: ValueId) -> ValueId {
        let sum = self.graph.value("residual", Rows::Tokens, self.config.width);
        let inputs = [("a", self.graph.whole(addend)), ("b", self.graph.whole(residual))];
        self.graph.node(Op::Add(Add), &inputs, &[], None, Some(sum));
        sum
    }
}
