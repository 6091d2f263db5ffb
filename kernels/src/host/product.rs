//! Products of a panel, 16 rows of a weight, with rows of activations.

use std::marker::PhantomData;

use crate::formats::Format;
use crate::formats::panel::{Codes, MOST_SPANS, MOST_WAYS, Panel};
use crate::host::activations::{BLOCK, QuantisedRows, SUPERBLOCK};
use crate::host::tile;
use crate::reference::Matrix;
use crate::simd::{LANES, Lanes, WithLanes};

/// How far ahead a panel's bytes are fetched.
const AHEAD: usize = 4096;

/// A panel times rows of activations.
#[derive(Debug)]
pub struct PanelProduct<'a, Input> {
    /// The panel: its blocks along the columns.
    pub panel: &'a [u8],
    /// The activations.
    pub input: Input,
    /// The rows of them that are multiplied.
    pub rows: &'a [u32],
    /// For each of these the 16 sums.
    pub sums: &'a mut [[f32; LANES]],
}

/// A panel times activations in 8 bits.
pub type IntegerProduct<'a> = PanelProduct<'a, &'a QuantisedRows>;

/// A panel times activations in single precision.
pub type FloatProduct<'a> = PanelProduct<'a, Matrix<'a>>;

/// [`IntegerProduct`] of a format.
pub struct Integer<'a, P>(pub IntegerProduct<'a>, pub PhantomData<P>);

impl<P: Panel> WithLanes for Integer<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let PanelProduct { panel, input, rows, sums } = self.0;
        match (rows, &mut *sums) {
            ([row], [sums]) => one_row::<L, P>(lanes, panel, input, *row as usize, sums),
            _ => tile::multiply::<L, P>(lanes, panel, input, rows, sums),
        }
    }
}

/// A panel times one row of activations in 8 bits: codes are multiplied as they are unpacked.
#[inline(always)]
fn one_row<L: Lanes, P: Panel>(lanes: L, panel: &[u8], input: &QuantisedRows, row: usize, out: &mut [f32; LANES]) {
    let (mut scales, mut minima) = ([[0.0; LANES]; MOST_SPANS], [[0.0; LANES]; MOST_SPANS]);
    let mut sums = lanes.splat(0.0);
    for (index, block) in panel.chunks_exact(P::BYTES).enumerate() {
        P::scales(lanes, block, &mut scales, &mut minima);
        let row = input.superblock(row, index * P::ELEMENTS / SUPERBLOCK);
        let first = index * P::ELEMENTS % SUPERBLOCK / 4;
        let groups = P::ELEMENTS / 4 / (P::WAYS * P::RUN);
        for group in 0..groups {
            // Spread over the block: a core waits for some 20 lines at a time.
            for line in group * (P::BYTES / 64) / groups..(group + 1) * (P::BYTES / 64) / groups {
                lanes.prefetch(block, AHEAD + 64 * line);
            }
            let totals = dots_of_group::<L, P>(lanes, block, group, &row.quads[first..first + P::ELEMENTS / 4]);
            for (span, total) in totals[..spans_of_group::<P>()].iter().enumerate() {
                let of_block = P::run(group, span * runs_of_span::<P>()) * 4 / P::SPAN;
                let at = first * 4 / P::SPAN + of_block;
                let scale = lanes.load(&scales[of_block]);
                let of_row = lanes.mul(scale, lanes.splat(row.scales[at * P::SPAN / BLOCK]));
                sums = lanes.fma(lanes.to_floats(*total), of_row, sums);
                if P::HAS_MINIMA || zero::<L, P>(false) != 0.0 {
                    let minimum = match P::HAS_MINIMA {
                        true => lanes.load(&minima[of_block]),
                        false => lanes.mul(scale, lanes.splat(zero::<L, P>(false))),
                    };
                    let sum = if P::SPAN == BLOCK { row.sums[at] } else { row.half_sums[at] };
                    sums = lanes.fnma(minimum, lanes.splat(sum), sums);
                }
            }
        }
    }
    lanes.store(sums, out);
}

/// The code that stands for 0, as products count it; `cut` where bytes are cut in nibbles.
pub(super) const fn zero<L: Lanes, P: Panel>(cut: bool) -> f32 {
    let offset = matches!(P::CODES, Codes::Offset) && !cut;
    (if offset { P::ZERO - 128 + L::OFFSET } else { P::ZERO }) as f32
}

