//! `cargo bench --bench host`: products on the CPU, every format that has inner loops for it, as shares of what its threads read and compute.

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use criterion::{Criterion, Throughput};
use plywood::kernels::formats::{ALL, Format};
use plywood::kernels::host::Threads;
use plywood::kernels::host::activations::QuantisedRows;
use plywood::kernels::host::matrix::{HostMatrix, Input, MatrixPart};
use plywood::kernels::random::{Random, random_blocks};
use plywood::kernels::reference::Matrix;
use plywood::kernels::simd::{Isa, LANES, Lanes, WithLanes};
use plywood::testing::on_host_threads;
use plywood_benches::settings;

/// Columns of the matrices: those of a model of 1B.
const COLUMNS: usize = 2048;

/// Rows of a matrix that one row of input meets: of every format more than a cache holds.
const ROWS: usize = 1 << 16;

/// Rows of a matrix that a prompt meets, and tokens of the prompt.
const PROMPT: (usize, usize) = (4096, 512);

/// Different rows: making random ones takes longer than multiplying them.
const RANDOM_ROWS: usize = 512;

fn main() {
    let isa = Isa::best();
    let mut criterion = settings(Criterion::default()).configure_from_args();
    on_host_threads(None, |threads| {
        let reads = read_bandwidth(threads);
        let (floats, integers) = (arithmetic(threads, isa, false), arithmetic(threads, isa, true));
        println!(
            "{} threads, {isa:?}: read {:.1} GB/s, compute {floats:.0} GFLOP/s, {integers:.0} GOP/s of 4-bit codes",
            threads.count(),
            reads
        );
        let mut lines = Vec::new();
        for format in ALL.into_iter().filter(|format| format.panel.is_some()) {
            let one = measure(&mut criterion, threads, isa, format, (ROWS, 1));
            let many = measure(&mut criterion, threads, isa, format, PROMPT);
            if let (Some((bytes, _)), Some((_, operations))) = (one, many) {
                let is_integer = format.panel.is_some_and(|panel| panel.integer.is_some());
                let peak = if is_integer { integers } else { floats };
                lines.push(format!(
                    "| {format} | {bytes:.1} | {:.0}% | {operations:.0} | {:.0}% |",
                    bytes / reads * 100.0,
                    operations / peak * 100.0
                ));
            }
        }
        println!(
            "\n| format | 1 row, GB/s | of reading | {} rows, GOP/s | of computing |\n|---|---:|---:|---:|---:|",
            PROMPT.1
        );
        lines.iter().for_each(|line| println!("{line}"));
    });
    criterion.final_summary();
}

/// The seconds of the best of some runs.
fn best(runs: usize, mut run: impl FnMut()) -> f64 {
    let times = (0..runs).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed().as_secs_f64()
    });
    times.fold(f64::MAX, f64::min)
}

/// GB/s that all threads read of memory that no cache holds.
fn read_bandwidth(threads: &dyn Threads) -> f64 {
    let memory = vec![1u64; 64 << 20];
    let total = AtomicU64::new(0);
    let share = memory.len() / threads.count();
    let seconds = best(9, || {
        threads.each(threads.count(), &|part| {
            let mut sums = [0u64; 16];
            for numbers in memory[part * share..(part + 1) * share].chunks_exact(16) {
                sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum = sum.wrapping_add(*number));
            }
            total.fetch_add(sums.iter().sum(), Ordering::Relaxed);
        });
    });
    black_box(total);
    8.0 * memory.len() as f64 / seconds / 1e9
}

/// Sums in registers, over and over.
struct Arithmetic {
    of_integers: bool,
}

const REPEATS: usize = 1_000_000;
const CHAINS: usize = 6;

