//! What tensors are for, and what they are called in files of either kind.

use crate::checkpoint::Kind;

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
    /// Queries, keys and values in one, `[heads * head_width + 2 * kv_heads * head_width, width]`.
    Qkv,
    /// Norm of queries, `[head_width]`, or of all heads.
    QueryNorm,
    /// Norm of keys.
    KeyNorm,
    /// Norm behind attention, `[width]`.
    PostAttentionNorm,
    /// Norm before the feed-forward, `[width]`, in families without norms behind.
    FeedForwardNorm,
    /// The same in families with them.
    PreFeedForwardNorm,
    /// Norm behind the feed-forward, `[width]`.
    PostFeedForwardNorm,
    /// Gate of the feed-forward and the other half of its input in one, `[2 * feed_forward, width]`.
    GateUp,
    /// Gate of the feed-forward, `[feed_forward, width]`.
    Gate,
    /// The other half of its input, `[feed_forward, width]`.
    Up,
    /// Its output, `[width, feed_forward]`.
    Down,
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

/// Role, name in GGUF files, name in Hugging Face files; `{}` is the layer. An empty name is that of no tensor.
const NAMES: [(Role, &str, &str); 26] = [
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
pub fn name(kind: Kind, role: Role, layer: usize) -> String {
    let row = NAMES.iter().find(|row| row.0 == role).expect("every role has a row");
    let pattern = match kind {
        Kind::Gguf => row.1,
        Kind::HuggingFace => row.2,
    };
    pattern.replace("{}", &layer.to_string())
}

/// Whether a tensor may be left unread although it is there.
pub fn is_redundant(name: &str) -> bool {
    REDUNDANT.iter().any(|end| name.ends_with(end))
}
