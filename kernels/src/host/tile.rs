//! Products of a panel with many rows of activations: its columns are unpacked or decoded once, 256 at a time, and meet a few rows at a time, whose
//! sums stay in registers.

use std::marker::PhantomData;

use crate::formats::panel::{Codes, MOST_SPANS, Panel};
use crate::host::activations::{BLOCK, QuantisedRows, SUPERBLOCK};
use crate::host::product::{begin_block, zero};
use crate::reference::Matrix;
use crate::simd::{LANES, Lanes};

/// Repeats a block for each of some numbers.
macro_rules! unroll {
    ($name:ident in [$($number:literal),*] $block:block) => {
        $({
            const $name: usize = $number;
            $block
        })*
    };
}

/// 256 columns of a panel. Vectors lie in whole lines of a cache.
#[repr(align(64))]
struct Tile {
    /// The codes, a byte each. Where an instruction set wants nibbles, bytes are cut: first the high ones of all, then the low ones.
    codes: [[[u8; 4 * LANES]; SUPERBLOCK / 4]; 2],
    /// The scale of each span.
    scales: [[f32; LANES]; MOST_SPANS],
    /// What is subtracted in each span, times the sum of the activations.
    minima: [[f32; LANES]; MOST_SPANS],
    /// Spans that are there.
    spans: usize,
}

/// Multiplies a panel with rows of activations: `sums` has those of each.
#[inline(always)]
pub fn multiply<L: Lanes, P: Panel>(
    lanes: L,
    panel: &[u8],
    input: &QuantisedRows,
    rows: &[u32],
    sums: &mut [[f32; LANES]],
) {
    sums.fill([0.0; LANES]);
    let mut tile = Tile {
        codes: [[[0; 4 * LANES]; SUPERBLOCK / 4]; 2],
        scales: [[0.0; LANES]; MOST_SPANS],
        minima: [[0.0; LANES]; MOST_SPANS],
        spans: 0,
    };
    for (index, blocks) in panel.chunks(SUPERBLOCK / P::ELEMENTS * P::BYTES).enumerate() {
        unpack::<L, P>(lanes, blocks, &mut tile);
        let columns = Unpacked::<P> { tile: &tile, index, input, format: PhantomData };
        let (mut rows, mut sums) = (rows, &mut *sums);
        if L::REGISTERS >= 32 {
            (rows, sums) = add_rows::<L, _, 8>(lanes, &columns, rows, sums);
        }
        (rows, sums) = add_rows::<L, _, 4>(lanes, &columns, rows, sums);
        (rows, sums) = add_rows::<L, _, 2>(lanes, &columns, rows, sums);
        add_rows::<L, _, 1>(lanes, &columns, rows, sums);
    }
}

/// Some columns of a panel, with the rows of activations that meet them.
trait Columns {
    /// Adds the products with some rows to their sums.
    fn add<L: Lanes, const ROWS: usize>(&self, lanes: L, rows: [u32; ROWS], out: &mut [[f32; LANES]]);
}

/// Adds the products of rows, `ROWS` at a time as long as that many are left; returns the rest.
#[inline(always)]
fn add_rows<'r, 's, L: Lanes, C: Columns, const ROWS: usize>(
    lanes: L,
    columns: &C,
    mut rows: &'r [u32],
    mut sums: &'s mut [[f32; LANES]],
) -> (&'r [u32], &'s mut [[f32; LANES]]) {
    while let (Some((some, rest)), true) = (rows.split_first_chunk::<ROWS>(), sums.len() >= ROWS) {
        let (out, rest_of_sums) = sums.split_at_mut(ROWS);
        columns.add(lanes, *some, out);
        (rows, sums) = (rest, rest_of_sums);
    }
    (rows, sums)
}

/// Unpacked columns, for activations in 8 bits.
struct Unpacked<'a, P> {
    tile: &'a Tile,
    /// Which superblock of a row they meet.
    index: usize,
    input: &'a QuantisedRows,
    format: PhantomData<P>,
}

/// Decoded columns, 16 numbers for each.
struct Decoded<'a> {
    numbers: &'a [[f32; LANES]],
    /// The first of them in a row.
    first: usize,
    input: Matrix<'a>,
}

/// How many planes of codes there are.
const fn planes<L: Lanes, P: Panel>() -> usize {
    if L::CUTS_BYTES && matches!(P::CODES, Codes::Offset) { 2 } else { 1 }
}

/// Unpacks the blocks of some columns.
#[inline(always)]
fn unpack<L: Lanes, P: Panel>(lanes: L, blocks: &[u8], tile: &mut Tile) {
    let spans = P::ELEMENTS / P::SPAN;
    for (place, block) in blocks.chunks_exact(P::BYTES).enumerate() {
        let first = place * spans;
        begin_block::<L, P>(lanes, block, &mut tile.scales[first..], &mut tile.minima[first..]);
        for group in 0..P::ELEMENTS / 4 / (P::WAYS * P::RUN) {
            for quad in 0..P::RUN {
                for way in 0..P::WAYS {
                    let codes = P::codes(lanes, block, group, way, quad);
                    let at = place * P::ELEMENTS / 4 + P::run(group, way) + quad;
                    if planes::<L, P>() == 2 {
                        lanes.store_bytes(lanes.bits(codes, 4, 15), &mut tile.codes[0][at]);
                        lanes.store_bytes(lanes.bits(codes, 0, 15), &mut tile.codes[1][at]);
                    } else {
                        lanes.store_bytes(codes, &mut tile.codes[0][at]);
                    }
                }
            }
        }
    }
    tile.spans = blocks.len() / P::BYTES * spans;
    if !P::HAS_MINIMA {
        for span in 0..tile.spans {
            let minimum = lanes.mul(lanes.load(&tile.scales[span]), lanes.splat(zero::<L, P>(L::CUTS_BYTES)));
            lanes.store(minimum, &mut tile.minima[span]);
        }
    }
}

