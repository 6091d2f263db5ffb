//! `ply bench`: prompt processing and generation in tokens per second, as llama-bench names them.

use std::sync::atomic::Ordering;

use clap::Args;
use plywood::tools::bench::{KernelShare, Measurement, Test};
use plywood::{Cancel, Model};

use crate::options::{DeviceArguments, ModelArguments, ModelSource};
use crate::output::{Failure, Outcome, interrupted, on_interrupt, print, print_json};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Tokens of the prompts to process
    #[arg(short = 'p', long, value_delimiter = ',', default_value = "512", value_name = "LIST")]
    n_prompt: Vec<usize>,
    /// Tokens to generate
    #[arg(short = 'n', long, value_delimiter = ',', default_value = "128", value_name = "LIST")]
    n_gen: Vec<usize>,
    /// Tokens in the cache before each test
    #[arg(short = 'd', long, value_delimiter = ',', default_value = "0", value_name = "LIST")]
    n_depth: Vec<usize>,
    /// How often each test runs, after one run that is not counted
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..1000))]
    repetitions: u32,
    /// Where a step's time goes, kernel by kernel, as the device times them; one more run of each test
    #[arg(long)]
    kernels: bool,
    #[command(flatten)]
    device: DeviceArguments,
    /// A JSON list on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Outcome {
    let mut tests = Vec::new();
    for depth in &arguments.n_depth {
        tests.extend(arguments.n_prompt.iter().filter(|n| **n > 0).map(|n| Test {
            prompt: *n,
            generate: 0,
            depth: *depth,
        }));
        tests.extend(arguments.n_gen.iter().filter(|n| **n > 0).map(|n| Test {
            prompt: 0,
            generate: *n,
            depth: *depth,
        }));
    }
    let longest = tests.iter().map(Test::tokens).max();
    let longest = longest.ok_or_else(|| Failure::Usage("-p and -n: there is nothing to measure".into()))?;
    let mut options = arguments.device.options();
    if arguments.device.context.is_none() {
        options = options.context(longest);
    }
    let model = match arguments.model.source()? {
        ModelSource::Path(path) => Model::open(path, options)?,
        ModelSource::Synthetic(name) => Model::synthetic(name, options)?,
    };
    let model = arguments.device.announce(model)?;
    let pressed = interrupted();
    let mut measurements: Vec<Measurement> = Vec::new();
    if !arguments.json {
        print(
            "| test | adapter | tokens/s | min | max | bandwidth | dispatches | encode | overlap |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n",
        )?;
    }
    for test in tests {
        let on = |cancel: Cancel| {
            on_interrupt(move || cancel.cancel());
            !pressed.load(Ordering::Relaxed)
        };
        let mut measured = plywood::tools::bench::measure(&model, test, arguments.repetitions, on)?;
        if arguments.kernels {
            measured.kernels = Some(plywood::tools::bench::kernels(&model, test, on)?);
        }
        if !arguments.json {
            print(&line(&measured))?;
        }
        measurements.push(measured);
    }
    if !arguments.json {
        measurements.iter().try_for_each(|measured| print(&kernels(measured)))?;
    }
    if arguments.json { print_json(&measurements) } else { Ok(()) }
}

/// A table of what kernels take, if that was measured.
fn kernels(measured: &Measurement) -> String {
    let Some(kernels) = &measured.kernels else { return String::new() };
    if kernels.is_empty() {
        return format!("\n{}: no device can time its kernels\n", measured.test);
    }
    let mut table = format!(
        "\n| {} | candidate | adapter | dispatches | of a step | share |\n|---|---|---|---:|---:|---:|\n",
        measured.test
    );
    for kernel in kernels {
        let KernelShare { adapter, kernel, candidate, dispatches, seconds, share } = kernel;
        let (time, percent) = (seconds * 1e3, share * 100.0);
        table += &format!("| {kernel} | {candidate} | {adapter} | {dispatches:.1} | {time:.3} ms | {percent:.1}% |\n");
    }
    table
}

fn line(measured: &Measurement) -> String {
    let rate = measured.tokens_per_s;
    let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.0}%", share * 100.0));
    let (share, overlap) = (percent(measured.bandwidth_share), percent(measured.overlap));
    format!(
        "| {} | {} | {:.2} | {:.2} | {:.2} | {share} | {} | {:.2} ms | {overlap} |\n",
        measured.test,
        measured.adapter,
        rate.median,
        rate.min,
        rate.max,
        measured.dispatches,
        measured.encode_s * 1e3
    )
}
