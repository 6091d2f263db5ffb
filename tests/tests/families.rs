//! Model families: tiny models of each, from both kinds of files, against transformers in double precision, on every adapter.

use std::path::Path;

use plywood::devices::Adapter;
use plywood::kernels::graph::Output;
use plywood::{Model, Rows};
use plywood_tests::families::{FAMILIES, Recorded, folder, recorded};
use plywood_tests::{adapters, exact, nmse, none_wrong};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What single precision leaves of a model.
const LIMIT: f64 = 1e-6;

/// In how many tokens at a time a prompt is run: at once, and so that every kind of step meets a cache.
const PIECES: [&[usize]; 2] = [&[usize::MAX], &[1, 2, 7, 8, 9, usize::MAX]];

/// The worst error of a model on an adapter over its prompts and ways to cut them.
fn error(path: &Path, adapter: &Adapter, prompts: &[Recorded]) -> Result<f64, plywood::Error> {
    let longest = prompts[0].ids.len();
    let options = exact(&[adapter]).step_tokens(longest).step_rows(longest);
    let model = Model::open(path, options)?;
    let mut worst = 0f64;
    for (prompt, pieces) in prompts.iter().flat_map(|prompt| PIECES.map(|pieces| (prompt, pieces))) {
        let mut session = model.session()?;
        session.expect_length(prompt.ids.len());
        let (mut rest, mut computed) = (prompt.ids.as_slice(), Vec::new());
        for piece in pieces {
            let (now, later) = rest.split_at(rest.len().min(*piece));
            let rows = session.evaluate(now, Rows::All, &[Output::Logits])?;
            computed.extend(rows.into_iter().flat_map(|row| row.logits));
            rest = later;
        }
        worst = worst.max(nmse(&prompt.logits, &computed));
    }
    Ok(worst)
}

/// Prints the table that models/tests/families/adapters.md keeps.
#[test]
fn families_compute_as_their_makers_do() {
    let adapters = adapters();
    let labels: Vec<String> = adapters.iter().map(Adapter::label).collect();
    println!("| family | from | {} |\n|---|---|{}", labels.join(" | "), "---|".repeat(labels.len()));
    let mut wrong = Vec::new();
    for name in FAMILIES {
        for (kind, path) in [("directory", folder(name)), ("GGUF", folder(name).join("model.gguf"))] {
            if !path.exists() {
                continue;
            }
            let prompts = recorded(name, kind == "GGUF");
            let mut line = format!("| {name} | {kind} |");
            for adapter in &adapters {
                match error(&path, adapter, &prompts) {
                    Ok(error) if error <= LIMIT => line += &format!(" {error:.1e} |"),
                    Ok(error) => wrong.push(format!("{name}, {kind}, {}: NMSE {error:.1e}", adapter.label())),
                    Err(error) => wrong.push(format!("{name}, {kind}, {}: {error}", adapter.label())),
                }
            }
            println!("{line}");
        }
    }
    none_wrong(&wrong);
}

/// A family's directory as models that see as well as read are published: the settings in `text_config`, names of tensors that begin
/// otherwise, and tensors for seeing.
fn seeing(name: &str, class: &str, renamed: fn(&str) -> String, sight: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(folder(name)).expect("the family").flatten() {
        std::fs::copy(file.path(), directory.path().join(file.file_name())).expect("it is copied");
    }
    let settings = std::fs::read(folder(name).join("config.json")).expect("settings");
    let settings: Value = serde_json::from_slice(&settings).expect("JSON");
    let whole = json!({"architectures": [class], "model_type": "other", "text_config": settings, "vision_config": {}});
    std::fs::write(directory.path().join("config.json"), whole.to_string()).expect("it is written");
    let bytes = std::fs::read(folder(name).join("model.safetensors")).expect("weights");
    let weights = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut tensors = weights.tensors();
    tensors.iter_mut().for_each(|(name, _)| *name = renamed(name));
    let eye = tensors[0].1.clone();
    tensors.extend(
        ["vision_tower.patch.weight", "multi_modal_projector.norm.weight"]
            .map(|name| (format!("{sight}{name}"), eye.clone())),
    );
    let bytes = safetensors::serialize(tensors, None).expect("they are written");
    std::fs::write(directory.path().join("model.safetensors"), bytes).expect("it is written");
    directory
}

#[test]
fn text_parts_run_alone() {
    let adapters = adapters();
    let host = adapters.last().expect("the host");
    let published: (fn(&str) -> String, &str) = (|name| format!("language_model.{name}"), "");
    let by_transformers_5: (fn(&str) -> String, &str) = (
        |name| name.strip_prefix("model.").map_or(name.into(), |rest| format!("model.language_model.{rest}")),
        "model.",
    );
    let models = [
        ("ministral3", "Mistral3ForConditionalGeneration"),
        ("mistral_nemo", "Mistral3ForConditionalGeneration"),
        ("gemma3", "Gemma3ForConditionalGeneration"),
    ];
    for (name, class) in models {
        for (renamed, sight) in [published, by_transformers_5] {
            let directory = seeing(name, class, renamed, sight);
            let error =
                error(directory.path(), host, &recorded(name, false)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(error <= LIMIT, "{name}: NMSE {error:.1e}");
        }
    }
}
