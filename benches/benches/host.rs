//! `cargo bench --bench host`: products on the CPU, every format that has inner loops for it, as shares of what its threads read and compute.

use std::hint::black_box;
use std::ops::Range;
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

/// Bytes of a matrix that one row of input meets: many times what a cache holds.
const BYTES: usize = 512 << 20;

/// Rows of a matrix that a prompt meets, and tokens of the prompt.
const PROMPT: (usize, usize) = (4096, 512);

/// Different rows: making random ones takes longer than multiplying them.
const RANDOM_ROWS: usize = 512;

fn main() {
    let isa = Isa::best();
    let mut criterion = settings(Criterion::default()).configure_from_args();
    on_host_threads(None, |threads| {
        let reads = read_bandwidth(threads, isa);
        let (floats, integers) = (arithmetic(threads, isa, false), arithmetic(threads, isa, true));
        println!(
            "{} threads, {isa:?}: read {:.1} GB/s, compute {floats:.0} GFLOP/s, {integers:.0} GOP/s of 4-bit codes",
            threads.count(),
            reads
        );
        let mut lines = Vec::new();
        for format in ALL.into_iter().filter(|format| format.panel.is_some()) {
            let rows = BYTES / format.file_row_bytes(COLUMNS).expect("whole blocks") / LANES * LANES;
            let one = measure(&mut criterion, threads, isa, format, (rows, 1));
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

/// Reads memory as products do: every line once, fetched ahead.
struct Read<'a>(&'a [[u8; 4 * LANES]]);

impl WithLanes for Read<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> [f32; LANES] {
        let mut any = lanes.bytes(&self.0[0]);
        for line in self.0 {
            lanes.prefetch(line, 4096);
            any = lanes.or(any, lanes.bytes(line));
        }
        let mut out = [0.0; LANES];
        lanes.store(lanes.to_floats(lanes.words(any)), &mut out);
        out
    }
}

/// GB/s that all threads read of memory that no cache holds.
fn read_bandwidth(threads: &dyn Threads, isa: Isa) -> f64 {
    let memory = vec![[1u8; 4 * LANES]; BYTES / (4 * LANES)];
    let share = memory.len() / threads.count();
    let seconds = best(9, || {
        threads.each(threads.count(), &|part| {
            black_box(isa.run(Read(&memory[part * share..(part + 1) * share])));
        });
    });
    size_of_val(&memory[..]) as f64 / seconds / 1e9
}

/// Sums in registers, over and over.
struct Arithmetic {
    of_integers: bool,
}

const REPEATS: usize = 1_000_000;
/// Sums at a time: as many as registers hold beside what is multiplied.
const CHAINS: usize = 4;
/// Different vectors that are multiplied.
const TURNS: usize = 64;

impl WithLanes for Arithmetic {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> [f32; LANES] {
        // Lanes differ, and so does what each turn multiplies: nothing here is the same as something else.
        let numbers: [[f32; LANES]; TURNS] =
            black_box(std::array::from_fn(|turn| std::array::from_fn(|lane| 1.0 / (2 + turn * LANES + lane) as f32)));
        let codes: [[u8; 4 * LANES]; TURNS] =
            black_box(std::array::from_fn(|turn| std::array::from_fn(|byte| ((turn + byte) % 16) as u8)));
        let activations: [i32; CHAINS] = black_box(std::array::from_fn(|chain| chain as i32 + 1));
        let mut sums = [lanes.load(&numbers[0]); CHAINS];
        let mut dots = [lanes.dots(); CHAINS];
        for repeat in 0..REPEATS {
            let turn = repeat % TURNS;
            if self.of_integers {
                let codes = lanes.bytes(&codes[turn]);
                for chain in 0..CHAINS {
                    dots[chain] = lanes.dot(dots[chain], codes, activations[chain]);
                }
            } else {
                let factor = lanes.load(&numbers[turn]);
                for chain in 0..CHAINS {
                    sums[chain] = lanes.fma(factor, lanes.splat(activations[chain] as f32), sums[chain]);
                }
            }
        }
        let mut out = [0.0; LANES];
        for chain in 0..CHAINS {
            let dots = lanes.to_floats(lanes.finish(lanes.splat_integer(0), dots[chain]));
            sums[0] = lanes.fma(sums[chain], lanes.splat(0.5), dots);
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
                let given = if matrix.takes_integers() {
                    quantised.quantise(isa, threads, tokens, COLUMNS, |row| input.row(row));
                    Input::Quantised(&quantised, input)
                } else {
                    Input::Floats(input)
                };
                threads.each(threads.count(), &|part| {
                    let range = matrix.cut(0..rows, threads.count(), part);
                    matrix.multiply(isa, range, given, &list, |_, _, products| {
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
