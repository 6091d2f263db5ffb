//! SentencePiece models alone: Mistral's of the data pack, and tiny ones of every kind.

mod common;

use std::path::Path;

use plywood_models::tokenizer::EncodeOptions;
use plywood_models::{Checkpoint, Tokenizer};
use serde_json::Value;

use common::tokens::{PLAIN, check_stream, directory_of, open};
use common::{check_message, data};

/// Tokens of Mistral's models that no text spells.
const MISTRAL: [&str; 9] = [
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
];

/// What a sample with visible pieces was made of: the texts between special tokens, before each of which a space was put.
fn mistral_text(sample: &str, special: &[&str]) -> (String, String) {
    let (mut whole, mut plain) = (String::new(), String::new());
    let mut rest = sample;
    let mut after_token = true;
    while !rest.is_empty() {
        if let Some(token) = special.iter().find(|token| rest.starts_with(**token)) {
            whole.push_str(token);
            rest = &rest[token.len()..];
            after_token = true;
            continue;
        }
        let (mut character, mut length) = (rest.chars().next().unwrap(), rest.chars().next().unwrap().len_utf8());
        if let Some(byte) = rest.strip_prefix("<0x") {
            (character, length) = (char::from(u8::from_str_radix(&byte[..2], 16).unwrap()), 6);
        }
        let character = if character == '▁' { ' ' } else { character };
        plain.push(character);
        if !after_token {
            whole.push(character);
        }
        after_token = false;
        rest = &rest[length..];
    }
    (whole, plain.strip_prefix(' ').unwrap().to_owned())
}

/// Checks a SentencePiece model of Mistral against its samples; how many there were.
fn check_mistral(model: &str, version: &str, special: &[&str]) -> usize {
    let (Some(model), Some(samples)) = (data(model), data("tokenizers/mistral/samples")) else { return 0 };
    let directory = directory_of(&model);
    let tokenizer = open(directory.path());
    let mut held = 0;
    for sample in std::fs::read_dir(samples).unwrap() {
        let sample = sample.unwrap().path();
        let Ok(text) = std::fs::read_to_string(sample.join(format!("text_{version}.txt"))) else { continue };
        let ids = std::fs::read_to_string(sample.join(format!("tokens_{version}.json"))).unwrap();
        let ids: Value = serde_json::from_str(&ids).unwrap();
        let ids: Vec<u32> = serde_json::from_value(ids["tokens"].clone()).unwrap();
        let (whole, plain) = mistral_text(&text, special);
        let encode = |text: &str, special, bos| tokenizer.encode(text, EncodeOptions { special, bos }).unwrap();
        assert_eq!(encode(&whole, true, false), ids, "{}", sample.display());
        assert_eq!(encode(whole.strip_prefix("<s>").unwrap(), true, true), ids);
        assert_eq!(tokenizer.decode(&ids), plain);
        check_stream(&tokenizer, &ids, &plain);
        // Not parsed, special tokens are text like any other.
        let parts = encode(&whole, false, false);
        assert!(parts.len() > ids.len() && parts.iter().all(|id| *id > 2), "{parts:?}");
        assert_eq!(tokenizer.decode(&parts), whole);
        held += 1;
    }
    println!("{held} samples of Mistral {version} are exact");
    held
}

#[test]
fn mistral() {
    if data("tokenizers/mistral").is_some() {
        assert_eq!(check_mistral("tokenizers/mistral/tokenizer.model.v1", "v1", &MISTRAL[..2]), 1);
        let v3 = "tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3";
        assert_eq!(check_mistral(v3, "v3", &MISTRAL), 6);
    }
}

