//! Plans of small graphs on devices with small limits.

use std::collections::HashSet;
use std::sync::Arc;

use plywood_kernels::Graph;
use plywood_kernels::add::Add;
use plywood_kernels::attention::Attention;
use plywood_kernels::device::{Features, Processor};
use plywood_kernels::formats::{F32, Format, Q8_0};
use plywood_kernels::graph::{CacheSlot, CachedValues, Output, Rows, Slice, Source, Weight, WeightPart};
use plywood_kernels::kv_cache::{KvType, KvWrite};
use plywood_kernels::lowering::{Batch, Precision};
use plywood_kernels::matmul::MatMul;
use plywood_kernels::op::Op;

use super::{Limits, StagePlan, StepLimits};
use crate::devices::tuning::Choices;
use crate::stage::recording::Key;

const STEPS: StepLimits =
    StepLimits { tokens: 64, selected: 4, sequences: 2, context: 256, pages: 16, kv_type: KvType::F32 };

fn limits(max_shard: u64) -> Limits {
    let features = Features { processor: Processor::Cpu, ..Features::LEAST };
    Limits {
        device: "test".into(),
        features,
        precision: Precision::Fast,
        threads: None,
        choices: Choices::default(),
        max_binding: 1 << 20,
        max_shard,
        uniform_alignment: 256,
    }
}

fn part(format: Format, rows: usize) -> WeightPart {
    WeightPart { source: Source::Computed(Arc::from([])), format, rows }
}

/// A graph of one matmul over parts of this many rows, 64 wide, and a residual.
fn graph(parts: Vec<WeightPart>) -> Arc<Graph> {
    let mut graph = Graph::default();
    let rows = parts.iter().map(|part| part.rows).sum();
    let weight = graph.weight(Weight { name: "weight".into(), columns: 64, parts, held: None });
    let (input, residual) = (graph.input("input", Rows::Tokens, 64), graph.input("residual", Rows::Tokens, rows));
    let (product, sum) = (graph.value("product", Rows::Tokens, rows), graph.value("sum", Rows::Tokens, rows));
    let inputs = [("input", graph.whole(input))];
    graph.node(Op::MatMul(MatMul::PLAIN), &inputs, &[("weight", weight)], None, Some(product));
    let addends = [("a", graph.whole(product)), ("b", graph.whole(residual))];
    graph.node(Op::Add(Add), &addends, &[], None, Some(sum));
    graph.outputs.push((Output::Logits, sum));
    Arc::new(graph)
}

#[test]
fn shards_hold_every_row_once_and_stay_small() {
    // Rows of 64 take 256 bytes as F32 and 80 as Q8_0 (64 codes and 2 scales, padded to 16).
    let check = |parts: Vec<WeightPart>, max_shard, rows: &[u32]| {
        let graph = graph(parts);
        let plan = StagePlan::new(&graph, 0..2, limits(max_shard), STEPS).expect("the rows fit");
        let weight = plan.weights.values().next().expect("there is a weight");
        let shards = &weight.device.shards;
        assert_eq!(shards.iter().map(|shard| shard.rows).collect::<Vec<_>>(), rows);
        let mut first_row = 0;
        for (shard, (handle, pieces)) in shards.iter().zip(&weight.shards) {
            assert_eq!(shard.first_row, first_row);
            first_row += shard.rows;
            assert_eq!(pieces.iter().map(|piece| piece.rows.len() as u32).sum::<u32>(), shard.rows);
            assert!(plan.buffers[handle.0].bytes <= max_shard);
        }
    };
    check(vec![part(F32, 10)], 1 << 20, &[10]);
    check(vec![part(F32, 10)], 1024, &[4, 4, 2]);
    check(vec![part(F32, 3), part(F32, 4)], 1024, &[4, 3]);
    check(vec![part(F32, 3), part(Q8_0, 4)], 1024, &[3, 4]);
    check(vec![part(Q8_0, 13), part(F32, 1), part(Q8_0, 1)], 800, &[10, 3, 1, 1]);
    let too_small = StagePlan::new(&graph(vec![part(F32, 1)]), 0..2, limits(255), STEPS);
    assert!(too_small.is_err_and(|error| error.to_string().contains("weight")));
}

#[test]
fn no_command_reads_what_it_writes() {
    let graph = graph(vec![part(F32, 64)]);
    let plan = StagePlan::new(&graph, 0..2, limits(1 << 20), STEPS).expect("it fits");
    assert_eq!(plan.nodes.len(), 1, "the addition is fused");
    for tokens in [Batch::Few(1), Batch::Few(8), Batch::Many] {
        let key = Key { tokens, selected: Batch::Few(1), requested: vec![Output::Logits] };
        let recording = plan.record(&key);
        assert!(!recording.commands.is_empty());
        for command in recording.commands {
            // Binding 3 of both matmul kernels is the output.
            let (output, inputs) = (command.buffers[2], [command.buffers[0], command.buffers[1], command.buffers[3]]);
            assert!(!inputs.contains(&output), "{command:?}");
            assert_eq!(command.params * 4 % 256, 0);
        }
        assert!(plan.record(&Key { requested: Vec::new(), ..key }).commands.is_empty(), "nothing is wanted");
    }
}

