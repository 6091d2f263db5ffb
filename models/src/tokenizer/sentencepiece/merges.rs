//! SentencePiece's BPE: adjacent pieces merge in the order of the score of what they give.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::Unbroken;

/// A vocabulary of pieces with scores.
#[derive(Debug)]
pub struct Merges {
    /// Id and score of each piece.
    pub pieces: HashMap<String, (u32, f32)>,
    /// Pieces that do not merge.
    pub unbroken: Unbroken,
    /// Pieces that are cut again into those of which they were made.
    pub unused: HashSet<u32>,
}

/// Of which two pieces an unused one was made: the bytes of the first, by text.
type Halves<'a> = HashMap<&'a str, usize>;

/// A piece of the text: bytes `begin .. end`, none once it has merged into the one before.
struct Symbol {
    begin: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
    unbroken: bool,
}

/// Two neighbours that could become a piece.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// The bytes of both when the pair was found, to know it when it is outdated.
    length: usize,
}

impl Merges {
    /// The pieces of a text, with ids where they are known (`SampleEncode` in sentencepiece's `bpe_model.cc`).
    pub fn cut<'a>(&self, text: &'a str) -> Vec<(&'a str, Option<u32>)> {
        let mut symbols = self.symbols(text);
        let mut halves = Halves::new();
        let mut pairs = BinaryHeap::new();
        for right in 1..symbols.len() {
            pairs.extend(self.pair(text, &symbols, Some(right - 1), Some(right), &mut halves));
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
            pairs.extend(self.pair(text, &symbols, symbols[left].previous, Some(left), &mut halves));
            pairs.extend(self.pair(text, &symbols, Some(left), next, &mut halves));
        }
        let mut cuts = Vec::new();
        for symbol in symbols.iter().filter(|symbol| symbol.end > symbol.begin) {
            self.put(&text[symbol.begin..symbol.end], &halves, &mut cuts);
        }
        cuts
    }

    /// The pair of two neighbours, if they are there and give a piece.
    fn pair<'a>(
        &self,
        text: &'a str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
        halves: &mut Halves<'a>,
    ) -> Option<Pair> {
        let (left, right) = (left?, right?);
        if symbols[left].unbroken || symbols[right].unbroken {
            return None;
        }
        let whole = &text[symbols[left].begin..symbols[right].end];
        let (id, score) = self.pieces.get(whole)?;
        if self.unused.contains(id) {
            halves.insert(whole, symbols[left].end - symbols[left].begin);
        }
        Some(Pair { score: *score, left, right, length: whole.len() })
    }

    /// Appends a piece, or what an unused one was made of.
    fn put<'a>(&self, piece: &'a str, halves: &Halves, cuts: &mut Vec<(&'a str, Option<u32>)>) {
        let id = self.pieces.get(piece).map(|(id, _)| *id);
        match halves.get(piece) {
            Some(first) if id.is_some_and(|id| self.unused.contains(&id)) => {
                self.put(&piece[..*first], halves, cuts);
                self.put(&piece[*first..], halves, cuts);
            }
            _ => cuts.push((piece, id)),
        }
    }

    /// The characters of a text, and pieces that do not merge.
    fn symbols(&self, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::new();
        let mut begin = 0;
        while let Some(character) = text[begin..].chars().next() {
            let unbroken = self.unbroken.at(&text[begin..]);
            let end = begin + unbroken.unwrap_or(character.len_utf8());
            let previous = symbols.len().checked_sub(1);
            if let Some(previous) = previous {
                symbols[previous].next = Some(symbols.len());
            }
            symbols.push(Symbol { begin, end, previous, next: None, unbroken: unbroken.is_some() });
            begin = end;
        }
        symbols
    }
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
