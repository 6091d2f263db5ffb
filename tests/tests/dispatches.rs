//! How many dispatches a step of one token takes on a GPU, layer by layer: what rewrites leave of each family's graph. And what they take.

use std::ops::Range;
use std::sync::Arc;

use plywood::devices::Kind;
use plywood::kernels::device::Features;
use plywood::kernels::graph::{Graph, Output};
use plywood::kernels::kv_cache::KvType;
use plywood::kernels::lowering::{Batch, Precision};
use plywood::models::synthetic::Synthetic;
use plywood::models::transformer;
use plywood::testing::{Choices, Key, Limits, StagePlan};
use plywood::tools::bench::{self, KernelShare, Test};
use plywood::{Model, StepLimits};
use plywood_tests::families::{FAMILIES, folder};
use plywood_tests::{adapters, exact, none_wrong, skipped};

/// Dispatches of the layers of each family, in the order in which they first occur. Of Llama's kind: q, k and v; heads; attention and its
/// combination; its output; gate and up; down.
const DISPATCHES: [(&str, &[usize]); FAMILIES.len()] = [
    ("llama2", &[7]),
    ("llama3", &[7]),
    ("llama_biases", &[7]),
    ("smollm2", &[7]),
    ("mistral", &[7]),
    ("mistral_nemo", &[7]),
    ("ministral", &[7]),
    ("ministral3", &[8]),
    ("qwen2", &[7]),
    ("qwen3", &[7]),
    ("phi3", &[7]),
    ("phi35", &[7]),
    ("phi4", &[7]),
    ("phi4_mini", &[7]),
    ("gemma2", &[9]),
    ("gemma3", &[9]),
    ("smollm3", &[7]),
    ("olmo2", &[13]),
    ("granite3", &[7]),
    ("mixtral", &[11]),
    ("qwen2_moe", &[13]),
    ("qwen2_moe_mixed", &[7, 13]),
    ("qwen3_moe", &[11]),
    ("deepseek_v2_lite", &[11, 17]),
    ("deepseek_v2", &[12, 18]),
    ("deepseek_v3", &[12, 18]),
    ("gpt_oss", &[11]),
    ("gpt_oss_bf16", &[11]),
];

/// A graphics card that holds any of them whole.
fn limits() -> Limits {
    Limits {
        device: "a graphics card".into(),
        features: Features::CARD,
        precision: Precision::Fast,
        choices: Choices::default(),
        threads: None,
        max_binding: 1 << 31,
        max_shard: 1 << 31,
        uniform_alignment: 256,
    }
}

/// The dispatches of some nodes of a graph.
fn dispatches(graph: &Arc<Graph>, nodes: Range<usize>) -> usize {
    let steps = StepLimits { tokens: 1, selected: 1, sequences: 1, context: 64, pages: 2, kv_type: KvType::F16 };
    let key = Key { tokens: Batch::Few(1), selected: Batch::Few(1), requested: vec![Output::Argmax] };
    let plan = StagePlan::new(graph, nodes, limits(), steps).expect("the nodes are planned");
    plan.record(&key).commands.len()
}

/// The dispatches of each layer of a family's directory, each number once.
fn of_layers(family: &str) -> Vec<usize> {
    let model = plywood::models::Model::open(folder(family)).expect("the family opens");
    let graph = Arc::new(model.graph(64).expect("it has a graph"));
    let mut found = Vec::new();
    for marks in graph.marks.windows(2) {
        let count = dispatches(&graph, marks[0]..marks[1]);
        if !found.contains(&count) {
            found.push(count);
        }
    }
    found
}

#[test]
fn dispatches_of_a_token() {
    let check = |name: &str, expected: usize| {
        let synthetic = Synthetic::named(name).expect("the shape is known");
        let graph = transformer::build(&synthetic, &synthetic.config, 64).expect("it has a graph");
        let (graph, nodes) = (Arc::new(graph.clone()), 0..graph.nodes.len());
        assert_eq!(dispatches(&graph, nodes), expected, "{name}");
    };
    check("llama-1b:q4_0", 117);
    check("llama-8b:q4_0", 229);
}

#[test]
fn dispatches_of_a_layer() {
    let mut wrong = Vec::new();
    for name in FAMILIES {
        let found = of_layers(name);
        println!("    (\"{name}\", &{found:?}),");
        let expected = DISPATCHES.iter().find(|(family, _)| *family == name);
        if expected.is_none_or(|(_, expected)| *expected != found) {
            wrong.push(format!("{name}: {found:?}, and not {expected:?}"));
        }
    }
    none_wrong(&wrong);
}

/// A profile has every dispatch of a step, with times that are shares of a whole, on every adapter.
#[test]
fn every_dispatch_is_timed() {
    let test = Test { prompt: 0, generate: 3, depth: 0 };
    let mut wrong = Vec::new();
    for adapter in adapters() {
        let label = adapter.label();
        let model = Model::open("demo", exact(&[&adapter])).expect("the demo model opens");
        let measured = bench::measure(&model, test, 1, |_| true).expect("it is measured");
        let kernels = bench::kernels(&model, test, |_| true).expect("its kernels are measured");
        if kernels.is_empty() {
            skipped(&format!("{label} tells no times"));
            continue;
        }
        let sum = |get: fn(&KernelShare) -> f64| kernels.iter().map(get).sum::<f64>();
        let (dispatches, shares) = (sum(|kernel| kernel.dispatches), sum(|kernel| kernel.share));
        let is_whole = adapter.kind == Kind::Host || dispatches == measured.dispatches as f64;
        if !is_whole || (shares - 1.0).abs() > 1e-6 || sum(|kernel| kernel.seconds) <= 0.0 {
            wrong.push(format!("{label}: {} dispatches, {kernels:?}", measured.dispatches));
        }
        // Once it is over, steps go on as before.
        let again = bench::measure(&model, test, 1, |_| true).expect("it is measured again");
        wrong.extend((again.dispatches != measured.dispatches).then(|| format!("{label}: {again:?}")));
    }
    none_wrong(&wrong);
}
