//! What tensors are for, and what they are called in files of either kind.

use crate::architectures::Architecture;
use crate::weights::Conventions;

/// What a tensor is for. Those of a layer exist once in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Token embedding, `[vocabulary, width]`.
    Embedding,
    /// Norm before attention, `[width]`.
    AttentionNorm,
    /// Queries, `[heads * head_width, width]`.
    Query,
    /// Keys, `[kv_heads * head_width, width]`.
    Key,
    /// Values, `[kv_heads * head_width, width]`.
    Value,
    /// Output of attention, `[width, heads * head_width]`.
    AttentionOutput,
    /// Bias of queries; absent where the family has none, as are those that follow.
    QueryBias,
    /// Bias of keys.
    KeyBias,
    /// Bias of values.
    ValueBias,
    /// Bias of attention's output.
    AttentionOutputBias,
    /// What makes queries of what they go through, `[heads * head_width, query_rank]`, in latent attention, as are those that follow.
    QueryUp,
    /// What queries go through, `[query_rank, width]`; absent where [`Role::Query`] makes them at once.
    QueryDown,
    /// Its norm, `[query_rank]`.
    QueryDownNorm,
    /// The latent and what is rotated of the key, `[rank + rotated, width]`.
    LatentDown,
    /// Norm of the latent, `[rank]`.
    LatentNorm,
    /// What makes queries meet the latent, `[heads, rank, plain]`.
    KeyUp,
    /// What makes values of it, `[heads, value_width, rank]`.
    ValueUp,
    /// What one more score of each head is, `[heads]`.
    Sinks,
    /// Queries, keys and values in one, `[heads * head_width + 2 * kv_heads * head_width, width]`.
    Qkv,
    /// Norm of queries, `[head_width]`, or of all heads.
    QueryNorm,
    /// Norm of keys.
    KeyNorm,
    /// Norm after attention, `[width]`.
    PostAttentionNorm,
    /// Norm before the feed-forward, `[width]`, in families without norms after.
    FeedForwardNorm,
    /// The same in families with them.
    PreFeedForwardNorm,
    /// Norm after the feed-forward, `[width]`.
    PostFeedForwardNorm,
    /// Gate of the feed-forward and the other half of its input in one, `[2 * feed_forward, width]`.
    GateUp,
    /// Gate of the feed-forward, `[feed_forward, width]`.
    Gate,
    /// The other half of its input, `[feed_forward, width]`.
    Up,
    /// Its output, `[width, feed_forward]`.
    Down,
    /// Bias of the gate, `[feed_forward]`; absent where the model has none, as are those that follow.
    GateBias,
    /// Bias of the other half.
    UpBias,
    /// Bias of the output, `[width]`.
    DownBias,
    /// What sends tokens to experts, `[experts, width]`.
    Router,
    /// Its bias, `[experts]`.
    RouterBias,
    /// What is added to the scores of experts for the choice, `[experts]`.
    RouterCorrection,
    /// Gates of all experts, `[experts, expert_width, width]`, or in files that keep each by itself that of one.
    ExpertGate,
    /// The other halves of their inputs, likewise.
    ExpertUp,
    /// Both, `[experts, 2 * expert_width, width]`: in GGUF files gates first, in others rows in turn.
    ExpertGateUp,
    /// Their outputs, `[experts, width, expert_width]`.
    ExpertDown,
    /// Bias of the gates, `[experts, expert_width]`.
    ExpertGateBias,
    /// Bias of the other halves.
    ExpertUpBias,
    /// Bias of both, `[experts, 2 * expert_width]`.
    ExpertGateUpBias,
    /// Bias of the outputs, `[experts, width]`.
    ExpertDownBias,
    /// Gate of the expert that all tokens go through, `[shared_width, width]`.
    SharedGate,
    /// The other half of its input.
    SharedUp,
    /// Its output, `[width, shared_width]`.
    SharedDown,
    /// How much of it counts, `[1, width]`.
    SharedRouter,
    /// Norm before the output matrix, `[width]`.
    OutputNorm,
    /// Output matrix, `[vocabulary, width]`; absent where it is tied to the embedding.
    Output,
    /// What each of RoPE's frequencies is divided by, `[rotated / 2]`; may be absent.
    RopeFactors,
    /// The same of LongRoPE in sequences up to the original context.
    RopeFactorsShort,
    /// The same in longer ones.
    RopeFactorsLong,
}

/// Names of experts' tensors in GGUF files of 2023, which keep each expert by itself.
const SINGLE_EXPERTS: [(Role, &str); 3] = [
    (Role::ExpertGate, "blk.{}.ffn_gate.{expert}.weight"),
    (Role::ExpertUp, "blk.{}.ffn_up.{expert}.weight"),
    (Role::ExpertDown, "blk.{}.ffn_down.{expert}.weight"),
];

