//! Input in 8 bits, rounded once for all rows of a weight that it meets in integer dot products.

use std::borrow::Cow;

use super::product::{ROUNDED, input_module};
use crate::candidate::Candidate;
use crate::dispatch::{Binding, Count, Extent, Grid, Launch, Lowered, Work, read, write};
use crate::formats::BLOCK32;
use crate::lowering::{LoweringContext, View};
use crate::params;

const WORKGROUP: u32 = 64;

/// `vec4<u32>` of a block of 32: two of bytes, one of its scale and its scaled sums.
const BLOCK_VEC4: u64 = 3;

/// Adds the rounding of the input that a binding has, where the candidate rounds; gives what the product is to take as its context and its input.
pub(crate) fn of_candidate<'c, 'a>(
    candidate: &Candidate,
    context: &'c LoweringContext<'a>,
    input: Binding,
    lowered: &mut Lowered,
) -> (Cow<'c, LoweringContext<'a>>, Binding) {
    if !candidate.rounds() {
        return (Cow::Borrowed(context), input);
    }
    let view = context.inputs["input"];
    let blocks32 = view.width.div_ceil(BLOCK32 as u32);
    lowered.scratch.push(u64::from(context.max_rows) * u64::from(blocks32) * BLOCK_VEC4 * 16);
    let rounded = Binding::Scratch(lowered.scratch.len() - 1);
    let launch = Launch {
        shader: ("activations", include_str!("activations.wgsl")),
        modules: vec![("input", input_module(view.width))],
        constants: vec![("WORKGROUP", WORKGROUP)],
        params: params! { width: view.width, input: view.quads() },
        bindings: vec![
            read("input", "vec4<f32>", "[rows, input_stride]", input),
            write("activations", "vec4<u32>", ROUNDED, rounded),
        ],
        grid: Grid {
            spread: Count::fixed(blocks32.div_ceil(WORKGROUP)),
            rows: Count::each(Extent::Rows(context.rows)),
        },
        work: Work::fixed(u64::from(WORKGROUP) * BLOCK32 as u64 * 4),
    };
    lowered.append(Lowered::one(launch), |binding| binding);
    let mut product = context.clone();
    product.inputs["input"] = View { offset: 0, stride: blocks32 * BLOCK32 as u32, width: view.width };
    (Cow::Owned(product), rounded)
}
