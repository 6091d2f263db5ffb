//! Tokenizers from the vocabulary in a GGUF file's metadata.

use std::collections::{HashMap, HashSet};

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::{AddedToken, AddedVocabulary};

use crate::error::{Error, Result};
use crate::gguf::Metadata;

use super::sentencepiece::{Algorithm, LeadingSpace, Merges, Normaliser, SentencePiece, Unbroken};
use super::vocabulary::{Spelling, Token, TokenKind, Vocabulary, byte};
use super::{Encoder, Tokenizer, added_vocabulary, pre_tokenizers};

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";

/// BOS and EOS of SentencePiece models that do not name theirs.
const PIECES_BOS: u32 = 1;
const PIECES_EOS: u32 = 2;

/// Special tokens of Phi-3 that keep the white space after them. That after the others is no text (`rstrip` in its
/// tokenizer.json), which GGUF has no key for and llama.cpp knows by the model's name.
const PHI3_KEEPING: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

/// What a GGUF file says about its tokens.
struct TokenTable<'a> {
    metadata: &'a Metadata,
    tokens: Vec<Token>,
    ids: HashMap<&'a str, u32>,
}

pub(super) fn build(metadata: &Metadata) -> Result<Tokenizer> {
    let model = metadata.text(MODEL)?.ok_or_else(|| metadata.missing(MODEL))?;
    let source = TokenTable::read(metadata)?;
    match model {
        "llama" => source.scores(),
        "gpt2" => source.merges(),
        other => Err(Error::Unsupported {
            file: metadata.file.clone(),
            key: MODEL.into(),
            found: format!("{other:?}"),
            wanted: "llama and gpt2".into(),
        }),
    }
}

