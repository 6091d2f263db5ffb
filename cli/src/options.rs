//! Flags that several commands share.

use std::io::{self, IsTerminal, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};
use plywood::kernels::formats::{self, Format};
use plywood::kernels::kv_cache::KvType;
use plywood::ledger::{parse_bytes, probable_unit};
use plywood::models::Checkpoint;
use plywood::models::output::Existing;
use plywood::models::template::{GIVEN, Template};
use plywood::{Context, Devices, Layers, Model, Options, Sampling};
use serde_json::{Map, Value};

use crate::output::{Failure, Outcome, loading_bar, note};

/// Where and how a model runs.
#[derive(Args)]
pub struct DeviceArguments {
    /// Tokens that a sequence may have; `max` is what fits, up to the model's own [default: the smaller of the model's and 8192]
    #[arg(short, long, visible_alias = "ctx-size", value_name = "TOKENS", value_parser = context)]
    pub context: Option<Context>,
    /// Where the model does not fit, change what must be: the first flag that the error would advise; said on standard error
    #[arg(long)]
    pub fit: bool,
    /// Adapters by number, name, backend:name or `host`, all used; one named twice is opened twice [default: the fewest GPUs that hold
    /// the model, and of these the fastest]
    #[arg(long, value_delimiter = ',', value_name = "LIST", action = ArgAction::Set)]
    pub adapters: Vec<String>,
    /// Shares of the layers for these adapters, in their order [default: so that a token is finished soonest]
    #[arg(long, visible_alias = "tensor-split", value_delimiter = ',', value_name = "SHARES", action = ArgAction::Set)]
    pub split: Vec<u32>,
    /// Layers for each of these adapters, counted from 0, such as 0=0-19,1=20-31
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = layers, conflicts_with = "split")]
    pub layers: Vec<(usize, Range<usize>)>,
    /// What a model may take of an adapter, by its number in `ply adapters`, such as 0=20GiB (repeat it for more)
    #[arg(long, value_delimiter = ',', value_name = "NUMBER=SIZE", value_parser = memory)]
    pub memory: Vec<(usize, u64)>,
    /// How the KV cache is stored; q8_0 takes a little more than half of f16
    #[arg(long, default_value = "f16", value_name = "TYPE", value_parser = kv_type())]
    pub kv_type: KvType,
    /// Quantise the model's matrices of floats while they load, such as to q8_0 or q4_0
    #[arg(long, value_name = "TYPE", value_parser = quantisation)]
    pub quantize: Option<Format>,
    /// Threads that compute on the CPU [default: one for each core]
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Only float kernels and an f32 cache, for comparing
    #[arg(long)]
    pub exact: bool,
    /// No progress and no figures
    #[arg(short, long)]
    pub quiet: bool,
    /// Say what is placed where, and in a chat how each answer came about
    #[arg(short, long)]
    pub verbose: bool,
}

/// A model, or a shape with random weights.
#[derive(Args)]
pub struct ModelArguments {
    /// A .gguf file (the first of a split set), a Hugging Face directory, or `demo`
    #[arg(required_unless_present = "synthetic", conflicts_with = "synthetic")]
    model: Option<PathBuf>,
    /// A model of random weights by SHAPE:FORMAT, such as llama-8b:q4_0
    #[arg(long, value_name = "SHAPE:FORMAT")]
    synthetic: Option<String>,
}

/// What [`ModelArguments`] name.
pub enum ModelSource<'a> {
    /// A file or directory.
    Path(&'a Path),
    /// A shape and a format.
    Synthetic(&'a str),
}

impl ModelArguments {
    /// The one of the two that was given.
    pub fn source(&self) -> Outcome<ModelSource<'_>> {
        match (&self.model, &self.synthetic) {
            (Some(path), _) => Ok(ModelSource::Path(path)),
            (None, Some(name)) => Ok(ModelSource::Synthetic(name)),
            (None, None) => Err(Failure::Usage("give a MODEL or --synthetic".into())),
        }
    }
}

/// A number of tokens, or `max`.
fn context(text: &str) -> Result<Context, String> {
    match text {
        "max" => Ok(Context::Max),
        _ => text.parse().map(Context::Tokens).map_err(|_| "it is neither a number of tokens nor `max`".into()),
    }
}

