//! `cargo bench --bench stages`: what a cut costs and what overlapping stages give. One adapter, opened once and opened twice with half
//! of the layers on each: a prompt of many pieces, and tokens one by one.
//!
//! Stages on one adapter share it, so a prompt need not be faster: what shows is whether both stages are busy at the same time; with 8 pieces
//! at most 7 of 9 parts of the time. One token after the other goes through both in turn, and should take what it takes on one.
//! `PLYWOOD_SHAPE` names another model.

use std::time::Duration;

use plywood::devices::Adapters;
use plywood::kernels::device::Processor;
use plywood::tools::bench::{Measurement, Test, measure};
use plywood::{Devices, Model, Options};
use plywood_benches::adapter;

const SHAPE: &str = "llama-1b:q8_0";

/// Pieces of the prompt, and tokens of each; a software adapter takes its time.
const PIECES: usize = 8;
const GPU_TOKENS: usize = 256;
const CPU_TOKENS: usize = 4;

/// Tokens that are generated one by one.
const TOKENS: usize = 24;

/// How often one and two are measured in turn.
const ROUNDS: usize = 3;

fn main() {
    let shape = std::env::var("PLYWOOD_SHAPE").unwrap_or(SHAPE.into());
    let adapters = Adapters::find();
    let adapter = adapter(&adapters);
    let piece = if adapter.features.processor == Processor::Cpu { CPU_TOKENS } else { GPU_TOKENS };
    let open = |times: usize| {
        let options = Options::default()
            .context((PIECES * piece).max(TOKENS))
            .devices(Devices::adapters(vec![adapter.entry(); times]))
            .step_tokens(piece);
        let model = Model::synthetic(&shape, options).expect("the model loads");
        println!("{shape} on {} × {times}: loaded in {:.2} s", adapter.label(), model.load_time().as_secs_f64());
        model
    };
    let models = [open(1), open(2)];
    let prompt = Test { prompt: PIECES * piece, generate: 0, depth: 0 };
    let decode = Test { prompt: 0, generate: TOKENS, depth: 0 };
    for test in [prompt, decode] {
        // In turn, so that what else the machine does meets both.
        let mut rates = [Vec::new(), Vec::new()];
        let mut overlap = 0.0;
        for _ in 0..ROUNDS {
            for (model, rates) in models.iter().zip(&mut rates) {
                let measured: Measurement = measure(model, test, 1, |_| true).expect("the model runs");
                rates.push(measured.tokens_per_s.median);
                overlap = measured.overlap.unwrap_or(overlap);
            }
        }
        let [one, two] = rates.map(median);
        let (name, ratio, share) = (test.name(), two / one, overlap * 100.0);
        println!(
            "{name}: {one:.2} tokens/s on one, {two:.2} on two, ratio {ratio:.3}, both stages busy {share:.0}% of the time"
        );
    }
    for model in models {
        let times = model.times();
        let latest = times.iter().map(|times| times.timeline.iter().rev().take(TOKENS * ROUNDS));
        let busy = latest.map(|spans| median(spans.map(|span| (span.end - span.start).as_secs_f64()).collect()));
        let busy: Vec<String> = busy.map(|seconds| format!("{:.2} ms", seconds * 1e3)).collect();
        let crossing = times.windows(2).map(|pair| {
            let pairs = pair[0].timeline.iter().rev().zip(pair[1].timeline.iter().rev()).take(TOKENS * ROUNDS);
            median(pairs.map(|(first, second)| second.start.duration_since(first.end).as_secs_f64()).collect())
        });
        let crossing: Vec<Duration> = crossing.map(Duration::from_secs_f64).collect();
        println!("a token takes {}, and crosses in {crossing:?}", busy.join(" + "));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
