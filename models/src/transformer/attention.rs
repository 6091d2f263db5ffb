//! Attention of a layer.

use plywood_kernels::attention::Attention;
use plywood_kernels::graph::{CacheSlot, Rows, Slice, ValueId, WeightId};
use plywood_kernels::kv_cache::KvWrite;
use plywood_kernels::op::Op;
use plywood_kernels::rope::Rope;

use super::Builder;
use crate::architectures::{HeadNorms, Norms};
use crate::error::Result;
use crate::names::Role;

impl Builder<'_> {
    /// Attention of one layer with its norms and the addition to the residual stream.
    pub(super) fn attention(&mut self, layer: usize, residual: ValueId, rotations: WeightId) -> Result<ValueId> {
        let config = self.config;
        let label = |part: &str| format!("layers.{layer}.attention.{part}");
        let input = match config.architecture.norms {
            Norms::After => residual,
            Norms::Before | Norms::BeforeAndAfter => self.norm(label("norm"), Role::AttentionNorm, layer, residual)?,
        };
        let attended = match config.latent {
            None => self.heads_attended(layer, input, rotations)?,
            Some(latent) => self.latent_attended(layer, input, rotations, latent)?,
        };

        let columns = self.graph.values[attended.0].width;
        let weight = self.matrix(label("output"), layer, columns, &[(Role::AttentionOutput, config.width)])?;
        let has_bias =
            config.architecture.output_bias || config.biases && self.is_there(Role::AttentionOutputBias, layer);
        let bias: [(_, &[usize]); 1] = [(Role::AttentionOutputBias, &[config.width])];
        let bias = has_bias.then(|| self.bias(label("output.bias"), layer, &bias)).transpose()?;
        let projected = self.product("projected", attended, weight, bias, config.scales.residual);
        self.added(label("post_norm"), Role::PostAttentionNorm, layer, projected, residual)
    }

    /// What attention of heads, each with keys and values of its own or of its group, gathers.
    fn heads_attended(&mut self, layer: usize, input: ValueId, rotations: WeightId) -> Result<ValueId> {
        let config = self.config;
        let label = |part: &str| format!("layers.{layer}.attention.{part}");
        let (queries, keys) = (config.heads * config.head_width, config.kv_heads * config.head_width);
        let parts = [(Role::Query, queries), (Role::Key, keys), (Role::Value, keys)];
        let fused = [(Role::Qkv, queries + 2 * keys)];
        let parts: &[_] = if config.architecture.fused { &fused } else { &parts };
        let weight = self.matrix(label("qkv"), layer, config.width, parts)?;
        let biases: [(_, &[usize]); 3] =
            [(Role::QueryBias, &[queries]), (Role::KeyBias, &[keys]), (Role::ValueBias, &[keys])];
        let bias = config.biases.then(|| self.bias(label("qkv.bias"), layer, &biases)).transpose()?;
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
        if config.attends[layer].rotated {
            (query, key) = self.rotated(query, key, rotations);
        }
        let cache = self.graph.cache(CacheSlot::plain(config.kv_heads, config.head_width));
        self.graph.node(Op::KvWrite(KvWrite), &[("keys", key), ("values", value)], &[], Some(cache), None);
        if let Some(temperature) = config.rope.temperature {
            let scaled = self.graph.value("scaled_queries", Rows::Tokens, queries);
            self.graph.node(Op::Temperature(temperature), &[("input", query)], &[], None, Some(scaled));
            query = self.graph.whole(scaled);
        }
        let mut sinks = Vec::new();
        if config.architecture.sinks {
            let scores = self.vector(Role::Sinks, layer, config.heads)?;
            sinks.push(("sinks", self.computed(label("sinks"), scores)));
        }
        let attended = self.graph.value("attended", Rows::Tokens, queries);
        let attention = Attention {
            heads: config.heads,
            scale: config.scales.score,
            window: config.attends[layer].window,
            soft_cap: config.score_cap,
        };
        self.graph.node(Op::Attention(attention), &[("queries", query)], &sinks, Some(cache), Some(attended));
        Ok(attended)
    }

    /// Queries and keys rotated by their positions: at once, where they lie side by side.
    pub(super) fn rotated(&mut self, query: Slice, key: Slice, rotations: WeightId) -> (Slice, Slice) {
        let config = self.config;
        let mut rotate = |input: Slice, heads: usize| {
            let rotated = self.graph.value("rotated", Rows::Tokens, input.width);
            let rope = Rope {
                heads,
                head_width: config.head_width,
                rotated: config.rope.rotated,
                pairing: config.architecture.pairing(config.kind),
            };
            self.graph.node(Op::Rope(rope), &[("input", input)], &[("tables", rotations)], None, Some(rotated));
            rotated
        };
        if query.value == key.value && key.offset == query.offset + query.width {
            let both = Slice { width: query.width + key.width, ..query };
            let value = rotate(both, config.heads + config.kv_heads);
            return (
                Slice { value, offset: 0, width: query.width },
                Slice { value, offset: query.width, width: key.width },
            );
        }
        let (queries, keys) = (rotate(query, config.heads), rotate(key, config.kv_heads));
        (self.graph.whole(queries), self.graph.whole(keys))
    }
}
