//! RMS norm (Zhang and Sennrich, <https://arxiv.org/abs/1910.07467>): `x / sqrt(mean(x²) + epsilon) * weight`, and a residual.

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Binding, Count, Extent, Grid, Launch, Lowered, Param, Work, read, write};
use crate::graph::Rows;
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision, View};
use crate::op::{Kernel, Op};
use crate::reference::Operands;
use crate::simd::{LANES, Lanes, WithLanes};
use crate::{params, shared};

/// `input` `[rows, groups * width]`, and perhaps a `residual` of its shape; `weight` `[groups * width]` in F32; output of the input's shape. Each group, such as a head, is normalised by
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

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        let of_size = |workgroup| Candidate::new("rows").with("workgroup", workgroup);
        context.features.sizes([256, 32]).map(of_size).to_vec()
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        let (input, output) = (context.inputs["input"], context.output());
        let width = output.width / self.groups as u32;
        let is_whole = |view: &View| view.offset.is_multiple_of(4) && view.stride.is_multiple_of(4);
        let in_quads = width.is_multiple_of(4) && context.inputs.iter().chain([&output]).all(is_whole);
        let (element, numbers) = match in_quads {
            true => ("vec4<f32>", include_str!("numbers_quad.wgsl")),
            false => ("f32", include_str!("numbers_one.wgsl")),
        };
        let place = |view: View| if in_quads { view.quads() } else { Param::from(view) };
        let mut params = params! {
            // Numbers of a group, and steps in which it is read.
            width: width,
            steps: if in_quads { width / 4 } else { width },
            epsilon: self.epsilon,
            input: place(input),
            output: place(output),
        };
        let shape = "[rows, groups, steps]";
        let mut bindings = vec![
            read("input", element, shape, Binding::Input("input")),
            read("weight", element, "[groups, steps]", Binding::Shard { weight: "weight", shard: 0 }),
            write("output", element, shape, Binding::Output),
        ];
        let mut added = include_str!("added_none.wgsl");
        if let Some(residual) = context.inputs.get("residual") {
            params.extend(params! { residual: place(*residual) });
            bindings.push(read("residual", element, shape, Binding::Input("residual")));
            added = include_str!("added_residual.wgsl");
        }
        Lowered::one(Launch {
            shader: ("rms_norm", include_str!("rms_norm.wgsl")),
            modules: vec![shared::reduce(context.features), ("numbers", numbers), ("added", added)],
            constants: vec![("WORKGROUP", candidate.number("workgroup"))],
            params,
            bindings,
            grid: Grid { spread: Count::fixed(self.groups as u32), rows: Count::each(Extent::Rows(context.rows)) },
            work: Work::fixed(2 * u64::from(width)),
        })
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        let (isa, weight) = (run.isa, run.operands.weights["weight"].row(0));
        let width = weight.len() / self.groups;
        run.each_row(4 * weight.len(), |operands, row, out| {
            let groups = operands.inputs["input"].row(row).chunks(width).zip(weight.chunks(width));
            for ((input, weight), out) in groups.zip(out.chunks_mut(width)) {
                isa.run(Norm { input, weight, epsilon: self.epsilon, out });
            }
            if let Some(residual) = operands.inputs.get("residual") {
                out.iter_mut().zip(residual.row(row)).for_each(|(out, residual)| *out += residual);
            }
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let weight = operands.weights["weight"].row(0);
        let norm = |(x, weight): (&[f32], &[f32])| reference(x, weight, self.epsilon);
        let width = weight.len() / self.groups;
        let groups = |row: usize| operands.inputs["input"].row(row).chunks(width).zip(weight.chunks(width));
        let mut output: Vec<f32> = (0..operands.rows).flat_map(groups).flat_map(norm).collect();
        if let Some(residual) = operands.inputs.get("residual") {
            let residual = (0..operands.rows).flat_map(|row| residual.row(row));
            output.iter_mut().zip(residual).for_each(|(output, residual)| *output += residual);
        }
        output
    }
}

/// The reference of one group.
pub(crate) fn reference(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let square: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let scale = 1.0 / (square / x.len() as f64 + f64::from(epsilon)).sqrt();
    x.iter().zip(weight).map(|(x, weight)| (f64::from(*x) * scale * f64::from(*weight)) as f32).collect()
}

/// One norm on the host.
pub(crate) struct Norm<'a> {
    pub input: &'a [f32],
    pub weight: &'a [f32],
    pub epsilon: f32,
    pub out: &'a mut [f32],
}

impl WithLanes for Norm<'_> {
    type Output = ();

    // The compiler makes vectors of this.
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let mut sums = [0f32; 2 * LANES];
        let (chunks, rest) = self.input.as_chunks::<{ 2 * LANES }>();
        for chunk in chunks {
            for lane in 0..2 * LANES {
                sums[lane] += chunk[lane] * chunk[lane];
            }
        }
        let rest: f32 = rest.iter().map(|x| x * x).sum();
        let square = (sums.iter().sum::<f32>() + rest) / self.input.len() as f32;
        let scale = 1.0 / (square + self.epsilon).sqrt();
        for ((out, x), weight) in self.out.iter_mut().zip(self.input).zip(self.weight) {
            *out = x * scale * weight;
        }
    }
}

/// Widths from one to thousands, odd ones, magnitudes beyond f16, heads, and residuals.
pub fn cases() -> Vec<Case> {
    let with_residual = |mut case: Case| {
        let input = case.graph.nodes[0].inputs["input"];
        let residual = case.graph.input("residual", Rows::Tokens, input.width);
        let residual = case.graph.whole(residual);
        case.graph.nodes[0].inputs.push("residual", residual);
        case.name += " plus residual";
        case
    };
    let case = |(groups, width, tokens, magnitude): (usize, usize, usize, f32)| {
        let mut case = Case::new("rms_norm", format!("{tokens}x{groups}x{width} to {magnitude:e}"), tokens);
        case.magnitude = magnitude;
        let input = case.graph.input("input", Rows::Tokens, groups * width);
        let normed = case.graph.value("normed", Rows::Tokens, groups * width);
        let weight = case.random_weight(&[1], groups * width);
        let inputs = [("input", case.graph.whole(input))];
        let op = Op::RmsNorm(RmsNorm { epsilon: 1e-5, groups });
        case.graph.node(op, &inputs, &[("weight", weight)], None, Some(normed));
        case.output(normed);
        case
    };
    let plain = [
        (1, 1, 1, 1.0),
        (1, 33, 5, 1e-3),
        (1, 64, 513, 1.0),
        (1, 172, 2, 1.0),
        (1, 2048, 3, 1e6),
        (1, 4097, 1, 1.0),
        (5, 80, 3, 10.0),
        (32, 128, 2, 1.0),
    ];
    let cases = plain.map(case);
    cases.clone().into_iter().chain(cases.into_iter().map(with_residual)).collect()
}
