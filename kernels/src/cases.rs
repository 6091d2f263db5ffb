//! Cases: tiny graphs with random inputs, run through the same plan as a model and compared with the reference.
//!
//! Every op's folder has a table of them; self-test, tests and benches iterate over [`all`].

use std::sync::Arc;

use crate::formats::{F32, Format};
use crate::graph::{Graph, Output, Rows, Source, ValueId, Values, Weight, WeightId, WeightPart};
use crate::kv_cache::KvType;
use crate::op::Op;
use crate::random::{Random, random_blocks};
use crate::reference::{HostPart, HostWeight};
use crate::step::{PAGE_TOKENS, Step, Token};

/// NMSE allowed where both sides compute in f32 from the same numbers, whatever format these were decoded from.
pub const EXACT: f64 = 1e-9;

/// NMSE allowed where numbers were rounded to f16 on the way, perhaps in another direction.
pub const HALF: f64 = 1e-6;

/// A graph with steps to run it on.
#[derive(Debug, Clone)]
pub struct Case {
    /// The op's folder.
    pub op: &'static str,
    /// What is special about it.
    pub name: String,
    /// The weight's format, where the op has a weight of any format.
    pub format: Option<Format>,
    /// The graph; the values under [`Output::Logits`] are compared.
    pub graph: Graph,
    /// The steps, run in order over one cache.
    pub steps: Vec<Step>,
    /// How the cache is stored.
    pub kv_type: KvType,
    /// The largest magnitude of an input.
    pub magnitude: f32,
    /// The power of uniform numbers that inputs are, odd: the higher, the fewer are large.
    pub power: i32,
    /// What inputs are rounded to multiples of, so that some are equal; 0 for none.
    pub grain: f32,
    /// Bytes that a shard of a weight or a cache may have, to force shards.
    pub max_shard: Option<u64>,
    /// The largest NMSE of an output; a single row may have 100 times it.
    pub limit: f64,
}

/// Every case of every op.
pub fn all() -> Vec<Case> {
    [
        crate::embedding::cases(),
        crate::rms_norm::cases(),
        crate::matmul::cases(),
        crate::grouped_matmul::cases(),
        crate::route::cases(),
        crate::moe_combine::cases(),
        crate::reorder::cases(),
        crate::rope::cases(),
        crate::temperature::cases(),
        crate::latent_heads::cases(),
        crate::heads::cases(),
        crate::attention::cases(),
        crate::gated::cases(),
        crate::add::cases(),
        crate::select_rows::cases(),
        crate::soft_cap::cases(),
        crate::sample::cases(),
    ]
    .concat()
}

/// Cases of the sizes that models have, for benches: those of the ops that take the time.
pub fn large() -> Vec<Case> {
    [crate::matmul::large_cases(), crate::grouped_matmul::large_cases(), crate::attention::large_cases()].concat()
}

/// What a step of a case moves and computes at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of weights, values and cache, each once.
    pub bytes: u64,
    /// Floating-point operations; a multiply-add is two.
    pub operations: u64,
}

impl Case {
    /// A case of an op over this many tokens of one sequence, of which the last three are selected.
    pub fn new(op: &'static str, name: String, tokens: usize) -> Case {
        let selected = (tokens.saturating_sub(3)..tokens).map(|token| token as u32).collect();
        Case {
            op,
            name,
            format: None,
            graph: Graph::default(),
            steps: vec![Step { selected, ..sequences(&[(0, tokens)], 1, tokens) }],
            kv_type: KvType::F32,
            magnitude: 1.0,
            power: 1,
            grain: 0.0,
            max_shard: None,
            limit: EXACT,
        }
    }

    /// Declares the value to compare.
    pub fn output(&mut self, value: ValueId) {
        self.graph.outputs.push((Output::Logits, value));
    }

    /// Adds a weight of random numbers in the case's format, stacked from parts of this many rows.
    pub fn random_weight(&mut self, parts: &[usize], columns: usize) -> WeightId {
        let format = self.format.unwrap_or(F32);
        let mut random = Random::new(parts.len() as u64 * 31 + columns as u64);
        let part = |rows: &usize| {
            let blocks = random_blocks(format, rows * columns, 1.0, &mut random);
            WeightPart { source: Source::Blocks(Arc::from(blocks)), format, rows: *rows }
        };
        let parts = parts.iter().map(part).collect();
        self.graph.weight(Weight { name: format!("{} weight", self.op), columns, parts, held: None })
    }

    /// The longest sequence, in whole pages.
    pub fn context(&self) -> usize {
        let longest = self.steps.iter().map(Step::longest).max().unwrap_or(1);
        longest.next_multiple_of(PAGE_TOKENS)
    }

