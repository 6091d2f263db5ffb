//! Long prompts in pieces that go through stages which run at the same time: the logits are those of one stage.

use std::sync::Arc;

use plywood::devices::{Adapter, Kind};
use plywood::kernels::graph::Output;
use plywood::testing::{Call, Faults};
use plywood::tools::bench::{Test, measure};
use plywood::{Cancel, Error, Layers, Model, Rows};
use plywood_tests::{adapters, demo_stories, exact, nmse, wrong_story};

/// Where all is f32, the same computation in another order.
const LIMIT: f64 = 1e-9;

/// Tokens of the prompt: many pieces, the last of them not whole.
const TOKENS: u32 = 300;

fn open(adapters: &[&Adapter], step_tokens: usize) -> Model {
    let options = exact(adapters).step_tokens(step_tokens).step_rows(64);
    Model::open("demo", options).expect("the demo model opens")
}

fn prompt() -> Vec<u32> {
    (0..TOKENS).map(|index| index * 7919 % 2000 + 3).collect()
}

fn logits(model: &Model, rows: Rows) -> Vec<f32> {
    let rows =
        model.session().expect("a session").evaluate(&prompt(), rows, &[Output::Logits]).expect("the prompt is run");
    rows.into_iter().flat_map(|row| row.logits).collect()
}

#[test]
fn pieces_over_stages_are_the_whole() {
    let adapters = adapters();
    let (host, gpus) = adapters.split_last().expect("the host is listed");
    let expected = [Rows::Last, Rows::All].map(|rows| logits(&open(&[host], TOKENS as usize), rows));
    let mut placements = vec![vec![host, host], vec![host, host, host]];
    for gpu in gpus {
        placements.push(vec![gpu, gpu]);
        placements.extend(gpus.iter().filter(|other| other.index > gpu.index).map(|other| vec![gpu, other]));
    }
    for placement in placements {
        let labels: Vec<String> = placement.iter().map(|adapter| adapter.label()).collect();
        let model = open(&placement, 64);
        let errors = [Rows::Last, Rows::All].map(|rows| {
            let expected = &expected[if rows == Rows::Last { 0 } else { 1 }];
            nmse(expected, &logits(&model, rows))
        });
        println!("{}: NMSE {:.1e} of the last row, {:.1e} of all", labels.join(" + "), errors[0], errors[1]);
        assert!(errors.iter().all(|error| *error <= LIMIT), "{labels:?}: {errors:?}");
    }
}

/// A prompt that is cancelled in its pieces leaves a session that goes on.
#[test]
fn a_cancelled_prompt_leaves_nothing() {
    let adapters = adapters();
    let host = adapters.iter().find(|adapter| adapter.kind == Kind::Host).expect("the host is listed");
    let faults = Arc::new(Faults::default());
    let options = exact(&[host, host]).step_tokens(64).hooks(&faults);
    let model = Model::open("demo", options).expect("the demo model opens");
    let expected = logits(&model, Rows::Last);
    let nodes = faults.count("", Call::Submit);
    let mut session = model.session().expect("a session");
    // In the first piece, and while both stages have one.
    for nth in [1, nodes / 2] {
        let cancel = session.canceller();
        faults.act("", Call::Submit, nth, move || cancel.cancel());
        let outcome = session.evaluate(&prompt(), Rows::Last, &[Output::Logits]);
        assert!(matches!(outcome, Err(Error::Cancelled)), "cancelled at node {nth} of {nodes}");
        assert!(session.tokens().is_empty());
    }
    let again = session.evaluate(&prompt(), Rows::Last, &[Output::Logits]).expect("it goes on");
    assert!(nmse(&expected, &again[0].logits) <= LIMIT);
}

/// A measurement is cancelled within a prompt, not after it.
#[test]
fn a_bench_is_cancelled() {
    let adapters = adapters();
    let host = adapters.last().expect("the host is listed");
    let faults = Arc::new(Faults::default());
    let model = Model::open("demo", exact(&[host]).step_tokens(512).hooks(&faults)).expect("the demo model opens");
    let test = Test { prompt: 512, generate: 0, depth: 0 };
    let on = |cancel: Cancel| {
        faults.act("", Call::Submit, 3, move || cancel.cancel());
        true
    };
    assert!(matches!(measure(&model, test, 1, on), Err(Error::Cancelled)));
}

/// Sessions of several threads follow each other through the stages: while one is in the second, another is in the first.
#[test]
fn sessions_follow_each_other() {
    let adapters = adapters();
    let host = adapters.last().expect("the host is listed");
    let begin = std::time::Instant::now();
    let options = exact(&[host, host]).sessions(3).layers(Layers::Split(vec![1, 1]));
    let model = Model::open("demo", options).expect("the demo model opens");
    let stories = demo_stories();
    let told: Vec<Option<String>> = std::thread::scope(|scope| {
        let model = &model;
        let tell = |story| scope.spawn(move || wrong_story(model, story));
        let tellers: Vec<_> = stories.iter().take(3).map(tell).collect();
        tellers.into_iter().map(|teller| teller.join().expect("no thread panics")).collect()
    });
    assert_eq!(told, [None, None, None]);
    let times = model.times();
    let both = plywood::testing::overlap(&times, begin);
    let tokens: usize = stories.iter().take(3).map(|story| story.ids.len()).sum();
    println!("{tokens} tokens in {} steps; both stages busy for {both:.2} of the time", times[0].steps);
    assert!(both > 0.0, "the stages never overlap");
}
