//! Quantises a model to a GGUF file that llama.cpp and others read.
//!
//! [`Plan::new`] decides which tensor gets which format ([`mixes`]), [`Plan::write`] does it: rows in pieces on all cores,
//! written in order beside the output, checked, and renamed. The input is a GGUF file, or a Hugging Face directory,
//! which is converted on the way.
//!
//! ```no_run
//! use plywood_models::output::Existing;
//! use plywood_models::quantise::{Options, Plan, mixes::Mix};
//!
//! let mix = Mix::find("q4_k_m").expect("a type of this build");
//! let options = Options { mix, pure: false, overrides: Vec::new(), importance: None };
//! let plan = Plan::new("path/to/directory", options)?;
//! plan.write("model.gguf", Existing::Keep, |_written, _all| true)?;
//! # Ok::<(), plywood_models::Error>(())
//! ```

mod conversion;
mod importance;
pub mod mixes;
mod pieces;
pub(crate) mod settings;
mod source;
mod writing;

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use plywood_kernels::Format;
use plywood_kernels::formats;

use crate::error::{Error, Result};
use crate::gguf::Value;
use crate::weights::Conventions;

use self::mixes::{Facts, Matrix, MatrixRole, Mix};
use self::source::{GgufModel, Tensor};

pub use self::importance::Importance;

/// The version of ggml's formats, which no file since 2023 has otherwise (`GGML_QNT_VERSION`).
const FORMATS_VERSION: u32 = 2;

/// The most layers that are believed.
const LAYERS_LIMIT: usize = 1 << 12;

/// Parts of names of tensors that are kept as they are: small, or not multiplied with (`tensor_allows_quantization`).
const KEPT: [&str; 7] =
    ["_norm.weight", "ffn_gate_inp.weight", "ssm_conv1d", "shortconv.conv", "time_mix_", "attn_rel_b", "position_embd"];

/// What a file is to be.
#[derive(Debug)]
pub struct Options {
    /// Which matrices get which formats.
    pub mix: &'static Mix,
    /// All matrices get the format of the mix, without its exceptions.
    pub pure: bool,
    /// Formats of single matrices; the first that applies counts.
    pub overrides: Vec<Override>,
    /// How much the errors of columns count.
    pub importance: Option<Importance>,
}

/// A format for the matrices whose names have a pattern in them, written `PATTERN=TYPE`.
#[derive(Debug, Clone)]
pub struct Override {
    /// A part of a name, in which `*` stands for any characters.
    pub pattern: String,
    /// The format.
    pub format: Format,
}

/// A tensor of the file that will be written.
#[derive(Debug)]
pub struct Target {
    /// Its format.
    pub format: Format,
    /// The format that its mix has for it, where blocks of that do not divide its rows.
    pub instead_of: Option<Format>,
    /// Its bytes.
    pub bytes: u64,
}

/// What will be written, tensor by tensor.
#[derive(Debug)]
pub struct Plan {
    source: GgufModel,
    /// One for each tensor of the source.
    targets: Vec<Target>,
    importance: Option<Importance>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Bytes of all tensors that were read.
    pub input_bytes: u64,
    /// Bytes of the file.
    pub output_bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Plan {
    /// Opens a model and decides what each of its tensors becomes. Weights are not read.
    pub fn new(input: impl AsRef<Path>, options: Options) -> Result<Plan> {
        let mut source = GgufModel::open(input.as_ref())?;
        if source.tensors.is_empty() {
            let reason = "there are no weights in it".into();
            return Err(Error::NotAModel { path: input.as_ref().into(), reason });
        }
        let facts = facts(&source, &options)?;
        // What is no matrix keeps its format; converted, it gets the one in which others expect it.
        let kind = source.checkpoint.kind();
        let other = |tensor: &Tensor| if kind == Conventions::Gguf { tensor.format } else { formats::F32 };
        let targets = source.tensors.iter().map(|tensor| target(&facts, &options, tensor, other(tensor)));
        let targets = targets.collect::<Result<Vec<_>>>()?;
        check_overrides(&source.tensors, &options.overrides)?;
        let entries = &mut source.metadata.entries;
        entries.insert("general.file_type".into(), Value::U32(options.mix.file_type));
        entries.insert("general.quantization_version".into(), Value::U32(FORMATS_VERSION));
        entries.extend(options.importance.iter().flat_map(Importance::metadata));
        Ok(Plan { source, targets, importance: options.importance })
    }

    /// The tensors' names, and what they become.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.source.tensors.iter().map(|tensor| tensor.name.as_str()).zip(&self.targets)
    }

    /// Matrices that are quantised already and get another format, not that of floats: their errors add up.
    pub fn requantised(&self) -> usize {
        let twice = |(tensor, target): &(&Tensor, &Target)| {
            !tensor.format.is_float() && !target.format.is_float() && tensor.format != target.format
        };
        self.source.tensors.iter().zip(&self.targets).filter(twice).count()
    }

    /// Matrices that have another format than their mix says, since its blocks do not divide their rows.
    pub fn instead(&self) -> usize {
        self.targets.iter().filter(|target| target.instead_of.is_some()).count()
    }

