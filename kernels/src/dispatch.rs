//! Dispatches: what a kernel makes of a node. A shader's `Params` and bindings are declared here once, and
//! [`crate::compose`] writes their WGSL.

use std::hash::{Hash, Hasher};

use crate::formats::BLOCK32;
use crate::graph::Rows;
use crate::lowering::{LoweringContext, View};

/// What a binding of a shader is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// An input of the node, by its name.
    Input(&'static str),
    /// The output of the node.
    Output,
    /// A shard of a weight of the node.
    Shard {
        /// The weight's name.
        weight: &'static str,
        /// Which shard.
        shard: usize,
    },
    /// The keys of a cache shard.
    Keys(usize),
    /// The values of a cache shard: its keys, where the values are in them.
    Values(usize),
    /// Memory that lives within the node.
    Scratch(usize),
    /// The step's tokens: `vec4<u32>` of id, position, sequence, and 1 in a long sequence, else 0.
    Tokens,
    /// The step's attention blocks: `vec4<u32>` of first token, tokens, sequence and 0.
    Blocks,
    /// The step's selected tokens: `u32`.
    Selected,
    /// How the selected tokens' next ones are drawn: two `vec4<u32>` each (see [`Draw::words`](crate::sample::draw::Draw::words)).
    Draws,
    /// The page table: `u32`, `[sequences, pages_per_sequence]`.
    Pages,
}

/// What a shader does with a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes, and may read what it wrote.
    Write,
}

/// A binding as a shader declares it: an array under a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Declaration {
    /// Its name in the shader.
    pub name: &'static str,
    /// The WGSL type of an element.
    pub element: &'static str,
    /// The array's shape, for whoever reads the composed shader.
    pub shape: &'static str,
    /// What the shader does with it.
    pub access: Access,
}

/// A declared binding and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// As the shader declares it.
    pub declaration: Declaration,
    /// What it is bound to.
    pub to: Binding,
}

/// An array that a shader reads.
pub fn read(name: &'static str, element: &'static str, shape: &'static str, from: Binding) -> Bound {
    Bound { declaration: Declaration { name, element, shape, access: Access::Read }, to: from }
}

/// An array that a shader writes.
pub fn write(name: &'static str, element: &'static str, shape: &'static str, to: Binding) -> Bound {
    Bound { declaration: Declaration { name, element, shape, access: Access::Write }, to }
}

/// The step's tokens, under the name `tokens`.
pub fn read_tokens() -> Bound {
    read("tokens", "vec4<u32>", "[tokens] of id, position, sequence, 1 in a long one", Binding::Tokens)
}

/// The page table, under the name `pages`.
pub fn read_pages() -> Bound {
    read("pages", "u32", "[sequences, pages_per_sequence]", Binding::Pages)
}

/// What a shader is told in its `Params`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param {
    /// A `u32`.
    U32(u32),
    /// An `f32`.
    F32(f32),
    /// Where a view lies: `NAME_offset` and `NAME_stride`.
    View {
        /// To the first element of the first row.
        offset: u32,
        /// From a row to the next.
        stride: u32,
    },
}

impl From<u32> for Param {
    fn from(number: u32) -> Param {
        Param::U32(number)
    }
}

impl From<f32> for Param {
    fn from(number: f32) -> Param {
        Param::F32(number)
    }
}

impl From<View> for Param {
    /// In elements of 32 bits.
    fn from(View { offset, stride, .. }: View) -> Param {
        Param::View { offset, stride }
    }
}

impl View {
    /// The view in a buffer whose elements are `vec4`.
    ///
    /// Panics where it does not begin at one.
    pub fn quads(self) -> Param {
        assert!(self.offset.is_multiple_of(4), "a view in vec4 begins at one");
        Param::View { offset: self.offset / 4, stride: self.stride / 4 }
    }
}

impl Param {
    /// Its fields: what their names end with, their WGSL types, and their bits.
    fn fields(self) -> Vec<(Field, u32)> {
        match self {
            Param::U32(number) => vec![(Field { suffix: "", kind: "u32" }, number)],
            Param::F32(number) => vec![(Field { suffix: "", kind: "f32" }, number.to_bits())],
            Param::View { offset, stride } => vec![
                (Field { suffix: "_offset", kind: "u32" }, offset),
                (Field { suffix: "_stride", kind: "u32" }, stride),
            ],
        }
    }
}

/// A field of `Params`: how its name ends, and its WGSL type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Field {
    /// What follows the parameter's name.
    pub suffix: &'static str,
    /// The WGSL type.
    pub kind: &'static str,
}

