//! Every tokenizer expectation of the data pack, id for id, and decoding as a stream.

mod common;

use std::path::Path;

use plywood_models::tokenizer::EncodeOptions;
use plywood_models::{Checkpoint, Tokenizer};
use serde_json::Value;

use common::tokens::{PLAIN, check_stream, directory_of, open};
use common::{check_message, data};

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

/// Checks a tokenizer against the texts and ids beside one of llama.cpp's vocabularies.
fn check_vocabulary(tokenizer: &str, expected: &str) {
    let expected = format!("tokenizers/llama.cpp-vocab/ggml-vocab-{expected}.gguf");
    let paths = [data(tokenizer), data(&format!("{expected}.inp")), data(&format!("{expected}.out"))];
    let [Some(tokenizer), Some(texts), Some(ids)] = paths else { return };
    let tokenizer = open(&tokenizer);
    let texts = std::fs::read_to_string(texts).unwrap();
    let ids = std::fs::read_to_string(ids).unwrap();
    let texts: Vec<&str> = texts.strip_suffix(SEPARATOR).unwrap().split(SEPARATOR).collect();
    assert_eq!(texts.len(), 46);
    for (text, ids) in texts.iter().zip(ids.lines()) {
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(text, PLAIN).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), *text);
        check_stream(&tokenizer, &ids, text);
    }
    println!("{} texts of {expected} are exact", texts.len());
}

#[test]
fn llama_spm() {
    check_vocabulary("tokenizers/llama.cpp-vocab/ggml-vocab-llama-spm.gguf", "llama-spm");
}

#[test]
fn phi_3() {
    check_vocabulary("tokenizers/llama.cpp-vocab/ggml-vocab-phi-3.gguf", "phi-3");
}

#[test]
fn gpt_2() {
    check_vocabulary("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf", "gpt-2");
}

#[test]
fn deepseek_llm() {
    check_vocabulary("tokenizers/llama.cpp-vocab/ggml-vocab-deepseek-llm.gguf", "deepseek-llm");
}

#[test]
fn starcoder() {
    check_vocabulary("tokenizers/llama.cpp-vocab/ggml-vocab-starcoder.gguf", "starcoder");
}

#[test]
fn phi_3_directory() {
    check_vocabulary("tokenizers/phi-3-mini", "phi-3");
}

#[test]
fn gpt_2_directory() {
    check_vocabulary("tokenizers/gpt2", "gpt-2");
}

/// The pack has no ids for Qwen2; known ones of common texts, and that decoding gives the text back.
#[test]
fn qwen_2_directory() {
    let Some(path) = data("tokenizers/qwen2") else { return };
    let tokenizer = open(&path);
    assert_eq!(tokenizer.encode("Hello, world! 12", PLAIN).unwrap(), [9707, 11, 1879, 0, 220, 16, 17]);
    // Composed before encoding: e and a combining acute accent give é.
    assert_eq!(tokenizer.encode("e\u{301}", PLAIN).unwrap(), tokenizer.encode("é", PLAIN).unwrap());
    let special = tokenizer.encode("<|im_start|>user", EncodeOptions { special: true, bos: true }).unwrap();
    assert_eq!(special, [151_644, 872]);
    assert_eq!(tokenizer.decode(&special), "user");
    let plain = tokenizer.encode("<|im_start|>user", PLAIN).unwrap();
    assert_eq!(tokenizer.decode(&plain), "<|im_start|>user");
}

/// Checks a tokenizer of stories260K against `tokenize.json`, with and without special tokens in the text.
fn check_stories(model: &str) {
    let (Some(model), Some(expected)) = (data(model), data("models/stories260k/expected/tokenize.json")) else {
        return;
    };
    let tokenizer = open(&model);
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(expected).unwrap()).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 16);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        for (key, special) in [("ids", true), ("ids_plain", false)] {
            let ids: Vec<u32> = serde_json::from_value(case[key].clone()).unwrap();
            let found = tokenizer.encode(text, EncodeOptions { special, bos: true }).unwrap();
            assert_eq!(found, ids, "{text:?}");
            assert_eq!(tokenizer.encode(text, EncodeOptions { special, bos: false }).unwrap(), ids[1..]);
        }
        let plain: Vec<u32> = serde_json::from_value(case["ids_plain"].clone()).unwrap();
        check_stream(&tokenizer, &plain, text);
    }
    println!("{} texts of stories260K are exact, special tokens parsed and not", cases.len());
}

#[test]
fn stories_gguf() {
    for name in ["f32", "f16", "mixed"] {
        check_stories(&format!("models/stories260k/stories260k-{name}.gguf"));
    }
}

#[test]
fn stories_directory() {
    check_stories("models/stories260k/hf");
}

