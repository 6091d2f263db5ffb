//! A model's numbers, from the metadata of a GGUF file or from `config.json`: one [`Config`] for both.
//!
//! A setting that would change the result and that this build cannot follow is refused, never ignored.

mod experts;
mod gguf;
mod hugging_face;
mod latent;
mod rope;

use std::path::PathBuf;

use plywood_kernels::grouped_matmul::MAX_MATRICES;

use crate::architectures::{self, Architecture, LocalLayers};
use crate::checkpoint::{Checkpoint, Settings};
use crate::error::{Error, Result};
use crate::weights::Conventions;

pub use self::experts::Experts;
pub use self::latent::Latent;
pub use self::rope::{Factors, Rope, Scaling};

/// The largest sizes that are believed: layers, and elements or rows of anything else.
const LAYERS_LIMIT: u64 = 1 << 12;
const SIZE_LIMIT: u64 = 1 << 21;
const VOCABULARY_LIMIT: u64 = 1 << 24;
/// The attention kernels give each 4 elements of a head an invocation, of which every device has 256.
const HEAD_LIMIT: u64 = 1024;
const CONTEXT_LIMIT: u64 = 1 << 28;

/// The numbers of a model.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which conventions its files follow.
    pub kind: Conventions,
    /// Its family.
    pub architecture: &'static Architecture,
    /// Layers.
    pub layers: usize,
    /// Elements of the residual stream.
    pub width: usize,
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of a head, a multiple of 4.
    pub head_width: usize,
    /// The widths of latent attention, in families that have it: `kv_heads` is 1 then.
    pub latent: Option<Latent>,
    /// Layers after the last that predict further tokens: their tensors are left alone.
    pub predicting_layers: usize,
    /// Elements inside the feed-forward.
    pub feed_forward: usize,
    /// What layers have in place of one feed-forward, if any do.
    pub experts: Option<Experts>,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Added to the mean square in norms.
    pub norm_epsilon: f32,
    /// How positions rotate queries and keys.
    pub rope: Rope,
    /// The same in local layers.
    pub local_rope: Rope,
    /// Of each layer, how it attends.
    pub attends: Vec<Attends>,
    /// What numbers are multiplied by on their way.
    pub scales: Scales,
    /// What bounds the scores of attention softly.
    pub score_cap: Option<f32>,
    /// What bounds the logits softly.
    pub logit_cap: Option<f32>,
    /// Whether queries, keys and values have biases.
    pub biases: bool,
    /// Whether the feed-forward of layers without experts has biases.
    pub feed_forward_biases: bool,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
    /// The longest sequence that the model was made for, in tokens.
    pub context: usize,
    /// The token that begins a text, if the model has one.
    pub bos: Option<u32>,
    /// The tokens that end a text.
    pub ends: Vec<u32>,
    /// What the model's makers say about sampling.
    pub sampling: Sampling,
}

/// How a layer attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attends {
    /// How many tokens a token sees, itself among them, in a local layer; `None` in one that sees all.
    pub window: Option<usize>,
    /// Whether queries and keys are rotated by their positions.
    pub rotated: bool,
}

/// What numbers are multiplied by on their way through a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// The embedding.
    pub embedding: f32,
    /// The scores of attention.
    pub score: f32,
    /// What is added to the residual stream.
    pub residual: f32,
    /// The logits.
    pub logit: f32,
}

impl Scales {
    /// The same with the scale that latent attention's scores have, with the factor that yarn gives them.
    fn of_latent(self, latent: Option<Latent>, rope: &Rope) -> Scales {
        let Some(latent) = latent else { return self };
        let scale = rope.score_factor() / (latent.head_width() as f64).sqrt();
        Scales { score: scale as f32, ..self }
    }
}

/// Sampling parameters that a model brings; `None` where it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sampling {
    /// Temperature; 0 where the model asks for greedy decoding.
    pub temperature: Option<f32>,
    /// How many candidates are kept; 0 is all.
    pub top_k: Option<u32>,
    /// The probability mass that is kept.
    pub top_p: Option<f32>,
    /// The smallest probability that is kept, as a share of the largest.
    pub min_p: Option<f32>,
    /// What the logits of recent tokens are divided by.
    pub repetition_penalty: Option<f32>,
}

impl Config {
    /// The numbers of an opened model.
    pub fn of(checkpoint: &Checkpoint) -> Result<Config> {
        let config = match checkpoint.settings() {
            Settings::Gguf(metadata) => gguf::read(metadata, checkpoint)?,
            Settings::HuggingFace { config: Some(config), generation } => {
                hugging_face::read(config, generation.as_ref())?
            }
            Settings::HuggingFace { config: None, .. } => {
                return Err(Error::NotAModel {
                    path: checkpoint.path().into(),
                    reason: "there is no config.json in it, so that it can only tokenize".into(),
                });
            }
        };
        config.check(checkpoint)?;
        Ok(config)
    }

    /// The family as the files name it, whether it is known or not.
    pub fn family(checkpoint: &Checkpoint) -> Option<&str> {
        match checkpoint.settings() {
            Settings::Gguf(metadata) => metadata.text("general.architecture").ok().flatten(),
            Settings::HuggingFace { config, .. } => hugging_face::class(config.as_ref()?),
        }
    }

    /// Whether a control token of this text ends a text or a turn without being named as such.
    pub(crate) fn is_known_end(token: &str) -> bool {
        gguf::ENDS.contains(&token)
    }

