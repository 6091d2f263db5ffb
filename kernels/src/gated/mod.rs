//! Gated activation: `activation(gate) * up` (SwiGLU, Shazeer, <https://arxiv.org/abs/2002.05202>).

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Binding, Launch, Lowered, NamedWgsl};
use crate::graph::{Rows, Slice};
use crate::host::HostRun;
use crate::host::output::OutputRows;
use crate::lowering::{LoweringContext, Precision, View};
use crate::matmul;
use crate::op::{Kernel, Op};
use crate::params;
use crate::reference::Operands;
use crate::simd::{Lanes, WithLanes, math};

/// The function applied to the gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x / 2 * (1 + tanh(sqrt(2 / π) * (x + 0.044715 x³)))` (Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>).
    GeluTanh,
    /// `min(x, limit) / (1 + exp(-1.702 * min(x, limit)))`, whose other half is bounded to `-limit ..= limit`, and 1 is added to it
    /// (gpt-oss, <https://arxiv.org/abs/2508.10925>).
    SiluClamped {
        /// The bound.
        limit: f32,
    },
}

impl Activation {
    /// `activation_gated`, which reads [`Activation::limit`] from the parameters.
    pub(crate) fn module(self) -> NamedWgsl {
        let source = match self {
            Activation::Silu => include_str!("silu.wgsl"),
            Activation::GeluTanh => include_str!("gelu_tanh.wgsl"),
            Activation::SiluClamped { .. } => include_str!("silu_clamped.wgsl"),
        };
        ("activation", source)
    }

    /// The bound that the module takes as `limit`; 0 where there is none.
    pub(crate) fn limit(self) -> f32 {
        match self {
            Activation::SiluClamped { limit } => limit,
            Activation::Silu | Activation::GeluTanh => 0.0,
        }
    }

    fn apply(self, x: f64, up: f64) -> f64 {
        match self {
            Activation::Silu => x / (1.0 + (-x).exp()) * up,
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                x / 2.0 * (1.0 + inner.tanh()) * up
            }
            Activation::SiluClamped { limit } => {
                let (x, limit) = (x.min(f64::from(limit)), f64::from(limit));
                x / (1.0 + (-1.702 * x).exp()) * (up.clamp(-limit, limit) + 1.0)
            }
        }
    }
}

/// Inputs `gate` and `up` of one shape; output `activation(gate) * up`, or what its activation says.
#[derive(Debug, Clone)]
pub struct Gated {
    /// The function applied to the gate.
    pub activation: Activation,
}

/// Adds products, with their gate if they have one. Where halves that meet may lie in different shards, `products` are added without it, into a
/// scratch buffer in place of the output, and the gate after them.
pub(crate) fn lower_products(
    gate: Option<Activation>,
    context: &LoweringContext,
    lowered: &mut Lowered,
    products: impl Fn(Option<Activation>, &LoweringContext, Binding, &mut Lowered),
) {
    let Some(activation) = gate.filter(|_| context.weights["weight"].shards.len() > 1) else {
        return products(gate, context, Binding::Output, lowered);
    };
    let width = context.output().width;
    let (both, view) = lowered.scratch_value(context, 2 * width);
    products(None, &LoweringContext { output: Some(view), ..context.clone() }, both, lowered);
    let half = |offset| View { offset, width, ..view };
    let inputs = [("gate", half(0)), ("up", half(width))].into_iter().collect();
    let gated = Gated { activation }.lower(&LoweringContext { inputs, ..context.clone() }, &Candidate::new("plain"));
    lowered.append(gated, |binding| match binding {
        Binding::Input(_) => both,
        other => other,
    });
}

/// The reference of a row of products, with their gate if they have one.
pub(crate) fn reference_products(gate: Option<Activation>, products: &[f64]) -> Vec<f32> {
    let Some(activation) = gate else { return products.iter().map(|product| *product as f32).collect() };
    let (gate, up) = products.split_at(products.len() / 2);
    gate.iter().zip(up).map(|(gate, up)| activation.apply(*gate, *up) as f32).collect()
}

