//! Model families: tiny models of each, from both kinds of files, against transformers in double precision, on every adapter.

use std::path::{Path, PathBuf};

use plywood::adapters::Adapter;
use plywood::kernels::graph::Want;
use plywood::{Model, Options, Rows};
use plywood_tests::{adapters, exact, nmse, none_wrong};
use safetensors::SafeTensors;

/// The folders of models/tests/families whose families run.
const FAMILIES: [&str; 19] = [
    "llama2",
    "llama3",
    "smollm2",
    "mistral",
    "mistral_nemo",
    "ministral",
    "qwen2",
    "qwen3",
    "phi3",
    "phi4",
    "gemma2",
    "gemma3",
    "smollm3",
    "olmo2",
    "granite3",
    "mixtral",
    "qwen2_moe",
    "qwen2_moe_mixed",
    "qwen3_moe",
];

/// Those whose families do not run yet, and what the refusal names.
const REFUSED: [(&str, &str); 7] = [
    ("ministral3", "Ministral3ForCausalLM"),
    ("phi35", "longrope"),
    ("phi4_mini", "longrope"),
    ("deepseek_v2_lite", "DeepseekV2ForCausalLM"),
    ("deepseek_v2", "DeepseekV2ForCausalLM"),
    ("deepseek_v3", "DeepseekV3ForCausalLM"),
    ("gpt_oss", "GptOssForCausalLM"),
];

/// What single precision leaves of a model.
const LIMIT: f64 = 1e-6;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/families").join(name)
}

/// The recorded ids, and the logits of a directory or of a GGUF file, which may say less.
fn expected(name: &str, gguf: bool) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(folder(name).join("expected.safetensors")).expect("what is expected");
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let ids = tensors.tensor("input_ids").expect("ids").data().as_chunks().0;
    let logits =
        if gguf { tensors.tensor("gguf_logits").or(tensors.tensor("logits")) } else { tensors.tensor("logits") };
    let logits = logits.expect("logits").data().as_chunks().0;
    (
        ids.iter().map(|id| i64::from_le_bytes(*id) as u32).collect(),
        logits.iter().map(|logit| f32::from_le_bytes(*logit)).collect(),
    )
}

/// The worst error of a model on an adapter: all tokens at once, and in steps of 7.
fn error(path: &Path, adapter: &Adapter, ids: &[u32], logits: &[f32]) -> Result<f64, plywood::Error> {
    let mut worst = 0f64;
    for step_tokens in [ids.len(), 7] {
        let options = Options { step_tokens: Some(step_tokens), step_rows: ids.len(), ..exact(&[adapter]) };
        let model = Model::open(path, options)?;
        let rows = model.session()?.evaluate(ids, Rows::All, &[Want::Logits])?;
        let computed: Vec<f32> = rows.into_iter().flat_map(|row| row.logits).collect();
        worst = worst.max(nmse(logits, &computed));
    }
    Ok(worst)
}

#[test]
fn families_compute_as_their_makers_do() {
    let adapters = adapters();
    let mut wrong = Vec::new();
    for name in FAMILIES {
        for (kind, path) in [("directory", folder(name)), ("GGUF", folder(name).join("model.gguf"))] {
            if !path.exists() {
                continue;
            }
            let (ids, logits) = expected(name, kind == "GGUF");
            let mut line = format!("{name:<14} {kind:<10}");
            for adapter in &adapters {
                match error(&path, adapter, &ids, &logits) {
                    Ok(error) if error <= LIMIT => line += &format!(" {error:8.1e}"),
                    Ok(error) => wrong.push(format!("{name}, {kind}, {}: NMSE {error:.1e}", adapter.label())),
                    Err(error) => wrong.push(format!("{name}, {kind}, {}: {error}", adapter.label())),
                }
            }
            println!("{line}");
        }
    }
    none_wrong(&wrong);
}

/// What does not run is refused with its reason before anything is loaded.
#[test]
fn other_families_are_refused() {
    for (name, reason) in REFUSED {
        let path = folder(name);
        for path in [path.clone(), path.join("model.gguf")].iter().filter(|path| path.exists()) {
            let refused = Model::open(path, Options::default()).err().map(|error| error.to_string());
            let refused = refused.unwrap_or_else(|| panic!("{} opens", path.display()));
            println!("{name}: {refused}");
            assert!(path.extension().is_some() || refused.contains(reason), "{refused}");
        }
    }
}
