//! Ids to text as they come, without ever giving half a character.

use std::sync::Arc;

use super::vocabulary::{Spelling, Vocabulary};

/// Decodes one sequence of ids piece by piece.
///
/// The text of a continuation depends on what was before it (a leading space is dropped only at the
/// front of a text), so push the prompt's ids too and ignore what they give.
#[derive(Debug, Clone)]
pub struct Decoder {
    vocabulary: Arc<Vocabulary>,
    /// Bytes that are not yet a character.
    pending: Vec<u8>,
    /// Whether no text has come yet.
    at_front: bool,
}

impl Decoder {
    pub(super) fn new(vocabulary: Arc<Vocabulary>) -> Decoder {
        Decoder { vocabulary, pending: Vec::new(), at_front: true }
    }

    /// The text that is complete with this id; empty where the id is a mark or a character is not yet whole.
    pub fn push(&mut self, id: u32) -> String {
        let bytes = self.vocabulary.bytes(id);
        let mut bytes = bytes.as_ref();
        if self.at_front && !bytes.is_empty() {
            self.at_front = false;
            if self.vocabulary.spelling == (Spelling::Pieces { leading_space: true }) {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
        }
        self.pending.extend(bytes);
        let whole = self.pending.len() - unfinished(&self.pending);
        let rest = self.pending.split_off(whole);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = rest;
        text
    }

    /// What is left at the end: the replacement character where a character never became whole.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

/// How many bytes at the end begin a character that later bytes may complete.
fn unfinished(bytes: &[u8]) -> usize {
    bytes.utf8_chunks().last().map_or(0, |chunk| {
        let tail = chunk.invalid();
        match std::str::from_utf8(tail) {
            Err(error) if error.error_len().is_none() => tail.len(),
            _ => 0,
        }
    })
}
