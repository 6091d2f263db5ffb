//! Cases of the matmul.

use super::MatMul;
use crate::cases::Case;
use crate::formats::{self, Format};
use crate::gated::Activation;
use crate::graph::{Rows, Weight};
use crate::op::Op;

/// Every format with every number of columns; tiles; rows of input and weight that nothing divides; residuals; shards. Those of
/// directories differ in little but the numbers of a block, and have fewer cases each.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for format in formats::ALL {
        cases.push(case(format, 320, &[70, 9, 40], 3, Variant::Shards));
        cases.push(case(format, 320, &[70, 9, 40], 33, Variant::Shards));
        cases.push(case(format, 2048, &[33], 40, Variant::Large));
    }
    // What is added, the norm and the gate are no matter of formats: floats, and one with scales.
    for format in &formats::GGUF[..3] {
        for tokens in [1, 2, 7, 8, 33] {
            cases.push(case(*format, 320, &[70, 9, 40], tokens, Variant::Norm));
            cases.push(case(*format, 96, &[37], tokens, Variant::NormAndResidual));
            cases.push(case(*format, 96, &[70], tokens, Variant::Gate(Activation::GeluTanh)));
            cases.push(case(*format, 320, &[37, 37], tokens, Variant::NormAndGate));
            cases.push(case(*format, 320, &[45, 45], tokens, Variant::GateInShards));
        }
        for tokens in [1, 3, 33] {
            cases.push(case(*format, 320, &[70, 9, 40], tokens, Variant::Bias));
            cases.push(case(*format, 96, &[37], tokens, Variant::BiasAndResidual));
        }
    }
    for format in formats::GGUF {
        cases.extend((1..=8).map(|columns| case(format, 256, &[67], columns, Variant::Plain)));
        cases.push(case(format, 2048, &[33], 1, Variant::Residual));
        cases.push(case(format, 96, &[1], 1, Variant::Large));
        cases.push(case(format, 64, &[100], 9, Variant::Plain));
        cases.push(case(format, 288, &[65], 130, Variant::Residual));
        cases.push(case(format, 64, &[33], 513, Variant::Plain));
        if format.block_elements == 1 {
            for width in [1, 7, 33, 172] {
                cases.push(case(format, width, &[37], 3, Variant::Norm));
                cases.push(case(format, width, &[37], 2, Variant::Plain));
                cases.push(case(format, width, &[37], 11, Variant::Residual));
            }
        }
    }
    cases
}

/// One column, the most columns and tiles, of a matrix of 2048 × 2048 in every format.
pub fn large_cases() -> Vec<Case> {
    let columns = [1, 8, 128];
    let of_format = |format| columns.map(|columns| case(format, 2048, &[2048], columns, Variant::Plain));
    formats::ALL.into_iter().flat_map(of_format).collect()
}

/// A matrix of a format, stacked from parts of this many rows, as wide as its blocks allow at least, times some tokens.
fn case(format: Format, width: usize, parts: &[usize], tokens: usize, variant: Variant) -> Case {
    let width = width.next_multiple_of(format.block_elements);
    let rows: usize = parts.iter().sum();
    let mut case = Case::new("matmul", format!("{tokens}x{width} by {rows}{}", variant.name()), tokens);
    case.format = Some(format);
    case.max_shard =
        matches!(variant, Variant::Shards | Variant::Bias | Variant::Norm | Variant::GateInShards).then_some(16 * 1024);
    case.magnitude = if variant == Variant::Large { 1e6 } else { 1.0 };
    let input = case.graph.input("input", Rows::Tokens, width);
    let weight = case.random_weight(parts, width);
    let mut op = MatMul::PLAIN;
    (op.norm, op.gate) = match variant {
        Variant::Norm | Variant::NormAndResidual => (Some(1e-5), None),
        Variant::NormAndGate => (Some(1e-5), Some(Activation::Silu)),
        Variant::Gate(activation) => (None, Some(activation)),
        Variant::GateInShards => (Some(1e-5), Some(Activation::SiluClamped { limit: 0.5 })),
        _ => (None, None),
    };
    let width_out = if op.gate.is_some() { rows / 2 } else { rows };
    let output = case.graph.value("output", Rows::Tokens, width_out);
    let mut inputs = vec![("input", case.graph.whole(input))];
    if matches!(variant, Variant::Residual | Variant::BiasAndResidual | Variant::NormAndResidual) {
        let residual = case.graph.input("residual", Rows::Tokens, rows);
        inputs.push(("residual", case.graph.whole(residual)));
    }
    let mut weights = vec![("weight", weight)];
    let mut vector = |name, count: usize| {
        let numbers: Vec<f32> = (0..count).map(|index| (index as f32 * 0.7).cos() * 3.0).collect();
        weights.push((name, case.graph.weight(Weight::computed(name, count, numbers))));
    };
    if op.norm.is_some() {
        vector("gain", width);
    }
    if matches!(variant, Variant::Bias | Variant::BiasAndResidual | Variant::NormAndGate) {
        op.scale = 0.625;
        vector("bias", rows);
    }
    case.graph.node(Op::MatMul(op), &inputs, &weights, None, Some(output));
    case.output(output);
    case
}

/// What is special about a case.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Variant {
    Plain,
    Residual,
    Shards,
    Large,
    /// In shards, scaled too.
    Bias,
    BiasAndResidual,
    /// In shards.
    Norm,
    NormAndResidual,
    Gate(Activation),
    /// With a bias too, scaled.
    NormAndGate,
    /// Normalised too; the halves lie in several shards.
    GateInShards,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Plain => "",
            Variant::Residual => " plus residual",
            Variant::Shards => " in shards",
            Variant::Large => " to 1e6",
            Variant::Bias => " plus bias, in shards",
            Variant::BiasAndResidual => " plus bias and residual",
            Variant::Norm => " normalised, in shards",
            Variant::NormAndResidual => " normalised, plus residual",
            Variant::Gate(_) => " gated",
            Variant::NormAndGate => " normalised and gated, plus bias",
            Variant::GateInShards => " normalised and gated, in shards",
        }
    }
}
