//! `ply quantize`: writes a GGUF file of a model, its matrices in fewer bits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use plywood::ledger::HumanBytes;
use plywood::models::output::partial_path;
use plywood::models::quantise::mixes::{self, Mix};
use plywood::models::quantise::{Importance, Options, Override, Plan, Report};
use serde::Serialize;

use crate::options::ForceArgument;
use crate::output::{Failure, Outcome, byte_bar, interrupted, note, on_interrupt, print, print_json};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// A .gguf file (the first of a split set), a Hugging Face directory, or `demo`
    input: PathBuf,
    /// The GGUF file to write
    output: PathBuf,
    #[arg(short = 't', long = "type", value_name = "TYPE", value_parser = mix, help = types())]
    mix: &'static Mix,
    /// How much columns count: a file of llama.cpp's imatrix tool
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// All matrices alike, without the exceptions that the type has
    #[arg(long)]
    pure: bool,
    /// Another type for the matrices that have PATTERN in their names, where `*` stands for anything; the first that fits counts
    #[arg(long = "tensor", value_name = "PATTERN=TYPE")]
    overrides: Vec<Override>,
    #[command(flatten)]
    force: ForceArgument,
    /// One JSON value on standard output, and nothing else there
    #[arg(long)]
    json: bool,
    /// No progress and no figures
    #[arg(short, long)]
    quiet: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Told {
    r#type: &'static str,
    input_bytes: u64,
    output_bytes: u64,
    seconds: f64,
    requantised: usize,
    instead: usize,
    types: BTreeMap<String, Share>,
}

/// What one type has of the file.
#[derive(Serialize)]
struct Share {
    tensors: usize,
    bytes: u64,
}

fn known() -> String {
    mixes::ALL.iter().map(Mix::name).collect::<Vec<_>>().join(", ")
}

fn types() -> String {
    format!("What it shall be, by llama.cpp's names for types of files: {}", known())
}

fn mix(name: &str) -> Result<&'static Mix, String> {
    Mix::find(name).ok_or_else(|| format!("take one of {}", known()))
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Outcome {
    let Arguments { mix, pure, overrides, quiet, .. } = arguments;
    let importance = arguments.imatrix.as_deref().map(Importance::open).transpose()?;
    let plan = Plan::new(&arguments.input, Options { mix, pure, overrides, importance })?;
    let existing = arguments.force.existing();
    plan.check_output(&arguments.output, existing)?;
    let (requantised, instead) = (plan.requantised(), plan.instead());
    if requantised > 0 {
        note(&format!(
            "ply: warning: {requantised} matrices are quantised already: errors add up; quantise from the model's floats if you can"
        ));
    }
    if instead > 0 && !quiet {
        note(&format!(
            "ply: {instead} matrices get a type of smaller blocks, since those of {} do not divide their rows",
            mix.name()
        ));
    }
    let partial = partial_path(&arguments.output);
    // Should a second Ctrl-C end the process at once, there is nothing left to clean up.
    on_interrupt(move || _ = std::fs::remove_file(&partial));
    let report = plan.write(&arguments.output, existing, byte_bar(quiet, "quantising"));
    if report.is_err() && interrupted().load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let Report { input_bytes, output_bytes, seconds } = report?;
    if arguments.json {
        let types =
            plan.formats().into_iter().map(|(name, (tensors, bytes))| (name, Share { tensors, bytes })).collect();
        let told = Told { r#type: mix.name(), input_bytes, output_bytes, seconds, requantised, instead, types };
        return print_json(&told);
    }
    if quiet {
        return Ok(());
    }
    let (from, to) = (HumanBytes(input_bytes), HumanBytes(output_bytes));
    print(&format!("{}: {}, {from} to {to} in {seconds:.1} s\n", arguments.output.display(), mix.name()))
}
