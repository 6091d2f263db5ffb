//! Rotary position embedding: its settings, from both kinds of files, and the frequencies that follow from them.
//!
//! The formulas are those of `modeling_rope_utils.py` in transformers; `models/tests/families/README.md` writes them out.

use std::f64::consts::TAU;

use plywood_kernels::temperature::Temperature;
use serde_json::Value;

use super::gguf::Keys;
use super::hugging_face::unsupported;
use super::size;
use crate::architectures::{Architecture, LogMultiplier};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::names::{self, Role};
use crate::weights::Conventions;

/// RoPE's base where a GGUF file says nothing, and that of local layers with one of their own.
pub(super) const DEFAULT_BASE: f64 = 10_000.0;

/// Turns in the original context above which yarn keeps frequencies, and below which it divides them, where files do not say.
const YARN_FAST: f64 = 32.0;
const YARN_SLOW: f64 = 1.0;

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the frequencies (theta).
    pub base: f64,
    /// Elements of a head that are rotated, an even number.
    pub rotated: usize,
    /// How frequencies are changed for longer texts.
    pub scaling: Scaling,
    /// What cosines and sines are multiplied by.
    pub magnitude: f64,
    /// How queries grow with their positions after they rotated, if they do.
    pub temperature: Option<Temperature>,
}

/// How RoPE's frequencies are changed for texts longer than those trained on first.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All divided by a factor.
    Linear(f64),
    /// Low ones divided by a factor, high ones kept, those between blended.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// Frequencies are low below this many turns in the original context.
        low: f64,
        /// They are high above this many turns.
        high: f64,
        /// The original context, in tokens.
        original: f64,
    },
    /// The same, blended evenly over pairs of elements rather than turns (<https://arxiv.org/abs/2309.00071>).
    Yarn {
        /// What low frequencies are divided by.
        factor: f64,
        /// The original context, in tokens.
        original: f64,
        /// Frequencies are high above this many turns in it.
        fast: f64,
        /// They are low below this many turns.
        slow: f64,
        /// Whether blending begins and ends at whole pairs.
        truncated: bool,
        /// `mscale_all_dim`, by which some families scale their scores too; 0 where files do not say.
        mscale_all: f64,
    },
    /// Each divided by a factor of its own, all of a sequence by others once it is longer than the original context
    /// (LongRoPE, <https://arxiv.org/abs/2402.13753>).
    Long {
        /// The original context, in tokens.
        original: usize,
        /// The factors; `None` where the file has them as tensors.
        factors: Option<Factors>,
    },
}

/// What LongRoPE divides each of `rotated / 2` frequencies by.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// In sequences up to the original context.
    pub short: Vec<f64>,
    /// In longer ones.
    pub long: Vec<f64>,
}

impl Rope {
    /// Without any scaling.
    pub fn plain(base: f64, rotated: usize) -> Rope {
        Rope { base, rotated, scaling: Scaling::None, magnitude: 1.0, temperature: None }
    }

    /// The angle by which each of `rotated / 2` pairs is rotated from a position to the next, before LongRoPE's factors.
    pub fn inverse_frequencies(&self) -> Vec<f64> {
        let plain = (0..self.rotated / 2).map(|pair| self.base.powf(-((2 * pair) as f64) / self.rotated as f64));
        match self.scaling {
            Scaling::None | Scaling::Long { .. } => plain.collect(),
            Scaling::Linear(factor) => plain.map(|frequency| frequency / factor).collect(),
            Scaling::Llama3 { factor, low, high, original } => {
                let kept = |frequency: f64| (original * frequency / TAU - low) / (high - low);
                plain.map(|frequency| blended(frequency, factor, kept(frequency))).collect()
            }
            Scaling::Yarn { factor, original, fast, slow, truncated, .. } => {
                // The pair, as a fraction, that makes this many turns in the original context.
                let pair = |turns: f64| self.rotated as f64 * (original / (TAU * turns)).ln() / (2.0 * self.base.ln());
                let (first, last) = (pair(fast), pair(slow));
                let (first, last) = if truncated { (first.floor(), last.ceil()) } else { (first, last) };
                let (first, last) = (first.max(0.0), last.min((self.rotated - 1) as f64));
                let span = if first == last { 0.001 } else { last - first };
                let kept = |pair: usize| 1.0 - (pair as f64 - first) / span;
                plain.enumerate().map(|(pair, frequency)| blended(frequency, factor, kept(pair))).collect()
            }
        }
    }

