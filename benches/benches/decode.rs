//! `cargo bench --bench decode`: one decode step of the shape of Llama-3.2-1B in Q8_0, and apart from it the CPU's encoding.

use std::time::Duration;

use criterion::Criterion;
use plywood::devices::Adapters;
use plywood::kernels::graph::Output;
use plywood::tools::bench;
use plywood::{Devices, Model, Options, Rows};
use plywood_benches::{adapter, settings};

const SHAPE: &str = "llama-1b:q8_0";
const CONTEXT: usize = 512;

fn main() {
    let adapters = Adapters::find();
    let adapter = adapter(&adapters);
    let options = Options::default().context(CONTEXT).devices(Devices::adapters(vec![adapter.index.to_string()]));
    let model = Model::synthetic(SHAPE, options).expect("the model loads");
    let mut criterion = settings(Criterion::default()).configure_from_args();
    let mut group = criterion.benchmark_group(format!("{SHAPE} on {}", adapter.label()));
    group.bench_function("decode step", |bencher| bencher.iter_custom(|times| run(&model, times).0));
    group.bench_function("encoding", |bencher| bencher.iter_custom(|times| run(&model, times).1));
    group.finish();
    let test = bench::Test { prompt: 0, generate: 4, depth: 0 };
    let measured = bench::measure(&model, test, 1, |_| true).expect("the model runs");
    let share = measured.bandwidth_share.map_or("-".into(), |share| format!("{:.0}%", share * 100.0));
    println!(
        "{} dispatches, {:.2} GB a step, {share} of the measured copy bandwidth",
        measured.dispatches,
        measured.bytes_per_step as f64 / 1e9
    );
    criterion.final_summary();
}

/// Runs this many steps; gives the time of all, and of it the encoding.
fn run(model: &Model, times: u64) -> (Duration, Duration) {
    let mut session = model.session().expect("there is a session");
    let before = model.times().swap_remove(0);
    for step in 0..times {
        if session.tokens().len() == CONTEXT {
            session.truncate(0);
        }
        session.evaluate(&[step as u32 % 1000], Rows::Last, &[Output::Argmax]).expect("the step runs");
    }
    let after = model.times().swap_remove(0);
    (after.busy - before.busy, after.encode - before.encode)
}
