//! Perplexity against the recorded likelihoods, and against itself.

use std::fs;

use plywood::devices::Adapter;
use plywood::kernels::formats::Q8_0;
use plywood::kernels::graph::Output;
use plywood::kernels::kv_cache::KvType;
use plywood::testing::{Choices, Hooks, Preference};
use plywood::tools::perplexity::{Scoring, score};
use plywood::{Error, Model, Options, Rows};
use plywood_tests::families::folder;
use plywood_tests::{adapters, exact, expected, gpus, ids, nmse, on, on_host, stories, text};
use safetensors::SafeTensors;
use serde_json::Value;

/// The largest relative error of a likelihood in f32 against float64.
const SHARE: f64 = 1e-5;

fn open(weights: &str, context: usize) -> Option<Model> {
    let adapters = adapters();
    let options = exact(&[adapters.first()?]).context(context).step_rows(64);
    Some(Model::open(stories(&format!("stories260k-{weights}.gguf"))?, options).expect("the model opens"))
}

#[test]
fn every_token_scores_as_recorded() {
    let Some(expected) = expected("nll.json") else { return };
    for weights in ["f32", "f16", "mixed"] {
        let Some(model) = open(weights, 512) else { return };
        for story in expected["texts"].as_array().expect("a list of texts") {
            let (ids, wanted) = (ids(&story["ids"]), story["mean_nll"][weights].as_f64().expect("a number"));
            let found = score(&model, None, &ids[1..], Scoring::All, |_, _| true).expect("the text is scored");
            println!("{weights}, {}: {} instead of {wanted}", text(&story["name"]), found.nll);
            assert_eq!(found.tokens, ids.len() - 1);
            assert!((found.nll - wanted).abs() < SHARE * wanted);
        }
    }
}

/// Where all tokens are as likely as each other, a model is as perplexed as there are tokens.
#[test]
fn perplexity_counts_what_may_come_next() {
    let directory = tempfile::tempdir().expect("a folder");
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(folder("llama2").join(file), directory.path().join(file)).expect("it is copied");
    }
    let path = directory.path().join("model.safetensors");
    let mut bytes = fs::read(&path).expect("weights");
    let (header, tensors) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
    // Without the norm before the output all logits are 0.
    let (begin, end) = tensors.info("model.norm.weight").expect("the last norm").data_offsets;
    bytes[8 + header..][begin..end].fill(0);
    fs::write(&path, bytes).expect("it is written");
    let model = Model::open(directory.path(), on_host()).expect("the model opens");
    let found = score(&model, None, &[5, 9, 33, 2, 60, 7], Scoring::All, |_, _| true).expect("the tokens are scored");
    let tokens = model.config().vocabulary as f64;
    assert!((found.perplexity / tokens - 1.0).abs() < 1e-12, "{} of {tokens} tokens", found.perplexity);
}

/// The share by which a file of stories260k is off in the likelihood of an expected text.
fn off_by(file: &str, options: Options, text: &Value) -> f64 {
    let (ids, wanted) = (ids(&text["ids"]), text["mean_nll"][file].as_f64().expect("a number"));
    let path = stories(&format!("stories260k-{file}.gguf")).expect("the data are there");
    let model = Model::open(path, options).expect("the model opens");
    let found = score(&model, None, &ids[1..], Scoring::All, |_, _| true).expect("the text is scored");
    println!("{} instead of {wanted}", found.nll);
    (found.nll - wanted).abs() / wanted
}

/// A cache in fewer bits costs little, and something: the type that was asked for is the one that is used.
#[test]
fn caches_cost_little() {
    let Some(expected) = expected("nll.json") else { return };
    for adapter in gpus() {
        for (kv_type, least, most) in [(KvType::F32, 0.0, SHARE), (KvType::F16, 1e-9, 1e-4), (KvType::Q8, 1e-6, 2e-3)] {
            let options = on(&[&adapter]).kv_type(kv_type).context(512).step_rows(64);
            let share = off_by("f32", options, &expected["texts"][0]);
            println!("{}, {}: {share:.1e}", adapter.label(), kv_type.name());
            assert!(share >= least && share < most, "{share}");
        }
    }
}

/// Rows whose activations are rounded to bytes, in integer dot products, cost little, and something.
#[test]
fn bytes_cost_little() {
    let Some(expected) = expected("nll.json") else { return };
    for adapter in gpus() {
        for (method, rows) in [("integer tiles", 64), ("integer matrix-vector", 8)] {
            let preferred = vec![Preference { op: "matmul".into(), candidate: method.into() }];
            let hooks = Hooks { choices: Choices { preferred, ..Choices::default() }, ..Hooks::default() };
            let options = on(&[&adapter]).kv_type(KvType::F32).context(512).step_rows(rows).hooks(hooks);
            let share = off_by("mixed", options, &expected["texts"][0]);
            println!("{}, {method}: {share:.1e}", adapter.label());
            assert!(share > 1e-6 && share < 5e-3, "{share}");
        }
    }
}