    /// What DeepSeek's attention multiplies its scores by, for yarn.
    pub fn score_factor(&self) -> f64 {
        match self.scaling {
            Scaling::Yarn { factor, mscale_all, .. } => yarn_magnitude(factor, mscale_all).powi(2),
            _ => 1.0,
        }
    }

    /// The settings of a directory for heads of which this many elements may be rotated: at the top and in `rope_scaling`, or all in
    /// `rope_parameters` as transformers 5 writes them.
    pub(super) fn of_directory(config: &Json, architecture: &Architecture, elements: usize) -> Result<Rope> {
        let mut section = config.section("rope_parameters")?.or(config.section("rope_scaling")?);
        if let Some(global) = section.as_ref().map(|section| section.section("full_attention")).transpose()?.flatten() {
            section = Some(global);
        }
        let number = |key: &str| match section.as_ref().map(|section| section.number(key)).transpose()?.flatten() {
            Some(found) => Ok(Some(found)),
            None => config.number(key),
        };
        let base = number("rope_theta")?.unwrap_or(architecture.defaults.rope_base);
        let share = number("partial_rotary_factor")?;
        let rotated = (elements as f64 * share.unwrap_or(1.0)) as usize;
        let plain = Rope::plain(base, rotated);
        match &section {
            Some(section) => Directory { config, section }.scaled(plain),
            None => Ok(plain),
        }
    }

    /// The same of local layers, which are rotated by a base of their own.
    pub(super) fn local_of_directory(config: &Json, rotated: usize) -> Result<Rope> {
        let parameters = config.section("rope_parameters")?;
        let section = parameters.map(|section| section.section("sliding_attention")).transpose()?.flatten();
        let Some(section) = section else {
            let base = config.number("rope_local_base_freq")?.unwrap_or(DEFAULT_BASE);
            return Ok(Rope::plain(base, rotated));
        };
        let base = section.number("rope_theta")?.ok_or_else(|| section.missing("rope_theta"))?;
        let directory = Directory { config, section: &section };
        match directory.scaled(Rope::plain(base, rotated))? {
            // Graphs know one length above which sequences are long, and one pair of tables.
            Rope { scaling: Scaling::Long { .. }, .. } => {
                Err(section.wrong("rope_type", "longrope", "another in local layers"))
            }
            rope => Ok(rope),
        }
    }

    /// The settings of a GGUF file for heads of which this many elements may be rotated.
    pub(super) fn of_gguf(
        keys: &Keys,
        checkpoint: &Checkpoint,
        architecture: &Architecture,
        elements: usize,
    ) -> Result<Rope> {
        let has_factors = checkpoint.tensor(&names::name(Conventions::Gguf, Role::RopeFactorsLong, 0)).is_some();
        let scaling = keys.scaling(has_factors, architecture)?;
        let own = match scaling {
            Scaling::Yarn { factor, mscale_all, .. } => match keys.number("rope.scaling.yarn_attn_factor")? {
                Some(given) => given,
                // A file without a multiplier is of a model without mscale.
                None if mscale_all == 0.0 => yarn_magnitude(factor, 1.0),
                None => match architecture.gguf_yarn.log_multiplier {
                    LogMultiplier::Whole => yarn_magnitude(factor, 1.0) / yarn_magnitude(factor, mscale_all),
                    LogMultiplier::Tenth => 1.0,
                },
            },
            _ => 1.0,
        };
        let temperature = match keys.positive("attention.temperature_scale")? {
            Some(growth) => Some(Temperature { growth, span: keys.original()? }),
            None => None,
        };
        Ok(Rope {
            base: keys.number("rope.freq_base")?.unwrap_or(DEFAULT_BASE),
            rotated: keys.size("rope.dimension_count")?.unwrap_or(elements),
            scaling,
            magnitude: own * keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0),
            temperature,
        })
    }

    /// Checks the numbers; `wrong` makes an error of a name, what it is and what it should be.
    pub(super) fn check(&self, elements: usize, wrong: impl Fn(&str, String, String) -> Result<()>) -> Result<()> {
        if self.rotated == 0 || !self.rotated.is_multiple_of(2) || self.rotated > elements {
            let wanted = format!("an even number from 2 to {elements}");
            return wrong("the number of dimensions that RoPE rotates", self.rotated.to_string(), wanted);
        }
        for (key, number) in self.numbers() {
            if !(number.is_finite() && number > 0.0) {
                return wrong(key, number.to_string(), "a number above 0".into());
            }
        }
        if let Scaling::Llama3 { low, high, .. } = self.scaling
            && low >= high
        {
            return wrong("RoPE's high_freq_factor", high.to_string(), format!("above the low one, {low}"));
        }
        if self.inverse_frequencies().iter().any(|frequency| !frequency.is_finite()) {
            return wrong("RoPE's base", self.base.to_string(), "one by which frequencies are finite".into());
        }
        Ok(())
    }

    /// Its numbers, all of which must be positive, by name.
    fn numbers(&self) -> Vec<(&'static str, f64)> {
        let mut numbers = vec![("RoPE's base", self.base)];
        match self.scaling {
            Scaling::None => {}
            Scaling::Linear(factor) => numbers.push(("RoPE's scaling factor", factor)),
            Scaling::Llama3 { factor, low, high, original } => numbers.extend([
                ("RoPE's scaling factor", factor),
                ("RoPE's low_freq_factor", low),
                ("RoPE's high_freq_factor", high),
                ("RoPE's original context", original),
            ]),
            Scaling::Yarn { factor, original, fast, slow, .. } => numbers.extend([
                ("RoPE's scaling factor", factor),
                ("RoPE's original context", original),
                ("RoPE's beta_fast", fast),
                ("RoPE's beta_slow", slow),
            ]),
            Scaling::Long { original, .. } => numbers.push(("RoPE's original context", original as f64)),
        }
        numbers.extend(self.temperature.map(|temperature| ("RoPE's original context", f64::from(temperature.span))));
        numbers.extend(self.temperature.map(|temperature| ("the growth of queries", f64::from(temperature.growth))));
        numbers.push(("RoPE's attention factor", self.magnitude));
        numbers
    }
}

