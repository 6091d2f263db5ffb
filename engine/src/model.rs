//! Opening a model: devices chosen, layers placed, memory planned, weights loaded.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plywood_kernels::kv_cache::KvType;
use plywood_kernels::{Format, Graph};
use plywood_models::checkpoint::Weights;
use plywood_models::config::Config;
use plywood_models::synthetic::Synthetic;
use plywood_models::tokenizer::Tokenizer;

use crate::adapters::{Adapter, Kind};
use crate::devices::{Chosen, load_stage};
use crate::error::{Error, Result};
use crate::gpu::{self, SharedDevice};
use crate::memory::{Ledger, LedgerStage, Purpose};
use crate::placement::{self, StageNodes};
use crate::plan::{Limits, StagePlan, StepLimits};
use crate::runner::{Runner, Scheduler};
use crate::sampler::Sampling;
use crate::session::Session;
use crate::stage::{Stage, StageTimes, WeightReader};

/// The context where none is given, if the model's own is longer.
pub const DEFAULT_CONTEXT: usize = 8192;

/// Rows go along one dimension of a dispatch, which every device lets reach so far.
const MAX_STEP_TOKENS: usize = 65_535;

/// Is told bytes of weights that were loaded, and of all; loading ends with [`Error::Cancelled`] where it returns false.
pub type Progress = Box<dyn FnMut(u64, u64) -> bool + Send>;

/// How a model is opened.
pub struct Options {
    /// Tokens of a sequence; the smaller of the model's own and 8192 where `None`.
    pub context: Option<usize>,
    /// The model's own context, instead of `context`.
    pub max_context: bool,
    /// Adapters by number, name, `backend:name` or `host`; the best one where empty.
    pub adapters: Vec<String>,
    /// Devices that the app opened itself, instead of `adapters`.
    pub shared: Vec<SharedDevice>,
    /// Shares of the layers for each adapter; equal where empty.
    pub split: Vec<u32>,
    /// How the KV cache is stored.
    pub kv_type: KvType,
    /// What matrices of floats are quantised to while they load, where blocks divide their rows; not at all where `None`.
    pub quantize: Option<Format>,
    /// Only float kernels and an f32 cache, for comparing.
    pub exact: bool,
    /// Sessions that may be open at once.
    pub sessions: usize,
    /// Tokens in a step; chosen by device where `None`.
    pub step_tokens: Option<usize>,
    /// Tokens of a step whose logits can be asked for; at least the sessions.
    pub step_rows: usize,
    /// The largest shard of a weight or a cache in bytes, for testing; the largest binding where `None`.
    pub max_shard: Option<u64>,
    /// Is told of the loading.
    pub progress: Option<Progress>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            context: None,
            max_context: false,
            adapters: Vec::new(),
            shared: Vec::new(),
            split: Vec::new(),
            kv_type: KvType::F16,
            quantize: None,
            exact: false,
            sessions: 1,
            step_tokens: None,
            step_rows: 8,
            max_shard: None,
            progress: None,
        }
    }
}

/// What sessions share.
pub(crate) struct Shared {
    pub scheduler: Scheduler,
    pub tokenizer: Option<Tokenizer>,
    pub config: Config,
    pub limits: StepLimits,
    /// Sequences of more tokens than this are long, and turn by other angles.
    pub long_above: Option<usize>,
    /// Rows of the page table that no session has.
    pub free_sequences: Mutex<Vec<u32>>,
}

impl Shared {
    /// The tokenizer, where there must be one.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        let reason = || "a synthetic model has no tokenizer".to_string();
        self.tokenizer.as_ref().ok_or_else(|| Error::Option { option: "PROMPT", reason: reason() })
    }
}

/// A model, loaded. Cheap to clone; the clones share everything.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
    ledger: Arc<Ledger>,
    load_time: Duration,
}

/// The parts of which a model is made.
struct Parts {
    weights: Box<dyn Weights>,
    config: Config,
    tokenizer: Option<Tokenizer>,
}

