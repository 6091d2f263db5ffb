//! Hugging Face directories: settings, single and sharded files, and what is refused.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use plywood_models::config::Scaling;
use plywood_models::{Checkpoint, Config, Conventions, Model, Weights};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use common::{check_message, data};

/// Writes a safetensors file with tensors of these names, each `[2, 3]` in single precision.
fn write_tensors(path: &Path, names: &[&str]) {
    let bytes = 0.25f32.to_le_bytes().repeat(6);
    let view = |name: &&str| ((*name).to_owned(), TensorView::new(Dtype::F32, vec![2, 3], &bytes).unwrap());
    let tensors: HashMap<String, TensorView> = names.iter().map(view).collect();
    fs::write(path, safetensors::serialize(tensors, None).unwrap()).unwrap();
}

/// A directory whose index sends tensors to files.
fn sharded(files: &[(&str, &[&str])], map: Value) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, tensors) in files {
        write_tensors(&directory.path().join(name), tensors);
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
    fs::write(directory.path().join("model.safetensors.index.json"), index).unwrap();
    directory
}

#[test]
fn whole_directory() {
    let Some(path) = data("models/stories260k/hf") else { return };
    let model = Model::open(path).unwrap();
    assert_eq!(model.checkpoint.kind(), Conventions::HuggingFace);
    let config = &model.config;
    let sizes = [config.layers, config.width, config.heads, config.kv_heads, config.head_width, config.feed_forward];
    assert_eq!(sizes, [5, 64, 8, 4, 8, 172]);
    assert_eq!((config.tied, config.bos, config.ends.as_slice()), (true, Some(1), [2].as_slice()));
    assert_eq!(config.sampling.temperature, Some(0.0));
    assert_eq!(model.graph(512).unwrap().layers(), 5);
}

#[test]
fn tokenizer_only() {
    let Some(path) = data("tokenizers/phi-3-mini") else { return };
    let checkpoint = Checkpoint::open(path).unwrap();
    assert!(checkpoint.tensors().is_empty());
    check_message(Config::of(&checkpoint), &["config.json", "only tokenize"]);
}

#[test]
fn shards() {
    let map = json!({"a": "one.safetensors", "b": "two.safetensors"});
    let directory =
        sharded(&[("one.safetensors", &["a"]), ("two.safetensors", &["b"]), ("stray.safetensors", &["a"])], map);
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!((checkpoint.files().len(), checkpoint.tensors().len()), (2, 2));
    let mut bytes = [0; 24];
    checkpoint.read(checkpoint.tensor("b").unwrap(), 0, &mut bytes).unwrap();
    assert_eq!(bytes.to_vec(), 0.25f32.to_le_bytes().repeat(6));
    // A single file goes before an index, whatever else lies there.
    write_tensors(&directory.path().join("model.safetensors"), &["c"]);
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert_eq!((checkpoint.tensors().len(), checkpoint.tensor("c")), (1, Some(0)));
}

/// Checks that a sharded directory is refused with such a message.
fn check_shards(files: &[(&str, &[&str])], map: Value, parts: &[&str]) {
    check_message(Checkpoint::open(sharded(files, map).path()), parts);
}

#[test]
fn refused_shards() {
    let one = ("one.safetensors", ["a"].as_slice());
    check_shards(&[one], json!({"a": "one.safetensors", "b": "two.safetensors"}), &["two.safetensors", "missing"]);
    check_shards(&[one], json!({"a": "one.safetensors", "b": "one.safetensors"}), &["tensor b", "one.safetensors"]);
    check_shards(&[one], json!({"a": "../one.safetensors"}), &["../one.safetensors", "same directory"]);
    check_shards(&[one], json!({"a": "/etc/passwd"}), &["/etc/passwd"]);
    check_shards(&[one], json!("a"), &["index.json"]);
    let two = ("two.safetensors", ["a", "b"].as_slice());
    check_shards(&[one, two], json!({"a": "one.safetensors", "b": "two.safetensors"}), &["tensor a is there twice"]);
}

