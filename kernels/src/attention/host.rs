//! Attention on the host: along the pages of keys with a running softmax, the queries of a KV head together.

use std::sync::{Mutex, PoisonError};

use super::Attention;
use crate::graph::CachedValues;
use crate::host::HostRun;
use crate::host::cache::PagedCache;
use crate::reference::Matrix;
use crate::simd::math::exp;
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
    softmax: Vec<(f32, f32)>,
}

/// The queries of some consecutive tokens of a sequence with the heads of one KV head.
struct Queries<'a> {
    attention: &'a Attention,
    queries: Matrix<'a>,
    sinks: Option<&'a [f32]>,
    cache: &'a PagedCache,
    step: &'a Step,
    block: Block,
    kv_head: usize,
    scratch: &'a mut AttentionScratch,
}

/// Computes attention for all tokens of a step.
pub fn run(attention: &Attention, run: &mut HostRun) {
    let sinks = run.operands.weights.get("sinks").map(|sinks| sinks.row(0));
    let cache = run.cache.as_deref().expect("the op uses the cache");
    let kv_heads = cache.slot().kv_heads;
    let value_width = cache.slot().value_width;
    let group = attention.heads / kv_heads;
    let blocks = run.operands.step.blocks();
    let items = blocks.len() * kv_heads;
    let parts = run.threads.count().min(items);
    run.scratch.attention.resize_with(run.scratch.attention.len().max(parts), Mutex::default);
    let (operands, isa, output, scratch) = (&run.operands, run.isa, run.output(), &run.scratch.attention);
    let next = std::sync::atomic::AtomicUsize::new(0);
    run.threads.each(parts, &|part| {
        let mut scratch = scratch[part].lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // The last tokens see the most keys: they come first.
            let item = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if item >= items {
                return;
            }
            let (block, kv_head) = (blocks[blocks.len() - 1 - item / kv_heads], item % kv_heads);
            let queries = Queries {
                attention,
                queries: operands.inputs["queries"],
                sinks: sinks.as_deref(),
                cache,
                step: operands.step,
                block,
                kv_head,
                scratch: &mut scratch,
            };
            isa.run(queries);
            for token in 0..block.tokens as usize {
                let columns = kv_head * group * value_width..(kv_head + 1) * group * value_width;
                let sums = &scratch.sums[token * group * value_width..][..group * value_width];
                output.put(block.first as usize + token, columns.start, sums);
            }
        }
    });
}

impl WithLanes for Queries<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Queries { attention, queries, sinks, cache, step, block, kv_head, scratch } = self;
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
            softmax.push((sink, if sinks.is_some() { 1.0 } else { 0.0 }));
        }
        let tokens = &step.tokens[block.first as usize..][..block.tokens as usize];
        let (first, last) = (tokens[0].position as usize, tokens[tokens.len() - 1].position as usize);
        let seen_from = |position: usize| (position + 1).saturating_sub(attention.window.unwrap_or(usize::MAX));
        for page_number in seen_from(first) / PAGE_TOKENS..=last / PAGE_TOKENS {
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
            let page_first = page_number * PAGE_TOKENS;
            for (index, token) in tokens.iter().enumerate() {
                let position = token.position as usize;
                let seen = seen_from(position).max(page_first)..(position + 1).min(page_first + PAGE_TOKENS);
                if seen.is_empty() {
                    continue;
                }
                let seen = seen.start - page_first..seen.end - page_first;
                let row = queries.row(block.first as usize + index);
                for head in 0..group {
                    let query = &row[(kv_head * group + head) * slot.key_width..][..slot.key_width];
                    let place = index * group + head;
                    let mut shares = scores(lanes, query, keys, attention.scale);
                    if let Some(cap) = attention.soft_cap {
                        shares.iter_mut().for_each(|score| *score = cap * (*score / cap).tanh());
                    }
                    let rescale = soften(&mut shares, seen.clone(), &mut softmax[place]);
                    let sums = &mut sums[place * slot.value_width..][..slot.value_width];
                    add_values(lanes, &shares, seen.clone(), values, rescale, sums);
                }
            }
        }
        for (sums, (_, total)) in sums.chunks_exact_mut(slot.value_width).zip(softmax.iter()) {
            let inverse = 1.0 / total;
            sums.iter_mut().for_each(|sum| *sum *= inverse);
        }
    }
}

