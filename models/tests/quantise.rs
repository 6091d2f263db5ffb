//! Quantising and converting: what is written is what other tools write, whole or not at all.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use plywood_kernels::Format;
use plywood_kernels::formats::F32;
use plywood_models::gguf::{Array, Metadata, Value, writer};
use plywood_models::output::{Existing, partial_path};
use plywood_models::quantise::mixes::{self, ALL, Mix};
use plywood_models::quantise::{Importance, Options, Plan, Report};
use plywood_models::tokenizer::EncodeOptions;
use plywood_models::{Checkpoint, Model, Result, Settings, Tokenizer, Weights};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value as Data, json};

use common::{InMemory, check_message, data};

const MASTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/master");
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/demo.gguf");

/// Keys that tell of a model's origin, which directories do not have, and the name of the file.
const ORIGIN: [&str; 8] = [
    "general.name",
    "general.author",
    "general.description",
    "general.license",
    "general.languages",
    "general.size_label",
    "general.source.url",
    "general.file_type",
];

fn options(mix: &str) -> Options {
    let mix = Mix::find(mix).expect("a mix of this build");
    Options { mix, pure: false, overrides: Vec::new(), importance: None }
}

/// Quantises to a new file in a folder.
fn quantise(input: &Path, folder: &Path, options: Options) -> Result<(PathBuf, Report)> {
    let output = folder.join("output.gguf");
    let report = Plan::new(input, options)?.write(&output, Existing::Replace, |_, _| true)?;
    assert_eq!(report.output_bytes, fs::metadata(&output).unwrap().len());
    Ok((output, report))
}

fn metadata(checkpoint: &Checkpoint) -> &Metadata {
    match checkpoint.settings() {
        Settings::Gguf(metadata) => metadata,
        Settings::HuggingFace { .. } => panic!("{} is no GGUF file", checkpoint.path().display()),
    }
}

/// The formats and bytes of all tensors, by name.
fn tensors(checkpoint: &Checkpoint) -> HashMap<String, (Format, Vec<usize>, Vec<u8>)> {
    let read = |(index, info): (usize, &plywood_models::TensorInfo)| {
        let mut bytes = vec![0; info.bytes as usize];
        checkpoint.read(index, 0, &mut bytes).unwrap();
        (info.name.clone(), (info.format().unwrap(), info.shape.clone(), bytes))
    };
    checkpoint.tensors().iter().enumerate().map(read).collect()
}

/// Converts a directory and compares with a file that others made of the same model: every tensor, and all metadata of that
/// file but those of its origin.
fn check_conversion(directory: &Path, mix: &str, file: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let (output, _) = quantise(directory, folder.path(), options(mix)).unwrap();
    let (ours, theirs) = (Checkpoint::open(output).unwrap(), Checkpoint::open(file).unwrap());
    let (found, wanted) = (tensors(&ours), tensors(&theirs));
    assert_eq!(found.len(), wanted.len());
    for (name, tensor) in wanted {
        assert!(found[&name] == tensor, "{name}");
    }
    let (found, wanted) = (metadata(&ours), metadata(&theirs));
    for (key, value) in wanted.entries.iter().filter(|(key, _)| !ORIGIN.contains(&key.as_str())) {
        assert!(found.get(key) == Some(value), "{key}: {value} and not {:?}", found.get(key).map(Value::to_string));
    }
}

#[test]
fn the_demo_is_converted_as_by_its_script() {
    check_conversion(Path::new(MASTER), "q8_0", Path::new(DEMO));
}

#[test]
fn stories_are_converted_as_by_others() {
    let (Some(directory), Some(file)) =
        (data("models/stories260k/hf"), data("models/stories260k/stories260k-f32.gguf"))
    else {
        return;
    };
    check_conversion(&directory, "f32", &file);
}

