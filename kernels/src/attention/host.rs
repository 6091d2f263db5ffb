//! Attention on the host: along the pages of keys with a running softmax, the queries of a KV head together.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::Attention;
use crate::graph::CachedValues;
use crate::host::HostRun;
use crate::host::cache::PagedCache;
use crate::host::output::OutputRows;
use crate::reference::Matrix;
use crate::simd::math::{exp, tanh};
use crate::simd::{LANES, Lanes, WithLanes};
use crate::step::{Block, PAGE_TOKENS, Step};

/// Memory of one thread.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    /// `[key_width][PAGE_TOKENS]`.
    keys: Vec<[f32; PAGE_TOKENS]>,
    /// `[PAGE_TOKENS][value_width]`.
    values: Vec<f32>,
    /// `[queries][value_width]`.
    sums: Vec<f32>,
    /// Maximum and total of each query.
    softmax: Vec<[f32; 2]>,
}

/// The queries of some consecutive tokens of a sequence with the heads of one KV head, and a span of the pages that they see.
struct Queries<'a> {
    attention: &'a Attention,
    queries: Matrix<'a>,
    /// Where the span is the first.
    sinks: Option<&'a [f32]>,
    cache: &'a PagedCache,
    step: &'a Step,
    block: Block,
    kv_head: usize,
    pages: Range<usize>,
    scratch: &'a mut AttentionScratch,
}

/// Pages that are worth a span.
const SPAN_PAGES: usize = 4;

/// Computes attention for all tokens of a step. Where KV heads and blocks of tokens are fewer than threads, the pages that they see are cut into spans.
pub fn run(attention: &Attention, run: &mut HostRun) {
    let sinks = run.operands.weights.get("sinks").map(|sinks| sinks.row(0));
    let cache = run.cache.as_deref().expect("the op uses the cache");
    let (kv_heads, value_width) = (cache.slot().kv_heads, cache.slot().value_width);
    let group = attention.heads / kv_heads;
    let (step, threads, isa) = (run.operands.step, run.threads, run.isa);
    let blocks = step.blocks();
    let groups = blocks.len() * kv_heads;
    let longest = blocks.iter().map(|block| attention.pages(step, *block).len()).max().unwrap_or(0);
    let spans = threads.count().div_ceil(groups.max(1)).min(longest / SPAN_PAGES).max(1);
    let parts = threads.count().min(groups * spans);
    run.scratch.attention.resize_with(run.scratch.attention.len().max(parts), Mutex::default);
    // What spans gathered: of each query its sums, then its maximum and total.
    let queries = blocks.iter().map(|block| block.tokens as usize * group).max().unwrap_or(0);
    let width = if spans > 1 { queries * (value_width + 2) } else { 0 };
    run.scratch.floats.clear();
    run.scratch.floats.resize(groups * spans * width, 0.0);
    let gathered = OutputRows::new(&mut run.scratch.floats, width, width);
    let output = run.output.as_ref().expect("the op writes a value");
    let put = |block: &Block, kv_head: usize, sums: &[f32]| {
        for (token, sums) in sums.chunks_exact(group * value_width).enumerate() {
            output.put(block.first as usize + token, kv_head * group * value_width, sums);
        }
    };
    // The last tokens see the most keys: they come first.
    let of_group = |index: usize| (blocks[blocks.len() - 1 - index / kv_heads], index % kv_heads);
    let (operands, scratch) = (&run.operands, &run.scratch.attention);
    let next = std::sync::atomic::AtomicUsize::new(0);
    threads.each(parts, &|part| {
        let mut scratch = scratch[part].lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let item = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if item >= groups * spans {
                return;
            }
            let ((block, kv_head), span) = (of_group(item / spans), item % spans);
            let pages = attention.pages(step, block);
            let cut = |span: usize| pages.start + pages.len() * span / spans;
            isa.run(Queries {
                attention,
                queries: operands.inputs["queries"],
                sinks: sinks.as_deref().filter(|_| span == 0),
                cache,
                step,
                block,
                kv_head,
                pages: cut(span)..cut(span + 1),
                scratch: &mut scratch,
            });
            let AttentionScratch { sums, softmax, .. } = &mut *scratch;
            if spans > 1 {
                gathered.put(item, 0, sums);
                gathered.put(item, sums.len(), softmax.as_flattened());
            } else {
                divide(sums, softmax);
                put(&block, kv_head, sums);
            }
        }
    });
    if spans > 1 {
        let gathered = &run.scratch.floats;
        threads.each(groups, &|index| {
            let (block, kv_head) = of_group(index);
            let spans = &gathered[index * spans * width..][..spans * width];
            put(&block, kv_head, &joined(spans, width, block.tokens as usize * group, value_width));
        });
    }
}

