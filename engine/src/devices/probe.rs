//! How fast a device is, measured in a fraction of a second: a matrix-vector product, as decoding runs it, and a copy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plywood_kernels::formats::{self, Format};
use plywood_kernels::graph::{Graph, Output, Rows, Source, Values, Weight, WeightPart};
use plywood_kernels::kv_cache::KvType;
use plywood_kernels::matmul::MatMul;
use plywood_kernels::op::Op;
use plywood_kernels::random::{Random, random_blocks};
use plywood_kernels::step::{PAGE_TOKENS, Step, Token};
use serde::{Deserialize, Serialize};

use crate::devices::adapter::Adapter;
use crate::error::Result;
use crate::faults::Watch;
use crate::gpu::{GpuDevice, GpuStage};
use crate::host::HostStage;
use crate::stage::plan::{StagePlan, StepLimits};
use crate::stage::{Stage, WeightReader};

/// Columns of the matrix, as many as models of 7 and 8 billion have.
const COLUMNS: usize = 4096;

/// Bytes of the matrix for a GPU: beyond the caches of most.
const GPU_BYTES: u64 = 128 << 20;

/// Bytes of the matrix for what computes on the CPU, which arithmetic bounds and not memory.
const CPU_BYTES: u64 = 3 << 20;

/// A step is of one token, which attends to nothing.
const ONE_TOKEN: StepLimits =
    StepLimits { tokens: 1, selected: 1, sequences: 1, context: PAGE_TOKENS, pages: 1, kv_type: KvType::F32 };

/// How long the products of one timing should take, and how often that is done; the best counts.
const TIMING: Duration = Duration::from_millis(25);
const TIMINGS: u32 = 4;

/// What was measured of a device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// Bytes of weights that matrix-vector products read per second.
    pub products: Option<f64>,
    /// Bytes that copies read and write per second.
    pub copies: Option<f64>,
}

impl Probe {
    /// Measures a device, or the host where there is none; `None` for what can't be measured.
    pub fn of(facts: &Adapter, device: Option<&Arc<GpuDevice>>) -> Probe {
        // What computes on the CPU is far from what copies reach, and these would take longest there.
        let copied = device.filter(|_| !facts.kind.computes_on_cpu());
        Probe { products: products(facts, device).ok(), copies: copied.and_then(|device| device.copy_bandwidth().ok()) }
    }

    /// Multiply-adds of the products per second.
    pub fn multiply_adds(&self) -> Option<f64> {
        self.products.map(|bytes| bytes / row_bytes() as f64 * COLUMNS as f64)
    }

    /// Whether there is a figure, and each is a speed that something can have.
    pub fn is_sane(&self) -> bool {
        let mut figures = [self.products, self.copies].into_iter().flatten().peekable();
        figures.peek().is_some() && figures.all(|rate| rate.is_finite() && rate > 0.0)
    }
}

/// Bytes of weights that matrix-vector products read per second.
fn products(facts: &Adapter, device: Option<&Arc<GpuDevice>>) -> Result<f64> {
    let graph = Arc::new(product(if facts.kind.computes_on_cpu() { CPU_BYTES } else { GPU_BYTES }));
    let plan = StagePlan::new(&graph, 0..graph.nodes.len(), facts.limits(), ONE_TOKEN)?;
    let bytes = plan.bytes().weights;
    let token = Token { id: 0, position: 0, sequence: 0, long: false };
    let step =
        &Step { tokens: vec![token], selected: vec![0], pages: vec![0], pages_per_sequence: 1, ..Step::default() };
    let given = Values::from([(graph.inputs[0], vec![1.0; COLUMNS])]);
    let requested = [Output::Logits];
    let seconds = match device {
        Some(device) => {
            let mut stage = GpuStage::load(Arc::clone(device), graph, plan, &OneRow::new(), &mut |_| Ok(()))?;
            best(|times| stage.repeat(step, &requested, &given, times))?
        }
        None => {
            let mut stage = HostStage::load(graph, plan, &OneRow::new(), &Watch::default(), &mut |_| Ok(()))?;
            let mut results = Values::new();
            best(|times| {
                let begin = Instant::now();
                (0..times).try_for_each(|_| stage.run(step, &requested, &given, &mut results, &|| false))?;
                Ok(begin.elapsed())
            })?
        }
    };
    Ok(bytes as f64 / seconds)
}

