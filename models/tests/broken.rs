//! Every family with something wrong: each tensor missing in turn, a wrong number of heads, more tokens than the embedding has rows.
//! Each is an error that names the thing.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use plywood_models::{Checkpoint, Model, Result, Weights};

fn families() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families");
    let entries = fs::read_dir(folder).expect("the fixtures").map(|entry| entry.expect("an entry").path());
    let mut families: Vec<PathBuf> = entries.filter(|path| path.join("config.json").exists()).collect();
    families.sort();
    families
}

/// A copy of a family's directory, without what else lies there, or of its GGUF.
fn copy(family: &Path, gguf: bool) -> Option<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir().expect("a folder");
    if gguf {
        let path = folder.path().join("model.gguf");
        fs::copy(family.join("model.gguf"), &path).ok()?;
        return Some((folder, path));
    }
    for entry in fs::read_dir(family).expect("a family") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.ends_with(".gguf") && name != "expected.safetensors" {
            fs::copy(&path, folder.path().join(name)).expect("a copy");
        }
    }
    let path = folder.path().to_path_buf();
    Some((folder, path))
}

/// The file of a copy that holds tensors.
fn weights_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("model.safetensors") } else { path.into() }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Opens a model and builds its graph, which reads what is small.
fn open(path: &Path) -> Result<()> {
    Model::open(path)?.graph(64).map(drop)
}

/// Checks that a copy is refused with a message that holds one of these texts.
fn check_refused(path: &Path, what: &str, says: &[&str]) {
    match open(path) {
        Ok(()) => panic!("{}: {what}: it opens", path.display()),
        Err(error) => {
            let text = error.to_string();
            assert!(says.iter().any(|part| text.contains(part)), "{}: {what}: {text}", path.display());
        }
    }
}

#[test]
fn a_missing_tensor_is_named() {
    let mut count = 0;
    for (family, gguf) in families().iter().flat_map(|family| [(family, false), (family, true)]) {
        let Some((_folder, path)) = copy(family, gguf) else { continue };
        open(&path).unwrap_or_else(|error| panic!("{}: {error}", family.display()));
        let file = weights_of(&path);
        let bytes = fs::read(&file).expect("weights");
        let names: Vec<String> = stored_names(&path, &bytes);
        for name in &names {
            let mut changed = bytes.clone();
            // After a quote in safetensors, after its length in GGUF.
            let quoted = if gguf {
                [(name.len() as u64).to_le_bytes().as_slice(), name.as_bytes()].concat()
            } else {
                format!("\"{name}\"").into_bytes()
            };
            let at = find(&changed, &quoted).expect("the name") + if gguf { 8 } else { 1 };
            changed[at] = b'X';
            fs::write(&file, changed).expect("a copy");
            let renamed = format!("X{}", &name[1..]);
            // Blocks under another name miss their scales.
            let renamed = renamed.strip_suffix("_blocks").unwrap_or(&renamed);
            check_refused(&path, &format!("without {name}"), &[name, renamed]);
        }
        count += names.len();
    }
    println!("{count} tensors of {} families are missed by name", families().len());
    assert!(count > 500, "only {count} tensors");
}

/// The names of tensors as a file has them.
fn stored_names(path: &Path, bytes: &[u8]) -> Vec<String> {
    if path.is_dir() {
        let tensors = safetensors::SafeTensors::deserialize(bytes).expect("weights");
        return tensors.names().into_iter().map(ToString::to_string).collect();
    }
    let checkpoint = Checkpoint::open(path).expect("it opens");
    checkpoint.tensors().iter().map(|tensor| tensor.name.clone()).collect()
}

#[test]
fn a_wrong_number_of_heads_is_named() {
    let mut count = 0;
    for family in families() {
        let config = fs::read_to_string(family.join("config.json")).expect("settings");
        let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
        for key in ["num_attention_heads", "num_key_value_heads"] {
            // One head of latent attention serves all; the number of others is not used.
            let Some(heads) =
                config[key].as_u64().filter(|_| key != "num_key_value_heads" || config.get("kv_lora_rank").is_none())
            else {
                continue;
            };
            let (folder, path) = copy(&family, false).expect("a directory");
            let mut wrong = config.clone();
            wrong[key] = (heads + 1).into();
            fs::write(folder.path().join("config.json"), wrong.to_string()).expect("settings");
            check_refused(&path, key, &[key, "heads", "_proj.", "kv_"]);
            count += 1;
        }
        for key in [".attention.head_count", ".attention.head_count_kv"] {
            let Some((_folder, path)) = copy(&family, true) else { continue };
            let mut bytes = fs::read(&path).expect("a file");
            // The key, the type U32, the number.
            let wanted = [key.as_bytes(), &4u32.to_le_bytes()].concat();
            let Some(at) = find(&bytes, &wanted) else { continue };
            bytes[at + wanted.len()] += 1;
            fs::write(&path, bytes).expect("a file");
            check_refused(&path, key, &[key, "heads", "attn_"]);
            count += 1;
        }
    }
    println!("{count} wrong numbers of heads are named");
    assert!(count > 60, "only {count} numbers");
}

