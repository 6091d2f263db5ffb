//! The mixture of experts of a layer: a router chooses some of them for each token on the device, and only these are computed.

use plywood_kernels::graph::{Rows, Slice, Source, ValueId, WeightId, WeightPart};
use plywood_kernels::grouped_matmul::{GroupedMatMul, Stack};
use plywood_kernels::moe_combine::MoeCombine;
use plywood_kernels::op::Op;
use plywood_kernels::route::{Gating, Route};

use super::Builder;
use crate::architectures::Mixture;
use crate::config::Experts;
use crate::error::{Error, Result};
use crate::names::{self, Role};
use crate::weights::Conventions;

impl Builder<'_> {
    /// What the experts of a layer add to the residual stream, and that stream.
    pub(super) fn experts(
        &mut self,
        experts: &Experts,
        layer: usize,
        input: ValueId,
        residual: ValueId,
    ) -> Result<ValueId> {
        let config = self.config;
        let label = |part: &str| format!("layers.{layer}.experts.{part}");
        let mixture = config.architecture.mixture.expect("a family with experts says how they are");
        let logits = self.router(experts, mixture, layer, input)?;
        let routes = self.route(experts, layer, logits)?;

        let (gate_up, bias, stack) = self.gates(experts, mixture, layer)?;
        let grouped = GroupedMatMul { matrices: experts.count, slots: experts.chosen, parts: 2, stack, gate: None };
        let gate_up = self.grouped("expert_gate_up", grouped, input, routes, gate_up, bias);
        let activated = self.gated(gate_up, experts.chosen * experts.width);

        let roles = [Role::ExpertDown];
        let down = self.stacked(label("down"), &roles, layer, experts.count, [config.width, experts.width])?;
        if self.orders.contains_key(&down) {
            let tensor = self.name(Role::ExpertDown, layer);
            return Err(Error::Packed { tensor, reason: "outputs of experts have an activation order".into() });
        }
        let bias: [(_, &[usize]); 1] = [(Role::ExpertDownBias, &[experts.count, config.width])];
        let bias = mixture.biases.then(|| self.bias(label("down.bias"), layer, &bias)).transpose()?;
        let stack = Stack::PartByPart;
        let grouped = GroupedMatMul { matrices: experts.count, slots: experts.chosen, parts: 1, stack, gate: None };
        let results = self.grouped("expert_down", grouped, activated, routes, down, bias);

        let mut addend = residual;
        let mut shared_inputs = Vec::new();
        if let Some(width) = experts.shared {
            let roles = [Role::SharedGate, Role::SharedUp, Role::SharedDown];
            let shared = self.gated_product("shared.", roles, None, layer, input, width)?;
            if mixture.gated {
                let gate = Slice { value: logits, offset: experts.count, width: 1 };
                shared_inputs = vec![("shared_results", self.graph.whole(shared)), ("shared_gate", gate)];
            } else {
                addend = self.add(shared, residual);
            }
        }
        let combined = self.graph.value("residual", Rows::Tokens, config.width);
        let inputs = [("results", results), ("routes", routes), ("addend", addend)];
        let inputs = inputs.map(|(name, value)| (name, self.graph.whole(value)));
        let inputs = [inputs.as_slice(), &shared_inputs].concat();
        self.graph.node(Op::MoeCombine(MoeCombine { slots: experts.chosen }), &inputs, &[], None, Some(combined));
        Ok(combined)
    }

    /// The router's logits, and after them the shared expert's gate, if it has one.
    fn router(&mut self, experts: &Experts, mixture: Mixture, layer: usize, input: ValueId) -> Result<ValueId> {
        let label = |part: &str| format!("layers.{layer}.experts.{part}");
        let mut parts = vec![(Role::Router, experts.count)];
        parts.extend((mixture.gated && experts.shared.is_some()).then_some((Role::SharedRouter, 1)));
        let weight = self.matrix(label("router"), layer, self.config.width, &parts)?;
        let bias: [(_, &[usize]); 1] = [(Role::RouterBias, &[experts.count])];
        let bias = mixture.biases.then(|| self.bias(label("router.bias"), layer, &bias)).transpose()?;
        Ok(self.product("router_logits", input, weight, bias, 1.0))
    }

    fn route(&mut self, experts: &Experts, layer: usize, logits: ValueId) -> Result<ValueId> {
        // Directories of families that choose by a sigmoid always have one.
        let is_corrected = experts.gating == Gating::Sigmoid && self.config.kind == Conventions::HuggingFace
            || self.is_there(Role::RouterCorrection, layer);
        let correction: [(_, &[usize]); 1] = [(Role::RouterCorrection, &[experts.count])];
        let label = format!("layers.{layer}.experts.correction");
        let correction = is_corrected.then(|| self.bias(label, layer, &correction)).transpose()?;
        let correction = correction.map(|correction| ("correction", correction));
        let routes = self.graph.value("routes", Rows::Tokens, 2 * experts.chosen);
        let Experts { chosen, gating, normalised, scale, groups, .. } = *experts;
        let route = Op::Route(Route { chosen, gating, normalised, scale, groups });
        let logits = Slice { value: logits, offset: 0, width: experts.count };
        self.graph.node(route, &[("logits", logits)], correction.as_slice(), None, Some(routes));
        Ok(routes)
    }

    fn grouped(
        &mut self,
        name: &'static str,
        op: GroupedMatMul,
        input: ValueId,
        routes: ValueId,
        weight: WeightId,
        bias: Option<WeightId>,
    ) -> ValueId {
        let input = self.reordered(input, weight);
        let rows = self.graph.weights[weight.0].rows() / op.matrices * op.slots;
        let output = self.graph.value(name, Rows::Tokens, rows);
        let mut weights = vec![("weight", weight)];
        weights.extend(bias.map(|bias| ("bias", bias)));
        let inputs = [("input", self.graph.whole(input)), ("routes", self.graph.whole(routes))];
        self.graph.node(Op::GroupedMatMul(op), &inputs, &weights, None, Some(output));
        output
    }

    /// Gates of all experts and the other halves of their inputs, their bias, and how both lie.
    fn gates(
        &mut self,
        experts: &Experts,
        mixture: Mixture,
        layer: usize,
    ) -> Result<(WeightId, Option<WeightId>, Stack)> {
        let label = |part: &str| format!("layers.{layer}.experts.{part}");
        let (count, inner, width) = (experts.count, experts.width, self.config.width);
        // Where biases have no names apart, neither have matrices.
        let is_whole = mixture.biases && self.name(Role::ExpertGateBias, layer).is_empty();
        let fused = is_whole || self.is_there(Role::ExpertGateUp, layer);
        let (roles, rows): (&[_], _) = match fused {
            true => (&[Role::ExpertGateUp], 2 * inner),
            false => (&[Role::ExpertGate, Role::ExpertUp], inner),
        };
        let weight = self.stacked(label("gate_up"), roles, layer, count, [rows, width])?;
        let (whole, apart) = ([count, 2 * inner], [count, inner]);
        let biases: &[(_, &[usize])] = match fused {
            true => &[(Role::ExpertGateUpBias, &whole)],
            false => &[(Role::ExpertGateBias, &apart), (Role::ExpertUpBias, &apart)],
        };
        let bias = mixture.biases.then(|| self.bias(label("gate_up.bias"), layer, biases)).transpose()?;
        let stack = match (fused, self.config.kind) {
            (false, _) => Stack::PartByPart,
            (true, Conventions::Gguf) => Stack::MatrixByMatrix,
            (true, Conventions::HuggingFace) => Stack::RowByRow,
        };
        Ok((weight, bias, stack))
    }

    /// A weight of the matrices of all experts, role by role: each a tensor of all, or one for each expert.
    pub(super) fn stacked(
        &mut self,
        label: String,
        roles: &[Role],
        layer: usize,
        count: usize,
        [rows, columns]: [usize; 2],
    ) -> Result<WeightId> {
        let mut parts = Vec::new();
        for role in roles {
            if let Some((index, tensor)) = self.tensor(*role, layer, &[count, rows, columns])? {
                parts.push(WeightPart { source: Source::Tensor(index), format: tensor.format()?, rows: count * rows });
                continue;
            }
            for expert in 0..count {
                let name = names::name_of_expert(self.config.architecture, self.config.kind, *role, layer, expert);
                let found = name.as_ref().and_then(|name| self.by_name.get(name.as_str()));
                let Some(&index) = found else {
                    // A file that has none of them lacks the tensor of all.
                    let of_all = expert == 0 && self.config.kind == Conventions::Gguf;
                    let tensor = name.filter(|_| !of_all).unwrap_or_else(|| self.name(*role, layer));
                    return Err(Error::MissingTensor { tensor });
                };
                let tensor = self.shaped(index, &[rows, columns])?;
                parts.push(WeightPart { source: Source::Tensor(index), format: tensor.format()?, rows });
            }
        }
        self.stack(label, columns, parts)
    }
}