impl Model {
    /// Opens a `.gguf` file (the first of a split set), a Hugging Face directory, or `demo`, the model in the library.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Model> {
        let begin = Instant::now();
        let model = plywood_models::Model::open(path)?;
        let parts =
            Parts { weights: Box::new(model.checkpoint), config: model.config, tokenizer: Some(model.tokenizer) };
        Model::load(parts, options, begin)
    }

    /// A model of random weights by `SHAPE:FORMAT`, such as `llama-8b:q4_0`. It has no tokenizer.
    pub fn synthetic(name: &str, options: Options) -> Result<Model> {
        let begin = Instant::now();
        let synthetic = Synthetic::named(name)?;
        let config = synthetic.config.clone();
        Model::load(Parts { weights: Box::new(synthetic), config, tokenizer: None }, options, begin)
    }

    fn load(parts: Parts, mut options: Options, begin: Instant) -> Result<Model> {
        let asked = if options.max_context { Some(parts.config.context) } else { options.context };
        let context = context(&parts.config, asked)?;
        let mut graph = plywood_models::transformer::build(parts.weights.as_ref(), &parts.config, context)?;
        graph.fuse();
        if let Some(format) = options.quantize {
            graph.quantise(format);
        }
        let chosen = Chosen::of(&options)?;
        let placed = place(&graph, chosen, &options.split)?;
        let limits = step_limits(&options, &placed, context);
        let plan = |(device, stage): &(Chosen, StageNodes)| {
            // The host's cache is f32 whatever is asked for.
            let kv_type = if device.facts.kind == Kind::Host { KvType::F32 } else { limits.kv_type };
            let limits = StepLimits { kv_type, ..limits };
            StagePlan::new(&graph, stage.nodes.clone(), device_limits(&device.facts, &options), limits)
        };
        let plans = placed.iter().map(plan).collect::<Result<Vec<_>>>()?;
        let ledger = ledger(&placed, &plans);
        check_system_memory(&placed, &ledger)?;
        let graph = Arc::new(graph);
        let reader = Reader(parts.weights.as_ref());
        let mut loading = Loading::new(&ledger, options.progress.take());
        let mut stages: Vec<Box<dyn Stage>> = Vec::new();
        for ((chosen, _), plan) in placed.iter().zip(plans) {
            let device = chosen.open()?;
            let mut progress = |bytes| loading.advance(bytes);
            stages.push(load_stage(device.as_ref(), &graph, plan, &reader, &mut progress)?);
        }
        let shared = Shared {
            long_above: graph.long_above,
            scheduler: Scheduler::new(Runner::new(graph, stages, limits)),
            tokenizer: parts.tokenizer,
            config: parts.config,
            limits,
            free_sequences: Mutex::new((0..limits.sequences as u32).rev().collect()),
        };
        Ok(Model { shared: Arc::new(shared), ledger: Arc::new(ledger), load_time: begin.elapsed() })
    }

    /// A session: one sequence of tokens with its place in the KV cache.
    pub fn session(&self) -> Result<Session> {
        let mut free = self.shared.free_sequences.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = free.pop().ok_or(Error::NoSession { sessions: self.shared.limits.sequences })?;
        Ok(Session::new(Arc::clone(&self.shared), sequence))
    }

    /// What was allocated where.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How long opening took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// Tokens that a sequence may have.
    pub fn context(&self) -> usize {
        self.shared.limits.context
    }

    /// How large steps may be.
    pub fn limits(&self) -> StepLimits {
        self.shared.limits
    }

    /// The model's numbers.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The tokenizer; a synthetic model has none.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.shared.tokenizer.as_ref()
    }

    /// How the model's makers would sample.
    pub fn sampling(&self) -> Sampling {
        Sampling::of_model(&self.shared.config.sampling)
    }

    /// How long each stage has been busy.
    pub fn times(&self) -> Vec<StageTimes> {
        self.shared.scheduler.with(|runner| runner.stages.iter().map(|stage| stage.times()).collect())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Gives tensors from files to stages.
struct Reader<'a>(&'a dyn Weights);

impl WeightReader for Reader<'_> {
    fn read(&self, tensor: usize, offset: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(self.0.read_checked(tensor, offset, bytes)?)
    }
}

/// Counts the bytes of weights that were loaded.
struct Loading {
    loaded: u64,
    total: u64,
    progress: Option<Progress>,
}

