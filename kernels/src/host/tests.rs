//! Products of every format in every instruction set that this CPU has, against sums in float64 of the same numbers.

use std::ops::Range;

use super::activations::{BLOCK, QuantisedRows, SUPERBLOCK};
use super::matrix::{HostMatrix, Input, MatrixPart};
use super::*;
use crate::formats::{self, Format};
use crate::random::{Random, random_blocks};
use crate::reference::Matrix;

/// What a sum in single precision may be off by, as a share of the largest weight times the sum of the input's magnitudes: some units of
/// 2^-24, since elements are rounded once or twice and added in 16 sums or more.
const LIMIT: f64 = 1e-6;

/// The thread that asks, alone.
struct Alone;

impl Threads for Alone {
    fn count(&self) -> usize {
        1
    }

    fn each(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        (0..parts).for_each(part);
    }
}

/// A matrix of a format with random weights, and these decoded from the file's blocks.
fn matrix(format: Format, rows: usize, columns: usize) -> (HostMatrix, Vec<f32>) {
    let mut random = Random::new((rows * columns) as u64);
    let file = random_blocks(format, rows * columns, 1.0, &mut random);
    let row_bytes = file.len() / rows;
    let mut part = MatrixPart::new(format, rows, columns).expect("a little memory");
    for first in (0..rows).step_by(32) {
        let last = rows.min(first + 32);
        let read = |rows: Range<usize>, bytes: &mut [u8]| {
            bytes.copy_from_slice(&file[rows.start * row_bytes..rows.end * row_bytes]);
            Ok::<(), ()>(())
        };
        part.fill(&Alone, first..last, row_bytes, read).expect("it is read");
    }
    let mut decoded = vec![0.0; rows * columns];
    format.decode_row(&file, &mut decoded);
    (HostMatrix { columns, parts: vec![part] }, decoded)
}

/// A row of activations as its bytes and scales say.
fn dequantised(rows: &QuantisedRows, row: usize, width: usize) -> Vec<f32> {
    let bytes = (0..width.div_ceil(SUPERBLOCK)).flat_map(|index| {
        let superblock = rows.superblock(row, index);
        let bytes = superblock.quads.iter().flat_map(|quad| quad.to_le_bytes());
        bytes.enumerate().map(|(at, byte)| f32::from(byte as i8) * superblock.scales[at / BLOCK])
    });
    bytes.take(width).collect()
}

fn check(format: Format, rows: usize, columns: usize, input_rows: usize, magnitude: f32) {
    let (matrix, weights) = matrix(format, rows, columns);
    let mut random = Random::new(7);
    let numbers: Vec<f32> = (0..input_rows * columns).map(|_| random.signed() * magnitude).collect();
    let input = Matrix { data: &numbers, stride: columns, offset: 0, width: columns };
    let mut decoded = vec![0.0; columns];
    for row in 0..rows {
        matrix.decode_row(row, &mut decoded);
        assert_eq!(decoded, weights[row * columns..][..columns], "{format}: row {row} of {rows}x{columns}");
    }
    // Not all rows of either side, in another order.
    let list: Vec<u32> = (0..input_rows as u32).rev().filter(|row| input_rows < 3 || row % 3 != 1).collect();
    let wanted = rows / 5..rows;
    for isa in Isa::all() {
        let mut quantised = QuantisedRows::default();
        quantised.quantise(isa, &Alone, input_rows, columns, |row| input.row(row));
        for (given, rounds) in [(Input::Floats(input), false), (Input::Quantised(&quantised, input), true)] {
            let rounds = rounds && matrix.takes_integers();
            let mut found = vec![f32::NAN; list.len() * wanted.len()];
            matrix.multiply(isa, wanted.clone(), given, &list, |first, index, products| {
                found[index * wanted.len() + first - wanted.start..][..products.len()].copy_from_slice(products);
            });
            for (index, row) in list.iter().enumerate() {
                let row = *row as usize;
                let x = if rounds { dequantised(&quantised, row, columns) } else { input.row(row).to_vec() };
                let magnitude: f64 = x.iter().map(|x| f64::from(x.abs())).sum();
                for weight in wanted.clone() {
                    let w = &weights[weight * columns..][..columns];
                    let expected: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let largest = w.iter().fold(0f32, |largest, w| largest.max(w.abs()));
                    let found = found[index * wanted.len() + weight - wanted.start];
                    let error = (f64::from(found) - expected).abs() / (magnitude * f64::from(largest)).max(1e-30);
                    let what = if rounds { "integers" } else { "floats" };
                    let size = format!("{input_rows} times {rows}x{columns}");
                    assert!(error <= LIMIT, "{format}, {isa:?}, {what}: {error:.1e} with {size}");
                }
            }
        }
    }
}

#[test]
fn products_of_every_format() {
    for format in formats::ALL.iter().copied() {
        let columns = |blocks: usize| format.block_elements * blocks;
        for input_rows in [1, 2, 5, 9, 37] {
            check(format, 37, columns(3).max(96), input_rows, 1.0);
        }
        check(format, 1, columns(1), 1, 1e4);
        check(format, 16, columns(2), 8, 1e-6);
    }
    for columns in [1, 3, 20, 33] {
        check(formats::F16, 19, columns, 6, 1.0);
        check(formats::F32, 5, columns, 1, 1.0);
    }
}

#[test]
fn zeros_and_ends_of_what_bytes_hold() {
    let width = 256;
    let mut rows = QuantisedRows::default();
    let numbers: Vec<f32> = (0..width).map(|at| if at < 64 { 0.0 } else { [1.0, -1.0][at % 2] * 3.5 }).collect();
    for isa in Isa::all() {
        rows.quantise(isa, &Alone, 1, width, |_| &numbers);
        assert_eq!(dequantised(&rows, 0, width), numbers, "{isa:?}");
    }
}

#[test]
fn numbers_without_bytes() {
    // A block of 32 each: too small for a scale, infinite, no number; and the last is as ever.
    let mut numbers = vec![1.0; 128];
    numbers[..32].fill(1e-42);
    numbers[40] = f32::NEG_INFINITY;
    numbers[70] = f32::NAN;
    let mut rows = QuantisedRows::default();
    for isa in Isa::all() {
        rows.quantise(isa, &Alone, 1, numbers.len(), |_| &numbers);
        let found = dequantised(&rows, 0, numbers.len());
        assert!(found[..32].iter().all(|number| *number == 0.0), "{isa:?}: {found:?}");
        assert!(found[32..96].iter().all(|number| number.is_nan()), "{isa:?}: {found:?}");
        assert_eq!(found[96..], numbers[96..], "{isa:?}");
    }
}