    /// Tensors and bytes that each format will have, by its name in capitals.
    pub fn formats(&self) -> BTreeMap<String, (usize, u64)> {
        let mut formats = BTreeMap::new();
        for target in &self.targets {
            let (tensors, bytes) = formats.entry(target.format.name.to_uppercase()).or_insert((0, 0));
            *tensors += 1;
            *bytes += target.bytes;
        }
        formats
    }
}

/// What decides about all matrices of a model.
fn facts(source: &GgufModel, options: &Options) -> Result<Facts> {
    let heads = source.size("attention.head_count")?.unwrap_or(1);
    let kv_heads = source.size("attention.head_count_kv")?.unwrap_or(heads);
    let with_output = source.tensors.iter().any(|tensor| MatrixRole::of(&tensor.name) == MatrixRole::Output);
    Ok(Facts {
        layers: source.size("block_count")?.unwrap_or(0).min(LAYERS_LIMIT),
        group: heads / kv_heads.max(1),
        experts: source.size("expert_count")?.unwrap_or(0),
        tied: !with_output,
        weighted: options.importance.is_some(),
    })
}

/// What a tensor becomes; `other` is its format if it is no matrix.
fn target(facts: &Facts, options: &Options, tensor: &Tensor, other: Format) -> Result<Target> {
    let (columns, matrix) = (tensor.columns(), tensor.is_matrix());
    let (format, wanted) = if matrix { choose(facts, options, tensor) } else { (other, other) };
    if format != tensor.format && format.encode.is_none() {
        return Err(tensor.not_written(format));
    }
    if let Some(importance) = options.importance.as_ref().filter(|_| matrix) {
        importance.of(tensor)?;
    }
    let row_bytes = format.file_row_bytes(columns).ok_or_else(|| Error::UnevenRows {
        tensor: tensor.name.clone(),
        columns,
        format: format.to_string(),
    })?;
    let bytes = (row_bytes as u64).saturating_mul(tensor.rows() as u64);
    Ok(Target { format, instead_of: Some(wanted).filter(|wanted| *wanted != format), bytes })
}

/// The format of a matrix, and the one that it would have if the blocks of that divided its rows.
fn choose(facts: &Facts, options: &Options, tensor: &Tensor) -> (Format, Format) {
    if let Some(by_hand) = options.overrides.iter().find(|by_hand| by_hand.matches(&tensor.name)) {
        return (by_hand.format, by_hand.format);
    }
    let wanted = if options.pure { options.mix.format } else { options.mix.choose(facts, &tensor.matrix()) };
    (mixes::fitting(wanted, tensor.columns()), wanted)
}

/// The names of the formats that can be written, for messages.
fn written() -> String {
    let names = formats::GGUF.iter().filter(|format| format.encode.is_some()).map(|format| format.name);
    names.collect::<Vec<_>>().join(", ")
}

/// Checks that every pattern is in the name of a matrix.
fn check_overrides(tensors: &[Tensor], overrides: &[Override]) -> Result<()> {
    let matrices = || tensors.iter().filter(|tensor| tensor.is_matrix());
    match overrides.iter().find(|by_hand| !matrices().any(|tensor| by_hand.matches(&tensor.name))) {
        None => Ok(()),
        Some(by_hand) => Err(Error::UnmatchedPattern { pattern: by_hand.pattern.clone() }),
    }
}

impl Tensor {
    /// The error that says that it cannot have a format.
    fn not_written(&self, format: Format) -> Error {
        Error::NotWritten { tensor: self.name.clone(), format: format.to_string(), known: written() }
    }

    /// Whether it is quantised; norms and other small tensors stay as they are.
    fn is_matrix(&self) -> bool {
        self.rows() > 1 && self.name.ends_with("weight") && !KEPT.iter().any(|part| self.name.contains(part))
    }

    /// How many matrices of experts it holds, 1 where there are none.
    fn experts(&self) -> usize {
        self.shape.iter().rev().skip(2).product()
    }

    /// What a mix must know of it.
    fn matrix(&self) -> Matrix {
        let layer = self.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
        Matrix {
            part: MatrixRole::of(&self.name),
            layer: layer.unwrap_or(0),
            columns: self.columns(),
            stacked: self.experts() > 1,
        }
    }
}

impl Override {
    /// Whether the pattern is in a name.
    fn matches(&self, name: &str) -> bool {
        let mut rest = Some(name);
        for part in self.pattern.split('*') {
            rest = rest.and_then(|rest| rest.split_once(part)).map(|(_, after)| after);
        }
        rest.is_some()
    }
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Override, String> {
        let (pattern, name) = text.rsplit_once('=').ok_or("write PATTERN=TYPE, such as ffn_down=f16")?;
        if pattern.is_empty() {
            return Err("the pattern in front of `=` is empty; write a part of a tensor's name".into());
        }
        let format = Format::from_name(name).filter(|format| format.encode.is_some());
        let format =
            format.ok_or_else(|| format!("{name:?} is no type that can be written; take one of {}", written()))?;
        Ok(Override { pattern: pattern.into(), format })
    }
}

#[cfg(test)]
mod tests;
