//! Attention of grouped heads over the paged KV cache: softmax(q·k * scale) · v over the token's own past and itself, perhaps only
//! over the last tokens of it, and with scores that are softly bounded.
//!
//! For few tokens the keys are cut into spans that workgroups take side by side, whose results one more
//! dispatch combines (flash-decoding, <https://crfm.stanford.edu/2023/10/12/flashdecoding.html>). For many, blocks
//! of queries go along the keys with a running softmax (FlashAttention, <https://arxiv.org/abs/2205.14135>).

mod cases;

use crate::kv_cache::PAGES;
use crate::op::{
    Binding, Class, Count, DeviceCache, Dispatch, Extent, Grid, Kernel, Lowered, Shader, Site, Work, shared,
};
use crate::reference::Operands;
use crate::step::{BLOCK_TOKENS, PAGE_TOKENS};

pub use self::cases::{cases, large_cases};

/// Input queries `[tokens, heads * key_width]`; perhaps a weight of sinks `[heads]` in F32; output `[tokens, heads * value_width]`, of
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

/// The most spans that keys are cut into.
const MAX_SPANS: u32 = 64;

/// The fewest keys that are worth a workgroup.
const MIN_SPAN: u32 = 256;

/// Values of more quads are wide: those of 256 elements are the widest of models that cache heads.
const WIDE_QUADS: u32 = 64;

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

    /// Multiply-adds of a query head with a key and its value.
    fn operations(&self) -> u64 {
        4 * u64::from(self.key + self.value)
    }
}

