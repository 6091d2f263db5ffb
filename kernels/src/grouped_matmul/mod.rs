//! Products of a token's slots, each with one matrix out of several of a shape: the one that [`crate::route`] chose for it (a
//! mixture of experts), or one of its own (the heads of latent attention).
//!
//! Few tokens take the matrix-vector kernel of [`crate::matmul`] once for each slot that was routed, so that only chosen matrices are
//! read. For many, the slots are sorted by their matrices on the device first, and each matrix meets its own in tiles. A slot's own
//! matrix is read once for all tokens.

mod cases;
mod host;

use crate::candidate::Candidate;
use crate::dispatch::{Binding, Bound, Count, Extent, Grid, Launch, Lowered, Param, StepSize, Work, read, write};
use crate::formats::BLOCK32;
use crate::gated::{self, Activation};
use crate::host::HostRun;
use crate::lowering::{Batch, LoweringContext, Precision, Shard};
use crate::matmul::{self, Finish, Product, SMALL_TILE, activations};
use crate::op::Kernel;
use crate::params;
use crate::reference::Operands;

pub use self::cases::{cases, large_cases};

/// `input` `[tokens, columns]` that all slots share, or `[tokens, slots * width]`, of which a slot takes the first `columns` of its own,
/// `width` a multiple of 4; and, where matrices are chosen, `routes` `[tokens, 2 * slots]` of [`crate::route::Route`].
///
/// `weight` `[parts * matrices * rows, columns]` in the order of [`Stack`], and perhaps a `bias` `[parts * matrices * rows]` in F32, likewise.
/// Output `[tokens, parts * slots * rows]`: row `r` of part `p` of slot `s`'s matrix at `(p * slots + s) * rows + r`. Where it gates, there are two
/// parts, and the output is `[tokens, slots * rows]`: the first part, activated, times the second.
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
    /// The first of two parts gates the second ([`crate::gated`]).
    pub gate: Option<Activation>,
}

/// The order of the rows of a weight of several matrices, each of several parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// A part of all matrices, then the next part.
    PartByPart,
    /// All parts of a matrix, one after the other, then the next matrix.
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

const TILES: &str = "[tiles] of matrix, first, last + 1, 0";
const LISTED: &str = "[tokens * slots] of token * slots + slot";

fn read_routes() -> Bound {
    read("routes", "f32", "[tokens, matrices of slots, then their shares]", Binding::Input("routes"))
}

impl Kernel for GroupedMatMul {
    fn name(&self) -> &'static str {
        "grouped_matmul"
    }

    fn takes_shards(&self) -> bool {
        true
    }

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        // The slots of one matrix are few, whatever the batch; of few tokens each slot is a product of its own.
        let (batch, largest_tile) = match (context.inputs.has("routes"), context.batch) {
            (true, Batch::Few(_)) => (Batch::Few(1), SMALL_TILE),
            (true, batch) => (batch, SMALL_TILE),
            (false, batch) => (batch, u32::MAX),
        };
        let mut candidates = matmul::candidates(context, batch, largest_tile);
        // Input is rounded in blocks of 32, so each slot's own must begin with one.
        let (input, columns) = (context.inputs["input"].width, context.weights["weight"].columns);
        if input != columns && !(input / self.slots as u32).is_multiple_of(BLOCK32 as u32) {
            candidates.retain(|candidate| !candidate.rounds());
        }
        candidates
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        let (slots, tokens) = (self.slots as u32, Extent::Rows(context.rows));
        let is_routed = context.inputs.has("routes");
        let (batch, bindings, rows) = match (is_routed, context.batch) {
            (true, Batch::Few(_)) => {
                let rows = Count { factor: slots, ..Count::each(tokens) };
                (include_str!("batch_token.wgsl"), vec![read_routes()], rows)
            }
            (true, Batch::OneTile | Batch::Many) => {
                let tile = candidate.number("rows");
                let rows = Count { factor: slots, plus: self.matrices as u32, ..Count::per(tokens, tile) };
                let bindings = vec![
                    read("tiles", "vec4<u32>", TILES, Binding::Scratch(0)),
                    read("listed", "u32", LISTED, Binding::Scratch(1)),
                ];
                (include_str!("batch_listed.wgsl"), bindings, rows)
            }
            (false, Batch::Few(_)) => (include_str!("batch_slots.wgsl"), vec![], Count::fixed(slots)),
            (false, Batch::OneTile | Batch::Many) => {
                // The rows of input of a slot are few or many as the step's tokens are; so are its tiles.
                let rows = Count { factor: slots, ..Count::per(tokens, candidate.number("rows")) };
                (include_str!("batch_slots.wgsl"), vec![], rows)
            }
        };
        let mut lowered = Lowered::default();
        if is_routed && !matches!(context.batch, Batch::Few(_)) {
            lowered.push(self.list(context, candidate.number("rows")));
            let tiles = rows.at(StepSize { tokens: context.max_rows, ..Default::default() });
            lowered.scratch = vec![u64::from(tiles) * 16, u64::from(context.max_rows * slots) * 4];
        }
        let input = Binding::Input("input");
        let (context, input) = activations::of_candidate(candidate, context, input, &mut lowered);
        gated::lower_products(self.gate, &context, &mut lowered, |gate, context, output, lowered| {
            let op = GroupedMatMul { gate, ..*self };
            for (index, shard) in context.weights["weight"].shards.iter().enumerate() {
                let product = Product {
                    context,
                    candidate,
                    shard: index,
                    width: context.weights["weight"].columns,
                    rows: op.results(context),
                    norm: None,
                    finish: gate.map_or(Finish::Plain, Finish::Gated),
                    modules: vec![("row", include_str!("row_of_matrices.wgsl")), ("batch", batch)],
                    params: op.params(context, shard),
                    bindings: bindings.clone(),
                };
                let launch = match (is_routed, context.batch) {
                    (true, Batch::Few(_)) => product.columns(1, rows),
                    (false, Batch::Few(columns)) => product.columns(columns, rows),
                    (_, Batch::OneTile | Batch::Many) => product.tiles(rows),
                };
                lowered.append(Lowered::one(launch), |binding| match binding {
                    Binding::Input("input") => input,
                    Binding::Output => output,
                    other => other,
                });
            }
        });
        lowered
    }

    fn host_candidates(&self, precision: Precision) -> Vec<Candidate> {
        gated::host_candidates(self.gate, precision)
    }

    fn host(&self, run: &mut HostRun) {
        host::run(self, run);
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let products = self.reference_products(operands);
        let rows = products.chunks(products.len() / operands.rows);
        rows.flat_map(|products| gated::reference_products(self.gate, products)).collect()
    }
}

