//! Gated activation: `activation(gate) * up` (SwiGLU, Shazeer, <https://arxiv.org/abs/2002.05202>).

use crate::cases::Case;
use crate::graph::{Rows, Slice};
use crate::op::{Binding, Dispatch, Kernel, Lowered, Op, Site};
use crate::reference::Operands;

/// The function applied to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x / 2 * (1 + tanh(sqrt(2 / π) * (x + 0.044715 x³)))` (Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>).
    GeluTanh,
}

impl Activation {
    fn wgsl(self) -> &'static str {
        match self {
            Activation::Silu => include_str!("silu.wgsl"),
            Activation::GeluTanh => include_str!("gelu_tanh.wgsl"),
        }
    }

    fn apply(self, x: f64) -> f64 {
        match self {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                x / 2.0 * (1.0 + inner.tanh())
            }
        }
    }
}

/// Inputs gate and up of one shape; output `activation(gate) * up`.
#[derive(Debug, Clone)]
pub struct Gated {
    /// The function applied to the gate.
    pub activation: Activation,
}

impl Kernel for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn lower(&self, site: &Site) -> Lowered {
        let bindings = vec![Binding::Input(0), Binding::Input(1), Binding::Output];
        let shader = ("gated", include_str!("gated.wgsl"));
        Lowered::one(Dispatch::elementwise(site, shader, vec![("activation", self.activation.wgsl())], &[], bindings))
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let (gate, up) = (&operands.inputs[0], &operands.inputs[1]);
        let gated = |(gate, up): (&f32, &f32)| (self.activation.apply(f64::from(*gate)) * f64::from(*up)) as f32;
        (0..operands.rows).flat_map(|row| gate.row(row).iter().zip(up.row(row)).map(gated)).collect()
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
        case.graph.node(op, &[half(0), half(width)], &[], None, Some(gated));
        case.output(gated);
        case
    };
    let shapes = [(1, 1, 1.0), (33, 5, 4.0), (172, 513, 10.0), (2048, 3, 1e6)];
    let of = |activation| shapes.map(|(width, tokens, magnitude)| case((activation, width, tokens, magnitude)));
    [Activation::Silu, Activation::GeluTanh].into_iter().flat_map(of).collect()
}