/// A directory of a tiny model with the tokenizer files of another, and changes to its settings.
fn directory(tokenizer: &Path, vocabulary: usize, changes: &Data) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"] {
        if tokenizer.join(name).exists() {
            fs::copy(tokenizer.join(name), folder.path().join(name)).unwrap();
        }
    }
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": 1, "vocab_size": vocabulary,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 512, "tie_word_embeddings": true,
    });
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let shapes: [(&str, Vec<usize>); 11] = [
        ("embed_tokens", vec![vocabulary, 8]),
        ("layers.0.input_layernorm", vec![8]),
        ("layers.0.self_attn.q_proj", vec![32, 8]),
        ("layers.0.self_attn.k_proj", vec![16, 8]),
        ("layers.0.self_attn.v_proj", vec![16, 8]),
        ("layers.0.self_attn.o_proj", vec![8, 32]),
        ("layers.0.post_attention_layernorm", vec![8]),
        ("layers.0.mlp.gate_proj", vec![12, 8]),
        ("layers.0.mlp.up_proj", vec![12, 8]),
        ("layers.0.mlp.down_proj", vec![8, 12]),
        ("norm", vec![8]),
    ];
    // Each row's number in all its places, as far as F16 tells them apart.
    let bytes: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(_, shape)| {
            let (rows, columns) = if shape.len() == 1 { (1, shape[0]) } else { (shape[0], shape[1]) };
            (0..rows * columns).flat_map(|index| ((index / columns % 2048) as f32).to_le_bytes()).collect()
        })
        .collect();
    let views = shapes.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (format!("model.{name}.weight"), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    fs::write(folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    folder
}

/// Checks that a directory's tokenizer and that of the file made of it give the same ids for all texts.
fn check_ids(directory: &Path, texts: &[&str]) -> Metadata {
    let folder = tempfile::tempdir().unwrap();
    let (output, _) = quantise(directory, folder.path(), options("f16")).unwrap();
    let checkpoint = Checkpoint::open(output).unwrap();
    let (ours, theirs) =
        (Tokenizer::of(&checkpoint).unwrap(), Tokenizer::of(&Checkpoint::open(directory).unwrap()).unwrap());
    for text in texts {
        for bos in [false, true] {
            let options = EncodeOptions { special: false, bos };
            assert_eq!(ours.encode(text, options).unwrap(), theirs.encode(text, options).unwrap(), "{text:?}");
        }
    }
    metadata(&checkpoint).clone()
}

/// The texts of llama.cpp's tests of vocabularies.
fn trial_texts(name: &str) -> Option<String> {
    Some(fs::read_to_string(data(&format!("tokenizers/llama.cpp-vocab/ggml-vocab-{name}.gguf.inp"))?).unwrap())
}

/// Checks a tokenizer of the data pack; `name` is llama.cpp's file of its vocabulary, of which these keys are the same.
fn check_tokenizer(tokenizer: &str, vocabulary: usize, name: &str, keys: &[&str]) -> Option<Metadata> {
    let (path, texts) = (data(tokenizer)?, trial_texts(name)?);
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let found = check_ids(directory(&path, vocabulary, &json!({})).path(), &texts);
    let file = Checkpoint::open(data(&format!("tokenizers/llama.cpp-vocab/ggml-vocab-{name}.gguf"))?).unwrap();
    for key in keys {
        assert!(found.get(key) == metadata(&file).get(key), "{key}");
    }
    Some(found)
}

#[test]
fn byte_level_vocabularies() {
    let keys = ["tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.pre", "tokenizer.ggml.model"];
    check_tokenizer("tokenizers/gpt2", 50_257, "gpt-2", &keys);
    let Some(found) = check_tokenizer("tokenizers/qwen2", 151_936, "gpt-2", &[]) else { return };
    assert_eq!(found.text("tokenizer.ggml.pre").unwrap(), Some("qwen2"));
    assert_eq!(found.integer("tokenizer.ggml.eos_token_id").unwrap(), Some(151_645));
    assert_eq!(found.texts("tokenizer.ggml.tokens").unwrap().unwrap()[151_935], "[PAD151935]");
    assert!(found.text("tokenizer.chat_template").unwrap().unwrap().contains("<|im_start|>"));
}

/// A directory with only a tokenizer.model keeps its pieces and scores; a unigram model has no place in GGUF files.
#[test]
fn sentencepiece_models() {
    let converted = |model: &Path, vocabulary: usize, texts: &[&str]| {
        let folder = directory(Path::new("none"), vocabulary, &json!({}));
        fs::copy(model, folder.path().join("tokenizer.model")).unwrap();
        check_ids(folder.path(), texts)
    };
    if let (Some(model), Some(texts)) = (data("tokenizers/mistral/tokenizer.model.v1"), trial_texts("phi-3")) {
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let found = converted(&model, 32_000, &texts);
        assert_eq!(found.integer("tokenizer.ggml.bos_token_id").unwrap(), Some(1));
        assert_eq!(found.texts("tokenizer.ggml.tokens").unwrap().unwrap()[272], "▁the");
    }
    let folder = directory(Path::new("none"), 420, &json!({}));
    let unigram = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentencepiece/unigram.model");
    fs::copy(unigram, folder.path().join("tokenizer.model")).unwrap();
    let output = tempfile::tempdir().unwrap();
    check_message(quantise(folder.path(), output.path(), options("f16")), &["unigram"]);
}

/// Scores that we tell from merges order the pieces as those of the model's own SentencePiece file do.
#[test]
fn sentencepiece_vocabulary() {
    let Some(found) = check_tokenizer("tokenizers/phi-3-mini", 32_064, "phi-3", &["tokenizer.ggml.model"]) else {
        return;
    };
    let file = data("tokenizers/llama.cpp-vocab/ggml-vocab-phi-3.gguf").unwrap();
    let file = Checkpoint::open(file).unwrap();
    // Runs of spaces merge last in the directory, though their scores are high.
    let order = |metadata: &Metadata| {
        let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap().unwrap();
        let scores = metadata.numbers("tokenizer.ggml.scores").unwrap().unwrap();
        let merged = |id: &usize| tokens[*id].chars().count() > 1 && tokens[*id].chars().any(|of| of != '▁');
        let mut ids: Vec<usize> = (259..32_000).filter(merged).collect();
        ids.sort_by(|one, other| scores[*other].total_cmp(&scores[*one]));
        ids
    };
    assert!(order(&found) == order(metadata(&file)));
    let tokens = |metadata: &Metadata| metadata.texts("tokenizer.ggml.tokens").unwrap().unwrap()[..32_011].to_vec();
    assert!(tokens(&found) == tokens(metadata(&file)));
}

/// Checks that a tokenizer.json with a part replaced is refused with such a message.
fn check_refused_tokenizer(part: &str, by: Data, message: &[&str]) {
    let folder = directory(Path::new(MASTER), 2048, &json!({}));
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Data = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    tokenizer[part] = by;
    fs::write(&path, tokenizer.to_string()).unwrap();
    check_message(Plan::new(folder.path(), options("f16")), message);
}

#[test]
fn tokenizers_that_gguf_files_cannot_tell() {
    check_refused_tokenizer("normalizer", json!({"type": "Lowercase"}), &["tokenizer.json", "normalizer"]);
    let split = json!({"type": "Split", "pattern": {"Regex": "[aeiou]"}, "behavior": "Isolated", "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let sequence = json!({"type": "Sequence", "pretokenizers": [split, bytes]});
    check_refused_tokenizer("pre_tokenizer", sequence, &["tokenizer.json", "no name", "llama-bpe"]);
    let prefixed = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    check_refused_tokenizer("pre_tokenizer", prefixed, &["space before each text"]);
    check_refused_tokenizer("pre_tokenizer", json!({"type": "Whitespace"}), &["Whitespace"]);
}

/// All cuts of a piece are looked at, which takes the square of its length.
#[test]
fn a_piece_of_many_bytes() {
    let Some(stories) = data("models/stories260k/hf") else { return };
    let folder = directory(&stories, 513, &json!({}));
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer: Data = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["a".repeat(1 << 20)] = json!(512);
    fs::write(&path, tokenizer.to_string()).unwrap();
    check_message(Plan::new(folder.path(), options("f16")), &["a token has 1048576 bytes"]);
}

#[test]
fn scaled_positions_are_converted() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let folder = directory(Path::new(MASTER), 2048, &json!({"rope_scaling": scaling, "rope_theta": 500_000.0}));
    let (output, _) = quantise(folder.path(), folder.path(), options("f16")).unwrap();
    let (model, written) = (Model::open(folder.path()).unwrap(), Model::open(&output).unwrap());
    model.graph(64).unwrap();
    written.graph(64).unwrap();
    let index = written.checkpoint.tensor("rope_freqs.weight").unwrap();
    let mut bytes = [0; 32];
    written.checkpoint.read(index, 0, &mut bytes).unwrap();
    let mut factors = [0.0; 8];
    F32.decode_row(&bytes, &mut factors);
    let plain = written.config.rope.inverse_frequencies();
    for ((plain, factor), scaled) in plain.iter().zip(factors).zip(model.config.rope.inverse_frequencies()) {
        assert!((plain / f64::from(factor) / scaled - 1.0).abs() < 1e-7, "{plain} / {factor} is not {scaled}");
    }
    assert_eq!((factors[0], factors[7]), (1.0, 8.0));

    let scaling = json!({"type": "linear", "factor": 4.0});
    let folder = directory(Path::new(MASTER), 2048, &json!({"rope_scaling": scaling}));
    let (output, _) = quantise(folder.path(), folder.path(), options("f16")).unwrap();
    assert_eq!(Model::open(&output).unwrap().config.rope, Model::open(folder.path()).unwrap().config.rope);

    // What is not written yet is refused, not forgotten.
    let scaling = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512});
    let folder = directory(Path::new(MASTER), 2048, &json!({"rope_scaling": scaling}));
    assert!(Model::open(folder.path()).is_ok());
    check_message(Plan::new(folder.path(), options("f16")), &["LlamaForCausalLM", "not converted"]);
}

