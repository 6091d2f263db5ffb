//! `cargo bench --bench kernels`: the kernels that take the time, in GB/s or GFLOP/s and as a share of the
//! device's own measured copy bandwidth.

use criterion::{Criterion, Throughput};
use plywood::devices::Adapters;
use plywood::kernels::cases::{self, Case};
use plywood::tools::selftest::Bench;
use plywood_benches::{adapter, settings};

/// Operations for each byte above which a kernel is bound by arithmetic on any GPU of today.
const ARITHMETIC_BOUND: u64 = 64;

fn main() {
    let adapters = Adapters::find();
    let adapter = adapter(&adapters);
    let bench = Bench::open(&adapters, &adapter).expect("the adapter opens");
    let Some(copy) = bench.copy_bandwidth().expect("copies run") else {
        println!("there is no GPU adapter, so that there are no kernels to measure");
        return;
    };
    println!("{}: copies read and write {:.1} GB/s", adapter.label(), copy / 1e9);
    let mut criterion = settings(Criterion::default()).configure_from_args();
    let mut shares = Vec::new();
    for case in cases::large() {
        if let Some(rate) = measure(&mut criterion, &bench, &case) {
            shares.push((name(&case), rate));
        }
    }
    println!("\n| kernel | GB/s | of copy bandwidth | GFLOP/s |\n|---|---:|---:|---:|");
    for (name, (bytes, operations)) in shares {
        println!("| {name} | {:.2} | {:.0}% | {:.1} |", bytes / 1e9, bytes / copy * 100.0, operations / 1e9);
    }
    criterion.final_summary();
}

fn name(case: &Case) -> String {
    let format = case.format.map_or(case.kv_type.name(), |format| format.name);
    format!("{} {format} {}", case.op, case.name)
}

/// Bytes and operations per second, unless a filter of the command line leaves the case out.
fn measure(criterion: &mut Criterion, bench: &Bench, case: &Case) -> Option<(f64, f64)> {
    let traffic = case.traffic();
    let mut timed = None;
    let mut best: Option<f64> = None;
    let mut group = criterion.benchmark_group(case.op);
    group.throughput(if traffic.operations / traffic.bytes > ARITHMETIC_BOUND {
        Throughput::Elements(traffic.operations)
    } else {
        Throughput::Bytes(traffic.bytes)
    });
    group.bench_function(name(case), |bencher| {
        let timed = timed.get_or_insert_with(|| bench.timed(case).expect("the case loads").expect("it is a GPU"));
        bencher.iter_custom(|times| {
            let elapsed = timed.run(times).expect("the case runs");
            let each = elapsed.as_secs_f64() / times as f64;
            best = Some(best.map_or(each, |best| best.min(each)));
            elapsed
        });
    });
    group.finish();
    best.map(|seconds| (traffic.bytes as f64 / seconds, traffic.operations as f64 / seconds))
}
