//! RMS norm (Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>): `x / sqrt(mean(x²) + epsilon) * weight`.

use crate::cases::Case;
use crate::graph::Rows;
use crate::op::{Binding, Count, Dispatch, Extent, Grid, Kernel, Lowered, Op, Shader, Site, Work, shared};
use crate::reference::Operands;

/// Input `[rows, width]`, weight `[width]`; output `[rows, width]`.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub epsilon: f32,
}

impl Kernel for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn lower(&self, site: &Site) -> Lowered {
        let (input, out) = (site.inputs[0], site.output());
        let workgroup = if site.features.software { 32 } else { site.features.workgroup_invocations.min(256) };
        Lowered::one(Dispatch {
            shader: Shader {
                name: "rms_norm",
                source: include_str!("rms_norm.wgsl"),
                modules: vec![shared::reduce(site.features)],
                constants: vec![("WORKGROUP", workgroup)],
            },
            params: vec![out.width, self.epsilon.to_bits(), input.offset, input.stride, out.offset, out.stride],
            bindings: vec![Binding::Input(0), Binding::Shard { weight: 0, shard: 0 }, Binding::Output],
            grid: Grid { spread: Count::fixed(1), rows: Count::each(Extent::Rows(site.rows)) },
            work: Work::fixed(2 * u64::from(out.width)),
        })
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let weight = operands.weights[0].row(0);
        let norm = |row: usize| {
            let x = operands.inputs[0].row(row);
            let square: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            let scale = 1.0 / (square / x.len() as f64 + f64::from(self.epsilon)).sqrt();
            x.iter().zip(&weight).map(move |(x, weight)| (f64::from(*x) * scale * f64::from(*weight)) as f32).collect()
        };
        (0..operands.rows).flat_map(|row| -> Vec<f32> { norm(row) }).collect()
    }
}

/// Widths from one to thousands, odd ones, and magnitudes beyond f16.
pub fn cases() -> Vec<Case> {
    let case = |(width, tokens, magnitude): (usize, usize, f32)| {
        let mut case = Case::new("rms_norm", format!("{tokens}x{width} to {magnitude:e}"), tokens);
        case.magnitude = magnitude;
        let input = case.graph.input("input", Rows::Tokens, width);
        let normed = case.graph.value("normed", Rows::Tokens, width);
        let weight = case.random_weight(&[1], width);
        let inputs = [case.graph.whole(input)];
        case.graph.node(Op::RmsNorm(RmsNorm { epsilon: 1e-5 }), &inputs, &[weight], None, Some(normed));
        case.output(normed);
        case
    };
    [(1, 1, 1.0), (33, 5, 1e-3), (64, 513, 1.0), (172, 2, 1.0), (2048, 3, 1e6), (4097, 1, 1.0)]
        .into_iter()
        .map(case)
        .collect()
}
