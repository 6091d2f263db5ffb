//! Rows of activations in 8 bits, for dot products of integers: blocks of 32 with a scale each, as ggml's `block_q8_0`, but the scale in
//! single precision.

use crate::host::{Threads, each_item};
use crate::simd::math::ROUNDING;
use crate::simd::{Isa, LANES, Lanes, WithLanes};

/// Rows that are worth several threads.
const MANY_ROWS: usize = 16;

/// Elements that share a scale.
pub const BLOCK: usize = 32;

/// Elements of a [`Superblock`]: the largest block of a panel.
pub const SUPERBLOCK: usize = 256;

/// Rows whose superblocks of the same columns lie one after the other, as products of many rows read them.
const GROUP_ROWS: usize = 16;

/// 256 elements of a row: whole lines of a cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
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
    /// Superblocks of a row.
    width: usize,
    /// Rows of a group, as a power of two.
    shift: u32,
    /// `[groups, width, rows of a group]`.
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
        let group_rows = rows.next_power_of_two().min(GROUP_ROWS);
        self.width = width.div_ceil(SUPERBLOCK);
        self.shift = group_rows.ilog2();
        let length = rows.next_multiple_of(group_rows) * self.width;
        self.superblocks.resize(self.superblocks.len().max(length), ZEROS);
        let groups = self.superblocks[..length].chunks_mut((self.width * group_rows).max(1)).enumerate();
        let quantise = |(group, superblocks): (usize, &mut [Superblock])| {
            for place in 0..group_rows.min(rows - group * group_rows) {
                isa.run(Quantise {
                    input: row(group * group_rows + place),
                    superblocks: &mut superblocks[place..],
                    stride: group_rows,
                });
            }
        };
        if rows < MANY_ROWS {
            groups.for_each(quantise);
        } else {
            each_item(threads, groups, |_, group| quantise(group));
        }
    }

    /// A superblock of a row.
    #[inline(always)]
    pub fn superblock(&self, row: usize, index: usize) -> &Superblock {
        let (group, place) = (row >> self.shift, row & ((1 << self.shift) - 1));
        &self.superblocks[((group * self.width + index) << self.shift) + place]
    }
}

/// Quantises one row.
struct Quantise<'a> {
    input: &'a [f32],
    /// Those of its group, from its first on.
    superblocks: &'a mut [Superblock],
    /// From one of its own to the next.
    stride: usize,
}

impl WithLanes for Quantise<'_> {
    type Output = ();

    // The compiler makes vectors of this; closures would be compiled for another instruction set.
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let superblocks = self.superblocks.iter_mut().step_by(self.stride);
        for (superblock, given) in superblocks.zip(self.input.chunks(SUPERBLOCK)) {
            for index in 0..SUPERBLOCK / BLOCK {
                let given = &given[given.len().min(index * BLOCK)..given.len().min((index + 1) * BLOCK)];
                let mut numbers = [0f32; BLOCK];
                numbers[..given.len()].copy_from_slice(given);
                // As integers magnitudes have the same order, and those of NaN come last, so that it is not lost.
                let mut largest = [0u32; LANES];
                for half in numbers.as_chunks::<LANES>().0 {
                    for lane in 0..LANES {
                        largest[lane] = largest[lane].max(half[lane].to_bits() & i32::MAX as u32);
                    }
                }
                let mut most = 0;
                for largest in largest {
                    most = most.max(largest);
                }
                let scale = f32::from_bits(most) / 127.0;
                let inverse = if (1.0 / scale).is_finite() { 1.0 / scale } else { 0.0 };
                let mut bytes = [0i8; BLOCK];
                for at in 0..BLOCK {
                    bytes[at] = (numbers[at] * inverse + ROUNDING).to_bits() as i8;
                }
                let mut sums = [0i32; 2];
                for (sum, half) in sums.iter_mut().zip(bytes.as_chunks::<16>().0) {
                    for byte in half {
                        *sum += i32::from(*byte);
                    }
                }
                let quads = &mut superblock.quads[index * BLOCK / 4..][..BLOCK / 4];
                for (quad, bytes) in quads.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *quad = i32::from_le_bytes([bytes[0] as u8, bytes[1] as u8, bytes[2] as u8, bytes[3] as u8]);
                }
                superblock.scales[index] = scale;
                superblock.half_sums[2 * index] = scale * sums[0] as f32;
                superblock.half_sums[2 * index + 1] = scale * sums[1] as f32;
                superblock.sums[index] = superblock.half_sums[2 * index] + superblock.half_sums[2 * index + 1];
            }
        }
    }
}
