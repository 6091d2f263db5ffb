//! A stage on the host: its nodes one by one, each by a kernel of the host on all threads.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plywood_kernels::Graph;
use plywood_kernels::device::Processor;
use plywood_kernels::graph::{CacheId, Output, Slice, ValueId, Values, Weight, WeightId};
use plywood_kernels::host::cache::PagedCache;
use plywood_kernels::host::matrix::{HostMatrix, MatrixPart};
use plywood_kernels::host::output::OutputRows;
use plywood_kernels::host::{HostRun, Scratch};
use plywood_kernels::lowering::Batch;
use plywood_kernels::reference::{HostPart, HostWeight, Matrix, Operands};
use plywood_kernels::simd::{Isa, LANES};
use plywood_kernels::step::Step;

use super::adapter::label;
use super::team::{ALONE, Crew, Team};
use crate::error::{Error, Result};
use crate::faults::{Call, Watch};
use crate::ledger::Bytes;
use crate::stage::plan::{Needed, StagePlan};
use crate::stage::{KernelTimes, READ_BYTES, Stage, StageTimes, WeightReader, file_row_bytes, part_rows, rows_of};

/// A stage on the host.
pub(crate) struct HostStage {
    graph: Arc<Graph>,
    plan: StagePlan,
    isa: Isa,
    team: &'static Team,
    /// Multiply-adds of a token with weights.
    token_work: u64,
    /// Vectors and tables, as a file has them; those of matrices are empty.
    weights: Vec<HostWeight>,
    /// What products and embeddings read.
    matrices: Vec<Option<HostMatrix>>,
    caches: Vec<Option<PagedCache>>,
    /// The buffers of values, by their handles in the plan; those of other buffers are empty.
    buffers: Vec<Vec<f32>>,
    scratch: Scratch,
    watch: Watch,
    times: StageTimes,
    /// While its kernels are measured.
    profile: Option<KernelTimes>,
}

/// Multiply-adds that one thread computes in about the time in which others wake up.
const WORTH_HELPERS: u64 = 2 << 20;