/// The rows of a head pair halves in a directory, and neighbours in the file: 0, 8, 1, 9 and so on.
#[test]
fn heads_are_reordered() {
    let folder = directory(Path::new(MASTER), 2048, &json!({}));
    let (output, _) = quantise(folder.path(), folder.path(), options("f32")).unwrap();
    let (_, _, bytes) = &tensors(&Checkpoint::open(output).unwrap())["blk.0.attn_q.weight"];
    let mut elements = [0.0; 32 * 8];
    F32.decode_row(bytes, &mut elements);
    let rows: Vec<f32> = elements.chunks_exact(8).map(|row| row[0]).collect();
    assert_eq!(rows[..4], [0.0, 8.0, 1.0, 9.0]);
    assert_eq!(rows[14..20], [7.0, 15.0, 16.0, 24.0, 17.0, 25.0]);
}

/// A model of two matrices as a GGUF file, some of its weights given.
fn small(path: &Path, weights: &[(usize, f32)], more: &[(&str, Value)]) {
    let mut memory = InMemory::default();
    memory.add("blk.0.attn_v.weight", &[4, 64]);
    memory.add("blk.0.attn_norm.weight", &[64]);
    memory.add("blk.0.ffn_down.weight", &[64, 48]);
    for (index, weight) in weights {
        memory.bytes[0][4 * index..][..4].copy_from_slice(&weight.to_le_bytes());
    }
    let mut entries = vec![
        ("general.architecture".to_owned(), Value::String("llama".into())),
        ("general.alignment".to_owned(), Value::U32(32)),
        ("llama.block_count".to_owned(), Value::U32(1)),
        ("made.by".to_owned(), Value::Array(Array::String(vec!["a test".into()]))),
    ];
    entries.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    writer::write(path, &entries, &memory).unwrap();
}

