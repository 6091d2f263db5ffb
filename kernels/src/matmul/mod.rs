//! Product with a weight matrix of any format: `output[row][r] = scale * (Σ_k input[row][k] * weight[r][k] + bias[r])`, and a
//! residual.
//!
//! Up to 8 rows of input are *columns* of a matrix-vector kernel that reads each weight once; more go
//! through tiles in workgroup memory.

mod cases;
pub mod host;
mod product;

use std::ops::Range;

use crate::candidate::Candidate;
use crate::dispatch::{Binding, Count, Extent, Launch, Lowered, read};
use crate::host::HostRun;
use crate::lowering::{Batch, LoweringContext, Precision, View};
use crate::op::Kernel;
use crate::params;
use crate::reference::Operands;

pub use self::cases::{cases, large_cases};
pub(crate) use self::product::{Product, SMALL_TILE, candidates};

/// `input` `[rows, columns of the weight]`, and perhaps a `residual` of the output's shape; `weight`, and perhaps a `bias`
/// `[rows of the weight]` in F32; output `[rows, rows of the weight]`.
#[derive(Debug, Clone)]
pub struct MatMul {
    /// What product and bias are multiplied by.
    pub scale: f32,
}

impl MatMul {
    /// The product as it is.
    pub const PLAIN: MatMul = MatMul { scale: 1.0 };
}

impl Kernel for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn takes_shards(&self) -> bool {
        true
    }

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        candidates(context, context.batch, u32::MAX)
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        let mut lowered = Lowered::default();
        for shard in 0..context.weights["weight"].shards.len() {
            lowered.push(self.launch(context, candidate, shard));
        }
        lowered
    }

    fn host_candidates(&self, precision: Precision) -> Vec<Candidate> {
        host::candidates(precision)
    }

    fn host(&self, run: &mut HostRun) {
        host::run(self, run);
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let rows = operands.weights["weight"].rows();
        let columns = self.reference_rows(operands, 0..rows);
        (0..operands.rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect()
    }
}

impl MatMul {
    /// The reference for some rows of the weight: for each, the output of every row of input.
    pub fn reference_rows(&self, operands: &Operands, rows: Range<usize>) -> Vec<Vec<f32>> {
        let mut weight_row = vec![0.0; operands.weights["weight"].columns];
        let biases = operands.weights.get("bias").map(|bias| bias.row(0));
        let mut computed = Vec::with_capacity(rows.len());
        for weight in rows {
            operands.weights["weight"].decode_row(weight, &mut weight_row);
            let product = |row: usize| {
                let input = operands.inputs["input"].row(row);
                let sum: f64 = input.iter().zip(&weight_row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let residual =
                    operands.inputs.get("residual").map_or(0.0, |residual| f64::from(residual.row(row)[weight]));
                let bias = biases.as_ref().map_or(0.0, |biases| f64::from(biases[weight]));
                (f64::from(self.scale) * (sum + bias) + residual) as f32
            };
            computed.push((0..operands.rows).map(product).collect());
        }
        computed
    }

    /// The product with one shard of the weight.
    fn launch(&self, context: &LoweringContext, candidate: &Candidate, index: usize) -> Launch {
        let shard = &context.weights["weight"].shards[index];
        let (input, output) = (context.inputs["input"], context.output());
        let from_first_row = |view: View| View { offset: view.offset + shard.first_row, ..view };
        let mut params = params! {
            rows: shard.rows,
            row_stride: shard.row_stride,
            // Elements along k.
            width: input.width,
            first_row: shard.first_row,
            scale: self.scale,
            input: input.quads(),
            output: from_first_row(output),
        };
        let mut bindings = Vec::new();
        let finish = match context.inputs.get("residual") {
            Some(residual) => {
                params.extend(params! { residual: from_first_row(*residual) });
                let shape = "[rows of input, rows of all shards]";
                bindings.push(read("residual", "f32", shape, Binding::Input("residual")));
                include_str!("finish_residual.wgsl")
            }
            None => include_str!("finish_plain.wgsl"),
        };
        let product = Product {
            context,
            candidate,
            shard: index,
            width: input.width,
            rows: shard.rows,
            modules: vec![
                ("row", include_str!("row_one.wgsl")),
                ("batch", include_str!("batch_one.wgsl")),
                ("finish", finish),
            ],
            params,
            bindings,
        };
        match context.batch {
            Batch::Few(columns) => product.columns(columns, Count::fixed(1)),
            Batch::Many => product.tiles(Count::per(Extent::Rows(context.rows), candidate.number("rows"))),
        }
    }
}
