//! Codes of a few bits, packed into the words of a stored tensor.

use std::ops::Range;

use crate::error::Result;
use crate::file::File;

use super::matrix::Matrix;

/// Codes of a row are spread over tiles of this many columns, in which the words of an input-major tensor stay in the cache.
const TILE: usize = 64;

/// Which codes share a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// Those of neighbouring columns (inputs).
    Columns,
    /// Those of neighbouring rows (outputs).
    Rows,
}

/// The slot of each code in a word of 8, for codes that follow each other from the lowest bits on.
const IN_ORDER: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// The codes of a weight `[rows, columns]`, or of its zero points.
#[derive(Debug)]
pub struct Codes {
    /// Where they are stored: words, or bytes.
    pub matrix: Matrix,
    /// Bits of a code: 4 or 8.
    pub bits: usize,
    /// Whether the tensor's first dimension goes along the weight's columns.
    pub transposed: bool,
    /// Which codes share a word.
    pub along: Along,
    /// The slot of each code in its word.
    pub order: [u8; 8],
    /// Bits to invert: the sign of what is stored as signed bytes, so that codes are not negative.
    pub flip: u8,
    /// The code that stands for no number, apart from its sign, if there is one.
    pub nan: Option<u8>,
}

impl Codes {
    /// Codes of this many bits in neighbouring columns, the first in the lowest bits.
    pub fn in_order(matrix: Matrix, bits: usize) -> Codes {
        Codes { matrix, bits, transposed: false, along: Along::Columns, order: IN_ORDER, flip: 0, nan: None }
    }

    /// Codes in a word.
    fn per_word(&self) -> usize {
        self.matrix.element.bytes() * 8 / self.bits
    }

    /// Words along the weight's rows and along its columns.
    fn words(&self, rows: usize, columns: usize) -> (usize, usize) {
        match self.along {
            Along::Rows => (rows.div_ceil(self.per_word()), columns),
            Along::Columns => (rows, columns.div_ceil(self.per_word())),
        }
    }

    /// Checks that the tensor has the shape of a weight's codes.
    pub fn check(&self, rows: usize, columns: usize) -> Result<()> {
        let (rows, columns) = self.words(rows, columns);
        if self.transposed { self.matrix.check(columns, rows) } else { self.matrix.check(rows, columns) }
    }

    /// The codes of some rows, one to a byte, row by row.
    pub fn read(&self, files: &[File], rows: Range<usize>, columns: usize) -> Result<Vec<u8>> {
        let (shift, slots) = (self.per_word().ilog2(), self.per_word() - 1);
        let (first, (last, word_columns)) =
            (if self.along == Along::Rows { rows.start >> shift } else { rows.start }, self.words(rows.end, columns));
        let bytes = if self.transposed {
            self.matrix.read(files, 0..word_columns, first..last)?
        } else {
            self.matrix.read(files, first..last, 0..word_columns)?
        };
        let words: Vec<u32> = if self.matrix.element.bytes() == 1 {
            bytes.into_iter().map(u32::from).collect()
        } else {
            bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
        };
        // From a word to that of the next row and of the next column.
        let (row_step, column_step) = if self.transposed { (1, last - first) } else { (word_columns, 1) };
        let shifts = self.order.map(|slot| u32::from(slot) * self.bits as u32);
        let mask = ((1u32 << self.bits) - 1) as u8;
        let mut codes = vec![0; rows.len() * columns];
        for tile in (0..columns).step_by(TILE) {
            for (row, codes) in rows.clone().zip(codes.chunks_exact_mut(columns)) {
                let word_row = if self.along == Along::Rows { row >> shift } else { row } - first;
                for (column, code) in codes.iter_mut().enumerate().skip(tile).take(TILE) {
                    let (word_column, slot) = match self.along {
                        Along::Rows => (column, row & slots),
                        Along::Columns => (column >> shift, column & slots),
                    };
                    let word = words[word_row * row_step + word_column * column_step];
                    *code = ((word >> shifts[slot]) as u8 & mask) ^ self.flip;
                }
            }
        }
        Ok(codes)
    }
}
