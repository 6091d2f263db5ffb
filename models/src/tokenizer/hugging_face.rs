//! Tokenizers from Hugging Face directories: tokenizer.json, vocab.json with merges.txt, or tokenizer.model.

use std::collections::HashMap;
use std::path::Path;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;

use crate::error::{Error, Result};
use crate::file::File;
use crate::json::Json;

use super::outline::{self, Added, Outline};
use super::vocabulary::Spelling;
use super::{Encoder, Tokenizer, pre_tokenizers, sentencepiece_directory};

/// The longest files that are read, in bytes: tokenizer.json of a vocabulary of 262,144 tokens has 33 MB.
pub(super) const LIMIT: u64 = 256 << 20;

/// The mark at the end of texts in GPT-2's vocabulary, which its files do not list as special.
const GPT2_END: &str = "<|endoftext|>";

/// Classes of tokenizer_config.json, and how they split texts.
const CLASSES: [(&str, &str); 2] = [("GPT2Tokenizer", "gpt-2"), ("Qwen2Tokenizer", "qwen2")];

pub(super) fn build(directory: &Path) -> Result<Tokenizer> {
    let whole = directory.join("tokenizer.json");
    let (vocabulary, merges) = (directory.join("vocab.json"), directory.join("merges.txt"));
    if whole.exists() {
        return from_json(&whole);
    }
    if vocabulary.exists() && merges.exists() {
        return from_vocabulary(directory, &vocabulary, &merges);
    }
    let pieces = directory.join(sentencepiece_directory::FILE);
    if pieces.exists() {
        return sentencepiece_directory::build(directory, &pieces);
    }
    let reason = "there is no tokenizer.json, nor vocab.json with merges.txt, nor tokenizer.model; put one there";
    Err(Error::tokenizer(directory, reason))
}

fn from_json(path: &Path) -> Result<Tokenizer> {
    let text = File::open(path)?.read_text(LIMIT)?;
    let failed = |reason: String| Error::tokenizer(path, reason);
    let outline = Outline::read(&text).map_err(failed)?;
    let vocabulary = outline.vocabulary().map_err(failed)?;
    let (prefix, suffix) = outline.around().map_err(failed)?;
    if let Some(id) = prefix.iter().chain(&suffix).find(|id| **id as usize >= vocabulary.tokens.len()) {
        return Err(failed(format!("it adds id {id} to texts, which is no token; download it again")));
    }
    let encoder = tokenizers::Tokenizer::from_bytes(&text).map_err(|error| failed(error.to_string()))?;
    check_added(&encoder, outline.added()).map_err(failed)?;
    let added = encoder.get_added_vocabulary().clone();
    Ok(Tokenizer::new(vocabulary, added, Encoder::Merges(Box::new(encoder)), (prefix, suffix)))
}

/// Checks that added tokens have the ids that the file gives them: the crate counts them itself.
fn check_added(encoder: &tokenizers::Tokenizer, added: &[Added]) -> std::result::Result<(), String> {
    match added.iter().find(|token| encoder.token_to_id(&token.content) != Some(token.id)) {
        None => Ok(()),
        Some(token) => Err(format!("token {:?} cannot have id {}; download it again", token.content, token.id)),
    }
}

