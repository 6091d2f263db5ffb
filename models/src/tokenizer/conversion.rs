//! The tokenizer of a Hugging Face directory as the metadata of a GGUF file, or a reason why such a file cannot have it.
//!
//! Keys and types of tokens are those of llama.cpp's converter. One thing is better: where tokens merge as SentencePiece's
//! do, their scores are told from the order of the merges, not all the same.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Data;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::file::File;
use crate::gguf::{Array, Metadata, Value};
use crate::json::Json;
use crate::template;

use super::hugging_face::{self, LIMIT};
use super::outline::{kind, steps};
use super::vocabulary::{Spelling, Token, TokenKind};
use super::{EncodeOptions, Encoder, MARKS, Tokenizer, gguf, pre_tokenizers};

/// A text on which tokenizers of other kinds give other ids: both must agree on it.
const PROBE: &str = "  Plywood's layers, they'RE glued: we'll see 7 42 123 4567 3.14\u{a0}x²=y_z!? \n\n\tif (a==b) {\r\n    go(); }\n\
    \u{2019}tis \u{00fc}ber \u{041f}\u{0440}\u{0438}\u{0432}\u{0435}\u{0442} \u{4f60}\u{597d}\u{4e16}\u{754c} \u{3053}\u{3093} \
    \u{c548}\u{b155} \u{0e2a}\u{0e27}\u{0e31}\u{0e2a} \u{0915}\u{094d}\u{0937} \u{1f600}\u{1f9d1}\u{200d}\u{1f680} ...--- HTTPServer iPhone12 I'M  end";

/// The longest piece of SentencePiece, in bytes: all its cuts are looked at. Published ones have less than 100.
const PIECE_LIMIT: usize = 256;

