//! `cargo bench --bench quantise`: encoders, in bytes of f32 elements per second of one core.

use criterion::{Criterion, Throughput};
use plywood::kernels::formats::ALL;
use plywood::kernels::random::Random;
use plywood_benches::settings;

const COLUMNS: usize = 1 << 16;

fn main() {
    let mut criterion = settings(Criterion::default()).configure_from_args();
    let mut random = Random::new(1);
    // Sums of uniform numbers are nearly Gaussian.
    let row: Vec<f32> = (0..COLUMNS).map(|_| (0..12).map(|_| random.signed()).sum::<f32>() / 64.0).collect();
    let importance: Vec<f32> = (0..COLUMNS).map(|_| random.signed().powi(2)).collect();
    for format in ALL.into_iter().filter(|format| format.encode.is_some() && !format.is_float()) {
        let mut blocks = vec![0; format.file_row_bytes(COLUMNS).expect("whole blocks")];
        let mut group = criterion.benchmark_group(format.name);
        group.throughput(Throughput::Bytes(4 * COLUMNS as u64));
        for (name, importance) in [("plain", None), ("importance", Some(&importance[..]))] {
            group.bench_function(name, |bencher| bencher.iter(|| format.encode_row(&row, importance, &mut blocks)));
        }
        group.finish();
    }
    criterion.final_summary();
}
