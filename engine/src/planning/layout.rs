//! A model laid out over devices: a graph, its stages with their plans, and the ledger. Nothing is allocated.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use plywood_kernels::Graph;
use plywood_kernels::lowering::Precision;

use crate::devices::adapter::Kind;
use crate::devices::candidate::{self, DeviceCandidate};
use crate::error::{Error, Result};
use crate::gpu;
use crate::host::HostStage;
use crate::ledger::{HumanBytes, Ledger, LedgerStage, Purpose};
use crate::placement::policy::PlacementPolicy;
use crate::placement::{self, Demand, Device, NoPlace, StageNodes, speed};
use crate::planning::graphs::Graphs;
use crate::planning::settings::Settings;
use crate::stage::plan::{Limits, StagePlan, StepLimits};

/// Rows go along one dimension of a dispatch, which every device lets reach so far.
const MAX_STEP_TOKENS: usize = 65_535;

/// How often layers are moved where plans take more than was estimated.
const ROUNDS: usize = 8;

/// A stage with its plan.
pub(crate) struct StageLayout {
    /// The device's place among the candidates.
    pub device: usize,
    /// Its nodes and layers.
    pub nodes: StageNodes,
    /// Its buffers and recordings.
    pub plan: StagePlan,
}

/// A model laid out over devices.
pub(crate) struct Layout {
    pub graph: Arc<Graph>,
    pub steps: StepLimits,
    pub stages: Vec<StageLayout>,
    pub ledger: Ledger,
    /// Picoseconds that a token is expected to take.
    pub token_time: u64,
}

/// Lays a model out, or says in [`Error::DoesNotFit`] what is missing.
pub(crate) fn lay_out(
    graphs: &Graphs,
    settings: &Settings,
    candidates: &[DeviceCandidate],
    policy: &PlacementPolicy,
) -> Result<Layout> {
    let graph = graph(graphs, settings);
    let mut devices = candidate::devices(candidates, settings.kv_type());
    if *policy == PlacementPolicy::InOrder {
        share_pools(&mut devices, candidates);
    }
    let whole_steps = step_limits(settings, candidates.iter());
    let mut demand = Demand::of(&graph, &whole_steps, &limits(&candidates[0], settings));
    demand.stage = demand.stage.saturating_add(overhead(&graph, settings, &candidates[0], whole_steps)?);
    for _ in 0..ROUNDS {
        let placed = choose(&graph, policy, &demand, &devices).map_err(|error| refine(error, candidates))?;
        let steps = step_limits(settings, placed.iter().map(|(candidate, _)| &candidates[*candidate]));
        let plan = |(candidate, nodes): (usize, StageNodes)| {
            let plan = StagePlan::new(&graph, nodes.nodes.clone(), limits(&candidates[candidate], settings), steps)?;
            Ok(StageLayout { device: candidate, nodes, plan })
        };
        let stages = placed.into_iter().map(plan).collect::<Result<Vec<StageLayout>>>()?;
        let ledger = ledger(&graph, &stages, candidates);
        let over = overrun(&stages, &ledger, candidates);
        if over.is_empty() {
            let time = |stage: &StageLayout| demand.time(&devices[stage.device], stage.nodes.layers.clone());
            let token_time = stages.iter().map(time).fold(0, u64::saturating_add);
            return Ok(Layout { graph, steps, stages, ledger, token_time });
        }
        if matches!(policy, PlacementPolicy::Split(_) | PlacementPolicy::Layers(_)) {
            let what = |(candidate, needed): (&usize, &(u64, u64))| {
                let (taken, room) = needed;
                let label = candidates[*candidate].facts.label();
                format!("{label} has room for {} and would take {}", HumanBytes(*room), HumanBytes(*taken))
            };
            let reason = over.iter().map(what).collect::<Vec<_>>().join("; ");
            return Err(Error::DoesNotFit { reason, advice: Vec::new() });
        }
        // The estimate was short: this much is kept free, and layers move.
        for (stage, ledger) in stages.iter().zip(&ledger.stages) {
            if let Some((taken, room)) = over.get(&stage.device) {
                let device = &mut devices[stage.device];
                let short = ledger.bytes.total().saturating_sub(demand.bytes(device, stage.nodes.layers.clone()));
                device.memory = device.memory.saturating_sub(taken - room).min(room.saturating_sub(short));
            }
        }
    }
    let missing = placement::no_place(&demand, &devices, devices.iter().map(|device| device.memory));
    Err(refine(Failed::NoPlace(missing), candidates))
}