#[test]
fn metadata_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("small-00001-of-00001.gguf");
    small(&input, &[], &[("split.count", Value::U16(1)), ("split.no", Value::U16(0))]);
    let (output, report) = quantise(&input, folder.path(), options("q8_0")).unwrap();
    assert_eq!(report.input_bytes, 4 * (4 * 64 + 64 + 64 * 48));
    let checkpoint = Checkpoint::open(output).unwrap();
    let keys: Vec<&str> = metadata(&checkpoint).entries.keys().map(String::as_str).collect();
    let wanted =
        ["general.architecture", "general.file_type", "general.quantization_version", "llama.block_count", "made.by"];
    assert_eq!(keys, wanted);
    assert_eq!(metadata(&checkpoint).integer("general.file_type").unwrap(), Some(7));
    let formats: Vec<String> = checkpoint.tensors().iter().map(|info| info.storage.to_string()).collect();
    assert_eq!(formats, ["Q8_0", "F32", "F16"], "rows of 48 are no whole blocks");
}

/// Rows of 64 and 172 fit few blocks, those of the demo all.
#[test]
fn every_mix_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let models = [Some(PathBuf::from(MASTER)), data("models/stories260k/hf")];
    for (model, mix) in models.iter().flatten().flat_map(|model| ALL.iter().map(move |mix| (model, mix))) {
        let (output, _) = quantise(model, folder.path(), options(mix.name())).unwrap();
        let written = Model::open(&output).unwrap();
        written.graph(16).unwrap();
        let info = &written.checkpoint.tensors()[written.checkpoint.tensor("blk.3.ffn_up.weight").unwrap()];
        assert_eq!(info.format().unwrap(), mixes::fitting(mix.format, info.shape[1]), "{}", mix.name());
    }
}