#[test]
fn continuation_keeps_its_space() {
    let Some(path) = data("models/stories260k/stories260k-f32.gguf") else { return };
    let tokenizer = open(&path);
    let mut decoder = tokenizer.decoder();
    let prompt: String = [1, 403, 407, 261, 378].map(|id| decoder.push(id)).concat();
    assert_eq!(prompt, "Once upon a time");
    assert_eq!(decoder.push(286), " was");
}

#[test]
fn characters_split_over_tokens() {
    let Some(path) = data("models/stories260k/stories260k-f32.gguf") else { return };
    let tokenizer = open(&path);
    // The bytes of 🙂 are tokens of their own; a mark between them does not disturb them.
    let mut decoder = tokenizer.decoder();
    let pieces = [243, 162, 1, 156, 133, 415].map(|id| decoder.push(id));
    assert_eq!(pieces[..4], ["", "", "", ""]);
    assert_eq!(pieces[4], "🙂");
    // A character that never ends is replaced as soon as that is known, or at the end.
    let mut decoder = tokenizer.decoder();
    assert_eq!(decoder.push(243), "");
    assert!(decoder.push(410).starts_with('\u{fffd}'));
    assert_eq!(decoder.push(243), "");
    assert_eq!(decoder.finish(), "\u{fffd}");
    assert_eq!(decoder.push(99_999), "");
}

#[test]
fn shared_by_threads() {
    fn check<T: Send + Sync>() {}
    check::<Tokenizer>();
    check::<Checkpoint>();
}

#[test]
fn special_tokens_only_when_asked() {
    let Some(path) = data("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf") else { return };
    let tokenizer = open(&path);
    let text = "a<|endoftext|>b";
    assert_eq!(tokenizer.encode(text, EncodeOptions { special: true, bos: true }).unwrap(), [64, 50_256, 65]);
    assert!(!tokenizer.encode(text, PLAIN).unwrap().contains(&50_256));
}

/// Phi-3's GGUF vocabulary against its tokenizer.json: white space after special tokens, which GGUF does not tell of.
#[test]
fn phi_3_special_tokens() {
    let paths = [data("tokenizers/llama.cpp-vocab/ggml-vocab-phi-3.gguf"), data("tokenizers/phi-3-mini")];
    let [Some(gguf), Some(directory)] = paths else { return };
    let (gguf, directory) = (open(&gguf), open(&directory));
    let texts = [
        "<|user|>\nHello<|end|>\n<|assistant|>\n",
        "<s><|system|>\n\n  You are<|end|> \t<|user|>  a b </s>  c<unk> d",
        "<|endoftext|>\n x <|endoftext|>  <|placeholder1|>\u{a0}\u{3000}y",
        "a</s>\nb",
        " <|end|> ",
        "<|end|><|end|>\n\n",
        "<s> a",
        "<|USER|>\n",
    ];
    for text in texts {
        for special in [true, false] {
            let options = EncodeOptions { special, bos: false };
            let (ids, expected) = (gguf.encode(text, options).unwrap(), directory.encode(text, options).unwrap());
            assert_eq!(ids, expected, "{text:?} {special}");
        }
    }
    println!("{} texts with special tokens are equal in both", texts.len());
}

/// A text of characters of many kinds.
fn random_text(state: &mut u64) -> String {
    const KINDS: [(u32, u32); 12] = [
        (0x20, 0x7e),
        (0x20, 0x7e),
        (0, 0x20),
        (0x7f, 0x24f),
        (0x300, 0x36f),
        (0x370, 0x5ff),
        (0x600, 0x6ff),
        (0x900, 0xdff),
        (0x2000, 0x206f),
        (0x3040, 0x9fff),
        (0xac00, 0xd7a3),
        (0x1f300, 0x1faff),
    ];
    let mut next = |below: u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    };
    let mut text = String::new();
    for _ in 0..next(12) {
        let (first, last) = KINDS[next(KINDS.len() as u64) as usize];
        for _ in 0..=next(6) {
            text.extend(char::from_u32(first + next(u64::from(last - first + 1)) as u32));
        }
    }
    text
}