/// The weights that kernels of the host read as matrices.
fn matrices(plan: &StagePlan) -> HashSet<WeightId> {
    let readers = plan.nodes.iter().filter(|node| node.op.kernel().takes_shards());
    readers.map(|node| node.weights["weight"]).collect()
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
        let isa = match plan.limits.features.processor {
            Processor::Host(isa) => isa,
            Processor::Gpu | Processor::Cpu => Isa::best(),
        };
        let team = Team::of(plan.limits.threads);
        let is_matrix = matrices(&plan);
        let token_work = graph.met_elements(&plan.nodes);
        let (mut weights, mut found) = (Vec::new(), Vec::new());
        for (index, weight) in graph.weights.iter().enumerate() {
            let id = WeightId(index);
            let mut plain = HostWeight { columns: weight.columns, parts: Vec::new() };
            let mut matrix = None;
            if is_matrix.contains(&id) {
                matrix = Some(load_matrix(weight, team, reader, watch, progress)?);
            } else if plan.weights.contains_key(&id) {
                plain.parts = load_plain(weight, reader, watch, progress)?;
            }
            weights.push(plain);
            found.push(matrix);
        }
        let mut caches = Vec::with_capacity(graph.caches.len());
        for (index, slot) in graph.caches.iter().enumerate() {
            let mut cache = None;
            if plan.caches.contains_key(&CacheId(index)) {
                let (kv_type, pages) = (plan.steps.kv_type, plan.steps.pages);
                let bytes = PagedCache::bytes(slot, kv_type, pages);
                for (what, bytes) in ["keys", "values"].into_iter().zip(bytes) {
                    take(bytes, what, watch)?;
                }
                let refused = |_| out_of_memory("keys and values", bytes.iter().sum());
                cache = Some(PagedCache::new(*slot, kv_type, pages).map_err(refused)?);
            }
            caches.push(cache);
        }
        let mut buffers: Vec<Vec<f32>> = vec![Vec::new(); plan.buffers.len()];
        for handle in plan.values.values() {
            let numbers = plan.buffers[handle.0].bytes as usize / 4;
            if buffers[handle.0].is_empty() {
                buffers[handle.0] = reserve(numbers, "activations", watch)?;
                buffers[handle.0].resize(numbers, 0.0);
            }
        }
        Ok(HostStage {
            graph,
            plan,
            isa,
            team,
            token_work,
            weights,
            matrices: found,
            caches,
            buffers,
            scratch: Scratch::default(),
            watch: watch.clone(),
            times: StageTimes::default(),
            profile: None,
        })
    }

    /// Bytes by purpose that a plan takes here.
    pub fn bytes(graph: &Graph, plan: &StagePlan) -> Bytes {
        let is_matrix = matrices(plan);
        let weights = plan.weights.keys().flat_map(|id| {
            let (weight, is_matrix) = (&graph.weights[id.0], is_matrix.contains(id));
            weight.parts.iter().map(move |part| {
                let format = weight.device_format(part);
                match is_matrix {
                    true => MatrixPart::bytes(format, part.rows, weight.columns) as u64,
                    false => (file_row_bytes(weight, format) * part.rows) as u64,
                }
            })
        });
        let cache = |cache: &CacheId| PagedCache::bytes(&graph.caches[cache.0], plan.steps.kv_type, plan.steps.pages);
        let kv_cache = plan.caches.keys().flat_map(cache);
        let values: HashSet<usize> = plan.values.values().map(|handle| handle.0).collect();
        let activations = values.into_iter().map(|handle| plan.buffers[handle].bytes).sum();
        Bytes { weights: weights.sum(), kv_cache: kv_cache.sum(), activations, staging: 0 }
    }

    /// Runs one node.
    fn run_node(&mut self, index: usize, step: &Step, crew: &Crew) {
        let (plan, graph) = (&self.plan, &self.graph);
        let node = &plan.nodes[index];
        let rows = node.output.map_or(step.tokens.len(), |value| rows_of(graph, value, step));
        // Of no rows there is nothing to compute.
        let Some(lowered) = plan.lowered[index].get(&Batch::of(rows)) else { return };
        // A value never shares the buffer of what its node reads.
        let mut written = node.output.map(|value| (value, std::mem::take(&mut self.buffers[plan.values[&value].0])));
        let stride = |value: ValueId| StagePlan::stride(graph, value);
        let matrix = |slice: &Slice| Matrix {
            data: &self.buffers[plan.values[&slice.value].0],
            stride: stride(slice.value),
            offset: slice.offset,
            width: slice.width,
        };
        let weights = &self.weights;
        let mut run = HostRun {
            operands: Operands {
                inputs: node.inputs.map(matrix),
                weights: node.weights.map(|weight| &weights[weight.0]),
                cache: None,
                step,
                rows,
            },
            matrix: node.weights.get("weight").and_then(|weight| self.matrices[weight.0].as_ref()),
            cache: node.cache.and_then(|cache| self.caches[cache.0].as_mut()),
            output: written
                .as_mut()
                .map(|(value, data)| OutputRows::new(data, stride(*value), graph.values[value.0].width)),
            candidate: &lowered.candidate,
            isa: self.isa,
            threads: crew,
            scratch: &mut self.scratch,
        };
        let begin = self.profile.is_some().then(Instant::now);
        node.op.kernel().host(&mut run);
        if let (Some(times), Some(begin)) = (&mut self.profile, begin) {
            let kernel = (node.op.kernel().name(), lowered.candidate.to_string());
            times.entry(kernel).or_default().add(begin.elapsed().as_secs_f64());
        }
        if let Some((value, data)) = written {
            self.buffers[self.plan.values[&value].0] = data;
        }
    }

    fn run_nodes(
        &mut self,
        nodes: &[usize],
        step: &Step,
        is_cancelled: &(dyn Fn() -> bool + Sync),
        crew: &Crew,
    ) -> Result<()> {
        for index in nodes {
            if is_cancelled() {
                return Err(Error::Cancelled);
            }
            if self.watch.reach(label, Call::Submit).is_some() {
                return Err(Error::device(&label(), "a failure was ordered"));
            }
            self.run_node(*index, step, crew);
        }
        Ok(())
    }
}