impl WithLanes for Arithmetic {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> [f32; LANES] {
        let mut sums = [lanes.splat(0.0); CHAINS];
        let mut dots = [lanes.dots(); CHAINS];
        for (chain, sum) in sums.iter_mut().enumerate() {
            *sum = lanes.splat(chain as f32);
        }
        let codes = lanes.bytes(black_box(&[7; 4 * LANES]));
        // Different ones, so that no product is the same as another.
        let activations: [i32; 64] = black_box(std::array::from_fn(|index| index as i32));
        let factor = lanes.splat(black_box(0.5));
        for repeat in 0..REPEATS {
            for chain in 0..CHAINS {
                if self.of_integers {
                    dots[chain] = lanes.dot(dots[chain], codes, activations[(CHAINS * repeat + chain) % 64]);
                } else {
                    sums[chain] = lanes.fma(sums[chain], factor, factor);
                }
            }
        }
        let mut out = [0.0; LANES];
        for chain in 0..CHAINS {
            let dots = lanes.to_floats(lanes.finish(lanes.splat_integer(0), dots[chain]));
            sums[0] = lanes.fma(sums[chain], factor, dots);
        }
        lanes.store(sums[0], &mut out);
        out
    }
}

/// Giga-operations per second that all threads compute in registers.
fn arithmetic(threads: &dyn Threads, isa: Isa, of_integers: bool) -> f64 {
    let seconds = best(9, || {
        threads.each(threads.count(), &|_| {
            black_box(isa.run(Arithmetic { of_integers }));
        });
    });
    let each = 2 * LANES * if of_integers { 4 } else { 1 };
    (threads.count() * REPEATS * CHAINS * each) as f64 / seconds / 1e9
}

/// GB/s of weights and giga-operations per second of a product, unless a filter of the command line leaves it out.
fn measure(
    criterion: &mut Criterion,
    threads: &dyn Threads,
    isa: Isa,
    format: Format,
    (rows, tokens): (usize, usize),
) -> Option<(f64, f64)> {
    let mut random = Random::new(1);
    let mut group = criterion.benchmark_group(format.name);
    let file_bytes = format.file_row_bytes(COLUMNS).expect("whole blocks") * rows;
    group.throughput(if tokens == 1 {
        Throughput::Bytes(file_bytes as u64)
    } else {
        Throughput::Elements((2 * rows * COLUMNS * tokens) as u64)
    });
    let mut prepared = None;
    let mut fastest: Option<f64> = None;
    group.bench_function(format!("{tokens} rows of input"), |bencher| {
        let (matrix, numbers) = prepared.get_or_insert_with(|| {
            let numbers: Vec<f32> = (0..tokens * COLUMNS).map(|_| random.signed()).collect();
            (matrix(threads, format, rows, &mut random), numbers)
        });
        let input = Matrix { data: numbers, stride: COLUMNS, offset: 0, width: COLUMNS };
        let list: Vec<u32> = (0..tokens as u32).collect();
        let mut quantised = QuantisedRows::default();
        bencher.iter_custom(|times| {
            let begin = Instant::now();
            for _ in 0..times {
                quantised.quantise(isa, threads, tokens, COLUMNS, |row| input.row(row));
                threads.each(threads.count(), &|part| {
                    let range = matrix.cut(0..rows, threads.count(), part);
                    matrix.multiply(isa, range, Input::Quantised(&quantised, input), &list, |_, _, products| {
                        black_box(products);
                    });
                });
            }
            let elapsed = begin.elapsed();
            let each = elapsed.as_secs_f64() / times as f64;
            fastest = Some(fastest.map_or(each, |fastest| fastest.min(each)));
            elapsed
        });
    });
    group.finish();
    let operations = (2 * rows * COLUMNS * tokens) as f64;
    fastest.map(|seconds| (file_bytes as f64 / seconds / 1e9, operations / seconds / 1e9))
}

/// A matrix that repeats the same [`RANDOM_ROWS`] rows.
fn matrix(threads: &dyn Threads, format: Format, rows: usize, random: &mut Random) -> HostMatrix {
    let file = random_blocks(format, RANDOM_ROWS * COLUMNS, 1.0, random);
    let mut part = MatrixPart::new(format, rows, COLUMNS).expect("there is memory");
    let row_bytes = file.len() / RANDOM_ROWS;
    let read = |rows: Range<usize>, bytes: &mut [u8]| {
        for (row, bytes) in rows.zip(bytes.chunks_exact_mut(row_bytes)) {
            bytes.copy_from_slice(&file[row % RANDOM_ROWS * row_bytes..][..row_bytes]);
        }
        Ok::<(), ()>(())
    };
    part.fill(threads, 0..rows, row_bytes, read).expect("memory is read");
    HostMatrix { columns: COLUMNS, parts: vec![part] }
}