/// Makes weighted sums of values means: divides those of each query by the total of its weights.
fn divide(sums: &mut [f32], softmax: &[[f32; 2]]) {
    for (sums, [_, total]) in sums.chunks_exact_mut(sums.len() / softmax.len()).zip(softmax) {
        let inverse = 1.0 / total;
        sums.iter_mut().for_each(|sum| *sum *= inverse);
    }
}

/// What the spans of some queries gathered together, each `width` numbers long.
fn joined(spans: &[f32], width: usize, queries: usize, value_width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; queries * value_width];
    let mut softmax = vec![[f32::NEG_INFINITY, 0.0]; queries];
    let parts = spans.chunks_exact(width).map(|span| {
        let (sums, softmax) = span[..queries * (value_width + 2)].split_at(queries * value_width);
        (sums, softmax.as_chunks::<2>().0)
    });
    for (_, own) in parts.clone() {
        softmax.iter_mut().zip(own).for_each(|(all, own)| all[0] = all[0].max(own[0]));
    }
    for (own_sums, own) in parts {
        let numbers = sums.chunks_exact_mut(value_width).zip(own_sums.chunks_exact(value_width));
        for ((all, own), (sums, own_sums)) in softmax.iter_mut().zip(own).zip(numbers) {
            // A span of which a query sees nothing.
            let factor = if own[0] == f32::NEG_INFINITY { 0.0 } else { (own[0] - all[0]).exp() };
            all[1] += factor * own[1];
            sums.iter_mut().zip(own_sums).for_each(|(sum, own)| *sum += factor * own);
        }
    }
    divide(&mut sums, &softmax);
    sums
}

impl Attention {
    /// The pages of a sequence, by their number in it, that any token of a block sees.
    fn pages(&self, step: &Step, block: Block) -> Range<usize> {
        let tokens = &step.tokens[block.first as usize..][..block.tokens as usize];
        let (first, last) = (tokens[0].position as usize, tokens[tokens.len() - 1].position as usize);
        self.seen_from(first) / PAGE_TOKENS..last / PAGE_TOKENS + 1
    }
}

impl WithLanes for Queries<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Queries { attention, queries, sinks, cache, step, block, kv_head, pages, scratch } = self;
        let slot = cache.slot();
        let group = attention.heads / slot.kv_heads;
        let count = block.tokens as usize * group;
        let AttentionScratch { keys, values, sums, softmax } = scratch;
        keys.resize(slot.key_width, [0.0; PAGE_TOKENS]);
        values.resize(PAGE_TOKENS * slot.value_width, 0.0);
        sums.clear();
        sums.resize(count * slot.value_width, 0.0);
        softmax.clear();
        for query in 0..count {
            let sink = sinks.map_or(f32::NEG_INFINITY, |sinks| sinks[kv_head * group + query % group]);
            softmax.push([sink, if sinks.is_some() { 1.0 } else { 0.0 }]);
        }
        let tokens = &step.tokens[block.first as usize..][..block.tokens as usize];
        for page_number in pages {
            let (page, _) = step.place(block.sequence, page_number * PAGE_TOKENS);
            cache.read_keys(lanes, page, kv_head, keys);
            if slot.values == CachedValues::Own {
                cache.read_values(lanes, page, kv_head, values);
            } else {
                for (element, keys) in keys[..slot.value_width].iter().enumerate() {
                    for (token, key) in keys.iter().enumerate() {
                        values[token * slot.value_width + element] = *key;
                    }
                }
            }
            let page = Page { first: page_number * PAGE_TOKENS, keys, values };
            let query = |place: usize| {
                let (token, head) = (place / group, kv_head * group + place % group);
                let position = tokens[token].position as usize;
                let row = queries.row(block.first as usize + token);
                (&row[head * slot.key_width..][..slot.key_width], attention.seen_from(position)..position + 1)
            };
            let (softmax, rest_of_softmax) = softmax.as_chunks_mut::<TOGETHER>();
            let mut sums = sums.chunks_exact_mut(TOGETHER * slot.value_width);
            let mut place = 0;
            for (softmax, sums) in softmax.iter_mut().zip(&mut sums) {
                let together = [0, 1, 2, 3].map(|next| query(place + next));
                page.add::<L, TOGETHER, 1>(lanes, attention, together, softmax, sums);
                place += TOGETHER;
            }
            let rest = rest_of_softmax.as_chunks_mut::<1>().0;
            for (softmax, sums) in rest.iter_mut().zip(sums.into_remainder().chunks_exact_mut(slot.value_width)) {
                page.add::<L, 1, 2>(lanes, attention, [query(place)], softmax, sums);
                place += 1;
            }
        }
    }
}