/// What a shader is told, by name: `params! { rows: 3, scale: 0.5, output: view }`.
#[macro_export]
macro_rules! params {
    ($($name:ident: $param:expr),* $(,)?) => {
        vec![$((stringify!($name), $crate::dispatch::Param::from($param))),*]
    };
}

/// A number of a step that the size of a dispatch depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Always one.
    One,
    /// Rows of this kind.
    Rows(Rows),
    /// Attention blocks.
    Blocks,
    /// Keys of the longest sequence.
    Keys,
}

/// A number of workgroups: `min(ceil(extent / divisor), most) * factor + plus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Count {
    /// What varies.
    pub extent: Extent,
    /// How much of it one workgroup takes.
    pub divisor: u32,
    /// The most that are counted.
    pub most: u32,
    /// Workgroups for each.
    pub factor: u32,
    /// Workgroups that are always there.
    pub plus: u32,
}

impl Count {
    /// Always this many.
    pub fn fixed(count: u32) -> Count {
        Count { extent: Extent::One, divisor: 1, most: u32::MAX, factor: count, plus: 0 }
    }

    /// One for each.
    pub fn each(extent: Extent) -> Count {
        Count::per(extent, 1)
    }

    /// One for every `divisor`.
    pub fn per(extent: Extent, divisor: u32) -> Count {
        Count { extent, divisor, most: u32::MAX, factor: 1, plus: 0 }
    }

    /// The number in a step of this size.
    pub fn at(self, size: StepSize) -> u32 {
        let extent = match self.extent {
            Extent::One => 1,
            Extent::Rows(Rows::Tokens) => size.tokens,
            Extent::Rows(Rows::Selected) => size.selected,
            Extent::Blocks => size.blocks,
            Extent::Keys => size.keys,
        };
        extent.div_ceil(self.divisor).min(self.most) * self.factor + self.plus
    }
}

/// The numbers of a step that dispatches depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepSize {
    /// Tokens.
    pub tokens: u32,
    /// Tokens whose logits are wanted.
    pub selected: u32,
    /// Attention blocks.
    pub blocks: u32,
    /// Keys of the longest sequence.
    pub keys: u32,
}

/// Workgroups of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Along x; past the device's limit it goes on along z, and shaders take `spread_index`.
    pub spread: Count,
    /// Along y, mostly one for each row or tile of rows.
    pub rows: Count,
}

/// Multiply-adds of one workgroup, roughly: `operations` for each of an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Multiply-adds.
    pub operations: u64,
    /// Of what.
    pub each: Extent,
}

impl Work {
    /// This many, whatever the step.
    pub fn fixed(operations: u64) -> Work {
        Work { operations, each: Extent::One }
    }

    /// Multiply-adds of all workgroups in a step of this size, roughly.
    pub fn operations(self, grid: Grid, size: StepSize) -> u64 {
        let groups = u64::from(grid.spread.at(size)) * u64::from(grid.rows.at(size));
        groups * self.operations * u64::from(Count::each(self.each).at(size))
    }
}

/// WGSL under a name: a shader's own text, or a module by the name under which it is imported.
pub type NamedWgsl = (&'static str, &'static str);

/// A shader and how it is specialised; equal shaders are one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shader {
    /// Its name, for labels.
    pub name: &'static str,
    /// Its WGSL, with `#import` lines.
    pub source: &'static str,
    /// What its `#import` lines stand for, by name.
    pub modules: Vec<NamedWgsl>,
    /// `const` numbers set in the source.
    pub constants: Vec<(&'static str, u32)>,
    /// The fields of its `Params`, by the names of the parameters.
    pub params: Vec<(&'static str, Field)>,
    /// Its bindings from 1 on; binding 0 is `params`.
    pub bindings: Vec<Declaration>,
}

/// By what tells shaders apart mostly; sources are long, and there are thousands in the plan of a large model.
impl Hash for Shader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.source.len().hash(state);
        self.modules.iter().for_each(|(name, source)| (name, source.len()).hash(state));
        self.constants.hash(state);
    }
}