impl<'a> TokenTable<'a> {
    fn read(metadata: &'a Metadata) -> Result<TokenTable<'a>> {
        let texts = metadata.texts(TOKENS)?.ok_or_else(|| metadata.missing(TOKENS))?;
        let types = metadata.integers(TYPES)?;
        if let Some(types) = types.as_ref().filter(|types| types.len() != texts.len()) {
            return Err(metadata.wrong(TYPES, format!("{} long", types.len()), format!("{} long", texts.len())));
        }
        let (mut tokens, mut ids) = (Vec::new(), HashMap::new());
        for (index, text) in texts.iter().enumerate() {
            let type_id = types.as_ref().map_or(1, |types| types[index]);
            let kind = kind(type_id, text).ok_or_else(|| {
                metadata.wrong(TYPES, format!("byte for token {text:?}"), "so only for tokens from <0x00> to <0xFF>")
            })?;
            if ids.insert(text.as_str(), index as u32).is_some() && !text.is_empty() {
                return Err(metadata.wrong(TOKENS, format!("a list with {text:?} twice"), "different tokens"));
            }
            tokens.push(Token { text: text.clone(), kind });
        }
        ids.remove("");
        Ok(TokenTable { metadata, tokens, ids })
    }

    /// SentencePiece: merges by score, bytes for what has no piece.
    fn scores(self) -> Result<Tokenizer> {
        let metadata = self.metadata;
        let scores = metadata.numbers(SCORES)?.ok_or_else(|| metadata.missing(SCORES))?;
        if scores.len() != self.tokens.len() {
            let wanted = format!("{} long", self.tokens.len());
            return Err(metadata.wrong(SCORES, format!("{} long", scores.len()), wanted));
        }
        let leading_space = metadata.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let byte = |byte: u8| {
            let spelled = self.ids.get(format!("<0x{byte:02X}>").as_str());
            spelled.or_else(|| self.ids.get(std::str::from_utf8(&[byte]).ok()?)).copied()
        };
        let pieces = self.ids.iter().map(|(text, id)| ((*text).to_owned(), (*id, scores[*id as usize]))).collect();
        let encoder = SentencePiece {
            normaliser: Normaliser::plain(if leading_space { LeadingSpace::EachStretch } else { LeadingSpace::Never }),
            algorithm: Algorithm::Merges(Merges { pieces, unbroken: Unbroken::default(), unused: HashSet::new() }),
            bytes: (0..=u8::MAX).map(byte).collect(),
            unknown: self.id("unknown")?,
        };
        let around = self.around(true, Some((PIECES_BOS, PIECES_EOS)))?;
        self.finish(Spelling::Pieces { leading_space }, Encoder::SentencePiece(Box::new(encoder)), around)
    }

    /// Byte-level BPE: merges by rank.
    fn merges(self) -> Result<Tokenizer> {
        let metadata = self.metadata;
        let key = "tokenizer.ggml.pre";
        let name = metadata.text(key)?.unwrap_or("default");
        let pre_tokenizer = pre_tokenizers::by_name(name).ok_or_else(|| Error::Unsupported {
            file: metadata.file.clone(),
            key: key.into(),
            found: format!("{name:?}"),
            wanted: pre_tokenizers::known(),
        })?;
        let failed = |error: tokenizers::Error| Error::tokenizer(&metadata.file, error);
        let ids: Vocab = self.ids.iter().map(|(text, id)| ((*text).to_owned(), *id)).collect();
        let model = BPE::builder()
            .vocab_and_merges(ids, self.merge_list()?)
            .ignore_merges(pre_tokenizer.ignore_merges)
            .build()
            .map_err(failed)?;
        let mut encoder = tokenizers::Tokenizer::new(model);
        if pre_tokenizer.compose {
            encoder.with_normalizer(Some(NFC)).map_err(failed)?;
        }
        encoder.with_pre_tokenizer(Some(pre_tokenizer.build().map_err(failed)?));
        let around = self.around(pre_tokenizer.add_bos, None)?;
        self.finish(Spelling::ByteLevel, Encoder::Merges(Box::new(encoder)), around)
    }

    /// The merges as pairs of tokens whose union is a token too.
    fn merge_list(&self) -> Result<Vec<(String, String)>> {
        let merges = self.metadata.texts(MERGES)?.ok_or_else(|| self.metadata.missing(MERGES))?;
        let mut pairs = Vec::new();
        for merge in merges {
            // A space may begin a token, as in llama.cpp: the dividing one is sought after the first character.
            let pair = merge.char_indices().skip(1).find(|(_, character)| *character == ' ');
            let pair = pair.map(|(place, _)| (&merge[..place], &merge[place + 1..]));
            match pair {
                Some((left, right)) if self.ids.contains_key(format!("{left}{right}").as_str()) => {
                    pairs.push((left.to_owned(), right.to_owned()));
                }
                _ => return Err(self.metadata.wrong(MERGES, format!("{merge:?}"), "two tokens that give a third")),
            }
        }
        Ok(pairs)
    }

    fn finish(self, spelling: Spelling, encoder: Encoder, around: (Vec<u32>, Vec<u32>)) -> Result<Tokenizer> {
        let added = self.added().map_err(|error| Error::tokenizer(&self.metadata.file, error))?;
        Ok(Tokenizer::new(Vocabulary { tokens: self.tokens, spelling }, added, encoder, around))
    }

    /// Special and user-defined tokens, which are taken out of a text before all else.
    fn added(&self) -> tokenizers::Result<AddedVocabulary> {
        let taken = |token: &&Token| {
            matches!(token.kind, TokenKind::Control | TokenKind::UserDefined) && !token.text.is_empty()
        };
        let strips = |token: &Token| self.is_phi3() && !PHI3_KEEPING.contains(&token.text.as_str());
        let tokens = self.tokens.iter().filter(taken);
        added_vocabulary(
            tokens.map(|token| (self.ids[token.text.as_str()], added_token(token, strips(token)))).collect(),
        )
    }

    /// Whether the file is of Phi-3's family, with the vocabulary of Llama 2.
    fn is_phi3(&self) -> bool {
        let is = |key: &str, value: &str| self.metadata.text(key).is_ok_and(|text| text == Some(value));
        is("general.architecture", "phi3") && is(MODEL, "llama")
    }

    /// The id under `tokenizer.ggml.NAME_token_id`.
    fn id(&self, name: &str) -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = self.metadata.integer(&key)? else { return Ok(None) };
        match u32::try_from(id) {
            Ok(small) if (small as usize) < self.tokens.len() => Ok(Some(small)),
            _ => Err(self.metadata.wrong(&key, id, format!("below {}", self.tokens.len()))),
        }
    }

    /// What the file wants before and after each text.
    fn around(&self, add_bos: bool, default: Option<(u32, u32)>) -> Result<(Vec<u32>, Vec<u32>)> {
        let wanted = |name: &str, default: bool, id: Option<u32>| {
            let add = self.metadata.boolean(&format!("tokenizer.ggml.add_{name}_token"))?.unwrap_or(default);
            let id = self.id(name)?.or(id.filter(|id| (*id as usize) < self.tokens.len()));
            match (add, id) {
                (false, _) => Ok(Vec::new()),
                (true, Some(id)) => Ok(vec![id]),
                (true, None) => Err(self.metadata.missing(&format!("tokenizer.ggml.{name}_token_id"))),
            }
        };
        let (bos, eos) = default.unzip();
        Ok((wanted("bos", add_bos, bos)?, wanted("eos", false, eos)?))
    }
}

/// The kind of a token by its number in a file; `None` for a byte that is not spelled like one.
fn kind(type_id: u64, text: &str) -> Option<TokenKind> {
    Some(match type_id {
        2 | 3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        5 => TokenKind::Unused,
        6 => TokenKind::Byte(byte(text)?),
        _ => TokenKind::Normal,
    })
}

fn added_token(token: &Token, strips_after: bool) -> AddedToken {
    AddedToken::from(token.text.clone(), token.kind == TokenKind::Control).normalized(false).rstrip(strips_after)
}
