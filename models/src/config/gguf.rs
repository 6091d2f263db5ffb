//! The numbers of a model from the metadata of a GGUF file.

use plywood_kernels::route::{Gating, Groups};

use crate::architectures::{Architecture, AttentionKind, LocalLayers};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::gguf::{Array, Metadata, Value};
use crate::names::{self, Role};
use crate::weights::Conventions;

use super::experts::{self, Experts};
use super::rope::{self, Rope};
use super::{Attends, Config, LAYERS_LIMIT, Latent, Sampling, Scales, architecture, attends, ids, size};

/// Keys after the architecture's name that change the result, with the values under which they do not.
const NEUTRAL: [(&str, &[f64]); 5] = [
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.causal", &[1.0]),
    ("use_parallel_residual", &[0.0]),
    ("rope.scaling.yarn_ext_factor", &[1.0]),
];

/// The same in families without experts.
const EXPERTS: [(&str, &[f64]); 1] = [("expert_count", &[0.0])];

/// The same in families without multipliers.
const MULTIPLIERS: [(&str, &[f64]); 3] =
    [("logit_scale", &[0.0, 1.0]), ("residual_scale", &[0.0, 1.0]), ("embedding_scale", &[0.0, 1.0])];

/// The same in families without local layers.
const WINDOW: [(&str, &[f64]); 1] = [("attention.sliding_window", &[0.0])];

/// Control tokens that end a text or a turn, whether or not a file names their ids.
pub(super) const ENDS: [&str; 10] = [
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|return|>",
    "<|call|>",
    "<｜end▁of▁sentence｜>",
];

/// In gpt-oss, which has the second, the first ends only a part of an answer.
const INNER_END: (&str, &str) = ("<|end|>", "<|return|>");

/// The kinds of token (`tokenizer.ggml.token_type`) that texts are searched for first: control, and user-defined, which is
/// what Gemma's `<end_of_turn>` is in some files.
const MARKS: [u64; 2] = [3, 4];

pub(super) fn read(metadata: &Metadata, checkpoint: &Checkpoint) -> Result<Config> {
    let name = metadata.text("general.architecture")?.ok_or_else(|| metadata.missing("general.architecture"))?;
    let architecture = architecture(Conventions::Gguf, name, metadata.file.clone())?;
    let keys = Keys { metadata, prefix: name };
    keys.check_neutral(&NEUTRAL)?;
    if !architecture.multipliers {
        keys.check_neutral(&MULTIPLIERS)?;
    }
    if architecture.mixture.is_none() {
        keys.check_neutral(&EXPERTS)?;
    }
    if architecture.local == LocalLayers::None {
        keys.check_neutral(&WINDOW)?;
    }
    let width = keys.required_size("embedding_length")?;
    let heads = keys.required_size("attention.head_count")?;
    let latent = match architecture.attention {
        AttentionKind::Heads => None,
        AttentionKind::Latent => Some(Latent::of_gguf(&keys)?),
    };
    let head_width = latent.map_or_else(|| keys.head_width(width, heads), |latent| Ok(latent.head_width()))?;
    let rope = Rope::of_gguf(&keys, checkpoint, architecture, head_width)?;
    let epsilon = "attention.layer_norm_rms_epsilon";
    // Layers after the last predict further tokens, and are not run.
    let predicting_layers = keys.size("nextn_predict_layers")?.unwrap_or(0);
    let layers = keys.required_size("block_count")?.saturating_sub(predicting_layers);
    let correction = names::name(Conventions::Gguf, Role::RouterCorrection, layers.saturating_sub(1));
    let has_correction = checkpoint.tensor(&correction).is_some();
    let is_there = |role: Role| checkpoint.tensor(&names::name(Conventions::Gguf, role, 0)).is_some();
    let local_base = keys.number("rope.freq_base_swa")?.unwrap_or(rope::DEFAULT_BASE);
    Ok(Config {
        kind: Conventions::Gguf,
        architecture,
        layers,
        local_rope: Rope::plain(local_base, rope.rotated),
        attends: keys.attends(architecture, layers)?,
        scales: keys.scales(architecture, layers, width, heads, head_width)?.of_latent(latent, &rope),
        score_cap: keys.positive("attn_logit_softcapping")?,
        logit_cap: keys.positive("final_logit_softcapping")?,
        biases: architecture.biases || [Role::QueryBias, Role::KeyBias, Role::ValueBias].into_iter().any(is_there),
        feed_forward_biases: !architecture.fused
            && [Role::GateBias, Role::UpBias, Role::DownBias].into_iter().any(is_there),
        width,
        heads,
        kv_heads: match latent {
            None => keys.size("attention.head_count_kv")?.unwrap_or(heads),
            Some(_) => 1,
        },
        head_width,
        latent,
        predicting_layers,
        feed_forward: keys.required_size("feed_forward_length")?,
        experts: keys.experts(architecture, layers, has_correction)?,
        vocabulary: keys.vocabulary()?,
        norm_epsilon: keys.number(epsilon)?.ok_or_else(|| keys.missing(epsilon))? as f32,
        rope,
        tied: !is_there(Role::Output),
        context: keys.required_size("context_length")?,
        bos: bos(metadata)?,
        ends: ends(metadata)?,
        sampling: sampling(metadata)?,
    })
}

