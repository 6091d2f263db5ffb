//! What is quantised: the metadata and tensors of a GGUF file, as they are or as made from a Hugging Face directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use plywood_kernels::Format;

use crate::checkpoint::{Checkpoint, Settings};
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value};
use crate::weights::{TensorInfo, Weights};

use super::conversion;

/// Metadata that belong to a file rather than to the model in it.
const DROPPED: [&str; 2] = ["split.", "general.alignment"];

/// A model as a GGUF file would hold it.
#[derive(Debug)]
pub struct GgufModel {
    /// The opened model.
    pub checkpoint: Checkpoint,
    /// The metadata of a GGUF file of it.
    pub metadata: Metadata,
    /// The tensors of a GGUF file of it.
    pub tensors: Vec<Tensor>,
}

/// A tensor by the name that it has in GGUF files.
#[derive(Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// The format in which its rows are read.
    pub format: Format,
    /// Where its rows are from.
    pub content: Content,
}

/// Where the rows of a tensor are from.
#[derive(Debug)]
pub enum Content {
    /// From a tensor of the model, in its order.
    Stored(usize),
    /// From a tensor of the model whose rows, in each of this many heads, pair halves where GGUF files pair neighbours.
    Halves {
        /// The place of the tensor.
        tensor: usize,
        /// Heads.
        heads: usize,
    },
    /// Numbers that the model's settings say, as bytes of its format.
    Made(Vec<u8>),
}

impl GgufModel {
    /// Opens what [`Checkpoint::open`] opens.
    pub fn open(path: &Path) -> Result<GgufModel> {
        let checkpoint = Checkpoint::open(path)?;
        match checkpoint.settings() {
            Settings::HuggingFace { .. } => conversion::convert(checkpoint),
            Settings::Gguf(metadata) => {
                let kept = |(key, _): &(&String, &Value)| !DROPPED.iter().any(|start| key.starts_with(start));
                let entries: BTreeMap<String, Value> =
                    metadata.entries.iter().filter(kept).map(|(key, value)| (key.clone(), value.clone())).collect();
                let metadata = Metadata { file: metadata.file.clone(), entries };
                let tensors = checkpoint.tensors().iter().enumerate();
                let tensors = tensors.map(|(index, info)| Tensor::stored(info, index)).collect::<Result<_>>()?;
                Ok(GgufModel { checkpoint, metadata, tensors })
            }
        }
    }

    /// Reads this many rows of a tensor, in the format that it is stored in.
    pub fn read(&self, tensor: &Tensor, first: usize, count: usize) -> Result<Vec<u8>> {
        let row_bytes = tensor.row_bytes()?;
        let mut bytes = vec![0; row_bytes * count];
        match &tensor.content {
            Content::Stored(index) => self.checkpoint.read(*index, (first * row_bytes) as u64, &mut bytes)?,
            Content::Made(made) => bytes.copy_from_slice(&made[first * row_bytes..][..row_bytes * count]),
            Content::Halves { tensor: index, heads } => {
                let half_rows = tensor.rows() / heads / 2;
                let mut row = first;
                while row < first + count {
                    // Up to the end of a head, the even rows are a run in its first half, the odd ones in its second.
                    let (head, place) = (row / (2 * half_rows), row % (2 * half_rows));
                    let end = (2 * half_rows).min(place + first + count - row);
                    for half in 0..2 {
                        let run = (place + 1 - half) / 2..(end + 1 - half) / 2;
                        let mut stored = vec![0; run.len() * row_bytes];
                        let offset = ((2 * head + half) * half_rows + run.start) * row_bytes;
                        self.checkpoint.read(*index, offset as u64, &mut stored)?;
                        for (pair, stored) in run.zip(stored.chunks_exact(row_bytes)) {
                            let at = (row - place + 2 * pair + half - first) * row_bytes;
                            bytes[at..at + row_bytes].copy_from_slice(stored);
                        }
                    }
                    row += end - place;
                }
            }
        }
        Ok(bytes)
    }

    /// For each column of a tensor as it is read, which one of the matrix it is; `None` where they are in their order.
    pub fn order(&self, tensor: &Tensor) -> Option<&Arc<[u32]>> {
        match tensor.content {
            Content::Stored(index) | Content::Halves { tensor: index, .. } => self.checkpoint.order(index),
            Content::Made(_) => None,
        }
    }

    /// A whole number that is after the architecture's name, or the first of several.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        let architecture = self.metadata.text("general.architecture")?.unwrap_or_default();
        let key = format!("{architecture}.{key}");
        let number = match self.metadata.get(&key) {
            Some(Value::Array(values)) => values.as_u64s().and_then(|values| values.first().copied()),
            _ => self.metadata.integer(&key)?,
        };
        Ok(number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
    }
}

impl Tensor {
    /// A tensor of a GGUF file as it is.
    fn stored(info: &TensorInfo, index: usize) -> Result<Tensor> {
        let (name, shape) = (info.name.clone(), info.shape.clone());
        Ok(Tensor { name, shape, format: info.format()?, content: Content::Stored(index) })
    }

    /// Elements of a row.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }

    /// Rows of all dimensions.
    pub fn rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// Bytes of all rows as they are read.
    pub fn bytes(&self) -> u64 {
        self.row_bytes().map_or(0, |bytes| bytes as u64 * self.rows() as u64)
    }

    /// Bytes of a row as it is read.
    fn row_bytes(&self) -> Result<usize> {
        self.format.file_row_bytes(self.columns()).ok_or_else(|| Error::UnevenRows {
            tensor: self.name.clone(),
            columns: self.columns(),
            format: self.format.to_string(),
        })
    }
}
