//! What tests of tokenizers share.

use std::path::Path;

use plywood_models::tokenizer::EncodeOptions;
use plywood_models::{Checkpoint, Tokenizer};

/// Text alone.
pub const PLAIN: EncodeOptions = EncodeOptions { special: false, bos: false };

/// The tokenizer of a model that opens.
pub fn open(path: &Path) -> Tokenizer {
    Tokenizer::of(&Checkpoint::open(path).unwrap()).unwrap()
}

/// A directory that holds only this SentencePiece model.
pub fn directory_of(model: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(model, directory.path().join("tokenizer.model")).unwrap();
    directory
}

/// Checks that pieces are whole characters, as early as they can be, and together the text.
pub fn check_stream(tokenizer: &Tokenizer, ids: &[u32], text: &str) {
    let mut decoder = tokenizer.decoder();
    let mut streamed = String::new();
    for id in ids {
        let piece = decoder.push(*id);
        assert!(!piece.contains(char::REPLACEMENT_CHARACTER), "half a character of {text:?}");
        streamed.push_str(&piece);
        assert!(text.starts_with(&streamed), "{streamed:?} of {text:?}");
    }
    assert_eq!(decoder.finish(), "");
    assert_eq!(streamed, text);
}