/// Reads a weight that kernels read as a matrix.
fn load_matrix(
    weight: &Weight,
    team: &Team,
    reader: &dyn WeightReader,
    watch: &Watch,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<HostMatrix> {
    let mut parts = Vec::with_capacity(weight.parts.len());
    for part in &weight.parts {
        let format = weight.device_format(part);
        let row_bytes = file_row_bytes(weight, format);
        let bytes = MatrixPart::bytes(format, part.rows, weight.columns) as u64;
        take(bytes, "weights", watch)?;
        let mut held =
            MatrixPart::new(format, part.rows, weight.columns).map_err(|_| out_of_memory("weights", bytes))?;
        let step = (READ_BYTES / row_bytes.max(1)).max(1).next_multiple_of(LANES);
        team.enter(|crew| -> Result<()> {
            for first in (0..part.rows).step_by(step) {
                let rows = first..(first + step).min(part.rows);
                held.fill(crew, rows.clone(), row_bytes, |rows, bytes| part_rows(weight, part, rows, reader, bytes))?;
                progress((rows.len() * row_bytes) as u64)?;
            }
            Ok(())
        })?;
        parts.push(held);
    }
    Ok(HostMatrix { columns: weight.columns, parts })
}

/// Reads a vector or a table.
fn load_plain(
    weight: &Weight,
    reader: &dyn WeightReader,
    watch: &Watch,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<HostPart>> {
    let mut parts = Vec::with_capacity(weight.parts.len());
    for part in &weight.parts {
        let format = weight.device_format(part);
        let mut bytes = reserve(file_row_bytes(weight, format) * part.rows, "weights", watch)?;
        bytes.resize(file_row_bytes(weight, format) * part.rows, 0);
        part_rows(weight, part, 0..part.rows, reader, &mut bytes)?;
        progress(bytes.len() as u64)?;
        parts.push(HostPart { format, rows: part.rows, bytes: Arc::new(bytes) });
    }
    Ok(parts)
}

/// Memory for this many, unless the system refuses it.
fn reserve<T>(count: usize, what: &str, watch: &Watch) -> Result<Vec<T>> {
    let (mut memory, bytes) = (Vec::new(), (count * size_of::<T>()) as u64);
    take(bytes, what, watch)?;
    memory.try_reserve_exact(count).map_err(|_| out_of_memory(what, bytes))?;
    Ok(memory)
}

/// Counts memory that is about to be allocated; an error where a failure was ordered.
fn take(bytes: u64, what: &str, watch: &Watch) -> Result<()> {
    if bytes > 0 {
        if watch.reach(label, Call::Allocate).is_some() {
            return Err(out_of_memory(what, bytes));
        }
        watch.allocated(label, what, bytes);
    }
    Ok(())
}

fn out_of_memory(what: &str, bytes: u64) -> Error {
    Error::OutOfMemory { device: label(), what: what.into(), bytes }
}

impl Stage for HostStage {
    fn run(
        &mut self,
        step: &Step,
        requested: &[Output],
        given: &Values,
        results: &mut Values,
        is_cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let begin = Instant::now();
        for (value, numbers) in given {
            if let Some(handle) = self.plan.values.get(value) {
                let (width, stride) = (self.graph.values[value.0].width, StagePlan::stride(&self.graph, *value));
                let rows = self.buffers[handle.0].chunks_mut(stride);
                rows.zip(numbers.chunks(width)).for_each(|(row, given)| row[..width].copy_from_slice(given));
            }
        }
        let Needed { nodes, results: read } = self.plan.needed(requested);
        let is_short = WORTH_HELPERS > self.token_work * step.tokens.len() as u64;
        let team = if is_short { &ALONE } else { self.team };
        team.enter(|crew| self.run_nodes(&nodes, step, is_cancelled, crew))?;
        results.retain(|value, _| read.contains(value));
        for value in read {
            let Some(handle) = self.plan.values.get(&value) else { continue };
            let (width, stride) = (self.graph.values[value.0].width, StagePlan::stride(&self.graph, value));
            let numbers = results.entry(value).or_default();
            numbers.clear();
            let rows = self.buffers[handle.0].chunks(stride).take(rows_of(&self.graph, value, step));
            rows.for_each(|row| numbers.extend_from_slice(&row[..width]));
        }
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

    fn profile(&mut self, on: bool) -> Result<Option<KernelTimes>> {
        let times = self.profile.take().unwrap_or_default();
        self.profile = on.then(KernelTimes::new);
        Ok(Some(times))
    }

    fn poison(&mut self) -> Result<()> {
        // An empty cache is NaN.
        self.buffers.iter_mut().for_each(|buffer| buffer.fill(f32::NAN));
        Ok(())
    }
}
