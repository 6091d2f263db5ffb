//! Ops and how one becomes dispatches: [`Op`], [`Kernel`], and the values that pass between a kernel and the engine.

use std::fmt;

use crate::add::Add;
use crate::attention::Attention;
use crate::embedding::Embedding;
use crate::formats::Format;
use crate::gated::Gated;
use crate::graph::{CacheSlot, Rows};
use crate::grouped_matmul::GroupedMatMul;
use crate::kv_cache::{KvType, KvWrite};
use crate::latent_heads::LatentHeads;
use crate::matmul::MatMul;
use crate::mix::Mix;
use crate::reference::Operands;
use crate::reorder::Reorder;
use crate::rms_norm::RmsNorm;
use crate::rope::Rope;
use crate::route::Route;
use crate::sample::{Argmax, Normaliser, TopK};
use crate::select_rows::SelectRows;
use crate::soft_cap::SoftCap;
use crate::step::MAX_COLUMNS;
use crate::temperature::Temperature;

/// An op of the graph; each variant is a folder.
#[derive(Debug, Clone)]
pub enum Op {
    /// Rows of a matrix by token id.
    Embedding(Embedding),
    /// Division by the root mean square, times a weight.
    RmsNorm(RmsNorm),
    /// Product with a weight matrix.
    MatMul(MatMul),
    /// Products of a token's slots, each with a matrix of its own or one that was chosen.
    GroupedMatMul(GroupedMatMul),
    /// The experts of a token, with their shares.
    Route(Route),
    /// The sum of what experts gave, by their shares.
    Mix(Mix),
    /// Columns in another order.
    Reorder(Reorder),
    /// Rotary position embedding.
    Rope(Rope),
    /// A factor that grows with the position.
    Temperature(Temperature),
    /// Queries and key of latent attention, turned and put together.
    LatentHeads(LatentHeads),
    /// Keys and values into the cache.
    KvWrite(KvWrite),
    /// Attention over the cache.
    Attention(Attention),
    /// Activated gate times up.
    Gated(Gated),
    /// Sum of two values.
    Add(Add),
    /// The rows whose logits are wanted.
    SelectRows(SelectRows),
    /// Softly bounded numbers.
    SoftCap(SoftCap),
    /// The id of the largest logit.
    Argmax(Argmax),
    /// The largest logits with their ids.
    TopK(TopK),
    /// The logarithm of the sum of exponentials.
    Normaliser(Normaliser),
}

impl Op {
    /// The op's behaviour.
    pub fn kernel(&self) -> &dyn Kernel {
        match self {
            Op::Embedding(op) => op,
            Op::RmsNorm(op) => op,
            Op::MatMul(op) => op,
            Op::GroupedMatMul(op) => op,
            Op::Route(op) => op,
            Op::Mix(op) => op,
            Op::Reorder(op) => op,
            Op::Rope(op) => op,
            Op::Temperature(op) => op,
            Op::LatentHeads(op) => op,
            Op::KvWrite(op) => op,
            Op::Attention(op) => op,
            Op::Gated(op) => op,
            Op::Add(op) => op,
            Op::SelectRows(op) => op,
            Op::SoftCap(op) => op,
            Op::Argmax(op) => op,
            Op::TopK(op) => op,
            Op::Normaliser(op) => op,
        }
    }
}

impl Op {
    /// Of the matrices of the op's weight, how many a token meets, and of how many; `None` of an op that multiplies with none.
    pub fn matrices_met(&self) -> Option<(u64, u64)> {
        match self {
            Op::MatMul(_) => Some((1, 1)),
            Op::GroupedMatMul(op) => Some((op.slots as u64, op.matrices as u64)),
            _ => None,
        }
    }
}

/// What every op brings.
pub trait Kernel: fmt::Debug {
    /// The name of its folder.
    fn name(&self) -> &'static str;

    /// Whether it reads its weights shard by shard; if not, each must be one shard.
    fn takes_shards(&self) -> bool {
        false
    }

    /// The dispatches that compute it at a place in a graph, on a device.
    fn lower(&self, site: &Site) -> Lowered;