/// Windows score their second half alone, as the rows of a session say.
#[test]
fn windows_score_their_second_half() {
    let (Some(expected), Some(model)) = (expected("nll.json"), open("f32", 64)) else { return };
    let text = ids(&expected["texts"][0]["ids"])[1..].to_vec();
    let (mut sum, mut tokens) = (0.0, 0);
    for window in text.chunks_exact(64) {
        let mut window = window.to_vec();
        window[0] = 1;
        let mut session = model.session().expect("a session is free");
        let rows = session.evaluate(&window, Rows::All, &[Output::Logits, Output::LogSumExp]).expect("the window runs");
        for place in 32..63 {
            let log_sum_exp = rows[place].log_sum_exp.expect("it was wanted");
            sum += f64::from(log_sum_exp - rows[place].logits[window[place + 1] as usize]);
            tokens += 1;
        }
    }
    let found = score(&model, None, &text, Scoring::Windows, |_, _| true).expect("the text is scored");
    assert_eq!(found.tokens, tokens);
    assert!((found.nll - sum / tokens as f64).abs() < 1e-5, "{} instead of {}", found.nll, sum / tokens as f64);
}

#[test]
fn a_reference_tells_what_differs() {
    let Some(expected) = expected("nll.json") else { return };
    let (Some(model), Some(mixed)) = (open("f32", 256), open("mixed", 256)) else { return };
    let text = &ids(&expected["texts"][0]["ids"])[1..200];
    let against = |reference: &Model| {
        let score = score(&model, Some(reference), text, Scoring::All, |_, _| true).expect("the text is scored");
        score.against.expect("there is a reference")
    };
    let same = against(&open("f32", 256).expect("it opened before"));
    assert_eq!((same.kl, same.same_top), (0.0, 1.0));
    let other = against(&mixed);
    assert!(other.kl > 1e-5 && other.kl < 0.01 && other.same_top > 0.9 && other.same_top <= 1.0, "{other:?}");
}

#[test]
fn what_cannot_be_scored_is_an_error() {
    let Some(model) = open("f32", 64) else { return };
    let refused =
        |tokens: &[u32], scoring| score(&model, None, tokens, scoring, |_, _| true).expect_err("it can't be scored");
    let too_short = |tokens: &[u32], scoring, says: &str| match refused(tokens, scoring) {
        Error::Option { option: "perplexity::score", reason } => assert!(reason.contains(says), "{reason}"),
        error => panic!("{error}"),
    };
    too_short(&[], Scoring::All, "no tokens");
    too_short(&[5; 63], Scoring::Windows, "63 tokens, less than a window of 64");
    assert!(matches!(refused(&[5; 64], Scoring::All), Error::ContextFull { tokens: 65, context: 64 }));
    let unknown = refused(&[u32::MAX; 64], Scoring::Windows);
    assert!(matches!(unknown, Error::UnknownToken { token: u32::MAX, vocabulary: 512 }), "{unknown}");
    let cancelled = score(&model, None, &[5; 64], Scoring::Windows, |_, _| false);
    assert!(matches!(cancelled, Err(Error::Cancelled)));
}

/// The demo's bf16 master, quantised at load, is the demo that the Python package `gguf` quantised.
#[test]
fn quantised_at_load() {
    let master = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/master");
    let logits = |path: &str, quantize, adapter: &Adapter| {
        let options = exact(&[adapter]).quantize(quantize).step_rows(16);
        let model = Model::open(path, options).expect("the model opens");
        let mut session = model.session().expect("a session is free");
        let rows =
            session.evaluate(&[0, 40, 454, 79, 920, 11, 300], Rows::All, &[Output::Logits]).expect("the step runs");
        rows.into_iter().flat_map(|row| row.logits).collect::<Vec<f32>>()
    };
    for adapter in adapters() {
        let expected = logits("demo", None, &adapter);
        let quantised = nmse(&expected, &logits(master, Some(Q8_0), &adapter));
        let floats = nmse(&expected, &logits(master, None, &adapter));
        println!("{}: NMSE {quantised:.1e} quantised, {floats:.1e} as it is", adapter.label());
        assert!(quantised <= 1e-9 && floats > 1e-6);
    }
}