/// `0=0-19` as the number of a device and its layers.
fn layers(argument: &str) -> Result<(usize, Range<usize>), String> {
    let parse = || {
        let (device, range) = argument.split_once('=')?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some((device.trim().parse().ok()?, first..last.checked_add(1)?))
    };
    parse().ok_or_else(|| format!("{argument:?} is not DEVICE=FIRST-LAST, such as 0=0-19"))
}

/// `0=20GiB` as the number of an adapter and bytes.
fn memory(argument: &str) -> Result<(usize, u64), String> {
    let wrong = || format!("{argument:?} is not NUMBER=SIZE, such as 0=20GiB");
    let (adapter, size) = argument.split_once('=').ok_or_else(wrong)?;
    let adapter = adapter.trim().parse().map_err(|_| wrong())?;
    let bytes = parse_bytes(size).ok_or_else(|| match probable_unit(size) {
        Some(meant) => format!("{size:?} has no unit; if you mean {meant}, write {adapter}={meant}"),
        None => wrong(),
    })?;
    Ok((adapter, bytes))
}

/// A format to quantise to.
fn quantisation(name: &str) -> Result<Format, String> {
    let written = |format: &Format| format.encode.is_some() && !format.is_float();
    let names = || formats::GGUF.into_iter().filter(written).map(|format| format.name).collect::<Vec<_>>().join(", ");
    Format::from_name(name).filter(written).ok_or_else(|| format!("it is none of {}", names()))
}

/// A type of the KV cache by its name.
fn kv_type() -> impl TypedValueParser<Value = KvType> {
    let names = PossibleValuesParser::new(KvType::ALL.map(KvType::name));
    names.map(|name| KvType::from_name(&name).expect("these are the names"))
}

impl DeviceArguments {
    /// The engine's options.
    pub fn options(&self) -> Options {
        let layers = match (self.split.as_slice(), self.layers.as_slice()) {
            ([], []) => Layers::Fastest,
            ([], ranges) => Layers::Ranges(ranges.to_vec()),
            (shares, _) => Layers::Split(shares.to_vec()),
        };
        let devices = if self.adapters.is_empty() { Devices::Best } else { Devices::Adapters(self.adapters.clone()) };
        Options::default()
            .context(self.context.unwrap_or_default())
            .fit(self.fit)
            .devices(devices)
            .layers(layers)
            .memory(self.memory.clone())
            .kv_type(self.kv_type)
            .quantize(self.quantize)
            .exact(self.exact)
            .threads(self.threads.map(|threads| threads as usize))
            .progress(loading_bar(self.quiet))
    }

    /// Opens a model, with a warning where it runs without any adapter.
    pub fn open(&self, model: &Path) -> Outcome<Model> {
        self.announce(Model::open(model, self.options())?)
    }

    /// Says where a model was placed, as far as the flags ask for it.
    pub fn announce(&self, model: Model) -> Outcome<Model> {
        let stages = &model.ledger().stages;
        if self.adapters.is_empty() && stages.iter().all(|stage| stage.adapter == "host") && !self.quiet {
            note("ply: there is no GPU, so the model runs on the CPU; `ply adapters` lists what there is");
        }
        if !self.quiet {
            model.notes().iter().for_each(|text| note(&format!("ply: {text}")));
        }
        if self.verbose {
            for stage in stages {
                let layers = stage.layers.map_or("no layers".into(), |(first, last)| format!("layers {first}-{last}"));
                note(&format!("{}: {layers}, {}", stage.adapter, describe(stage)));
            }
        }
        Ok(model)
    }
}

/// A stage's bytes for a person.
pub fn describe(stage: &plywood::ledger::LedgerStage) -> String {
    let human = plywood::ledger::HumanBytes;
    let bytes = &stage.bytes;
    format!(
        "{} (weights {}, KV cache {}, activations {}, staging {})",
        human(bytes.total()),
        human(bytes.weights),
        human(bytes.kv_cache),
        human(bytes.activations),
        human(bytes.staging)
    )
}

