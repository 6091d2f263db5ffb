//! Cases of attention.

use super::Attention;
use crate::cases::{Case, EXACT, HALF, sequences};
use crate::graph::{CacheSlot, CachedValues, Rows, Slice, Weight, WeightId};
use crate::kv_cache::{KvType, KvWrite};
use crate::named::Named;
use crate::op::Op;

/// Keys and values are written by [`crate::kv_cache::KvWrite`] on the way, so that these are its cases too: head widths
/// from 8 to 256, groups of 1 to 8, one token and blocks, ragged steps over shuffled pages, all cache types, shards of heads.
pub fn cases() -> Vec<Case> {
    let once: &[&[(usize, usize)]] = &[&[(0, 1)]];
    let grown: &[&[(usize, usize)]] = &[&[(0, 37)], &[(37, 1)], &[(38, 3)]];
    let ragged: &[&[(usize, usize)]] =
        &[&[(0, 40), (0, 1), (0, 70)], &[(40, 1), (1, 33), (70, 2)], &[(41, 1), (34, 1), (72, 1)]];
    let long: &[&[(usize, usize)]] = &[&[(0, 300)], &[(300, 213)], &[(513, 1)]];
    let mut cases = Vec::new();
    for kv_type in KvType::ALL {
        cases.push(case((1, 1, 8), kv_type, once, 1.0));
        cases.push(case((8, 4, 8), kv_type, ragged, 3.0));
        cases.push(case((8, 1, 64), kv_type, ragged, 1.0));
        cases.push(case((3, 3, 80), kv_type, grown, 1.0));
        cases.push(case((4, 2, 128), kv_type, long, 1.0));
        cases.push(case((2, 1, 256), kv_type, grown, 1.0));
        // More query heads to a KV head than workgroup memory holds at once.
        cases.push(case((64, 1, 128), kv_type, grown, 1.0));
        let mut sharded = case((8, 4, 32), kv_type, grown, 1.0);
        // Room for one head of the two pages.
        sharded.max_shard = Some(2 * 32 * kv_type.head_bytes(32));
        sharded.name += ", in shards";
        cases.push(sharded);
    }
    // More keys than the most spans of the smaller candidate hold, 16 of 256, so that spans become longer.
    let mut longer = case((2, 1, 8), KvType::F32, &[&[(0, 4200)], &[(4200, 1)], &[(4201, 2)]], 1.0);
    attention(&mut longer).0.window = Some(4150);
    longer.name += ", window 4150";
    cases.push(longer);
    // Windows within a tile and beyond, that begin within blocks, spans and pages; bounded scores.
    for (window, soft_cap) in [(1, None), (5, Some(2.0)), (33, None), (200, Some(0.5)), (1000, Some(50.0))] {
        for runs in [ragged, long] {
            let mut windowed = case((4, 2, 16), KvType::F32, runs, 3.0);
            let (attention, _) = attention(&mut windowed);
            (attention.window, attention.soft_cap) = (Some(window), soft_cap);
            windowed.name += &format!(", window {window}, cap {soft_cap:?}");
            cases.push(windowed);
        }
    }
    // Spans of many pages, of which the first has the sink.
    let mut sinks = case((6, 1, 16), KvType::F32, long, 3.0);
    add_sinks(&mut sinks, None, &[3.0, 0.0, -1e30, 30.0, -2.0, 1.0]);
    cases.push(sinks);
    // Sinks that take nearly all, nearly nothing, and their share; with windows, groups and shards.
    for kv_type in KvType::ALL {
        for (window, sinks) in [(None, [0.5, -1.0]), (Some(5), [30.0, 0.0]), (Some(33), [-1e30, 1.5])] {
            for runs in [ragged, grown] {
                let mut case = case((6, 2, 16), kv_type, runs, 3.0);
                add_sinks(&mut case, window, &sinks.repeat(3));
                cases.push(case);
            }
        }
        let mut sharded = case((8, 4, 32), kv_type, grown, 1.0);
        sharded.max_shard = Some(2 * 32 * kv_type.head_bytes(32));
        add_sinks(&mut sharded, None, &[3.0, 0.0, -3.0, 1.0, 2.0, -1.0, 0.5, 4.0]);
        cases.push(sharded);
    }
    cases.extend(KvType::ALL.into_iter().flat_map(|kv_type| width_cases(kv_type, ragged, grown)));
    // In these caches, values beyond f16 come through.
    for kv_type in [KvType::F32, KvType::Q8] {
        cases.push(case((2, 2, 16), kv_type, grown, 1e5));
    }
    cases.extend(block_cases(ragged));
    cases
}

