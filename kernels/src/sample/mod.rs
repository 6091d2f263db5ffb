//! What a sampler needs of a row of logits, found on the device: the argmax, the log_sum_exp of the softmax, the top k, and one drawn
//! from these.
//!
//! A row is cut into segments, one workgroup each; the same shader then runs on the segments' results
//! until one is left.

pub mod draw;

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Binding, Count, Extent, Grid, Launch, Lowered, NamedWgsl, Work, read, write};
use crate::formats::BLOCK32;
use crate::graph::Rows;
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision, View};
use crate::op::{Kernel, Op};
use crate::params;
use crate::reference::Operands;
use crate::simd::math;

/// Elements that a workgroup folds.
const FOLD_SEGMENT: u32 = 4096;

/// Elements that a workgroup sorts.
const SORT_SEGMENT: u32 = 1024;

/// The largest `count` of [`TopK`].
pub const MAX_TOP_K: usize = 64;

/// `logits` `[rows, vocabulary]`; output `[rows, 1]`: the id of the largest, the lowest of equals
/// (`u32::MAX` where no logit is a number).
#[derive(Debug, Clone)]
pub struct Argmax;

/// `logits` `[rows, vocabulary]`; output `[rows, 1]`: `log(Σ exp(logit))`.
#[derive(Debug, Clone)]
pub struct LogSumExp;

/// `logits` `[rows, vocabulary]`; output `[rows, 2 * count]`: the ids of the `count` largest as bit patterns,
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

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        fold_candidates(context)
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        fold(context, candidate, "argmax", include_str!("argmax.wgsl"))
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        run.each_row(run.operands.inputs["logits"].width, |operands, row, out| {
            let logits = operands.inputs["logits"].row(row);
            let mut best = (f32::NEG_INFINITY, u32::MAX);
            for (id, logit) in logits.iter().enumerate() {
                if logit.is_finite() && (best.1 == u32::MAX || logit.total_cmp(&best.0).is_gt()) {
                    best = (*logit, id as u32);
                }
            }
            out[0] = f32::from_bits(best.1);
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let best = |row: &[f32]| ranked(row).into_iter().find(|id| row[*id as usize].is_finite()).unwrap_or(u32::MAX);
        (0..operands.rows).map(|row| f32::from_bits(best(operands.inputs["logits"].row(row)))).collect()
    }
}

impl Kernel for LogSumExp {
    fn name(&self) -> &'static str {
        "log_sum_exp"
    }

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        fold_candidates(context)
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        fold(context, candidate, "log_sum_exp", include_str!("log_sum_exp.wgsl"))
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        run.each_row(run.operands.inputs["logits"].width, |operands, row, out| {
            let logits = operands.inputs["logits"].row(row);
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|logit| f64::from(math::exp(logit - largest))).sum();
            out[0] = (f64::from(largest) + sum.ln()) as f32;
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let log_sum_exp = |row| {
            let logits = operands.inputs["logits"].row(row);
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - f64::from(largest)).exp()).sum();
            (f64::from(largest) + sum.ln()) as f32
        };
        (0..operands.rows).map(log_sum_exp).collect()
    }
}