fn from_vocabulary(directory: &Path, vocabulary: &Path, merges: &Path) -> Result<Tokenizer> {
    let ids = File::open(vocabulary)?.read_text(LIMIT)?;
    let ids: HashMap<String, u32> =
        serde_json::from_str(&ids).map_err(|error| Error::malformed(vocabulary, error.to_string()))?;
    let pairs = read_merges(merges)?;
    let longest = ids.keys().map(String::len).max().unwrap_or(0);
    let lengths = pairs.iter().map(|(left, right)| left.len() + right.len());
    outline::check_merges(longest, lengths).map_err(|reason| Error::tokenizer(merges, reason))?;

    let config = Json::read(&directory.join("tokenizer_config.json"))?;
    let split = class(config.as_ref())?;
    let added = match &config {
        Some(config) => added(config)?,
        None => gpt2_end(&ids),
    };
    let failed = |reason: String| Error::tokenizer(vocabulary, reason);
    let crate_failed = |error: tokenizers::Error| Error::tokenizer(vocabulary, error);
    let table = outline::vocabulary(&ids, &added, Spelling::ByteLevel, false).map_err(failed)?;
    let prefix = bos(config.as_ref(), &added, &ids)?;

    let model = BPE::builder().vocab_and_merges(ids.into_iter().collect::<Vocab>(), pairs).build();
    let mut encoder = tokenizers::Tokenizer::new(model.map_err(crate_failed)?);
    let pre_tokenizer = pre_tokenizers::by_name(split).expect("the table of classes names known ones");
    if pre_tokenizer.compose {
        encoder.with_normalizer(Some(NFC)).map_err(crate_failed)?;
    }
    encoder.with_pre_tokenizer(Some(pre_tokenizer.build().map_err(crate_failed)?));
    encoder.add_tokens(added.iter().map(Added::token)).map_err(crate_failed)?;
    check_added(&encoder, &added).map_err(failed)?;
    let added = encoder.get_added_vocabulary().clone();
    Ok(Tokenizer::new(table, added, Encoder::Merges(Box::new(encoder)), (prefix, Vec::new())))
}

/// How the class of a directory without a tokenizer.json splits texts.
pub(super) fn split_of(directory: &Path) -> Result<&'static str> {
    let config = Json::read(&directory.join("tokenizer_config.json"))?;
    class(config.as_ref())
}

/// The lines of merges.txt as pairs.
pub(super) fn read_merges(path: &Path) -> Result<Vec<(String, String)>> {
    let text = File::open(path)?.read_text(LIMIT)?;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#version"));
    let pair = |line: &str| {
        let pair = line.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()));
        pair.ok_or_else(|| Error::malformed(path, format!("line {line:?} is not a pair of tokens")))
    };
    lines.map(pair).collect()
}

/// How the class of a tokenizer splits texts.
fn class(config: Option<&Json>) -> Result<&'static str> {
    let Some(config) = config else { return Ok(CLASSES[0].1) };
    let key = "tokenizer_class";
    let name = config.text(key)?.ok_or_else(|| config.missing(key))?;
    let row = CLASSES.iter().find(|row| row.0 == name.trim_end_matches("Fast"));
    row.map(|row| row.1).ok_or_else(|| Error::Unsupported {
        file: config.file.clone(),
        key: key.into(),
        found: format!("{name:?} without a tokenizer.json"),
        wanted: CLASSES.map(|row| row.0).join(" and "),
    })
}

/// The tokens of `added_tokens_decoder`, by id.
pub(super) fn added(config: &Json) -> Result<Vec<Added>> {
    let key = "added_tokens_decoder";
    let Some(section) = config.get(key) else { return Ok(Vec::new()) };
    let wrong = || config.wrong(key, section, "an object of tokens by id");
    let mut tokens = Vec::new();
    for (id, token) in section.as_object().ok_or_else(wrong)? {
        let id = id.parse().map_err(|_| wrong())?;
        let token: Added = serde_json::from_value(token.clone()).map_err(|_| wrong())?;
        tokens.push(Added { id, ..token });
    }
    tokens.sort_by_key(|token| token.id);
    Ok(tokens)
}

fn gpt2_end(ids: &HashMap<String, u32>) -> Vec<Added> {
    let id = ids.get(GPT2_END);
    id.map(|id| Added { id: *id, content: GPT2_END.into(), special: true, ..Added::default() }).into_iter().collect()
}

/// BOS, where the settings say that it is added.
fn bos(config: Option<&Json>, added: &[Added], ids: &HashMap<String, u32>) -> Result<Vec<u32>> {
    let Some(config) = config else { return Ok(Vec::new()) };
    if config.boolean("add_bos_token")? != Some(true) {
        return Ok(Vec::new());
    }
    let token = config.get("bos_token").ok_or_else(|| config.missing("bos_token"))?;
    let text = token.as_str().or_else(|| token.get("content")?.as_str()).unwrap_or_default();
    let listed = added.iter().find(|token| token.content == text).map(|token| token.id);
    match listed.or_else(|| ids.get(text).copied()) {
        Some(id) => Ok(vec![id]),
        None => Err(config.wrong("bos_token", token, "a token of the vocabulary")),
    }
}