/// Queries that meet a page together: as many as there are registers for.
const TOGETHER: usize = 4;

/// The keys and values of a KV head in a page, in single precision.
struct Page<'a> {
    /// The position of its first token.
    first: usize,
    /// `[key_width][PAGE_TOKENS]`.
    keys: &'a [[f32; PAGE_TOKENS]],
    /// `[PAGE_TOKENS][value_width]`.
    values: &'a [f32],
}

impl Page<'_> {
    /// Adds what some queries attend to, each given with the positions that it sees, to their running sums. Sums of a query are taken in `CHAINS`
    /// parts, so that an addition need not wait for the one before.
    #[inline(always)]
    fn add<L: Lanes, const QUERIES: usize, const CHAINS: usize>(
        &self,
        lanes: L,
        attention: &Attention,
        queries: [(&[f32], Range<usize>); QUERIES],
        softmax: &mut [[f32; 2]; QUERIES],
        sums: &mut [f32],
    ) {
        let mut numbers: [&[f32]; QUERIES] = [&[]; QUERIES];
        for query in 0..QUERIES {
            numbers[query] = queries[query].0;
        }
        let mut shares = scores::<L, QUERIES, CHAINS>(lanes, numbers, self.keys, attention.scale);
        let mut rescale = [1.0; QUERIES];
        // The tokens that any of them sees; to the others their shares are 0.
        let (mut begin, mut end) = (PAGE_TOKENS, 0);
        for query in 0..QUERIES {
            let in_page = |position: usize| position.clamp(self.first, self.first + PAGE_TOKENS) - self.first;
            let seen = in_page(queries[query].1.start)..in_page(queries[query].1.end);
            if seen.is_empty() {
                shares[query] = [0.0; PAGE_TOKENS];
                continue;
            }
            if let Some(cap) = attention.soft_cap {
                for score in &mut shares[query] {
                    *score = cap * tanh(*score / cap);
                }
            }
            (begin, end) = (begin.min(seen.start), end.max(seen.end));
            rescale[query] = soften(&mut shares[query], seen, &mut softmax[query]);
        }
        add_values::<L, QUERIES, CHAINS>(lanes, &shares, begin..end, self.values, rescale, sums);
    }
}

/// The scores of some queries with the keys of a page.
#[inline(always)]
fn scores<L: Lanes, const QUERIES: usize, const CHAINS: usize>(
    lanes: L,
    queries: [&[f32]; QUERIES],
    keys: &[[f32; PAGE_TOKENS]],
    scale: f32,
) -> [[f32; PAGE_TOKENS]; QUERIES] {
    let mut scores = [[0.0; PAGE_TOKENS]; QUERIES];
    let mut numbers = queries;
    for numbers in &mut numbers {
        *numbers = &numbers[..keys.len()];
    }
    for half in 0..PAGE_TOKENS / LANES {
        let mut sums = [[lanes.splat(0.0); QUERIES]; CHAINS];
        for first in (0..keys.len()).step_by(CHAINS) {
            for (chain, sums) in sums.iter_mut().enumerate().take(keys.len() - first) {
                let element = first + chain;
                let key = lanes.load(&keys[element].as_chunks::<LANES>().0[half]);
                for query in 0..QUERIES {
                    sums[query] = lanes.fma(lanes.splat(numbers[query][element]), key, sums[query]);
                }
            }
        }
        for query in 0..QUERIES {
            let mut sum = sums[0][query];
            for chain in &sums[1..] {
                sum = lanes.fma(chain[query], lanes.splat(1.0), sum);
            }
            let scores = &mut scores[query].as_chunks_mut::<LANES>().0[half];
            lanes.store(lanes.mul(sum, lanes.splat(scale)), scores);
        }
    }
    scores
}

