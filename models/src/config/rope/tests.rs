//! Frequencies and factors against transformers', as `models/tests/families/rotations.py` recorded them.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::architectures::{ALL, GgufYarn};
use crate::checkpoint::Settings;
use crate::gguf::{self, Metadata};

/// Rounding of float64 in other orders.
const LIMIT: f64 = 1e-13;

fn recorded() -> Value {
    serde_json::from_str(include_str!("../../../tests/families/rotations.json")).expect("it is kept right")
}

fn directory(value: Value, elements: usize) -> Result<Rope> {
    Rope::of_directory(&Json { file: "config.json".into(), value }, &ALL[0], elements)
}

/// Checks numbers against a recorded list.
fn check(name: &str, found: impl IntoIterator<Item = f64>, recorded: &Value) {
    let found: Vec<f64> = found.into_iter().collect();
    let recorded = recorded.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number"));
    assert_eq!(found.len(), recorded.len(), "{name}");
    for (found, recorded) in found.into_iter().zip(recorded) {
        assert!((found / recorded - 1.0).abs() < LIMIT, "{name}: {found:e} instead of {recorded:e}");
    }
}

fn check_rope(rope: &Rope, factors: Option<&Factors>, recorded: &Value) {
    let name = recorded["name"].as_str().expect("a name");
    let divided = |by: Option<&Vec<f64>>| -> Vec<f64> {
        let by = by.map_or(vec![1.0; rope.rotated / 2], Clone::clone);
        rope.inverse_frequencies().iter().zip(by).map(|(frequency, by)| frequency / by).collect()
    };
    check(name, divided(factors.map(|factors| &factors.short)), &recorded["short"]);
    check(name, divided(factors.map(|factors| &factors.long)), &recorded["long"]);
    check(name, [rope.magnitude], &json!([recorded["magnitude"]]));
    if !recorded["score"].is_null() {
        check(name, [rope.score_factor()], &json!([recorded["score"]]));
    }
}

#[test]
fn directories_turn_as_in_transformers() {
    for recorded in recorded()["directories"].as_array().expect("a list") {
        let elements = recorded["elements"].as_u64().expect("a number") as usize;
        let rope = directory(recorded["config"].clone(), elements).expect("settings that are known");
        let factors = match &rope.scaling {
            Scaling::Long { factors, .. } => factors.as_ref(),
            _ => None,
        };
        check_rope(&rope, factors, recorded);
    }
}

fn fixture(name: &str) -> Checkpoint {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families");
    Checkpoint::open(folder.join(name).join("model.gguf")).expect("a GGUF file")
}

fn metadata(checkpoint: &Checkpoint) -> &Metadata {
    match checkpoint.settings() {
        Settings::Gguf(metadata) => metadata,
        Settings::HuggingFace { .. } => panic!("a GGUF file has metadata"),
    }
}

#[test]
fn ggufs_turn_as_their_directories() {
    let of = |name, gguf_yarn| Architecture { name, gguf_yarn, ..ALL[0] };
    let whole = LogMultiplier::Whole;
    let rows = [
        of("mistral3", GgufYarn { truncated: true, log_multiplier: whole }),
        of("gpt-oss", GgufYarn { truncated: false, log_multiplier: whole }),
        of("deepseek2", GgufYarn { truncated: true, log_multiplier: LogMultiplier::Tenth }),
        of("phi3", ALL[0].gguf_yarn),
    ];
    for recorded in recorded()["ggufs"].as_array().expect("a list") {
        let checkpoint = fixture(recorded["name"].as_str().expect("a name"));
        let metadata = metadata(&checkpoint);
        let name = metadata.text("general.architecture").expect("a text").expect("a name");
        let row = rows.iter().find(|row| row.name == name).expect("a row");
        let elements = recorded["elements"].as_u64().expect("a number") as usize;
        let rope = Rope::of_gguf(&Keys { metadata, prefix: name }, &checkpoint, row, elements).expect("known settings");
        match rope.scaling {
            Scaling::Long { original, .. } => assert_eq!((original, rope.rotated), (32, 8)),
            _ => check_rope(&rope, None, recorded),
        }
    }
}

