//! The likeliest cut of a text into pieces whose scores are the logarithms of their probabilities.

use std::collections::HashMap;

/// What an unknown character scores below the worst piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// A vocabulary of pieces with scores.
#[derive(Debug)]
pub struct Unigram {
    pieces: HashMap<String, Piece>,
    /// The longest piece, in bytes.
    longest: usize,
    /// The score of an unknown character.
    unknown: f32,
}

/// A piece of the vocabulary.
#[derive(Debug, Clone, Copy)]
struct Piece {
    id: u32,
    score: f32,
}

/// The best way to a place in the text.
#[derive(Clone, Copy)]
struct Way {
    score: f32,
    from: usize,
    id: Option<u32>,
}

impl Unigram {
    /// From pieces with ids and scores, and user-defined ones, which are always taken.
    pub fn new(pieces: Vec<(String, u32, f32)>, user_defined: Vec<(String, u32)>) -> Unigram {
        let scores = || pieces.iter().map(|(_, _, score)| *score);
        // As there, no score counts as less than nothing here, so that a user-defined piece is all but free.
        let best = scores().fold(f32::MIN_POSITIVE, f32::max);
        let unknown = scores().fold(f32::MAX, f32::min) - UNKNOWN_PENALTY;
        let certain = |text: &str| (f64::from(text.len() as f32 * best) - 0.1) as f32;
        let user_defined = user_defined.into_iter().map(|(text, id)| {
            let score = certain(&text);
            (text, Piece { id, score })
        });
        let pieces = pieces.into_iter().map(|(text, id, score)| (text, Piece { id, score }));
        let pieces: HashMap<String, Piece> = pieces.chain(user_defined).collect();
        let longest = pieces.keys().map(String::len).max().unwrap_or(0);
        Unigram { pieces, longest, unknown }
    }

    /// The pieces of a text, with ids where they are known (`EncodeOptimized` in sentencepiece's `unigram_model.cc`).
    pub fn cut<'a>(&self, text: &'a str) -> Vec<(&'a str, Option<u32>)> {
        let mut ways: Vec<Option<Way>> = vec![None; text.len() + 1];
        for (from, character) in text.char_indices() {
            let before = ways[from].map_or(0.0, |way| way.score);
            // In single precision as there, since it decides which of two equally likely cuts is taken.
            let mut take = |end: usize, id: Option<u32>, score: f32| {
                let score = before + score;
                if ways[end].is_none_or(|way| score > way.score) {
                    ways[end] = Some(Way { score, from, id });
                }
            };
            let mut known = false;
            let ends = text[from..].char_indices().map(|(place, character)| from + place + character.len_utf8());
            for end in ends.take_while(|end| end - from <= self.longest) {
                if let Some(piece) = self.pieces.get(&text[from..end]) {
                    known |= end - from == character.len_utf8();
                    take(end, Some(piece.id), piece.score);
                }
            }
            if !known {
                take(from + character.len_utf8(), None, self.unknown);
            }
        }
        let mut cuts = Vec::new();
        let mut end = text.len();
        while let Some(way) = ways[end].filter(|_| end > 0) {
            cuts.push((&text[way.from..end], way.id));
            end = way.from;
        }
        cuts.reverse();
        cuts
    }
}
