//! `gated(matmul(x))`, of a product whose halves are gate and up, becomes a matmul that gates as it writes: of both halves nothing is
//! written or read. So do the products of experts.

use super::{DeviceNodes, Replacement, Rule};
use crate::graph::{Node, Slice};
use crate::grouped_matmul::GroupedMatMul;
use crate::matmul::MatMul;
use crate::op::Op;

/// The rule.
#[derive(Debug)]
pub struct GateIntoProduct;

impl Rule for GateIntoProduct {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn replacement(&self, part: &DeviceNodes, index: usize) -> Option<Replacement> {
        let (product, gated) = (part.nodes.get(index)?, part.nodes.get(index + 1)?);
        let (Op::Gated(gate), Some(value)) = (&gated.op, product.output) else { return None };
        let width = part.graph.values[value.0].width / 2;
        let halves = [("gate", 0), ("up", width)];
        let meet = halves.iter().all(|(name, offset)| gated.inputs[*name] == Slice { value, offset: *offset, width });
        // On the host halves would have a memory of their own: see `gated::run_products`.
        if part.features.is_host() || !meet || product.inputs.has("residual") || !part.is_read_only_by(value, gated) {
            return None;
        }
        let gate = Some(gate.activation);
        let op = match &product.op {
            Op::MatMul(op) if op.gate.is_none() => Op::MatMul(MatMul { gate, ..op.clone() }),
            Op::GroupedMatMul(op) if op.gate.is_none() && op.parts == 2 => {
                Op::GroupedMatMul(GroupedMatMul { gate, ..op.clone() })
            }
            _ => return None,
        };
        Some(Replacement { replaced: 2, nodes: vec![Node { op, output: gated.output, ..product.clone() }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Case;
    use crate::fuse::testing::{GPU, HOST, check};
    use crate::gated::{Activation, Gated};
    use crate::graph::{Output, Rows};
    use crate::grouped_matmul::Stack;

    /// A product whose columns from some on are gate and up, which an output may read too.
    fn case(op: Op, offset: usize, is_output: bool) -> Case {
        let mut case = Case::new("fuse", "a gate after a product".into(), 3);
        let input = case.graph.input("input", Rows::Tokens, 36);
        let weight = case.random_weight(&[20, 20], 36);
        let product = case.graph.value("gate_up", Rows::Tokens, 40);
        let all = case.graph.whole(input);
        case.graph.node(op, &[("input", all)], &[("weight", weight)], None, Some(product));
        let width = 20 - offset;
        let half = |offset| Slice { value: product, offset, width };
        let inputs = [("gate", half(offset)), ("up", half(offset + width))];
        let gated = case.graph.value("gated", Rows::Tokens, width);
        let gate = Op::Gated(Gated { activation: Activation::Silu });
        case.graph.node(gate, &inputs, &[], None, Some(gated));
        case.output(gated);
        if is_output {
            case.graph.outputs.push((Output::LogSumExp, product));
        }
        case
    }

    #[test]
    fn a_gate_goes_into_the_product_of_its_halves() {
        let product = || Op::MatMul(MatMul::PLAIN);
        check(&case(product(), 0, false), GPU, 1);
        check(&case(product(), 4, false), GPU, 2);
        check(&case(product(), 0, true), GPU, 2);
        check(&case(product(), 0, false), HOST, 2);
        let grouped = |parts: usize| {
            let slots = 2 / parts;
            let stack = Stack::PartByPart;
            Op::GroupedMatMul(GroupedMatMul { matrices: slots, slots, parts, stack, gate: None })
        };
        check(&case(grouped(2), 0, false), GPU, 1);
        check(&case(grouped(1), 0, false), GPU, 2);
    }
}
