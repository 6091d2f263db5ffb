//! Marks of thinking: which templates have which, and how they come out of a tokenizer token by token.

mod common;

use plywood_models::Tokenizer;
use plywood_models::checkpoint::Checkpoint;
use plywood_models::template::thinking::{Marks, Part, Section, Sections};
use plywood_models::tokenizer::EncodeOptions;
use serde_json::{Value, json};

use common::data;

#[test]
fn marks_of_templates() {
    let Some(folder) = data("chat_templates/templates") else { return };
    let known = [
        ("HuggingFaceTB-SmolLM3-3B", "<think>"),
        ("Qwen-Qwen3-0.6B", "<think>"),
        ("google-gemma-4-31B-it", "<|channel>thought"),
        ("openai-gpt-oss-120b", "<|channel|>analysis<|message|>"),
    ];
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let marks = Marks::of(&std::fs::read_to_string(&path).unwrap(), None);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        found.extend(marks.map(|marks| (name, marks.open)));
    }
    found.sort();
    assert_eq!(found, known.map(|(name, open)| (name.to_string(), open)));
}

/// A tokenizer of a family's fixture with further tokens: special ones are control tokens, the others text.
fn tokenizer(added: &[(&str, bool)]) -> Tokenizer {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/families/gpt_oss/tokenizer.json");
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(fixture).unwrap()).unwrap();
    for ((content, special), id) in added.iter().zip(64..) {
        let token = json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special });
        file["added_tokens"].as_array_mut().unwrap().push(token);
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
    Tokenizer::of(&Checkpoint::open(folder.path()).unwrap()).unwrap()
}

/// Thinking and answer of a text that comes token by token; its marks are found by the vocabulary.
fn check(added: &[(&str, bool)], text: &str, thinking: &str, answer: &str) {
    let tokenizer = tokenizer(added);
    let ids = tokenizer.encode(text, EncodeOptions::RENDERED).unwrap();
    let (mut decoder, mut sections) = (tokenizer.decoder(), Sections::new(Marks::of("", Some(&tokenizer)), ""));
    let mut parts: Vec<Part> = Vec::new();
    for id in ids {
        parts.extend(sections.text(&decoder.push(id)));
        parts.extend(tokenizer.control(id).map(|spelling| sections.control(spelling)).unwrap_or_default());
    }
    parts.extend(sections.finish());
    let of = |section| parts.iter().filter(move |part| part.section == section).map(|part| part.text.as_str());
    let found = (of(Section::Thinking).collect::<String>(), of(Section::Answer).collect::<String>());
    assert_eq!(found, (thinking.into(), answer.into()), "{text:?}");
}

#[test]
fn marks_of_vocabularies() {
    let channels = ["<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>"].map(|token| (token, true));
    let text = "<|channel|>analysis<|message|>a b<|end|><|start|>assistant<|channel|>final<|message|>c<|return|>";
    check(&channels, text, "a b", "c");
    for special in [true, false] {
        check(&[("<think>", special), ("</think>", special)], "<think>\na b\n</think>\n\nc", "a b", "c");
    }
    check(&[("[THINK]", true), ("[/THINK]", true)], "[THINK]a b[/THINK]c", "a b", "c");
    check(&[("<other>", true)], "a b<other>c", "", "a bc");
}
