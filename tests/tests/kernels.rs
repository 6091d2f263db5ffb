//! Every case of every op on every adapter against the reference, with every candidate and with fewer features.

use std::fs;
use std::time::Instant;

use plywood::devices::{Adapter, Adapters, Kind};
use plywood::tools::selftest::{Bench, CaseResult, Expected};
use plywood_kernels::cases::{self, Case, EXACT, host_part};
use plywood_kernels::formats::{self, F32};
use plywood_kernels::graph::{CachedValues, Graph, Output, Source, Weight, WeightPart};
use plywood_kernels::kv_cache::KvType;
use plywood_kernels::op::Op;
use plywood_kernels::reference::Machine;
use plywood_tests::{nmse, none_wrong};

/// Runs all cases on an adapter; gives what failed.
fn check(adapters: &Adapters, adapter: &Adapter, cases: &[Case]) -> Vec<String> {
    let begin = Instant::now();
    let bench = match Bench::open(adapters, adapter) {
        Ok(bench) => bench,
        Err(error) => return vec![error.to_string()],
    };
    let run = |case: &Case| {
        let (expected, variants) = (Expected::of(case), bench.variants(case));
        variants.iter().map(|variant| bench.check(&expected, variant)).collect::<Vec<_>>()
    };
    let results: Vec<CaseResult> = cases.iter().flat_map(run).collect();
    let mut variants: Vec<&str> = results.iter().map(|result| result.variant.as_str()).collect();
    variants.sort_unstable();
    variants.dedup();
    for variant in variants {
        let here: Vec<&CaseResult> = results.iter().filter(|result| result.variant == variant).collect();
        let worst = |exact: bool| {
            let group = here.iter().filter(|result| (result.limit <= EXACT) == exact);
            group.map(|result| result.nmse.unwrap_or(f64::INFINITY)).fold(0.0, f64::max)
        };
        let (label, passed) = (adapter.label(), here.iter().filter(|result| result.passed).count());
        let (exact, loose, all) = (worst(true), worst(false), here.len());
        println!("{label}, {variant}: {passed} of {all} passed, worst NMSE {exact:.1e} in f32, {loose:.1e} with f16");
    }
    println!("{}: {:.1} s", adapter.label(), begin.elapsed().as_secs_f64());
    results.iter().filter(|result| !result.passed).map(describe).collect()
}

fn describe(result: &CaseResult) -> String {
    let CaseResult { adapter, op, case, format, variant, nmse, limit, error, .. } = result;
    let (format, error) = (format.unwrap_or("-"), error.as_deref().unwrap_or("no error"));
    format!("{adapter}, {variant}: {op}, {case}, {format}: NMSE {nmse:?}, limit {limit:.0e} ({error})")
}

#[test]
fn every_case_on_every_adapter() {
    let (adapters, cases) = (Adapters::find(), cases::all());
    // At the same time: most of it is drivers compiling, each in one thread.
    let wrong: Vec<Vec<String>> = std::thread::scope(|scope| {
        let (adapters, cases) = (&adapters, &cases);
        let checks = adapters.list().iter().map(|adapter| scope.spawn(move || check(adapters, adapter, cases)));
        let checks: Vec<_> = checks.collect();
        checks.into_iter().map(|check| check.join().expect("no thread panics")).collect()
    });
    none_wrong(&wrong.concat());
}

/// The ops by their folders, with the names that their kernels give themselves.
fn ops() -> Vec<(String, String)> {
    let mut ops = Vec::new();
    let folders = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../kernels/src")).expect("the kernels are there");
    for folder in folders.map(|entry| entry.expect("an entry").path()) {
        let text = fs::read_to_string(folder.join("mod.rs")).unwrap_or_default();
        for kernel in text.split("impl Kernel for ").skip(1) {
            let name = kernel.split_once("fn name(").and_then(|(_, rest)| rest.split('"').nth(1)).expect("a name");
            let folder = folder.file_name().expect("it has a name").to_string_lossy();
            ops.push((folder.into_owned(), name.to_string()));
        }
    }
    assert!(ops.len() > 15, "only {ops:?} were found");
    ops
}

