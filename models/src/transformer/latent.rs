//! Multi-head latent attention (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>, §2.1) in its absorbed form: the matrices that make
//! keys and values of the latent go to the queries and after the attention, so that the cache holds the latent alone.
//!
//! With `score = query · (KeyUp latent) = (KeyUpᵀ query) · latent`, and `sum of shares · (ValueUp latent) = ValueUp (sum of shares ·
//! latent)`, both of a head; what is rotated of a query meets what is rotated of the one key.

use plywood_kernels::attention::Attention;
use plywood_kernels::graph::{CacheSlot, CachedValues, Rows, Slice, ValueId, WeightId};
use plywood_kernels::grouped_matmul::{GroupedMatMul, Stack};
use plywood_kernels::kv_cache::KvWrite;
use plywood_kernels::latent_heads::LatentHeads;
use plywood_kernels::op::Op;
use plywood_kernels::rms_norm::RmsNorm;

use super::Builder;
use crate::config::Latent;
use crate::error::Result;
use crate::names::Role;

/// Added to the mean square in the norms of latents, whatever the settings say of other norms (transformers, `modeling_deepseek_v3.py`).
const EPSILON: f32 = 1e-6;

impl Builder<'_> {
    /// What attention of heads over a latent gathers: `[tokens, heads * value_width]`.
    ///
    /// A token takes 8 dispatches (10 where queries go through a rank of their own), those of norm and output aside: one product of
    /// queries and latent, the latent's norm, queries to the latent, heads, cache, attention and its combination, values.
    pub(super) fn latent_attended(
        &mut self,
        layer: usize,
        input: ValueId,
        rotations: WeightId,
        latent: Latent,
    ) -> Result<ValueId> {
        let config = self.config;
        let label = |part: &str| format!("layers.{layer}.attention.{part}");
        let (heads, key_width) = (config.heads, latent.key_width());
        let queries = heads * config.head_width;

        // Queries, or what they go through, then the latent and what is rotated of the key.
        let (role, width) = latent.query_rank.map_or((Role::Query, queries), |rank| (Role::QueryDown, rank));
        let stack = [(role, width), (Role::LatentDown, key_width)];
        let weight = self.matrix(label("down"), layer, config.width, &stack)?;
        let down = self.product("down", input, weight, None, 1.0);
        let slice = |offset, width| Slice { value: down, offset, width };
        let mut query = slice(0, width);
        if latent.query_rank.is_some() {
            let normed = self.rank_norm(label("query.norm"), Role::QueryDownNorm, layer, query)?;
            let weight = self.matrix(label("query"), layer, width, &[(Role::QueryUp, queries)])?;
            let product = self.product("queries", normed, weight, None, 1.0);
            query = self.graph.whole(product);
        }
        let normed = self.rank_norm(label("latent.norm"), Role::LatentNorm, layer, slice(width, latent.rank))?;
        let rotary_key = slice(width + latent.rank, latent.rotated);

        let shape = [heads, latent.rank, latent.plain];
        let absorbed = self.of_each_head("absorbed", label("keys"), Role::KeyUp, layer, shape, query)?;
        let inputs = [
            ("queries", self.graph.whole(absorbed)),
            ("turning_queries", query),
            ("latent", self.graph.whole(normed)),
            ("rotary_key", rotary_key),
        ];
        let both = self.graph.value("latent_heads", Rows::Tokens, (heads + 1) * key_width);
        let pairing = config.architecture.pairing(config.kind);
        let op = Op::LatentHeads(LatentHeads { heads, rotated: latent.rotated, pairing });
        self.graph.node(op, &inputs, &[("tables", rotations)], None, Some(both));

        let cache = self.graph.cache(CacheSlot {
            kv_heads: 1,
            key_width,
            value_width: latent.rank,
            values: CachedValues::InKeys,
        });
        let key = Slice { value: both, offset: heads * key_width, width: key_width };
        self.graph.node(Op::KvWrite(KvWrite), &[("keys", key)], &[], Some(cache), None);
        let query = Slice { value: both, offset: 0, width: heads * key_width };
        let gathered = self.graph.value("gathered", Rows::Tokens, heads * latent.rank);
        let attention = Attention { heads, scale: config.scales.score, window: None, soft_cap: None };
        self.graph.node(Op::Attention(attention), &[("queries", query)], &[], Some(cache), Some(gathered));

        let shape = [heads, latent.value_width, latent.rank];
        let gathered = self.graph.whole(gathered);
        self.of_each_head("attended", label("values"), Role::ValueUp, layer, shape, gathered)
    }

    /// A norm over a rank that queries, or keys and values, go through.
    fn rank_norm(&mut self, label: String, role: Role, layer: usize, input: Slice) -> Result<ValueId> {
        let weights = self.norm_weights(role, layer, input.width)?;
        let weight = self.computed(label, weights);
        let normed = self.graph.value("normed_rank", Rows::Tokens, input.width);
        let op = Op::RmsNorm(RmsNorm { epsilon: EPSILON, groups: 1 });
        self.graph.node(op, &[("input", input)], &[("weight", weight)], None, Some(normed));
        Ok(normed)
    }

    /// The product of the first elements of each head with that head's matrix `[rows, columns]`: `[tokens, heads * rows]`.
    fn of_each_head(
        &mut self,
        name: &'static str,
        label: String,
        role: Role,
        layer: usize,
        [heads, rows, columns]: [usize; 3],
        input: Slice,
    ) -> Result<ValueId> {
        let weight = self.stacked(label, &[role], layer, heads, [rows, columns])?;
        let product = self.graph.value(name, Rows::Tokens, heads * rows);
        let op = GroupedMatMul { matrices: heads, slots: heads, parts: 1, stack: Stack::MatrixByMatrix, gate: None };
        self.graph.node(Op::GroupedMatMul(op), &[("input", input)], &[("weight", weight)], None, Some(product));
        Ok(product)
    }
}
