//! The tensors from which packed weights are assembled, and what is wrong with them.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::file::File;
use crate::json::Json;
use crate::weights::TensorInfo;

/// The tensors of a directory by name, from which those of packed weights are taken.
pub struct Table<'a> {
    /// The files that they lie in.
    pub files: &'a [File],
    /// Those that were not taken yet.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// What says how the model is quantised: sections of `config.json`, in the order of [`super::KEYS`].
    pub sections: Vec<Json>,
    /// Rows and columns that share a scale of FP8, where `sections` say so.
    pub fp8_block: Option<(usize, usize)>,
}

impl Table<'_> {
    /// What says how the model is quantised, if anything does.
    pub fn section(&self) -> Option<&Json> {
        self.sections.first()
    }

    /// A string of that.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.section().map(|section| section.text(key)).transpose().map(Option::flatten)
    }

    /// Takes the tensor of a weight with this end of its name, if it is there.
    pub fn take(&mut self, stem: &str, end: &str) -> Option<TensorInfo> {
        self.tensors.remove(&format!("{stem}{end}"))
    }

    /// Takes the tensor of a weight with this end of its name.
    pub fn required(&mut self, stem: &str, end: &str) -> Result<TensorInfo> {
        self.take(stem, end).ok_or_else(|| Error::MissingTensor { tensor: format!("{stem}{end}") })
    }
}

/// What is wrong with a packed weight.
pub fn wrong(tensor: &str, reason: impl Into<String>) -> Error {
    Error::Packed { tensor: tensor.into(), reason: reason.into() }
}