/// What the cases must hold, so that none is lost unseen.
#[test]
fn the_table_holds_what_it_should() {
    let cases = cases::all();
    let has = |what: &str, holds: &dyn Fn(&Case) -> bool| {
        let count = cases.iter().filter(|case| holds(case)).count();
        println!("{count} cases have {what}");
        assert!(count > 0, "no case has {what}");
    };
    let tokens = |case: &Case| case.steps.iter().map(|step| step.tokens.len()).max();
    let columns = |case: &Case, rest: usize| case.graph.weights.iter().any(|weight| weight.columns % rest != 0);
    for op in ["embedding", "matmul"] {
        for format in formats::ALL {
            let holds = |case: &Case| case.op == op && case.format == Some(format);
            has(&format!("{op} of {format}"), &holds);
        }
    }
    for (folder, op) in ops() {
        // A write to the cache is seen by the attention that reads it.
        let table = if folder == "kv_cache" { "attention" } else { &folder };
        let runs = |case: &Case| case.graph.nodes.iter().any(|node| node.op.kernel().name() == op);
        has(&format!("{op} in the table of {table}"), &|case| case.op == table && runs(case));
    }
    has("one token", &|case| tokens(case) == Some(1));
    has("513 tokens", &|case| tokens(case) == Some(513));
    has("weight rows that 32 does not divide", &|case| columns(case, 32));
    has("weight rows that 4 does not divide", &|case| columns(case, 4));
    has("inputs beyond f16", &|case| case.magnitude > 65_504.0);
    has("matmul inputs beyond f16", &|case| case.op == "matmul" && case.magnitude > 65_504.0);
    has("forced shards of a weight", &|case| case.max_shard.is_some() && case.graph.caches.is_empty());
    has("forced shards of a cache", &|case| case.max_shard.is_some() && !case.graph.caches.is_empty());
    has("short and long sequences in a step", &|case| {
        let is = |long| case.steps.iter().flat_map(|step| &step.tokens).any(|token| token.long == long);
        is(true) && is(false)
    });
    for kv_type in KvType::ALL {
        let caches = |case: &Case| case.kv_type == kv_type && !case.graph.caches.is_empty();
        has(&format!("a cache in {}", kv_type.name()), &caches);
    }
    has("inputs of which few are large", &|case| case.power > 1);
    has("values within keys", &|case| case.graph.caches.iter().any(|slot| slot.values == CachedValues::InKeys));
    has("sinks", &|case| case.graph.caches.len() == 1 && !case.graph.weights.is_empty());
    has("several sequences in a step", &|case| {
        case.steps.iter().any(|step| step.pages.len() > step.pages_per_sequence)
    });
    // Loose limits must be argued: only what passes through f16 has one.
    let loose = cases.iter().filter(|case| case.limit > EXACT);
    println!("{} of {} cases allow more than {EXACT:.0e}", loose.count(), cases.len());
    has("the strict limit", &|case| case.limit <= EXACT);
    assert!(cases.iter().all(|case| case.limit <= 5e-4), "a limit is looser than llama.cpp's");
}

/// The outputs of a case's last step, computed by the reference on a graph that may differ from the case's.
fn outputs(case: &Case, graph: &Graph) -> Vec<f32> {
    let changed = Case { graph: graph.clone(), ..case.clone() };
    let mut machine = Machine::new(graph, changed.host_weights(), case.kv_type, case.pages());
    let mut values = Default::default();
    for (index, step) in case.steps.iter().enumerate() {
        values = machine.step(step, case.given(index), &[Output::Logits]);
    }
    values.remove(&case.graph.outputs[0].1).expect("the output was wanted")
}

