//! A stage on the host: its nodes one by one, matmuls cut over threads.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plywood_kernels::Graph;
use plywood_kernels::graph::{CacheId, Node, Output, Values, WeightId};
use plywood_kernels::op::Op;
use plywood_kernels::reference::{HostCache, HostPart, HostWeight, Operands, run_node};
use plywood_kernels::step::Step;

use super::adapter::label;
use crate::error::{Error, Result};
use crate::faults::{Call, Watch};
use crate::ledger::Bytes;
use crate::stage::plan::{Needed, StagePlan};
use crate::stage::{READ_BYTES, Stage, StageTimes, WeightReader, file_row_bytes, part_rows};
use crate::threads::threads;

/// A stage on the host.
pub(crate) struct HostStage {
    graph: Arc<Graph>,
    plan: StagePlan,
    weights: Vec<HostWeight>,
    caches: Vec<HostCache>,
    watch: Watch,
    times: StageTimes,
}

impl HostStage {
    /// Reads a plan's weights. `progress` is told bytes of weights as they arrive.
    pub fn load(
        graph: Arc<Graph>,
        plan: StagePlan,
        reader: &dyn WeightReader,
        watch: &Watch,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<HostStage> {
        let mut weights = Vec::with_capacity(graph.weights.len());
        for (index, weight) in graph.weights.iter().enumerate() {
            let mut host = HostWeight { columns: weight.columns, parts: Vec::new() };
            if plan.weights.contains_key(&WeightId(index)) {
                for part in &weight.parts {
                    let format = weight.device_format(part);
                    let row_bytes = file_row_bytes(weight, format);
                    let mut bytes = reserve(row_bytes * part.rows, "weights", watch)?;
                    let step = (READ_BYTES / row_bytes.max(1)).max(1);
                    for first in (0..part.rows).step_by(step) {
                        let (rows, after) = (first..(first + step).min(part.rows), bytes.len());
                        bytes.resize(rows.end * row_bytes, 0);
                        part_rows(weight, part, rows, reader, &mut bytes[after..])?;
                        progress((bytes.len() - after) as u64)?;
                    }
                    host.parts.push(HostPart { format, rows: part.rows, bytes: Arc::new(bytes) });
                }
            }
            weights.push(host);
        }
        let mut caches = Vec::with_capacity(graph.caches.len());
        for (index, slot) in graph.caches.iter().enumerate() {
            let pages = if plan.caches.contains_key(&CacheId(index)) { plan.steps.pages } else { 0 };
            let [keys, values] = HostCache::numbers(slot, pages);
            let memory = [reserve(keys, "keys", watch)?, reserve(values, "values", watch)?];
            caches.push(HostCache::within(*slot, plan.steps.kv_type, pages, memory));
        }
        Ok(HostStage { graph, plan, weights, caches, watch: watch.clone(), times: StageTimes::default() })
    }

    /// Bytes by purpose that a plan takes here. Values are made as they are needed, at most those that a device would have.
    pub fn bytes(graph: &Graph, plan: &StagePlan) -> Bytes {
        let weights = plan.weights.keys().flat_map(|id| {
            let weight = &graph.weights[id.0];
            let row_bytes = |part| file_row_bytes(weight, weight.device_format(part));
            weight.parts.iter().map(move |part| (row_bytes(part) * part.rows) as u64)
        });
        let numbers = |cache: &CacheId| HostCache::numbers(&graph.caches[cache.0], plan.steps.pages);
        let kv_cache = plan.caches.keys().flat_map(numbers).map(|numbers| 4 * numbers as u64);
        Bytes { weights: weights.sum(), kv_cache: kv_cache.sum(), staging: 0, ..plan.bytes() }
    }
}

/// Memory for this many, unless the system refuses it.
fn reserve<T>(count: usize, what: &str, watch: &Watch) -> Result<Vec<T>> {
    let (mut memory, bytes) = (Vec::new(), (count * size_of::<T>()) as u64);
    if bytes > 0 {
        let refused = watch.reach(label, Call::Allocate).is_some();
        if refused || memory.try_reserve_exact(count).is_err() {
            return Err(Error::OutOfMemory { device: label(), what: what.into(), bytes });
        }
        watch.allocated(label, what, bytes);
    }
    Ok(memory)
}

impl Stage for HostStage {
    fn run(
        &mut self,
        step: &Step,
        requested: &[Output],
        given: &Values,
        results: &mut Values,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let begin = Instant::now();
        let mut values = given.clone();
        let Needed { nodes, results: read } = self.plan.needed(requested);
        for index in nodes {
            if is_cancelled() {
                return Err(Error::Cancelled);
            }
            if self.watch.reach(label, Call::Submit).is_some() {
                return Err(Error::device(&label(), "a failure was ordered"));
            }
            let node = &self.plan.nodes[index];
            run_node(&self.graph, node, &mut values, &self.weights, &mut self.caches, step, compute);
        }
        results.clear();
        results.extend(read.into_iter().filter_map(|value| Some((value, values.remove(&value)?))));
        self.times.add(begin, Duration::ZERO, 0);
        Ok(())
    }

    fn plan(&self) -> &StagePlan {
        &self.plan
    }

    fn overlaps(&self) -> bool {
        true
    }

    fn times(&self) -> &StageTimes {
        &self.times
    }

    fn poison(&mut self) -> Result<()> {
        // Values are made anew in every step, and an empty cache is NaN.
        Ok(())
    }
}

/// The op's reference, over threads where there is much to do.
fn compute(node: &Node, operands: &mut Operands) -> Vec<f32> {
    match &node.op {
        Op::MatMul(op) => {
            let columns = parallel_rows(operands, |rows| op.reference_rows(operands, rows));
            (0..operands.rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect()
        }
        Op::GroupedMatMul(op) => {
            let results = parallel_rows(operands, |rows| op.reference_rows(operands, rows));
            let mut output = vec![0.0; results.len()];
            results.into_iter().for_each(|(place, result)| output[place] = result);
            output
        }
        op => op.kernel().reference(operands),
    }
}

/// What is computed for each row of a weight, in order, cut over threads.
fn parallel_rows<T: Send>(operands: &Operands, compute: impl Fn(Range<usize>) -> Vec<T> + Sync) -> Vec<T> {
    let rows = operands.weights["weight"].rows();
    let share = rows.div_ceil(threads()).max(64);
    let shares = (0..rows).step_by(share).map(|first| first..(first + share).min(rows));
    let compute = &compute;
    std::thread::scope(|scope| {
        let workers: Vec<_> = shares.map(|rows| scope.spawn(move || compute(rows))).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<T>>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect()
    })
}
