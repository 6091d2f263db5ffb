//! Products of a panel, 16 rows of a weight, with rows of activations.

use std::marker::PhantomData;

use crate::formats::Format;
use crate::formats::panel::{Codes, MOST_SPANS, Panel};
use crate::host::activations::{QuantisedRow, QuantisedRows};
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

/// Rows from which a block's codes are unpacked once for all of them.
const MANY_ROWS: usize = 8;

impl<P: Panel> WithLanes for Integer<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let PanelProduct { panel, input, rows, sums } = self.0;
        sums.fill([0.0; LANES]);
        let (mut scales, mut minima) = ([[0.0; LANES]; MOST_SPANS], [[0.0; LANES]; MOST_SPANS]);
        if rows.len() < MANY_ROWS {
            for (index, block) in panel.chunks_exact(P::BYTES).enumerate() {
                begin_block::<L, P>(lanes, block, &mut scales, &mut minima);
                let (first, codes) = (index * P::ELEMENTS, Packed::<P>(block, PhantomData));
                let spans = P::ELEMENTS / P::SPAN;
                let block = Scaled { scales: &scales, minima: &minima, first, spans, codes };
                add_rows::<L, P, _>(lanes, block, input, rows, sums);
            }
            return;
        }
        // Small blocks together, so that sums are loaded and stored less often.
        let mut unpacked = [[0; 4 * LANES]; TOGETHER / 4];
        let spans = P::ELEMENTS / P::SPAN;
        for (index, blocks) in panel.chunks(TOGETHER / P::ELEMENTS * P::BYTES).enumerate() {
            for (place, block) in blocks.chunks_exact(P::BYTES).enumerate() {
                begin_block::<L, P>(lanes, block, &mut scales[place * spans..], &mut minima[place * spans..]);
                for span in 0..spans {
                    for quad in 0..P::SPAN / 4 {
                        let codes = P::codes(lanes, block, span, quad);
                        lanes.store_bytes(codes, &mut unpacked[(place * spans + span) * P::SPAN / 4 + quad]);
                    }
                }
            }
            let spans = blocks.len() / P::BYTES * spans;
            let (first, codes) = (index * TOGETHER, Unpacked(&unpacked));
            add_rows::<L, P, _>(
                lanes,
                Scaled { scales: &scales, minima: &minima, first, spans, codes },
                input,
                rows,
                sums,
            );
        }
    }
}

/// Elements of a row that are unpacked together: those of the largest block.
const TOGETHER: usize = 256;

type Spans = [[f32; LANES]; MOST_SPANS];

/// The codes of a block. (No closure: it would be compiled for another instruction set.)
trait BlockCodes<P: Panel>: Copy {
    /// Codes `4 * quad..` of a span.
    fn codes<L: Lanes>(self, lanes: L, span: usize, quad: usize) -> L::Bytes;
}

/// Codes as they lie in a panel.
struct Packed<'a, P>(&'a [u8], PhantomData<P>);

impl<P> Clone for Packed<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Packed<'_, P> {}

impl<P: Panel> BlockCodes<P> for Packed<'_, P> {
    #[inline(always)]
    fn codes<L: Lanes>(self, lanes: L, span: usize, quad: usize) -> L::Bytes {
        P::codes(lanes, self.0, span, quad)
    }
}

/// Codes that were unpacked, a byte each.
#[derive(Clone, Copy)]
struct Unpacked<'a>(&'a [[u8; 4 * LANES]; TOGETHER / 4]);

impl<P: Panel> BlockCodes<P> for Unpacked<'_> {
    #[inline(always)]
    fn codes<L: Lanes>(self, lanes: L, span: usize, quad: usize) -> L::Bytes {
        lanes.bytes(&self.0[span * P::SPAN / 4 + quad])
    }
}

/// A block with its scales and minima.
#[derive(Clone, Copy)]
struct Scaled<'a, C> {
    scales: &'a Spans,
    minima: &'a Spans,
    /// Its first element.
    first: usize,
    /// How many spans there are.
    spans: usize,
    codes: C,
}

/// Fetches what comes after a block, and finds its scales.
#[inline(always)]
fn begin_block<L: Lanes, P: Panel>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], minima: &mut [[f32; LANES]]) {
    for ahead in 0..P::BYTES / 64 {
        lanes.prefetch(block, AHEAD + 64 * ahead);
    }
    P::scales(lanes, block, scales, minima);
}