/// How tokens merge, as GGUF files tell it.
enum Merging {
    /// By rank, after a split of the text that has a name.
    Ranks { split: &'static str, merges: Vec<(String, String)> },
    /// By score.
    Scores(Vec<f32>),
}

/// The parts of a tokenizer.json that say how tokens merge.
#[derive(Deserialize)]
struct Parts {
    model: Model,
    normalizer: Option<Data>,
    pre_tokenizer: Option<Data>,
}

#[derive(Deserialize)]
struct Model {
    merges: Vec<Merge>,
    #[serde(default)]
    ignore_merges: bool,
}

/// A merge is a pair of strings, or one string with a space between its halves.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

/// The metadata that say how a model's texts become ids.
pub fn entries(directory: &Path, config: &Config) -> Result<Vec<(String, Value)>> {
    let tokenizer = hugging_face::build(directory)?;
    let failed = |reason: String| Error::tokenizer(directory, reason);
    if tokenizer.len() > config.vocabulary {
        return Err(Error::VocabularyTooShort { tokens: tokenizer.len(), rows: config.vocabulary });
    }
    let merging = Merging::read(directory, &tokenizer)?;
    let settings = Json::read(&directory.join("tokenizer_config.json"))?;
    let marks = marks(&tokenizer, settings.as_ref(), config).map_err(failed)?;
    let unknown = marks.iter().find(|mark| mark.0 == "unknown").map(|mark| mark.1);

    let (mut texts, mut types) = (Vec::new(), Vec::new());
    for id in 0..config.vocabulary {
        let token = tokenizer.vocabulary.tokens.get(id).filter(|token| token.kind != TokenKind::Unused);
        texts.push(token.map_or_else(|| format!("[PAD{id}]"), spelled));
        types.push(token.map_or(UNUSED, |token| type_id(token, unknown == Some(id as u32), &merging)));
    }
    let mut entries: Vec<(&str, Value)> = match merging {
        Merging::Ranks { split, merges } => {
            let merges = merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect();
            vec![("model", "gpt2".into()), ("pre", split.into()), ("merges", Value::Array(Array::String(merges)))]
        }
        Merging::Scores(mut scores) => {
            scores.resize(config.vocabulary, 0.0);
            vec![("model", "llama".into()), ("pre", "default".into()), ("scores", Value::Array(Array::F32(scores)))]
        }
    };
    entries.push(("tokens", Value::Array(Array::String(texts))));
    entries.push(("token_type", Value::Array(Array::I32(types))));
    entries.push(("add_bos_token", Value::Bool(!tokenizer.prefix.is_empty())));
    entries.push(("add_eos_token", Value::Bool(!tokenizer.suffix.is_empty())));
    let leading_space = tokenizer.vocabulary.spelling == Spelling::Pieces { leading_space: true };
    entries.push(("add_space_prefix", Value::Bool(leading_space)));
    let full = |(key, value): (&str, Value)| (format!("tokenizer.ggml.{key}"), value);
    let mut entries: Vec<(String, Value)> = entries.into_iter().map(full).collect();
    entries.extend(marks.iter().map(|(name, id)| (format!("tokenizer.ggml.{name}_token_id"), Value::U32(*id))));
    check(directory, &tokenizer, &entries)?;
    entries.extend(templates(directory)?);
    Ok(entries)
}

/// Checks that a GGUF file with these entries gives the same ids.
fn check(directory: &Path, tokenizer: &Tokenizer, entries: &[(String, Value)]) -> Result<()> {
    let metadata = Metadata { file: directory.into(), entries: entries.iter().cloned().collect() };
    let written = gguf::build(&metadata)?;
    let options = EncodeOptions { special: false, bos: true };
    if written.encode(PROBE, options)? == tokenizer.encode(PROBE, options)? {
        return Ok(());
    }
    let reason = "a GGUF file cannot say how it splits texts: the ids of a trial text would differ; use a GGUF file of this \
                  model by its makers";
    Err(Error::tokenizer(directory, reason))
}

impl Merging {
    fn read(directory: &Path, tokenizer: &Tokenizer) -> Result<Merging> {
        let path = directory.join("tokenizer.json");
        if let Encoder::SentencePiece(encoder) = &tokenizer.encoder {
            let scores = encoder.scores(tokenizer.len()).map(Merging::Scores);
            let reason = "GGUF files have no unigram models; use another model";
            return scores.ok_or_else(|| Error::tokenizer(directory, reason));
        }
        if !path.exists() {
            let split = hugging_face::split_of(directory)?;
            return Ok(Merging::Ranks { split, merges: hugging_face::read_merges(&directory.join("merges.txt"))? });
        }
        let text = File::open(&path)?.read_text(LIMIT)?;
        let parts: Parts = serde_json::from_str(&text).map_err(|error| Error::malformed(&path, error.to_string()))?;
        let failed = |reason: String| Error::tokenizer(&path, reason);
        let merges = parts.model.merges.into_iter().map(Merge::pair).collect::<std::result::Result<Vec<_>, _>>();
        let merges = merges.map_err(failed)?;
        match tokenizer.vocabulary.spelling {
            Spelling::Pieces { .. } => {
                scores(&tokenizer.vocabulary.tokens, &merges).map(Merging::Scores).map_err(failed)
            }
            Spelling::ByteLevel => {
                let composed = |step: &Data| kind(step) == "NFC";
                let normalizers = || parts.normalizer.iter().flat_map(|step| steps(step, "normalizers"));
                if !normalizers().all(composed) {
                    return Err(failed("its normalizer has no counterpart in GGUF files; use another model".into()));
                }
                let compose = normalizers().any(composed);
                let split = split(parts.pre_tokenizer.as_ref(), parts.model.ignore_merges, compose).map_err(failed)?;
                Ok(Merging::Ranks { split, merges })
            }
        }
    }
}

impl Merge {
    fn pair(self) -> std::result::Result<(String, String), String> {
        let (left, right) = match self {
            Merge::Pair(left, right) => (left, right),
            Merge::Line(line) => match line.split_once(' ') {
                Some((left, right)) => (left.to_owned(), right.to_owned()),
                None => return Err(format!("merge {line:?} is not a pair of tokens; download it again")),
            },
        };
        match left.contains(' ') || right.contains(' ') {
            true => Err(format!(
                "merge {left:?} {right:?} has a space in it, which GGUF files cannot tell; use another model"
            )),
            false => Ok((left, right)),
        }
    }
}

/// The name that GGUF files have for the way in which a pre-tokenizer splits texts.
fn split(
    pre_tokenizer: Option<&Data>,
    ignore_merges: bool,
    compose: bool,
) -> std::result::Result<&'static str, String> {
    let mut patterns = Vec::new();
    for step in pre_tokenizer.iter().flat_map(|step| steps(step, "pretokenizers")) {
        match kind(step) {
            "Split" => patterns.push(step["pattern"]["Regex"].as_str().unwrap_or_default()),
            "Digits" if step["individual_digits"] == true => patterns.push(pre_tokenizers::EACH_DIGIT),
            "ByteLevel" if step["add_prefix_space"] == true => {
                return Err("it puts a space before each text, which GGUF files cannot tell; use another model".into());
            }
            "ByteLevel" if step["use_regex"] == false => {}
            "ByteLevel" => patterns.push(pre_tokenizers::GPT2),
            _ => return Err(format!("GGUF files cannot tell the step {step} of its pre-tokenizer; use another model")),
        }
    }
    pre_tokenizers::by_patterns(&patterns, ignore_merges, compose).ok_or_else(|| {
        let known = pre_tokenizers::known();
        format!("it splits texts in a way that has no name in GGUF files (known are {known}); use another model")
    })
}

