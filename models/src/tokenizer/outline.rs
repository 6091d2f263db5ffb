//! What of a tokenizer.json must be known beside what the tokenizers crate makes of it: which bytes its tokens
//! stand for, which ids it adds around a text, and that the crate can build it without a panic.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use tokenizers::AddedToken;

use super::vocabulary::{Spelling, Token, TokenKind, Vocabulary, byte};

/// The only kind of model that is supported.
const BPE: &str = "BPE";

/// Ids may be this many times as many as there are tokens: room for gaps, not for a table that a typo makes huge.
const GAPS: usize = 16;
/// And this many more.
const EXTRA_IDS: usize = 4096;

/// The parts of a tokenizer.json that matter here.
#[derive(Deserialize)]
pub struct Outline {
    model: Bpe,
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    decoder: Option<Value>,
    post_processor: Option<Value>,
}

#[derive(Deserialize)]
struct Bpe {
    vocab: HashMap<String, u32>,
    merges: Vec<MergeLength>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// A token that is taken out of a text before all else.
#[derive(Deserialize, Default)]
pub struct Added {
    /// Its id; elsewhere where a file has tokens by their ids.
    #[serde(default)]
    pub id: u32,
    /// Its text.
    pub content: String,
    /// Whether it is a mark rather than text.
    #[serde(default)]
    pub special: bool,
    /// Whether it takes the white space before it.
    #[serde(default)]
    pub lstrip: bool,
    /// Whether it takes the white space after it.
    #[serde(default)]
    pub rstrip: bool,
    /// Whether it is found only as a word of its own.
    #[serde(default)]
    pub single_word: bool,
}

impl Added {
    /// As the tokenizers crate has it.
    pub fn token(&self) -> AddedToken {
        AddedToken::from(self.content.clone(), self.special)
            .normalized(false)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .single_word(self.single_word)
    }
}

/// The bytes that a merge gives.
struct MergeLength(usize);

impl Outline {
    /// Reads the outline and checks it.
    pub fn read(text: &str) -> Result<Outline, String> {
        #[derive(Deserialize)]
        struct Typed {
            model: ModelType,
        }
        #[derive(Deserialize)]
        struct ModelType {
            r#type: Option<String>,
        }
        let typed: Typed = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if let Some(other) = typed.model.r#type.filter(|name| name != BPE) {
            return Err(format!("its model is of type {other}, and only {BPE} is supported; use another model"));
        }
        let outline: Outline = serde_json::from_str(text).map_err(|error| error.to_string())?;
        outline.check()?;
        Ok(outline)
    }

    fn check(&self) -> Result<(), String> {
        let affixes = [&self.model.continuing_subword_prefix, &self.model.end_of_word_suffix];
        if affixes.into_iter().flatten().any(|affix| !affix.is_empty()) {
            return Err("it marks word parts with a prefix or suffix, which is not supported; use another model".into());
        }
        if self.normalizer.iter().flat_map(|step| steps(step, "normalizers")).any(|step| kind(step) == "Precompiled") {
            return Err("it has a Precompiled normalizer, which is not supported; use another model".into());
        }
        let longest = self.model.vocab.keys().map(String::len).max().unwrap_or(0);
        check_merges(longest, self.model.merges.iter().map(|merge| merge.0))?;
        Ok(())
    }

    /// The tokens that are taken out of a text before all else.
    pub fn added(&self) -> &[Added] {
        &self.added_tokens
    }

    /// The bytes of its tokens.
    pub fn vocabulary(&self) -> Result<Vocabulary, String> {
        let (spelling, byte_fallback) = match &self.decoder {
            None => return Err("it has no decoder, so that its tokens cannot become text".into()),
            Some(decoder) => spelling(decoder)?,
        };
        vocabulary(&self.model.vocab, &self.added_tokens, spelling, byte_fallback)
    }

    /// The ids that it adds before and after a text.
    pub fn around(&self) -> Result<(Vec<u32>, Vec<u32>), String> {
        let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
        for step in self.post_processor.iter().flat_map(|step| steps(step, "processors")) {
            let (before, after) = added_around(step)?;
            prefix.splice(0..0, before);
            suffix.extend(after);
        }
        Ok((prefix, suffix))
    }
}

/// Checks that no merge gives more bytes than the longest token has: the tokenizers crate panics there.
pub fn check_merges(longest: usize, mut lengths: impl Iterator<Item = usize>) -> Result<(), String> {
    match lengths.any(|length| length > longest) {
        true => Err("one of its merges gives a token that is not in its vocabulary; download it again".into()),
        false => Ok(()),
    }
}

