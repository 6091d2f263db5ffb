//! What a block of a packed weight begins with: its scale, and its zero point or bias.

use std::ops::Range;

use plywood_kernels::formats::int::Pair;

use crate::error::Result;
use crate::file::File;

use super::codes::Codes;
use super::matrix::{Element, Matrix};

/// Which number of a stored tensor belongs to which element of the weight.
#[derive(Debug, Clone, Copy)]
pub enum Spread {
    /// One for this many rows and columns, `[rows / row_group, columns / group]`, or the other way round.
    Grid {
        /// Rows that share a number.
        row_group: usize,
        /// Columns that share a number.
        group: usize,
        /// Whether the tensor's first dimension goes along the weight's columns.
        transposed: bool,
    },
    /// One for this many elements of the weight's rows one after the other.
    Flat {
        /// Elements that share a number.
        group: usize,
    },
}

/// Numbers of groups that are themselves codes of a table, in groups with a scale, shifted: bitsandbytes' double quantisation.
#[derive(Debug)]
pub struct Nested {
    /// What the codes stand for.
    pub table: Vec<f32>,
    /// The scale of each group of codes.
    pub scales: Matrix,
    /// Codes in a group.
    pub group: usize,
    /// What is added to each number.
    pub offset: f32,
}

/// The numbers of a weight's groups.
#[derive(Debug)]
pub struct Scales {
    /// Where they are stored.
    pub matrix: Matrix,
    /// Which belongs where.
    pub spread: Spread,
    /// What makes numbers of them, if they are codes.
    pub nested: Option<Nested>,
}

impl Scales {
    /// Numbers for groups of rows and columns.
    pub fn grid(matrix: Matrix, row_group: usize, group: usize, transposed: bool) -> Scales {
        Scales { matrix, spread: Spread::Grid { row_group, group, transposed }, nested: None }
    }

    /// What the numbers are, as [`Scales::read`] gives them.
    pub fn element(&self) -> Element {
        if self.nested.is_some() { Element::Single } else { self.matrix.element }
    }

    /// Checks that the tensors have the shapes of a weight's groups.
    pub fn check(&self, rows: usize, columns: usize) -> Result<()> {
        match self.spread {
            Spread::Grid { row_group, group, transposed } => {
                let (rows, columns) = (rows.div_ceil(row_group), columns.div_ceil(group));
                if transposed { self.matrix.check(columns, rows) } else { self.matrix.check(rows, columns) }
            }
            Spread::Flat { group } => {
                let groups = (rows * columns).div_ceil(group);
                self.matrix.check(groups, 1)?;
                self.nested.as_ref().map_or(Ok(()), |nested| nested.scales.check(groups.div_ceil(nested.group), 1))
            }
        }
    }

    /// The bytes of the number of each block of some rows, row by row.
    fn read(&self, files: &[File], rows: Range<usize>, columns: usize, block: usize) -> Result<Vec<u8>> {
        let blocks = (0..columns).step_by(block);
        let size = self.element().bytes();
        let mut picked = Vec::with_capacity(rows.len() * blocks.len() * size);
        match self.spread {
            Spread::Grid { row_group, group, transposed } => {
                let (first, last) = (rows.start / row_group, rows.end.div_ceil(row_group));
                let groups = columns.div_ceil(group);
                let numbers = if transposed {
                    self.matrix.read(files, 0..groups, first..last)?
                } else {
                    self.matrix.read(files, first..last, 0..groups)?
                };
                let (row_step, group_step) = if transposed { (1, last - first) } else { (groups, 1) };
                for row in rows {
                    for column in blocks.clone() {
                        let at = (row / row_group - first) * row_step + column / group * group_step;
                        picked.extend_from_slice(&numbers[at * size..][..size]);
                    }
                }
            }
            Spread::Flat { group } => {
                let (first, last) = (rows.start * columns / group, (rows.end * columns).div_ceil(group));
                let numbers = self.flat(files, first..last)?;
                for row in rows {
                    for column in blocks.clone() {
                        let at = (row * columns + column) / group - first;
                        picked.extend_from_slice(&numbers[at * size..][..size]);
                    }
                }
            }
        }
        Ok(picked)
    }

    /// The bytes of some numbers of a flat tensor.
    fn flat(&self, files: &[File], groups: Range<usize>) -> Result<Vec<u8>> {
        let stored = self.matrix.read(files, groups.clone(), 0..1)?;
        let Some(nested) = &self.nested else { return Ok(stored) };
        let first = groups.start / nested.group;
        let scales = nested.scales.read(files, first..groups.end.div_ceil(nested.group), 0..1)?;
        let number = |(index, code): (usize, u8)| {
            let scale = nested.scales.element.number(&scales[(index / nested.group - first) * 4..]);
            nested.table[usize::from(code)] * scale + nested.offset
        };
        Ok(groups.zip(stored).map(number).flat_map(f32::to_le_bytes).collect())
    }
}