    /// The obvious computation on the CPU, accumulated in float64: the output's rows, one behind the other.
    fn reference(&self, operands: &mut Operands) -> Vec<f32>;
}

/// What a device can do, as far as the choice of a shader depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Features {
    /// The smallest and largest subgroup that a shader may find itself in; `None` without subgroup operations.
    pub subgroup: Option<(u32, u32)>,
    /// Whether shaders may hold f16.
    pub f16: bool,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations in a workgroup.
    pub workgroup_invocations: u32,
    /// Whether invocations run on a CPU, where small workgroups are better than large.
    pub software: bool,
}

impl Features {
    /// This device with ever less of its features used: the kernel ladder, best rung first.
    pub fn rungs(self) -> Vec<Features> {
        let mut rungs = vec![self];
        if self.f16 {
            rungs.push(Features { f16: false, ..self });
        }
        if self.subgroup.is_some() {
            let without: Vec<Features> = rungs.iter().map(|rung| Features { subgroup: None, ..*rung }).collect();
            rungs.extend(without);
        }
        rungs
    }

    /// The name of this rung: `subgroup+f16`, `subgroup`, `f16`, `plain`.
    pub fn rung(self) -> &'static str {
        match (self.subgroup.is_some(), self.f16) {
            (true, true) => "subgroup+f16",
            (true, false) => "subgroup",
            (false, true) => "f16",
            (false, false) => "plain",
        }
    }
}

/// For how many rows a recording is made: shaders differ for few and for many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Exactly so many rows, at most [`MAX_COLUMNS`].
    Columns(u32),
    /// Any number of rows.
    Many,
}

impl Class {
    /// The class of a step with so many rows.
    pub fn of(rows: usize) -> Class {
        if rows <= MAX_COLUMNS { Class::Columns(rows as u32) } else { Class::Many }
    }
}

/// Where a slice lies in a device buffer, in elements of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// First element of the first row.
    pub offset: u32,
    /// Elements from a row to the next, a multiple of [`crate::formats::UNIT`].
    pub stride: u32,
    /// Elements of a row.
    pub width: u32,
}

/// Consecutive rows of a weight in one device buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Their format on the device.
    pub format: Format,
    /// The first row's place in the weight.
    pub first_row: u32,
    /// Rows.
    pub rows: u32,
    /// `vec4<u32>` from a row to the next.
    pub row_stride: u32,
}

/// A weight as one device holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceWeight {
    /// Elements in a row.
    pub columns: u32,
    /// Its rows in order.
    pub shards: Vec<Shard>,
}

/// A cache slot as one device holds it: shards of consecutive KV heads; keys have a buffer of their own, and so have values that
/// are not in the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCache {
    /// The slot.
    pub slot: CacheSlot,
    /// How its numbers are stored.
    pub kv_type: KvType,
    /// KV heads of each shard.
    pub shards: Vec<u32>,
    /// The longest sequence.
    pub context: u32,
    /// Pages in a row of the page table.
    pub pages_per_sequence: u32,
}

/// Everything known when a node is planned for a device.
#[derive(Debug)]
pub struct Site<'a> {
    /// What the device can do.
    pub features: Features,
    /// For how many rows of output.
    pub class: Class,
    /// What the output's rows are.
    pub rows: Rows,
    /// The largest number of those rows in a step.
    pub max_rows: u32,
    /// Where the inputs lie.
    pub inputs: Vec<View>,
    /// Where the output lies.
    pub output: Option<View>,
    /// The weights.
    pub weights: Vec<&'a DeviceWeight>,
    /// The cache slot.
    pub cache: Option<&'a DeviceCache>,
}

impl Site<'_> {
    /// Where the output lies, of an op that has one.
    pub fn output(&self) -> View {
        self.output.expect("the op writes a value")
    }

    /// The cache slot, of an op that uses one.
    pub fn cache(&self) -> &DeviceCache {
        self.cache.expect("the op uses the cache")
    }
}