impl Kernel for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn lower(&self, site: &Site) -> Lowered {
        match site.class {
            Class::Columns(_) => self.lower_few(site),
            Class::Many => self.lower_many(site),
        }
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let step = operands.step;
        let queries = operands.inputs[0];
        let cache = operands.cache.as_deref().expect("the op uses the cache");
        let slot = cache.slot();
        let sinks = operands.weights.first().map(|sinks| sinks.row(0));
        let mut output = Vec::new();
        for (row, token) in step.tokens.iter().enumerate() {
            let last = token.position as usize;
            let first = (last + 1).saturating_sub(self.window.unwrap_or(usize::MAX));
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
    /// What the kernels' parameters end with, and what they make of a score.
    fn window(&self) -> u32 {
        self.window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX))
    }

    fn soft_cap(&self) -> u32 {
        self.soft_cap.unwrap_or(0.0).to_bits()
    }

    fn score(&self) -> (&'static str, &'static str) {
        let source = match self.soft_cap {
            None => include_str!("score_plain.wgsl"),
            Some(_) => include_str!("score_capped.wgsl"),
        };
        ("score", source)
    }

    /// What a softmax begins with.
    fn sink(site: &Site) -> (&'static str, &'static str) {
        let source =
            if site.weights.is_empty() { include_str!("sink_none.wgsl") } else { include_str!("sink_vector.wgsl") };
        ("sink", source)
    }

    /// The sinks, which follow the other bindings.
    fn sinks(site: &Site) -> Option<Binding> {
        (!site.weights.is_empty()).then_some(Binding::Shard { weight: 0, shard: 0 })
    }

    /// Query heads for each KV head.
    fn group(&self, site: &Site) -> u32 {
        (self.heads / site.cache().slot.kv_heads) as u32
    }

    fn lower_few(&self, site: &Site) -> Lowered {
        let (cache, input, out) = (site.cache(), site.inputs[0], site.output());
        let heads = self.heads as u32;
        let quads = Quads::of(cache);
        let span = cache.context.div_ceil(MAX_SPANS).next_multiple_of(MIN_SPAN);
        let spans = cache.context.div_ceil(span);
        // Every quad of a value needs an invocation of its own.
        let lanes = if site.features.software { 16 } else { 64 };
        let workgroup = quads.value.next_power_of_two().max(lanes);
        let group = self.group(site);
        // As many of the query heads that share a KV head as workgroup memory holds: of DeepSeek's 16 or 128, with keys of 576 and
        // values of 512, 4 in 16 KiB (13,824 bytes) and 8 in 32 KiB (25,088), so that each key is read 32 or 16 times for 128.
        let bytes = |share: u32| 16 * share * quads.key + 4 * share * workgroup + 20 * workgroup;
        let fits = |share: &u32| group.is_multiple_of(*share) && bytes(*share) <= site.features.workgroup_bytes;
        let share = (1..=group).rev().find(fits).unwrap_or(1);
        let [kv, cached] = cache.kv_type.reading();
        let mut lowered = Lowered::default();
        let mut first_head = 0;
        for (shard, kv_heads) in cache.shards.iter().enumerate() {
            lowered.dispatches.push(Dispatch {
                shader: Shader {
                    name: "attention_few",
                    source: include_str!("few.wgsl"),
                    modules: vec![
                        shared::GRID,
                        shared::reduce(site.features),
                        kv,
                        PAGES,
                        cached,
                        shared::TANH,
                        self.score(),
                    ],
                    constants: vec![
                        ("WORKGROUP", workgroup),
                        ("PAGE_TOKENS", PAGE_TOKENS as u32),
                        ("KEY_QUADS", quads.key),
                        ("VALUE_QUADS", quads.value),
                        ("KEY_WORDS", quads.key_words),
                        ("VALUE_WORDS", quads.value_words),
                        ("GROUP", share),
                    ],
                },
                params: vec![
                    *kv_heads,
                    group / share,
                    cache.pages_per_sequence,
                    self.scale.to_bits(),
                    span,
                    spans,
                    heads,
                    first_head * group,
                    input.offset / 4,
                    input.stride / 4,
                    self.window(),
                    self.soft_cap(),
                ],
                bindings: vec![
                    Binding::Tokens,
                    Binding::Pages,
                    Binding::Input(0),
                    Binding::Keys(shard),
                    Binding::Values(shard),
                    Binding::Scratch(0),
                    Binding::Scratch(1),
                ],
                grid: Grid {
                    spread: Count { extent: Extent::Keys, divisor: span, factor: kv_heads * (group / share), plus: 0 },
                    rows: Count::each(Extent::Rows(site.rows)),
                },
                work: Work::fixed(u64::from(span) * u64::from(share) * quads.operations()),
            });
            first_head += kv_heads;
        }
        let bindings = [Binding::Tokens, Binding::Scratch(0), Binding::Scratch(1), Binding::Output];
        lowered.dispatches.push(Dispatch {
            shader: Shader {
                name: "attention_combine",
                source: include_str!("combine.wgsl"),
                modules: vec![Self::sink(site)],
                constants: vec![("WORKGROUP", 32), ("VALUE_QUADS", quads.value), ("SINK_BINDING", 5)],
            },
            params: vec![span, spans, heads, out.offset / 4, out.stride / 4, self.window()],
            bindings: bindings.into_iter().chain(Self::sinks(site)).collect(),
            grid: Grid { spread: Count::fixed(heads), rows: Count::each(Extent::Rows(site.rows)) },
            work: Work::fixed(u64::from(spans) * u64::from(quads.value) * 4),
        });
        let Class::Columns(columns) = site.class else { unreachable!("few tokens are columns") };
        let results = u64::from(columns * heads * spans);
        lowered.scratch = vec![results * u64::from(quads.value) * 16, results * 8];
        lowered
    }

    fn lower_many(&self, site: &Site) -> Lowered {
        let (cache, input, out) = (site.cache(), site.inputs[0], site.output());
        let group = self.group(site);
        let quads = Quads::of(cache);
        // More lanes to a query where four would each hold more sums of wide values than registers.
        let (lanes, fold) =
            if quads.value > WIDE_QUADS && site.features.workgroup_invocations >= 16 * BLOCK_TOKENS as u32 {
                (16, include_str!("lanes_16.wgsl"))
            } else {
                (4, include_str!("lanes_4.wgsl"))
            };
        let [kv, cached] = cache.kv_type.reading();
        let mut lowered = Lowered::default();
        let mut first_head = 0;
        for (shard, kv_heads) in cache.shards.iter().enumerate() {
            let bindings = [
                Binding::Tokens,
                Binding::Blocks,
                Binding::Pages,
                Binding::Input(0),
                Binding::Keys(shard),
                Binding::Values(shard),
                Binding::Output,
            ];
            lowered.dispatches.push(Dispatch {
                shader: Shader {
                    name: "attention_many",
                    source: include_str!("many.wgsl"),
                    modules: vec![
                        shared::GRID,
                        kv,
                        PAGES,
                        cached,
                        shared::TANH,
                        self.score(),
                        Self::sink(site),
                        ("lanes", fold),
                    ],
                    constants: vec![
                        ("QUERIES", BLOCK_TOKENS as u32),
                        ("PAGE_TOKENS", PAGE_TOKENS as u32),
                        ("KEY_QUADS", quads.key),
                        ("VALUE_QUADS", quads.value),
                        ("KEY_WORDS", quads.key_words),
                        ("VALUE_WORDS", quads.value_words),
                        ("LANES", lanes),
                        ("SINK_BINDING", 8),
                    ],
                },
                params: vec![
                    *kv_heads,
                    cache.pages_per_sequence,
                    self.scale.to_bits(),
                    group,
                    first_head * group,
                    input.offset / 4,
                    input.stride / 4,
                    out.offset / 4,
                    out.stride / 4,
                    self.window(),
                    self.soft_cap(),
                ],
                bindings: bindings.into_iter().chain(Self::sinks(site)).collect(),
                grid: Grid { spread: Count::fixed(kv_heads * group), rows: Count::each(Extent::Blocks) },
                work: Work { operations: BLOCK_TOKENS as u64 * quads.operations(), each: Extent::Keys },
            });
            first_head += kv_heads;
        }
        lowered
    }
}
