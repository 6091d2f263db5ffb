//! Attention of grouped heads over the paged KV cache: softmax(q·k * scale) · v over the token's own past and itself, perhaps only
//! over the last tokens of it, and with scores that are softly bounded.
//!
//! For few tokens the keys are cut into spans that workgroups take side by side, whose results one more
//! dispatch combines (flash-decoding, <https://crfm.stanford.edu/2023/10/12/flashdecoding.html>). For many, tiles
//! of queries go along the pages of keys with a running softmax (FlashAttention, <https://arxiv.org/abs/2205.14135>).

mod cases;
mod host;

use crate::candidate::Candidate;
use crate::dispatch::{
    Binding, Bound, Count, Extent, Grid, Launch, Lowered, NamedWgsl, Work, read, read_pages, read_tokens, write,
};
use crate::host::HostRun;
use crate::kv_cache::PAGES;
use crate::lowering::{Batch, DeviceCache, LoweringContext, Precision};
use crate::op::Kernel;
use crate::reference::Operands;
use crate::step::{BLOCK_TOKENS, PAGE_TOKENS};
use crate::{params, shared};

pub use self::cases::{cases, large_cases};
pub use self::host::AttentionScratch;

/// `queries` `[tokens, heads * key_width]`; perhaps a weight `sinks` `[heads]` in F32; output `[tokens, heads * value_width]`, of
/// the widths of the cache slot, which already holds the tokens of the step.
///
/// A head's sink is one more score of its softmax, as it is, whose share is dropped: what a head puts there it gives to no token
/// (gpt-oss, <https://arxiv.org/abs/2508.10925>; Xiao et al., <https://arxiv.org/abs/2309.17453>).
#[derive(Debug, Clone)]
pub struct Attention {
    /// Query heads, a multiple of the slot's KV heads.
    pub heads: usize,
    /// What a score is multiplied by, mostly `1 / sqrt(key_width)`.
    pub scale: f32,
    /// How many tokens a token sees, itself among them, if not all before it (Child et al., <https://arxiv.org/abs/1904.10509>).
    pub window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)` (Gemma 2, <https://arxiv.org/abs/2408.00118>).
    pub soft_cap: Option<f32>,
}

/// The most query heads that share a key: with 16, AMD's compiler takes all 256 registers, and scratch memory besides.
const MOST_TOGETHER: u32 = 8;

/// The most queries of a tile.
const MOST_ROWS: u32 = 64;

/// Quads of queries and keys that a tile multiplies at a time.
const CHUNK: u32 = 8;

/// A tile of many queries and the keys of a page.
struct Tile {
    /// Query heads, which share a KV head.
    heads: u32,
    /// Lanes along the keys, and along the quads of values.
    lanes: u32,
}

impl Tile {
    /// Queries of all heads.
    fn rows(&self) -> u32 {
        self.heads * BLOCK_TOKENS as u32
    }

    /// Each has 4 rows.
    fn invocations(&self) -> u32 {
        self.rows() / 4 * self.lanes
    }

    /// Memory for a chunk of queries and keys, in `vec4`.
    fn chunk_quads(&self) -> u32 {
        (self.rows() + PAGE_TOKENS as u32) * (CHUNK + 1)
    }

    /// Workgroup memory.
    fn bytes(&self) -> u32 {
        16 * (self.chunk_quads() + PAGE_TOKENS as u32 * (self.rows() / 4 + 1) + self.invocations())
    }
}

/// The widths of a cache slot in `vec4`, and the words of its memory from a key, or a value, to the next.
struct Quads {
    key: u32,
    value: u32,
    key_words: u32,
    value_words: u32,
}

impl Quads {
    fn of(DeviceCache { slot, kv_type, .. }: &DeviceCache) -> Quads {
        Quads {
            key: slot.key_width as u32 / 4,
            value: slot.value_width as u32 / 4,
            key_words: kv_type.words(slot.key_width) as u32,
            value_words: kv_type.words(slot.value_stride()) as u32,
        }
    }

    /// What both kernels are specialised by.
    fn constants(&self) -> [(&'static str, u32); 5] {
        [
            ("PAGE_TOKENS", PAGE_TOKENS as u32),
            ("KEY_QUADS", self.key),
            ("VALUE_QUADS", self.value),
            ("KEY_WORDS", self.key_words),
            ("VALUE_WORDS", self.value_words),
        ]
    }

    /// The keys and the values of a shard.
    fn read(&self, shard: usize) -> [Bound; 2] {
        [
            read("keys", "KvWord", "[pages, kv_heads, PAGE_TOKENS, KEY_WORDS]", Binding::Keys(shard)),
            read("values", "KvWord", "[pages, kv_heads, PAGE_TOKENS, VALUE_WORDS]", Binding::Values(shard)),
        ]
    }

    /// Multiply-adds of a query head with a key and its value.
    fn operations(&self) -> u64 {
        4 * u64::from(self.key + self.value)
    }
}

const SUMS: &str = "[tokens, heads, spans, VALUE_QUADS]";
const SOFTMAX: &str = "[tokens, heads, spans] of maximum, total";

fn read_queries() -> Bound {
    read("input", "vec4<f32>", "[tokens, heads, KEY_QUADS]", Binding::Input("queries"))
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        let value_quads = context.cache().slot.value_width as u32 / 4;
        let mut candidates = match context.batch {
            Batch::Few(_) => {
                // Every quad of a value needs an invocation of its own.
                let spans = |[lanes, span, most]: [u32; 3]| {
                    let workgroup = lanes.max(value_quads.next_power_of_two());
                    Candidate::new("spans of keys").with("workgroup", workgroup).with("span", span).with("most", most)
                };
                // Keys of a span at least, and spans at most: a CPU has few cores, and spans must be combined.
                context.features.sizes([[128, 128, 64], [16, 256, 16]]).map(spans).to_vec()
            }
            Batch::OneTile | Batch::Many => {
                vec![self.tiles(context)]
            }
        };
        candidates.dedup();
        candidates
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        match context.batch {
            Batch::Few(tokens) => self.lower_few(context, candidate, tokens),
            Batch::OneTile | Batch::Many => self.lower_many(context, candidate),
        }
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("pages")]
    }

    fn host(&self, run: &mut HostRun) {
        host::run(self, run);
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let step = operands.step;
        let queries = operands.inputs["queries"];
        let cache = operands.cache.as_deref().expect("the op uses the cache");
        let slot = cache.slot();
        let sinks = operands.weights.get("sinks").map(|sinks| sinks.row(0));
        let mut output = Vec::new();
        for (row, token) in step.tokens.iter().enumerate() {
            let last = token.position as usize;
            let first = self.seen_from(last);
            let places: Vec<_> = (first..=last).map(|at| step.place(token.sequence, at)).collect();
            for (head, query) in queries.row(row).chunks(slot.key_width).enumerate() {
                let kv_head = head * slot.kv_heads / self.heads;
                let score = |place: &(usize, usize)| {
                    let key = cache.key(*place, kv_head);
                    let sum: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                    let score = sum * f64::from(self.scale);
                    self.soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                };
                let scores: Vec<f64> = places.iter().map(score).collect();
                let sink = sinks.as_ref().map_or(f64::NEG_INFINITY, |sinks| f64::from(sinks[head]));
                let largest = scores.iter().copied().fold(sink, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let total = weights.iter().sum::<f64>() + (sink - largest).exp();
                output.extend((0..slot.value_width).map(|column| {
                    let weighted = weights.iter().zip(&places);
                    let sum: f64 = weighted.map(|(w, place)| w * f64::from(cache.value(*place, kv_head)[column])).sum();
                    (sum / total) as f32
                }));
            }
        }
        output
    }
}

impl Attention {
    /// The first position that a token at a position sees.
    fn seen_from(&self, position: usize) -> usize {
        (position + 1).saturating_sub(self.window.unwrap_or(usize::MAX))
    }

    /// Keys that a token sees.
    fn window(&self) -> u32 {
        self.window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX))
    }

    fn score(&self) -> NamedWgsl {
        let source = match self.soft_cap {
            None => include_str!("score_plain.wgsl"),
            Some(_) => include_str!("score_capped.wgsl"),
        };
        ("score", source)
    }

    /// What a softmax begins with, and what that binds.
    fn sink(context: &LoweringContext) -> (NamedWgsl, Option<Bound>) {
        if context.weights.has("sinks") {
            let sinks = read("sinks", "f32", "[heads]", Binding::Shard { weight: "sinks", shard: 0 });
            (("sink", include_str!("sink_vector.wgsl")), Some(sinks))
        } else {
            (("sink", include_str!("sink_none.wgsl")), None)
        }
    }

    /// Query heads for each KV head.
    fn group(&self, context: &LoweringContext) -> u32 {
        (self.heads / context.cache().slot.kv_heads) as u32
    }

    /// As many of the query heads that share a KV head as workgroup memory and registers hold: of DeepSeek's 16 or 128, with keys of 576 and values
    /// of 512, 4 in 16 KiB (15,872 bytes) and 8 in 32 KiB (29,184), so that each key is read 32 or 16 times for 128.
    fn heads_together(&self, context: &LoweringContext, quads: &Quads, workgroup: u32) -> u32 {
        let group = self.group(context);
        let bytes = |share: u32| 16 * share * quads.key + 8 * share * workgroup + 20 * workgroup;
        let fits = |share: &u32| group.is_multiple_of(*share) && bytes(*share) <= context.features.workgroup_bytes;
        (1..=group.min(MOST_TOGETHER)).rev().find(fits).unwrap_or(1)
    }

    fn lower_few(&self, context: &LoweringContext, candidate: &Candidate, tokens: u32) -> Lowered {
        let (cache, heads, rows) = (context.cache(), self.heads as u32, Count::each(Extent::Rows(context.rows)));
        let quads = Quads::of(cache);
        let [workgroup, span, most] = ["workgroup", "span", "most"].map(|name| candidate.number(name));
        let seen = cache.context.min(self.window());
        let spans = seen.div_ceil(span).min(most);
        let group = self.group(context);
        let share = self.heads_together(context, &quads, workgroup);
        // Words that a lane reads ahead, as far as a key divides and all heads' sums stay in registers.
        let ahead = if share > 4 { 4 } else { 8 };
        let keys_ahead = (1..=ahead).rev().find(|ahead| quads.key.is_multiple_of(*ahead)).unwrap_or(1);
        let fold = match context.features.subgroup {
            Some(_) => include_str!("fold_subgroups.wgsl"),
            None => include_str!("fold_workgroup.wgsl"),
        };
        let spans_module = ("spans", include_str!("spans.wgsl"));
        let [kv, cached] = cache.kv_type.reading();
        let mut lowered = Lowered::default();
        let mut first_head = 0;
        for (shard, kv_heads) in cache.shards.iter().enumerate() {
            let [keys, values] = quads.read(shard);
            lowered.push(Launch {
                shader: ("attention_few", include_str!("few.wgsl")),
                modules: vec![
                    shared::GRID,
                    shared::reduce(context.features),
                    kv,
                    PAGES,
                    cached,
                    shared::TANH,
                    self.score(),
                    spans_module,
                    ("fold", fold),
                ],
                constants: [
                    ("WORKGROUP", workgroup),
                    ("GROUP", share),
                    ("SPAN", span),
                    ("KEYS_AHEAD", keys_ahead),
                    ("VALUES_AHEAD", ahead),
                ]
                .into_iter()
                .chain(quads.constants())
                .collect(),
                params: params! {
                    kv_heads: *kv_heads,
                    // Groups of query heads for each KV head.
                    parts: group / share,
                    pages_per_sequence: cache.pages_per_sequence,
                    scale: self.scale,
                    // Of keys, that memory is set aside for.
                    spans: spans,
                    heads: heads,
                    first_head: first_head * group,
                    window: self.window(),
                    soft_cap: self.soft_cap.unwrap_or(0.0),
                    input: context.inputs["queries"].quads(),
                },
                bindings: vec![
                    read_tokens(),
                    read_pages(),
                    read_queries(),
                    keys,
                    values,
                    write("sums", "vec4<f32>", SUMS, Binding::Scratch(0)),
                    write("softmax", "vec2<f32>", SOFTMAX, Binding::Scratch(1)),
                ],
                grid: Grid {
                    spread: Count { most: spans, factor: kv_heads * (group / share), ..Count::per(Extent::Keys, span) },
                    rows,
                },
                work: Work::fixed(u64::from(seen.div_ceil(spans)) * u64::from(share) * quads.operations()),
            });
            first_head += kv_heads;
        }
        let (sink, sinks) = Self::sink(context);
        let bindings = [
            read_tokens(),
            read("sums", "vec4<f32>", SUMS, Binding::Scratch(0)),
            read("softmax", "vec2<f32>", SOFTMAX, Binding::Scratch(1)),
            write("output", "vec4<f32>", "[tokens, heads, VALUE_QUADS]", Binding::Output),
        ];
        lowered.push(Launch {
            shader: ("attention_combine", include_str!("combine.wgsl")),
            modules: vec![sink, spans_module],
            constants: vec![("WORKGROUP", 32), ("VALUE_QUADS", quads.value), ("SPAN", span)],
            params: params! {
                spans: spans,
                heads: heads,
                window: self.window(),
                output: context.output().quads(),
            },
            bindings: bindings.into_iter().chain(sinks).collect(),
            grid: Grid { spread: Count::fixed(heads), rows },
            work: Work::fixed(u64::from(spans) * u64::from(quads.value) * 4),
        });
        let results = u64::from(tokens * heads * spans);
        lowered.scratch = vec![results * u64::from(quads.value) * 16, results * 8];
        lowered
    }

    /// The candidate for many tokens: tiles as large as workgroup memory holds, of as many heads that share a KV head.
    fn tiles(&self, context: &LoweringContext) -> Candidate {
        let (features, group) = (context.features, self.group(context));
        let quads = Quads::of(context.cache());
        let tile = |heads: u32| {
            // So many that a lane sums no more than 4 quads of a row, and a workgroup is not small.
            let least = if heads == 1 { 16 } else { 8 };
            Tile { heads, lanes: quads.value.div_ceil(4).next_power_of_two().clamp(least, PAGE_TOKENS as u32) }
        };
        let fits = |tile: &Tile| {
            let has_room =
                tile.bytes() <= features.workgroup_bytes && tile.invocations() <= features.workgroup_invocations;
            tile.heads == 1 || group.is_multiple_of(tile.heads) && tile.rows() <= MOST_ROWS && has_room
        };
        let Tile { heads, lanes } = (1..=group).rev().map(tile).find(fits).expect("one head always fits");
        Candidate::new("tiles of queries and keys").with("heads", heads).with("lanes", lanes)
    }

    fn lower_many(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        let cache = context.cache();
        let group = self.group(context);
        let quads = Quads::of(cache);
        let [heads, lanes] = ["heads", "lanes"].map(|name| candidate.number(name));
        let tile = Tile { heads, lanes };
        // As many as the memory of queries and keys holds, of a page's.
        let value_keys = 1 << (tile.chunk_quads() / quads.value).clamp(1, PAGE_TOKENS as u32).ilog2();
        let [kv, cached] = cache.kv_type.reading();
        let mut lowered = Lowered::default();
        let mut first_head = 0;
        for (shard, kv_heads) in cache.shards.iter().enumerate() {
            let (sink, sinks) = Self::sink(context);
            let [keys, values] = quads.read(shard);
            let bindings = [
                read_tokens(),
                read("blocks", "vec4<u32>", "[blocks] of first token, tokens, sequence, 0", Binding::Blocks),
                read_pages(),
                read_queries(),
                keys,
                values,
                write("output", "vec4<f32>", "[tokens, heads, VALUE_QUADS]", Binding::Output),
            ];
            lowered.push(Launch {
                shader: ("attention_many", include_str!("many.wgsl")),
                modules: vec![shared::GRID, kv, PAGES, cached, shared::TANH, self.score(), sink],
                constants: [
                    ("QUERIES", BLOCK_TOKENS as u32),
                    ("HEADS", heads),
                    ("COLUMN_LANES", lanes),
                    ("CHUNK", CHUNK),
                    ("VALUE_KEYS", value_keys),
                ]
                .into_iter()
                .chain(quads.constants())
                .collect(),
                params: params! {
                    kv_heads: *kv_heads,
                    pages_per_sequence: cache.pages_per_sequence,
                    scale: self.scale,
                    // Groups of query heads for each KV head.
                    parts: group / heads,
                    first_head: first_head * group,
                    window: self.window(),
                    soft_cap: self.soft_cap.unwrap_or(0.0),
                    input: context.inputs["queries"].quads(),
                    output: context.output().quads(),
                },
                bindings: bindings.into_iter().chain(sinks).collect(),
                grid: Grid { spread: Count::fixed(kv_heads * (group / heads)), rows: Count::each(Extent::Blocks) },
                work: Work { operations: u64::from(tile.rows()) * quads.operations(), each: Extent::Keys },
            });
            first_head += kv_heads;
        }
        lowered
    }
}