/// The keys that begin with the architecture's name.
pub(super) struct Keys<'a> {
    pub metadata: &'a Metadata,
    pub prefix: &'a str,
}

impl Keys<'_> {
    pub fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    pub fn missing(&self, key: &str) -> Error {
        self.metadata.missing(&self.full(key))
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.metadata.number(&self.full(key))
    }

    /// A count; an array that says the same for every layer is one too.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        let key = self.full(key);
        if !matches!(self.metadata.get(&key), Some(Value::Array(_))) {
            return Ok(self.metadata.integer(&key)?.map(size));
        }
        let counts = self.metadata.integers(&key)?.unwrap_or_default();
        match counts.first() {
            Some(first) if counts.iter().all(|count| count == first) => Ok(Some(size(*first))),
            _ => Err(Error::Unsupported {
                file: self.metadata.file.clone(),
                key,
                found: "different from layer to layer".into(),
                wanted: "the same in all".into(),
            }),
        }
    }

    fn required_size(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.missing(key))
    }

    pub fn unsupported(&self, key: &str, found: impl ToString, wanted: &str) -> Error {
        Error::Unsupported {
            file: self.metadata.file.clone(),
            key: self.full(key),
            found: found.to_string(),
            wanted: wanted.into(),
        }
    }

    fn check_neutral(&self, keys: &[(&str, &[f64])]) -> Result<()> {
        for (key, neutral) in keys {
            let Some(value) = self.metadata.get(&self.full(key)) else { continue };
            let number = match value {
                Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
                other => other.as_f64(),
            };
            if !number.is_some_and(|number| neutral.contains(&number)) {
                return Err(self.unsupported(key, value, &format!("{neutral:?} or nothing")));
            }
        }
        Ok(())
    }

    /// A number, where it is not 0, which stands for nothing.
    pub fn positive(&self, key: &str) -> Result<Option<f32>> {
        Ok(self.number(key)?.filter(|number| *number != 0.0).map(|number| number as f32))
    }

    fn attends(&self, architecture: &Architecture, layers: usize) -> Result<Vec<Attends>> {
        let window = self.size("attention.sliding_window")?.filter(|window| *window > 0);
        let local = match (architecture.local, self.size("attention.sliding_window_pattern")?) {
            (LocalLayers::AllButEvery(_), Some(count)) => LocalLayers::AllButEvery(count),
            (local, _) => local,
        };
        Ok(attends(layers, window, local, architecture.unrotated))
    }

    fn scales(
        &self,
        architecture: &Architecture,
        layers: usize,
        width: usize,
        heads: usize,
        head_width: usize,
    ) -> Result<Scales> {
        let of = if architecture.scale_by_width == Some(layers) { width / heads.max(1) } else { head_width };
        let embedding = if architecture.scaled_embedding { (width as f32).sqrt() } else { 1.0 };
        Ok(Scales {
            embedding: self.positive("embedding_scale")?.unwrap_or(embedding),
            score: self.positive("attention.scale")?.unwrap_or((of as f64).sqrt().recip() as f32),
            residual: self.positive("residual_scale")?.unwrap_or(1.0),
            logit: self.positive("logit_scale")?.map_or(1.0, f32::recip),
        })
    }

    fn head_width(&self, width: usize, heads: usize) -> Result<usize> {
        let keys = self.size("attention.key_length")?;
        let values = self.size("attention.value_length")?;
        match (keys, values) {
            (Some(keys), Some(values)) if keys != values => {
                Err(self.unsupported("attention.value_length", values, &format!("the key length, {keys}")))
            }
            (Some(given), _) | (None, Some(given)) => Ok(given),
            (None, None) if heads > 0 && width.is_multiple_of(heads) => Ok(width / heads),
            (None, None) => {
                let wanted = format!("a divisor of the embedding length, {width}");
                Err(self.metadata.wrong(&self.full("attention.head_count"), heads, wanted))
            }
        }
    }

    /// The settings of a mixture of experts, in a family that may have one.
    fn experts(&self, architecture: &Architecture, layers: usize, has_correction: bool) -> Result<Option<Experts>> {
        let Some(mixture) = architecture.mixture else { return Ok(None) };
        let Some(count) = self.size("expert_count")?.filter(|count| *count > 0) else { return Ok(None) };
        let width = match self.size("expert_feed_forward_length")? {
            Some(width) => width,
            None => self.required_size("feed_forward_length")?,
        };
        let key = "expert_gating_func";
        let gating = match self.size(key)? {
            // DeepSeek-V3's correction goes with another function than the one of older files, which do not say it.
            None | Some(0) if has_correction => return Err(self.missing(key)),
            None | Some(0) => mixture.gating,
            Some(1) => Gating::Softmax,
            Some(2) => Gating::Sigmoid,
            Some(other) => return Err(self.unsupported(key, other, "1 and 2")),
        };
        let groups = match (self.size("expert_group_count")?, self.size("expert_group_used_count")?) {
            (None | Some(0 | 1), _) => None,
            (Some(count), Some(kept)) => Some(Groups { count, kept, best: experts::best_of_group(gating) }),
            (Some(_), None) => return Err(self.missing("expert_group_used_count")),
        };
        let normalised = self.metadata.boolean(&self.full("expert_weights_norm"))?;
        let shared = self.size("expert_shared_count")?.map(|count| count.saturating_mul(width));
        let shared = self.size("expert_shared_feed_forward_length")?.or(shared);
        let first = self.size("leading_dense_block_count")?.unwrap_or(0);
        Ok(Some(Experts {
            count,
            chosen: self.required_size("expert_used_count")?,
            width,
            gating,
            normalised: normalised.unwrap_or(mixture.gguf_normalised),
            scale: self.positive("expert_weights_scale")?.unwrap_or(1.0),
            groups,
            shared: shared.filter(|width| *width > 0),
            layers: (0..layers.min(LAYERS_LIMIT as usize)).map(|layer| layer >= first).collect(),
        }))
    }

    /// Rows of the embedding: as the file says, else as many as there are tokens.
    fn vocabulary(&self) -> Result<usize> {
        let tokens = match self.metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Array(Array::String(tokens))) => Some(tokens.len()),
            _ => None,
        };
        self.size("vocab_size")?.or(tokens).ok_or_else(|| self.missing("vocab_size"))
    }
}

