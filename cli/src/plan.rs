//! `ply plan`: where a model would lie and how fast it should go, without loading it.

use std::path::PathBuf;

use clap::Args;
use plywood::Error;
use plywood::devices::hypothetical;
use plywood::kernels::lowering::Batch;
use plywood::kernels::step::ONE_TILE;
use plywood::ledger::HumanBytes;
use plywood::planning::{self, Plan};

use crate::flags;
use crate::options::{DeviceArguments, ModelArguments, ModelSource, describe, read_text};
use crate::output::{Failure, Outcome, print, print_json};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Devices that need not be there: a JSON list of objects with name, memory, free, bandwidth, link and kind
    #[arg(long, value_name = "FILE", conflicts_with_all = ["adapters", "cards"])]
    devices: Option<PathBuf>,
    /// Cards that need not be there, such as "2x RTX 3090 + RTX 3060"; a wrong name lists the known ones
    #[arg(long = "as", value_name = "CARDS", conflicts_with = "adapters")]
    cards: Option<String>,
    #[command(flatten)]
    device: DeviceArguments,
    /// A JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let devices = match (&arguments.devices, &arguments.cards) {
        (Some(path), _) => Some(hypothetical::from_json(&read_text(path)?).map_err(|error| named(path, &error))?),
        (None, Some(cards)) => Some(hypothetical::from_names(cards)?),
        (None, None) => None,
    };
    let options = arguments.device.options();
    let plan = match arguments.model.source()? {
        ModelSource::Path(path) => planning::plan(path, &options, devices)?,
        ModelSource::Synthetic(name) => planning::plan_synthetic(name, &options, devices)?,
    };
    let plan = in_flags(plan);
    if arguments.json { print_json(&plan) } else { print(&text(&plan, arguments.device.verbose)) }
}

/// What a plan says, in flags.
fn in_flags(plan: Plan) -> Plan {
    let all = |texts: Vec<String>| texts.iter().map(|text| flags::in_flags(text)).collect();
    Plan {
        reason: plan.reason.map(|reason| flags::in_flags(&reason)),
        advice: all(plan.advice),
        notes: all(plan.notes),
        ..plan
    }
}

/// An error of a file of devices, with its name.
fn named(path: &std::path::Path, error: &Error) -> Failure {
    Failure::Work(format!("{}: {error}", path.display()))
}

/// The plan for a person; a verbose one names the kernels that would run.
fn text(plan: &Plan, verbose: bool) -> String {
    let mut lines = Vec::new();
    match &plan.reason {
        None => lines.push(format!("It fits with a context of {} tokens.", plan.context)),
        Some(reason) => lines.push(format!("It does not fit with a context of {} tokens: {reason}.", plan.context)),
    }
    for (index, stage) in plan.stages.iter().enumerate() {
        let layers = stage.layers.map_or("no layers".into(), |(first, last)| format!("layers {first}-{last}"));
        lines.push(format!("{}: {layers}, {}", stage.adapter, describe(stage)));
        if let Some(available) = stage.available {
            let left = available.saturating_sub(stage.bytes.total());
            lines.push(format!("    {} for it, of which {} stay free", HumanBytes(available), HumanBytes(left)));
        }
        let kernels = plan.kernels.get(index).filter(|_| verbose);
        for kernel in kernels.into_iter().flatten() {
            let rows = match kernel.batch {
                Batch::Few(most) => format!("up to {most} rows"),
                Batch::OneTile => format!("up to {ONE_TILE} rows"),
                Batch::Many => "more rows".into(),
            };
            lines.push(format!("    {:<14} {rows:<13} {}", kernel.op, kernel.candidate));
        }
    }
    if let Some(expected) = plan.expected {
        let (rate, seconds) = (expected.decode_tokens_per_s, expected.load_s.ceil());
        let digits = if rate < 1.0 { 3 } else { 1 };
        lines.push(format!(
            "Expected, from bytes and speeds and not from a run: {rate:.digits$} tokens/s when generating, loaded in {seconds} s."
        ));
    }
    if plan.reason.is_some() {
        match plan.advice.as_slice() {
            [] => lines.push("Nothing that was tried would fit either; use a smaller model or more devices.".into()),
            some => {
                lines.push("It would fit with any of these:".into());
                lines.extend(some.iter().map(|advice| format!("    {advice}")));
            }
        }
    }
    lines.extend(plan.notes.iter().map(|note| format!("Note: {note}.")));
    lines.join("\n") + "\n"
}