/// One dispatch of a node, as a kernel writes it.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The shader's name and WGSL.
    pub shader: NamedWgsl,
    /// What its `#import` lines stand for.
    pub modules: Vec<NamedWgsl>,
    /// `const` numbers set in the source.
    pub constants: Vec<(&'static str, u32)>,
    /// What it is told: see [`crate::params`].
    pub params: Vec<(&'static str, Param)>,
    /// What it binds.
    pub bindings: Vec<Bound>,
    /// Workgroups.
    pub grid: Grid,
    /// What one workgroup computes, for bounding submissions.
    pub work: Work,
}

/// One dispatch of a node.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// What runs.
    pub shader: Shader,
    /// The words of its `Params`.
    pub params: Vec<u32>,
    /// What binding 1 and those after it are bound to.
    pub bindings: Vec<Binding>,
    /// Workgroups.
    pub grid: Grid,
    /// What one workgroup computes, for bounding submissions.
    pub work: Work,
}

impl From<Launch> for Dispatch {
    fn from(launch: Launch) -> Dispatch {
        let Launch { shader: (name, source), modules, constants, params, bindings, grid, work } = launch;
        let fields = params.into_iter().flat_map(|(name, param)| {
            let named = move |(field, word)| ((name, field), word);
            param.fields().into_iter().map(named)
        });
        let (fields, words) = fields.unzip();
        let (declarations, bound) = bindings.into_iter().map(|bound| (bound.declaration, bound.to)).unzip();
        let shader = Shader { name, source, modules, constants, params: fields, bindings: declarations };
        Dispatch { shader, params: words, bindings: bound, grid, work }
    }
}

/// Invocations of a workgroup of an element-wise dispatch.
const ELEMENTWISE: u32 = 64;

impl Launch {
    /// A launch with an invocation for each element of the output.
    ///
    /// The shader is told `width` of the output, what `params` hold, and where the inputs and the output lie. It binds what `bindings`
    /// hold, each input `[rows, …]` in f32 under its own name, and `output` `[rows, width]`.
    pub fn elementwise(
        context: &LoweringContext,
        shader: NamedWgsl,
        modules: Vec<NamedWgsl>,
        params: Vec<(&'static str, Param)>,
        bindings: Vec<Bound>,
    ) -> Launch {
        let output = context.output();
        let views = context.inputs.entries().map(|(name, view)| (name, Param::from(*view)));
        let inputs =
            context.inputs.entries().map(|(name, _)| read(name, "f32", "[rows, columns]", Binding::Input(name)));
        Launch {
            shader,
            modules,
            constants: vec![("WORKGROUP", ELEMENTWISE)],
            params: params! { width: output.width }
                .into_iter()
                .chain(params)
                .chain(views)
                .chain(params! { output: output })
                .collect(),
            bindings: bindings
                .into_iter()
                .chain(inputs)
                .chain([write("output", "f32", "[rows, width]", Binding::Output)])
                .collect(),
            grid: Grid {
                spread: Count::fixed(output.width.div_ceil(ELEMENTWISE)),
                rows: Count::each(Extent::Rows(context.rows)),
            },
            work: Work::fixed(u64::from(ELEMENTWISE)),
        }
    }
}

/// What a node becomes on a device.
#[derive(Debug, Clone, Default)]
pub struct Lowered {
    /// Dispatches in order.
    pub dispatches: Vec<Dispatch>,
    /// Bytes of each scratch buffer.
    pub scratch: Vec<u64>,
}

impl Lowered {
    /// A single dispatch without scratch memory.
    pub fn one(launch: Launch) -> Lowered {
        Lowered { dispatches: vec![launch.into()], scratch: Vec::new() }
    }

    /// Adds a dispatch after the others.
    pub fn push(&mut self, launch: Launch) {
        self.dispatches.push(launch.into());
    }

    /// Adds a scratch buffer that holds a value of this width; gives its binding, and where the value lies.
    pub fn scratch_value(&mut self, context: &LoweringContext, width: u32) -> (Binding, View) {
        let view = View { offset: 0, stride: width.next_multiple_of(BLOCK32 as u32), width };
        self.scratch.push(4 * u64::from(context.max_rows) * u64::from(view.stride));
        (Binding::Scratch(self.scratch.len() - 1), view)
    }

    /// Adds what another op became, which has no scratch memory, with other bindings in place of its own.
    ///
    /// Panics where it has scratch memory.
    pub fn append(&mut self, other: Lowered, binding: impl Fn(Binding) -> Binding) {
        assert!(other.scratch.is_empty(), "what is appended has no scratch memory");
        self.dispatches.extend(other.dispatches.into_iter().map(|mut dispatch| {
            dispatch.bindings.iter_mut().for_each(|bound| *bound = binding(*bound));
            dispatch
        }));
    }
}