/// Runs that share a scale.
const fn runs_of_span<P: Panel>() -> usize {
    P::SPAN / 4 / P::RUN
}

/// Spans of a group.
const fn spans_of_group<P: Panel>() -> usize {
    P::WAYS / runs_of_span::<P>()
}

/// The dot products of each span of a group with the quads of a row that a block is multiplied with.
#[inline(always)]
fn dots_of_group<L: Lanes, P: Panel>(lanes: L, block: &[u8], group: usize, quads: &[i32]) -> [L::Integers; MOST_WAYS] {
    let mut totals = [lanes.splat_integer(0); MOST_WAYS];
    if matches!(P::CODES, Codes::Offset) {
        for quad in 0..P::RUN {
            for way in 0..P::WAYS {
                let codes = P::codes(lanes, block, group, way, quad);
                let total = &mut totals[way / runs_of_span::<P>()];
                *total = lanes.dot_offset(*total, codes, quads[P::run(group, way) + quad]);
            }
        }
        return totals;
    }
    let chain = if P::CODES.chain() < P::RUN { P::CODES.chain() } else { P::RUN };
    for link in 0..P::RUN / chain {
        let mut dots = [lanes.dots(); MOST_WAYS];
        for quad in link * chain..(link + 1) * chain {
            for way in 0..P::WAYS {
                let codes = P::codes(lanes, block, group, way, quad);
                dots[way] = lanes.dot(dots[way], codes, quads[P::run(group, way) + quad]);
            }
        }
        for way in 0..P::WAYS {
            let total = &mut totals[way / runs_of_span::<P>()];
            *total = lanes.finish(*total, dots[way]);
        }
    }
    totals
}

/// Fetches what comes after a block, and finds its scales.
#[inline(always)]
pub(super) fn begin_block<L: Lanes, P: Panel>(
    lanes: L,
    block: &[u8],
    scales: &mut [[f32; LANES]],
    minima: &mut [[f32; LANES]],
) {
    for ahead in 0..P::BYTES / 64 {
        lanes.prefetch(block, AHEAD + 64 * ahead);
    }
    P::scales(lanes, block, scales, minima);
}

/// [`FloatProduct`] of a format of codes: each block is decoded once, for all rows.
pub struct Decoded<'a, P>(pub FloatProduct<'a>, pub PhantomData<P>);

impl<P: Panel> WithLanes for Decoded<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let PanelProduct { panel, input, rows, sums } = self.0;
        let mut tile = [[0f32; LANES]; SUPERBLOCK];
        sums.fill([0.0; LANES]);
        for (index, blocks) in panel.chunks(SUPERBLOCK / P::ELEMENTS * P::BYTES).enumerate() {
            for (block, tile) in blocks.chunks_exact(P::BYTES).zip(tile.chunks_exact_mut(P::ELEMENTS)) {
                decode::<L, P>(lanes, block, tile);
            }
            let first = index * SUPERBLOCK;
            tile::add_floats(lanes, &tile[..SUPERBLOCK.min(input.width - first)], input, first, rows, sums);
        }
    }
}

/// Decodes a block: 16 numbers for each of its columns.
#[inline(always)]
fn decode<L: Lanes, P: Panel>(lanes: L, block: &[u8], tile: &mut [[f32; LANES]]) {
    let (mut scales, mut minima) = ([[0.0; LANES]; MOST_SPANS], [[0.0; LANES]; MOST_SPANS]);
    begin_block::<L, P>(lanes, block, &mut scales, &mut minima);
    for group in 0..P::ELEMENTS / 4 / (P::WAYS * P::RUN) {
        for way in 0..P::WAYS {
            let run = P::run(group, way);
            let span = run * 4 / P::SPAN;
            let (scale, minimum) = (lanes.load(&scales[span]), lanes.load(&minima[span]));
            for quad in 0..P::RUN {
                let words = lanes.words(P::codes(lanes, block, group, way, quad));
                for byte in 0..4 {
                    let code = lanes.to_floats(lanes.field(words, 8 * byte as u32, 255));
                    // (code - zero) * scale - minimum, each step rounded once.
                    let code = lanes.fma(code, lanes.splat(1.0), lanes.splat(-P::ZERO as f32));
                    let element = match P::HAS_MINIMA {
                        true => lanes.fma(code, scale, lanes.mul(minimum, lanes.splat(-1.0))),
                        false => lanes.mul(code, scale),
                    };
                    lanes.store(element, &mut tile[4 * (run + quad) + byte]);
                }
            }
        }
    }
}

