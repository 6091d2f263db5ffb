//! RMS norm (Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>): `x / sqrt(mean(x²) + epsilon) * weight`.

use crate::cases::Case;
use crate::graph::Rows;
use crate::op::{Binding, Count, Dispatch, Extent, Grid, Kernel, Lowered, Op, Shader, Site, Work, shared};
use crate::reference::Operands;

/// Input `[rows, groups * width]`, weight `[groups * width]`; output of the input's shape. Each group, such as a head, is normalised by
/// itself.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub epsilon: f32,
    /// Groups in a row.
    pub groups: usize,
}

impl Kernel for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn lower(&self, site: &Site) -> Lowered {
        let (input, out) = (site.inputs[0], site.output());
        let width = out.width / self.groups as u32;
        let workgroup = if site.features.software { 32 } else { site.features.workgroup_invocations.min(256) };
        Lowered::one(Dispatch {
            shader: Shader {
                name: "rms_norm",
                source: include_str!("rms_norm.wgsl"),
                modules: vec![shared::reduce(site.features)],
                constants: vec![("WORKGROUP", workgroup)],
            },
            params: vec![width, self.epsilon.to_bits(), input.offset, input.stride, out.offset, out.stride],
            bindings: vec![Binding::Input(0), Binding::Shard { weight: 0, shard: 0 }, Binding::Output],
            grid: Grid { spread: Count::fixed(self.groups as u32), rows: Count::each(Extent::Rows(site.rows)) },
            work: Work::fixed(2 * u64::from(width)),
        })
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let weight = operands.weights[0].row(0);
        let norm = |(x, weight): (&[f32], &[f32])| -> Vec<f32> {
            let square: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            let scale = 1.0 / (square / x.len() as f64 + f64::from(self.epsilon)).sqrt();
            x.iter().zip(weight).map(move |(x, weight)| (f64::from(*x) * scale * f64::from(*weight)) as f32).collect()
        };
        let width = weight.len() / self.groups;
        let groups = |row: usize| operands.inputs[0].row(row).chunks(width).zip(weight.chunks(width));
        (0..operands.rows).flat_map(groups).flat_map(norm).collect()
    }
}

/// Widths from one to thousands, odd ones, magnitudes beyond f16, and heads.
pub fn cases() -> Vec<Case> {
    let case = |(groups, width, tokens, magnitude): (usize, usize, usize, f32)| {
        let mut case = Case::new("rms_norm", format!("{tokens}x{groups}x{width} to {magnitude:e}"), tokens);
        case.magnitude = magnitude;
        let input = case.graph.input("input", Rows::Tokens, groups * width);
        let normed = case.graph.value("normed", Rows::Tokens, groups * width);
        let weight = case.random_weight(&[1], groups * width);
        let inputs = [case.graph.whole(input)];
        case.graph.node(Op::RmsNorm(RmsNorm { epsilon: 1e-5, groups }), &inputs, &[weight], None, Some(normed));
        case.output(normed);
        case
    };
    [
        (1, 1, 1, 1.0),
        (1, 33, 5, 1e-3),
        (1, 64, 513, 1.0),
        (1, 172, 2, 1.0),
        (1, 2048, 3, 1e6),
        (1, 4097, 1, 1.0),
        (5, 80, 3, 10.0),
        (32, 128, 2, 1.0),
    ]
    .into_iter()
    .map(case)
    .collect()
}