/// All lanes in one, half with half.
#[inline(always)]
fn folded(mut lanes: [f32; LANES], fold: impl Fn(f32, f32) -> f32) -> f32 {
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            lanes[lane] = fold(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}

/// Puts a number in place of what is not seen.
#[inline(always)]
fn hide(scores: &mut [f32; PAGE_TOKENS], seen: &Range<usize>, number: f32) {
    if seen.len() < PAGE_TOKENS {
        for (index, score) in scores.iter_mut().enumerate() {
            *score = if seen.contains(&index) { *score } else { number };
        }
    }
}

/// Makes scores shares of a running softmax; gives what earlier sums are multiplied by.
#[inline(always)]
fn soften(scores: &mut [f32; PAGE_TOKENS], seen: Range<usize>, softmax: &mut [f32; 2]) -> f32 {
    let [before, total] = *softmax;
    hide(scores, &seen, f32::NEG_INFINITY);
    // Lane by lane as far as it goes: a chain of single comparisons or additions would take as long as the products.
    let mut most = [before; LANES];
    for scores in scores.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            most[lane] = if scores[lane] > most[lane] { scores[lane] } else { most[lane] };
        }
    }
    let largest = folded(most, |a, b| if a > b { a } else { b });
    for score in scores.iter_mut() {
        *score = exp(*score - largest);
    }
    // The least that comes out of `exp` is not 0.
    hide(scores, &seen, 0.0);
    let mut sums = [0.0; LANES];
    for scores in scores.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            sums[lane] += scores[lane];
        }
    }
    let sum = folded(sums, |a, b| a + b);
    let rescale = if before == f32::NEG_INFINITY { 0.0 } else { exp(before - largest) };
    *softmax = [largest, total * rescale + sum];
    rescale
}

/// Adds the values of a page by the shares of some queries.
#[inline(always)]
fn add_values<L: Lanes, const QUERIES: usize, const CHAINS: usize>(
    lanes: L,
    shares: &[[f32; PAGE_TOKENS]; QUERIES],
    seen: Range<usize>,
    values: &[f32],
    rescale: [f32; QUERIES],
    sums: &mut [f32],
) {
    let width = sums.len() / QUERIES;
    let whole = width / LANES * LANES;
    for column in (0..whole).step_by(LANES) {
        let mut totals = [[lanes.splat(0.0); QUERIES]; CHAINS];
        for query in 0..QUERIES {
            let sums = sums[query * width + column..].first_chunk().expect("16 columns");
            totals[0][query] = lanes.mul(lanes.load(sums), lanes.splat(rescale[query]));
        }
        for first in seen.clone().step_by(CHAINS) {
            for (chain, totals) in totals.iter_mut().enumerate().take(seen.end - first) {
                let token = first + chain;
                let value = lanes.load(values[token * width + column..].first_chunk().expect("16 columns"));
                for query in 0..QUERIES {
                    let share = lanes.splat(shares[query][token]);
                    totals[query] = lanes.fma(share, value, totals[query]);
                }
            }
        }
        for query in 0..QUERIES {
            let mut total = totals[0][query];
            for chain in &totals[1..] {
                total = lanes.fma(chain[query], lanes.splat(1.0), total);
            }
            let sums = sums[query * width + column..].first_chunk_mut().expect("16 columns");
            lanes.store(total, sums);
        }
    }
    for query in 0..QUERIES {
        for column in whole..width {
            let sum = &mut sums[query * width + column];
            *sum *= rescale[query];
            for token in seen.clone() {
                *sum += shares[query][token] * values[token * width + column];
            }
        }
    }
}
