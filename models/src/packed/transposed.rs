//! Floats whose matrices lie transposed, `[matrices, columns, rows]`: how transformers keeps the experts of gpt-oss, and so how they are
//! published when they are fine-tuned or turned into BF16.

use std::ops::Range;

use crate::error::Result;
use crate::file::File;
use crate::weights::TensorInfo;

use super::matrix::{Matrix, NUMBERS};
use super::table::{Table, wrong};

/// Elements of a row are gathered in tiles, in which the rows that they come from stay in the cache.
const TILE: usize = 64;

/// Matrices `[rows, columns]` that lie as `[columns, rows]` below each other.
#[derive(Debug)]
pub struct Transposed {
    stored: Matrix,
    /// Columns of a matrix as it is read.
    columns: usize,
}

/// The tensor of a name, its matrices turned over.
pub(super) fn assemble(table: &mut Table, stem: &str) -> Result<(TensorInfo, Transposed)> {
    let tensor = table.required(stem, "")?;
    let [matrices, columns, rows] = tensor.shape[..] else {
        return Err(wrong(&tensor.name, format!("it has shape {:?}, and should have three dimensions", tensor.shape)));
    };
    if tensor.elements() == 0 {
        return Err(wrong(&tensor.name, "it has no elements"));
    }
    let all = matrices.checked_mul(columns).ok_or_else(|| wrong(&tensor.name, "it is impossibly large"))?;
    let (name, shape) = (format!("{stem}.weight"), vec![matrices, rows, columns]);
    let whole = TensorInfo { name, shape, ..tensor.clone() };
    let stored = Matrix::of(TensorInfo { shape: vec![all, rows], ..tensor }, &NUMBERS)?;
    Ok((whole, Transposed { stored, columns }))
}

impl Transposed {
    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.columns * self.stored.element.bytes()
    }

    /// The bytes of some rows of all matrices, counted on from one to the next.
    pub fn read(&self, files: &[File], rows: Range<usize>) -> Result<Vec<u8>> {
        let height = self.stored.columns;
        let mut bytes = Vec::with_capacity(rows.len() * self.row_bytes());
        let mut row = rows.start;
        while row < rows.end {
            let (matrix, first) = (row / height, row % height);
            let last = height.min(first + rows.end - row);
            let stored = self.stored.read(files, matrix * self.columns..(matrix + 1) * self.columns, first..last)?;
            match self.stored.element.bytes() {
                2 => transpose::<2>(&stored, last - first, &mut bytes),
                _ => transpose::<4>(&stored, last - first, &mut bytes),
            }
            row += last - first;
        }
        Ok(bytes)
    }
}

/// Appends the columns of a matrix of elements of this many bytes, one after the other.
fn transpose<const BYTES: usize>(stored: &[u8], columns: usize, bytes: &mut Vec<u8>) {
    let (stored, begin) = (stored.as_chunks::<BYTES>().0, bytes.len());
    let rows = stored.len() / columns;
    bytes.resize(begin + size_of_val(stored), 0);
    let turned = bytes[begin..].as_chunks_mut::<BYTES>().0;
    for tile in (0..rows).step_by(TILE) {
        for (column, turned) in turned.chunks_exact_mut(rows).enumerate() {
            for (row, element) in turned.iter_mut().enumerate().skip(tile).take(TILE) {
                *element = stored[row * columns + column];
            }
        }
    }
}
