//! Text to token ids and back, from tokenizer.json, vocab.json with merges.txt, tokenizer.model, or a GGUF vocabulary.

mod continuation;
pub(crate) mod conversion;
mod decoder;
mod gguf;
mod hugging_face;
mod outline;
mod pre_tokenizers;
mod sentencepiece;
mod sentencepiece_directory;
mod vocabulary;

use std::sync::Arc;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{
    AddedToken, AddedVocabulary, Model, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, PreTokenizerWrapper,
};

use crate::checkpoint::{Checkpoint, Settings};
use crate::error::{Error, Result};

use self::sentencepiece::{Place, SentencePiece};
use self::vocabulary::{TokenKind, Vocabulary};

pub use self::decoder::Decoder;

/// Marks by the names in `tokenizer_config.json` and `config.json`, and in GGUF files, which misspell one.
pub(crate) const MARKS: [(&str, &str); 7] = [
    ("bos", "bos"),
    ("eos", "eos"),
    ("unk", "unknown"),
    ("sep", "seperator"),
    ("pad", "padding"),
    ("cls", "cls"),
    ("mask", "mask"),
];

/// A tokenizer, made once for a model and shared by threads.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Arc<Vocabulary>,
    /// Finds special and user-defined tokens in a text.
    added: AddedVocabulary,
    /// Finds only user-defined tokens.
    plain: AddedVocabulary,
    encoder: Encoder,
    /// Ids that the file wants before and after each text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
}

/// How text between special tokens becomes ids.
#[derive(Debug)]
enum Encoder {
    /// Pieces with scores.
    SentencePiece(Box<SentencePiece>),
    /// Merges by rank: the normaliser, pre-tokeniser and model of the tokenizers crate.
    Merges(Box<tokenizers::Tokenizer>),
}

/// What happens to special tokens when a text is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Whether special tokens spelled in the text (`<s>`, `<|eot_id|>`) are taken as such, or as plain text.
    pub special: bool,
    /// Whether the tokens are added that the model wants around a text, mostly BOS.
    pub bos: bool,
}

impl EncodeOptions {
    /// For the text of a chat template, which spells its special tokens, BOS among them.
    pub const RENDERED: EncodeOptions = EncodeOptions { special: true, bos: false };
}

impl Tokenizer {
    /// The tokenizer of an opened model.
    pub fn of(checkpoint: &Checkpoint) -> Result<Tokenizer> {
        match checkpoint.settings() {
            Settings::Gguf(metadata) => gguf::build(metadata),
            Settings::HuggingFace { .. } => hugging_face::build(checkpoint.path()),
        }
    }

    /// Ids, those without a token among them: one more than the largest.
    pub fn len(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    /// Whether there are no ids.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of a token as its file spells it.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.vocabulary.tokens.get(id as usize).map(|token| token.text.as_str())
    }

    /// The id of the token that a file spells so; `None` where there is none.
    pub fn id(&self, text: &str) -> Option<u32> {
        self.vocabulary
            .tokens
            .iter()
            .position(|token| token.text == text && token.kind != TokenKind::Unused)
            .map(|id| id as u32)
    }

    /// The spelling of a control token, which is no text; `None` for all others.
    pub fn control(&self, id: u32) -> Option<&str> {
        let token = self.vocabulary.tokens.get(id as usize)?;
        (token.kind == TokenKind::Control).then_some(token.text.as_str())
    }

    /// The ids that the file wants before each text: BOS, or none.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// The ids of a text.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>> {
        let added = if options.special { &self.added } else { &self.plain };
        let mut ids = if options.bos { self.prefix.clone() } else { Vec::new() };
        match &self.encoder {
            Encoder::SentencePiece(encoder) => {
                let pieces = added.extract_and_normalize(None::<&NormalizerWrapper>, text);
                let mut place = Place::Front;
                for (text, token) in splits(&pieces) {
                    match token {
                        Some(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                        None => encoder.encode(text, place, &mut ids),
                    }
                    place = Place::AfterToken;
                }
            }
            Encoder::Merges(merges) => {
                let steps = (merges.get_normalizer(), merges.get_pre_tokenizer());
                merge(merges, steps, added, text, &mut ids)?;
            }
        }
        if options.bos {
            ids.extend(&self.suffix);
        }
        Ok(ids)
    }

    /// The text of ids; marks give nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = self.decoder();
        let mut text: String = ids.iter().map(|id| decoder.push(*id)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// A decoder for one sequence.
    pub fn decoder(&self) -> Decoder {
        Decoder::new(self.vocabulary.clone())
    }

    /// Puts the parts together; `added` finds all special and user-defined tokens.
    fn new(
        vocabulary: Vocabulary,
        added: AddedVocabulary,
        encoder: Encoder,
        around: (Vec<u32>, Vec<u32>),
    ) -> Tokenizer {
        let mut plain = added.clone();
        plain.set_encode_special_tokens(true);
        let (prefix, suffix) = around;
        Tokenizer { vocabulary: Arc::new(vocabulary), added, plain, encoder, prefix, suffix }
    }
}

/// Appends the ids of a text by merges, normalised and split like this.
fn merge(
    merges: &tokenizers::Tokenizer,
    (normalizer, pre_tokenizer): (Option<&NormalizerWrapper>, Option<&PreTokenizerWrapper>),
    added: &AddedVocabulary,
    text: &str,
    ids: &mut Vec<u32>,
) -> Result<()> {
    let mut pieces = added.extract_and_normalize(normalizer, text);
    let failed = |error: tokenizers::Error| Error::Encode { reason: error.to_string() };
    if let Some(pre_tokenizer) = pre_tokenizer {
        pre_tokenizer.pre_tokenize(&mut pieces).map_err(failed)?;
    }
    pieces.tokenize(|piece| merges.get_model().tokenize(piece.get())).map_err(failed)?;
    for (_, tokens) in splits(&pieces) {
        ids.extend(tokens.iter().flatten().map(|token| token.id));
    }
    Ok(())
}

/// Finds these tokens in texts.
fn added_vocabulary(tokens: Vec<(u32, AddedToken)>) -> tokenizers::Result<AddedVocabulary> {
    // The crate asks a model for the ids of added tokens; one that knows only these is enough.
    let ids: Vocab = tokens.iter().map(|(id, token)| (token.content.clone(), *id)).collect();
    let model = BPE::builder().vocab_and_merges(ids, Vec::new()).build()?;
    let tokens: Vec<AddedToken> = tokens.into_iter().map(|(_, token)| token).collect();
    let mut added = AddedVocabulary::new();
    added.add_tokens(tokens, &model, None::<&NormalizerWrapper>)?;
    Ok(added)
}

/// The pieces of a text with the tokens of those that have any.
fn splits(pieces: &PreTokenizedString) -> impl Iterator<Item = (&str, &Option<Vec<tokenizers::Token>>)> {
    let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
    splits.into_iter().map(|(text, _, tokens)| (text, tokens))
}