impl Kernel for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let results = |width: u32| width.div_ceil(SORT_SEGMENT) * self.count as u32;
        let kernel = Segments { shader: ("top_k", include_str!("top_k.wgsl")), workgroup: 256, elements: SORT_SEGMENT };
        reduce(context, &kernel, results, |last| {
            (vec![("target", if last { RANKS } else { PAIRS })], vec![("COUNT", self.count as u32)])
        })
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        run.each_row(run.operands.inputs["logits"].width, |operands, row, out| {
            let logits = operands.inputs["logits"].row(row);
            // The largest so far, the largest last.
            let mut found: Vec<(f32, u32)> = Vec::with_capacity(self.count + 1);
            for (id, logit) in logits.iter().enumerate() {
                if found.len() == self.count && logit.total_cmp(&found[0].0).is_le() {
                    continue;
                }
                let place = found.partition_point(|(other, _)| other.total_cmp(logit).is_lt());
                found.insert(place, (*logit, id as u32));
                if found.len() > self.count {
                    found.remove(0);
                }
            }
            for (place, (logit, id)) in found.iter().rev().enumerate() {
                (out[place], out[self.count + place]) = (f32::from_bits(*id), *logit);
            }
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let mut output = Vec::new();
        for row in 0..operands.rows {
            let logits = operands.inputs["logits"].row(row);
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
fn source(first: bool) -> NamedWgsl {
    ("source", if first { include_str!("source_logits.wgsl") } else { include_str!("source_pairs.wgsl") })
}

/// A kernel that takes a row in segments, a workgroup for each.
struct Segments {
    shader: NamedWgsl,
    workgroup: u32,
    elements: u32,
}

fn fold_candidates(context: &LoweringContext) -> Vec<Candidate> {
    let of_size = |workgroup| Candidate::new("segments").with("workgroup", workgroup);
    context.features.sizes([256, 32]).map(of_size).to_vec()
}

/// Folds each row to one pair, with the monoid of a module.
fn fold(context: &LoweringContext, candidate: &Candidate, name: &'static str, monoid: &'static str) -> Lowered {
    let (shader, workgroup) = ((name, include_str!("fold.wgsl")), candidate.number("workgroup"));
    let kernel = Segments { shader, workgroup, elements: FOLD_SEGMENT };
    let results = |width: u32| width.div_ceil(FOLD_SEGMENT);
    reduce(context, &kernel, results, |last| {
        let target = if last { include_str!("target_fold.wgsl") } else { PAIRS };
        (vec![("monoid", monoid), ("target", target)], vec![])
    })
}

/// Modules and constants of a shader.
type Specialisation = (Vec<NamedWgsl>, Vec<(&'static str, u32)>);

/// Passes over segments until one is left; `results` tells how many pairs a pass over this many elements leaves, and `special` what
/// the last pass and those before it have of their own.
fn reduce(
    context: &LoweringContext,
    kernel: &Segments,
    results: impl Fn(u32) -> u32,
    special: impl Fn(bool) -> Specialisation,
) -> Lowered {
    let mut lowered = Lowered::default();
    let mut from = (Binding::Input("logits"), context.inputs["logits"]);
    loop {
        let (first, last) = (lowered.dispatches.is_empty(), from.1.width <= kernel.elements);
        let width = results(from.1.width);
        let into = if last {
            (Binding::Output, context.output())
        } else {
            // A pair is two elements.
            let stride = (2 * width).next_multiple_of(BLOCK32 as u32);
            lowered.scratch.push(u64::from(context.max_rows) * u64::from(stride) * 4);
            (Binding::Scratch(lowered.scratch.len() - 1), View { offset: 0, stride, width })
        };
        let (mut modules, mut constants) = special(last);
        modules.push(source(first));
        constants.extend([("WORKGROUP", kernel.workgroup), ("SEGMENT", kernel.elements)]);
        lowered.push(Launch {
            shader: kernel.shader,
            modules,
            constants,
            params: params! { width: from.1.width, input: from.1, output: into.1 },
            bindings: vec![
                read("input", "u32", "[rows, width] logits, or pairs of an earlier pass", from.0),
                write("output", "u32", "[rows, results] of the last pass, or [rows, segments] pairs", into.0),
            ],
            grid: Grid {
                spread: Count::fixed(from.1.width.div_ceil(kernel.elements)),
                rows: Count::each(Extent::Rows(context.rows)),
            },
            work: Work::fixed(u64::from(kernel.elements) * 8),
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
        [Op::Argmax(Argmax), Op::LogSumExp(LogSumExp), Op::TopK(TopK { count })]
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
                _ => case.graph.value("log_sum_exp", Rows::Selected, 1),
            };
            let inputs = [("logits", case.graph.whole(logits))];
            case.graph.node(op, &inputs, &[], None, Some(output));
            case.output(output);
            cases.push(case);
        }
    }
    cases.extend(draw::cases());
    cases
}
