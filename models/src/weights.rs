//! What everything here names: tensors, how they are stored, where their numbers come from, and whose conventions files follow.

use std::fmt;
use std::sync::Arc;

use plywood_kernels::Format;
use plywood_kernels::formats;

use crate::error::{Error, Result};

/// Which conventions a model's names and settings follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conventions {
    /// A GGUF file or several.
    Gguf,
    /// A Hugging Face directory.
    HuggingFace,
}

/// How a tensor's elements are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In a format that this build runs.
    Format(Format),
    /// In a type of this name, which it does not run.
    Unsupported(String),
}

/// The type's name as GGUF tools spell it: `Q8_0`.
impl fmt::Display for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Storage::Format(format) => formatter.write_str(&format.name.to_uppercase()),
            Storage::Unsupported(name) => formatter.write_str(name),
        }
    }
}

/// One tensor of a model.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions, the slowest first (a matrix is `[rows, columns]`).
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub storage: Storage,
    /// The place of its file among the model's files.
    pub file: usize,
    /// Where it begins in that file, in bytes.
    pub offset: u64,
    /// Its bytes in the file; 0 where its type is unknown.
    pub bytes: u64,
}

impl TensorInfo {
    /// Elements of all dimensions; saturating, since a type may be of unknown size.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |product: u64, size| product.saturating_mul(*size as u64))
    }

    /// Its format, or an error that names its type.
    pub fn format(&self) -> Result<Format> {
        match self.storage {
            Storage::Format(format) => Ok(format),
            Storage::Unsupported(_) => Err(self.unsupported()),
        }
    }

    /// The error that names its type.
    pub(crate) fn unsupported(&self) -> Error {
        let known: Vec<String> = formats::GGUF.iter().map(|format| format.name.to_uppercase()).collect();
        Error::UnsupportedType {
            tensor: self.name.clone(),
            type_name: self.storage.to_string(),
            known: known.join(", "),
        }
    }
}

/// Where the numbers of a model come from: files, or a generator.
pub trait Weights: Send + Sync {
    /// The tensors.
    fn tensors(&self) -> &[TensorInfo];

    /// Fills the buffer with the bytes of a tensor from `offset` on, in its storage format.
    fn read(&self, tensor: usize, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// The same of whole rows, which must hold finite numbers.
    fn read_checked(&self, tensor: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.read(tensor, offset, buffer)?;
        let info = &self.tensors()[tensor];
        let format = info.format()?;
        match format.not_finite(buffer) {
            None => Ok(()),
            Some(block) => {
                let columns = info.shape.last().map_or(1, |columns| *columns as u64).max(1);
                let before = (offset / format.block_bytes as u64 + block as u64) * format.block_elements as u64;
                Err(Error::NotFinite { tensor: info.name.clone(), row: (before / columns) as usize })
            }
        }
    }

    /// For each column of a tensor as it is read, which one of the matrix it is; `None` where they are in their order.
    fn order(&self, _tensor: usize) -> Option<&Arc<[u32]>> {
        None
    }
}

/// Checks that a read lies inside a tensor.
pub(crate) fn check_read(tensors: &[TensorInfo], tensor: usize, offset: u64, length: usize) -> Result<&TensorInfo> {
    let end = offset.saturating_add(length as u64);
    let outside = |tensor: String, bytes| Error::OutsideTensor { tensor, offset, end, bytes };
    let info = tensors.get(tensor).ok_or_else(|| outside(format!("number {tensor}"), 0))?;
    if end > info.bytes {
        return Err(outside(info.name.clone(), info.bytes));
    }
    Ok(info)
}