/// A panel of floats: 16 numbers for each column.
pub trait FloatPanel: 'static {
    /// Bytes of a number.
    const BYTES: usize;

    /// The 16 numbers of a column.
    fn load<L: Lanes>(lanes: L, column: &[u8]) -> L::Floats;
}

/// [`FloatProduct`] of floats.
pub struct Floats<'a, P>(pub FloatProduct<'a>, pub PhantomData<P>);

impl<P: FloatPanel> WithLanes for Floats<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let PanelProduct { panel, input, rows, sums } = self.0;
        if let ([row], [sums]) = (rows, &mut *sums) {
            return one_float_row::<L, P>(lanes, panel, input.row(*row as usize), sums);
        }
        let bytes = P::BYTES * LANES;
        let mut tile = [[0f32; LANES]; SUPERBLOCK];
        sums.fill([0.0; LANES]);
        for (index, columns) in panel[..input.width * bytes].chunks(SUPERBLOCK * bytes).enumerate() {
            for (column, numbers) in columns.chunks_exact(bytes).zip(&mut tile) {
                lanes.prefetch(column, AHEAD);
                lanes.store(P::load(lanes, column), numbers);
            }
            tile::add_floats(lanes, &tile[..columns.len() / bytes], input, index * SUPERBLOCK, rows, sums);
        }
    }
}

/// Sums of a row that are taken at the same time, so that an addition need not wait for the one before.
const CHAINS: usize = 4;

/// A panel of floats times one row.
#[inline(always)]
fn one_float_row<L: Lanes, P: FloatPanel>(lanes: L, panel: &[u8], row: &[f32], out: &mut [f32; LANES]) {
    let mut sums = [lanes.splat(0.0); CHAINS];
    let bytes = P::BYTES * LANES;
    for (columns, numbers) in panel[..row.len() * bytes].chunks(CHAINS * bytes).zip(row.chunks(CHAINS)) {
        for line in 0..CHAINS * bytes / 64 {
            lanes.prefetch(columns, AHEAD + 64 * line);
        }
        for (chain, (column, number)) in columns.chunks_exact(bytes).zip(numbers).enumerate() {
            sums[chain] = lanes.fma(P::load(lanes, column), lanes.splat(*number), sums[chain]);
        }
    }
    let mut sum = sums[0];
    for chain in &sums[1..] {
        sum = lanes.fma(*chain, lanes.splat(1.0), sum);
    }
    lanes.store(sum, out);
}

/// 16 rows of a weight, or fewer, as a file has them, times activations in single precision: decoded some columns at a time, for all rows.
#[derive(Debug)]
pub struct RowsProduct<'a> {
    /// The format.
    pub format: Format,
    /// The rows.
    pub weights: &'a [u8],
    /// Bytes of a row.
    pub row_bytes: usize,
    /// The activations.
    pub input: Matrix<'a>,
    /// The rows of them that are multiplied.
    pub rows: &'a [u32],
    /// For each of these the sums; those of rows that are not there are 0.
    pub sums: &'a mut [[f32; LANES]],
}

impl WithLanes for RowsProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let RowsProduct { format, weights, row_bytes, input, rows, sums } = self;
        let mut tile = [[0f32; LANES]; SUPERBLOCK];
        let mut elements = [0f32; SUPERBLOCK];
        sums.fill([0.0; LANES]);
        for first in (0..input.width).step_by(SUPERBLOCK) {
            let width = SUPERBLOCK.min(input.width - first);
            let bytes = |elements: usize| elements / format.block_elements * format.block_bytes;
            for (lane, row) in weights.chunks_exact(row_bytes).enumerate() {
                format.decode_row(&row[bytes(first)..bytes(first + width)], &mut elements[..width]);
                for (column, element) in tile.iter_mut().zip(&elements[..width]) {
                    column[lane] = *element;
                }
            }
            tile::add_floats(lanes, &tile[..width], input, first, rows, sums);
        }
    }
}