impl<P: Panel> Columns for Unpacked<'_, P> {
    #[inline(always)]
    fn add<L: Lanes, const ROWS: usize>(&self, lanes: L, rows: [u32; ROWS], out: &mut [[f32; LANES]]) {
        let tile = self.tile;
        // Not `map`, whose closure would be compiled for another instruction set.
        let mut superblocks = [self.input.superblock(rows[0] as usize, self.index); ROWS];
        for row in 1..ROWS {
            superblocks[row] = self.input.superblock(rows[row] as usize, self.index);
        }
        let mut sums = [lanes.splat(0.0); ROWS];
        for row in 0..ROWS {
            sums[row] = lanes.load(&out[row]);
        }
        let per_span = P::SPAN / 4;
        for span in 0..tile.spans {
            let mut totals = [lanes.splat_integer(0); ROWS];
            let mut quads: [&[i32]; ROWS] = [&[]; ROWS];
            for row in 0..ROWS {
                quads[row] = &superblocks[row].quads[span * per_span..][..per_span];
            }
            for plane in 0..planes::<L, P>() {
                let codes = &tile.codes[plane][span * per_span..][..per_span];
                if plane > 0 {
                    for total in &mut totals {
                        *total = lanes.times_16(*total);
                    }
                }
                if matches!(P::CODES, Codes::Offset) && !L::CUTS_BYTES {
                    for quad in 0..per_span {
                        let codes = lanes.bytes(&codes[quad]);
                        for row in 0..ROWS {
                            totals[row] = lanes.dot_offset(totals[row], codes, quads[row][quad]);
                        }
                    }
                    continue;
                }
                let chain = if planes::<L, P>() == 2 { Codes::Bits4.chain() } else { P::CODES.chain() }.min(per_span);
                for link in 0..per_span / chain {
                    let mut dots = [lanes.dots(); ROWS];
                    // Written out: the compiler would keep a loop of up to 8 turns.
                    unroll!(QUAD in [0, 1, 2, 3, 4, 5, 6, 7] {
                        if QUAD < chain {
                            let codes = lanes.bytes(&codes[link * chain + QUAD]);
                            for row in 0..ROWS {
                                dots[row] = lanes.dot(dots[row], codes, quads[row][link * chain + QUAD]);
                            }
                        }
                    });
                    for row in 0..ROWS {
                        totals[row] = lanes.finish(totals[row], dots[row]);
                    }
                }
            }
            let (scale, minimum) = (lanes.load(&tile.scales[span]), lanes.load(&tile.minima[span]));
            for row in 0..ROWS {
                let of_row = lanes.mul(scale, lanes.splat(superblocks[row].scales[span * P::SPAN / BLOCK]));
                sums[row] = lanes.fma(lanes.to_floats(totals[row]), of_row, sums[row]);
                let sum = if P::SPAN == BLOCK { superblocks[row].sums[span] } else { superblocks[row].half_sums[span] };
                sums[row] = lanes.fnma(minimum, lanes.splat(sum), sums[row]);
            }
        }
        for row in 0..ROWS {
            lanes.store(sums[row], &mut out[row]);
        }
    }
}

impl Columns for Decoded<'_> {
    #[inline(always)]
    fn add<L: Lanes, const ROWS: usize>(&self, lanes: L, rows: [u32; ROWS], out: &mut [[f32; LANES]]) {
        let mut inputs: [&[f32]; ROWS] = [&[]; ROWS];
        let mut sums = [lanes.splat(0.0); ROWS];
        for row in 0..ROWS {
            inputs[row] = &self.input.row(rows[row] as usize)[self.first..][..self.numbers.len()];
            sums[row] = lanes.load(&out[row]);
        }
        for (column, numbers) in self.numbers.iter().enumerate() {
            let weights = lanes.load(numbers);
            for row in 0..ROWS {
                sums[row] = lanes.fma(weights, lanes.splat(inputs[row][column]), sums[row]);
            }
        }
        for row in 0..ROWS {
            lanes.store(sums[row], &mut out[row]);
        }
    }
}

/// Adds the products of decoded columns, 16 numbers for each, with rows of activations from a column on.
#[inline(always)]
pub fn add_floats<L: Lanes>(
    lanes: L,
    numbers: &[[f32; LANES]],
    input: Matrix,
    first: usize,
    rows: &[u32],
    sums: &mut [[f32; LANES]],
) {
    let columns = Decoded { numbers, first, input };
    let (mut rows, mut sums) = (rows, sums);
    if L::REGISTERS >= 32 {
        (rows, sums) = add_rows::<L, _, 12>(lanes, &columns, rows, sums);
    }
    (rows, sums) = add_rows::<L, _, 6>(lanes, &columns, rows, sums);
    (rows, sums) = add_rows::<L, _, 4>(lanes, &columns, rows, sums);
    (rows, sums) = add_rows::<L, _, 2>(lanes, &columns, rows, sums);
    add_rows::<L, _, 1>(lanes, &columns, rows, sums);
}