#[test]
fn caches_are_cut_by_heads() {
    let mut graph = Graph::default();
    let cache = graph.cache(CacheSlot::plain(5, 8));
    let (keys, values) = (graph.input("keys", Rows::Tokens, 40), graph.input("values", Rows::Tokens, 40));
    let attended = graph.value("attended", Rows::Tokens, 40);
    let (keys, values) = (graph.whole(keys), graph.whole(values));
    graph.node(Op::KvWrite(KvWrite), &[("keys", keys), ("values", values)], &[], Some(cache), None);
    graph.node(
        Op::Attention(Attention { heads: 5, scale: 1.0, window: None, soft_cap: None }),
        &[("queries", keys)],
        &[],
        Some(cache),
        Some(attended),
    );
    graph.outputs.push((Output::Logits, attended));
    let graph = Arc::new(graph);
    // One head of 16 pages of 32 tokens: 16 KiB.
    let plan = StagePlan::new(&graph, 0..2, limits(40_000), STEPS).expect("two heads fit");
    let planned = &plan.caches[&cache];
    assert_eq!(planned.device.shards, [2, 2, 1]);
    let handles: HashSet<_> = planned.shards.iter().flat_map(|(keys, values)| [*keys, *values]).collect();
    assert_eq!(handles.len(), 6, "each shard's keys and values have a buffer of their own");
    assert_eq!(plan.bytes().kv_cache, 2 * 5 * 16 * 1024);
    assert!(StagePlan::new(&graph, 0..2, limits(16_000), STEPS).is_err());
}

#[test]
fn values_in_keys_are_not_stored_again() {
    let check = |kv_type: KvType, values: CachedValues, written: usize, bytes: u64, buffers: usize| {
        let mut graph = Graph::default();
        let cache = graph.cache(CacheSlot { kv_heads: 1, key_width: 24, value_width: 16, values });
        let query = graph.input("query", Rows::Tokens, 48);
        let attended = graph.value("attended", Rows::Tokens, 32);
        let slice = |offset, width| Slice { value: query, offset, width };
        let parts = [("keys", slice(0, 24)), ("values", slice(24, 16))];
        graph.node(Op::KvWrite(KvWrite), &parts[..written], &[], Some(cache), None);
        let attention = Attention { heads: 2, scale: 1.0, window: None, soft_cap: None };
        let queries = [("queries", graph.whole(query))];
        graph.node(Op::Attention(attention), &queries, &[], Some(cache), Some(attended));
        graph.outputs.push((Output::Logits, attended));
        let steps = StepLimits { kv_type, ..STEPS };
        let plan = StagePlan::new(&Arc::new(graph), 0..2, limits(1 << 20), steps).expect("it fits");
        let (keys, values) = plan.caches[&cache].shards[0];
        assert_eq!((plan.bytes().kv_cache, HashSet::from([keys, values]).len()), (bytes, buffers));
    };
    // 16 pages of 32 tokens, 4 bytes to a number.
    check(KvType::F32, CachedValues::Own, 2, 16 * 32 * 4 * (24 + 16), 2);
    check(KvType::F32, CachedValues::InKeys, 1, 16 * 32 * 4 * 24, 1);
    // A byte to a number, and a word of scales.
    check(KvType::Q8, CachedValues::Own, 2, 16 * 32 * (28 + 20), 2);
    check(KvType::Q8, CachedValues::InKeys, 1, 16 * 32 * 28, 1);
}

#[test]
fn what_crosses_a_cut_is_received_and_sent() {
    let graph = graph(vec![part(F32, 64)]);
    let first = StagePlan::new(&graph, 0..1, limits(1 << 20), STEPS).expect("it fits");
    let second = StagePlan::new(&graph, 1..2, limits(1 << 20), STEPS).expect("it fits");
    let names = |values: &[plywood_kernels::graph::ValueId]| -> Vec<&str> {
        values.iter().map(|value| graph.values[value.0].name).collect()
    };
    // The residual comes from outside and is read after the cut: it passes through.
    assert_eq!(names(&first.received), ["input", "residual"]);
    assert_eq!(names(&first.sent), ["residual", "product"]);
    assert_eq!(names(&second.received), ["residual", "product"]);
    assert!(second.sent.is_empty());
}
