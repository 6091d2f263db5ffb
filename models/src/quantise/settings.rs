//! The numbers of a model as the metadata of a GGUF file: what `config/gguf.rs` reads, written.

use crate::config::{Config, Sampling, Scaling};
use crate::gguf::Value;

/// The settings of a model, without its name and vocabulary.
pub fn entries(config: &Config) -> Vec<(String, Value)> {
    let size = |number: usize| Value::U32(number as u32);
    let prefix = config.architecture.name;
    let mut entries = vec![
        ("general.architecture".into(), text(prefix)),
        ("general.type".into(), text("model")),
        (format!("{prefix}.block_count"), size(config.layers)),
        (format!("{prefix}.context_length"), size(config.context)),
        (format!("{prefix}.embedding_length"), size(config.width)),
        (format!("{prefix}.feed_forward_length"), size(config.feed_forward)),
        (format!("{prefix}.attention.head_count"), size(config.heads)),
        (format!("{prefix}.attention.head_count_kv"), size(config.kv_heads)),
        (format!("{prefix}.attention.key_length"), size(config.head_width)),
        (format!("{prefix}.attention.value_length"), size(config.head_width)),
        (format!("{prefix}.attention.layer_norm_rms_epsilon"), Value::F32(config.norm_epsilon)),
        (format!("{prefix}.rope.freq_base"), Value::F32(config.rope.base as f32)),
        (format!("{prefix}.rope.dimension_count"), size(config.rope.rotated)),
        (format!("{prefix}.vocab_size"), size(config.vocabulary)),
    ];
    // Scaling as Llama 3 has it is told by a tensor of factors instead.
    if let Scaling::Linear(factor) = config.rope.scaling {
        entries.push((format!("{prefix}.rope.scaling.type"), text("linear")));
        entries.push((format!("{prefix}.rope.scaling.factor"), Value::F32(factor as f32)));
    }
    if let Some(experts) = &config.experts {
        entries.push((format!("{prefix}.expert_count"), size(experts.count)));
        entries.push((format!("{prefix}.expert_used_count"), size(experts.chosen)));
    }
    entries.extend(sampling(&config.sampling));
    entries
}

/// What the model's makers say about sampling, by the keys of llama.cpp's converter.
fn sampling(sampling: &Sampling) -> impl Iterator<Item = (String, Value)> {
    let count = |count: u32| Value::I32(i32::try_from(count).unwrap_or(i32::MAX));
    let values = [
        ("temp", sampling.temperature.map(Value::F32)),
        ("top_k", sampling.top_k.map(count)),
        ("top_p", sampling.top_p.map(Value::F32)),
        ("min_p", sampling.min_p.map(Value::F32)),
        ("penalty_repeat", sampling.repetition_penalty.map(Value::F32)),
    ];
    values.into_iter().filter_map(|(key, value)| Some((format!("general.sampling.{key}"), value?)))
}

/// A string as a value.
pub fn text(text: &str) -> Value {
    Value::String(text.into())
}
