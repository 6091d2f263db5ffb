//! How texts are split, by every name that GGUF files have for it, against llama.cpp (`pre_tokenizers/make.py`).

mod common;

use std::path::Path;

use plywood_models::{Checkpoint, Tokenizer};
use serde_json::Value;

use common::tokens::PLAIN;
use common::{check_message, data};

/// Where llama.cpp is known to split otherwise than the models' own tokenizer.json: names, a part of the text, and why.
const DIFFERENT: [(&[&str], &str, &str); 6] = [
    (&["qwen2"], "e\u{301}", "llama.cpp does not compose characters (NFC)"),
    (&["tiny_aya", "cohere2moe"], "iOS9", "its regular expressions do not tell upper case from lower there"),
    (&["deepseek-llm"], "123456", "it leaves digits together; the vocabulary of DeepSeek has no numbers to merge"),
    (&["deepseek-llm"], "y=22", "the same"),
    (&["deepseek-llm"], "$100", "the same"),
    (&["deepseek-llm", "deepseek-coder"], "\u{2028}", "it hides white space from the range of Asian characters"),
];

/// The vocabulary of GPT-2 with other words under a key.
fn with(bytes: &[u8], key: &str, old: &str, new: &str) -> plywood_models::Result<Tokenizer> {
    let entry = |text: &str| {
        [key.as_bytes(), &8u32.to_le_bytes(), &(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    };
    let old = entry(old);
    let place = bytes.windows(old.len()).position(|window| window == old).unwrap();
    let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    std::fs::write(file.path(), [&bytes[..place], &entry(new), &bytes[place + old.len()..]].concat()).unwrap();
    Tokenizer::of(&Checkpoint::open(file.path()).unwrap())
}

fn vocabulary() -> Option<Vec<u8>> {
    data("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf").map(|path| std::fs::read(path).unwrap())
}

#[test]
fn every_name() {
    let Some(bytes) = vocabulary() else { return };
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pre_tokenizers/expected.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(expected).unwrap()).unwrap();
    let texts: Vec<&str> = expected["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let (mut names, mut held, mut different) = (0, 0, 0);
    for group in expected["groups"].as_array().unwrap() {
        let ids: Vec<Vec<u32>> = serde_json::from_value(group["ids"].clone()).unwrap();
        for name in group["names"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let tokenizer = with(&bytes, "tokenizer.ggml.pre", "gpt-2", name).unwrap();
            for (text, ids) in texts.iter().zip(&ids) {
                let known = DIFFERENT.iter().find(|(names, part, _)| names.contains(&name) && text.contains(part));
                let equal = tokenizer.encode(text, PLAIN).unwrap() == *ids;
                assert_eq!(equal, known.is_none(), "{name} {text:?} {known:?}");
                held += usize::from(equal);
                different += usize::from(!equal);
            }
            names += 1;
        }
    }
    println!("{names} names: {held} texts are split as llama.cpp does, {different} as the models' own files have it");
    assert_eq!((names, different), (68, 8));
}

#[test]
fn unknown_names() {
    let Some(bytes) = vocabulary() else { return };
    let pre = with(&bytes, "tokenizer.ggml.pre", "gpt-2", "gpt-9");
    check_message(pre, &["tokenizer.ggml.pre", "gpt-9", "llama-bpe", "qwen2"]);
    for model in ["bert", "t5", "rwkv", "plamo2", "ugm", "no_vocab", ""] {
        let tokenizer = with(&bytes, "tokenizer.ggml.model", "gpt2", model);
        check_message(tokenizer, &["tokenizer.ggml.model", &format!("{model:?}"), "llama and gpt2"]);
    }
}