/// A copy of a weight in F32 whose numbers were changed, row by row.
fn change(weight: &Weight, mut change: impl FnMut(usize, &mut [f32])) -> Weight {
    let mut first = 0;
    let mut part = |part: &WeightPart| {
        let mut numbers = vec![0.0; part.rows * weight.columns];
        part.format.decode_row(&host_part(part).bytes, &mut numbers);
        let rows = numbers.chunks_mut(weight.columns).enumerate();
        rows.for_each(|(row, numbers)| change(first + row, numbers));
        first += part.rows;
        WeightPart { source: Source::Computed(numbers.into()), format: F32, rows: part.rows }
    };
    Weight { parts: weight.parts.iter().map(&mut part).collect(), ..weight.clone() }
}

/// The check can fail: mistakes that real kernels have made are above the limits of every matmul case.
#[test]
fn mistakes_are_seen() {
    let cases = cases::all();
    // Where a gate is shut, a mistake in what it multiplies does not show, and is none.
    let is_open = |op: &Op| matches!(op, Op::MatMul(product) if product.gate.is_none());
    let products = cases.iter().filter(|case| case.op == "matmul" && is_open(&case.graph.nodes[0].op));
    let mut seen = 0;
    for case in products.filter(|case| case.graph.weights[0].columns < 600 && case.steps[0].tokens.len() < 40) {
        let right = outputs(case, &case.graph);
        let width = case.graph.values[case.graph.outputs[0].1.0].width;
        let check = |what: &str, computed: &[f32]| {
            let rows = right.chunks(width).zip(computed.chunks(width));
            let row = rows.map(|(right, computed)| nmse(right, computed)).fold(0.0, f64::max);
            let whole = nmse(&right, computed);
            let unseen = whole <= case.limit && row <= case.limit * 100.0;
            assert!(!unseen, "{}, {what}: NMSE {whole:.1e}, worst row {row:.1e}", case.name);
        };
        let mut rest_dropped = case.graph.clone();
        rest_dropped.weights[0] = change(&case.graph.weights[0], |_, row| {
            *row.iter_mut().rfind(|number| **number != 0.0).expect("a number") = 0.0;
        });
        let mut row_dropped = case.graph.clone();
        let last = case.graph.weights[0].rows() - 1;
        row_dropped.weights[0] = change(&case.graph.weights[0], |row, numbers| {
            if row == last {
                numbers.fill(0.0);
            }
        });
        check("the last element of each weight row that is not 0 dropped", &outputs(case, &rest_dropped));
        check("the last weight row dropped", &outputs(case, &row_dropped));
        check("unwritten", &vec![f32::NAN; right.len()]);
        let mut unwritten = right.clone();
        *unwritten.last_mut().expect("an output") = f32::NAN;
        check("the last output unwritten", &unwritten);
        let mut zeroed = right.clone();
        zeroed[..width].fill(0.0);
        check("the first output row zeroed", &zeroed);
        if right.len() > 1 {
            let mut shifted = right.clone();
            shifted.rotate_left(1);
            check("outputs one place off", &shifted);
        }
        seen += 1;
    }
    println!("6 mistakes seen in each of {seen} cases");
    assert!(seen > 10, "only {seen} cases were tried");
}

/// The bench measures: where no error at all is allowed, some sum of a GPU is rounded otherwise than the reference's, and fails.
#[test]
fn a_limit_of_nothing_fails() {
    let adapters = Adapters::find();
    let strict = |case: &Case| Case { limit: 0.0, ..case.clone() };
    let cases: Vec<Case> = cases::all().iter().filter(|case| case.op == "matmul").map(strict).collect();
    for adapter in adapters.list().iter().filter(|adapter| adapter.kind != Kind::Host) {
        let bench = Bench::open(&adapters, adapter).expect("the adapter opens");
        let failed = cases.iter().position(|case| !bench.check(&Expected::of(case), &bench.best()).passed);
        println!("{}: case {failed:?} of {} is the first to differ at all", adapter.label(), cases.len());
        assert!(failed.is_some(), "{}: all cases are exact, so that nothing was computed there", adapter.label());
    }
}
