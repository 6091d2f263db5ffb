//! Products of a token's slots, each with one matrix out of several of a shape: the one that [`crate::route`] chose for it (a
//! mixture of experts), or one of its own (the heads of latent attention).
//!
//! Few tokens take the matrix-vector kernel of [`crate::matmul`] once for each slot that was routed, so that only chosen matrices are
//! read. For many, the slots are sorted by their matrices on the device first, and each matrix meets its own in tiles. A slot's own
//! matrix is read once for all tokens.

mod cases;

use std::ops::Range;

use crate::matmul::{Product, SMALL_TILE, tile};
use crate::op::{Binding, Class, Count, Dispatch, Extent, Grid, Kernel, Lowered, Shader, Shard, Site, StepSize, Work};
use crate::reference::Operands;

pub use self::cases::{cases, large_cases};

/// Input `[tokens, columns]` that all slots share, or `[tokens, slots * width]`, of which a slot takes the first `columns` of its own,
/// `width` a multiple of 4; then, where matrices are chosen, routes `[tokens, 2 * slots]` of [`crate::route::Route`].
///
/// Weight `[parts * matrices * rows, columns]` in the order of [`Stack`], and perhaps a bias `[parts * matrices * rows]` in F32, likewise.
/// Output `[tokens, parts * slots * rows]`: row `r` of part `p` of slot `s`'s matrix at `(p * slots + s) * rows + r`.
#[derive(Debug, Clone)]
pub struct GroupedMatMul {
    /// Matrices, at most [`MAX_MATRICES`]; as many as slots where each slot has its own.
    pub matrices: usize,
    /// Products of a token.
    pub slots: usize,
    /// What a matrix is stacked from: 2 for gate and up.
    pub parts: usize,
    /// How the rows of parts and matrices lie in the weight.
    pub stack: Stack,
}

/// The order of the rows of a weight of several matrices, each of several parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// A part of all matrices, then the next part.
    PartByPart,
    /// All parts of a matrix, one behind the other, then the next matrix.
    MatrixByMatrix,
    /// Of each matrix a row of the first part, then one of the second, and so on.
    RowByRow,
}

/// Rows of a weight from one to the next.
#[derive(Debug, Clone, Copy)]
struct Strides {
    part: usize,
    matrix: usize,
    row: usize,
}

/// The most matrices to choose from: four words for each, and a few more, must fit 16 KiB of workgroup memory.
pub const MAX_MATRICES: usize = 1000;

/// Invocations that sort slots.
const LIST_WORKGROUP: u32 = 64;

impl Kernel for GroupedMatMul {
    fn name(&self) -> &'static str {
        "grouped_matmul"
    }

    fn takes_shards(&self) -> bool {
        true
    }

    fn lower(&self, site: &Site) -> Lowered {
        let (slots, is_routed) = (self.slots as u32, site.inputs.len() > 1);
        let (places, routing, rows) = match (is_routed, site.class) {
            (true, Class::Columns(_)) => {
                let rows = Count { factor: slots, ..Count::each(Extent::Rows(site.rows)) };
                (include_str!("places_token.wgsl"), vec![Binding::Input(1)], rows)
            }
            (true, Class::Many) => {
                let rows = Count {
                    factor: slots,
                    plus: self.matrices as u32,
                    ..Count::per(Extent::Rows(site.rows), SMALL_TILE)
                };
                (include_str!("places_listed.wgsl"), vec![Binding::Scratch(0), Binding::Scratch(1)], rows)
            }
            (false, Class::Columns(_)) => (include_str!("places_slots.wgsl"), vec![], Count::fixed(slots)),
            (false, Class::Many) => {
                // The rows of input of a slot are few or many as the step's tokens are; so are its tiles.
                let tile = tile(site.features, &site.weights[0].shards[0]);
                let rows = Count { factor: slots, ..Count::per(Extent::Rows(site.rows), tile) };
                (include_str!("places_slots.wgsl"), vec![], rows)
            }
        };
        let mut lowered = Lowered::default();
        if is_routed && site.class == Class::Many {
            lowered.dispatches.push(self.list_dispatch(site));
            let tiles = rows.at(StepSize { tokens: site.max_rows, ..Default::default() });
            lowered.scratch = vec![u64::from(tiles) * 16, u64::from(site.max_rows * slots) * 4];
        }
        for (index, shard) in site.weights[0].shards.iter().enumerate() {
            let mut bindings = vec![Binding::Shard { weight: 0, shard: index }, Binding::Input(0), Binding::Output];
            bindings.extend(&routing);
            let product = Product {
                site,
                shard,
                width: site.weights[0].columns,
                rows: (self.parts * self.part_rows(site)) as u32,
                modules: vec![
                    ("operands", include_str!("operands.wgsl")),
                    ("rows", include_str!("rows_of_matrices.wgsl")),
                    ("places", places),
                    ("finish", include_str!("finish_slot.wgsl")),
                ],
                params: self.params(site, shard),
                bindings,
            };
            lowered.dispatches.push(match (is_routed, site.class) {
                (true, Class::Columns(_)) => product.columns(1, rows),
                (false, Class::Columns(columns)) => product.columns(columns, rows),
                (true, Class::Many) => product.tiles(SMALL_TILE, rows),
                (false, Class::Many) => product.tiles(rows.divisor, rows),
            });
        }
        lowered
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let results = self.reference_rows(operands, 0..operands.weights[0].rows());
        let mut output = vec![0.0; results.len()];
        results.into_iter().for_each(|(place, result)| output[place] = result);
        output
    }
}