/// Values that are narrower and wider than their keys, and values in the keys of one head (latent attention) or of several, with
/// more query heads than workgroup memory holds, with windows and sinks, and in shards.
fn width_cases(kv_type: KvType, ragged: &[&[(usize, usize)]], grown: &[&[(usize, usize)]]) -> Vec<Case> {
    let own =
        |kv_heads, key_width, value_width| CacheSlot { kv_heads, key_width, value_width, values: CachedValues::Own };
    let in_keys = |kv_heads, key_width, value_width| CacheSlot {
        values: CachedValues::InKeys,
        ..own(kv_heads, key_width, value_width)
    };
    let short: &[&[(usize, usize)]] = &[&[(0, 19), (0, 2)], &[(19, 1), (2, 1)]];
    let mut cases = vec![
        slot_case(4, own(2, 24, 16), kv_type, ragged, 3.0),
        slot_case(6, own(3, 12, 40), kv_type, grown, 1.0),
        slot_case(3, own(1, 64, 300), kv_type, short, 1.0),
        slot_case(5, in_keys(1, 20, 12), kv_type, ragged, 3.0),
        slot_case(8, in_keys(1, 24, 16), kv_type, ragged, 3.0),
        slot_case(16, in_keys(1, 576, 512), kv_type, grown, 1.0),
        slot_case(128, in_keys(1, 576, 512), kv_type, short, 1.0),
    ];
    for slot in [own(4, 32, 48), in_keys(4, 48, 32)] {
        let mut sharded = slot_case(8, slot, kv_type, grown, 1.0);
        // Room for one head of the two pages.
        sharded.max_shard = Some(2 * 32 * kv_type.head_bytes(48));
        sharded.name += ", in shards";
        cases.push(sharded);
    }
    let mut windowed = slot_case(6, in_keys(1, 24, 16), kv_type, ragged, 3.0);
    add_sinks(&mut windowed, Some(33), &[1.0, -2.0, 3.0, 0.0, 20.0, -1e30]);
    cases.push(windowed);
    cases
}

/// What blocks must bear: nothing but zeros, numbers of which few are large, large ones, and heads that end within a block. Tokens see
/// themselves alone in some, so that a single byte that was rounded otherwise is beyond the limit of a row.
fn block_cases(ragged: &[&[(usize, usize)]]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, magnitude, power, grain) in [
        ("uniform", 3.0, 1, 0.0),
        ("few are large", 30.0, 5, 0.0),
        ("few are very large", 1e7, 9, 0.0),
        ("few are not zero", 1.0, 1, 1.8),
        ("zeros", 1.0, 1, 4.0),
    ] {
        for (head_width, window) in [(128, Some(1)), (72, Some(1)), (36, None)] {
            for runs in [ragged, &[&[(0, 257)]]] {
                let mut case = case((2, 2, head_width), KvType::Q8, runs, magnitude);
                (case.power, case.grain) = (power, grain);
                attention(&mut case).0.window = window;
                case.name += &format!(", {name}, window {window:?}");
                cases.push(case);
            }
        }
    }
    cases
}

/// A case's attention, and the weights of its node.
fn attention(case: &mut Case) -> (&mut Attention, &mut Named<WeightId>) {
    let attention = case.graph.nodes.iter_mut().find_map(|node| match &mut node.op {
        Op::Attention(attention) => Some((attention, &mut node.weights)),
        _ => None,
    });
    attention.expect("a case of attention has one")
}

