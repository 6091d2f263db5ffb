//! A model laid out over devices: a graph, its stages with their plans, and the ledger. Nothing is allocated.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use plywood_kernels::Graph;
use plywood_kernels::lowering::Precision;

use crate::devices::adapter::Kind;
use crate::devices::candidate::{self, Site};
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
pub(crate) struct Laid {
    /// The device's place among the sites.
    pub site: usize,
    /// Its nodes and layers.
    pub nodes: StageNodes,
    /// Its buffers and recordings.
    pub plan: StagePlan,
}

/// A model laid out over devices.
pub(crate) struct Layout {
    pub graph: Arc<Graph>,
    pub steps: StepLimits,
    pub stages: Vec<Laid>,
    pub ledger: Ledger,
    /// Picoseconds that a token is expected to take.
    pub token_time: u64,
}

/// Lays a model out, or says in [`Error::DoesNotFit`] what is missing.
pub(crate) fn lay_out(
    graphs: &Graphs,
    settings: &Settings,
    sites: &[Site],
    policy: &PlacementPolicy,
) -> Result<Layout> {
    let graph = graph(graphs, settings);
    let mut devices = candidate::devices(sites, settings.kv_type());
    if *policy == PlacementPolicy::InOrder {
        share_pools(&mut devices, sites);
    }
    let whole_steps = step_limits(settings, sites.iter());
    let mut demand = Demand::of(&graph, &whole_steps, &limits(&sites[0], settings));
    demand.stage = demand.stage.saturating_add(overhead(&graph, settings, &sites[0], whole_steps)?);
    for _ in 0..ROUNDS {
        let placed = choose(&graph, policy, &demand, &devices).map_err(|error| refine(error, sites))?;
        let steps = step_limits(settings, placed.iter().map(|(site, _)| &sites[*site]));
        let plan = |(site, nodes): (usize, StageNodes)| {
            let steps = StepLimits { kv_type: sites[site].kv_type(steps.kv_type), ..steps };
            let plan = StagePlan::new(&graph, nodes.nodes.clone(), limits(&sites[site], settings), steps)?;
            Ok(Laid { site, nodes, plan })
        };
        let stages = placed.into_iter().map(plan).collect::<Result<Vec<Laid>>>()?;
        let ledger = ledger(&graph, &stages, sites);
        let over = overrun(&stages, &ledger, sites);
        if over.is_empty() {
            let time = |stage: &Laid| demand.time(&devices[stage.site], stage.nodes.layers.clone());
            let token_time = stages.iter().map(time).fold(0, u64::saturating_add);
            return Ok(Layout { graph, steps, stages, ledger, token_time });
        }
        if matches!(policy, PlacementPolicy::Split(_) | PlacementPolicy::Layers(_)) {
            let what = |(site, needed): (&usize, &(u64, u64))| {
                let (taken, room) = needed;
                let label = sites[*site].facts.label();
                format!("{label} has room for {} and would take {}", HumanBytes(*room), HumanBytes(*taken))
            };
            let reason = over.iter().map(what).collect::<Vec<_>>().join("; ");
            return Err(Error::DoesNotFit { reason, advice: Vec::new() });
        }
        // The estimate was short: so much is kept free, and layers move.
        for (stage, ledger) in stages.iter().zip(&ledger.stages) {
            if let Some((taken, room)) = over.get(&stage.site) {
                let device = &mut devices[stage.site];
                let short = ledger.bytes.total().saturating_sub(demand.bytes(device, stage.nodes.layers.clone()));
                device.memory = device.memory.saturating_sub(taken - room).min(room.saturating_sub(short));
            }
        }
    }
    let missing = placement::no_place(&demand, &devices, devices.iter().map(|device| device.memory));
    Err(refine(Failed::NoPlace(missing), sites))
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
fn share_pools(devices: &mut [Device], sites: &[Site]) {
    for (device, site) in devices.iter_mut().zip(sites) {
        let twice = sites.iter().filter(|other| other.facts.index == site.facts.index).count() as u64;
        let count = sites.iter().filter(|other| other.pool() == site.pool()).count() as u64;
        device.memory = (site.memory / twice).min(pool_memory(sites, site) / count);
    }
}

/// What there is for all devices that share a site's memory: what the platform has, or what a person says where that is more.
fn pool_memory(sites: &[Site], site: &Site) -> u64 {
    let pool = sites.iter().filter(|other| other.pool() == site.pool());
    pool.map(|other| other.memory.max(other.shared_memory)).max().unwrap_or(0)
}

/// What a stage takes besides weights and cache: the most that one with the first, a middle or the last layer does.
fn overhead(graph: &Arc<Graph>, settings: &Settings, site: &Site, steps: StepLimits) -> Result<u64> {
    let layers = graph.layers();
    let mut most = 0;
    for layer in [0, layers / 2, layers.saturating_sub(1)] {
        let begin = if layer == 0 { 0 } else { graph.marks[layer] };
        let end = if layer + 1 >= layers { graph.nodes.len() } else { graph.marks[layer + 1] };
        let bytes = StagePlan::new(graph, begin..end, limits(site, settings), steps)?.bytes();
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
    let (sites, ranges): (Vec<usize>, Vec<Range<usize>>) = match policy {
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
    let stages = sites.into_iter().zip(placement::nodes(graph, &ranges));
    Ok(stages.filter(|(_, stage)| !stage.nodes.is_empty()).collect())
}

/// The error that names the devices.
fn refine(failed: Failed, sites: &[Site]) -> Error {
    let NoPlace { needed, available } = match failed {
        Failed::Other(error) => return error,
        Failed::NoPlace(none) => none,
    };
    let mut rooms: BTreeMap<String, usize> = BTreeMap::new();
    for site in sites {
        let guess = if site.memory_assumed { format!(" ({})", site.memory_from) } else { String::new() };
        let room = format!("{} on {}{guess}", HumanBytes(site.memory), site.facts.label());
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
fn overrun(stages: &[Laid], ledger: &Ledger, sites: &[Site]) -> BTreeMap<usize, (u64, u64)> {
    let mut over = BTreeMap::new();
    let taken = |is: &dyn Fn(&Site) -> bool| -> u64 {
        let mine = stages.iter().zip(&ledger.stages).filter(|(stage, _)| is(&sites[stage.site]));
        mine.map(|(_, stage)| stage.bytes.total()).fold(0, u64::saturating_add)
    };
    for stage in stages {
        let site = &sites[stage.site];
        let own = taken(&|other| other.facts.index == site.facts.index);
        let pool = taken(&|other| other.pool() == site.pool());
        let most = pool_memory(sites, site);
        if own > site.memory {
            over.insert(stage.site, (own, site.memory));
        } else if pool > most {
            over.insert(stage.site, (pool, most));
        }
    }
    over
}

fn step_limits<'a>(settings: &Settings, sites: impl Iterator<Item = &'a Site>) -> StepLimits {
    // A single dispatch is never cut, so slow devices get short steps.
    let slow = sites.into_iter().any(|site| site.facts.kind != Kind::Discrete);
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
fn limits(site: &Site, settings: &Settings) -> Limits {
    let mut limits = site.facts.limits();
    limits.precision = if settings.exact { Precision::Exact } else { Precision::Fast };
    limits.choices = settings.choices.clone();
    limits.max_shard = settings.max_shard.unwrap_or(limits.max_shard).min(limits.max_shard);
    limits
}

fn ledger(graph: &Graph, stages: &[Laid], sites: &[Site]) -> Ledger {
    let stage = |stage: &Laid| {
        let site = &sites[stage.site];
        let bytes = if site.facts.kind == Kind::Host {
            HostStage::bytes(graph, &stage.plan)
        } else {
            let mut bytes = stage.plan.bytes();
            bytes.add(Purpose::Staging, gpu::STAGING_BYTES);
            bytes
        };
        let layers = &stage.nodes.layers;
        LedgerStage {
            adapter: site.facts.label(),
            layers: (!layers.is_empty()).then(|| (layers.start, layers.end - 1)),
            bytes,
            available: (!site.memory_assumed).then_some(site.memory),
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
    pub fn load_seconds(&self, sites: &[Site]) -> f64 {
        let stages = self.stages.iter().zip(&self.ledger.stages);
        speed::load_seconds(stages.map(|(laid, stage)| (&sites[laid.site].speed, stage.bytes.weights)))
    }
}

#[cfg(test)]
mod tests;