#[test]
fn more_tokens_than_rows_are_refused_and_fewer_are_padding() {
    for family in families() {
        let (folder, path) = copy(&family, false).expect("a directory");
        let file = folder.path().join("tokenizer.json");
        let mut tokenizer: serde_json::Value =
            serde_json::from_slice(&fs::read(&file).expect("a tokenizer")).expect("JSON");
        let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
        let last = vocabulary.iter().max_by_key(|(_, id)| id.as_u64()).map(|(token, _)| token.clone());
        let rows = vocabulary.len();
        vocabulary.insert("a token more".into(), (rows as u64).into());
        fs::write(&file, tokenizer.to_string()).expect("a tokenizer");
        check_refused(&path, "a token more", &["65", "64"]);
        // One less than the embedding has rows.
        let vocabulary = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
        vocabulary.remove("a token more");
        vocabulary.remove(&last.expect("a token"));
        tokenizer["model"]["merges"] = serde_json::json!([]);
        fs::write(&file, tokenizer.to_string()).expect("a tokenizer");
        open(&path).unwrap_or_else(|error| panic!("{}: a token less: {error}", family.display()));
    }
}

/// Settings that no kernel follows, or that contradict each other: a family, the place in config.json, what is put there, and what the message holds.
#[test]
fn settings_that_do_not_fit_are_named() {
    use serde_json::json;
    let cases = [
        ("mixtral", "/num_experts_per_tok", json!(9), "the number of experts of a token"),
        ("mixtral", "/num_local_experts", json!(5), "block_sparse_moe.gate.weight"),
        ("mixtral", "/num_local_experts", json!(100_000), "the number of experts"),
        ("qwen3_moe", "/moe_intermediate_size", json!(22), "the width of an expert"),
        ("qwen2_moe", "/shared_expert_intermediate_size", json!(44), "shared_expert"),
        ("gpt_oss", "/swiglu_limit", json!(5.0), "swiglu_limit"),
        ("gpt_oss", "/quantization_config/quant_method", json!("other"), "quant_method"),
        ("gpt_oss_bf16", "/intermediate_size", json!(32), "mlp.experts.gate_up_proj.weight has shape"),
        ("mixtral", "/mlp_bias", json!(true), "mlp_bias"),
        ("phi3", "/mlp_bias", json!(true), "mlp_bias"),
        ("llama2", "/mlp_bias", json!(true), "mlp.gate_proj.bias is missing"),
        ("llama_biases", "/mlp_bias", json!(false), "bias belongs to no part"),
        ("deepseek_v2", "/topk_method", json!("best"), "topk_method"),
        ("deepseek_v2", "/scoring_func", json!("relu"), "scoring_func"),
        ("deepseek_v2", "/n_group", json!(3), "the number of groups of experts"),
        ("deepseek_v2", "/topk_group", json!(0), "the number of groups of a token"),
        ("deepseek_v3", "/n_group", json!(8), "the number of groups of a token"),
        ("deepseek_v3", "/kv_lora_rank", json!(22), "the rank of keys and values"),
        ("deepseek_v3", "/num_attention_heads", json!(4096), "the number of heads"),
        ("deepseek_v3", "/partial_rotary_factor", json!(0.5), "RoPE rotates"),
        ("deepseek_v3", "/rope_scaling/llama_4_scaling_beta", json!(0.1), "over a latent"),
        ("deepseek_v3", "/routed_scaling_factor", json!(-1.0), "the scale of experts' shares"),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families");
    for (family, place, value, says) in cases {
        let (copied, path) = copy(&folder.join(family), false).expect("a directory");
        let file = copied.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).expect("settings")).expect("JSON");
        let (section, key) = place.rsplit_once('/').expect("a place");
        config.pointer_mut(section).expect("a section")[key] = value.clone();
        fs::write(&file, config.to_string()).expect("settings");
        check_refused(&path, &format!("{family} with {place} {value}"), &[says]);
    }
}

/// What the classes take where config.json has no key, which transformers leaves out when it saves.
#[test]
fn classes_have_defaults() {
    use plywood_models::Config;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families");
    let (copied, path) = copy(&folder.join("deepseek_v3"), false).expect("a directory");
    let file = copied.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).expect("settings")).expect("JSON");
    for key in
        ["routed_scaling_factor", "n_group", "topk_group", "topk_method", "first_k_dense_replace", "norm_topk_prob"]
    {
        config.as_object_mut().expect("settings").remove(key);
    }
    config["n_routed_experts"] = 32.into();
    fs::write(&file, config.to_string()).expect("settings");
    let experts = Config::of(&Checkpoint::open(&path).expect("it opens")).expect("settings").experts.expect("experts");
    let groups = experts.groups.map(|groups| (groups.count, groups.kept, groups.best));
    // `DeepseekV3Config` of transformers 5.23.
    assert_eq!((experts.scale, groups, experts.normalised), (2.5, Some((8, 4, 2)), true));
    assert_eq!(experts.layers, [false, false]);
}
