//! `ply adapters`: the devices that there are.

use clap::Args;
use plywood::devices::{Adapter, Adapters, Kind, Memory};
use plywood::ledger::HumanBytes;
use serde::Serialize;

use crate::output::{Outcome, print, print_json};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// A JSON list on standard output
    #[arg(long)]
    json: bool,
}

/// A device as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    index: usize,
    name: &'a str,
    backend: &'a str,
    kind: Kind,
    driver: &'a str,
    memory_total: Option<u64>,
    memory_free: Option<u64>,
    features: FeaturesReport,
    limits: LimitsReport,
}

#[derive(Serialize)]
struct FeaturesReport {
    subgroup: Option<(u32, u32)>,
    f16: bool,
    int_dot: bool,
    matrix: bool,
}

#[derive(Serialize)]
struct LimitsReport {
    max_binding: u64,
    max_buffer: u64,
}

impl<'a> Report<'a> {
    fn of(adapter: &'a Adapter) -> Report<'a> {
        Report {
            index: adapter.index,
            name: &adapter.name,
            backend: adapter.backend,
            kind: adapter.kind,
            driver: &adapter.driver,
            memory_total: adapter.memory.map(|memory| memory.total),
            memory_free: adapter.memory.and_then(|memory| memory.free),
            features: FeaturesReport {
                subgroup: adapter.features.subgroup,
                f16: adapter.features.f16,
                // No kernel uses integer dot products yet, so that none was measured.
                int_dot: false,
                matrix: adapter.matrix,
            },
            limits: LimitsReport { max_binding: adapter.max_binding, max_buffer: adapter.max_buffer },
        }
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let adapters = Adapters::find();
    if arguments.json {
        return print_json(&adapters.list().iter().map(Report::of).collect::<Vec<_>>());
    }
    let default = adapters.best().index;
    adapters.list().iter().try_for_each(|adapter| print(&describe(adapter, adapter.index == default)))
}

fn describe(adapter: &Adapter, is_default: bool) -> String {
    let kind = format!("{:?}", adapter.kind).to_lowercase();
    let memory = match adapter.memory {
        Some(Memory { total, free: Some(free) }) => format!("{} free of {}", HumanBytes(free), HumanBytes(total)),
        Some(Memory { total, free: None }) => HumanBytes(total).to_string(),
        None => "memory not told by the platform".into(),
    };
    let subgroup = match adapter.features.subgroup {
        Some((least, most)) if least == most => format!("subgroups of {least}"),
        Some((least, most)) => format!("subgroups of {least} to {most}"),
        None => "no subgroups".into(),
    };
    let f16 = if adapter.features.f16 { "f16" } else { "no f16" };
    let matrix = if adapter.matrix { ", matrix units" } else { "" };
    let binding = HumanBytes(adapter.max_binding);
    let what = if adapter.kind == Kind::Host {
        let why = if is_default { " · taken where no adapter is named, since there is no GPU" } else { "" };
        format!("    {} · {memory}{why}\n", adapter.driver)
    } else {
        format!("    {} · {memory} · {subgroup}, {f16}{matrix} · bindings to {binding}\n", adapter.driver)
    };
    format!("{} {} [{kind}]\n{what}", adapter.index, adapter.label())
}
