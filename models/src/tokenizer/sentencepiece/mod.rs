//! SentencePiece: texts are normalised, then cut into the pieces of a vocabulary with scores.
//!
//! Kudo and Richardson, <https://arxiv.org/abs/1808.06226>; <https://github.com/google/sentencepiece>. The vocabulary comes from
//! a GGUF file or from a `tokenizer.model`, and is not rewritten for the tokenizers crate, since pieces of equal score would
//! then merge in another order.

mod merges;
mod model;
mod normaliser;
mod protobuf;
mod unigram;

use super::vocabulary::SPACE;

pub use self::merges::Merges;
pub use self::model::{Model, ModelAlgorithm, Piece, PieceKind};
pub use self::normaliser::{LeadingSpace, Normaliser};
pub use self::unigram::Unigram;

/// An encoder of texts in which there are no special tokens.
#[derive(Debug)]
pub struct SentencePiece {
    /// How texts are spelled before they are cut.
    pub normaliser: Normaliser,
    /// How they are cut.
    pub algorithm: Algorithm,
    /// The token of each byte, for characters that no piece has.
    pub bytes: Vec<Option<u32>>,
    /// The token for what has no token.
    pub unknown: Option<u32>,
}

/// How a text is cut into pieces.
#[derive(Debug)]
pub enum Algorithm {
    /// Adjacent pieces merge in the order of scores.
    Merges(Merges),
    /// The likeliest of all cuts.
    Unigram(Unigram),
}

impl SentencePiece {
    /// Appends the ids of a text that stands at a place.
    pub fn encode(&self, text: &str, place: Place, ids: &mut Vec<u32>) {
        let spelled = self.normaliser.spell(text, place);
        let cuts = match &self.algorithm {
            Algorithm::Merges(merges) => merges.cut(&spelled),
            Algorithm::Unigram(unigram) => unigram.cut(&spelled),
        };
        let mut after_unknown = false;
        for (piece, id) in cuts {
            let bytes = || piece.bytes().map(|byte| self.bytes[usize::from(byte)]).collect::<Option<Vec<u32>>>();
            match (id, bytes) {
                (Some(id), _) => ids.push(id),
                (None, bytes) => match bytes() {
                    Some(bytes) => ids.extend(bytes),
                    // What is unknown together is one token.
                    None if after_unknown => continue,
                    None => {
                        ids.extend(self.unknown);
                        after_unknown = true;
                        continue;
                    }
                },
            }
            after_unknown = false;
        }
    }
}

impl SentencePiece {
    /// The scores by which pieces merge, by id; `None` for a unigram model.
    pub fn scores(&self, tokens: usize) -> Option<Vec<f32>> {
        let Algorithm::Merges(merges) = &self.algorithm else { return None };
        let mut scores = vec![0.0; tokens];
        for (id, score) in merges.pieces.values() {
            scores[*id as usize] = *score;
        }
        Some(scores)
    }
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing is before it.
    Front,
    /// A special token is before it.
    AfterToken,
    /// Text is before it, with which it is one.
    AfterText,
}

/// Pieces that are never cut and never merged.
#[derive(Debug, Clone, Default)]
pub struct Unbroken {
    /// The longest first.
    pieces: Vec<String>,
}

impl Unbroken {
    /// Of these pieces.
    pub fn new(mut pieces: Vec<String>) -> Unbroken {
        pieces.retain(|piece| !piece.is_empty());
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        Unbroken { pieces }
    }

    /// The bytes of the longest with which a text begins.
    fn at(&self, text: &str) -> Option<usize> {
        self.pieces.iter().find(|piece| text.starts_with(piece.as_str())).map(String::len)
    }
}
