//! `ply inspect`: what a model file holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use plywood::memory::HumanBytes;
use plywood::models::checkpoint::Storage;
use plywood::models::{Checkpoint, Config, Kind, Tokenizer, Weights};
use serde::Serialize;

use crate::output::{Outcome, print, print_json};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// A .gguf file (the first of a split set), a Hugging Face directory, or `demo`
    model: PathBuf,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
    /// A JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    path: String,
    kind: &'static str,
    architecture: Option<&'static str>,
    runs: bool,
    reason: Option<String>,
    parameters: u64,
    bytes: u64,
    types: BTreeMap<String, TypeReport>,
    layers: Option<usize>,
    width: Option<usize>,
    heads: Option<usize>,
    kv_heads: Option<usize>,
    head_width: Option<usize>,
    feed_forward: Option<usize>,
    context: Option<usize>,
    vocabulary: Option<usize>,
    bos: Option<u32>,
    ends: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tensors: Vec<TensorReport>,
}

#[derive(Serialize, Default)]
struct TypeReport {
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct TensorReport {
    name: String,
    shape: Vec<usize>,
    r#type: String,
    bytes: u64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let checkpoint = Checkpoint::open(&arguments.model)?;
    let report = report(&checkpoint, arguments.tensors);
    if arguments.json { print_json(&report) } else { print(&describe(&report)) }
}

fn type_name(storage: &Storage) -> String {
    match storage {
        Storage::Format(format) => format.name.to_string(),
        Storage::Unsupported(name) => name.to_lowercase(),
    }
}

fn report(checkpoint: &Checkpoint, list: bool) -> Report {
    let mut types: BTreeMap<String, TypeReport> = BTreeMap::new();
    for tensor in checkpoint.tensors() {
        let entry = types.entry(type_name(&tensor.storage)).or_default();
        entry.tensors += 1;
        entry.parameters = entry.parameters.saturating_add(tensor.elements());
        entry.bytes = entry.bytes.saturating_add(tensor.bytes);
    }
    let config = Config::of(checkpoint);
    // What would stop a load is found without loading: the numbers, the tokenizer and every tensor's place.
    let trouble = match &config {
        Err(error) => Some(error.to_string()),
        Ok(config) => plywood::models::transformer::build(checkpoint, config, 1)
            .err()
            .or_else(|| Tokenizer::of(checkpoint).err())
            .map(|error| error.to_string()),
    };
    let config = config.ok();
    let number = |get: fn(&Config) -> usize| config.as_ref().map(get);
    Report {
        path: checkpoint.path().display().to_string(),
        kind: match checkpoint.kind() {
            Kind::Gguf => "gguf",
            Kind::HuggingFace => "hugging_face",
        },
        architecture: config.as_ref().map(|config| config.architecture.name),
        runs: trouble.is_none(),
        reason: trouble,
        parameters: types.values().map(|entry| entry.parameters).fold(0, u64::saturating_add),
        bytes: types.values().map(|entry| entry.bytes).fold(0, u64::saturating_add),
        types,
        layers: number(|config| config.layers),
        width: number(|config| config.width),
        heads: number(|config| config.heads),
        kv_heads: number(|config| config.kv_heads),
        head_width: number(|config| config.head_width),
        feed_forward: number(|config| config.feed_forward),
        context: number(|config| config.context),
        vocabulary: number(|config| config.vocabulary),
        bos: config.as_ref().and_then(|config| config.bos),
        ends: config.map(|config| config.ends).unwrap_or_default(),
        tensors: if list { checkpoint.tensors().iter().map(tensor_report).collect() } else { Vec::new() },
    }
}

fn tensor_report(tensor: &plywood::models::TensorInfo) -> TensorReport {
    TensorReport {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        r#type: type_name(&tensor.storage),
        bytes: tensor.bytes,
    }
}

fn describe(report: &Report) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let mut line = |name: &str, value: String| _ = writeln!(text, "{name:<21} {value}");
    line("file", format!("{} ({})", report.path, report.kind.replace('_', " ")));
    line("runs", report.reason.as_ref().map_or("yes".into(), |reason| format!("no: {reason}")));
    if let Some(architecture) = report.architecture {
        line("architecture", architecture.into());
    }
    line("parameters", format!("{:.1} M in {}", report.parameters as f64 / 1e6, HumanBytes(report.bytes)));
    for (name, entry) in &report.types {
        line(&format!("  {name}"), format!("{} tensors, {}", entry.tensors, HumanBytes(entry.bytes)));
    }
    if let (Some(layers), Some(width), Some(inner)) = (report.layers, report.width, report.feed_forward) {
        line("layers", format!("{layers} of width {width}, feed-forward {inner}"));
    }
    if let (Some(heads), Some(kv_heads), Some(width)) = (report.heads, report.kv_heads, report.head_width) {
        line("heads", format!("{heads}, {kv_heads} of keys and values, of width {width}"));
    }
    if let (Some(context), Some(vocabulary)) = (report.context, report.vocabulary) {
        line("context", format!("{context} tokens"));
        let bos = report.bos.map_or("none".into(), |bos| bos.to_string());
        let ends: Vec<String> = report.ends.iter().map(u32::to_string).collect();
        line("vocabulary", format!("{vocabulary} tokens, BOS {bos}, ends {}", ends.join(" ")));
    }
    for tensor in &report.tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        line(&format!("  {}", tensor.r#type), format!("{} [{}]", tensor.name, shape.join(", ")));
    }
    text
}
