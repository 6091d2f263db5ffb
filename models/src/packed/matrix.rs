//! A stored tensor seen as a matrix, of which rectangles are read.

use std::ops::Range;

use plywood_kernels::formats::{BF16, F16, F32};

use crate::error::Result;
use crate::file::File;
use crate::weights::TensorInfo;

use super::table::wrong;

/// What the elements of a stored tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// Bytes: small integers, pairs of nibbles, FP8.
    Byte,
    /// Words of 32 bits.
    Word,
    /// Integers of 64 bits.
    Long,
    /// Half precision.
    Half,
    /// bfloat16.
    Bfloat,
    /// Single precision.
    Single,
}

/// What may be the type of scales and biases.
pub const NUMBERS: [Element; 3] = [Element::Half, Element::Bfloat, Element::Single];

impl Element {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        match self {
            Element::Byte => 1,
            Element::Half | Element::Bfloat => 2,
            Element::Word | Element::Single => 4,
            Element::Long => 8,
        }
    }

    /// The number that some bytes begin with, of elements that are numbers.
    pub fn number(self, bytes: &[u8]) -> f32 {
        let mut number = [f32::NAN];
        match self {
            Element::Half => F16.decode_row(&bytes[..2], &mut number),
            Element::Bfloat => BF16.decode_row(&bytes[..2], &mut number),
            Element::Single => F32.decode_row(&bytes[..4], &mut number),
            Element::Byte | Element::Word | Element::Long => {}
        }
        number[0]
    }

    fn of(tensor: &TensorInfo) -> Option<Element> {
        match tensor.storage.to_string().as_str() {
            "U8" | "I8" | "F8_E4M3" => Some(Element::Byte),
            "I32" | "U32" => Some(Element::Word),
            "I64" => Some(Element::Long),
            "F16" => Some(Element::Half),
            "BF16" => Some(Element::Bfloat),
            "F32" => Some(Element::Single),
            _ => None,
        }
    }
}

/// A stored tensor `[rows, columns]`; a vector has one column, a single number one row too.
#[derive(Debug)]
pub struct Matrix {
    /// Its name, for messages.
    pub name: String,
    /// Its elements.
    pub element: Element,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    file: usize,
    offset: u64,
}

impl Matrix {
    /// A tensor as a matrix, if its elements are among those that are wanted.
    pub fn of(tensor: TensorInfo, wanted: &[Element]) -> Result<Matrix> {
        let (rows, columns) = match tensor.shape[..] {
            [] => (1, 1),
            [rows] => (rows, 1),
            [rows, columns] => (rows, columns),
            _ => return Err(wrong(&tensor.name, format!("it has shape {:?}, and should be a matrix", tensor.shape))),
        };
        match Element::of(&tensor).filter(|element| wanted.contains(element)) {
            Some(element) => {
                Ok(Matrix { name: tensor.name, element, rows, columns, file: tensor.file, offset: tensor.offset })
            }
            None => Err(wrong(&tensor.name, format!("numbers of type {} are not known here", tensor.storage))),
        }
    }

    /// The bytes of a tensor, whatever type is declared for them.
    pub fn of_bytes(tensor: TensorInfo) -> Matrix {
        let TensorInfo { name, file, offset, bytes, .. } = tensor;
        Matrix { name, element: Element::Byte, rows: bytes as usize, columns: 1, file, offset }
    }

    /// The same elements in a matrix of another shape.
    pub fn reshaped(self, rows: usize, columns: usize) -> Result<Matrix> {
        if self.rows.checked_mul(self.columns) != rows.checked_mul(columns) {
            self.check(rows, columns)?;
        }
        Ok(Matrix { rows, columns, ..self })
    }

    /// The bytes of a rectangle, row by row.
    pub fn read(&self, files: &[File], rows: Range<usize>, columns: Range<usize>) -> Result<Vec<u8>> {
        let size = self.element.bytes();
        let row_bytes = columns.len() * size;
        let mut bytes = vec![0; rows.len() * row_bytes];
        let at = |row: usize| self.offset + ((row * self.columns + columns.start) * size) as u64;
        if columns.len() == self.columns {
            files[self.file].read(at(rows.start), &mut bytes)?;
        } else if row_bytes > 0 {
            for (row, bytes) in rows.zip(bytes.chunks_exact_mut(row_bytes)) {
                files[self.file].read(at(row), bytes)?;
            }
        }
        Ok(bytes)
    }

    /// The bytes of all of it.
    pub fn read_all(&self, files: &[File]) -> Result<Vec<u8>> {
        self.read(files, 0..self.rows, 0..self.columns)
    }

    /// Checks its shape.
    pub fn check(&self, rows: usize, columns: usize) -> Result<()> {
        if (self.rows, self.columns) == (rows, columns) {
            return Ok(());
        }
        let found = format!("[{}, {}]", self.rows, self.columns);
        Err(wrong(&self.name, format!("it has shape {found}, and the weight's other tensors want [{rows}, {columns}]")))
    }
}
