//! Tokenizers from directories that have only a SentencePiece model: tokenizer.model, and the special tokens beside it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::file::File;
use crate::json::Json;

use super::hugging_face::{self, LIMIT};
use super::outline::{Added, check_ids};
use super::sentencepiece::{
    Algorithm, LeadingSpace, Merges, Model, ModelAlgorithm, Normaliser, Piece, PieceKind, SentencePiece, Unbroken,
    Unigram,
};
use super::vocabulary::{Spelling, Token, TokenKind, Vocabulary, byte};
use super::{Encoder, Tokenizer, added_vocabulary};

/// The file's name.
pub const FILE: &str = "tokenizer.model";

/// Classes whose ids are those of the model. Others move them, or cut texts in ways of their own.
const CLASSES: [&str; 4] = ["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "MistralTokenizer"];

/// What a directory says beside its model.
#[derive(Default)]
struct Beside {
    added: Vec<Added>,
    /// Whether a space is put before each stretch between special tokens (transformers' `legacy`).
    each_stretch: bool,
    /// Whether BOS and EOS are added to texts.
    bos: bool,
    eos: bool,
}

pub(super) fn build(directory: &Path, file: &Path) -> Result<Tokenizer> {
    let failed = |reason: String| Error::tokenizer(file, reason);
    let model = Model::read(&File::open(file)?.read_all(LIMIT)?).map_err(failed)?;
    let beside = Beside::read(directory)?;
    let prefix = model.bos.filter(|_| beside.bos).into_iter().collect();
    let suffix = model.eos.filter(|_| beside.eos).into_iter().collect();
    let leading_space = match (model.leading_space, beside.each_stretch) {
        (false, _) => LeadingSpace::Never,
        (true, false) => LeadingSpace::Front,
        (true, true) => LeadingSpace::EachStretch,
    };
    let spelling = Spelling::Pieces { leading_space: model.leading_space };
    let tokens = tokens(&model.pieces, &beside.added).map_err(failed)?;
    let control =
        tokens.iter().enumerate().filter(|(_, token)| token.kind == TokenKind::Control && !token.text.is_empty());
    let listed: HashSet<u32> = beside.added.iter().map(|token| token.id).collect();
    let control = control.filter(|(id, _)| !listed.contains(&(*id as u32))).map(|(id, token)| {
        (id as u32, Added { content: token.text.clone(), special: true, ..Added::default() }.token())
    });
    let special = control.chain(beside.added.iter().map(|token| (token.id, token.token()))).collect();
    let added = added_vocabulary(special).map_err(|error| failed(error.to_string()))?;
    let encoder = encoder(model, leading_space);
    Ok(Tokenizer::new(
        Vocabulary { tokens, spelling },
        added,
        Encoder::SentencePiece(Box::new(encoder)),
        (prefix, suffix),
    ))
}

/// The tokens by id: pieces, and what the directory adds.
fn tokens(pieces: &[Piece], added: &[Added]) -> std::result::Result<Vec<Token>, String> {
    check_ids(pieces.len() + added.len(), added.iter().map(|token| token.id).max())?;
    let mut tokens = Vec::new();
    for piece in pieces {
        let kind = match piece.kind {
            PieceKind::Normal => TokenKind::Normal,
            PieceKind::UserDefined => TokenKind::UserDefined,
            PieceKind::Unknown | PieceKind::Control => TokenKind::Control,
            PieceKind::Unused => TokenKind::Unused,
            PieceKind::Byte => {
                let wrong = || format!("piece {:?} is no byte, but is said to be one; download it again", piece.text);
                TokenKind::Byte(byte(&piece.text).ok_or_else(wrong)?)
            }
        };
        tokens.push(Token { text: piece.text.clone(), kind });
    }
    for token in added {
        let id = token.id as usize;
        if id >= tokens.len() {
            tokens.resize(id + 1, Token { text: String::new(), kind: TokenKind::Unused });
        }
        let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
        tokens[id] = Token { text: token.content.clone(), kind };
    }
    Ok(tokens)
}

fn encoder(model: Model, leading_space: LeadingSpace) -> SentencePiece {
    let of_kind = |kind: PieceKind| {
        let ids = model.pieces.iter().enumerate().filter(move |(_, piece)| piece.kind == kind);
        ids.map(|(id, piece)| (piece.text.clone(), id as u32, piece.score))
    };
    let user_defined = || of_kind(PieceKind::UserDefined).map(|(text, id, _)| (text, id));
    let unbroken = Unbroken::new(user_defined().map(|(text, _)| text).collect());
    let mut bytes = vec![None; 256];
    for (text, id, _) in of_kind(PieceKind::Byte) {
        if let Some(byte) = byte(&text) {
            bytes[usize::from(byte)] = Some(id);
        }
    }
    let unknown = of_kind(PieceKind::Unknown).map(|(_, id, _)| id).next();
    let algorithm = match model.algorithm {
        ModelAlgorithm::Unigram => {
            Algorithm::Unigram(Unigram::new(of_kind(PieceKind::Normal).collect(), user_defined().collect()))
        }
        ModelAlgorithm::Merges => {
            let kinds = [PieceKind::Normal, PieceKind::UserDefined, PieceKind::Unused];
            let pieces = kinds.into_iter().flat_map(of_kind).map(|(text, id, score)| (text, (id, score)));
            let unused = of_kind(PieceKind::Unused).map(|(_, id, _)| id).collect();
            Algorithm::Merges(Merges { pieces: pieces.collect(), unbroken: unbroken.clone(), unused })
        }
    };
    let remove_extra_spaces = model.remove_extra_spaces;
    let normaliser = Normaliser { leading_space, remove_extra_spaces, charsmap: model.charsmap, unbroken };
    SentencePiece { normaliser, algorithm, bytes, unknown }
}

impl Beside {
    fn read(directory: &Path) -> Result<Beside> {
        let config = Json::read(&directory.join("tokenizer_config.json"))?;
        let mut beside = Beside { added: Vec::new(), each_stretch: true, bos: true, eos: false };
        if let Some(config) = &config {
            check_class(config)?;
            beside.added = hugging_face::added(config)?;
            beside.each_stretch = config.boolean("legacy")?.unwrap_or(true);
            beside.bos = config.boolean("add_bos_token")?.unwrap_or(true);
            beside.eos = config.boolean("add_eos_token")?.unwrap_or(false);
        }
        if beside.added.is_empty() {
            beside.added = older(directory)?;
        }
        Ok(beside)
    }
}

fn check_class(config: &Json) -> Result<()> {
    match config.text("tokenizer_class")? {
        Some(name) if !CLASSES.contains(&name.trim_end_matches("Fast")) => Err(Error::Unsupported {
            file: config.file.clone(),
            key: "tokenizer_class".into(),
            found: format!("{name:?} without a tokenizer.json"),
            wanted: CLASSES.join(", "),
        }),
        _ => Ok(()),
    }
}

/// The tokens of added_tokens.json, which are special where special_tokens_map.json names them.
fn older(directory: &Path) -> Result<Vec<Added>> {
    let Some(ids) = Json::read(&directory.join("added_tokens.json"))? else { return Ok(Vec::new()) };
    let map = Json::read(&directory.join("special_tokens_map.json"))?;
    let text = |token: &Value| Some(token.as_str().or_else(|| token.get("content")?.as_str())?.to_owned());
    let values = map.iter().filter_map(|map| map.value.as_object()).flat_map(|map| map.values());
    let special: HashSet<String> = values
        .flat_map(|value| value.as_array().map_or_else(|| vec![value], |list| list.iter().collect()))
        .filter_map(text)
        .collect();
    let ids: HashMap<String, u32> = serde_json::from_value(ids.value.clone())
        .map_err(|error| Error::malformed(&ids.file, format!("it does not give tokens their ids: {error}")))?;
    let added = |(content, id)| Added { special: special.contains(&content), content, id, ..Added::default() };
    let mut tokens: Vec<Added> = ids.into_iter().map(added).collect();
    tokens.sort_by_key(|token| token.id);
    Ok(tokens)
}