/// Tiny models of every kind against sentencepiece itself (`sentencepiece/make.py`).
#[test]
fn sentencepiece_models() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentencepiece");
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    let mut held = 0;
    for (name, cases) in expected.as_object().unwrap() {
        let directory = directory_of(&folder.join(format!("{name}.model")));
        let tokenizer = open(directory.path());
        assert_eq!(tokenizer.prefix(), [1]);
        for case in cases.as_array().unwrap() {
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text, PLAIN).unwrap(), ids, "{name} {text:?}");
            held += 1;
        }
        let special = tokenizer.encode("<s><ctl>a", EncodeOptions { special: true, bos: false }).unwrap();
        assert_eq!(special[..2], [1, 3], "{name}");
    }
    println!("{held} texts are cut as sentencepiece cuts them");
    assert_eq!(held, 168);
}

#[test]
fn settings_beside_a_sentencepiece_model() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentencepiece/unigram.model");
    let directory = directory_of(&model);
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let encode = |text: &str| open(directory.path()).encode(text, EncodeOptions { special: true, bos: true }).unwrap();
    let a = encode("a")[1..].to_vec();
    write("added_tokens.json", r#"{"<more>": 420, "<text>": 421}"#);
    write("special_tokens_map.json", r#"{"additional_special_tokens": [{"content": "<more>"}]}"#);
    assert_eq!(encode("<more>a<text>"), [&[1, 420], &a[..], &[421]].concat());
    assert_eq!(open(directory.path()).decode(&[420, 421]), "<text>");
    let added = r#"{"430": {"content": "<new>", "special": true, "rstrip": true}}"#;
    write(
        "tokenizer_config.json",
        &format!(
            r#"{{"tokenizer_class": "LlamaTokenizer", "add_bos_token": false, "add_eos_token": true, "added_tokens_decoder": {added}}}"#
        ),
    );
    assert_eq!(encode("<new> \n a"), [&[430], &a[..], &[2]].concat());
    assert_eq!(open(directory.path()).len(), 431);
    // Not legacy: a space goes before the whole text only.
    write("tokenizer_config.json", &format!(r#"{{"legacy": false, "added_tokens_decoder": {added}}}"#));
    assert_eq!(encode("a"), [&[1], &a[..]].concat());
    assert_ne!(encode("<new>a"), [&[1, 430], &a[..]].concat());
    let refused = |parts: &[&str]| check_message(Tokenizer::of(&Checkpoint::open(directory.path()).unwrap()), parts);
    write("tokenizer_config.json", r#"{"tokenizer_class": "XLMRobertaTokenizer"}"#);
    refused(&["tokenizer_config.json", "XLMRobertaTokenizer", "LlamaTokenizer"]);
    write("tokenizer_config.json", r#"{"added_tokens_decoder": {"4000000000": {"content": "<new>"}}}"#);
    refused(&["tokenizer.model", "4000000000"]);
    write("tokenizer_config.json", "{}");
    write("tokenizer.model", "IQ== 0\nIg== 1\n");
    refused(&["tokenizer.model", "tiktoken", "tokenizer.json"]);
    write("tokenizer.model", "");
    refused(&["tokenizer.model", "no pieces"]);
}

/// Byte flips and cuts in tokenizer.model: an error or a tokenizer, never a panic.
#[test]
fn damaged_tokenizer_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentencepiece");
    for name in ["unigram_rules", "merges"] {
        let bytes = std::fs::read(folder.join(format!("{name}.model"))).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("tokenizer.model");
        let mut state = 11u64;
        for round in 0..400 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut damaged = bytes.clone();
            // The settings lie at the end; half of the flips hit them.
            let span = if round % 2 == 0 { damaged.len() } else { damaged.len().min(1500) };
            let place = damaged.len() - 1 - (state >> 33) as usize % span;
            damaged[place] ^= 1 << (state >> 20 & 7);
            if round % 10 == 0 {
                damaged.truncate(place);
            }
            std::fs::write(&target, damaged).unwrap();
            if let Ok(tokenizer) = Tokenizer::of(&Checkpoint::open(directory.path()).unwrap()) {
                let ids = tokenizer.encode("ＡＢ ﬁ Once  e\u{301} <s> 🙂", EncodeOptions { special: true, bos: true });
                tokenizer.decode(&ids.unwrap_or_default());
            }
        }
    }
}
