//! The numbers of a model from `config.json` and `generation_config.json`.

use plywood_kernels::gated::Activation;
use plywood_kernels::route::{Gating, Groups};
use serde_json::Value;

use crate::architectures::{Architecture, AttentionKind, LocalLayers};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::packed;
use crate::weights::Conventions;

use super::experts::{self, Experts};
use super::{Attends, Config, LAYERS_LIMIT, Latent, Rope, Sampling, Scales, architecture, attends, ids, size};

/// Keys that change the result, how the values under which they do not are called, and a test for these.
type Neutral = (&'static str, &'static str, fn(&Value) -> bool);
const NEUTRAL: [Neutral; 1] = [("clip_qkv", "null", Value::is_null)];

/// The same where layers have experts, or their feed-forward in one matrix.
const FEED_FORWARD: [Neutral; 1] = [("mlp_bias", "false", is_false)];

/// The same in families without experts.
const EXPERTS: [Neutral; 3] =
    [("num_local_experts", "0", is_zero), ("num_experts", "0", is_zero), ("n_routed_experts", "0", is_zero)];

/// The same in families without multipliers.
const MULTIPLIERS: [Neutral; 3] =
    [("logits_scaling", "1", is_one), ("embedding_multiplier", "1", is_one), ("residual_multiplier", "1", is_one)];

/// What a family's activation may be called, under which key, and what may bound it.
fn check_activation(config: &Json, activation: Activation) -> Result<()> {
    if let Activation::SiluClamped { limit } = activation
        && config.number("swiglu_limit")?.is_some_and(|found| found != f64::from(limit))
    {
        return Err(unsupported(config, "swiglu_limit", &config.value["swiglu_limit"], &limit.to_string()));
    }
    let (key, names): (_, &[&str]) = match activation {
        Activation::Silu | Activation::SiluClamped { .. } => ("hidden_act", &["silu", "swish"]),
        Activation::GeluTanh => ("hidden_activation", &["gelu_pytorch_tanh"]),
    };
    match config.text(key)? {
        Some(found) if !names.contains(&found) => Err(unsupported(config, key, &Value::from(found), names[0])),
        _ => Ok(()),
    }
}

fn is_false(value: &Value) -> bool {
    value.as_bool() == Some(false)
}

