//! Products of a panel, 16 rows of a weight, with rows of activations.

use std::marker::PhantomData;

use crate::formats::Format;
use crate::formats::panel::{Codes, MOST_SPANS, MOST_WAYS, Panel};
use crate::host::activations::{BLOCK, QuantisedRows, SUPERBLOCK, Superblock};
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
            ([row], [sums]) => one_row::<L, P>(lanes, panel, input.row(*row as usize), sums),
            _ => tile::multiply::<L, P>(lanes, panel, input, rows, sums),
        }
    }
}

/// A panel times one row of activations in 8 bits: codes are multiplied as they are unpacked.
#[inline(always)]
fn one_row<L: Lanes, P: Panel>(lanes: L, panel: &[u8], row: &[Superblock], out: &mut [f32; LANES]) {
    let (mut scales, mut minima) = ([[0.0; LANES]; MOST_SPANS], [[0.0; LANES]; MOST_SPANS]);
    let mut sums = lanes.splat(0.0);
    for (index, block) in panel.chunks_exact(P::BYTES).enumerate() {
        begin_block::<L, P>(lanes, block, &mut scales, &mut minima);
        let row = &row[index * P::ELEMENTS / SUPERBLOCK];
        let first = index * P::ELEMENTS % SUPERBLOCK / 4;
        for group in 0..P::ELEMENTS / 4 / (P::WAYS * P::RUN) {
            let totals = dots_of_group::<L, P>(lanes, block, group, &row.quads[first..first + P::ELEMENTS / 4]);
            for (span, total) in totals[..spans_of_group::<P>()].iter().enumerate() {
                let of_block = P::run(group, span * runs_of_span::<P>()) * 4 / P::SPAN;
                let at = first * 4 / P::SPAN + of_block;
                let scale = lanes.load(&scales[of_block]);
                let of_row = lanes.mul(scale, lanes.splat(row.scales[at * P::SPAN / BLOCK]));
                sums = lanes.fma(lanes.to_floats(*total), of_row, sums);
                let minimum = match P::HAS_MINIMA {
                    true => lanes.load(&minima[of_block]),
                    false => lanes.mul(scale, lanes.splat(zero::<L, P>(false))),
                };
                if P::HAS_MINIMA || zero::<L, P>(false) != 0.0 {
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
        let mut tile = [[0f32; LANES]; 256];
        sums.fill([0.0; LANES]);
        let (mut scales, mut minima) = ([[0.0; LANES]; MOST_SPANS], [[0.0; LANES]; MOST_SPANS]);
        for (index, block) in panel.chunks_exact(P::BYTES).enumerate() {
            begin_block::<L, P>(lanes, block, &mut scales, &mut minima);
            let first = index * P::ELEMENTS;
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
            let width = P::ELEMENTS.min(input.width - first);
            add_tile(lanes, &tile[..width], input, first, rows, sums);
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
        let (mut rows, mut sums) = (rows, sums);
        while let Some((four, rest)) = rows.split_first_chunk::<4>() {
            let (out, rest_of_sums) = sums.split_at_mut(4);
            float_rows::<L, P, 4, 1>(lanes, panel, four.map(|row| input.row(row as usize)), out);
            (rows, sums) = (rest, rest_of_sums);
        }
        if let Some((two, rest)) = rows.split_first_chunk::<2>() {
            let (out, rest_of_sums) = sums.split_at_mut(2);
            float_rows::<L, P, 2, 2>(lanes, panel, two.map(|row| input.row(row as usize)), out);
            (rows, sums) = (rest, rest_of_sums);
        }
        if let [row] = rows {
            float_rows::<L, P, 1, 4>(lanes, panel, [input.row(*row as usize)], sums);
        }
    }
}

/// A panel of floats times some rows, in `CHAINS` sums each, so that an addition need not wait for the one before.
#[inline(always)]
fn float_rows<L: Lanes, P: FloatPanel, const ROWS: usize, const CHAINS: usize>(
    lanes: L,
    panel: &[u8],
    rows: [&[f32]; ROWS],
    out: &mut [[f32; LANES]],
) {
    let mut sums = [[lanes.splat(0.0); ROWS]; CHAINS];
    let bytes = P::BYTES * LANES;
    let width = rows[0].len();
    for (index, columns) in panel[..width * bytes].chunks(CHAINS * bytes).enumerate() {
        lanes.prefetch(columns, AHEAD);
        for (chain, column) in columns.chunks_exact(bytes).enumerate() {
            let numbers = P::load(lanes, column);
            for row in 0..ROWS {
                sums[chain][row] = lanes.fma(numbers, lanes.splat(rows[row][index * CHAINS + chain]), sums[chain][row]);
            }
        }
    }
    for row in 0..ROWS {
        let mut sum = sums[0][row];
        for chain in &sums[1..] {
            sum = lanes.fma(chain[row], lanes.splat(1.0), sum);
        }
        lanes.store(sum, &mut out[row]);
    }
}

/// Adds the products of a tile, 16 decoded numbers for each of some columns, with rows of activations.
#[inline(always)]
pub fn add_tile<L: Lanes>(
    lanes: L,
    tile: &[[f32; LANES]],
    input: Matrix,
    first: usize,
    rows: &[u32],
    sums: &mut [[f32; LANES]],
) {
    let (mut rows, mut sums) = (rows, sums);
    while let Some((four, rest)) = rows.split_first_chunk::<4>() {
        let (out, rest_of_sums) = sums.split_at_mut(4);
        tile_rows::<L, 4, 1>(lanes, tile, four.map(|row| &input.row(row as usize)[first..]), out);
        (rows, sums) = (rest, rest_of_sums);
    }
    for (row, out) in rows.iter().zip(sums.chunks_exact_mut(1)) {
        tile_rows::<L, 1, 4>(lanes, tile, [&input.row(*row as usize)[first..]], out);
    }
}

#[inline(always)]
fn tile_rows<L: Lanes, const ROWS: usize, const CHAINS: usize>(
    lanes: L,
    tile: &[[f32; LANES]],
    rows: [&[f32]; ROWS],
    out: &mut [[f32; LANES]],
) {
    let mut sums = [[lanes.splat(0.0); ROWS]; CHAINS];
    for (index, columns) in tile.chunks(CHAINS).enumerate() {
        for (chain, column) in columns.iter().enumerate() {
            let numbers = lanes.load(column);
            for row in 0..ROWS {
                sums[chain][row] = lanes.fma(numbers, lanes.splat(rows[row][index * CHAINS + chain]), sums[chain][row]);
            }
        }
    }
    for row in 0..ROWS {
        let mut sum = lanes.load(&out[row]);
        for chain in &sums {
            sum = lanes.fma(chain[row], lanes.splat(1.0), sum);
        }
        lanes.store(sum, &mut out[row]);
    }
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

/// Columns that are decoded at once: a multiple of every format's block.
const TILE_COLUMNS: usize = 256;

impl WithLanes for RowsProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let RowsProduct { format, weights, row_bytes, input, rows, sums } = self;
        let mut tile = [[0f32; LANES]; TILE_COLUMNS];
        let mut elements = [0f32; TILE_COLUMNS];
        sums.fill([0.0; LANES]);
        for first in (0..input.width).step_by(TILE_COLUMNS) {
            let width = TILE_COLUMNS.min(input.width - first);
            let bytes = |elements: usize| elements / format.block_elements * format.block_bytes;
            for (lane, row) in weights.chunks_exact(row_bytes).enumerate() {
                format.decode_row(&row[bytes(first)..bytes(first + width)], &mut elements[..width]);
                for (column, element) in tile.iter_mut().zip(&elements[..width]) {
                    column[lane] = *element;
                }
            }
            add_tile(lanes, &tile[..width], input, first, rows, sums);
        }
    }
}