/// The scores of a query with the keys of a page.
#[inline(always)]
fn scores<L: Lanes>(lanes: L, query: &[f32], keys: &[[f32; PAGE_TOKENS]], scale: f32) -> [f32; PAGE_TOKENS] {
    const CHAINS: usize = 2;
    let mut sums = [[lanes.splat(0.0); PAGE_TOKENS / LANES]; CHAINS];
    for (keys, query) in keys.chunks_exact(CHAINS).zip(query.chunks_exact(CHAINS)) {
        for chain in 0..CHAINS {
            let query = lanes.splat(query[chain]);
            let (halves, _) = keys[chain].as_chunks::<LANES>();
            for half in 0..PAGE_TOKENS / LANES {
                sums[chain][half] = lanes.fma(query, lanes.load(&halves[half]), sums[chain][half]);
            }
        }
    }
    let mut scores = [0.0; PAGE_TOKENS];
    for (half, scores) in scores.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let sum = lanes.fma(sums[1][half], lanes.splat(1.0), sums[0][half]);
        lanes.store(lanes.mul(sum, lanes.splat(scale)), scores);
    }
    scores
}

/// Makes scores shares of a running softmax; gives what earlier sums are multiplied by.
#[inline(always)]
fn soften(scores: &mut [f32; PAGE_TOKENS], seen: std::ops::Range<usize>, softmax: &mut (f32, f32)) -> f32 {
    let (before, total) = *softmax;
    let mut largest = before;
    for score in &scores[seen.clone()] {
        largest = largest.max(*score);
    }
    for (index, score) in scores.iter_mut().enumerate() {
        let share = exp(*score - largest);
        *score = if index >= seen.start && index < seen.end { share } else { 0.0 };
    }
    let mut sum = 0.0;
    for share in scores.iter() {
        sum += share;
    }
    let rescale = if before == f32::NEG_INFINITY { 0.0 } else { exp(before - largest) };
    *softmax = (largest, total * rescale + sum);
    rescale
}

/// Adds the values of a page by their shares.
#[inline(always)]
fn add_values<L: Lanes>(
    lanes: L,
    shares: &[f32; PAGE_TOKENS],
    seen: std::ops::Range<usize>,
    values: &[f32],
    rescale: f32,
    sums: &mut [f32],
) {
    let width = sums.len();
    let (chunks, rest) = sums.as_chunks_mut::<LANES>();
    let whole = chunks.len() * LANES;
    for (index, sums) in chunks.iter_mut().enumerate() {
        let mut even = lanes.mul(lanes.load(sums), lanes.splat(rescale));
        let mut odd = lanes.splat(0.0);
        let value = |token: usize| -> &[f32; LANES] {
            values[token * width + index * LANES..][..LANES].try_into().expect("16 numbers")
        };
        let mut token = seen.start;
        while token + 1 < seen.end {
            even = lanes.fma(lanes.splat(shares[token]), lanes.load(value(token)), even);
            odd = lanes.fma(lanes.splat(shares[token + 1]), lanes.load(value(token + 1)), odd);
            token += 2;
        }
        if token < seen.end {
            even = lanes.fma(lanes.splat(shares[token]), lanes.load(value(token)), even);
        }
        lanes.store(lanes.fma(odd, lanes.splat(1.0), even), sums);
    }
    for (index, sum) in rest.iter_mut().enumerate() {
        *sum *= rescale;
        for token in seen.clone() {
            *sum += shares[token] * values[token * width + whole + index];
        }
    }
}