#[test]
fn several_files_become_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Vec::new();
    for number in 0..2u16 {
        let mut memory = InMemory::default();
        memory.add(&format!("blk.{number}.attn_v.weight"), &[4 + usize::from(number), 32]);
        let entries = [
            ("general.architecture", Value::String("llama".into())),
            ("split.no", Value::U16(number)),
            ("split.count", Value::U16(2)),
            ("split.tensors.count", Value::I32(2)),
        ];
        let path = folder.path().join(format!("part-{:05}-of-00002.gguf", number + 1));
        writer::write(&path, &entries.map(|(key, value)| (key.to_owned(), value)), &memory).unwrap();
        parts.push(path);
    }
    let (output, _) = quantise(&parts[0], folder.path(), options("bf16")).unwrap();
    let found = tensors(&Checkpoint::open(output).unwrap());
    assert_eq!((found.len(), &found["blk.1.attn_v.weight"].1), (2, &vec![5, 32]));
    let plan = Plan::new(&parts[0], options("bf16")).unwrap();
    check_message(plan.write(&parts[1], Existing::Replace, |_, _| true), &["00002-of-00002", "name another"]);
}

/// Files with any bit of their metadata and tables wrong are refused, or quantised as what they are then.
#[test]
fn damaged_files() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("small.gguf"), folder.path().join("output.gguf"));
    small(&input, &[], &[]);
    let whole = fs::read(&input).unwrap();
    let header = whole.len() - 4 * (4 * 64 + 64 + 64 * 48);
    let mut written = 0;
    for bit in 0..header * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&input, damaged).unwrap();
        let Ok(plan) = Plan::new(&input, options("q4_0")) else { continue };
        // To wait for the disk after each of them would take a minute.
        if bit % 16 == 0 {
            written += usize::from(plan.write(&output, Existing::Replace, |_, _| true).is_ok());
        }
    }
    assert!(written > 0, "many bits are those of names");
}

#[test]
fn overrides() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("small.gguf");
    small(&input, &[], &[]);
    let by_hand = |text: &str| Options { overrides: vec![text.parse().unwrap()], ..options("q8_0") };
    let (output, _) = quantise(&input, folder.path(), by_hand("attn_*=bf16")).unwrap();
    assert_eq!(Checkpoint::open(output).unwrap().tensors()[0].storage.to_string(), "BF16");
    check_message(Plan::new(&input, by_hand("ffn_down=q8_0")), &["blk.0.ffn_down.weight", "48", "q8_0"]);
    check_message(Plan::new(&input, by_hand("attn_w=q8_0")), &["Options::overrides: attn_w"]);
}

/// Checks that a model is refused while it is written, with such a message, and that nothing is left of it.
fn check_unwritten(weights: &[(usize, f32)], mix: &str, message: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("small.gguf");
    small(&input, weights, &[]);
    check_message(quantise(&input, folder.path(), options(mix)), message);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the input is there");
}

#[test]
fn weights_that_are_no_numbers() {
    check_unwritten(&[(70, f32::NAN)], "q8_0", &["blk.0.attn_v.weight", "row 1 "]);
    check_unwritten(&[(255, f32::INFINITY)], "f32", &["blk.0.attn_v.weight", "row 3 "]);
    check_unwritten(&[(0, 1e9)], "q8_0", &["blk.0.attn_v.weight", "row 0 ", "too large for q8_0"]);
    check_unwritten(&[(200, 70_000.0)], "f16", &["blk.0.attn_v.weight", "row 3 ", "too large for f16"]);
}