/// Adds the products of a block with rows of input: as many at a time as there are registers for.
#[inline(always)]
fn add_rows<L: Lanes, P: Panel, C: BlockCodes<P>>(
    lanes: L,
    block: Scaled<C>,
    input: &QuantisedRows,
    rows: &[u32],
    sums: &mut [[f32; LANES]],
) {
    let (mut rows, mut sums) = (rows, sums);
    while let Some((four, rest)) = rows.split_first_chunk::<4>() {
        let (out, rest_of_sums) = sums.split_first_chunk_mut::<4>().expect("there are as many sums as rows");
        add_block::<L, P, C, 4>(lanes, block, four.map(|row| input.row(row as usize)), out);
        (rows, sums) = (rest, rest_of_sums);
    }
    if let Some((two, rest)) = rows.split_first_chunk::<2>() {
        let (out, rest_of_sums) = sums.split_first_chunk_mut::<2>().expect("there are as many sums as rows");
        add_block::<L, P, C, 2>(lanes, block, two.map(|row| input.row(row as usize)), out);
        (rows, sums) = (rest, rest_of_sums);
    }
    if let ([row], Some(out)) = (rows, sums.first_chunk_mut::<1>()) {
        add_block::<L, P, C, 1>(lanes, block, [input.row(*row as usize)], out);
    }
}

/// Adds the products of a block with some rows of input.
#[inline(always)]
fn add_block<L: Lanes, P: Panel, C: BlockCodes<P>, const ROWS: usize>(
    lanes: L,
    block: Scaled<C>,
    rows: [QuantisedRow; ROWS],
    out: &mut [[f32; LANES]; ROWS],
) {
    let Scaled { scales, minima, first, spans, codes: block_codes } = block;
    let mut sums = [lanes.splat(0.0); ROWS];
    for row in 0..ROWS {
        sums[row] = lanes.load(&out[row]);
    }
    for span in 0..spans {
        let element = first + span * P::SPAN;
        let mut quads: [&[i32]; ROWS] = [&[]; ROWS];
        for row in 0..ROWS {
            quads[row] = &rows[row].quads[element / 4..element / 4 + P::SPAN / 4];
        }
        let mut totals = [lanes.splat_integer(0); ROWS];
        let mut quad = 0;
        while quad < P::SPAN / 4 {
            if matches!(P::CODES, Codes::Offset) {
                let codes = block_codes.codes(lanes, span, quad);
                for row in 0..ROWS {
                    totals[row] = lanes.dot_offset(totals[row], codes, quads[row][quad]);
                }
                quad += 1;
                continue;
            }
            let mut dots = [lanes.dots(); ROWS];
            let end = quad + P::CODES.chain().min(P::SPAN / 4);
            while quad < end {
                let codes = block_codes.codes(lanes, span, quad);
                for row in 0..ROWS {
                    dots[row] = lanes.dot(dots[row], codes, quads[row][quad]);
                }
                quad += 1;
            }
            for row in 0..ROWS {
                totals[row] = lanes.finish(totals[row], dots[row]);
            }
        }
        let scale = lanes.load(&scales[span]);
        for row in 0..ROWS {
            let of_row = lanes.mul(scale, lanes.splat(rows[row].scales[element / 32]));
            sums[row] = lanes.fma(lanes.to_floats(totals[row]), of_row, sums[row]);
        }
        // What codes stand for less than they are.
        let zero = if matches!(P::CODES, Codes::Offset) { P::ZERO - 128 + L::OFFSET } else { P::ZERO };
        if P::HAS_MINIMA || zero != 0 {
            let minimum = match P::HAS_MINIMA {
                true => lanes.load(&minima[span]),
                false => lanes.mul(scale, lanes.splat(zero as f32)),
            };
            for row in 0..ROWS {
                let sum = rows[row].weighted_sums[element / P::SPAN * (P::SPAN / 16)];
                let sum = if P::SPAN == 32 { sum + rows[row].weighted_sums[element / 16 + 1] } else { sum };
                sums[row] = lanes.fnma(minimum, lanes.splat(sum), sums[row]);
            }
        }
    }
    for row in 0..ROWS {
        lanes.store(sums[row], &mut out[row]);
    }
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
            for span in 0..P::ELEMENTS / P::SPAN {
                let (scale, minimum) = (lanes.load(&scales[span]), lanes.load(&minima[span]));
                for quad in 0..P::SPAN / 4 {
                    let words = lanes.words(P::codes(lanes, block, span, quad));
                    for byte in 0..4 {
                        let code = lanes.to_floats(lanes.field(words, 8 * byte as u32, 255));
                        // (code - zero) * scale - minimum, each step rounded once.
                        let code = lanes.fma(code, lanes.splat(1.0), lanes.splat(-P::ZERO as f32));
                        let element = match P::HAS_MINIMA {
                            true => lanes.fma(code, scale, lanes.mul(minimum, lanes.splat(-1.0))),
                            false => lanes.mul(code, scale),
                        };
                        lanes.store(element, &mut tile[span * P::SPAN + 4 * quad + byte]);
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