/// A frequency of which a share stays, none below 0 and all above 1, and the rest is divided by a factor.
fn blended(frequency: f64, factor: f64, kept: f64) -> f64 {
    let kept = kept.clamp(0.0, 1.0);
    kept * frequency + (1.0 - kept) * frequency / factor
}

/// What yarn multiplies cosines and sines by, by its factor and `mscale`.
fn yarn_magnitude(factor: f64, mscale: f64) -> f64 {
    if factor > 1.0 { 0.1 * mscale * factor.ln() + 1.0 } else { 1.0 }
}

/// A `config.json` and the object of it that tells RoPE's scaling.
struct Directory<'a> {
    config: &'a Json,
    section: &'a Json,
}

impl Directory<'_> {
    fn scaled(&self, plain: Rope) -> Result<Rope> {
        let section = self.section;
        let required = |key: &str| section.number(key)?.ok_or_else(|| section.missing(key));
        let key = if section.get("rope_type").is_some() { "rope_type" } else { "type" };
        let temperature = match section.number("llama_4_scaling_beta")? {
            Some(growth) if growth != 0.0 => Some(Temperature { growth: growth as f32, span: self.original()? }),
            _ => None,
        };
        let rope = Rope { temperature, ..plain };
        match section.text(key)? {
            None | Some("default") => Ok(rope),
            Some("linear") => Ok(Rope { scaling: Scaling::Linear(required("factor")?), ..rope }),
            Some("llama3") => Ok(Rope {
                scaling: Scaling::Llama3 {
                    factor: required("factor")?,
                    low: required("low_freq_factor")?,
                    high: required("high_freq_factor")?,
                    original: f64::from(self.original()?),
                },
                ..rope
            }),
            // The first files of Phi-3 call LongRoPE so.
            Some("yarn") if section.get("long_factor").is_none() => self.yarn(required("factor")?, rope),
            Some("longrope" | "su" | "yarn") => self.long(rope),
            Some(_) => {
                Err(unsupported(section, key, &section.value[key], "default, linear, llama3, yarn and longrope"))
            }
        }
    }

    fn yarn(&self, factor: f64, rope: Rope) -> Result<Rope> {
        // A 0 is as good as nothing.
        let number = |key: &str| Ok::<_, Error>(self.section.number(key)?.filter(|number| *number != 0.0));
        let (mscale, mscale_all) = (number("mscale")?, number("mscale_all_dim")?);
        let magnitude = match (self.section.number("attention_factor")?, mscale, mscale_all) {
            (Some(given), ..) => given,
            (None, Some(mscale), Some(all)) => yarn_magnitude(factor, mscale) / yarn_magnitude(factor, all),
            (None, ..) => yarn_magnitude(factor, 1.0),
        };
        let scaling = Scaling::Yarn {
            factor,
            original: f64::from(self.original()?),
            fast: number("beta_fast")?.unwrap_or(YARN_FAST),
            slow: number("beta_slow")?.unwrap_or(YARN_SLOW),
            truncated: self.section.boolean("truncate")?.unwrap_or(true),
            mscale_all: mscale_all.unwrap_or(0.0),
        };
        Ok(Rope { scaling, magnitude, ..rope })
    }

    fn long(&self, rope: Rope) -> Result<Rope> {
        let original = self.original()?;
        let magnitude = match self.section.number("attention_factor")? {
            Some(given) => given,
            None => {
                let context = |key| self.config.number(key)?.ok_or_else(|| self.config.missing(key));
                let longer = match self.section.number("factor")? {
                    Some(factor) => factor,
                    None => context("max_position_embeddings")? / f64::from(original),
                };
                if longer > 1.0 { (1.0 + longer.ln() / f64::from(original).ln()).sqrt() } else { 1.0 }
            }
        };
        let factors = |key: &str| {
            let found = self.section.numbers(key)?.ok_or_else(|| self.section.missing(key))?;
            let wanted = rope.rotated / 2;
            if found.len() == wanted && found.iter().all(|factor| *factor > 0.0) {
                return Ok(found);
            }
            Err(self.section.wrong(key, Value::from(found), format!("{wanted} numbers above 0")))
        };
        let factors = Factors { short: factors("short_factor")?, long: factors("long_factor")? };
        Ok(Rope { scaling: Scaling::Long { original: original as usize, factors: Some(factors) }, magnitude, ..rope })
    }

    /// The original context, in tokens: in the object or at the top.
    fn original(&self) -> Result<u32> {
        let key = "original_max_position_embeddings";
        let found =
            self.section.integer(key)?.or(self.config.integer(key)?).ok_or_else(|| self.section.missing(key))?;
        u32::try_from(found).map_err(|_| self.section.wrong(key, found, "a number of tokens"))
    }
}

