//! Product with a weight matrix of any format: `output[row][r] = scale * (Σ_k input[row][k] * weight[r][k] + bias[r])`, and a
//! residual.
//!
//! Up to 8 rows of input are *columns* of a matrix-vector kernel that reads each weight once; more go
//! through tiles in workgroup memory.

mod cases;
mod product;

use std::ops::Range;

use crate::op::{Binding, Class, Count, Extent, Kernel, Lowered, Shard, Site, View};
use crate::reference::Operands;

pub use self::cases::{cases, large_cases};
pub(crate) use self::product::{Product, SMALL_TILE, tile};

/// Input `[rows, columns of the weight]`, then perhaps a residual of the output's shape; a weight, then perhaps a bias
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

    fn lower(&self, site: &Site) -> Lowered {
        let dispatch = |(index, shard): (usize, &Shard)| {
            let has_residual = site.inputs.len() > 1;
            let finish = match has_residual {
                true => include_str!("finish_residual.wgsl"),
                false => include_str!("finish_plain.wgsl"),
            };
            let mut bindings = vec![Binding::Shard { weight: 0, shard: index }, Binding::Input(0), Binding::Output];
            bindings.extend(has_residual.then_some(Binding::Input(1)));
            let product = Product {
                site,
                shard,
                width: site.inputs[0].width,
                rows: shard.rows,
                modules: vec![
                    ("operands", include_str!("operands.wgsl")),
                    ("rows", include_str!("rows_one.wgsl")),
                    ("places", include_str!("places_one.wgsl")),
                    ("finish", finish),
                ],
                params: self.params(site, shard),
                bindings,
            };
            match site.class {
                Class::Columns(columns) => product.columns(columns, Count::fixed(1)),
                Class::Many => {
                    let tile = tile(site.features, shard);
                    product.tiles(tile, Count::per(Extent::Rows(site.rows), tile))
                }
            }
        };
        Lowered { dispatches: site.weights[0].shards.iter().enumerate().map(dispatch).collect(), scratch: Vec::new() }
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let rows = operands.weights[0].rows();
        let columns = self.reference_rows(operands, 0..rows);
        (0..operands.rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect()
    }
}

impl MatMul {
    /// The reference for some rows of the weight: for each, the output of every row of input.
    pub fn reference_rows(&self, operands: &Operands, rows: Range<usize>) -> Vec<Vec<f32>> {
        let mut weight_row = vec![0.0; operands.weights[0].columns];
        let biases = operands.weights.get(1).map(|bias| bias.row(0));
        let mut computed = Vec::with_capacity(rows.len());
        for weight in rows {
            operands.weights[0].decode_row(weight, &mut weight_row);
            let product = |row: usize| {
                let input = operands.inputs[0].row(row);
                let sum: f64 = input.iter().zip(&weight_row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let residual = operands.inputs.get(1).map_or(0.0, |residual| f64::from(residual.row(row)[weight]));
                let bias = biases.as_ref().map_or(0.0, |biases| f64::from(biases[weight]));
                (f64::from(self.scale) * (sum + bias) + residual) as f32
            };
            computed.push((0..operands.rows).map(product).collect());
        }
        computed
    }

    /// The words of `Params`.
    fn params(&self, site: &Site, shard: &Shard) -> Vec<u32> {
        let (input, out) = (site.inputs[0], site.output());
        let residual = site.inputs.get(1).copied().unwrap_or(View { offset: 0, stride: 0, width: 0 });
        vec![
            shard.rows,
            shard.row_stride,
            input.width,
            input.offset / 4,
            input.stride / 4,
            out.offset + shard.first_row,
            out.stride,
            residual.offset + shard.first_row,
            residual.stride,
            shard.first_row,
            self.scale.to_bits(),
        ]
    }
}
