//! SentencePiece's BPE: adjacent pieces merge in the order of the score of what they give.
//!
//! Kudo and Richardson, <https://arxiv.org/abs/1808.06226>. It is not rewritten as a list of merges
//! for the tokenizers crate, since pieces of equal score would then merge in another order.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::vocabulary::SPACE;

/// A vocabulary of pieces with scores.
#[derive(Debug)]
pub struct Scores {
    /// Id and score of each piece.
    pub pieces: HashMap<String, (u32, f32)>,
    /// The token of each byte, for characters that no piece has.
    pub bytes: Vec<Option<u32>>,
    /// The token for what has no token.
    pub unknown: Option<u32>,
    /// Whether a space is put before a text, and before text that follows a special token.
    pub leading_space: bool,
}

/// A piece of the text: bytes `begin .. end`, none once it has merged into the one before.
struct Symbol {
    begin: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that could become a piece.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// The bytes of both when the pair was found, to know it when it is outdated.
    length: usize,
}

impl Scores {
    /// Appends the ids of a text; `at_front` says that nothing or a special token is before it.
    pub fn encode(&self, text: &str, at_front: bool, ids: &mut Vec<u32>) {
        let mut spelled = String::new();
        if at_front && self.leading_space {
            spelled.push(SPACE);
        }
        spelled.extend(text.chars().map(|character| if character == ' ' { SPACE } else { character }));
        for (begin, end) in self.merge(&spelled) {
            self.put(&spelled[begin..end], ids);
        }
    }

    /// Merges until no two neighbours give a piece; the pieces' places in the text.
    fn merge(&self, text: &str) -> Vec<(usize, usize)> {
        let mut symbols = characters(text);
        let mut pairs = BinaryHeap::new();
        for right in 1..symbols.len() {
            pairs.extend(self.pair(text, &symbols, Some(right - 1), Some(right)));
        }
        while let Some(Pair { left, right, length, .. }) = pairs.pop() {
            let (begin, end) = (symbols[left].begin, symbols[right].end);
            let alive = symbols[left].end > begin && end > symbols[right].begin;
            if !alive || symbols[left].next != Some(right) || end - begin != length {
                continue;
            }
            let next = symbols[right].next;
            symbols[left].end = end;
            symbols[left].next = next;
            symbols[right].begin = end;
            if let Some(next) = next {
                symbols[next].previous = Some(left);
            }
            pairs.extend(self.pair(text, &symbols, symbols[left].previous, Some(left)));
            pairs.extend(self.pair(text, &symbols, Some(left), next));
        }
        symbols.iter().filter(|symbol| symbol.end > symbol.begin).map(|symbol| (symbol.begin, symbol.end)).collect()
    }

    /// The pair of two neighbours, if they are there and give a piece.
    fn pair(&self, text: &str, symbols: &[Symbol], left: Option<usize>, right: Option<usize>) -> Option<Pair> {
        let (left, right) = (left?, right?);
        let whole = &text[symbols[left].begin..symbols[right].end];
        let (_, score) = self.pieces.get(whole)?;
        Some(Pair { score: *score, left, right, length: whole.len() })
    }

    /// Appends the id of a piece, or those of its bytes.
    fn put(&self, piece: &str, ids: &mut Vec<u32>) {
        if let Some((id, _)) = self.pieces.get(piece) {
            return ids.push(*id);
        }
        match piece.bytes().map(|byte| self.bytes[usize::from(byte)]).collect::<Option<Vec<u32>>>() {
            Some(bytes) => ids.extend(bytes),
            None => ids.extend(self.unknown),
        }
    }
}

fn characters(text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = Vec::new();
    for (index, (begin, character)) in text.char_indices().enumerate() {
        let previous = index.checked_sub(1);
        if let Some(previous) = previous {
            symbols[previous].next = Some(index);
        }
        symbols.push(Symbol { begin, end: begin + character.len_utf8(), previous, next: None });
    }
    symbols
}

/// The greatest pair is the next to merge: the highest score, and of equals the leftmost.
impl Ord for Pair {
    fn cmp(&self, other: &Pair) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
