//! A model that is ready to be planned: weights, numbers and tokenizer, checked against each other.

use std::path::Path;

use plywood_kernels::Graph;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;
use crate::transformer;

/// An opened model. For its tokenizer or its tensors alone, use [`Tokenizer::of`] or [`Checkpoint::open`].
#[derive(Debug)]
pub struct Model {
    /// Its files.
    pub checkpoint: Checkpoint,
    /// Its numbers.
    pub config: Config,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

impl Model {
    /// Opens what [`Checkpoint::open`] opens. Weights are not read.
    pub fn open(path: impl AsRef<Path>) -> Result<Model> {
        Model::of(Checkpoint::open(path)?)
    }

    /// The model of opened files.
    pub fn of(checkpoint: Checkpoint) -> Result<Model> {
        let config = Config::of(&checkpoint)?;
        let tokenizer = Tokenizer::of(&checkpoint)?;
        if tokenizer.len() > config.vocabulary {
            return Err(Error::VocabularyTooShort { tokens: tokenizer.len(), rows: config.vocabulary });
        }
        Ok(Model { checkpoint, config, tokenizer })
    }

    /// Its graph for sequences of up to `context` tokens.
    pub fn graph(&self, context: usize) -> Result<Graph> {
        transformer::build(&self.checkpoint, &self.config, context)
    }
}
