//! `add(matmul(x), residual)` becomes a matmul that adds the residual as it writes, and a norm likewise: a value less to write and to read.

use super::{DeviceNodes, Replacement, Rule};
use crate::graph::Node;
use crate::op::Op;

/// The rule.
#[derive(Debug)]
pub struct ResidualIntoSummand;

impl Rule for ResidualIntoSummand {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn replacement(&self, part: &DeviceNodes, index: usize) -> Option<Replacement> {
        let (summand, sum) = (part.nodes.get(index)?, part.nodes.get(index + 1)?);
        let (Op::Add(_), Some(value)) = (&sum.op, summand.output) else { return None };
        let takes_residual = match &summand.op {
            Op::MatMul(product) => product.gate.is_none(),
            Op::RmsNorm(_) => true,
            _ => false,
        };
        if !takes_residual || summand.inputs.has("residual") || !part.is_read_once(value) {
            return None;
        }
        let addends = ["a", "b"].map(|name| sum.inputs[name]);
        let whole = part.graph.whole(value);
        let residual = match addends {
            [a, residual] if a == whole => residual,
            [residual, b] if b == whole => residual,
            _ => return None,
        };
        let mut inputs = summand.inputs.clone();
        inputs.push("residual", residual);
        let node = Node { inputs, output: sum.output, ..summand.clone() };
        Some(Replacement { replaced: 2, nodes: vec![node] })
    }
}

#[cfg(test)]
mod tests {
    use crate::add::Add;
    use crate::cases::Case;
    use crate::fuse::testing::{GPU, check_range};
    use crate::graph::{Graph, Output, Rows};
    use crate::matmul::MatMul;
    use crate::op::Op;

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
        let check = |shared: &[usize], range, nodes| check_range(&case(shared), range, GPU, nodes);
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
