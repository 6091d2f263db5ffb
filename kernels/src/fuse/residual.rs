//! `add(matmul(x), residual)` becomes a matmul that adds the residual as it writes: a value less to write and to read.

use super::{DeviceNodes, Replacement, Rule};
use crate::graph::Node;
use crate::op::Op;

/// The rule.
#[derive(Debug)]
pub struct ResidualIntoProduct;

impl Rule for ResidualIntoProduct {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn replacement(&self, part: &DeviceNodes, index: usize) -> Option<Replacement> {
        let (product, sum) = (part.nodes.get(index)?, part.nodes.get(index + 1)?);
        let (Op::MatMul(_), Op::Add(_), Some(value)) = (&product.op, &sum.op, product.output) else { return None };
        if product.inputs.has("residual") || !part.is_read_once(value) {
            return None;
        }
        let addends = ["a", "b"].map(|name| sum.inputs[name]);
        let whole = part.graph.whole(value);
        let residual = match addends {
            [a, residual] if a == whole => residual,
            [residual, b] if b == whole => residual,
            _ => return None,
        };
        let mut inputs = product.inputs.clone();
        inputs.push("residual", residual);
        let node = Node { inputs, output: sum.output, ..product.clone() };
        Some(Replacement { replaced: 2, nodes: vec![node] })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use crate::add::Add;
    use crate::cases::Case;
    use crate::device::{Features, Processor};
    use crate::fuse::{RULES, rewrite};
    use crate::graph::{Graph, Output, Rows};
    use crate::matmul::MatMul;
    use crate::op::Op;
    use crate::reference::{Machine, nmse};

    const DEVICE: Features = Features {
        subgroup: None,
        f16: false,
        workgroup_bytes: 16384,
        workgroup_invocations: 256,
        processor: Processor::Gpu,
    };

    /// Two layers, each a matmul whose product is added to the residual; the products of `shared` layers are outputs too.
    fn case(shared: &[usize]) -> Case {
        let mut case = Case::new("fuse", "two layers".into(), 3);
        let mut residual = case.graph.input("residual", Rows::Tokens, 36);
        for layer in 0..2 {
            case.graph.mark();
            let weight = case.random_weight(&[36], 36);
            let (product, sum) =
                (case.graph.value("product", Rows::Tokens, 36), case.graph.value("sum", Rows::Tokens, 36));
            let whole = |graph: &Graph, name, value| (name, graph.whole(value));
            let input = [whole(&case.graph, "input", residual)];
            case.graph.node(Op::MatMul(MatMul::PLAIN), &input, &[("weight", weight)], None, Some(product));
            // On either side.
            let (a, b) = if layer == 0 { (residual, product) } else { (product, residual) };
            let addends = [whole(&case.graph, "a", a), whole(&case.graph, "b", b)];
            case.graph.node(Op::Add(Add), &addends, &[], None, Some(sum));
            if shared.contains(&layer) {
                case.graph.outputs.push((Output::LogSumExp, product));
            }
            residual = sum;
        }
        case.graph.mark();
        case.output(residual);
        case
    }

    #[test]
    fn a_residual_goes_into_the_product() {
        let check = |shared: &[usize], range: Range<usize>, nodes: usize| {
            let case = case(shared);
            let mut rewritten = case.graph.clone();
            let part = rewrite(&case.graph, range.clone(), DEVICE, RULES);
            assert_eq!(part.len(), nodes);
            rewritten.nodes.splice(range, part);
            let output = |graph: &Graph| {
                let mut machine = Machine::new(graph, case.host_weights(), case.kv_type, case.pages());
                let values = machine.step(&case.steps[0], case.given(0), &[Output::Logits]);
                values[&graph.outputs.last().expect("it has one").1].clone()
            };
            // The sum is rounded once instead of twice.
            assert!(nmse(&output(&case.graph), &output(&rewritten)) < 1e-13);
        };
        check(&[], 0..4, 2);
        // A product that somebody else reads must be written.
        check(&[0], 0..4, 3);
        check(&[0, 1], 0..4, 4);
        // A device rewrites what it runs, and no more.
        check(&[], 0..2, 1);
        check(&[], 0..1, 1);
        check(&[], 1..3, 2);
    }
}