/// What a block's scale is accompanied by.
#[derive(Debug)]
pub enum Second {
    /// Nothing.
    Nothing,
    /// The same zero point for all.
    Zero(u16),
    /// Stored zero points `[rows, groups]`, and what is added to each, within the bits of a code.
    Zeros {
        /// The codes.
        codes: Codes,
        /// Columns of a group.
        group: usize,
        /// What is added.
        plus: u8,
    },
    /// Biases.
    Biases(Scales),
}

/// What the blocks of a weight begin with.
#[derive(Debug)]
pub struct Heads {
    /// The scales.
    pub scales: Scales,
    /// What stands beside each.
    pub second: Second,
}

impl Heads {
    /// How the format keeps a pair of numbers, as their types want it; `None` for a scale alone: a byte of exponent as it is stored, or a
    /// number in single precision.
    pub fn pair(&self) -> Option<Pair> {
        let biases = match &self.second {
            Second::Nothing => return None,
            Second::Zero(_) | Second::Zeros { .. } => None,
            Second::Biases(biases) => Some(biases.element()),
        };
        Some(match (self.scales.element(), biases) {
            (Element::Half, None) => Pair::HalfZero,
            (Element::Bfloat, None) => Pair::BfloatZero,
            (Element::Half, Some(Element::Half)) => Pair::HalfBias,
            (Element::Bfloat, Some(Element::Bfloat)) => Pair::BfloatBias,
            _ => Pair::SingleBias,
        })
    }

    /// Bytes of a head.
    pub fn bytes(&self) -> usize {
        let alone = if self.scales.element() == Element::Byte { 1 } else { 4 };
        self.pair().map_or(alone, Pair::bytes)
    }

    /// Checks that the tensors have the shapes of a weight's groups.
    pub fn check(&self, rows: usize, columns: usize) -> Result<()> {
        self.scales.check(rows, columns)?;
        match &self.second {
            Second::Nothing | Second::Zero(_) => Ok(()),
            Second::Zeros { codes, group, .. } => codes.check(rows, columns.div_ceil(*group)),
            Second::Biases(biases) => biases.check(rows, columns),
        }
    }

    /// The heads of the blocks of some rows, row by row.
    pub fn read(&self, files: &[File], rows: Range<usize>, columns: usize, block: usize) -> Result<Vec<u8>> {
        let numbers = self.scales.read(files, rows.clone(), columns, block)?;
        let element = self.scales.element();
        let scales = numbers.chunks_exact(element.bytes());
        if let Second::Nothing = self.second {
            if element == Element::Byte {
                return Ok(numbers);
            }
            return Ok(scales.flat_map(|scale| element.number(scale).to_le_bytes()).collect());
        }
        let (seconds, size) = self.second.read(files, rows, columns, block)?;
        let pairs = scales.zip(seconds.chunks_exact(size));
        Ok(match self.pair() {
            Some(Pair::SingleBias) => {
                let single = |(scale, second): (&[u8], &[u8])| {
                    let scale = element.number(scale);
                    let offset = match &self.second {
                        Second::Biases(biases) => biases.element().number(second),
                        _ => -scale * f32::from(u16::from_le_bytes([second[0], second[1]])),
                    };
                    [scale, offset].map(f32::to_le_bytes).concat()
                };
                pairs.flat_map(single).collect()
            }
            _ => pairs.flat_map(|(scale, second)| [scale, second].concat()).collect(),
        })
    }
}

impl Second {
    /// The bytes of what each block of some rows has, row by row, and how many a block has: zero points in 16 bits, biases as stored.
    fn read(&self, files: &[File], rows: Range<usize>, columns: usize, block: usize) -> Result<(Vec<u8>, usize)> {
        let blocks = (0..columns).step_by(block);
        let zeros: Vec<u16> = match self {
            Second::Nothing => Vec::new(),
            Second::Zero(zero) => vec![*zero; rows.len() * blocks.len()],
            Second::Zeros { codes, group, plus } => {
                let groups = columns.div_ceil(*group);
                let stored = codes.read(files, rows, groups)?;
                let mask = (1u16 << codes.bits) - 1;
                let zero = |code: u8| (u16::from(code) + u16::from(*plus)) & mask;
                let of_row =
                    |row: &[u8]| -> Vec<u16> { blocks.clone().map(|column| zero(row[column / group])).collect() };
                stored.chunks_exact(groups).flat_map(of_row).collect()
            }
            Second::Biases(biases) => return Ok((biases.read(files, rows, columns, block)?, biases.element().bytes())),
        };
        Ok((zeros.into_iter().flat_map(u16::to_le_bytes).collect(), 2))
    }
}