#[test]
fn damaged_safetensors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    write_tensors(&path, &["first", "second"]);
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(Checkpoint::open(directory.path()).is_err(), "{length} bytes of it open");
    }
    let mut longer = whole.clone();
    longer.push(0);
    fs::write(&path, longer).unwrap();
    check_message(Checkpoint::open(directory.path()), &["model.safetensors", "end at byte"]);
    let mut claims = whole.clone();
    claims[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, claims).unwrap();
    check_message(Checkpoint::open(directory.path()), &["claims 18446744073709551615 bytes"]);
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, damaged).unwrap();
        let _ = Checkpoint::open(directory.path());
    }
}

#[test]
fn other_dtypes_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let view = TensorView::new(Dtype::F8_E4M3, vec![2, 3], &[0; 6]).unwrap();
    let bytes = safetensors::serialize([("w", view)], None).unwrap();
    fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    check_message(checkpoint.tensors()[0].format(), &["tensor w", "F8_E4M3", "BF16"]);
}

/// The configuration of a small model, with some keys set or (by null) taken away.
fn config(changes: Value) -> plywood_models::Result<Config> {
    let mut settings = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 172,
        "num_attention_heads": 8, "num_key_value_heads": 4, "num_hidden_layers": 5, "vocab_size": 512,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 512, "rope_theta": 10000.0,
        "bos_token_id": 1, "eos_token_id": [2, 3], "attention_bias": false, "hidden_act": "silu",
    });
    for (key, value) in changes.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), settings.to_string()).unwrap();
    fs::write(directory.path().join("generation_config.json"), r#"{"eos_token_id": [3, 4], "top_p": 0.9}"#).unwrap();
    write_tensors(&directory.path().join("model.safetensors"), &["w"]);
    Config::of(&Checkpoint::open(directory.path()).unwrap())
}

#[test]
fn settings() {
    let read = config(json!({})).unwrap();
    assert_eq!((read.head_width, read.tied, read.ends.as_slice()), (8, false, [2, 3, 4].as_slice()));
    assert_eq!(read.sampling.top_p, Some(0.9));
    assert_eq!(config(json!({"head_dim": 16})).unwrap().head_width, 16);
    let scaling = json!({"type": "linear", "factor": 4.0});
    assert_eq!(config(json!({"rope_scaling": scaling})).unwrap().rope.scaling, Scaling::Linear(4.0));
    let parameters = json!({
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192
    });
    let rope = config(json!({"rope_parameters": parameters, "rope_theta": null})).unwrap().rope;
    assert_eq!(rope.base, 500_000.0);
    assert_eq!(rope.scaling, Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 });
    // Gemma 3 as transformers 5 writes it.
    let parameters = json!({
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0},
    });
    let read = config(json!({"rope_parameters": parameters})).unwrap();
    assert_eq!((read.rope.base, read.rope.scaling), (500_000.0, Scaling::Linear(8.0)));
    assert_eq!((read.local_rope.base, read.local_rope.scaling), (5000.0, Scaling::None));
}