/// Gives a case's attention a window and sinks, one for each head.
fn add_sinks(case: &mut Case, window: Option<usize>, sinks: &[f32]) {
    let weight = case.graph.weight(Weight::computed("sinks", sinks.len(), sinks));
    let (attention, weights) = attention(case);
    (attention.window, *weights) = (window, Named::from_iter([("sinks", weight)]));
    case.name += &format!(", window {window:?}, sinks {:?}", &sinks[..2]);
}

/// A token after 4095 others, and a prompt of 256, in the shape of Llama-3.2-1B; the token in those of DeepSeek-V2-Lite and V3 too.
pub fn large_cases() -> Vec<Case> {
    let shape = (32, 8, 64);
    let latent = CacheSlot { kv_heads: 1, key_width: 576, value_width: 512, values: CachedValues::InKeys };
    let after: &[&[(usize, usize)]] = &[&[(4095, 1)]];
    let of_type = |kv_type| {
        [
            case(shape, kv_type, after, 1.0),
            case(shape, kv_type, &[&[(0, 256)]], 1.0),
            slot_case(16, latent, kv_type, after, 1.0),
            slot_case(128, latent, kv_type, after, 1.0),
        ]
    };
    KvType::ALL.into_iter().flat_map(of_type).collect()
}

/// Heads, KV heads and their width; in each step, for each sequence, tokens cached and tokens run.
fn case(shape: (usize, usize, usize), kv_type: KvType, runs: &[&[(usize, usize)]], magnitude: f32) -> Case {
    let (heads, kv_heads, head_width) = shape;
    slot_case(heads, CacheSlot::plain(kv_heads, head_width), kv_type, runs, magnitude)
}

/// Heads over a cache slot; in each step, for each sequence, tokens cached and tokens run.
fn slot_case(heads: usize, slot: CacheSlot, kv_type: KvType, runs: &[&[(usize, usize)]], magnitude: f32) -> Case {
    let CacheSlot { kv_heads, key_width, value_width, values } = slot;
    let tokens: Vec<usize> = runs.iter().map(|run| run.iter().map(|(_, run)| run).sum()).collect();
    let widths = match values {
        CachedValues::Own if key_width == value_width => format!("{key_width}"),
        CachedValues::Own => format!("{key_width} and {value_width}"),
        CachedValues::InKeys => format!("{key_width} with {value_width}"),
    };
    let name = format!("{heads}/{kv_heads} heads of {widths}, {}, steps of {tokens:?}", kv_type.name());
    let mut case = Case::new("attention", name, 1);
    let context = runs.iter().flat_map(|run| run.iter().map(|(cached, run)| cached + run)).max().unwrap_or(1);
    case.steps = runs.iter().map(|run| sequences(run, 1, context)).collect();
    (case.kv_type, case.magnitude) = (kv_type, magnitude);
    // What is written in blocks is rounded alike everywhere (q8_0.wgsl), unlike what a device packs.
    case.limit = if kv_type == KvType::F16 { HALF } else { EXACT };
    let (queries, keys) = (heads * key_width, kv_heads * key_width);
    let qkv = case.graph.input("qkv", Rows::Tokens, queries + slot.numbers());
    let cache = case.graph.cache(slot);
    let output = case.graph.value("attended", Rows::Tokens, heads * value_width);
    let slice = |offset, width| Slice { value: qkv, offset, width };
    let mut written = vec![("keys", slice(queries, keys))];
    if values == CachedValues::Own {
        written.push(("values", slice(queries + keys, kv_heads * value_width)));
    }
    case.graph.node(Op::KvWrite(KvWrite), &written, &[], Some(cache), None);
    let scale = 1.0 / (key_width as f32).sqrt();
    let op = Op::Attention(Attention { heads, scale, window: None, soft_cap: None });
    case.graph.node(op, &[("queries", slice(0, queries))], &[], Some(cache), Some(output));
    case.output(output);
    case
}
