//! The feed-forward of a layer.

use plywood_kernels::gated::Gated;
use plywood_kernels::graph::{Rows, Slice, ValueId};
use plywood_kernels::op::Op;

use super::Builder;
use crate::architectures::Norms;
use crate::error::Result;
use crate::names::Role;

impl Builder<'_> {
    /// The gated feed-forward of one layer with its norms and the addition to the residual stream.
    pub(super) fn feed_forward(&mut self, layer: usize, residual: ValueId) -> Result<ValueId> {
        let config = self.config;
        let label = |part: &str| format!("layers.{layer}.feed_forward.{part}");
        let inner = config.feed_forward;
        let input = match config.architecture.norms {
            Norms::Behind => residual,
            Norms::Before => self.norm(label("norm"), Role::FeedForwardNorm, layer, residual)?,
            Norms::BeforeAndBehind => self.norm(label("norm"), Role::PreFeedForwardNorm, layer, residual)?,
        };
        let parts = [(Role::Gate, inner), (Role::Up, inner)];
        let fused = [(Role::GateUp, 2 * inner)];
        let parts: &[_] = if config.architecture.fused { &fused } else { &parts };
        let weight = self.matrix(label("gate_up"), layer, config.width, parts)?;
        let gate_up = self.product("gate_up", input, weight, None, 1.0);

        let gate = Slice { value: gate_up, offset: 0, width: inner };
        let up = Slice { value: gate_up, offset: inner, width: inner };
        let gated = self.graph.value("gated", Rows::Tokens, inner);
        let activation = config.architecture.activation;
        self.graph.node(Op::Gated(Gated { activation }), &[gate, up], &[], None, Some(gated));

        let parts = [(Role::Down, config.width)];
        let weight = self.matrix(label("down"), layer, inner, &parts)?;
        let down = self.product("down", gated, weight, None, config.scales.residual);
        self.added(label("post_norm"), Role::PostFeedForwardNorm, layer, down, residual)
    }
}