/// What published models leave out of `text_config` is what their class takes, and what lies beside it holds.
#[test]
fn settings_of_the_text_part() {
    // Gemma 3 4B as it is published, and null where the settings of these tests have something.
    let text = json!({
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024, "rope_theta": null,
        "num_attention_heads": null, "num_key_value_heads": null, "vocab_size": null, "max_position_embeddings": null,
    });
    let whole = json!({"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text});
    let read = config(whole.clone()).unwrap();
    assert_eq!(read.architecture.class, "Gemma3ForCausalLM");
    assert_eq!([read.layers, read.width, read.heads, read.kv_heads, read.head_width], [34, 2560, 8, 4, 256]);
    assert_eq!((read.vocabulary, read.context, read.tied), (262_208, 131_072, true));
    assert_eq!((read.rope.base, read.local_rope.base, read.scales.score), (1_000_000.0, 10_000.0, 1.0 / 16.0));
    assert_eq!(read.ends, [2, 3, 4]);
    let mut other = whole;
    other["text_config"]["model_type"] = json!("llama");
    check_message(config(other), &["Gemma3ForConditionalGeneration", "with a text_config of gemma3_text"]);
}

#[test]
fn refused_settings() {
    let refused = |changes: Value, parts: &[&str]| check_message(config(changes), parts);
    refused(json!({"architectures": ["MambaForCausalLM"]}), &["MambaForCausalLM", "LlamaForCausalLM"]);
    refused(json!({"architectures": null}), &["architectures is missing", "config.json"]);
    refused(json!({"hidden_size": null}), &["hidden_size is missing"]);
    refused(json!({"hidden_size": "64"}), &["hidden_size", "whole number"]);
    refused(json!({"attention_bias": "yes"}), &["attention_bias", "true or false"]);
    refused(json!({"mlp_bias": "yes"}), &["mlp_bias", "true or false"]);
    refused(json!({"hidden_act": "gelu"}), &["hidden_act", "gelu", "silu"]);
    refused(json!({"sliding_window": 4096}), &["sliding_window is 4096"]);
    refused(json!({"embedding_multiplier": 2.0}), &["embedding_multiplier is 2"]);
    let of = |class: &str, mut changes: Value| {
        changes["architectures"] = json!([class]);
        changes
    };
    refused(of("MistralForCausalLM", json!({"sliding_window": 0})), &["window", "0"]);
    refused(of("Gemma2ForCausalLM", json!({"hidden_activation": "relu"})), &["hidden_activation", "relu"]);
    refused(of("Gemma2ForCausalLM", json!({"attn_logit_softcapping": -1.0})), &["attn_logit_softcapping is -1"]);
    refused(of("Gemma3ForCausalLM", json!({"layer_types": ["chunked_attention"]})), &["layer_types", "chunked"]);
    refused(of("Gemma3ForCausalLM", json!({"layer_types": vec!["chunked_attention"; 5]})), &["layer_types", "chunked"]);
    refused(of("GraniteForCausalLM", json!({"logits_scaling": 0.0})), &["scale of logits"]);
    refused(json!({"quantization_config": {"quant_method": "quip"}}), &["quant_method is quip", "gptq"]);
    refused(json!({"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}), &["dynamic", "llama3"]);
    let yarn = json!({"rope_type": "yarn", "factor": 4.0});
    refused(json!({"rope_scaling": yarn}), &["config.json", "original_max_position_embeddings is missing"]);
    let long = json!({"type": "longrope", "short_factor": [1, 1, 1], "long_factor": [1, 2, 3, 4]});
    let long = json!({"rope_scaling": long, "original_max_position_embeddings": 64});
    refused(long, &["config.json", "short_factor is [1.0,1.0,1.0]", "4 numbers"]);
    let long =
        json!({"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1, 1, 1, 1], "long_factor": [1, 2, 3, 4]});
    let local = json!({"rope_parameters": {"sliding_attention": long}, "original_max_position_embeddings": 64});
    refused(local, &["rope_type is longrope", "local layers"]);
    refused(json!({"rope_scaling": {"rope_type": "linear"}}), &["factor is missing"]);
    refused(json!({"rope_scaling": {"rope_type": "linear", "factor": 0.0}}), &["factor is 0"]);
    refused(json!({"num_key_value_heads": 3}), &["heads is 8", "multiple", "3"]);
    refused(json!({"num_key_value_heads": 0}), &["key/value heads is 0"]);
    refused(json!({"num_attention_heads": 0}), &["num_attention_heads is 0"]);
    refused(json!({"head_dim": 6}), &["head width is 6", "multiple of 4"]);
    refused(json!({"num_hidden_layers": 1_000_000_000}), &["layers is 1000000000"]);
    refused(json!({"vocab_size": u64::MAX}), &["vocabulary"]);
    refused(json!({"rms_norm_eps": -1.0}), &["epsilon is -1"]);
    refused(json!({"bos_token_id": 512}), &["BOS is 512", "512"]);
    refused(json!({"eos_token_id": -2}), &["eos_token_id is -2"]);
}