/// Why no devices were chosen.
enum Failed {
    NoPlace(NoPlace),
    Other(Error),
}

/// The model's graph under the settings.
fn graph(graphs: &Graphs, settings: &Settings) -> Arc<Graph> {
    let mut graph = graphs.of_context(settings.context);
    if let Some(format) = settings.quantize {
        Arc::make_mut(&mut graph).quantise(format);
    }
    if let Some(format) = settings.stored {
        let graph = Arc::make_mut(&mut graph);
        for weight in graph.matrices() {
            let weight = &mut graph.weights[weight.0];
            if weight.columns.is_multiple_of(format.block_elements) {
                weight.held = Some(format);
            }
        }
    }
    graph
}

/// Devices over one memory, or one adapter opened twice, share it equally.
fn share_pools(devices: &mut [Device], candidates: &[DeviceCandidate]) {
    for (device, candidate) in devices.iter_mut().zip(candidates) {
        let twice = candidates.iter().filter(|other| other.facts.index == candidate.facts.index).count() as u64;
        let count = candidates.iter().filter(|other| other.pool() == candidate.pool()).count() as u64;
        device.memory = (candidate.memory / twice).min(pool_memory(candidates, candidate) / count);
    }
}

/// What there is for all devices that share a candidate's memory: what the platform has, or what a person says where that is more.
fn pool_memory(candidates: &[DeviceCandidate], candidate: &DeviceCandidate) -> u64 {
    let pool = candidates.iter().filter(|other| other.pool() == candidate.pool());
    pool.map(|other| other.memory.max(other.shared_memory)).max().unwrap_or(0)
}

/// What a stage takes besides weights and cache: the most that one with the first, a middle or the last layer does.
fn overhead(graph: &Arc<Graph>, settings: &Settings, candidate: &DeviceCandidate, steps: StepLimits) -> Result<u64> {
    let layers = graph.layers();
    let mut most = 0;
    for layer in [0, layers / 2, layers.saturating_sub(1)] {
        let begin = if layer == 0 { 0 } else { graph.marks[layer] };
        let end = if layer + 1 >= layers { graph.nodes.len() } else { graph.marks[layer + 1] };
        let bytes = StagePlan::new(graph, begin..end, limits(candidate, settings), steps)?.bytes();
        most = most.max(bytes.activations.saturating_add(bytes.staging));
    }
    Ok(most.saturating_add(gpu::STAGING_BYTES))
}

fn choose(
    graph: &Graph,
    policy: &PlacementPolicy,
    demand: &Demand,
    devices: &[Device],
) -> Result<Vec<(usize, StageNodes)>, Failed> {
    let layers = graph.layers();
    let (candidates, ranges): (Vec<usize>, Vec<Range<usize>>) = match policy {
        PlacementPolicy::Best | PlacementPolicy::InOrder => {
            let find = if *policy == PlacementPolicy::Best { placement::place } else { placement::in_order };
            let stages = find(demand, devices).map_err(Failed::NoPlace)?;
            stages.into_iter().map(|stage| (stage.device, stage.layers)).unzip()
        }
        PlacementPolicy::Split(shares) => {
            let ranges = placement::split(layers, shares).map_err(Failed::Other)?;
            (0..ranges.len()).zip(ranges).unzip()
        }
        PlacementPolicy::Layers(given) => {
            placement::ranges(layers, given, devices.len()).map_err(Failed::Other)?;
            given.iter().cloned().unzip()
        }
    };
    let stages = candidates.into_iter().zip(placement::nodes(graph, &ranges));
    Ok(stages.filter(|(_, stage)| !stage.nodes.is_empty()).collect())
}

/// The error that names the devices.
fn refine(failed: Failed, candidates: &[DeviceCandidate]) -> Error {
    let NoPlace { needed, available } = match failed {
        Failed::Other(error) => return error,
        Failed::NoPlace(none) => none,
    };
    let mut rooms: BTreeMap<String, usize> = BTreeMap::new();
    for candidate in candidates {
        let guess = if candidate.memory_assumed { format!(" ({})", candidate.memory_from) } else { String::new() };
        let room = format!("{} on {}{guess}", HumanBytes(candidate.memory), candidate.facts.label());
        *rooms.entry(room).or_default() += 1;
    }
    let room = |(room, count): (String, usize)| if count == 1 { room } else { format!("{count} times {room}") };
    let names = rooms.into_iter().map(room).collect::<Vec<_>>().join(", ");
    let reason = if needed > available {
        format!("the model takes {} and there is room for {names}", HumanBytes(needed))
    } else {
        format!("the model takes {}, and its layers do not divide into {names}", HumanBytes(needed))
    };
    Error::DoesNotFit { reason, advice: Vec::new() }
}

