//! `cargo bench --bench stages`: what a cut costs and what overlapping stages give. One adapter, opened once and opened twice with half
//! of the layers on each: a prompt of many pieces, and tokens one by one.
//!
//! Stages on one adapter share it, so a prompt need not be faster: what shows is whether both stages are busy at the same time. One token
//! after the other goes through both in turn, and should take what it takes on one. `PLYWOOD_SHAPE` names another model.

use plywood::adapters::Adapters;
use plywood::bench::{Measurement, Test, measure};
use plywood::{Model, Options};
use plywood_benches::adapter;

const SHAPE: &str = "llama-1b:q8_0";
const PROMPT: usize = 512;
const TOKENS: usize = 8;

/// How often one and two are measured in turn.
const ROUNDS: usize = 5;

fn main() {
    let shape = std::env::var("PLYWOOD_SHAPE").unwrap_or(SHAPE.into());
    let adapters = Adapters::find();
    let adapter = adapter(&adapters);
    let open = |times: usize| {
        let options = Options {
            context: Some(PROMPT),
            adapters: vec![adapter.entry(); times],
            // Pieces of a prompt are the same on both.
            step_tokens: Some(PROMPT / 8),
            ..Options::default()
        };
        let model = Model::synthetic(&shape, options).expect("the model loads");
        println!("{shape} on {} × {times}: loaded in {:.2} s", adapter.label(), model.load_time().as_secs_f64());
        model
    };
    let models = [open(1), open(2)];
    let prompt = Test { prompt: PROMPT, generate: 0, depth: 0 };
    let decode = Test { prompt: 0, generate: TOKENS, depth: 0 };
    for test in [prompt, decode] {
        // In turn, so that what else the machine does meets both.
        let mut rates = [Vec::new(), Vec::new()];
        let mut overlap = None;
        for _ in 0..ROUNDS {
            for (model, rates) in models.iter().zip(&mut rates) {
                let Measurement { tokens_per_s, overlap: found, .. } =
                    measure(model, test, 1, || true).expect("the model runs");
                rates.push(tokens_per_s.median);
                overlap = found.or(overlap);
            }
        }
        let [one, two] = rates.map(|mut rates| {
            rates.sort_by(f64::total_cmp);
            rates[rates.len() / 2]
        });
        let both =
            overlap.map_or("no overlap".into(), |share| format!("both stages busy {:.0}% of the time", share * 100.0));
        println!("{}: {one:.2} tokens/s on one, {two:.2} on two, ratio {:.3}, {both}", test.name(), two / one);
    }
}