impl GroupedMatMul {
    /// The reference for some rows of the weight: results with their places in the output.
    pub fn reference_rows(&self, operands: &Operands, rows: Range<usize>) -> Vec<(usize, f32)> {
        let weight = operands.weights[0];
        let part_rows = weight.rows() / (self.parts * self.matrices);
        let strides = self.strides(part_rows);
        let mut weight_row = vec![0.0; weight.columns];
        let biases = operands.weights.get(1).map(|bias| bias.row(0));
        let mut computed = Vec::new();
        for row in rows {
            let (part, matrix, row_of_part) = strides.place(row, self.stack);
            weight.decode_row(row, &mut weight_row);
            for token in 0..operands.rows {
                for slot in (0..self.slots).filter(|slot| self.matrix_of(operands, token, *slot) == matrix) {
                    let input = operands.inputs[0].row(token);
                    let shared = input.len() == weight.columns;
                    let width = input.len() / self.slots;
                    let input = if shared { input } else { &input[slot * width..][..weight.columns] };
                    let sum: f64 = input.iter().zip(&weight_row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let bias = biases.as_ref().map_or(0.0, |biases| f64::from(biases[row]));
                    let column = (part * self.slots + slot) * part_rows + row_of_part;
                    computed.push((token * self.parts * self.slots * part_rows + column, (sum + bias) as f32));
                }
            }
        }
        computed
    }

    /// The matrix that a slot of a token meets.
    fn matrix_of(&self, operands: &Operands, token: usize, slot: usize) -> usize {
        operands.inputs.get(1).map_or(slot, |routes| routes.row(token)[slot] as usize)
    }

    /// Rows of one part of a matrix.
    fn part_rows(&self, site: &Site) -> usize {
        let rows: u32 = site.weights[0].shards.iter().map(|shard| shard.rows).sum();
        rows as usize / (self.parts * self.matrices)
    }

    /// How a weight's rows follow each other whose parts have so many.
    fn strides(&self, part_rows: usize) -> Strides {
        match self.stack {
            Stack::PartByPart => Strides { part: self.matrices * part_rows, matrix: part_rows, row: 1 },
            Stack::MatrixByMatrix => Strides { part: part_rows, matrix: self.parts * part_rows, row: 1 },
            Stack::RowByRow => Strides { part: 1, matrix: self.parts * part_rows, row: self.parts },
        }
    }

    /// The words of `Params` of both kernels.
    fn params(&self, site: &Site, shard: &Shard) -> Vec<u32> {
        let (input, out, columns) = (site.inputs[0], site.output(), site.weights[0].columns);
        let slot_width = if input.width == columns { 0 } else { input.width / self.slots as u32 };
        assert!(slot_width.is_multiple_of(4), "a slot's input begins at a vec4");
        let (routes_offset, routes_stride) = site.inputs.get(1).map_or((0, 0), |view| (view.offset, view.stride));
        let part_rows = self.part_rows(site);
        let strides = self.strides(part_rows);
        vec![
            (self.parts * part_rows) as u32,
            shard.row_stride,
            columns,
            input.offset / 4,
            input.stride / 4,
            out.offset,
            out.stride,
            shard.first_row,
            shard.rows,
            part_rows as u32,
            strides.part as u32,
            strides.matrix as u32,
            strides.row as u32,
            self.slots as u32,
            slot_width / 4,
            routes_offset,
            routes_stride,
        ]
    }

    /// The sorting of slots by their matrices.
    fn list_dispatch(&self, site: &Site) -> Dispatch {
        let routes = site.inputs[1];
        Dispatch {
            shader: Shader {
                name: "grouped_list",
                source: include_str!("list.wgsl"),
                modules: vec![],
                constants: vec![
                    ("WORKGROUP", LIST_WORKGROUP),
                    ("MATRICES", self.matrices as u32),
                    ("TILE", SMALL_TILE),
                ],
            },
            params: vec![self.slots as u32, routes.offset, routes.stride],
            bindings: vec![Binding::Input(1), Binding::Scratch(0), Binding::Scratch(1)],
            grid: Grid { spread: Count::fixed(1), rows: Count::each(Extent::Rows(site.rows)) },
            work: Work::fixed(self.slots as u64 * 8),
        }
    }
}

impl Strides {
    /// The part, the matrix and the row in the part of a row of the weight.
    fn place(self, row: usize, stack: Stack) -> (usize, usize, usize) {
        let rest = |largest: usize| row % largest;
        match stack {
            Stack::PartByPart => (row / self.part, rest(self.part) / self.matrix, rest(self.matrix)),
            Stack::MatrixByMatrix => (rest(self.matrix) / self.part, row / self.matrix, rest(self.part)),
            Stack::RowByRow => (rest(self.row), row / self.matrix, rest(self.matrix) / self.row),
        }
    }
}