#[test]
fn files_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("small.gguf"), folder.path().join("output.gguf"));
    small(&input, &[], &[]);
    fs::write(&output, "something").unwrap();
    let plan = Plan::new(&input, options("q8_0")).unwrap();
    let kept = || assert_eq!(fs::read_to_string(&output).unwrap(), "something");
    check_message(plan.write(&output, Existing::Keep, |_, _| true), &["output.gguf", "Existing::Replace"]);
    kept();
    check_message(plan.write(&output, Existing::Replace, |done, _| done < 100), &["cancelled"]);
    kept();
    assert!(!partial_path(&output).exists());
    check_message(plan.write(&input, Existing::Replace, |_, _| true), &["small.gguf", "name another"]);
    // The name under which a file is written until it is whole.
    let named = partial_path(&folder.path().join("small"));
    fs::copy(&input, &named).unwrap();
    let other = Plan::new(&named, options("q8_0")).unwrap();
    check_message(
        other.write(folder.path().join("small"), Existing::Keep, |_, _| true),
        &["small.partial", "name another"],
    );
    assert!(fs::read(&named).unwrap() == fs::read(&input).unwrap());
    fs::remove_file(named).unwrap();
    // Another is writing, and finds its file as it was.
    let busy = folder.path().join("busy.gguf");
    let second = |_, _| {
        check_message(plan.write(&busy, Existing::Keep, |_, _| true), &["busy.gguf", "another process"]);
        true
    };
    plan.write(&busy, Existing::Keep, second).unwrap();
    fs::remove_file(busy).unwrap();
    check_message(plan.write(folder.path(), Existing::Replace, |_, _| true), &["no file"]);
    check_message(plan.write(folder.path().join("none/x.gguf"), Existing::Keep, |_, _| true), &["none/x.gguf"]);
    plan.write(&output, Existing::Replace, |_, _| true).unwrap();
    assert_eq!(Checkpoint::open(&output).unwrap().tensors().len(), 3);
    // An input that is cut short meanwhile.
    let whole = fs::read(&input).unwrap();
    fs::write(&input, &whole[..whole.len() - 100]).unwrap();
    check_message(plan.write(&output, Existing::Replace, |_, _| true), &["cut short"]);
    assert_eq!(
        (fs::read_dir(folder.path()).unwrap().count(), Checkpoint::open(&output).unwrap().tensors().len()),
        (2, 3)
    );
}

#[test]
fn what_is_quantised_already() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::new(DEMO, Options { pure: true, ..options("q4_0") }).unwrap();
    assert_eq!(plan.requantised(), 5 * 7 + 1);
    let plan = Plan::new(DEMO, options("q8_0")).unwrap();
    assert_eq!(plan.requantised(), 0);
    plan.write(folder.path().join("same.gguf"), Existing::Keep, |_, _| true).unwrap();
    let same = Checkpoint::open(folder.path().join("same.gguf")).unwrap();
    assert!(tensors(&same) == tensors(&Checkpoint::open(DEMO).unwrap()));
}

