//! Rows of activations in 8 bits, for dot products of integers: blocks of 32 with a scale each, as ggml's `block_q8_0`, but the scale in
//! single precision.

use crate::host::{Threads, each_item};
use crate::simd::{Isa, LANES, Lanes, WithLanes};

/// Rows that are worth several threads.
const MANY_ROWS: usize = 16;

/// Elements that share a scale.
pub const BLOCK: usize = 32;

/// Rows of activations in 8 bits, `[rows, width]`, padded with zeros.
#[derive(Debug, Default)]
pub struct QuantisedRows {
    /// Elements from a row to the next.
    width: usize,
    /// Four signed bytes in each, the first in the low bits.
    quads: Vec<i32>,
    /// Of each block.
    scales: Vec<f32>,
    /// The sum of each 16 elements, as they are rounded.
    weighted_sums: Vec<f32>,
}

/// Rows are padded to a multiple of this many elements, the largest block of a panel, and by a cache line: rows a power of two apart would
/// all lie in the same few places of the cache.
const PADDED: usize = 256;
const APART: usize = 64;

/// One row of [`QuantisedRows`].
#[derive(Debug, Clone, Copy)]
pub struct QuantisedRow<'a> {
    /// Four signed bytes in each, the first in the low bits.
    pub quads: &'a [i32],
    /// Of each block.
    pub scales: &'a [f32],
    /// The sum of each 16 elements, as they are rounded.
    pub weighted_sums: &'a [f32],
}

impl QuantisedRows {
    /// Quantises rows of this many elements, on all threads where there are many.
    pub fn quantise<'a>(
        &mut self,
        isa: Isa,
        threads: &dyn Threads,
        rows: usize,
        width: usize,
        row: impl Fn(usize) -> &'a [f32] + Sync,
    ) {
        self.width = width.next_multiple_of(PADDED) + APART;
        let (quads, blocks, sums) = (self.width / 4, self.width / BLOCK, self.width / 16);
        self.quads.resize(self.quads.len().max(rows * quads), 0);
        self.scales.resize(self.scales.len().max(rows * blocks), 0.0);
        self.weighted_sums.resize(self.weighted_sums.len().max(rows * sums), 0.0);
        let parts = if rows < MANY_ROWS { 1 } else { threads.count() };
        let share = rows.div_ceil(parts).max(1);
        let memory = self.quads.chunks_mut(share * quads).zip(self.scales.chunks_mut(share * blocks));
        let memory = memory.zip(self.weighted_sums.chunks_mut(share * sums));
        let quantise = |part: usize, ((all_quads, all_scales), all_sums): ((&mut [i32], &mut [f32]), &mut [f32])| {
            let memory = all_quads.chunks_exact_mut(quads).zip(all_scales.chunks_exact_mut(blocks));
            let memory = memory.zip(all_sums.chunks_exact_mut(sums));
            for (index, ((quads, scales), sums)) in (part * share..rows.min((part + 1) * share)).zip(memory) {
                isa.run(Quantise { input: row(index), row: (quads, scales, sums) });
            }
        };
        if parts == 1 {
            memory.take(1).for_each(|memory| quantise(0, memory));
        } else {
            each_item(threads, memory.take(parts), quantise);
        }
    }

    /// A row.
    pub fn row(&self, row: usize) -> QuantisedRow<'_> {
        let (quads, blocks, sums) = (self.width / 4, self.width / BLOCK, self.width / 16);
        QuantisedRow {
            quads: &self.quads[row * quads..][..quads],
            scales: &self.scales[row * blocks..][..blocks],
            weighted_sums: &self.weighted_sums[row * sums..][..sums],
        }
    }
}

/// Quantises one row.
struct Quantise<'a> {
    input: &'a [f32],
    row: (&'a mut [i32], &'a mut [f32], &'a mut [f32]),
}

impl WithLanes for Quantise<'_> {
    type Output = ();

    // The compiler makes vectors of this.
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let (quads, scales, sums) = self.row;
        let blocks = quads.chunks_exact_mut(BLOCK / 4).zip(scales).zip(sums.chunks_exact_mut(BLOCK / 16));
        for (index, ((quads, scale), sums)) in blocks.enumerate() {
            let first = (index * BLOCK).min(self.input.len());
            let given = &self.input[first..self.input.len().min(first + BLOCK)];
            let mut numbers = [0f32; BLOCK];
            numbers[..given.len()].copy_from_slice(given);
            let mut largest = [0f32; LANES];
            for lane in 0..LANES {
                largest[lane] = numbers[lane].abs().max(numbers[lane + LANES].abs());
            }
            let largest = largest.iter().fold(0f32, |largest, number| largest.max(*number));
            *scale = largest / 127.0;
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let mut bytes = [0i32; BLOCK];
            for (byte, number) in bytes.iter_mut().zip(numbers) {
                *byte = (number * inverse).round_ties_even() as i32;
            }
            for (quad, bytes) in quads.iter_mut().zip(bytes.chunks_exact(4)) {
                *quad = bytes[0] & 255 | (bytes[1] & 255) << 8 | (bytes[2] & 255) << 16 | bytes[3] << 24;
            }
            for (sum, bytes) in sums.iter_mut().zip(bytes.chunks_exact(16)) {
                *sum = *scale * bytes.iter().sum::<i32>() as f32;
            }
        }
    }
}