    /// Checks that the numbers fit together and are of a size that exists.
    fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        let file = match checkpoint.settings() {
            Settings::HuggingFace { config: Some(config), .. } => &config.file,
            _ => checkpoint.path(),
        };
        let wrong = |key: &str, found: String, wanted: String| {
            Err(Error::WrongValue { file: file.into(), key: key.into(), found, wanted })
        };
        let sizes = [
            ("the number of layers", self.layers, LAYERS_LIMIT),
            ("the width", self.width, SIZE_LIMIT),
            ("the number of heads", self.heads, SIZE_LIMIT),
            ("the number of key/value heads", self.kv_heads, SIZE_LIMIT),
            ("the head width", self.head_width, HEAD_LIMIT),
            ("the feed-forward width", self.feed_forward, SIZE_LIMIT),
            ("the vocabulary", self.vocabulary, VOCABULARY_LIMIT),
            ("the context length", self.context, CONTEXT_LIMIT),
            ("the number of heads times their width", self.heads.saturating_mul(self.head_width), SIZE_LIMIT),
        ];
        for (key, found, limit) in sizes {
            if found == 0 || found as u64 > limit {
                return wrong(key, found.to_string(), format!("from 1 to {limit}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let wanted = format!("a multiple of the number of key/value heads, {}", self.kv_heads);
            return wrong("the number of heads", self.heads.to_string(), wanted);
        }
        if !self.head_width.is_multiple_of(4) {
            return wrong("the head width", self.head_width.to_string(), "a multiple of 4".into());
        }
        if let Some((key, found, wanted)) = self.latent.and_then(|latent| latent.check(self.heads, &self.rope)) {
            return wrong(key, found, wanted);
        }
        if let Some(bos) = self.bos.filter(|bos| *bos as usize >= self.vocabulary) {
            return wrong("the id of BOS", bos.to_string(), format!("below the vocabulary, {}", self.vocabulary));
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon >= 0.0) {
            return wrong("the norms' epsilon", self.norm_epsilon.to_string(), "a number from 0 on".into());
        }
        let caps = [("attn_logit_softcapping", self.score_cap), ("final_logit_softcapping", self.logit_cap)];
        let scales = [
            ("the embedding's scale", Some(self.scales.embedding)),
            ("the scale of scores", Some(self.scales.score)),
            ("the scale of residuals", Some(self.scales.residual)),
            ("the scale of logits", Some(self.scales.logit)),
        ];
        for (key, number) in caps.into_iter().chain(scales) {
            if let Some(number) = number.filter(|number| !(number.is_finite() && *number > 0.0)) {
                return wrong(key, number.to_string(), "a number above 0".into());
            }
        }
        if self.attends.iter().any(|attends| attends.window == Some(0)) {
            return wrong("the window of attention", "0".into(), "above 0".into());
        }
        self.rope.check(self.head_width, wrong)?;
        self.local_rope.check(self.head_width, wrong)?;
        if let Some((key, found, wanted)) =
            self.experts.as_ref().and_then(|experts| experts.check(SIZE_LIMIT, MAX_MATRICES))
        {
            return wrong(key, found, wanted);
        }
        self.check_sampling(file.into())
    }

    fn check_sampling(&self, file: PathBuf) -> Result<()> {
        let sampling = &self.sampling;
        let ranges = [
            ("temperature", sampling.temperature, 0.0..=f32::MAX),
            ("top_p", sampling.top_p, 0.0..=1.0),
            ("min_p", sampling.min_p, 0.0..=1.0),
            ("repetition_penalty", sampling.repetition_penalty, f32::MIN_POSITIVE..=f32::MAX),
        ];
        for (key, found, range) in ranges {
            if let Some(found) = found.filter(|found| !range.contains(found)) {
                let wanted = format!("from {} to {}", range.start(), range.end());
                return Err(Error::WrongValue { file, key: key.into(), found: found.to_string(), wanted });
            }
        }
        Ok(())
    }
}

/// How layers attend: local ones by a rule of the family, and those without rotation at an interval.
fn attends(layers: usize, window: Option<usize>, local: LocalLayers, unrotated: Option<usize>) -> Vec<Attends> {
    let is_local = |layer: usize| match local {
        LocalLayers::None => false,
        LocalLayers::All => true,
        LocalLayers::AllButEvery(count) => count == 0 || !(layer + 1).is_multiple_of(count),
    };
    // A number of layers that is beyond belief is refused later.
    (0..layers.min(LAYERS_LIMIT as usize))
        .map(|layer| Attends {
            window: window.filter(|_| is_local(layer)),
            rotated: unrotated.is_none_or(|count| count == 0 || !(layer + 1).is_multiple_of(count)),
        })
        .collect()
}

/// The family of this name, or an error that lists those known.
fn architecture(kind: Conventions, name: &str, file: PathBuf) -> Result<&'static Architecture> {
    Architecture::find(kind, name).ok_or_else(|| Error::UnknownArchitecture {
        file,
        name: name.into(),
        known: architectures::known(kind),
    })
}

/// A count as the machine has it; one that does not fit is too large for [`Config::check`] too.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Token ids, of which those that are no ids are refused by `wrong`.
fn ids(numbers: impl IntoIterator<Item = u64>, wrong: impl Fn(u64) -> Error) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for number in numbers {
        let id = u32::try_from(number).map_err(|_| wrong(number))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}