impl Keys<'_> {
    fn scaling(&self, has_factors: bool, architecture: &Architecture) -> Result<Scaling> {
        let key = "rope.scaling.type";
        let legacy = self.number("rope.scale_linear")?.filter(|factor| *factor != 1.0);
        let factor =
            || self.number("rope.scaling.factor")?.or(legacy).ok_or_else(|| self.missing("rope.scaling.factor"));
        match self.metadata.text(&self.full(key))? {
            Some("longrope") => self.long(),
            None | Some("none") if has_factors => self.long(),
            None => Ok(legacy.map_or(Scaling::None, Scaling::Linear)),
            Some("none") => Ok(Scaling::None),
            Some("linear") => Ok(Scaling::Linear(factor()?)),
            Some("yarn") => {
                let turns = |key: &str| Ok::<_, Error>(self.number(key)?.filter(|turns| *turns != 0.0));
                let multiplier = self.number("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
                Ok(Scaling::Yarn {
                    factor: factor()?,
                    original: f64::from(self.original()?),
                    fast: turns("rope.scaling.yarn_beta_fast")?.unwrap_or(YARN_FAST),
                    slow: turns("rope.scaling.yarn_beta_slow")?.unwrap_or(YARN_SLOW),
                    truncated: architecture.gguf_yarn.truncated,
                    mscale_all: match architecture.gguf_yarn.log_multiplier {
                        LogMultiplier::Whole => multiplier,
                        LogMultiplier::Tenth => multiplier * 10.0,
                    },
                })
            }
            Some(other) => Err(self.unsupported(key, format!("{other:?}"), "none, linear, yarn and longrope")),
        }
    }

    fn long(&self) -> Result<Scaling> {
        Ok(Scaling::Long { original: size(u64::from(self.original()?)), factors: None })
    }

    /// The original context, in tokens.
    fn original(&self) -> Result<u32> {
        let key = "rope.scaling.original_context_length";
        let found = self.size(key)?.ok_or_else(|| self.missing(key))?;
        u32::try_from(found).map_err(|_| self.metadata.wrong(&self.full(key), found, "a number of tokens"))
    }
}

#[cfg(test)]
mod tests;