impl GroupedMatMul {
    /// The products of all parts: `[tokens, parts * slots * rows]`.
    fn reference_products(&self, operands: &Operands) -> Vec<f64> {
        let weight = operands.weights["weight"];
        let part_rows = weight.rows() / (self.parts * self.matrices);
        let strides = self.strides(part_rows);
        let mut weight_row = vec![0.0; weight.columns];
        let biases = operands.weights.get("bias").map(|bias| bias.row(0));
        let row_results = self.parts * self.slots * part_rows;
        let mut products = vec![0.0; operands.rows * row_results];
        for row in 0..weight.rows() {
            let (part, matrix, row_of_part) = strides.place(row, self.stack);
            weight.decode_row(row, &mut weight_row);
            for token in 0..operands.rows {
                for slot in (0..self.slots).filter(|slot| self.matrix_of(operands, token, *slot) == matrix) {
                    let input = operands.inputs["input"].row(token);
                    let shared = input.len() == weight.columns;
                    let width = input.len() / self.slots;
                    let input = if shared { input } else { &input[slot * width..][..weight.columns] };
                    let sum: f64 = input.iter().zip(&weight_row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let bias = biases.as_ref().map_or(0.0, |biases| f64::from(biases[row]));
                    let column = (part * self.slots + slot) * part_rows + row_of_part;
                    products[token * row_results + column] = sum + bias;
                }
            }
        }
        products
    }

    /// The matrix that a slot of a token meets.
    fn matrix_of(&self, operands: &Operands, token: usize, slot: usize) -> usize {
        operands.inputs.get("routes").map_or(slot, |routes| routes.row(token)[slot] as usize)
    }

    /// Rows of one part of a matrix.
    fn part_rows(&self, context: &LoweringContext) -> usize {
        let rows: u32 = context.weights["weight"].shards.iter().map(|shard| shard.rows).sum();
        rows as usize / (self.parts * self.matrices)
    }

    /// Results of a slot.
    fn results(&self, context: &LoweringContext) -> u32 {
        let parts = if self.gate.is_some() { 1 } else { self.parts };
        (parts * self.part_rows(context)) as u32
    }

    /// How the rows of a weight follow each other whose parts have this many.
    fn strides(&self, part_rows: usize) -> Strides {
        match self.stack {
            Stack::PartByPart => Strides { part: self.matrices * part_rows, matrix: part_rows, row: 1 },
            Stack::MatrixByMatrix => Strides { part: part_rows, matrix: self.parts * part_rows, row: 1 },
            Stack::RowByRow => Strides { part: 1, matrix: self.parts * part_rows, row: self.parts },
        }
    }

    /// What both kernels are told.
    fn params(&self, context: &LoweringContext, shard: &Shard) -> Vec<(&'static str, Param)> {
        let (input, columns) = (context.inputs["input"], context.weights["weight"].columns);
        let slot_width = if input.width == columns { 0 } else { input.width / self.slots as u32 };
        assert!(slot_width.is_multiple_of(4), "a slot's input begins at a vec4");
        let part_rows = self.part_rows(context);
        let strides = self.strides(part_rows);
        let mut params = params! {
            // Results of a slot.
            rows: self.results(context),
            row_stride: shard.row_stride,
            // Elements along k.
            width: columns,
            first_row: shard.first_row,
            shard_rows: shard.rows,
            part_rows: part_rows as u32,
            // Rows of the weight from a part to the next, from a matrix to the next, and from a row of a part to the next.
            part_stride: strides.part as u32,
            matrix_stride: strides.matrix as u32,
            step: strides.row as u32,
            scale: 1.0,
            slots: self.slots as u32,
            // Of the input from a slot to the next, in vec4; 0 where slots share it.
            slot_quads: slot_width / 4,
            input: input.quads(),
            output: context.output(),
        };
        params.extend(context.inputs.get("routes").map(|view| ("routes", Param::from(*view))));
        params
    }

    /// The sorting of slots by their matrices, in tiles of this many.
    fn list(&self, context: &LoweringContext, tile: u32) -> Launch {
        Launch {
            shader: ("grouped_list", include_str!("list.wgsl")),
            modules: vec![],
            constants: vec![("WORKGROUP", LIST_WORKGROUP), ("MATRICES", self.matrices as u32), ("TILE", tile)],
            params: params! { slots: self.slots as u32, routes: context.inputs["routes"] },
            bindings: vec![
                read_routes(),
                write("tiles", "vec4<u32>", TILES, Binding::Scratch(0)),
                write("listed", "u32", LISTED, Binding::Scratch(1)),
            ],
            grid: Grid { spread: Count::fixed(1), rows: Count::each(Extent::Rows(context.rows)) },
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
