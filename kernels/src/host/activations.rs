//! Rows of activations in 8 bits, for dot products of integers: blocks of 32 with a scale each, as ggml's `block_q8_0`, but the scale in
//! single precision.

use crate::host::{Threads, each_item};
use crate::simd::{Isa, LANES, Lanes, WithLanes};

/// Rows that are worth several threads.
const MANY_ROWS: usize = 16;

/// Elements that share a scale.
pub const BLOCK: usize = 32;

/// Elements of a [`Superblock`]: the largest block of a panel.
pub const SUPERBLOCK: usize = 256;

/// 256 elements of a row.
#[derive(Debug, Clone, Copy)]
pub struct Superblock {
    /// Four signed bytes in each, the first in the low bits.
    pub quads: [i32; SUPERBLOCK / 4],
    /// Of each block.
    pub scales: [f32; SUPERBLOCK / BLOCK],
    /// The sum of each block's elements, as they are rounded.
    pub sums: [f32; SUPERBLOCK / BLOCK],
    /// The same of each half of a block.
    pub half_sums: [f32; 2 * SUPERBLOCK / BLOCK],
}

const ZEROS: Superblock = Superblock {
    quads: [0; SUPERBLOCK / 4],
    scales: [0.0; SUPERBLOCK / BLOCK],
    sums: [0.0; SUPERBLOCK / BLOCK],
    half_sums: [0.0; 2 * SUPERBLOCK / BLOCK],
};

/// Rows of activations in 8 bits, padded with zeros.
#[derive(Debug, Default)]
pub struct QuantisedRows {
    /// Superblocks from a row to the next.
    stride: usize,
    superblocks: Vec<Superblock>,
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
        // An odd number: rows a power of two apart would all lie in the same few places of the cache.
        self.stride = width.div_ceil(SUPERBLOCK) | 1;
        self.superblocks.resize(self.superblocks.len().max(rows * self.stride), ZEROS);
        let quantise = |first: usize, memory: &mut [Superblock]| {
            for (index, superblocks) in memory.chunks_exact_mut(self.stride).enumerate() {
                isa.run(Quantise { input: row(first + index), superblocks });
            }
        };
        let memory = &mut self.superblocks[..rows * self.stride];
        if rows < MANY_ROWS {
            quantise(0, memory);
        } else {
            let share = rows.div_ceil(threads.count());
            each_item(threads, memory.chunks_mut(share * self.stride), |part, memory| quantise(part * share, memory));
        }
    }

    /// A row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &[Superblock] {
        &self.superblocks[row * self.stride..][..self.stride]
    }
}

/// Quantises one row.
struct Quantise<'a> {
    input: &'a [f32],
    superblocks: &'a mut [Superblock],
}

impl WithLanes for Quantise<'_> {
    type Output = ();

    // The compiler makes vectors of this; closures would be compiled for another instruction set.
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        for (superblock, given) in self.superblocks.iter_mut().zip(self.input.chunks(SUPERBLOCK)) {
            let Superblock { quads, scales, sums, half_sums } = superblock;
            let quads = quads.as_chunks_mut::<{ BLOCK / 4 }>().0;
            let half_sums = half_sums.as_chunks_mut::<2>().0;
            for (index, (((quads, scale), sum), half_sums)) in
                quads.iter_mut().zip(scales).zip(sums).zip(half_sums).enumerate()
            {
                let given = &given[given.len().min(index * BLOCK)..given.len().min((index + 1) * BLOCK)];
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
                for (quad, bytes) in quads.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *quad = bytes[0] & 255 | (bytes[1] & 255) << 8 | (bytes[2] & 255) << 16 | bytes[3] << 24;
                }
                for (sum, bytes) in half_sums.iter_mut().zip(bytes.as_chunks::<16>().0) {
                    *sum = *scale * bytes.iter().sum::<i32>() as f32;
                }
                *sum = half_sums[0] + half_sums[1];
            }
        }
    }
}