/// What is encoded is decoded again, whatever it is.
#[test]
fn random_unicode() {
    let gguf = |name: &str| data(&format!("tokenizers/llama.cpp-vocab/ggml-vocab-{name}.gguf"));
    let mut tokenizers: Vec<Tokenizer> = ["llama-spm", "phi-3", "gpt-2", "deepseek-llm", "starcoder"]
        .into_iter()
        .filter_map(gguf)
        .chain(["tokenizers/phi-3-mini", "tokenizers/gpt2"].into_iter().filter_map(data))
        .map(|path| open(&path))
        .collect();
    for model in ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"] {
        if let Some(model) = data(&format!("tokenizers/mistral/{model}")) {
            tokenizers.push(open(directory_of(&model).path()));
        }
    }
    let merges = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentencepiece/merges.model");
    tokenizers.push(open(directory_of(&merges).path()));
    let mut held = 0;
    for tokenizer in &tokenizers {
        let mut state = 3;
        for _ in 0..400 {
            let text = random_text(&mut state);
            let ids = tokenizer.encode(&text, PLAIN).unwrap();
            assert_eq!(tokenizer.decode(&ids), text);
            check_stream(tokenizer, &ids, &text);
            held += 1;
        }
    }
    // Qwen composes characters, so that only what it gives is kept.
    if let Some(qwen) = data("tokenizers/qwen2").map(|path| open(&path)) {
        let mut state = 3;
        for _ in 0..400 {
            let once = qwen.decode(&qwen.encode(&random_text(&mut state), PLAIN).unwrap());
            assert_eq!(qwen.decode(&qwen.encode(&once, PLAIN).unwrap()), once);
            held += 1;
        }
    }
    println!("{held} random texts came back");
}

/// Checks that a tokenizer.json is refused with such a message.
fn check_refused(json: &str, parts: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tokenizer.json"), json).unwrap();
    check_message(Tokenizer::of(&Checkpoint::open(directory.path()).unwrap()), parts);
}

#[test]
fn refused_tokenizers() {
    let model = |model: &str| format!(r#"{{"version":"1.0","decoder":{{"type":"ByteLevel"}},"model":{model}}}"#);
    check_refused("{", &["tokenizer.json"]);
    check_refused(&model(r#"{"type":"Unigram","vocab":[["a",0.0]]}"#), &["Unigram", "BPE"]);
    check_refused(&model(r#"{"type":"BPE","vocab":{"a":0,"b":4294967295},"merges":[]}"#), &["4294967295"]);
    check_refused(&model(r#"{"type":"BPE","vocab":{"a":0,"b":1},"merges":[["a","b"]]}"#), &["merges"]);
    check_refused(&model(r#"{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}"#), &["merges"]);
    let no_decoder = r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#;
    check_refused(no_decoder, &["decoder"]);
}

/// Byte flips in tokenizer.json: an error or a tokenizer, never a panic.
#[test]
fn damaged_tokenizer_json() {
    let Some(path) = data("models/stories260k/hf/tokenizer.json") else { return };
    let bytes = std::fs::read(path).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("tokenizer.json");
    let mut state = 7u64;
    for _ in 0..300 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut damaged = bytes.clone();
        let place = (state >> 33) as usize % damaged.len();
        damaged[place] ^= 1 << (state >> 20 & 7);
        std::fs::write(&target, damaged).unwrap();
        if let Ok(tokenizer) = Tokenizer::of(&Checkpoint::open(directory.path()).unwrap()) {
            let ids = tokenizer.encode("Once upon a <s> time 🙂", EncodeOptions { special: true, bos: true });
            tokenizer.decode(&ids.unwrap_or_default());
        }
    }
}

/// A text that goes on where another ended is decoded as itself, with no space before it that it does not have.
#[test]
fn texts_that_go_on() {
    const CUTS: [(&str, &str); 7] = [
        ("Once upon", " a time"),
        ("Once up", "on a time"),
        ("Once", "  upon a  time "),
        ("One\n", "line\n"),
        ("Héllo", " wörld 🙂"),
        ("1", "2.5"),
        ("Once", ""),
    ];
    let mut held = 0;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sentencepiece");
    let models = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let pieces: Vec<_> = models.filter(|path| path.extension().is_some_and(|end| end == "model")).collect();
    let directories: Vec<_> = pieces.iter().map(|path| directory_of(path)).collect();
    let others = ["models/stories260k/stories260k-f32.gguf", "models/stories260k/hf"];
    let vocabularies = ["gpt2", "phi-3-mini", "qwen2", "llama.cpp-vocab/ggml-vocab-llama-spm.gguf"];
    let given = others.map(String::from).into_iter().chain(vocabularies.map(|name| format!("tokenizers/{name}")));
    let given: Vec<_> = given.filter_map(|path| data(&path)).collect();
    for path in given.iter().map(|path| path.as_path()).chain(directories.iter().map(|directory| directory.path())) {
        let tokenizer = open(path);
        for (front, text) in CUTS {
            let whole = format!("{front}{text}");
            // Some tokenizers do not give every text back.
            if tokenizer.decode(&tokenizer.encode(&whole, PLAIN).unwrap()) != whole {
                continue;
            }
            let ids = [tokenizer.encode(front, PLAIN).unwrap(), tokenizer.encode_after(text).unwrap()].concat();
            assert_eq!(tokenizer.decode(&ids), whole, "{}", path.display());
            held += 1;
        }
    }
    println!("{held} texts go on as they are");
    assert!(held >= 20, "{held}");
}
