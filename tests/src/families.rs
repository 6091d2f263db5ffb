//! The tiny models of `models/tests/families`, and what transformers recorded of them.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// The folders of models/tests/families whose families run.
pub const FAMILIES: [&str; 28] = [
    "llama2",
    "llama3",
    "llama_biases",
    "smollm2",
    "mistral",
    "mistral_nemo",
    "ministral",
    "ministral3",
    "qwen2",
    "qwen3",
    "phi3",
    "phi35",
    "phi4",
    "phi4_mini",
    "gemma2",
    "gemma3",
    "smollm3",
    "olmo2",
    "granite3",
    "mixtral",
    "qwen2_moe",
    "qwen2_moe_mixed",
    "qwen3_moe",
    "deepseek_v2_lite",
    "deepseek_v2",
    "deepseek_v3",
    "gpt_oss",
    "gpt_oss_bf16",
];

/// The numbers of a recorded tensor, if it is there: ids or logits of any precision.
pub fn numbers(tensors: &SafeTensors, name: &str) -> Option<Vec<f64>> {
    let tensor = tensors.tensor(name).ok()?;
    let data = tensor.data();
    Some(match tensor.dtype() {
        Dtype::I64 => data.as_chunks().0.iter().map(|id| i64::from_le_bytes(*id) as f64).collect(),
        Dtype::F32 => data.as_chunks().0.iter().map(|number| f64::from(f32::from_le_bytes(*number))).collect(),
        Dtype::F64 => data.as_chunks().0.iter().map(|number| f64::from_le_bytes(*number)).collect(),
        other => panic!("{name} is of type {other:?}"),
    })
}

/// The logits that a file of what is expected holds.
pub fn expected_logits(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let logits = numbers(&tensors, "logits").expect("logits");
    logits.into_iter().map(|logit| logit as f32).collect()
}

/// The folder of a model.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/families").join(name)
}

/// A prompt and what is expected of it.
pub struct Recorded {
    /// Its ids.
    pub ids: Vec<u32>,
    /// The logits of all its tokens, one row after the other.
    pub logits: Vec<f32>,
}

/// Every recorded prompt with the logits of a directory or of a GGUF file, which may say less; the longest first.
pub fn recorded(name: &str, gguf: bool) -> Vec<Recorded> {
    let bytes = std::fs::read(folder(name).join("expected.safetensors")).expect("what is expected");
    let tensors = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let prompt = |end: &str| {
        let of = |key: &str| numbers(&tensors, &format!("{key}{end}"));
        let logits = if gguf { of("gguf_logits").or(of("logits")) } else { of("logits") };
        let (ids, logits) = (of("input_ids").expect("ids"), logits.expect("logits"));
        Recorded {
            ids: ids.into_iter().map(|id| id as u32).collect(),
            logits: logits.into_iter().map(|logit| logit as f32).collect(),
        }
    };
    let mut prompts: Vec<Recorded> =
        tensors.names().iter().filter_map(|key| key.strip_prefix("input_ids")).map(prompt).collect();
    prompts.sort_by_key(|prompt| std::cmp::Reverse(prompt.ids.len()));
    prompts
}