/// Role, name in GGUF files, name in Hugging Face files; `{}` is the layer, `{expert}` the expert. An empty name is that of no tensor.
const NAMES: [(Role, &str, &str); 52] = [
    (Role::Embedding, "token_embd.weight", "model.embed_tokens.weight"),
    (Role::AttentionNorm, "blk.{}.attn_norm.weight", "model.layers.{}.input_layernorm.weight"),
    (Role::Query, "blk.{}.attn_q.weight", "model.layers.{}.self_attn.q_proj.weight"),
    (Role::Key, "blk.{}.attn_k.weight", "model.layers.{}.self_attn.k_proj.weight"),
    (Role::Value, "blk.{}.attn_v.weight", "model.layers.{}.self_attn.v_proj.weight"),
    (Role::AttentionOutput, "blk.{}.attn_output.weight", "model.layers.{}.self_attn.o_proj.weight"),
    (Role::QueryBias, "blk.{}.attn_q.bias", "model.layers.{}.self_attn.q_proj.bias"),
    (Role::KeyBias, "blk.{}.attn_k.bias", "model.layers.{}.self_attn.k_proj.bias"),
    (Role::ValueBias, "blk.{}.attn_v.bias", "model.layers.{}.self_attn.v_proj.bias"),
    (Role::AttentionOutputBias, "blk.{}.attn_output.bias", "model.layers.{}.self_attn.o_proj.bias"),
    (Role::QueryUp, "blk.{}.attn_q_b.weight", "model.layers.{}.self_attn.q_b_proj.weight"),
    (Role::QueryDown, "blk.{}.attn_q_a.weight", "model.layers.{}.self_attn.q_a_proj.weight"),
    (Role::QueryDownNorm, "blk.{}.attn_q_a_norm.weight", "model.layers.{}.self_attn.q_a_layernorm.weight"),
    (Role::LatentDown, "blk.{}.attn_kv_a_mqa.weight", "model.layers.{}.self_attn.kv_a_proj_with_mqa.weight"),
    (Role::LatentNorm, "blk.{}.attn_kv_a_norm.weight", "model.layers.{}.self_attn.kv_a_layernorm.weight"),
    // Directories have one tensor for both, which `key_value` makes two.
    (Role::KeyUp, "blk.{}.attn_k_b.weight", "model.layers.{}.self_attn.kv_b_proj.weight of keys"),
    (Role::ValueUp, "blk.{}.attn_v_b.weight", "model.layers.{}.self_attn.kv_b_proj.weight of values"),
    (Role::Sinks, "blk.{}.attn_sinks.weight", "model.layers.{}.self_attn.sinks"),
    (Role::Qkv, "blk.{}.attn_qkv.weight", "model.layers.{}.self_attn.qkv_proj.weight"),
    (Role::QueryNorm, "blk.{}.attn_q_norm.weight", "model.layers.{}.self_attn.q_norm.weight"),
    (Role::KeyNorm, "blk.{}.attn_k_norm.weight", "model.layers.{}.self_attn.k_norm.weight"),
    (Role::PostAttentionNorm, "blk.{}.post_attention_norm.weight", "model.layers.{}.post_attention_layernorm.weight"),
    (Role::PreFeedForwardNorm, "blk.{}.ffn_norm.weight", "model.layers.{}.pre_feedforward_layernorm.weight"),
    (Role::PostFeedForwardNorm, "blk.{}.post_ffw_norm.weight", "model.layers.{}.post_feedforward_layernorm.weight"),
    (Role::GateUp, "blk.{}.ffn_up.weight", "model.layers.{}.mlp.gate_up_proj.weight"),
    (Role::FeedForwardNorm, "blk.{}.ffn_norm.weight", "model.layers.{}.post_attention_layernorm.weight"),
    (Role::Gate, "blk.{}.ffn_gate.weight", "model.layers.{}.mlp.gate_proj.weight"),
    (Role::Up, "blk.{}.ffn_up.weight", "model.layers.{}.mlp.up_proj.weight"),
    (Role::Down, "blk.{}.ffn_down.weight", "model.layers.{}.mlp.down_proj.weight"),
    (Role::GateBias, "blk.{}.ffn_gate.bias", "model.layers.{}.mlp.gate_proj.bias"),
    (Role::UpBias, "blk.{}.ffn_up.bias", "model.layers.{}.mlp.up_proj.bias"),
    (Role::DownBias, "blk.{}.ffn_down.bias", "model.layers.{}.mlp.down_proj.bias"),
    (Role::Router, "blk.{}.ffn_gate_inp.weight", "model.layers.{}.mlp.gate.weight"),
    (Role::RouterBias, "blk.{}.ffn_gate_inp.bias", "model.layers.{}.mlp.gate.bias"),
    (Role::RouterCorrection, "blk.{}.exp_probs_b.bias", "model.layers.{}.mlp.gate.e_score_correction_bias"),
    (Role::ExpertGate, "blk.{}.ffn_gate_exps.weight", "model.layers.{}.mlp.experts.{expert}.gate_proj.weight"),
    (Role::ExpertUp, "blk.{}.ffn_up_exps.weight", "model.layers.{}.mlp.experts.{expert}.up_proj.weight"),
    (Role::ExpertGateUp, "blk.{}.ffn_gate_up_exps.weight", "model.layers.{}.mlp.experts.gate_up_proj.weight"),
    (Role::ExpertDown, "blk.{}.ffn_down_exps.weight", "model.layers.{}.mlp.experts.{expert}.down_proj.weight"),
    (Role::ExpertGateBias, "blk.{}.ffn_gate_exps.bias", ""),
    (Role::ExpertUpBias, "blk.{}.ffn_up_exps.bias", ""),
    (Role::ExpertGateUpBias, "blk.{}.ffn_gate_up_exps.bias", "model.layers.{}.mlp.experts.gate_up_proj_bias"),
    (Role::ExpertDownBias, "blk.{}.ffn_down_exps.bias", "model.layers.{}.mlp.experts.down_proj_bias"),
    (Role::SharedGate, "blk.{}.ffn_gate_shexp.weight", "model.layers.{}.mlp.shared_expert.gate_proj.weight"),
    (Role::SharedUp, "blk.{}.ffn_up_shexp.weight", "model.layers.{}.mlp.shared_expert.up_proj.weight"),
    (Role::SharedDown, "blk.{}.ffn_down_shexp.weight", "model.layers.{}.mlp.shared_expert.down_proj.weight"),
    (Role::SharedRouter, "blk.{}.ffn_gate_inp_shexp.weight", "model.layers.{}.mlp.shared_expert_gate.weight"),
    (Role::OutputNorm, "output_norm.weight", "model.norm.weight"),
    (Role::Output, "output.weight", "lm_head.weight"),
    (Role::RopeFactors, "rope_freqs.weight", ""),
    (Role::RopeFactorsShort, "rope_factors_short.weight", ""),
    (Role::RopeFactorsLong, "rope_factors_long.weight", ""),
];

