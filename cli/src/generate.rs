//! `ply generate`: text after a prompt, to standard output as it comes.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use plywood::Timings;
use plywood::ledger::Bytes;
use plywood::{Model, Request, Sampling, StopReason};
use serde::Serialize;

use crate::options::{DeviceArguments, PromptArguments, SamplingArguments, describe};
use crate::output::{Failure, Outcome, interrupted, note, on_interrupt, print, print_json};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// A .gguf file (the first of a split set), a Hugging Face directory, or `demo`
    model: PathBuf,
    #[command(flatten)]
    prompt: PromptArguments,
    /// The most tokens to generate
    #[arg(short = 'n', long, visible_aliases = ["n-predict", "predict"], default_value_t = 256, value_name = "TOKENS")]
    max_tokens: usize,
    /// Print the prompt too
    #[arg(long)]
    echo: bool,
    /// Go on after end tokens
    #[arg(long)]
    ignore_eos: bool,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// A JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    prompt_tokens: Vec<u32>,
    generated_tokens: Vec<u32>,
    text: String,
    stop_reason: Option<StopReason>,
    seed: u64,
    timings: TimingsReport,
    placement: Vec<StageReport>,
}

#[derive(Serialize)]
struct TimingsReport {
    load_s: f64,
    first_token_s: f64,
    prefill_s: f64,
    prefill_tokens_per_s: f64,
    decode_s: f64,
    decode_tokens_per_s: f64,
}

#[derive(Serialize)]
struct StageReport {
    adapter: String,
    layers: Option<(usize, usize)>,
    bytes: Bytes,
    busy_s: f64,
    /// When it was busy, in seconds from the beginning of generation.
    timeline: Vec<(f64, f64)>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Outcome {
    // Values that mean nothing are told before a model is loaded.
    arguments.sampling.sampling(Sampling::default()).check()?;
    let prompt = arguments.prompt.read()?;
    let pressed = interrupted();
    let model = arguments.device.open(&arguments.model)?;
    let mut session = model.session()?;
    let prompt_tokens = session.encode(&prompt)?;
    let request = Request {
        sampling: arguments.sampling.sampling(model.sampling()),
        max_tokens: arguments.max_tokens,
        stop: arguments.sampling.stop.clone(),
        ignore_eos: arguments.ignore_eos,
    };
    let cancel = session.canceller();
    on_interrupt(move || cancel.cancel());
    let begin = Instant::now();
    let mut generation = session.generate_tokens(&prompt_tokens, request)?;
    // A cancel counts once the generation has begun; what came before is seen here.
    if pressed.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let streaming = !arguments.json;
    if streaming && arguments.echo {
        print(&prompt)?;
    }
    let mut text = if arguments.echo { prompt } else { String::new() };
    let mut failure = None;
    for piece in generation.by_ref() {
        match piece {
            Ok(piece) => {
                if streaming {
                    print(&piece.text)?;
                }
                text.push_str(&piece.text);
            }
            Err(error) => failure = Some(error),
        }
    }
    if streaming && !text.is_empty() && !text.ends_with('\n') {
        print("\n")?;
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    let (timings, seed, stop_reason) = (generation.timings(), generation.seed(), generation.stop_reason());
    let report = Report {
        prompt_tokens,
        generated_tokens: generation.tokens().to_vec(),
        text,
        stop_reason,
        seed,
        timings: timings_report(&model, timings),
        placement: placement(&model, begin),
    };
    if arguments.json {
        print_json(&report)?;
    } else if !arguments.device.quiet {
        figures(&model, &report, timings);
    }
    if stop_reason == Some(StopReason::Cancelled) { Err(Failure::Interrupted) } else { Ok(()) }
}

fn timings_report(model: &Model, timings: Timings) -> TimingsReport {
    let seconds = |duration: Duration| duration.as_secs_f64();
    TimingsReport {
        load_s: seconds(model.load_time()),
        first_token_s: seconds(timings.first_token),
        prefill_s: seconds(timings.prefill),
        prefill_tokens_per_s: timings.prefill_rate(),
        decode_s: seconds(timings.decode),
        decode_tokens_per_s: timings.decode_rate(),
    }
}

fn placement(model: &Model, begin: Instant) -> Vec<StageReport> {
    let seconds = |at: Instant| at.saturating_duration_since(begin).as_secs_f64();
    let report = |(stage, times): (&plywood::ledger::LedgerStage, plywood::StageTimes)| StageReport {
        adapter: stage.adapter.clone(),
        layers: stage.layers,
        bytes: stage.bytes,
        busy_s: times.busy.as_secs_f64(),
        timeline: times.timeline.iter().map(|span| (seconds(span.start), seconds(span.end))).collect(),
    };
    model.ledger().stages.iter().zip(model.times()).map(report).collect()
}

/// The figures at the end, for a person.
fn figures(model: &Model, report: &Report, timings: Timings) {
    let times = &report.timings;
    note(&format!(
        "\nprompt {} tokens, {:.1} tokens/s · generated {} tokens, {:.1} tokens/s · first token after {:.2} s · loaded in {:.2} s",
        timings.prompt_tokens,
        times.prefill_tokens_per_s,
        timings.generated_tokens,
        times.decode_tokens_per_s,
        times.first_token_s,
        times.load_s,
    ));
    for stage in &model.ledger().stages {
        note(&format!("{}: {}", stage.adapter, describe(stage)));
    }
    note(&format!("seed {}", report.seed));
}
