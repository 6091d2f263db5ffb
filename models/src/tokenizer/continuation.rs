//! A text that goes on where another ended, before whose first word a tokenizer may not put a space.

use tokenizers::normalizers::Sequence as Normalizers;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use crate::error::Result;

use super::sentencepiece::Place;
use super::{EncodeOptions, Encoder, Tokenizer, merge, splits};

impl Tokenizer {
    /// The ids of a text that goes on where another ended: nothing is added around it, and its first word gets no space that is not in it.
    /// Special tokens in it are taken as such.
    pub fn encode_after(&self, text: &str) -> Result<Vec<u32>> {
        let pieces = self.added.extract_and_normalize(None::<&NormalizerWrapper>, text);
        let first = match splits(&pieces).next() {
            Some((stretch, None)) => stretch.len(),
            _ => 0,
        };
        // What follows a special token is encoded as everywhere.
        let (first, rest) = text.split_at(first);
        let mut ids = Vec::new();
        match &self.encoder {
            Encoder::SentencePiece(encoder) => encoder.encode(first, Place::AfterText, &mut ids),
            Encoder::Merges(merges) => {
                let normalizer = merges.get_normalizer().map(normalizer);
                let pre_tokenizer = merges.get_pre_tokenizer().map(pre_tokenizer);
                merge(merges, (normalizer.as_ref(), pre_tokenizer.as_ref()), &self.added, first, &mut ids)?;
            }
        }
        ids.extend(self.encode(rest, EncodeOptions::RENDERED)?);
        Ok(ids)
    }
}

/// A normaliser without the steps that put a space before a text.
fn normalizer(whole: &NormalizerWrapper) -> NormalizerWrapper {
    match whole {
        NormalizerWrapper::Prepend(_) => NormalizerWrapper::Sequence(Normalizers::new(Vec::new())),
        NormalizerWrapper::Sequence(steps) => {
            NormalizerWrapper::Sequence(Normalizers::new(steps.as_ref().iter().map(normalizer).collect()))
        }
        other => other.clone(),
    }
}

/// A pre-tokeniser that puts no space before a text.
fn pre_tokenizer(whole: &PreTokenizerWrapper) -> PreTokenizerWrapper {
    match whole {
        PreTokenizerWrapper::Metaspace(step) => {
            let mut step = step.clone();
            step.set_prepend_scheme(PrependScheme::Never);
            step.into()
        }
        PreTokenizerWrapper::ByteLevel(step) => step.add_prefix_space(false).into(),
        PreTokenizerWrapper::Sequence(steps) => {
            PreTokenizers::new(steps.as_ref().iter().map(pre_tokenizer).collect()).into()
        }
        other => other.clone(),
    }
}
