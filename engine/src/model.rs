//! Opening a model: devices chosen, layers placed, memory planned, weights loaded.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plywood_kernels::Format;
use plywood_kernels::kv_cache::KvType;
use plywood_models::checkpoint::{Checkpoint, Weights};
use plywood_models::config::Config;
use plywood_models::synthetic::Synthetic;
use plywood_models::tokenizer::Tokenizer;

use crate::devices::{Hardware, load_stage};
use crate::error::{Error, Result};
use crate::gpu::SharedDevice;
use crate::layout::Source;
use crate::memory::Ledger;
use crate::plan::StepLimits;
use crate::planning::settle;
use crate::runner::{Runner, Scheduler};
use crate::sampler::Sampling;
use crate::session::Session;
use crate::stage::{Stage, StageTimes, WeightReader};

/// The context where none is given, if the model's own is longer.
pub const DEFAULT_CONTEXT: usize = 8192;

/// Is told bytes of weights that were loaded, and of all; loading ends with [`Error::Cancelled`] where it returns false.
pub type Progress = Box<dyn FnMut(u64, u64) -> bool + Send>;

/// How a model is opened.
pub struct Options {
    /// Tokens of a sequence; the smaller of the model's own and 8192 where `None`.
    pub context: Option<usize>,
    /// The largest context that fits, up to the model's own, instead of `context`.
    pub max_context: bool,
    /// Where the model does not fit, what is changed so that it does: the first that [`crate::Error::DoesNotFit`] would advise.
    pub fit: bool,
    /// Adapters by number, name, `backend:name` or `host`; where empty the fewest GPUs that hold the model, else the best adapter.
    pub adapters: Vec<String>,
    /// Devices that the app opened itself, instead of `adapters`.
    pub shared: Vec<SharedDevice>,
    /// Shares of the layers for each adapter; such that a token is finished soonest where empty.
    pub split: Vec<u32>,
    /// Ranges of layers, each with the place of its adapter in `adapters`, or its number where these are empty; instead of `split`.
    pub layers: Vec<(usize, Range<usize>)>,
    /// Bytes that a model may take on adapters, by their numbers; what the platform tells where an adapter is not named.
    pub memory: Vec<(usize, u64)>,
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
            fit: false,
            adapters: Vec::new(),
            shared: Vec::new(),
            split: Vec::new(),
            layers: Vec::new(),
            memory: Vec::new(),
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
    notes: Arc<[String]>,
    load_time: Duration,
}

/// The parts of which a model is made.
struct Parts {
    weights: Box<dyn Weights>,
    config: Config,
    tokenizer: Option<Tokenizer>,
}

impl From<plywood_models::Model> for Parts {
    fn from(model: plywood_models::Model) -> Parts {
        Parts { weights: Box::new(model.checkpoint), config: model.config, tokenizer: Some(model.tokenizer) }
    }
}

impl Model {
    /// Opens a `.gguf` file (the first of a split set), a Hugging Face directory, or `demo`, the model in the library.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Model> {
        let begin = Instant::now();
        Model::load(plywood_models::Model::open(path)?.into(), options, begin)
    }

    /// Opens a model whose files' tables were read already.
    pub fn of(checkpoint: Checkpoint, options: Options) -> Result<Model> {
        let begin = Instant::now();
        Model::load(plywood_models::Model::of(checkpoint)?.into(), options, begin)
    }

    /// A model of random weights by `SHAPE:FORMAT`, such as `llama-8b:q4_0`. It has no tokenizer.
    pub fn synthetic(name: &str, options: Options) -> Result<Model> {
        let begin = Instant::now();
        let synthetic = Synthetic::named(name)?;
        let config = synthetic.config.clone();
        Model::load(Parts { weights: Box::new(synthetic), config, tokenizer: None }, options, begin)
    }

    fn load(parts: Parts, mut options: Options, begin: Instant) -> Result<Model> {
        let hardware = Hardware::of(&options)?;
        let source = Source { weights: parts.weights.as_ref(), config: &parts.config };
        let settled = settle(source, &options, &hardware)?;
        let layout = settled.layout;
        let limits = layout.steps;
        let (graph, ledger) = (Arc::new(layout.graph), layout.ledger);
        let reader = Reader(parts.weights.as_ref());
        let mut loading = Loading::new(&ledger, options.progress.take());
        let mut stages: Vec<Box<dyn Stage>> = Vec::new();
        for stage in layout.stages {
            let device = hardware.open(&settled.sites[stage.site])?;
            let mut progress = |bytes| loading.advance(bytes);
            stages.push(load_stage(device.as_ref(), &graph, stage.plan, &reader, &mut progress)?);
        }
        let shared = Shared {
            long_above: graph.long_above,
            scheduler: Scheduler::new(Runner::new(graph, stages, limits)),
            tokenizer: parts.tokenizer,
            config: parts.config,
            limits,
            free_sequences: Mutex::new((0..limits.sequences as u32).rev().collect()),
        };
        let (shared, ledger, notes) = (Arc::new(shared), Arc::new(ledger), settled.notes.into());
        Ok(Model { shared, ledger, notes, load_time: begin.elapsed() })
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

    /// What was assumed of devices, or changed so that the model fits, in sentences for a person.
    pub fn notes(&self) -> &[String] {
        &self.notes
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
