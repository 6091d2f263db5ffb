//! A Hugging Face directory as a GGUF file: names, the order of rows, settings and vocabulary, as llama.cpp's converter
//! (`convert_hf_to_gguf.py`) gives them.

use std::path::Path;

use plywood_kernels::formats::F32;
use plywood_kernels::rope::Pairing;

use crate::architectures;
use crate::checkpoint::Checkpoint;
use crate::config::{Config, Rope, Scaling};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value};
use crate::names::{self, Role};
use crate::tokenizer;
use crate::transformer;
use crate::weights::{Conventions, Weights};

use super::settings;
use super::source::{Content, GgufModel, Tensor};

/// The model of a directory, by the conventions of GGUF files.
pub fn convert(checkpoint: Checkpoint) -> Result<GgufModel> {
    let config = Config::of(&checkpoint)?;
    if config.architecture.name != architectures::ALL[0].name
        || config.biases
        || config.feed_forward_biases
        || config.experts.is_some()
        || config.attends.iter().any(|layer| layer.window.is_some())
        || !is_told(&config.rope)
    {
        return Err(Error::NotConverted { class: config.architecture.class.into() });
    }
    // The graph says that every tensor is there, of the right shape, and that none is left over.
    transformer::build(&checkpoint, &config, 1)?;
    let mut entries = settings::entries(&config);
    entries.push(("general.name".into(), Value::String(name(checkpoint.path()))));
    entries.extend(tokenizer::conversion::entries(checkpoint.path(), &config)?);
    let metadata = Metadata { file: checkpoint.path().into(), entries: entries.into_iter().collect() };
    let mut tensors = roles(&config)
        .map(|(role, layer)| tensor(&checkpoint, &config, role, layer))
        .collect::<Result<Vec<Tensor>>>()?;
    tensors.extend(rope_factors(&config.rope));
    Ok(GgufModel { checkpoint, metadata, tensors })
}

/// The last part of a path.
fn name(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.into());
    path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

/// What a model has tensors for, with their layers, in the order of use.
fn roles(config: &Config) -> impl Iterator<Item = (Role, usize)> {
    const LAYER: [Role; 9] = [
        Role::AttentionNorm,
        Role::Query,
        Role::Key,
        Role::Value,
        Role::AttentionOutput,
        Role::FeedForwardNorm,
        Role::Gate,
        Role::Up,
        Role::Down,
    ];
    let layers = (0..config.layers).flat_map(|layer| LAYER.map(|role| (role, layer)));
    let output = (!config.tied).then_some((Role::Output, 0));
    [(Role::Embedding, 0)].into_iter().chain(layers).chain([(Role::OutputNorm, 0)]).chain(output)
}

fn tensor(checkpoint: &Checkpoint, config: &Config, role: Role, layer: usize) -> Result<Tensor> {
    let name = names::name(Conventions::HuggingFace, role, layer);
    let index = checkpoint.tensor(&name).ok_or(Error::MissingTensor { tensor: name })?;
    let info = &checkpoint.tensors()[index];
    let turned =
        config.architecture.class_pairing == Pairing::Halves && config.architecture.gguf_pairing == Pairing::Adjacent;
    let content = match role {
        Role::Query if turned => Content::Halves { tensor: index, heads: config.heads },
        Role::Key if turned => Content::Halves { tensor: index, heads: config.kv_heads },
        _ => Content::Stored(index),
    };
    let (name, shape) = (names::name(Conventions::Gguf, role, layer), info.shape.clone());
    Ok(Tensor { name, shape, format: info.format()?, content })
}

/// Whether RoPE's settings are among those that are written.
fn is_told(rope: &Rope) -> bool {
    matches!(rope.scaling, Scaling::None | Scaling::Linear(_) | Scaling::Llama3 { .. }) && rope.temperature.is_none()
}

/// What RoPE's frequencies are divided by, where the settings of GGUF files cannot say it.
fn rope_factors(rope: &Rope) -> Option<Tensor> {
    let Scaling::Llama3 { .. } = rope.scaling else { return None };
    let plain = Rope { scaling: Scaling::None, ..rope.clone() };
    let pairs = plain.inverse_frequencies().into_iter().zip(rope.inverse_frequencies());
    let factors: Vec<f32> = pairs.map(|(plain, scaled)| (plain / scaled) as f32).collect();
    Some(Tensor {
        name: names::name(Conventions::Gguf, Role::RopeFactors, 0),
        shape: vec![factors.len()],
        format: F32,
        content: Content::Made(factors.iter().flat_map(|factor| factor.to_le_bytes()).collect()),
    })
}