fn bos(metadata: &Metadata) -> Result<Option<u32>> {
    let key = "tokenizer.ggml.bos_token_id";
    let found = ids(metadata.integer(key)?, |found| metadata.wrong(key, found, "a token id"))?;
    Ok(found.first().copied())
}

/// The ids that the file names as ends, and control tokens that are known as such.
fn ends(metadata: &Metadata) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for key in ["eos", "eot", "eom"] {
        numbers.extend(metadata.integer(&format!("tokenizer.ggml.{key}_token_id"))?);
    }
    let kinds = metadata.integers("tokenizer.ggml.token_type")?.unwrap_or_default();
    let tokens = metadata.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    let has_inner_end = tokens.iter().any(|token| token == INNER_END.1);
    let ends = |token: &str| ENDS.contains(&token) && !(has_inner_end && token == INNER_END.0);
    let marks = tokens.iter().zip(kinds).enumerate();
    let marks = marks.filter(|(_, (token, kind))| MARKS.contains(kind) && ends(token)).map(|(id, _)| id as u64);
    numbers.extend(marks);
    ids(numbers, |found| metadata.wrong("tokenizer.ggml.eos_token_id", found, "a token id"))
}

fn sampling(metadata: &Metadata) -> Result<Sampling> {
    let number = |key: &str| Ok::<_, Error>(metadata.number(&format!("general.sampling.{key}"))?.map(|n| n as f32));
    let top_k = metadata.integer("general.sampling.top_k")?;
    Ok(Sampling {
        temperature: number("temp")?,
        top_k: top_k.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        top_p: number("top_p")?,
        min_p: number("min_p")?,
        repetition_penalty: number("penalty_repeat")?,
    })
}