/// Checks that ids are about as many as tokens; how many a table by id has.
pub fn check_ids(tokens: usize, largest: Option<u32>) -> Result<usize, String> {
    let count = largest.map_or(0, |largest| largest as usize + 1);
    if count > tokens * GAPS + EXTRA_IDS {
        return Err(format!("it has a token with id {}, but only {tokens} tokens", count - 1));
    }
    Ok(count)
}

/// A table of tokens by id; ids must be about as many as tokens.
pub fn vocabulary(
    ids: &HashMap<String, u32>,
    added: &[Added],
    spelling: Spelling,
    byte_fallback: bool,
) -> Result<Vocabulary, String> {
    let largest = ids.values().copied().chain(added.iter().map(|token| token.id)).max();
    let count = check_ids(ids.len() + added.len(), largest)?;
    let mut tokens = vec![Token { text: String::new(), kind: TokenKind::Unused }; count];
    for (text, id) in ids {
        let kind = byte(text).filter(|_| byte_fallback).map_or(TokenKind::Normal, TokenKind::Byte);
        tokens[*id as usize] = Token { text: text.clone(), kind };
    }
    for token in added {
        let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
        tokens[token.id as usize] = Token { text: token.content.clone(), kind };
    }
    Ok(Vocabulary { tokens, spelling })
}

/// The name of a step.
pub fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The steps of a sequence, which are under `key`, or the only step.
pub fn steps<'a>(step: &'a Value, key: &str) -> Vec<&'a Value> {
    match step.get(key).and_then(Value::as_array) {
        Some(inner) if kind(step) == "Sequence" => inner.iter().flat_map(|step| steps(step, key)).collect(),
        _ => vec![step],
    }
}

/// How tokens spell bytes, and whether some are bytes, by the steps of the decoder.
fn spelling(decoder: &Value) -> Result<(Spelling, bool), String> {
    let (mut byte_level, mut byte_fallback, mut leading_space) = (false, false, false);
    for step in steps(decoder, "decoders") {
        match kind(step) {
            "ByteLevel" => byte_level = true,
            "ByteFallback" => byte_fallback = true,
            "Fuse" => {}
            "Replace" if step["pattern"]["String"] == "▁" && step["content"] == " " => {}
            "Strip" if step["content"] == " " && step["start"] == 1 && step["stop"] == 0 => leading_space = true,
            "Metaspace" if step["replacement"] == "▁" => {
                leading_space = step["prepend_scheme"] != "never" && step["add_prefix_space"] != false;
            }
            _ => return Err(format!("its decoder has a step {step} that is not supported; use another model")),
        }
    }
    let spelling = if byte_level { Spelling::ByteLevel } else { Spelling::Pieces { leading_space } };
    Ok((spelling, byte_fallback))
}

/// The ids that one step of the post-processor adds before and after a text.
fn added_around(step: &Value) -> Result<(Vec<u32>, Vec<u32>), String> {
    match kind(step) {
        "ByteLevel" => Ok((Vec::new(), Vec::new())),
        "TemplateProcessing" => template(step).ok_or_else(|| "its template for added tokens is damaged".into()),
        other => Err(format!("its post-processor {other} is not supported; use another model")),
    }
}

fn template(step: &Value) -> Option<(Vec<u32>, Vec<u32>)> {
    let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
    let mut after = false;
    for piece in step.get("single")?.as_array()? {
        match piece.get("SpecialToken") {
            None => after = true,
            Some(token) => {
                let ids = step.get("special_tokens")?.get(token.get("id")?.as_str()?)?.get("ids")?.as_array()?;
                let ids = ids.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect::<Option<Vec<u32>>>()?;
                if after { suffix.extend(ids) } else { prefix.extend(ids) }
            }
        }
    }
    Some((prefix, suffix))
}

/// A merge is a pair of strings, or one string with a space between its halves.
impl<'de> Deserialize<'de> for MergeLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MergeLength, D::Error> {
        struct Length;
        impl<'de> Visitor<'de> for Length {
            type Value = MergeLength;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a merge: a pair of strings, or a string with a space")
            }

            fn visit_str<E: de::Error>(self, line: &str) -> Result<MergeLength, E> {
                Ok(MergeLength(line.len().saturating_sub(1)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut halves: A) -> Result<MergeLength, A::Error> {
                let mut length = 0;
                while let Some(half) = halves.next_element::<String>()? {
                    length += half.len();
                }
                Ok(MergeLength(length))
            }
        }
        deserializer.deserialize_any(Length)
    }
}