fn is_zero(value: &Value) -> bool {
    value.as_u64() == Some(0)
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

/// The class that the settings name.
pub(super) fn class(config: &Json) -> Option<&str> {
    config.get("architectures")?.get(0)?.as_str()
}

pub(super) fn read(config: &Json, generation: Option<&Json>) -> Result<Config> {
    let class = class(config).ok_or_else(|| config.missing("architectures"))?;
    let architecture = architecture(Conventions::HuggingFace, class, config.file.clone())?;
    let defaults = &architecture.defaults;
    packed::check_method(config)?;
    check_neutral(config, &NEUTRAL)?;
    if !architecture.multipliers {
        check_neutral(config, &MULTIPLIERS)?;
    }
    if architecture.mixture.is_none() {
        check_neutral(config, &EXPERTS)?;
    }
    check_activation(config, architecture.activation)?;
    let layers = config.integer("num_hidden_layers")?.map(size).ok_or_else(|| config.missing("num_hidden_layers"))?;
    let experts = experts(config, architecture, layers)?;
    if experts.is_some() || architecture.fused {
        check_neutral(config, &FEED_FORWARD)?;
    }
    let or = |key: &str, default: Option<usize>| {
        config.integer(key)?.map(size).or(default).ok_or_else(|| config.missing(key))
    };
    let required = |key: &str| or(key, None);
    let width = required("hidden_size")?;
    let heads = or("num_attention_heads", defaults.heads)?;
    let latent = match architecture.attention {
        AttentionKind::Heads => None,
        AttentionKind::Latent => Some(Latent::of_directory(config)?),
    };
    // Latent attention's head_dim is the width of what is rotated, where there is any.
    let given = config.integer("head_dim")?.map(size).or(defaults.head_width);
    let head_width = match latent.map(|latent| latent.head_width()).or(given) {
        Some(given) => given,
        None if heads > 0 && width.is_multiple_of(heads) => width / heads,
        None => {
            return Err(config.wrong("num_attention_heads", heads, format!("a divisor of hidden_size, {width}")));
        }
    };
    let rope = Rope::of_directory(config, architecture, latent.map_or(head_width, |latent| latent.rotated))?;
    Ok(Config {
        kind: Conventions::HuggingFace,
        architecture,
        layers,
        width,
        heads,
        kv_heads: match latent {
            None => or("num_key_value_heads", defaults.kv_heads.or(Some(heads)))?,
            Some(_) => 1,
        },
        head_width,
        latent,
        predicting_layers: or("num_nextn_predict_layers", Some(0))?,
        feed_forward: required("intermediate_size")?,
        experts,
        vocabulary: or("vocab_size", defaults.vocabulary)?,
        norm_epsilon: config.number("rms_norm_eps")?.unwrap_or(defaults.norm_epsilon) as f32,
        local_rope: Rope::local_of_directory(config, rope.rotated)?,
        attends: layers_attend(config, architecture, layers)?,
        scales: scales(config, architecture, width, head_width)?.of_latent(latent, &rope),
        rope,
        score_cap: config.number("attn_logit_softcapping")?.map(|cap| cap as f32),
        logit_cap: config.number("final_logit_softcapping")?.map(|cap| cap as f32),
        biases: architecture.biases || config.boolean("attention_bias")? == Some(true),
        feed_forward_biases: config.boolean("mlp_bias")? == Some(true),
        tied: config.boolean("tie_word_embeddings")?.unwrap_or(defaults.tied),
        context: or("max_position_embeddings", Some(defaults.context))?,
        bos: token_ids(&[Some(config), generation], "bos_token_id")?.first().copied(),
        ends: token_ids(&[Some(config), generation], "eos_token_id")?,
        sampling: generation.map_or(Ok(Sampling::default()), sampling)?,
    })
}

/// The settings of a mixture of experts, in a family that may have one.
fn experts(config: &Json, architecture: &Architecture, layers: usize) -> Result<Option<Experts>> {
    let integer = |key: &str| config.integer(key).map(|number| number.map(size));
    let first_of = |keys: &[&str]| keys.iter().find_map(|key| integer(key).transpose()).transpose();
    let Some(mixture) = architecture.mixture else { return Ok(None) };
    let counts: Vec<&str> = EXPERTS.iter().map(|(key, ..)| *key).collect();
    let Some(count) = first_of(&counts)?.filter(|count| *count > 0) else { return Ok(None) };
    let width = match first_of(&["moe_intermediate_size", "intermediate_size"])? {
        Some(width) => width,
        None => return Err(config.missing("moe_intermediate_size")),
    };
    let gating = match config.text("scoring_func")? {
        None => mixture.gating,
        Some("softmax") => Gating::Softmax,
        Some("sigmoid") => Gating::Sigmoid,
        Some(_) => {
            return Err(unsupported(config, "scoring_func", &config.value["scoring_func"], "softmax and sigmoid"));
        }
    };
    let (of_class, kept_of_class) = mixture.class_groups.unzip();
    let groups = (integer("n_group")?.or(of_class), integer("topk_group")?.or(kept_of_class));
    // Where no method is named, that of the class.
    let grouped = match config.text("topk_method")? {
        Some("greedy") => false,
        Some("group_limited_greedy" | "noaux_tc") => true,
        None => gating == Gating::Sigmoid,
        Some(_) => {
            let wanted = "greedy, group_limited_greedy and noaux_tc";
            return Err(unsupported(config, "topk_method", &config.value["topk_method"], wanted));
        }
    };
    let groups = match groups {
        _ if !grouped => None,
        (Some(count), Some(kept)) => Some(Groups { count, kept, best: experts::best_of_group(gating) }),
        (None, _) => return Err(config.missing("n_group")),
        (_, None) => return Err(config.missing("topk_group")),
    };
    let shared = integer("n_shared_experts")?.filter(|count| *count > 0).map(|count| count.saturating_mul(width));
    let step = integer("decoder_sparse_step")?.or(integer("moe_layer_freq")?).unwrap_or(1).max(1);
    let first = integer("first_k_dense_replace")?.unwrap_or(mixture.class_dense_layers);
    let dense = config.integers("mlp_only_layers")?;
    let has_experts = |layer: usize| {
        let of_step = if config.get("moe_layer_freq").is_some() { layer } else { layer + 1 };
        layer >= first && of_step.is_multiple_of(step) && !dense.contains(&(layer as u64))
    };
    Ok(Some(Experts {
        count,
        chosen: first_of(&["num_experts_per_tok", "experts_per_token"])?
            .ok_or_else(|| config.missing("num_experts_per_tok"))?,
        width,
        gating,
        normalised: config.boolean("norm_topk_prob")?.unwrap_or(mixture.class_normalised),
        scale: config.number("routed_scaling_factor")?.unwrap_or(mixture.class_scale) as f32,
        groups: groups.filter(|groups| groups.count > 1),
        shared: shared.or(integer("shared_expert_intermediate_size")?.filter(|width| *width > 0)),
        layers: (0..layers.min(LAYERS_LIMIT as usize)).map(has_experts).collect(),
    }))
}

/// A list with an entry for each layer.
fn layer_list<'a>(config: &'a Json, key: &str, layers: usize) -> Result<Option<&'a Vec<Value>>> {
    let Some(found) = config.get(key) else { return Ok(None) };
    let wrong = || config.wrong(key, found, format!("a list with an entry for each of {layers} layers"));
    found.as_array().filter(|list| list.len() == layers).map(Some).ok_or_else(wrong)
}