/// Scores by which SentencePiece merges as these merges do: a piece's is minus its place among the pieces.
///
/// Merges must stand in the order of what they give, and must be all that there are, as in files made from SentencePiece.
fn scores(tokens: &[Token], merges: &[(String, String)]) -> std::result::Result<Vec<f32>, String> {
    let other = |what: String| format!("its tokens do not merge as SentencePiece's: {what}; use another model");
    let is_piece = |token: &Token| token.kind == TokenKind::Normal;
    let pieces: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| is_piece(token))
        .map(|(id, token)| (token.text.as_str(), id))
        .collect();
    let pairs: HashSet<(&str, &str)> = merges.iter().map(|(left, right)| (left.as_str(), right.as_str())).collect();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut previous = String::new();
    for (left, right) in merges {
        let whole = format!("{left}{right}");
        if whole != previous && places.insert(whole.clone(), places.len()).is_some() {
            return Err(other(format!("the merges that give {whole:?} are not in a row")));
        }
        previous = whole;
    }
    for text in pieces.keys() {
        if text.len() > PIECE_LIMIT {
            return Err(other(format!("a token has {} bytes", text.len())));
        }
        for (place, _) in text.char_indices().skip(1) {
            let pair = text.split_at(place);
            if pieces.contains_key(pair.0) && pieces.contains_key(pair.1) && !pairs.contains(&pair) {
                return Err(other(format!("there is no merge of {:?} and {:?}", pair.0, pair.1)));
            }
        }
    }
    let (mut scores, mut after) = (vec![0.0; tokens.len()], places.len());
    for (id, token) in tokens.iter().enumerate().filter(|(_, token)| is_piece(token)) {
        let place = places.get(&token.text).copied().unwrap_or_else(|| {
            after += 1;
            after - 1
        });
        scores[id] = -(place as f32);
    }
    Ok(scores)
}

/// The kinds of tokens as GGUF files number them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

fn type_id(token: &Token, is_unknown: bool, merging: &Merging) -> i32 {
    match (token.kind, merging) {
        (TokenKind::Normal, _) => NORMAL,
        (TokenKind::Control, Merging::Scores(_)) if is_unknown => UNKNOWN,
        (TokenKind::Control, _) => CONTROL,
        (TokenKind::UserDefined, _) if looks_special(&token.text) => CONTROL,
        (TokenKind::UserDefined, _) => USER_DEFINED,
        (TokenKind::Byte(_), _) => BYTE,
        (TokenKind::Unused, _) => UNUSED,
    }
}

/// Whether a token that its file calls text is a mark by its looks (`does_token_look_special`).
fn looks_special(text: &str) -> bool {
    ["<pad>", "<mask>"].contains(&text)
        || [("<|", "|>"), ("<｜", "｜>")].iter().any(|(begin, end)| text.starts_with(begin) && text.ends_with(end))
}

/// A token's text as GGUF files have it: those that are found in a text as they are spell spaces as such.
fn spelled(token: &Token) -> String {
    match token.kind {
        TokenKind::UserDefined => token.text.replace('▁', " "),
        _ => token.text.clone(),
    }
}

/// The ids of marks, by their names in GGUF files.
fn marks(
    tokenizer: &Tokenizer,
    settings: Option<&Json>,
    config: &Config,
) -> std::result::Result<Vec<(&'static str, u32)>, String> {
    let tokens = &tokenizer.vocabulary.tokens;
    let named = |mark: &str| {
        let token = settings?.get(&format!("{mark}_token"))?;
        let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
        tokens.iter().position(|token| token.text == text).map(|id| id as u32)
    };
    let mut marks: Vec<(&str, u32)> = MARKS.iter().filter_map(|(mark, key)| Some((*key, named(mark)?))).collect();
    let around = [("bos", &tokenizer.prefix, config.bos), ("eos", &tokenizer.suffix, config.ends.first().copied())];
    for (key, added, other) in around {
        let told = marks.iter().find(|mark| mark.0 == key).map(|mark| mark.1);
        let id = added.first().copied().or(told).or(other);
        if added.len() > 1 || (told.is_some() && told != id) {
            return Err(format!(
                "it adds ids {added:?} to texts, and GGUF files can tell only its {key}; use another model"
            ));
        }
        if let (Some(id), None) = (id, told) {
            marks.push((key, id));
        }
    }
    marks.extend(other_ends(tokens, &marks, config));
    Ok(marks)
}

/// Ends of a turn that are neither EOS nor known by their texts: GGUF files have room for two.
fn other_ends(tokens: &[Token], marks: &[(&str, u32)], config: &Config) -> Vec<(&'static str, u32)> {
    let is_known = |id: &u32| {
        let token = tokens.get(*id as usize);
        token.is_some_and(|token| token.kind == TokenKind::Control && Config::is_known_end(&token.text))
    };
    let ends = config.ends.iter().filter(|id| !is_known(id) && !marks.contains(&("eos", **id)));
    ["eot", "eom"].into_iter().zip(ends.copied()).collect()
}

/// The chat templates of a directory: one, or several by name.
fn templates(directory: &Path) -> Result<Vec<(String, Value)>> {
    let (mut entries, mut names) = (Vec::new(), Vec::new());
    for (name, text) in template::in_directory(directory)? {
        let key = "tokenizer.chat_template";
        if name == template::DEFAULT {
            entries.push((key.into(), Value::String(text)));
        } else {
            entries.push((format!("{key}.{name}"), Value::String(text)));
            names.push(name);
        }
    }
    if !names.is_empty() {
        entries.push(("tokenizer.chat_templates".into(), Value::Array(Array::String(names))));
    }
    Ok(entries)
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.into())
    }
}