/// Sites that would take more than they have, with what they would take and have; devices over one memory together.
fn overrun(stages: &[StageLayout], ledger: &Ledger, candidates: &[DeviceCandidate]) -> BTreeMap<usize, (u64, u64)> {
    let mut over = BTreeMap::new();
    let taken = |is: &dyn Fn(&DeviceCandidate) -> bool| -> u64 {
        let mine = stages.iter().zip(&ledger.stages).filter(|(stage, _)| is(&candidates[stage.device]));
        mine.map(|(_, stage)| stage.bytes.total()).fold(0, u64::saturating_add)
    };
    for stage in stages {
        let candidate = &candidates[stage.device];
        let own = taken(&|other| other.facts.index == candidate.facts.index);
        let pool = taken(&|other| other.pool() == candidate.pool());
        let most = pool_memory(candidates, candidate);
        if own > candidate.memory {
            over.insert(stage.device, (own, candidate.memory));
        } else if pool > most {
            over.insert(stage.device, (pool, most));
        }
    }
    over
}

fn step_limits<'a>(settings: &Settings, candidates: impl Iterator<Item = &'a DeviceCandidate>) -> StepLimits {
    // A single dispatch is never cut, so slow devices get short steps; the host can be left within one.
    let slow = candidates.into_iter().any(|candidate| !matches!(candidate.facts.kind, Kind::Discrete | Kind::Host));
    let tokens = settings.step_tokens.unwrap_or(if slow { 128 } else { 512 }).min(MAX_STEP_TOKENS);
    let (context, sequences) = (settings.context, settings.sessions.max(1));
    let kv_type = settings.kv_type();
    let mut limits =
        StepLimits { tokens, selected: settings.step_rows.max(sequences), sequences, context, pages: 0, kv_type };
    limits.tokens = tokens.clamp(sequences, context.max(sequences));
    limits.selected = limits.selected.min(limits.tokens).max(1);
    limits.pages = sequences * limits.pages_per_sequence();
    limits
}

/// What a plan must know of a device, under the settings.
fn limits(candidate: &DeviceCandidate, settings: &Settings) -> Limits {
    let mut limits = candidate.facts.limits();
    limits.precision = if settings.exact { Precision::Exact } else { Precision::Fast };
    limits.choices = settings.choices.clone();
    limits.threads = settings.threads;
    limits.max_shard = settings.max_shard.unwrap_or(limits.max_shard).min(limits.max_shard);
    limits
}

fn ledger(graph: &Graph, stages: &[StageLayout], candidates: &[DeviceCandidate]) -> Ledger {
    let stage = |stage: &StageLayout| {
        let candidate = &candidates[stage.device];
        let bytes = if candidate.facts.kind == Kind::Host {
            HostStage::bytes(graph, &stage.plan)
        } else {
            let mut bytes = stage.plan.bytes();
            bytes.add(Purpose::Staging, gpu::STAGING_BYTES);
            bytes
        };
        let layers = &stage.nodes.layers;
        LedgerStage {
            adapter: candidate.facts.label(),
            layers: (!layers.is_empty()).then(|| (layers.start, layers.end - 1)),
            bytes,
            available: (!candidate.memory_assumed).then_some(candidate.memory),
        }
    };
    Ledger { stages: stages.iter().map(stage).collect() }
}

impl Layout {
    /// Tokens per second that decoding is expected to reach.
    pub fn tokens_per_second(&self) -> f64 {
        1e12 / self.token_time.max(1) as f64
    }

    /// Seconds that loading is expected to take: all stages at the same time, from one file.
    pub fn load_seconds(&self, candidates: &[DeviceCandidate]) -> f64 {
        let stages = self.stages.iter().zip(&self.ledger.stages);
        speed::load_seconds(stages.map(|(laid, stage)| (&candidates[laid.device].speed, stage.bytes.weights)))
    }
}

#[cfg(test)]
mod tests;
