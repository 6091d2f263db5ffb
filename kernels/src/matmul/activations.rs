//! The input of products: as it is, or in 8 bits, rounded once for all rows of a weight that it meets in integer dot products.

use std::borrow::Cow;

use crate::candidate::Candidate;
use crate::dispatch::{Binding, Bound, Count, Extent, Grid, Launch, Lowered, NamedWgsl, Param, Work, read, write};
use crate::formats::BLOCK32;
use crate::lowering::{Batch, LoweringContext, View};
use crate::params;

const WORKGROUP: u32 = 64;

/// `vec4<u32>` of a rounded block of 32.
const FIELDS: u32 = 3;

/// The shape of rounded input, for whoever reads a composed shader.
pub(super) const ROUNDED: &str = "[blocks of 32 of all rows of input, 3], or [3, blocks] where rows are few";

/// Rows of this many elements in single precision, which may end within a block of 32.
pub(super) fn input_module(width: u32) -> NamedWgsl {
    let source = match width.is_multiple_of(BLOCK32 as u32) {
        true => include_str!("input_whole.wgsl"),
        false => include_str!("input_ragged.wgsl"),
    };
    ("input", source)
}

/// The gain of a norm, and its binding, where there is one.
pub(super) fn gain(is_normalised: bool) -> (NamedWgsl, Option<Bound>) {
    if !is_normalised {
        return (("gain", include_str!("gain_none.wgsl")), None);
    }
    let numbers = Binding::Shard { weight: "gain", shard: 0 };
    (("gain", include_str!("gain_vector.wgsl")), Some(read("gain", "vec4<f32>", "[width / 4]", numbers)))
}

/// Blocks of 32 in a row of input.
fn row_blocks(context: &LoweringContext) -> u32 {
    context.inputs["input"].width.div_ceil(BLOCK32 as u32)
}

/// The module that says where a rounded block lies, and its parameters.
pub(super) fn rounded_module(context: &LoweringContext) -> (NamedWgsl, Vec<(&'static str, Param)>) {
    match context.batch {
        Batch::Few(_) => {
            let blocks = context.max_rows * row_blocks(context);
            (("rounded", include_str!("rounded_planes.wgsl")), params! { blocks: blocks })
        }
        Batch::OneTile | Batch::Many => (("rounded", include_str!("rounded_blocks.wgsl")), Vec::new()),
    }
}

/// Adds the rounding of the input that a binding has, where the candidate rounds; gives what the product is to take as its context and its input. A
/// gain is multiplied with before: what is left of a norm is one number for each row.
pub(crate) fn of_candidate<'c, 'a>(
    candidate: &Candidate,
    context: &'c LoweringContext<'a>,
    input: Binding,
    lowered: &mut Lowered,
) -> (Cow<'c, LoweringContext<'a>>, Binding) {
    if !candidate.rounds() {
        return (Cow::Borrowed(context), input);
    }
    let (view, blocks32) = (context.inputs["input"], row_blocks(context));
    lowered.scratch.push(u64::from(context.max_rows) * u64::from(blocks32) * u64::from(FIELDS) * 16);
    let rounded = Binding::Scratch(lowered.scratch.len() - 1);
    let (gain_module, gain) = gain(context.weights.has("gain"));
    let (rounded_module, rounded_params) = rounded_module(context);
    let mut params = params! { width: view.width, input: view.quads() };
    params.extend(rounded_params);
    let mut bindings = vec![
        read("input", "vec4<f32>", "[rows, input_stride]", input),
        write("activations", "vec4<u32>", ROUNDED, rounded),
    ];
    bindings.extend(gain);
    let launch = Launch {
        shader: ("activations", include_str!("activations.wgsl")),
        modules: vec![input_module(view.width), gain_module, rounded_module],
        constants: vec![("WORKGROUP", WORKGROUP)],
        params,
        bindings,
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