/// An importance matrix of the older kind: names with values.
fn list(entries: &[(&str, &[f32])]) -> Vec<u8> {
    let mut bytes = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, values) in entries {
        bytes.extend((name.len() as i32).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(2i32.to_le_bytes());
        bytes.extend((values.len() as i32).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes.extend(7i32.to_le_bytes());
    bytes.extend(8i32.to_le_bytes());
    bytes.extend(b"text.txt");
    bytes
}

/// The metadata of a file quantised with an importance matrix.
fn weighted(input: &Path, matrix: &Path) -> Result<Metadata> {
    let folder = tempfile::tempdir().unwrap();
    let importance = Some(Importance::open(matrix)?);
    let (output, _) = quantise(input, folder.path(), Options { importance, ..options("q4_0") })?;
    Ok(metadata(&Checkpoint::open(output).unwrap()).clone())
}

/// Each expert's rows are weighted by its own importance.
#[test]
fn importance_of_experts() {
    let folder = tempfile::tempdir().unwrap();
    let (input, matrix) = (folder.path().join("experts.gguf"), folder.path().join("importance"));
    let (name, format) = ("blk.0.ffn_down_exps.weight", Format::from_name("q4_0").unwrap());
    let weights: Vec<f32> = (0..2 * 3 * 64).map(|index| ((index * index) as f32).sin()).collect();
    let mut memory = InMemory::default();
    memory.add(name, &[2, 3, 64]);
    memory.bytes[0] = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    writer::write(&input, &[("general.architecture".into(), Value::String("llama".into()))], &memory).unwrap();
    let importance: Vec<f32> =
        (0..2 * 64).map(|index| if (index % 64 < 32) == (index < 64) { 100.0 } else { index as f32 }).collect();
    fs::write(&matrix, list(&[(name, &importance)])).unwrap();
    let options = Options { importance: Some(Importance::open(&matrix).unwrap()), pure: true, ..options("q4_0") };
    let (output, _) = quantise(&input, folder.path(), options).unwrap();
    let mut expected = vec![0; 6 * format.file_row_bytes(64).unwrap()];
    for (row, blocks) in expected.chunks_exact_mut(format.file_row_bytes(64).unwrap()).enumerate() {
        // Two calls were counted.
        let halved: Vec<f32> = importance[row / 3 * 64..][..64].iter().map(|value| value / 2.0).collect();
        format.encode_row(&weights[row * 64..][..64], Some(&halved), blocks);
    }
    assert!(tensors(&Checkpoint::open(output).unwrap())[name].2 == expected);
}

#[test]
fn importance_matrices() {
    let folder = tempfile::tempdir().unwrap();
    let (input, matrix) = (folder.path().join("small.gguf"), folder.path().join("importance"));
    small(&input, &[], &[]);
    let check = |found: Metadata| {
        assert_eq!(found.integer("quantize.imatrix.entries_count").unwrap(), Some(1));
        assert_eq!(found.integer("quantize.imatrix.chunks_count").unwrap(), Some(7));
        assert_eq!(found.text("quantize.imatrix.dataset").unwrap(), Some("text.txt"));
        assert_eq!(found.text("quantize.imatrix.file").unwrap(), matrix.to_str());
    };
    let whole = list(&[("blk.0.attn_v.weight", &[1.0; 64])]);
    fs::write(&matrix, &whole).unwrap();
    check(weighted(&input, &matrix).unwrap());
    let importance = Some(Importance::open(&matrix).unwrap());
    let plan = Plan::new(&input, Options { importance, ..options("q4_0") }).unwrap();
    check_message(plan.write(&matrix, Existing::Replace, |_, _| true), &["importance", "name another"]);

    let mut memory = InMemory::default();
    memory.add("blk.0.attn_v.weight.in_sum2", &[1, 64]);
    memory.add("blk.0.attn_v.weight.counts", &[1, 1]);
    let entries = [
        ("imatrix.datasets".to_owned(), Value::Array(Array::String(vec!["text.txt".into()]))),
        ("imatrix.chunk_count".to_owned(), Value::U32(7)),
    ];
    writer::write(&matrix, &entries, &memory).unwrap();
    check(weighted(&input, &matrix).unwrap());
    memory.tensors[1].name = "other.counts".into();
    writer::write(&matrix, &entries, &memory).unwrap();
    check_message(weighted(&input, &matrix), &["importance", "blk.0.attn_v.weight.counts is missing"]);

    let wrong = |bytes: &[u8], message: &[&str]| {
        fs::write(&matrix, bytes).unwrap();
        check_message(weighted(&input, &matrix), message);
    };
    wrong(&list(&[("blk.0.attn_v.weight", &[1.0; 63])]), &["importance", "blk.0.attn_v.weight", "63", "64"]);
    wrong(&list(&[("blk.0.attn_v.weight", &[f32::NAN; 64])]), &["importance", "blk.0.attn_v.weight", "no number"]);
    wrong(&list(&[]), &["importance", "no importance"]);
    wrong(b"what", &["importance", "no importance matrix"]);
    for length in 0..whole.len() - 16 {
        fs::write(&matrix, &whole[..length]).unwrap();
        assert!(Importance::open(&matrix).is_err(), "{length} bytes of it open");
    }
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&matrix, damaged).unwrap();
        let planned = |importance| Plan::new(&input, Options { importance: Some(importance), ..options("q4_0") });
        _ = Importance::open(&matrix).and_then(planned);
    }
}
