//! A real model's logits against float64's: NMSE of a sentence, mean negative log-likelihood of two texts.

use plywood::kernels::graph::Output;
use plywood::{Model, Row, Rows};
use plywood_tests::families::numbers;
use plywood_tests::{adapters, exact, expected, expected_stories, ids, nmse, none_wrong, on, stories, tell, text};
use safetensors::SafeTensors;

/// The recorded sentence: its ids, and the logits of each.
fn recorded() -> Option<(Vec<u32>, Vec<f32>)> {
    let bytes = std::fs::read(stories("expected/logits.safetensors")?).expect("the file is there");
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let data = |name| numbers(&tensors, name).expect("a recorded tensor").into_iter();
    Some((data("input_ids").map(|id| id as u32).collect(), data("logits").map(|logit| logit as f32).collect()))
}

/// Runs the recorded sentence on every adapter, at once and in steps of 5 tokens.
///
/// The limits are those of one kernel: ten times the epsilon of the norms would pass 1e-6. The logits were recorded
/// for the f32 weights; rounding these to f16 alone gives 8.5e-8.
fn check_logits(file: &str, limit: f64) {
    let (Some(path), Some((ids, logits))) = (stories(file), recorded()) else { return };
    let mut wrong = Vec::new();
    for adapter in adapters() {
        for step_tokens in [ids.len(), 5] {
            let options = exact(&[&adapter]).step_tokens(step_tokens).step_rows(ids.len());
            let model = Model::open(&path, options).expect("the model opens");
            let mut session = model.session().expect("a session is free");
            let rows = session.evaluate(&ids, Rows::All, &[Output::Logits]).expect("the sentence is run");
            let computed: Vec<f32> = rows.into_iter().flat_map(|row| row.logits).collect();
            let error = nmse(&logits, &computed);
            let line = format!("{file} on {}, {step_tokens} tokens a step: NMSE {error:.1e}", adapter.label());
            println!("{line}");
            if error > limit {
                wrong.push(format!("{line} is above {limit:.0e}"));
            }
        }
    }
    none_wrong(&wrong);
}

#[test]
fn logits_of_the_f32_file() {
    check_logits("stories260k-f32.gguf", 1e-9);
}

#[test]
fn logits_of_the_f16_file() {
    check_logits("stories260k-f16.gguf", 1e-6);
}

#[test]
fn logits_of_the_directory() {
    check_logits("hf", 1e-9);
}

/// The logarithm of the sum of exponentials, in float64.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    f64::from(largest) + logits.iter().map(|logit| f64::from(logit - largest).exp()).sum::<f64>().ln()
}

/// Mean −ln p of each id after the ids before it; checks on the way what the device itself says of each row.
fn mean_nll(ids: &[u32], rows: &[Row]) -> f64 {
    let nll = |(row, next): (&Row, &u32)| {
        let log_sum_exp = log_sum_exp(&row.logits);
        let told = f64::from(row.log_sum_exp.expect("it was wanted"));
        assert!((told - log_sum_exp).abs() < 1e-4, "the device's log_sum_exp is {told} instead of {log_sum_exp}");
        let largest = row.logits.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(row.logits.iter().position(|logit| *logit == largest), row.argmax.map(|id| id as usize));
        assert_eq!(row.top_k.first().map(|(id, logit)| (Some(*id), *logit)), Some((row.argmax, largest)));
        log_sum_exp - f64::from(row.logits[*next as usize])
    };
    rows.iter().zip(&ids[1..]).map(nll).sum::<f64>() / rows.len() as f64
}

/// The mean NLL of both texts on every adapter, within a share of what float64 gives.
fn check_nll(weights: &str, share: f64) {
    let (Some(path), Some(expected)) = (stories(&format!("stories260k-{weights}.gguf")), expected("nll.json")) else {
        return;
    };
    let mut wrong = Vec::new();
    for adapter in adapters() {
        let options = exact(&[&adapter]).step_tokens(128).step_rows(128);
        let model = Model::open(&path, options).expect("the model opens");
        for story in expected["texts"].as_array().expect("a list of texts") {
            let (ids, wanted) = (ids(&story["ids"]), story["mean_nll"][weights].as_f64().expect("a number"));
            let requested = [Output::Logits, Output::LogSumExp, Output::Argmax, Output::TopK];
            let mut session = model.session().expect("a session is free");
            let rows = session.evaluate(&ids[..ids.len() - 1], Rows::All, &requested).expect("the text is run");
            let nll = mean_nll(&ids, &rows);
            let off = (nll - wanted).abs() / wanted;
            let line =
                format!("{weights} on {}, {}: NLL {nll:.6}, off by {off:.1e}", adapter.label(), text(&story["name"]));
            println!("{line}");
            if off > share {
                wrong.push(format!("{line}, more than {share:.0e}"));
            }
        }
    }
    none_wrong(&wrong);
}

#[test]
fn likelihood_of_the_f32_file() {
    check_nll("f32", 1e-5);
}

#[test]
fn likelihood_of_the_f16_file() {
    check_nll("f16", 1e-5);
}

#[test]
fn likelihood_of_the_mixed_file() {
    check_nll("mixed", 1e-3);
}

/// Without exactness the mixed file may leave the path, but only where the gap is small.
#[test]
fn the_mixed_file_begins_the_story() {
    let (Some(path), Some(stories)) = (stories("stories260k-mixed.gguf"), expected_stories("greedy_mixed_ids.json"))
    else {
        return;
    };
    for adapter in adapters() {
        let model = Model::open(&path, on(&[&adapter])).expect("the model opens");
        for story in &stories {
            let (ids, text) = tell(&model, story).expect("the story is told");
            assert_eq!(ids[..40], story.ids[..40], "{}: {text}", adapter.label());
        }
    }
}
