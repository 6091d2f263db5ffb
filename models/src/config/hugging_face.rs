//! The numbers of a model from `config.json` and `generation_config.json`.

use serde_json::Value;

use crate::checkpoint::Kind;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::packed;

use super::{Config, Rope, Sampling, Scaling, architecture, ids, size};

/// What `LlamaConfig` of transformers takes where a file says nothing.
const DEFAULT_ROPE_BASE: f64 = 10_000.0;
const DEFAULT_NORM_EPSILON: f64 = 1e-6;
const DEFAULT_CONTEXT: u64 = 2048;

/// Keys that change the result, how the values under which they do not are called, and a test for these.
type Neutral = (&'static str, &'static str, fn(&Value) -> bool);
const NEUTRAL: [Neutral; 11] = [
    ("attention_bias", "false", is_false),
    ("mlp_bias", "false", is_false),
    ("hidden_act", "silu", |value| matches!(value.as_str(), Some("silu" | "swish"))),
    ("sliding_window", "null", Value::is_null),
    ("partial_rotary_factor", "1", is_one),
    ("num_local_experts", "0", |value| value.as_u64() == Some(0)),
    ("logits_scaling", "1", is_one),
    ("embedding_multiplier", "1", is_one),
    ("residual_multiplier", "1", is_one),
    ("clip_qkv", "null", Value::is_null),
    ("layer_types", "full_attention", |value| {
        value.as_array().is_some_and(|types| types.iter().all(|layer| layer.as_str() == Some("full_attention")))
    }),
];

fn is_false(value: &Value) -> bool {
    value.as_bool() == Some(false)
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

pub(super) fn read(config: &Json, generation: Option<&Json>) -> Result<Config> {
    let class = config.get("architectures").and_then(|classes| classes.get(0)).and_then(Value::as_str);
    let class = class.ok_or_else(|| config.missing("architectures"))?;
    let architecture = architecture(Kind::HuggingFace, class, config.file.clone())?;
    for (key, wanted, is_neutral) in NEUTRAL {
        if let Some(found) = config.get(key).filter(|found| !is_neutral(found)) {
            return Err(unsupported(config, key, found, wanted));
        }
    }
    packed::check_method(config)?;
    let required = |key: &str| config.integer(key)?.map(size).ok_or_else(|| config.missing(key));
    let width = required("hidden_size")?;
    let heads = required("num_attention_heads")?;
    let head_width = match config.integer("head_dim")? {
        Some(given) => size(given),
        None if heads > 0 && width.is_multiple_of(heads) => width / heads,
        None => {
            return Err(config.wrong("num_attention_heads", heads, format!("a divisor of hidden_size, {width}")));
        }
    };
    Ok(Config {
        kind: Kind::HuggingFace,
        architecture,
        layers: required("num_hidden_layers")?,
        width,
        heads,
        kv_heads: config.integer("num_key_value_heads")?.map_or(heads, size),
        head_width,
        feed_forward: required("intermediate_size")?,
        vocabulary: required("vocab_size")?,
        norm_epsilon: config.number("rms_norm_eps")?.unwrap_or(DEFAULT_NORM_EPSILON) as f32,
        rope: rope(config, head_width)?,
        tied: config.boolean("tie_word_embeddings")?.unwrap_or(false),
        context: size(config.integer("max_position_embeddings")?.unwrap_or(DEFAULT_CONTEXT)),
        bos: token_ids(&[Some(config), generation], "bos_token_id")?.first().copied(),
        ends: token_ids(&[Some(config), generation], "eos_token_id")?,
        sampling: generation.map_or(Ok(Sampling::default()), sampling)?,
    })
}

fn unsupported(config: &Json, key: &str, found: &Value, wanted: &str) -> Error {
    Error::Unsupported { file: config.file.clone(), key: key.into(), found: found.to_string(), wanted: wanted.into() }
}

/// RoPE's settings: at the top and in `rope_scaling`, or all in `rope_parameters` as transformers 5 writes them.
fn rope(config: &Json, head_width: usize) -> Result<Rope> {
    let parameters = config.section("rope_parameters")?;
    let section = parameters.clone().or(config.section("rope_scaling")?);
    let base = match parameters.as_ref().map(|section| section.number("rope_theta")).transpose()?.flatten() {
        Some(base) => base,
        None => config.number("rope_theta")?.unwrap_or(DEFAULT_ROPE_BASE),
    };
    let scaling = section.as_ref().map_or(Ok(Scaling::None), scaling)?;
    Ok(Rope { base, rotated: head_width, scaling })
}

fn scaling(section: &Json) -> Result<Scaling> {
    let required = |key: &str| section.number(key)?.ok_or_else(|| section.missing(key));
    if let Some(found) = section.get("partial_rotary_factor").filter(|found| !is_one(found)) {
        return Err(unsupported(section, "partial_rotary_factor", found, "1"));
    }
    let key = if section.get("rope_type").is_some() { "rope_type" } else { "type" };
    match section.text(key)? {
        None | Some("default") => Ok(Scaling::None),
        Some("linear") => Ok(Scaling::Linear(required("factor")?)),
        Some("llama3") => Ok(Scaling::Llama3 {
            factor: required("factor")?,
            low: required("low_freq_factor")?,
            high: required("high_freq_factor")?,
            original: required("original_max_position_embeddings")?,
        }),
        Some(_) => Err(unsupported(section, key, &section.value[key], "default, linear and llama3")),
    }
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
