//! The columns of a value in another order, for weights whose columns were sorted by the group that scales them.
//!
//! GPTQ's activation order (`desc_act`) quantises columns by the size of their activations, so that a group's columns lie
//! anywhere. Sorted, a group is a block; then the input must be in the same order.

use crate::cases::{Case, Random};
use crate::formats::F32;
use crate::graph::{Part, Rows, Source, Weight};
use crate::op::{Binding, Count, Dispatch, Extent, Grid, Kernel, Lowered, Op, Shader, Site, Work};
use crate::reference::Operands;

const WORKGROUP: u32 = 64;

/// Input `[rows, width]`, weight `[1, width]` of whole numbers below `width`, below 2^24; output `[rows, width]`.
#[derive(Debug, Clone)]
pub struct Reorder;

impl Kernel for Reorder {
    fn name(&self) -> &'static str {
        "reorder"
    }

    fn lower(&self, site: &Site) -> Lowered {
        let (input, out) = (site.inputs[0], site.output());
        Lowered::one(Dispatch {
            shader: Shader {
                name: "reorder",
                source: include_str!("reorder.wgsl"),
                modules: vec![],
                constants: vec![("WORKGROUP", WORKGROUP)],
            },
            params: vec![out.width, input.offset, input.stride, out.offset, out.stride],
            bindings: vec![Binding::Shard { weight: 0, shard: 0 }, Binding::Input(0), Binding::Output],
            grid: Grid {
                spread: Count::fixed(out.width.div_ceil(WORKGROUP)),
                rows: Count::each(Extent::Rows(site.rows)),
            },
            work: Work::fixed(u64::from(WORKGROUP)),
        })
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let order = operands.weights[0].row(0);
        let input = &operands.inputs[0];
        (0..operands.rows).flat_map(|row| order.iter().map(move |column| input.row(row)[*column as usize])).collect()
    }
}

/// A weight that says which column of the input each column of the output is.
pub fn order_weight(name: String, order: &[u32]) -> Weight {
    let numbers: Vec<f32> = order.iter().map(|column| *column as f32).collect();
    let part = Part { source: Source::Computed(numbers.into()), format: F32, rows: 1 };
    Weight { name, columns: order.len(), parts: vec![part], held: None }
}

/// Shuffled columns: one, and widths that nothing divides.
pub fn cases() -> Vec<Case> {
    let case = |(width, tokens): (usize, usize)| {
        let mut case = Case::new("reorder", format!("{tokens}x{width}"), tokens);
        let mut order: Vec<u32> = (0..width as u32).collect();
        Random::new(width as u64).shuffle(&mut order);
        let input = case.graph.input("input", Rows::Tokens, width);
        let weight = case.graph.weight(order_weight("order".into(), &order));
        let reordered = case.graph.value("reordered", Rows::Tokens, width);
        let inputs = [case.graph.whole(input)];
        case.graph.node(Op::Reorder(Reorder), &inputs, &[weight], None, Some(reordered));
        case.output(reordered);
        case
    };
    [(1, 1), (33, 5), (2048, 100)].into_iter().map(case).collect()
}
