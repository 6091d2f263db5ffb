//! `ply inspect`: what a model file holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use plywood::Sampling;
use plywood::ledger::HumanBytes;
use plywood::models::Storage;
use plywood::models::config::Experts;
use plywood::models::template::thinking::Marks;
use plywood::models::{Checkpoint, Config, Conventions, Error, Template, Tokenizer, Weights};
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
    family: Option<String>,
    architecture: Option<&'static str>,
    runs: bool,
    reason: Option<String>,
    parameters: u64,
    active_parameters: u64,
    bytes: u64,
    types: BTreeMap<String, TypeReport>,
    layers: Option<usize>,
    experts: Option<ExpertsReport>,
    width: Option<usize>,
    heads: Option<usize>,
    kv_heads: Option<usize>,
    head_width: Option<usize>,
    feed_forward: Option<usize>,
    context: Option<usize>,
    vocabulary: Option<usize>,
    bos: Option<u32>,
    ends: Vec<u32>,
    end_tokens: Vec<EndToken>,
    template: Option<TemplateReport>,
    thinking: Option<ThinkingReport>,
    sampling: Option<SamplingReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tensors: Vec<TensorReport>,
}

#[derive(Serialize, Default)]
struct TypeReport {
    tensors: usize,
    parameters: u64,
    bytes: u64,
}

/// A mixture of experts.
#[derive(Serialize)]
struct ExpertsReport {
    layers: usize,
    count: usize,
    chosen: usize,
    width: usize,
    shared: Option<usize>,
}

/// A token after which a text ends.
#[derive(Serialize)]
struct EndToken {
    id: u32,
    text: Option<String>,
}

/// The chat template: its file and its length, or why it can't be used.
#[derive(Serialize)]
#[serde(untagged)]
enum TemplateReport {
    Found { file: String, characters: usize },
    Broken { reason: String },
}

/// How the model marks its thinking.
#[derive(Serialize)]
struct ThinkingReport {
    open: &'static str,
    close: &'static str,
}

/// How tokens are chosen where no flag says otherwise.
#[derive(Serialize)]
struct SamplingReport {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    repeat_penalty: f32,
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
    let tokenizer = Tokenizer::of(checkpoint);
    // What would stop a load is found without loading: the numbers, the tokenizer and every tensor's place.
    let graph = match &config {
        Err(error) => Err(error.to_string()),
        Ok(config) => plywood::models::transformer::build(checkpoint, config, 1).map_err(|error| error.to_string()),
    };
    let unchosen = graph.as_ref().map_or(0, |graph| graph.unchosen_elements());
    let trouble = graph.err().or_else(|| tokenizer.as_ref().err().map(ToString::to_string));
    let parameters = types.values().map(|entry| entry.parameters).fold(0, u64::saturating_add);
    let (config, tokenizer, template) = (config.ok(), tokenizer.ok(), Template::of(checkpoint));
    let source = template.as_ref().map_or("", |template| template.source());
    let thinking = Marks::of(source, tokenizer.as_ref());
    let text = |id: u32| tokenizer.as_ref()?.token(id).map(str::to_owned);
    let ends = config.as_ref().map_or(Vec::new(), |config| config.ends.clone());
    let number = |get: fn(&Config) -> usize| config.as_ref().map(get);
    Report {
        path: checkpoint.path().display().to_string(),
        kind: match checkpoint.kind() {
            Conventions::Gguf => "gguf",
            Conventions::HuggingFace => "hugging_face",
        },
        family: Config::family(checkpoint).map(str::to_owned),
        architecture: config.as_ref().map(|config| config.architecture.name),
        runs: trouble.is_none(),
        reason: trouble,
        parameters,
        active_parameters: parameters.saturating_sub(unchosen),
        bytes: types.values().map(|entry| entry.bytes).fold(0, u64::saturating_add),
        types,
        layers: number(|config| config.layers),
        experts: config.as_ref().and_then(|config| config.experts.as_ref()).map(experts_report),
        width: number(|config| config.width),
        heads: number(|config| config.heads),
        kv_heads: number(|config| config.kv_heads),
        head_width: number(|config| config.head_width),
        feed_forward: number(|config| config.feed_forward),
        context: number(|config| config.context),
        vocabulary: number(|config| config.vocabulary),
        bos: config.as_ref().and_then(|config| config.bos),
        end_tokens: ends.iter().map(|id| EndToken { id: *id, text: text(*id) }).collect(),
        ends,
        template: template_report(template),
        thinking: thinking.map(|marks| ThinkingReport { open: marks.open, close: marks.close }),
        sampling: config.as_ref().map(|config| sampling_report(&Sampling::of_model(&config.sampling))),
        tensors: if list { checkpoint.tensors().iter().map(tensor_report).collect() } else { Vec::new() },
    }
}