fn check_neutral(config: &Json, keys: &[Neutral]) -> Result<()> {
    for (key, wanted, is_neutral) in keys {
        if let Some(found) = config.get(key).filter(|found| !is_neutral(found)) {
            return Err(unsupported(config, key, found, wanted));
        }
    }
    Ok(())
}

fn scales(config: &Json, architecture: &Architecture, width: usize, head_width: usize) -> Result<Scales> {
    let number = |key: &str| config.number(key).map(|number| number.unwrap_or(1.0));
    let embedding = if architecture.scaled_embedding { (width as f64).sqrt() } else { number("embedding_multiplier")? };
    let scalar = config.number("query_pre_attn_scalar")?.or(architecture.defaults.score_scalar);
    let score = match (scalar, architecture.multipliers) {
        (Some(scalar), _) => scalar.sqrt().recip(),
        (None, true) => number("attention_multiplier")?,
        (None, false) => (head_width as f64).sqrt().recip(),
    };
    Ok(Scales {
        embedding: embedding as f32,
        score: score as f32,
        residual: number("residual_multiplier")? as f32,
        logit: number("logits_scaling")?.recip() as f32,
    })
}

/// How each layer attends: by lists with an entry for each, else by the family's rule.
fn layers_attend(config: &Json, architecture: &Architecture, layers: usize) -> Result<Vec<Attends>> {
    // A null is no window; a missing key is the family's.
    let window = match config.value.get("sliding_window") {
        None => architecture.defaults.window,
        Some(_) => config.integer("sliding_window")?.map(size),
    };
    let pattern = config.integer("sliding_window_pattern")?.map(size);
    let local = match (architecture.local, pattern) {
        (LocalLayers::AllButEvery(_), Some(count)) => LocalLayers::AllButEvery(count),
        (local, _) => local,
    };
    let interval = config.integer("no_rope_layer_interval")?.map(size);
    let unrotated = architecture.unrotated.map(|default| interval.unwrap_or(default));
    let mut attends = attends(layers, window, local, unrotated);
    let switch = config.boolean("use_sliding_window")?;
    match (switch, local, window) {
        (Some(false), ..) => attends.iter_mut().for_each(|layer| layer.window = None),
        (Some(true), ..) => {
            let first = config.integer("max_window_layers")?.map_or(0, size);
            attends.iter_mut().skip(first).for_each(|layer| layer.window = window);
        }
        (None, LocalLayers::None, Some(_)) if config.get("layer_types").is_none() => {
            return Err(unsupported(config, "sliding_window", &config.value["sliding_window"], "null"));
        }
        _ => {}
    }
    if let Some(types) = layer_list(config, "layer_types", layers)? {
        for (layer, of) in attends.iter_mut().zip(types) {
            layer.window = match of.as_str() {
                Some("full_attention") => None,
                Some("sliding_attention") if window.is_some() => window,
                _ => return Err(unsupported(config, "layer_types", of, "full_attention, and sliding_attention")),
            };
        }
    }
    if architecture.unrotated.is_some()
        && let Some(rotated) = layer_list(config, "no_rope_layers", layers)?
    {
        attends.iter_mut().zip(rotated).for_each(|(layer, rotated)| layer.rotated = rotated.as_u64() != Some(0));
    }
    Ok(attends)
}

pub(super) fn unsupported(config: &Json, key: &str, found: &Value, wanted: &str) -> Error {
    Error::Unsupported { file: config.file.clone(), key: key.into(), found: found.to_string(), wanted: wanted.into() }
}

/// The token ids that some files give under a key, each once.
fn token_ids(files: &[Option<&Json>], key: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for file in files.iter().flatten() {
        let ids = ids(file.integers(key)?, |number| file.wrong(key, number, "a token id"))?;
        let new: Vec<u32> = ids.into_iter().filter(|id| !found.contains(id)).collect();
        found.extend(new);
    }
    Ok(found)
}

fn sampling(generation: &Json) -> Result<Sampling> {
    let number = |key: &str| Ok::<_, Error>(generation.number(key)?.map(|number| number as f32));
    let greedy = generation.boolean("do_sample")? == Some(false);
    let top_k = generation.integer("top_k")?;
    Ok(Sampling {
        temperature: if greedy { Some(0.0) } else { number("temperature")? },
        top_k: top_k.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        top_p: number("top_p")?,
        min_p: number("min_p")?,
        repetition_penalty: number("repetition_penalty")?,
    })
}
