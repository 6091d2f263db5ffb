//! A stage on the host: its nodes one by one, matmuls cut over threads.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plywood_kernels::Graph;
use plywood_kernels::graph::{Node, Want, WeightId};
use plywood_kernels::op::Op;
use plywood_kernels::reference::{HostCache, HostPart, HostWeight, Operands, Values, run_node};
use plywood_kernels::step::Step;

use super::threads;
use crate::error::Result;
use crate::plan::StagePlan;
use crate::stage::{READ_BYTES, Stage, StageTimes, WeightReader, part_rows};

/// A stage on the host.
pub(crate) struct HostStage {
    graph: Arc<Graph>,
    plan: StagePlan,
    weights: Vec<HostWeight>,
    caches: Vec<HostCache>,
    times: StageTimes,
}

impl HostStage {
    /// Reads a plan's weights. `progress` is told bytes of weights as they arrive.
    pub fn load(
        graph: Arc<Graph>,
        plan: StagePlan,
        reader: &dyn WeightReader,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<HostStage> {
        let mut weights = Vec::with_capacity(graph.weights.len());
        for (index, weight) in graph.weights.iter().enumerate() {
            let mut host = HostWeight { columns: weight.columns, parts: Vec::new() };
            if plan.weights.contains_key(&WeightId(index)) {
                for part in &weight.parts {
                    let mut bytes = Vec::new();
                    let mut piece = Vec::new();
                    let format = weight.device_format(part);
                    let row_bytes = format.file_row_bytes(weight.columns).unwrap_or(1);
                    let step = (READ_BYTES / row_bytes.max(1)).max(1);
                    for first in (0..part.rows).step_by(step) {
                        part_rows(weight, part, first..(first + step).min(part.rows), reader, &mut piece)?;
                        bytes.extend_from_slice(&piece);
                        progress(piece.len() as u64)?;
                    }
                    host.parts.push(HostPart { format, rows: part.rows, bytes: Arc::from(bytes) });
                }
            }
            weights.push(host);
        }
        let caches = graph.caches.iter().enumerate().map(|(index, slot)| {
            let here = plan.caches.keys().any(|cache| cache.0 == index);
            HostCache::new(*slot, plan.steps.kv_type, if here { plan.steps.pages } else { 0 })
        });
        let caches = caches.collect();
        Ok(HostStage { graph, plan, weights, caches, times: StageTimes::default() })
    }
}

impl Stage for HostStage {
    fn run(&mut self, step: &Step, wants: &[Want], given: &Values) -> Result<Values> {
        let begin = Instant::now();
        let mut values = given.clone();
        let needed = self.graph.needed(wants);
        for index in needed.iter().filter(|index| self.plan.nodes.contains(index)) {
            let node = &self.graph.nodes[*index];
            run_node(&self.graph, node, &mut values, &self.weights, &mut self.caches, step, compute);
        }
        let results = self.plan.results(&self.graph, &needed, wants);
        self.times.add(begin.elapsed(), Duration::ZERO, 0);
        Ok(results.into_iter().filter_map(|value| Some((value, values.remove(&value)?))).collect())
    }

    fn plan(&self) -> &StagePlan {
        &self.plan
    }

    fn overlaps(&self) -> bool {
        true
    }

    fn times(&self) -> StageTimes {
        self.times
    }

    fn copy_bandwidth(&self) -> Result<Option<f64>> {
        Ok(None)
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
    let rows = operands.weights[0].rows();
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