/// Ends of names of tensors that say only what the settings say too, or nothing that matters here.
const REDUNDANT: [&str; 8] = [
    ".rotary_emb.inv_freq",
    ".attn_rot_embd.weight",
    // Scales of activations and of a cache in FP8, which are wider here.
    ".input_scale",
    ".activation_scale",
    ".output_scale",
    ".q_scale",
    ".k_scale",
    ".v_scale",
];

/// The name of a tensor in files of a kind; `layer` counts from 0 and matters only for tensors of a layer.
pub fn name(kind: Conventions, role: Role, layer: usize) -> String {
    pattern(kind, role).replace("{}", &layer.to_string())
}

/// The same in the files of a family, which may have names of its own.
pub fn name_in(architecture: &Architecture, kind: Conventions, role: Role, layer: usize) -> String {
    let own = architecture.names.iter().find(|(of, its, _)| (*of, *its) == (kind, role));
    own.map_or(pattern(kind, role), |(.., name)| name).replace("{}", &layer.to_string())
}

/// The name of the tensor of one expert, where a file has one for each; `None` where files of the kind never do.
pub fn name_of_expert(
    architecture: &Architecture,
    kind: Conventions,
    role: Role,
    layer: usize,
    expert: usize,
) -> Option<String> {
    let name = match kind {
        Conventions::Gguf => SINGLE_EXPERTS.iter().find(|row| row.0 == role)?.1.replace("{}", &layer.to_string()),
        Conventions::HuggingFace => name_in(architecture, kind, role, layer),
    };
    name.contains("{expert}").then(|| name.replace("{expert}", &expert.to_string()))
}

/// What follows in the name of a tensor of a layer after the layer's own.
pub(crate) fn in_layer(kind: Conventions, role: Role) -> &'static str {
    let pattern = pattern(kind, role);
    pattern.split_once("{}.").map_or(pattern, |(_, name)| name)
}

fn pattern(kind: Conventions, role: Role) -> &'static str {
    let row = NAMES.iter().find(|row| row.0 == role).expect("every role has a row");
    match kind {
        Conventions::Gguf => row.1,
        Conventions::HuggingFace => row.2,
    }
}

/// The layer of a tensor.
pub(crate) fn layer_of(name: &str) -> Option<usize> {
    let after = name.strip_prefix("model.layers.").or(name.strip_prefix("blk."))?;
    after.split('.').next()?.parse().ok()
}

/// Whether a tensor may be left unread although it is there.
pub fn is_redundant(name: &str) -> bool {
    REDUNDANT.iter().any(|end| name.ends_with(end))
}
