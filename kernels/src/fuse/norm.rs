//! `matmul(rms_norm(x))` becomes a matmul that normalises what it reads: a dispatch less, and no value between.

use super::{DeviceNodes, Replacement, Rule};
use crate::graph::Node;
use crate::matmul::MatMul;
use crate::op::Op;

/// The rule.
#[derive(Debug)]
pub struct NormIntoProduct;

impl Rule for NormIntoProduct {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn replacement(&self, part: &DeviceNodes, index: usize) -> Option<Replacement> {
        let (norm, product) = (part.nodes.get(index)?, part.nodes.get(index + 1)?);
        let (Op::RmsNorm(rms), Op::MatMul(matmul), Some(value)) = (&norm.op, &product.op, norm.output) else {
            return None;
        };
        let input = norm.inputs["input"];
        // A product reads its input in quads. On the host a norm costs little and has a memory of its own.
        let fits = rms.groups == 1 && !norm.inputs.has("residual") && input.offset.is_multiple_of(4);
        let reads = product.inputs["input"] == part.graph.whole(value);
        if part.features.is_host() || !fits || !reads || matmul.norm.is_some() || !part.is_read_once(value) {
            return None;
        }
        let (mut inputs, mut weights) = (product.inputs.clone(), product.weights.clone());
        inputs["input"] = input;
        weights.push("gain", norm.weights["weight"]);
        let op = Op::MatMul(MatMul { norm: Some(rms.epsilon), ..matmul.clone() });
        Some(Replacement { replaced: 2, nodes: vec![Node { op, inputs, weights, ..product.clone() }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Case;
    use crate::fuse::testing::{GPU, HOST, check};
    use crate::graph::{Graph, Rows};
    use crate::rms_norm::RmsNorm;

    /// A norm of some columns, and products of it.
    fn case(offset: usize, groups: usize, products: usize) -> Case {
        let mut case = Case::new("fuse", "a norm before products".into(), 3);
        let input = case.graph.input("input", Rows::Tokens, 40);
        let normed = case.graph.value("normed", Rows::Tokens, 36);
        let gain = case.random_weight(&[1], 36);
        let columns = crate::graph::Slice { value: input, offset, width: 36 };
        let norm = Op::RmsNorm(RmsNorm { epsilon: 1e-5, groups });
        case.graph.node(norm, &[("input", columns)], &[("weight", gain)], None, Some(normed));
        let all = |graph: &Graph| [("input", graph.whole(normed))];
        for _ in 0..products {
            let weight = case.random_weight(&[20], 36);
            let product = case.graph.value("product", Rows::Tokens, 20);
            let inputs = all(&case.graph);
            case.graph.node(Op::MatMul(MatMul::PLAIN), &inputs, &[("weight", weight)], None, Some(product));
            case.output(product);
        }
        case
    }

    #[test]
    fn a_norm_goes_into_the_one_product_that_reads_it() {
        check(&case(0, 1, 1), GPU, 1);
        check(&case(4, 1, 1), GPU, 1);
        check(&case(2, 1, 1), GPU, 2);
        check(&case(0, 3, 1), GPU, 2);
        check(&case(0, 1, 2), GPU, 3);
        check(&case(0, 1, 1), HOST, 2);
    }
}
