//! What a sampler needs of a row of logits, found on the device: the argmax, the normaliser of the softmax, the top k.
//!
//! A row is cut into segments, one workgroup each; the same shader then runs on the segments' results
//! until one is left.

use crate::cases::Case;
use crate::formats::UNIT;
use crate::graph::Rows;
use crate::op::{Binding, Count, Dispatch, Extent, Grid, Kernel, Lowered, Op, Shader, Site, View, Work};
use crate::reference::Operands;

/// Elements that a workgroup folds.
const FOLD_SEGMENT: u32 = 4096;

/// Elements that a workgroup sorts.
const SORT_SEGMENT: u32 = 1024;

/// The largest `count` of [`TopK`].
pub const MAX_TOP_K: usize = 64;

/// Input logits `[rows, vocabulary]`; output `[rows, 1]`: the id of the largest, the lowest of equals
/// (`u32::MAX` where no logit is a number).
#[derive(Debug, Clone)]
pub struct Argmax;

/// Input logits `[rows, vocabulary]`; output `[rows, 1]`: `log(Σ exp(logit))`.
#[derive(Debug, Clone)]
pub struct Normaliser;

/// Input logits `[rows, vocabulary]`; output `[rows, 2 * count]`: the ids of the `count` largest as bit patterns,
/// then their logits; from the largest on, the lower id first of equals.
#[derive(Debug, Clone)]
pub struct TopK {
    /// How many, at most [`MAX_TOP_K`] and the vocabulary.
    pub count: usize,
}

impl Kernel for Argmax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn lower(&self, site: &Site) -> Lowered {
        fold(site, "argmax", include_str!("argmax.wgsl"))
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let best = |row: &[f32]| ranked(row).into_iter().find(|id| row[*id as usize].is_finite()).unwrap_or(u32::MAX);
        (0..operands.rows).map(|row| f32::from_bits(best(operands.inputs[0].row(row)))).collect()
    }
}

impl Kernel for Normaliser {
    fn name(&self) -> &'static str {
        "normaliser"
    }

    fn lower(&self, site: &Site) -> Lowered {
        fold(site, "normaliser", include_str!("normaliser.wgsl"))
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let normaliser = |row| {
            let logits = operands.inputs[0].row(row);
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - f64::from(largest)).exp()).sum();
            (f64::from(largest) + sum.ln()) as f32
        };
        (0..operands.rows).map(normaliser).collect()
    }
}

impl Kernel for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }

    fn lower(&self, site: &Site) -> Lowered {
        let passes = |width: u32| width.div_ceil(SORT_SEGMENT) * self.count as u32;
        reduce(site, SORT_SEGMENT, passes, |first, last| Shader {
            name: "top_k",
            source: include_str!("top_k.wgsl"),
            modules: vec![source(first), ("target", if last { RANKS } else { PAIRS })],
            constants: vec![("WORKGROUP", 256), ("SEGMENT", SORT_SEGMENT), ("COUNT", self.count as u32)],
        })
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let mut output = Vec::new();
        for row in 0..operands.rows {
            let logits = operands.inputs[0].row(row);
            let ids = &ranked(logits)[..self.count];
            output.extend(ids.iter().map(|id| f32::from_bits(*id)));
            output.extend(ids.iter().map(|id| logits[*id as usize]));
        }
        output
    }
}

/// The ids of logits from the largest to the smallest, the lower id first of equals.
fn ranked(logits: &[f32]) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
    ids
}

const RANKS: &str = include_str!("target_ranks.wgsl");
const PAIRS: &str = include_str!("target_pairs.wgsl");

/// Where a pass reads from.
fn source(first: bool) -> (&'static str, &'static str) {
    ("source", if first { include_str!("source_logits.wgsl") } else { include_str!("source_pairs.wgsl") })
}

/// Folds each row to one pair, with the monoid of a module.
fn fold(site: &Site, name: &'static str, monoid: &'static str) -> Lowered {
    let workgroup = if site.features.software { 32 } else { 256 };
    reduce(
        site,
        FOLD_SEGMENT,
        |width| width.div_ceil(FOLD_SEGMENT),
        |first, last| Shader {
            name,
            source: include_str!("fold.wgsl"),
            modules: vec![
                source(first),
                ("monoid", monoid),
                ("target", if last { include_str!("target_fold.wgsl") } else { PAIRS }),
            ],
            constants: vec![("WORKGROUP", workgroup), ("SEGMENT", FOLD_SEGMENT)],
        },
    )
}

/// Passes over segments until one is left; `results` tells how many pairs a pass over so many leaves.
fn reduce(site: &Site, segment: u32, results: impl Fn(u32) -> u32, shader: impl Fn(bool, bool) -> Shader) -> Lowered {
    let mut lowered = Lowered::default();
    let mut from = (Binding::Input(0), site.inputs[0]);
    loop {
        let (first, last) = (lowered.dispatches.is_empty(), from.1.width <= segment);
        let width = results(from.1.width);
        let into = if last {
            (Binding::Output, site.output())
        } else {
            // A pair is two elements.
            let stride = (2 * width).next_multiple_of(UNIT as u32);
            lowered.scratch.push(u64::from(site.max_rows) * u64::from(stride) * 4);
            (Binding::Scratch(lowered.scratch.len() - 1), View { offset: 0, stride, width })
        };
        lowered.dispatches.push(Dispatch {
            shader: shader(first, last),
            params: vec![from.1.width, from.1.offset, from.1.stride, into.1.offset, into.1.stride],
            bindings: vec![from.0, into.0],
            grid: Grid {
                spread: Count::fixed(from.1.width.div_ceil(segment)),
                rows: Count::each(Extent::Rows(site.rows)),
            },
            work: Work::fixed(u64::from(segment) * 8),
        });
        if last {
            return lowered;
        }
        from = into;
    }
}

/// Vocabularies of one segment and of many, equal logits, logits beyond f16.
pub fn cases() -> Vec<Case> {
    let ops = |vocabulary: usize| {
        let count = vocabulary.min(MAX_TOP_K);
        [Op::Argmax(Argmax), Op::Normaliser(Normaliser), Op::TopK(TopK { count })]
    };
    let mut cases = Vec::new();
    for (vocabulary, tokens, magnitude, grain) in
        [(5, 1, 1.0, 0.0), (512, 3, 20.0, 1.0), (1025, 2, 1e5, 0.0), (5000, 1, 8.0, 0.5), (128_256, 3, 30.0, 0.0)]
    {
        for op in ops(vocabulary) {
            let mut case = Case::new(
                "sample",
                format!("{} of {tokens}x{vocabulary} to {magnitude:e}", op.kernel().name()),
                tokens,
            );
            (case.magnitude, case.grain) = (magnitude, grain);
            let logits = case.graph.input("logits", Rows::Selected, vocabulary);
            let output = match &op {
                Op::Argmax(_) => case.graph.index_value("argmax", Rows::Selected, 1),
                Op::TopK(top_k) => case.graph.index_value("top_k", Rows::Selected, 2 * top_k.count),
                _ => case.graph.value("normaliser", Rows::Selected, 1),
            };
            let inputs = [case.graph.whole(logits)];
            case.graph.node(op, &inputs, &[], None, Some(output));
            case.output(output);
            cases.push(case);
        }
    }
    cases
}
