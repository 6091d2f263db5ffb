//! `ply selftest`: every kernel on every device against the reference.

use std::sync::atomic::Ordering;

use clap::Args;
use plywood::devices::{Adapter, Adapters};
use plywood::kernels::cases::Case;
use plywood::tools::selftest::{Bench, CaseResult, Expected};

use crate::output::{Failure, Outcome, counting_bar, interrupted, note, print, print_json};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// Only these adapters, by number, name, backend:name or `host` [default: all]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    adapters: Vec<String>,
    /// Only ops whose name holds this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    op: String,
    /// Every case in the table, not only those that fail
    #[arg(short, long)]
    verbose: bool,
    /// A JSON list on standard output
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let adapters = Adapters::find();
    let chosen: Vec<&Adapter> = if arguments.adapters.is_empty() {
        adapters.list().iter().collect()
    } else {
        adapters.choose(&arguments.adapters)?
    };
    let cases: Vec<Case> =
        plywood::kernels::cases::all().into_iter().filter(|case| case.op.contains(&arguments.op)).collect();
    if cases.is_empty() {
        return Err(Failure::Usage(format!("--op: no op's name holds `{}`", arguments.op)));
    }
    let mut results = Vec::new();
    let mut unopened = 0;
    for adapter in chosen {
        let begin = results.len();
        test(arguments, &adapters, adapter, &cases, &mut results, &mut unopened)?;
        if !arguments.json {
            print(&table(adapter, &results[begin..], arguments.verbose))?;
        }
    }
    let failed = results.iter().filter(|result| !result.passed).count();
    if arguments.json {
        print_json(&results)?;
    }
    match (failed, unopened) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::Work(format!("{unopened} devices could not be opened"))),
        _ => Err(Failure::Work(format!(
            "{failed} of {} cases failed: do not trust these devices; please report the table with `ply adapters`",
            results.len()
        ))),
    }
}

fn test(
    arguments: &Arguments,
    adapters: &Adapters,
    adapter: &Adapter,
    cases: &[Case],
    results: &mut Vec<CaseResult>,
    unopened: &mut usize,
) -> Outcome {
    let interrupted = interrupted();
    let bench = match Bench::open(adapters, adapter) {
        Ok(bench) => bench,
        // One device that can't be opened must not keep the others from being tested.
        Err(error) => {
            note(&format!("ply: {error}"));
            *unopened += 1;
            return Ok(());
        }
    };
    let bar = counting_bar(arguments.quiet, cases.len() as u64);
    bar.set_message(adapter.label());
    for case in cases {
        let expected = Expected::of(case);
        for variant in bench.variants(case) {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::Interrupted);
            }
            results.push(bench.check(&expected, &variant));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A line for each op and variant, and below it the cases that failed.
fn table(adapter: &Adapter, results: &[CaseResult], verbose: bool) -> String {
    use std::fmt::Write;
    let mut text = adapter.label();
    text.push('\n');
    let mut groups: Vec<(&str, &str)> = results.iter().map(|result| (result.op, result.variant.as_str())).collect();
    groups.sort_unstable();
    groups.dedup();
    for (op, variant) in groups {
        let is_of = |result: &&CaseResult| (result.op, result.variant.as_str()) == (op, variant);
        let group: Vec<&CaseResult> = results.iter().filter(is_of).collect();
        let passed = group.iter().filter(|result| result.passed).count();
        let worst = group.iter().map(|result| result.nmse.unwrap_or(f64::INFINITY)).fold(0.0, f64::max);
        let verdict = if passed == group.len() { "passed" } else { "FAILED" };
        _ = writeln!(text, "  {op:<14} {passed:>3} of {:<3} {verdict}, worst NMSE {worst:.1e}, {variant}", group.len());
        for result in group.iter().filter(|result| verbose || !result.passed) {
            let format = result.format.unwrap_or("-");
            let nmse = result.nmse.map_or("not a number".into(), |nmse| format!("{nmse:.1e}"));
            let error = result.error.as_deref().unwrap_or_default();
            _ = writeln!(text, "    {format:<5} {}: {nmse} (limit {:.0e}) {error}", result.case, result.limit);
        }
    }
    text
}