/// The ways to compute products on the host. Rules leave the host's gates alone, so a product with one is a case's and not a model's.
pub(crate) fn host_candidates(gate: Option<Activation>, precision: Precision) -> Vec<Candidate> {
    matmul::host::candidates(if gate.is_some() { Precision::Exact } else { precision })
}

impl Kernel for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let shader = ("gated", include_str!("gated.wgsl"));
        let params = params! { limit: self.activation.limit() };
        Lowered::one(Launch::elementwise(context, shader, vec![self.activation.module()], params, vec![]))
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        let isa = run.isa;
        run.each_row(20 * run.operands.inputs["gate"].width, |operands, row, out| {
            let [gate, up] = ["gate", "up"].map(|name| operands.inputs[name].row(row));
            isa.run(GatedRow { activation: self.activation, gate, up, out });
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let (gate, up) = (&operands.inputs["gate"], &operands.inputs["up"]);
        let gated = |(gate, up): (&f32, &f32)| self.activation.apply(f64::from(*gate), f64::from(*up)) as f32;
        (0..operands.rows).flat_map(|row| gate.row(row).iter().zip(up.row(row)).map(gated)).collect()
    }
}

/// Products on the host, with their gate if they have one: then `products` are given rows of `[gate, up]` to write into instead of the output.
pub(crate) fn run_products(
    gate: Option<Activation>,
    run: &mut HostRun,
    products: impl FnOnce(&mut HostRun, Option<&OutputRows>),
) {
    let Some(activation) = gate else { return products(run, None) };
    let (isa, width) = (run.isa, run.output().width());
    let mut both = vec![0.0; run.operands.rows * 2 * width];
    products(run, Some(&OutputRows::new(&mut both, 2 * width, 2 * width)));
    run.each_row(20 * width, |_, row, out| {
        let (gate, up) = both[row * 2 * width..][..2 * width].split_at(width);
        isa.run(GatedRow { activation, gate, up, out });
    });
}

/// One row on the host.
struct GatedRow<'a> {
    activation: Activation,
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl WithLanes for GatedRow<'_> {
    type Output = ();

    // The compiler makes vectors of this.
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let numbers = self.out.iter_mut().zip(self.gate).zip(self.up);
        match self.activation {
            Activation::Silu => {
                for ((out, gate), up) in numbers {
                    *out = math::silu(*gate, 1.0) * up;
                }
            }
            Activation::GeluTanh => {
                for ((out, gate), up) in numbers {
                    *out = math::gelu_tanh(*gate) * up;
                }
            }
            Activation::SiluClamped { limit } => {
                for ((out, gate), up) in numbers {
                    *out = math::silu(gate.min(limit), 1.702) * (up.clamp(-limit, limit) + 1.0);
                }
            }
        }
    }
}

/// Gate and up as halves of one value, as a model has them; widths that no vec4 divides; magnitudes where exp overflows.
pub fn cases() -> Vec<Case> {
    let case = |(activation, width, tokens, magnitude): (Activation, usize, usize, f32)| {
        let mut case = Case::new("gated", format!("{activation:?} {tokens}x{width} to {magnitude:e}"), tokens);
        case.magnitude = magnitude;
        let both = case.graph.input("gate_up", Rows::Tokens, 2 * width);
        let gated = case.graph.value("gated", Rows::Tokens, width);
        let half = |offset| Slice { value: both, offset, width };
        let op = Op::Gated(Gated { activation });
        case.graph.node(op, &[("gate", half(0)), ("up", half(width))], &[], None, Some(gated));
        case.output(gated);
        case
    };
    let shapes = [(1, 1, 1.0), (33, 5, 4.0), (172, 513, 10.0), (2048, 3, 1e6)];
    let of = |activation| shapes.map(|(width, tokens, magnitude)| case((activation, width, tokens, magnitude)));
    [Activation::Silu, Activation::GeluTanh, Activation::SiluClamped { limit: 7.0 }].into_iter().flat_map(of).collect()
}