/// Seconds that one product takes, the best of some timings; the first run compiles the kernel.
fn best(mut run: impl FnMut(u64) -> Result<Duration>) -> Result<f64> {
    run(1)?;
    let once = run(1)?.as_secs_f64().max(1e-9);
    let times = (TIMING.as_secs_f64() / once).clamp(1.0, 1000.0) as u64;
    let mut least = once;
    for _ in 0..TIMINGS {
        least = least.min(run(times)?.as_secs_f64().max(1e-9) / times as f64);
    }
    Ok(least)
}

/// The format of the matrix: the first of GGUF files that quantises, whose 4.5 bits most files come near.
fn format() -> Format {
    let quantised = formats::GGUF.into_iter().find(|format| !format.is_float());
    quantised.expect("some formats quantise")
}

/// Bytes of a row of the matrix on a device.
fn row_bytes() -> usize {
    (format().device_row_bytes)(COLUMNS)
}

/// A product of a vector with a matrix of about this many bytes, whose rows [`OneRow`] gives.
fn product(bytes: u64) -> Graph {
    let format = format();
    let rows = bytes as usize / row_bytes();
    let mut graph = Graph::default();
    let input = graph.input("input", Rows::Tokens, COLUMNS);
    let parts = vec![WeightPart { source: Source::Tensor(0), format, rows }];
    let weight = graph.weight(Weight { name: "probe weight".into(), columns: COLUMNS, parts, held: None });
    let output = graph.value("output", Rows::Tokens, rows);
    let inputs = [("input", graph.whole(input))];
    graph.node(Op::MatMul(MatMul::PLAIN), &inputs, &[("weight", weight)], None, Some(output));
    graph.outputs.push((Output::Logits, output));
    graph
}

/// A matrix whose rows are all the same random one, so that it need not lie in memory.
struct OneRow(Vec<u8>);

impl OneRow {
    fn new() -> OneRow {
        OneRow(random_blocks(format(), COLUMNS, 1.0, &mut Random::new(1)))
    }
}

impl WeightReader for OneRow {
    fn read(&self, _: usize, _: u64, bytes: &mut [u8]) -> Result<()> {
        bytes.chunks_exact_mut(self.0.len()).for_each(|row| row.copy_from_slice(&self.0));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    #[test]
    fn the_host_is_measured() {
        let begin = Instant::now();
        let probe = Probe::of(&host::adapter(), None);
        println!("{probe:?} in {:?}", begin.elapsed());
        assert!(probe.is_sane() && probe.copies.is_none(), "{probe:?}");
        // The matrix has 4.5 bits to an element.
        let bits = probe.products.zip(probe.multiply_adds()).map(|(bytes, elements)| bytes * 8.0 / elements);
        assert_eq!(bits.map(|bits| (bits * 100.0).round()), Some(450.0));
    }

    #[test]
    fn a_speed_is_a_positive_number() {
        let check = |products, copies, is_sane| assert_eq!(Probe { products, copies }.is_sane(), is_sane);
        check(Some(1e9), None, true);
        check(None, Some(1e9), true);
        check(None, None, false);
        check(Some(1e9), Some(0.0), false);
        check(Some(f64::INFINITY), None, false);
        check(Some(f64::NAN), Some(1e9), false);
    }

    #[test]
    fn the_best_timing_counts() {
        // The first run compiles; then one tells how many make a timing.
        let mut lasts = [900, 5, 40, 20, 30, 25].map(Duration::from_millis).into_iter();
        let mut asked = Vec::new();
        let seconds = best(|times| {
            asked.push(times);
            Ok(lasts.next().expect("no more runs"))
        });
        assert_eq!(asked, [1, 1, 5, 5, 5, 5]);
        assert!((seconds.expect("it ran") - 0.004).abs() < 1e-12);
    }
}