fn template_report(template: Result<Template, Error>) -> Option<TemplateReport> {
    match template {
        Ok(template) => Some(TemplateReport::Found {
            file: template.file().display().to_string(),
            characters: template.source().chars().count(),
        }),
        Err(Error::NoTemplate { .. }) => None,
        Err(error) => Some(TemplateReport::Broken { reason: error.to_string() }),
    }
}

fn experts_report(experts: &Experts) -> ExpertsReport {
    ExpertsReport {
        layers: experts.layers.iter().filter(|has_experts| **has_experts).count(),
        count: experts.count,
        chosen: experts.chosen,
        width: experts.width,
        shared: experts.shared,
    }
}

fn sampling_report(sampling: &Sampling) -> SamplingReport {
    SamplingReport {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repeat_penalty: sampling.repeat_penalty,
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
    if let Some(family) = &report.family {
        line("family", family.clone());
    }
    if let Some(architecture) = report.architecture.filter(|name| report.family.as_deref() != Some(name)) {
        line("architecture", architecture.into());
    }
    let active = match report.active_parameters == report.parameters {
        true => String::new(),
        false => format!(", {} active", count(report.active_parameters)),
    };
    line("parameters", format!("{}{active}, in {}", count(report.parameters), HumanBytes(report.bytes)));
    for (name, entry) in &report.types {
        line(&format!("  {name}"), format!("{} tensors, {}", entry.tensors, HumanBytes(entry.bytes)));
    }
    if let (Some(layers), Some(width), Some(inner)) = (report.layers, report.width, report.feed_forward) {
        line("layers", format!("{layers} of width {width}, feed-forward {inner}"));
    }
    if let Some(ExpertsReport { layers, count, chosen, width, shared }) = &report.experts {
        let shared = shared.map_or(String::new(), |width| format!(", one of {width} for all tokens"));
        line("experts", format!("{chosen} of {count} in {layers} layers, feed-forward {width}{shared}"));
    }
    if let (Some(heads), Some(kv_heads), Some(width)) = (report.heads, report.kv_heads, report.head_width) {
        line("heads", format!("{heads}, {kv_heads} of keys and values, of width {width}"));
    }
    if let (Some(context), Some(vocabulary)) = (report.context, report.vocabulary) {
        line("context", format!("{context} tokens"));
        let bos = report.bos.map_or("none".into(), |bos| bos.to_string());
        line("vocabulary", format!("{vocabulary} tokens, BOS {bos}"));
    }
    let end = |end: &EndToken| format!("{} {:?}", end.id, end.text.as_deref().unwrap_or_default());
    line("ends", report.end_tokens.iter().map(end).collect::<Vec<_>>().join(", "));
    line("chat template", report.template.as_ref().map_or("none".into(), describe_template));
    if let Some(marks) = &report.thinking {
        line("thinking", format!("from {} to {}", marks.open, marks.close));
    }
    if let Some(by) = &report.sampling {
        let SamplingReport { temperature, top_k, top_p, min_p, repeat_penalty } = by;
        let penalty = format!("repeat penalty {repeat_penalty}");
        line("sampling", format!("temperature {temperature}, top-k {top_k}, top-p {top_p}, min-p {min_p}, {penalty}"));
    }
    for tensor in &report.tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        line(&format!("  {}", tensor.r#type), format!("{} [{}]", tensor.name, shape.join(", ")));
    }
    text
}

/// A count as a person reads it: `30.5 B`.
fn count(number: u64) -> String {
    let units = [(1e9, "B"), (1e6, "M"), (1e3, "K")];
    let unit = units.into_iter().find(|(size, _)| number as f64 >= *size);
    unit.map_or(number.to_string(), |(size, name)| format!("{:.1} {name}", number as f64 / size))
}

fn describe_template(template: &TemplateReport) -> String {
    match template {
        TemplateReport::Found { file, characters } => format!("{characters} characters in {file}"),
        TemplateReport::Broken { reason } => format!("broken: {reason}"),
    }
}
