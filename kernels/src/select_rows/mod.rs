//! The rows of a value whose logits are wanted.

use crate::cases::Case;
use crate::graph::Rows;
use crate::op::{Binding, Count, Dispatch, Extent, Grid, Kernel, Lowered, Op, Shader, Site, Work};
use crate::reference::Operands;

const WORKGROUP: u32 = 64;

/// Input `[tokens, width]`; output `[selected, width]`, the input's rows that the step selects.
#[derive(Debug, Clone)]
pub struct SelectRows;

impl Kernel for SelectRows {
    fn name(&self) -> &'static str {
        "select_rows"
    }

    fn lower(&self, site: &Site) -> Lowered {
        let (input, out) = (site.inputs[0], site.output());
        Lowered::one(Dispatch {
            shader: Shader {
                name: "select_rows",
                source: include_str!("select_rows.wgsl"),
                modules: vec![],
                constants: vec![("WORKGROUP", WORKGROUP)],
            },
            params: vec![out.width, input.offset, input.stride, out.offset, out.stride],
            bindings: vec![Binding::Selected, Binding::Input(0), Binding::Output],
            grid: Grid {
                spread: Count::fixed(out.width.div_ceil(WORKGROUP)),
                rows: Count::each(Extent::Rows(site.rows)),
            },
            work: Work::fixed(u64::from(WORKGROUP)),
        })
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let input = &operands.inputs[0];
        operands.step.selected.iter().flat_map(|token| input.row(*token as usize)).copied().collect()
    }
}

/// One token, and many of which few are wanted.
pub fn cases() -> Vec<Case> {
    let case = |(width, tokens): (usize, usize)| {
        let mut case = Case::new("select_rows", format!("{tokens}x{width}"), tokens);
        let input = case.graph.input("input", Rows::Tokens, width);
        let selected = case.graph.value("selected", Rows::Selected, width);
        let inputs = [case.graph.whole(input)];
        case.graph.node(Op::SelectRows(SelectRows), &inputs, &[], None, Some(selected));
        case.output(selected);
        case
    };
    [(1, 1), (33, 5), (2048, 100)].into_iter().map(case).collect()
}
