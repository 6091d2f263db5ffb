//! A weight that lies otherwise in its files than others do, read as if it did not.

use std::ops::Range;
use std::sync::Arc;

use plywood_kernels::Format;
use plywood_kernels::formats::grouped;

use crate::error::{Error, Result};
use crate::file::File;
use crate::weights::{Storage, TensorInfo};

use super::codes::Codes;
use super::heads::Heads;
use super::table::wrong;
use super::transposed::Transposed;

/// The bit of a byte's sign.
const SIGN: u8 = 0x80;

/// A weight that lies otherwise in its files than others do.
#[derive(Debug)]
pub enum Assembly {
    /// In codes and what they share, in several tensors.
    Coded(Box<Coded>),
    /// In one tensor, its matrices transposed.
    Transposed(Transposed),
}

impl Assembly {
    /// The order of its columns, if it is not the model's.
    pub fn order(&self) -> Option<&Arc<[u32]>> {
        match self {
            Assembly::Coded(coded) => coded.order.as_ref(),
            Assembly::Transposed(_) => None,
        }
    }

    /// Fills the buffer with the bytes of the assembled rows from `offset` on.
    pub fn read(&self, name: &str, files: &[File], offset: u64, buffer: &mut [u8]) -> Result<()> {
        let row_bytes = match self {
            Assembly::Coded(coded) => coded.columns / coded.format.block_elements * coded.format.block_bytes,
            Assembly::Transposed(transposed) => transposed.row_bytes(),
        };
        let (offset, end) = (offset as usize, offset as usize + buffer.len());
        let rows = offset / row_bytes..end.div_ceil(row_bytes);
        let first = offset - rows.start * row_bytes;
        let assembled = match self {
            Assembly::Coded(coded) => coded.read(name, files, rows)?,
            Assembly::Transposed(transposed) => transposed.read(files, rows)?,
        };
        buffer.copy_from_slice(&assembled[first..first + buffer.len()]);
        Ok(())
    }
}

/// A weight `[rows, columns]` out of several tensors.
#[derive(Debug)]
pub struct Coded {
    /// The format of its rows.
    pub format: Format,
    /// Its columns.
    pub columns: usize,
    /// Its codes.
    pub codes: Codes,
    /// What its blocks have besides.
    pub heads: Heads,
    /// For each column of the assembled rows, which one of the model's it is; `None` for the same.
    pub order: Option<Arc<[u32]>>,
}

impl Coded {
    /// The bytes of some rows.
    fn read(&self, name: &str, files: &[File], rows: Range<usize>) -> Result<Vec<u8>> {
        let row_bytes = self.columns / self.format.block_elements * self.format.block_bytes;
        let mut assembled = vec![0; rows.len() * row_bytes];
        let mut codes = self.codes.read(files, rows.clone(), self.columns)?;
        if self.codes.nan.is_some_and(|nan| codes.iter().any(|code| code & !SIGN == nan)) {
            return Err(Error::WrongNumbers { tensor: name.into(), wanted: "finite numbers" });
        }
        if let Some(order) = &self.order {
            let mut sorted = vec![0; self.columns];
            for row in codes.chunks_exact_mut(self.columns) {
                sorted.iter_mut().zip(order.iter()).for_each(|(code, column)| *code = row[*column as usize]);
                row.copy_from_slice(&sorted);
            }
        }
        let heads = self.heads.read(files, rows, self.columns, self.format.block_elements)?;
        let head_bytes = self.heads.bytes();
        let blocks = assembled.chunks_exact_mut(self.format.block_bytes);
        for ((block, head), codes) in
            blocks.zip(heads.chunks_exact(head_bytes)).zip(codes.chunks_exact(self.format.block_elements))
        {
            grouped::write_block(self.codes.bits, head, codes, block);
        }
        Ok(assembled)
    }
}

/// The format of the largest blocks that divide rows and groups of this many columns.
pub fn fitting(formats: impl IntoIterator<Item = Format>, columns: usize, group: usize) -> Option<Format> {
    let divides = |size: usize| group > 0 && columns.is_multiple_of(size) && group.is_multiple_of(size);
    let fits = formats.into_iter().filter(|format| divides(format.block_elements));
    fits.max_by_key(|format| format.block_elements)
}

/// A weight as one tensor, and how it is assembled.
pub type Assembled = (TensorInfo, Assembly);

/// A weight of codes, checked against each other and as one tensor of this many rows.
pub fn assembled(stem: &str, rows: usize, coded: Coded) -> Result<Assembled> {
    let name = format!("{stem}.weight");
    let Coded { columns, format, .. } = coded;
    if rows == 0 || columns == 0 {
        return Err(wrong(&name, "it has no elements"));
    }
    coded.codes.check(rows, columns)?;
    coded.heads.check(rows, columns)?;
    let row_bytes = format.file_row_bytes(columns).ok_or_else(|| wrong(&name, "its groups do not divide its rows"))?;
    let bytes = (rows as u64).checked_mul(row_bytes as u64).ok_or_else(|| wrong(&name, "it is impossibly large"))?;
    let (shape, storage) = (vec![rows, columns], Storage::Format(format));
    Ok((TensorInfo { name, shape, storage, file: 0, offset: 0, bytes }, Assembly::Coded(Box::new(coded))))
}