impl Loading {
    fn new(ledger: &Ledger, progress: Option<Progress>) -> Loading {
        let total = ledger.stages.iter().map(|stage| stage.bytes.weights).sum();
        Loading { loaded: 0, total, progress }
    }

    fn advance(&mut self, bytes: u64) -> Result<()> {
        self.loaded += bytes;
        let (loaded, total) = (self.loaded.min(self.total), self.total);
        let on = self.progress.as_mut().is_none_or(|progress| progress(loaded, total));
        if on { Ok(()) } else { Err(Error::Cancelled) }
    }
}

/// The context asked for, or the default.
fn context(config: &Config, asked: Option<usize>) -> Result<usize> {
    let context = asked.unwrap_or(config.context.min(DEFAULT_CONTEXT));
    if context == 0 || context > config.context {
        let reason = format!("{context} is not from 1 to {}, the model's own", config.context);
        return Err(Error::Option { option: "--context", reason });
    }
    Ok(context)
}

/// The stages of a graph over devices, without those that have nothing to run.
fn place(graph: &Graph, chosen: Vec<Chosen>, shares: &[u32]) -> Result<Vec<(Chosen, StageNodes)>> {
    let shares = if shares.is_empty() { vec![1; chosen.len()] } else { shares.to_vec() };
    let ranges = placement::split(graph.layers(), &shares)?;
    Ok(chosen.into_iter().zip(placement::nodes(graph, &ranges)).filter(|(_, stage)| !stage.nodes.is_empty()).collect())
}

fn step_limits(options: &Options, placed: &[(Chosen, StageNodes)], context: usize) -> StepLimits {
    // A single dispatch is never cut, so slow devices get short steps.
    let slow = placed.iter().any(|(device, _)| device.facts.kind != Kind::Discrete);
    let tokens = options.step_tokens.unwrap_or(if slow { 128 } else { 512 }).min(MAX_STEP_TOKENS);
    let sequences = options.sessions.max(1);
    let kv_type = if options.exact { KvType::F32 } else { options.kv_type };
    let mut limits =
        StepLimits { tokens, selected: options.step_rows.max(sequences), sequences, context, pages: 0, kv_type };
    limits.tokens = tokens.clamp(sequences, context.max(sequences));
    limits.selected = limits.selected.min(limits.tokens).max(1);
    limits.pages = sequences * limits.pages_per_sequence();
    limits
}

/// What a plan must know of a device, under the options.
fn device_limits(adapter: &Adapter, options: &Options) -> Limits {
    let mut limits = adapter.limits();
    // The float rungs: weights and activations in f32 wherever they are computed with.
    limits.features.f16 &= !options.exact;
    limits.max_shard = options.max_shard.unwrap_or(limits.max_shard).min(limits.max_shard);
    limits
}

/// An error where devices that compute on the CPU would take more than is free: their drivers promise memory that is not
/// there, and the process is killed later. A GPU says no by itself.
fn check_system_memory(placed: &[(Chosen, StageNodes)], ledger: &Ledger) -> Result<()> {
    let stages = placed.iter().zip(&ledger.stages);
    let software = stages.filter(|((device, _), _)| matches!(device.facts.kind, Kind::Software | Kind::Host));
    let mut bytes = 0u64;
    for (_, stage) in software {
        bytes = bytes.saturating_add(stage.bytes.total());
        if stage.available.is_some_and(|free| bytes > free) {
            let (device, what) = (stage.adapter.clone(), "the model and its KV cache".into());
            return Err(Error::OutOfMemory { device, what, bytes });
        }
    }
    Ok(())
}

fn ledger(placed: &[(Chosen, StageNodes)], plans: &[StagePlan]) -> Ledger {
    let stage = |((device, stage), plan): (&(Chosen, StageNodes), &StagePlan)| {
        let (adapter, mut bytes) = (&device.facts, plan.bytes());
        if adapter.kind != Kind::Host {
            bytes.add(Purpose::Staging, gpu::STAGING_BYTES);
        }
        let layers = (!stage.layers.is_empty()).then(|| (stage.layers.start, stage.layers.end - 1));
        LedgerStage {
            adapter: adapter.label(),
            layers,
            bytes,
            available: adapter.memory.and_then(|memory| memory.free),
        }
    };
    Ledger { stages: placed.iter().zip(plans).map(stage).collect() }
}