/// What a binding of a shader is bound to. Binding 0 is the parameters; these follow in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// An input of the node.
    Input(usize),
    /// The output of the node.
    Output,
    /// A shard of a weight of the node.
    Shard {
        /// Which weight.
        weight: usize,
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
    /// The page table: `u32`, `[sequences, pages_per_sequence]`.
    Pages,
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

/// A number of workgroups: `ceil(extent / divisor) * factor + plus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Count {
    /// What varies.
    pub extent: Extent,
    /// How many of it one workgroup takes.
    pub divisor: u32,
    /// Workgroups for each.
    pub factor: u32,
    /// Workgroups however many there are.
    pub plus: u32,
}

impl Count {
    /// Always so many.
    pub fn fixed(count: u32) -> Count {
        Count { extent: Extent::One, divisor: 1, factor: count, plus: 0 }
    }

    /// One for each.
    pub fn each(extent: Extent) -> Count {
        Count { extent, divisor: 1, factor: 1, plus: 0 }
    }

    /// One for every so many.
    pub fn per(extent: Extent, divisor: u32) -> Count {
        Count { extent, divisor, factor: 1, plus: 0 }
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
        extent.div_ceil(self.divisor) * self.factor + self.plus
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

/// A kernel's source and how it is specialised; equal shaders are one pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shader {
    /// Its name, for labels.
    pub name: &'static str,
    /// Its WGSL, with `#import` lines.
    pub source: &'static str,
    /// What its `#import` lines stand for, by name.
    pub modules: Vec<(&'static str, &'static str)>,
    /// `const` numbers set in the source.
    pub constants: Vec<(&'static str, u32)>,
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

/// Invocations of a workgroup of an element-wise dispatch.
const ELEMENTWISE: u32 = 64;

impl Dispatch {
    /// A dispatch with an invocation for each element of the output. The words of its `Params` are the output's width, `numbers`,
    /// offset and stride of each input, and those of the output.
    pub fn elementwise(
        site: &Site,
        (name, source): (&'static str, &'static str),
        modules: Vec<(&'static str, &'static str)>,
        numbers: &[u32],
        bindings: Vec<Binding>,
    ) -> Dispatch {
        let out = site.output();
        let mut params = vec![out.width];
        params.extend(numbers);
        params.extend(site.inputs.iter().chain([&out]).flat_map(|view| [view.offset, view.stride]));
        Dispatch {
            shader: Shader { name, source, modules, constants: vec![("WORKGROUP", ELEMENTWISE)] },
            params,
            bindings,
            grid: Grid {
                spread: Count::fixed(out.width.div_ceil(ELEMENTWISE)),
                rows: Count::each(Extent::Rows(site.rows)),
            },
            work: Work::fixed(u64::from(ELEMENTWISE)),
        }
    }
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
    /// So many, whatever the step.
    pub fn fixed(operations: u64) -> Work {
        Work { operations, each: Extent::One }
    }

    /// Multiply-adds of all workgroups in a step of this size, roughly.
    pub fn operations(self, grid: Grid, size: StepSize) -> u64 {
        let groups = u64::from(grid.spread.at(size)) * u64::from(grid.rows.at(size));
        groups * self.operations * u64::from(Count::each(self.each).at(size))
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
    pub fn one(dispatch: Dispatch) -> Lowered {
        Lowered { dispatches: vec![dispatch], scratch: Vec::new() }
    }
}

/// WGSL that kernels share, by the name under which they import it.
pub mod shared {
    use super::Features;

    /// `struct Unit`.
    pub const UNIT: (&str, &str) = ("unit", include_str!("shared/unit.wgsl"));
    /// `spread_index`.
    pub const GRID: (&str, &str) = ("grid", include_str!("shared/grid.wgsl"));

    /// `tanh_of`.
    pub const TANH: (&str, &str) = ("tanh", include_str!("shared/tanh.wgsl"));

    /// Sums and maxima over a team of lanes and over a workgroup, with or without subgroup operations.
    pub fn reduce(features: Features) -> (&'static str, &'static str) {
        let source = match features.subgroup {
            Some(_) => include_str!("shared/reduce_subgroup.wgsl"),
            None => include_str!("shared/reduce_workgroup.wgsl"),
        };
        ("reduce", source)
    }
}