    /// Pages in the cache.
    pub fn pages(&self) -> usize {
        self.steps.iter().flat_map(|step| &step.pages).max().map_or(1, |page| *page as usize + 1)
    }

    /// What its first step moves and computes at least.
    pub fn traffic(&self) -> Traffic {
        let step = &self.steps[0];
        let rows = |rows: Rows| match rows {
            Rows::Tokens => step.tokens.len() as u64,
            Rows::Selected => step.selected.len() as u64,
        };
        let values = self.graph.values.iter().map(|value| rows(value.rows) * value.width as u64 * 4);
        let (mut bytes, mut operations) = (values.sum::<u64>(), 0);
        for (index, weight) in self.graph.weights.iter().enumerate() {
            let row_bytes =
                |part: &WeightPart| (part.format.device_row_bytes)(weight.columns) as u64 * part.rows as u64;
            let (all, elements) =
                (weight.parts.iter().map(row_bytes).sum::<u64>(), (weight.rows() * weight.columns) as u64);
            let reader = self.graph.nodes.iter().find(|node| node.weights.get("weight") == Some(&WeightId(index)));
            let tokens = rows(Rows::Tokens);
            let (met, of) = reader.and_then(|node| node.op.matrices_met()).unwrap_or((1, 1));
            // A matrix that several tokens meet is read once.
            let read = met.saturating_mul(tokens).min(of);
            bytes += all * read / of;
            operations += 2 * elements * met / of * tokens;
        }
        let attended: u64 = step.tokens.iter().map(|token| u64::from(token.position) + 1).sum();
        for node in &self.graph.nodes {
            if let (Op::Attention(attention), Some(cache)) = (&node.op, node.cache) {
                let slot = self.graph.caches[cache.0];
                let width = (attention.heads * (slot.key_width + slot.value_width)) as u64;
                operations += 2 * attended * width;
                bytes += step.longest() as u64 * self.kv_type.token_bytes(&slot);
            }
        }
        Traffic { bytes, operations }
    }

    /// The values given from outside for a step: random numbers of the case's magnitude.
    pub fn given(&self, step: usize) -> Values {
        let given = |value: &ValueId| {
            let mut random = Random::new(1000 * step as u64 + value.0 as u64);
            let facts = &self.graph.values[value.0];
            let rows = match facts.rows {
                Rows::Tokens => self.steps[step].tokens.len(),
                Rows::Selected => self.steps[step].selected.len(),
            };
            let number = |_| {
                let number = random.signed().powi(self.power) * self.magnitude;
                if self.grain > 0.0 { (number / self.grain).round() * self.grain } else { number }
            };
            (*value, (0..rows * facts.width).map(number).collect())
        };
        self.graph.inputs.iter().map(given).collect()
    }

    /// The weights as the reference takes them.
    pub fn host_weights(&self) -> Vec<HostWeight> {
        let host = |weight: &Weight| HostWeight {
            columns: weight.columns,
            parts: weight.parts.iter().map(host_part).collect(),
        };
        self.graph.weights.iter().map(host).collect()
    }
}

/// A part that is in memory.
///
/// Panics on one that lies in a file: cases have none.
pub fn host_part(part: &WeightPart) -> HostPart {
    let bytes = match &part.source {
        Source::Computed(numbers) => Arc::new(part.format.encode_rows(numbers)),
        Source::Blocks(blocks) => blocks.clone(),
        Source::Tensor(_) => panic!("a case has no files"),
    };
    HostPart { format: part.format, rows: part.rows, bytes }
}

/// A step of sequences, each with tokens already cached and tokens to run, over shuffled pages.
///
/// `context` is the longest sequence that the page table has room for. Nothing is selected.
pub fn sequences(runs: &[(usize, usize)], vocabulary: u32, context: usize) -> Step {
    let pages_per_sequence = context.div_ceil(PAGE_TOKENS).max(1);
    let mut pages: Vec<u32> = (0..(runs.len() * pages_per_sequence) as u32).collect();
    Random::new(7).shuffle(&mut pages);
    let mut tokens = Vec::new();
    let mut random = Random::new(11);
    for (sequence, (cached, run)) in runs.iter().enumerate() {
        tokens.extend((*cached..cached + run).map(|position| Token {
            id: (random.next() % u64::from(vocabulary)) as u32,
            position: position as u32,
            sequence: sequence as u32,
            long: false,
        }));
    }
    Step { tokens, pages, pages_per_sequence, ..Step::default() }
}