/// How tokens are chosen; what is not given is what the model's makers say, else the default.
#[derive(Args)]
pub struct SamplingArguments {
    /// What logits are divided by; 0 is greedy [default: the model's, else 0.8]
    #[arg(long, visible_alias = "temperature", allow_negative_numbers = true)]
    temp: Option<f32>,
    /// How many candidates are kept; 0 is all [default: the model's, else 40]
    #[arg(long)]
    top_k: Option<u32>,
    /// The probability that is kept; 1 is all [default: the model's, else 0.95]
    #[arg(long, allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// The share of the largest probability below which candidates are dropped [default: the model's, else 0.05]
    #[arg(long, allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// What the logits of the last 64 tokens are weakened by; 1 is nothing [default: the model's, else 1]
    #[arg(long, allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,
    /// Equal seeds give equal tokens on one device [default: random]
    #[arg(long, short)]
    seed: Option<u64>,
    /// End before this text (may be given several times)
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

impl SamplingArguments {
    /// The sampling, with what the model or the default says where a flag is not given.
    pub fn sampling(&self, model: Sampling) -> Sampling {
        Sampling {
            temperature: self.temp.unwrap_or(model.temperature),
            top_k: self.top_k.unwrap_or(model.top_k),
            top_p: self.top_p.unwrap_or(model.top_p),
            min_p: self.min_p.unwrap_or(model.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(model.repeat_penalty),
            seed: self.seed,
        }
    }
}

/// A chat template, and what it is given besides a conversation.
#[derive(Args)]
pub struct TemplateArguments {
    /// A Jinja template instead of the model's own
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// A variable for the template, such as enable_thinking=false; a value that is no JSON is a text (repeat it for more)
    #[arg(long = "set", value_name = "NAME=JSON", value_parser = variable)]
    pub variables: Vec<(String, Value)>,
}

impl TemplateArguments {
    /// The template that is to be used with a model.
    pub fn open(&self, checkpoint: &Checkpoint) -> Outcome<Template> {
        Ok(match &self.template {
            Some(path) => Template::from_file(path, checkpoint)?,
            None => Template::of(checkpoint)?,
        })
    }

    /// The variables by their names; the last of equal names counts.
    pub fn variables(&self) -> Map<String, Value> {
        self.variables.iter().cloned().collect()
    }
}

/// `enable_thinking=false` as a name and a value.
fn variable(argument: &str) -> Result<(String, Value), String> {
    let (name, value) = argument.split_once('=').ok_or("write NAME=JSON, such as enable_thinking=false")?;
    let is_word = |name: &str| name.chars().all(|character| character == '_' || character.is_alphanumeric());
    if name.is_empty() || !is_word(name) || name.starts_with(|first: char| first.is_numeric()) {
        return Err(format!("{name:?} is no name of a variable"));
    }
    if GIVEN.contains(&name) {
        return Err(format!("every template is given {name} by other means"));
    }
    Ok((name.to_string(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

/// Whether a file may be replaced.
#[derive(Args)]
pub struct ForceArgument {
    /// Replace the file that is written if it is there
    #[arg(long)]
    force: bool,
}

impl ForceArgument {
    /// What to do with a file that is there.
    pub fn existing(&self) -> Existing {
        if self.force { Existing::Replace } else { Existing::Keep }
    }
}

/// Where a prompt comes from: an argument, a file, or standard input.
#[derive(Args)]
pub struct PromptArguments {
    /// The prompt; without any, standard input where that is no terminal, else the model begins a text
    #[arg(value_name = "PROMPT")]
    pub text: Option<String>,
    /// The prompt
    #[arg(short, long, value_name = "PROMPT", conflicts_with = "text")]
    pub prompt: Option<String>,
    /// A file that holds the prompt
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["text", "prompt"])]
    pub file: Option<PathBuf>,
}

impl PromptArguments {
    /// The prompt.
    pub fn read(&self) -> Outcome<String> {
        if let Some(text) = self.text.as_ref().or(self.prompt.as_ref()) {
            return Ok(text.clone());
        }
        if let Some(path) = &self.file {
            return read_text(path);
        }
        let mut text = String::new();
        if !io::stdin().is_terminal() {
            let read = io::stdin().lock().read_to_string(&mut text);
            read.map_err(|error| unreadable("standard input", &error))?;
        }
        Ok(text)
    }
}

/// The text of a file.
pub fn read_text(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| unreadable(&path.display().to_string(), &error))
}

/// Why a text could not be read from a place.
pub fn unreadable(place: &str, error: &io::Error) -> Failure {
    Failure::Work(match error.kind() {
        io::ErrorKind::InvalidData => {
            format!("{place}: it is not UTF-8 text; convert it, for example with iconv")
        }
        _ => format!("{place}: {error}"),
    })
}
