//! Weights on the host: in panels of 16 rows where the format has inner loops, else row by row as in a file.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use memmap2::MmapMut;

use crate::formats::Format;
use crate::host::activations::QuantisedRows;
use crate::host::product::{PanelProduct, RowsProduct};
use crate::host::{Threads, each_item};
use crate::reference::Matrix;
use crate::simd::{Isa, LANES};

/// Elements of rows of activations in 8 bits that stay in a core's second cache while panels pass by.
const INTEGERS_TOGETHER: usize = 192 << 10;

/// The same in single precision: more than that cache holds, since decoding a panel for a few rows costs more than reading them from the next.
const FLOATS_TOGETHER: usize = 768 << 10;

/// Rows of activations come in multiples of those whose sums fit in registers: 4 or 8, of floats 6 or 12.
const ROWS_TOGETHER: usize = 24;

/// The most rows of activations that a panel meets at once.
const MOST_ROWS: usize = 21 * ROWS_TOGETHER;

/// Bytes of a file that a thread reads and packs at a time, so that they are still in its cache.
const STRETCH_BYTES: usize = 256 << 10;

thread_local! {
    /// Rows of a file that a thread packs, one stretch after the other.
    static FILE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A matrix `[rows, columns]`, stacked from parts.
#[derive(Debug)]
pub struct HostMatrix {
    /// Elements of a row.
    pub columns: usize,
    /// Its parts in order.
    pub parts: Vec<MatrixPart>,
}

/// Some rows of a matrix, in one format.
#[derive(Debug)]
pub struct MatrixPart {
    format: Format,
    rows: usize,
    /// Bytes of a panel, or of a row.
    stride: usize,
    /// Its panels or rows.
    memory: MmapMut,
}

/// What is multiplied with a matrix.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Numbers in single precision.
    Floats(Matrix<'a>),
    /// Numbers in 8 bits, for formats whose codes are integers, and the same in single precision for the others.
    Quantised(&'a QuantisedRows, Matrix<'a>),
}

impl MatrixPart {
    /// Bytes of a panel or a row, and how many there are.
    fn layout(format: Format, rows: usize, columns: usize) -> (usize, usize) {
        match format.panel {
            Some(panel) => (panel.panel_bytes(columns), rows.div_ceil(LANES)),
            None => (columns / format.block_elements * format.block_bytes, rows),
        }
    }

    /// Bytes that rows take.
    pub fn bytes(format: Format, rows: usize, columns: usize) -> usize {
        let (stride, count) = MatrixPart::layout(format, rows, columns);
        stride * count
    }

    /// Rows of zeros, until they are filled; an error where the system refuses the memory.
    pub fn new(format: Format, rows: usize, columns: usize) -> io::Result<MatrixPart> {
        let (stride, count) = MatrixPart::layout(format, rows, columns);
        // Without pages until they are written, which all threads do.
        let memory = MmapMut::map_anon(stride * count)?;
        Ok(MatrixPart { format, rows, stride, memory })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Fills some rows, from a multiple of 16 on. `read` is given stretches of them, on all threads, and reads them as a file has them.
    pub fn fill<E: Send>(
        &mut self,
        threads: &dyn Threads,
        rows: Range<usize>,
        row_bytes: usize,
        read: impl Fn(Range<usize>, &mut [u8]) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let stretch_rows = (STRETCH_BYTES / row_bytes.max(1)).max(1).next_multiple_of(LANES);
        let lanes = if self.format.panel.is_some() { LANES } else { 1 };
        let memory = &mut self.memory[rows.start / lanes * self.stride..];
        let stretches = memory.chunks_mut(stretch_rows / lanes * self.stride).take(rows.len().div_ceil(stretch_rows));
        let failure = Mutex::new(None);
        let lock = || failure.lock().unwrap_or_else(PoisonError::into_inner);
        each_item(threads, stretches, |index, place| {
            if lock().is_some() {
                return;
            }
            let first = rows.start + index * stretch_rows;
            let stretch = first..rows.end.min(first + stretch_rows);
            let bytes = stretch.len() * row_bytes;
            let outcome = match self.format.panel {
                None => read(stretch, &mut place[..bytes]),
                Some(panel) => FILE.with_borrow_mut(|file| {
                    file.resize(bytes.max(file.len()), 0);
                    let file = &mut file[..bytes];
                    read(stretch, file)?;
                    for (rows, place) in file.chunks(LANES * row_bytes).zip(place.chunks_exact_mut(self.stride)) {
                        panel.pack(rows, row_bytes, place);
                    }
                    Ok(())
                }),
            };
            if let Err(error) = outcome {
                *lock() = Some(error);
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// The bytes of a panel, or of a row.
    fn stretch(&self, index: usize) -> &[u8] {
        &self.memory[index * self.stride..][..self.stride]
    }

    /// Decodes a row.
    fn decode_row(&self, row: usize, elements: &mut [f32]) {
        match self.format.panel {
            None => self.format.decode_row(self.stretch(row), elements),
            Some(panel) => {
                let row_bytes = elements.len() / self.format.block_elements * self.format.block_bytes;
                let mut file = vec![0; row_bytes];
                panel.unpack_row(self.stretch(row / LANES), row % LANES, &mut file);
                self.format.decode_row(&file, elements);
            }
        }
    }

    /// Whether its products take activations in 8 bits.
    fn takes_integers(&self) -> bool {
        self.format.panel.is_some_and(|panel| panel.integer.is_some())
    }

    /// The products of 16 rows with some rows of input.
    fn multiply(&self, isa: Isa, panel: usize, input: Input, rows: &[u32], sums: &mut [[f32; LANES]]) {
        let (quantised, input) = match input {
            Input::Quantised(quantised, input) => (Some(quantised), input),
            Input::Floats(input) => (None, input),
        };
        let Some(format) = self.format.panel else {
            let last = self.rows.min((panel + 1) * LANES);
            let rows_of_weight = &self.memory[panel * LANES * self.stride..last * self.stride];
            isa.run(RowsProduct {
                format: self.format,
                weights: rows_of_weight,
                row_bytes: self.stride,
                input,
                rows,
                sums,
            });
            return;
        };
        match (format.integer, quantised) {
            (Some(integer), Some(input)) => {
                integer(isa, PanelProduct { panel: self.stretch(panel), input, rows, sums })
            }
            _ => (format.float)(isa, PanelProduct { panel: self.stretch(panel), input, rows, sums }),
        }
    }
}

impl HostMatrix {
    /// Rows of all parts.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Whether products of any part take activations in 8 bits.
    pub fn takes_integers(&self) -> bool {
        self.parts.iter().any(MatrixPart::takes_integers)
    }

    /// Whether products of all parts take activations in 8 bits.
    pub fn takes_only_integers(&self) -> bool {
        self.parts.iter().all(MatrixPart::takes_integers)
    }

    /// Decodes a row.
    pub fn decode_row(&self, row: usize, elements: &mut [f32]) {
        let mut row = row;
        for part in &self.parts {
            if row < part.rows {
                return part.decode_row(row, elements);
            }
            row -= part.rows;
        }
        panic!("row {row} lies past the end of a weight");
    }

    /// The products of some rows of the matrix with some rows of input. `put` is given the first of a run of rows, the index in `rows`, and
    /// the products.
    pub fn multiply(
        &self,
        isa: Isa,
        range: Range<usize>,
        input: Input,
        rows: &[u32],
        mut put: impl FnMut(usize, usize, &[f32]),
    ) {
        let mut sums = [[0f32; LANES]; MOST_ROWS];
        let elements = match input {
            Input::Quantised(..) if self.takes_only_integers() => INTEGERS_TOGETHER,
            _ => FLOATS_TOGETHER,
        };
        let at_once = (elements / self.columns.max(1)).next_multiple_of(ROWS_TOGETHER).clamp(ROWS_TOGETHER, MOST_ROWS);
        for (chunk, rows) in rows.chunks(at_once).enumerate() {
            let mut first_row = 0;
            for part in &self.parts {
                let begin = range.start.max(first_row) - first_row;
                let end = range.end.min(first_row + part.rows).max(first_row) - first_row;
                if begin < end {
                    for panel in begin / LANES..end.div_ceil(LANES) {
                        let sums = &mut sums[..rows.len()];
                        part.multiply(isa, panel, input, rows, sums);
                        let wanted = begin.max(panel * LANES)..end.min((panel + 1) * LANES);
                        let lanes = wanted.start - panel * LANES..wanted.end - panel * LANES;
                        for (index, sums) in sums.iter().enumerate() {
                            put(first_row + wanted.start, chunk * at_once + index, &sums[lanes.clone()]);
                        }
                    }
                }
                first_row += part.rows;
            }
        }
    }

    /// Cuts the rows into ranges of about equal bytes that begin at a panel.
    pub fn cut(&self, range: Range<usize>, parts: usize, part: usize) -> Range<usize> {
        let panels = range.len().div_ceil(LANES);
        let at = |part: usize| range.start + (panels * part / parts * LANES).min(range.len());
        at(part)..at(part + 1)
    }
}
