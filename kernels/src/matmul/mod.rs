//! Product with a weight matrix of any format: `output[row][r] = scale * (Σ_k input[row][k] * weight[r][k] + bias[r])`, and a
//! residual.
//!
//! Up to 8 rows of input are *columns* of a matrix-vector kernel that reads each weight once; more go
//! through tiles in workgroup memory.

mod cases;

use std::ops::Range;

use crate::formats::UNIT;
use crate::op::{
    Binding, Class, Count, Dispatch, Extent, Features, Grid, Kernel, Lowered, Shader, Shard, Site, View, Work, shared,
};
use crate::reference::Operands;

pub use self::cases::{cases, large_cases};

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

/// Rows that a team of the matrix-vector kernel computes at once.
const TEAM_ROWS: u32 = 2;

impl Kernel for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn takes_shards(&self) -> bool {
        true
    }

    fn lower(&self, site: &Site) -> Lowered {
        let shards = site.weights[0].shards.iter().enumerate();
        let dispatch = |(index, shard): (usize, &Shard)| match site.class {
            Class::Columns(columns) => self.columns_dispatch(site, index, shard, columns),
            Class::Many => self.tiles_dispatch(site, index, shard),
        };
        Lowered { dispatches: shards.map(dispatch).collect(), scratch: Vec::new() }
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

    /// The words of `Params` that both kernels share.
    fn params(&self, site: &Site, shard: &Shard) -> Vec<u32> {
        let (input, out) = (site.inputs[0], site.output());
        assert!(input.offset.is_multiple_of(4), "a matmul's input begins at a vec4");
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

    fn columns_dispatch(&self, site: &Site, index: usize, shard: &Shard, columns: u32) -> Dispatch {
        let workgroup = columns_workgroup(site.features);
        // As many teams as a workgroup surely has, each with its rows.
        let teams = site.features.subgroup.map_or(1, |(_, largest)| (workgroup / largest).max(1));
        let group_rows = teams * TEAM_ROWS;
        let mut modules = modules(site, shard);
        modules.push(shared::reduce(site.features));
        Dispatch {
            shader: Shader {
                name: "matmul_columns",
                source: include_str!("columns.wgsl"),
                modules,
                constants: vec![
                    ("WORKGROUP", workgroup),
                    ("COLUMNS", columns),
                    ("GROUP_ROWS", group_rows),
                    ("TEAM_ROWS", TEAM_ROWS),
                    bias_binding(site),
                ],
            },
            params: self.params(site, shard),
            bindings: bindings(site, index),
            grid: Grid { spread: Count::fixed(shard.rows.div_ceil(group_rows)), rows: Count::fixed(1) },
            work: Work::fixed(u64::from(group_rows) * u64::from(columns) * u64::from(site.inputs[0].width)),
        }
    }

    fn tiles_dispatch(&self, site: &Site, index: usize, shard: &Shard) -> Dispatch {
        let half = site.features.f16 && shard.format.f16_units;
        // Each of side × side invocations computes 4 × 4 results; a tile's rows are 9 quads apart to spread over banks.
        let bytes = |side: u32| side * 4 * 9 * if half { 16 + 8 } else { 16 + 16 } + side * 16;
        let large = !site.features.software
            && site.features.workgroup_invocations >= 256
            && bytes(16) <= site.features.workgroup_bytes;
        let side = if large { 16 } else { 8 };
        let tile = if half { include_str!("tile_f16.wgsl") } else { include_str!("tile_f32.wgsl") };
        let mut modules = modules(site, shard);
        modules.push(("tile", tile));
        Dispatch {
            shader: Shader {
                name: "matmul_tiles",
                source: include_str!("tiles.wgsl"),
                modules,
                constants: vec![("SIDE", side), bias_binding(site)],
            },
            params: self.params(site, shard),
            bindings: bindings(site, index),
            grid: Grid {
                spread: Count::fixed(shard.rows.div_ceil(side * 4)),
                rows: Count::per(Extent::Rows(site.rows), side * 4),
            },
            work: Work::fixed(u64::from(side) * u64::from(side) * 16 * u64::from(site.inputs[0].width)),
        }
    }
}

/// What both kernels import: the format, how rows of input end, and what is added to a result.
fn modules(site: &Site, shard: &Shard) -> Vec<(&'static str, &'static str)> {
    let whole_units = site.inputs[0].width.is_multiple_of(UNIT as u32);
    let input = if whole_units { include_str!("input_whole.wgsl") } else { include_str!("input_ragged.wgsl") };
    let finish =
        if site.inputs.len() > 1 { include_str!("finish_residual.wgsl") } else { include_str!("finish_plain.wgsl") };
    let bias = if site.weights.len() > 1 { include_str!("bias_vector.wgsl") } else { include_str!("bias_none.wgsl") };
    let operands = include_str!("operands.wgsl");
    vec![
        shared::UNIT,
        shared::GRID,
        ("operands", operands),
        ("weight", shard.format.wgsl),
        ("input", input),
        ("bias", bias),
        ("finish", finish),
    ]
}

fn bindings(site: &Site, shard: usize) -> Vec<Binding> {
    let mut bindings = vec![Binding::Shard { weight: 0, shard }, Binding::Input(0), Binding::Output];
    bindings.extend((site.inputs.len() > 1).then_some(Binding::Input(1)));
    bindings.extend((site.weights.len() > 1).then_some(Binding::Shard { weight: 1, shard: 0 }));
    bindings
}

/// The place of the bias behind the other bindings.
fn bias_binding(site: &Site) -> (&'static str, u32) {
    ("BIAS_BINDING", 3 + site.inputs.len() as u32)
}

/// Two subgroups of the largest size where there are subgroups; else one tree of lanes.
fn columns_workgroup(features: Features) -> u32 {
    match features.subgroup {
        Some((_, largest)) => (2 * largest).clamp(8, 128).min(features.workgroup_invocations),
        None if features.software => 16,
        None => 64,
    }
}