#[test]
fn wrong_keys_are_named() {
    let original = "rope.scaling.original_context_length";
    let number = |number: f32| Some(gguf::Value::F32(number));
    let cases = [
        ("phi35", original, None, "original_context_length is missing"),
        ("gpt_oss", original, None, "original_context_length is missing"),
        ("gpt_oss", original, number(0.0), "original_context_length is 0"),
        ("gpt_oss", "rope.scaling.factor", None, "factor is missing"),
        ("gpt_oss", "rope.scaling.factor", number(0.0), "scaling factor is 0"),
        ("gpt_oss", "rope.scaling.yarn_attn_factor", number(-1.0), "attention factor is -1"),
        ("phi35", "rope.scaling.attn_factor", number(0.0), "attention factor is 0"),
        ("phi35", "rope.scaling.type", Some(gguf::Value::String("dynamic".into())), "rope.scaling.type is \"dynamic\""),
        ("ministral3", "attention.temperature_scale", number(-0.5), "growth of queries is -0.5"),
    ];
    for (name, key, value, message) in cases {
        let checkpoint = fixture(name);
        let mut changed = metadata(&checkpoint).clone();
        let name = changed.text("general.architecture").expect("a text").expect("a name").to_owned();
        changed.entries.remove(&format!("{name}.{key}"));
        changed.entries.extend(value.map(|value| (format!("{name}.{key}"), value)));
        let keys = Keys { metadata: &changed, prefix: &name };
        let wrong = |key: &str, found, wanted| Err(changed.wrong(key, found, wanted));
        let found = Rope::of_gguf(&keys, &checkpoint, &ALL[0], 16).and_then(|rope| rope.check(rope.rotated, wrong));
        let found = found.expect_err(message).to_string();
        assert!(found.contains(message) && found.contains("model.gguf"), "{found:?} lacks {message:?}");
    }
}

#[test]
fn wrong_settings_are_named() {
    let long = |changes: Value| {
        let mut section = json!({
            "type": "su", "short_factor": [1.0, 1.5], "long_factor": [2.0, 3.0], "original_max_position_embeddings": 32,
        });
        section.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        directory(json!({"rope_scaling": section, "max_position_embeddings": 64}), 4)
    };
    let factors = Factors { short: vec![1.0, 1.5], long: vec![2.0, 3.0] };
    for name in ["su", "yarn", "longrope"] {
        let rope = long(json!({"type": name})).expect("they are known");
        assert_eq!(rope.scaling, Scaling::Long { original: 32, factors: Some(factors.clone()) });
    }
    let yarn = |changes: Value| {
        let mut section = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32});
        section.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        directory(json!({"rope_parameters": section}), 4)
    };
    let refused = |found: Result<Rope>, parts: &[&str]| {
        let checked = |rope: Rope| {
            rope.check(rope.rotated, |key, found, wanted| {
                Err(Json { file: "config.json".into(), value: Value::Null }.wrong(key, found, wanted))
            })
        };
        let message = found.and_then(checked).expect_err("it is wrong").to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message:?} lacks one of {parts:?}");
    };
    refused(long(json!({"short_factor": [1.0]})), &["config.json", "short_factor is [1.0]", "2 numbers"]);
    refused(long(json!({"long_factor": [1.0, 0.0]})), &["config.json", "long_factor", "above 0"]);
    refused(long(json!({"long_factor": [1.0, -1.0]})), &["long_factor", "above 0"]);
    refused(long(json!({"long_factor": "many"})), &["long_factor", "list of numbers"]);
    refused(long(json!({"short_factor": null})), &["short_factor is missing"]);
    refused(long(json!({"original_max_position_embeddings": null})), &["original_max_position_embeddings is missing"]);
    refused(long(json!({"original_max_position_embeddings": 0})), &["RoPE's original context is 0"]);
    // Its logarithm is what another is divided by.
    refused(long(json!({"original_max_position_embeddings": 1})), &["attention factor is inf"]);
    refused(long(json!({"original_max_position_embeddings": u64::MAX})), &["original_max_position_embeddings is 184"]);
    refused(long(json!({"attention_factor": -1.0})), &["attention factor is -1"]);
    refused(long(json!({"type": "dynamic"})), &["type", "dynamic", "longrope"]);
    refused(yarn(json!({"original_max_position_embeddings": null})), &["original_max_position_embeddings is missing"]);
    refused(yarn(json!({"factor": null})), &["factor is missing"]);
    refused(yarn(json!({"factor": 0.0})), &["scaling factor is 0"]);
    refused(yarn(json!({"beta_fast": -1.0})), &["beta_fast is -1"]);
    refused(directory(json!({"rope_theta": 5e-324}), 128), &["RoPE's base is 0.000", "finite"]);
    refused(yarn(json!({"llama_4_scaling_beta": -0.1})), &["growth of queries is -0.1"]);
    let growing = yarn(json!({"llama_4_scaling_beta": 0.5})).expect("it is known");
    assert_eq!(growing.temperature, Some(Temperature { growth: 0.5, span: 32 }));
    assert_eq!(yarn(json!({"llama_4_scaling_beta": 0.0})).expect("it is known").temperature, None);
}
