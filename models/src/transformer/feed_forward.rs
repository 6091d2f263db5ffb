//! The feed-forward of a layer.

use plywood_kernels::gated::Gated;
use plywood_kernels::graph::{Rows, Slice, ValueId};
use plywood_kernels::op::Op;

use super::Builder;
use crate::architectures::Norms;
use crate::error::Result;
use crate::names::Role;

impl Builder<'_> {
    /// The feed-forward of one layer, or its experts, with its norms and the addition to the residual stream.
    pub(super) fn feed_forward(&mut self, layer: usize, residual: ValueId) -> Result<ValueId> {
        let config = self.config;
        let label = |part: &str| format!("layers.{layer}.feed_forward.{part}");
        let input = match config.architecture.norms {
            Norms::After => residual,
            Norms::Before => self.norm(label("norm"), Role::FeedForwardNorm, layer, residual)?,
            Norms::BeforeAndAfter => self.norm(label("norm"), Role::PreFeedForwardNorm, layer, residual)?,
        };
        if let Some(experts) = config.experts.as_ref().filter(|experts| experts.layers[layer]) {
            return self.experts(experts, layer, input, residual);
        }
        let roles = [Role::Gate, Role::Up, Role::Down];
        let biases = config.feed_forward_biases.then_some([Role::GateBias, Role::UpBias, Role::DownBias]);
        let down = self.gated_product("", roles, biases, layer, input, config.feed_forward)?;
        self.added(label("post_norm"), Role::PostFeedForwardNorm, layer, down, residual)
    }

    /// A gated feed-forward of gate, up and down, perhaps with their biases, of this many elements inside.
    pub(super) fn gated_product(
        &mut self,
        name: &str,
        [gate, up, down]: [Role; 3],
        biases: Option<[Role; 3]>,
        layer: usize,
        input: ValueId,
        inner: usize,
    ) -> Result<ValueId> {
        let config = self.config;
        let label = |part: &str| format!("layers.{layer}.feed_forward.{name}{part}");
        let parts = [(gate, inner), (up, inner)];
        let fused = [(Role::GateUp, 2 * inner)];
        let parts: &[_] = if config.architecture.fused { &fused } else { &parts };
        let weight = self.matrix(label("gate_up"), layer, config.width, parts)?;
        let bias = |[gate, up, _]: [Role; 3]| {
            let parts: [(_, &[usize]); 2] = [(gate, &[inner]), (up, &[inner])];
            self.bias(label("gate_up.bias"), layer, &parts)
        };
        let bias = biases.map(bias).transpose()?;
        let gate_up = self.product("gate_up", input, weight, bias, 1.0);
        let gated = self.gated(gate_up, inner);
        let weight = self.matrix(label("down"), layer, inner, &[(down, config.width)])?;
        let bias = biases.map(|[.., down]| self.bias(label("down.bias"), layer, &[(down, &[config.width])]));
        Ok(self.product("down", gated, weight, bias.transpose()?, config.scales.residual))
    }

    /// The first `inner` elements, activated, times the others.
    pub(super) fn gated(&mut self, gate_up: ValueId, inner: usize) -> ValueId {
        let gate = Slice { value: gate_up, offset: 0, width: inner };
        let up = Slice { value: gate_up, offset: inner, width: inner };
        let gated = self.graph.value("gated", Rows::Tokens, inner);
        let activation = self.config.architecture.activation;
        self.graph.node(Op::Gated(Gated { activation }), &[("gate", gate), ("up", up)], &[], None, Some(gated));
        gated
    }
}
