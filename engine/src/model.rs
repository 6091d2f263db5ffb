//! Opening a model: devices chosen, layers placed, memory planned, weights loaded.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use plywood_kernels::Format;
use plywood_kernels::kv_cache::KvType;
use plywood_models::checkpoint::{Checkpoint, Weights};
use plywood_models::config::Config;
use plywood_models::synthetic::Synthetic;
use plywood_models::tokenizer::Tokenizer;

use crate::devices::open::Hardware;
use crate::devices::tuning::Choices;
use crate::error::{Error, Result};
use crate::faults::{self, Faults};
use crate::gpu::SharedDevice;
use crate::ledger::Ledger;
use crate::planning::layout::Source;
use crate::runner::loading::{Loaded, load};
use crate::session::Session;
use crate::session::sampler::Sampling;
use crate::stage::StageTimes;
use crate::stage::plan::StepLimits;

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
    /// Which kernels are taken, for measuring and testing them.
    pub choices: Choices,
    /// The largest shard of a weight or a cache in bytes, for testing; the largest binding where `None`.
    pub max_shard: Option<u64>,
    /// How long a device may take for what it was given, before it counts as hanging.
    pub deadline: Duration,
    /// Failures that are ordered, for testing.
    pub faults: Option<Arc<Faults>>,
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
            choices: Choices::default(),
            max_shard: None,
            deadline: faults::DEADLINE,
            faults: None,
            progress: None,
        }
    }
}

impl Options {
    /// Names the devices that others name.
    fn name_devices_of(&mut self, others: Options) {
        let Options { adapters, shared, split, layers, memory, .. } = others;
        (self.adapters, self.shared, self.split, self.layers, self.memory) = (adapters, shared, split, layers, memory);
    }
}

/// What sessions share.
pub(crate) struct Shared {
    weights: Box<dyn Weights>,
    pub tokenizer: Option<Tokenizer>,
    pub config: Config,
    /// How it was opened, and on what; whoever loads it again has the lock.
    opened: Mutex<Opened>,
    loaded: RwLock<Arc<Loaded>>,
    /// Rows of the page table that no session has.
    pub free_sequences: Mutex<Vec<u32>>,
}

/// How a model was opened, and on what.
struct Opened {
    options: Options,
    hardware: Hardware,
}

impl Shared {
    /// The tokenizer, where there must be one.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        let reason = || "a synthetic model has no tokenizer".to_string();
        self.tokenizer.as_ref().ok_or_else(|| Error::Option { option: "PROMPT", reason: reason() })
    }

    /// Where its weights are, and its numbers.
    fn source(&self) -> Source<'_> {
        Source { weights: self.weights.as_ref(), config: &self.config }
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model as it is loaded now.
    pub fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A model, loaded. Cheap to clone; the clones share everything.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
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
        Model::load(plywood_models::Model::open(path)?.into(), options)
    }

    /// Opens a model whose files' tables were read already.
    pub fn of(checkpoint: Checkpoint, options: Options) -> Result<Model> {
        Model::load(plywood_models::Model::of(checkpoint)?.into(), options)
    }

    /// A model of random weights by `SHAPE:FORMAT`, such as `llama-8b:q4_0`. It has no tokenizer.
    pub fn synthetic(name: &str, options: Options) -> Result<Model> {
        let synthetic = Synthetic::named(name)?;
        let config = synthetic.config.clone();
        Model::load(Parts { weights: Box::new(synthetic), config, tokenizer: None }, options)
    }

    fn load(parts: Parts, mut options: Options) -> Result<Model> {
        let Parts { weights, config, tokenizer } = parts;
        let hardware = Hardware::of(&options)?;
        let loaded = load(Source { weights: weights.as_ref(), config: &config }, &mut options, &hardware)?;
        let shared = Shared {
            weights,
            tokenizer,
            config,
            free_sequences: Mutex::new((0..loaded.runner().limits.sequences as u32).rev().collect()),
            opened: Mutex::new(Opened { options, hardware }),
            loaded: RwLock::new(Arc::new(loaded)),
        };
        Ok(Model { shared: Arc::new(shared) })
    }

    /// Loads the model again where a device was lost or hangs, on the devices that still work, and frees what it had first; says whether
    /// it did. Where all devices work nothing is done, so that every thread that met the failure may call this.
    ///
    /// Sessions go on from their tokens, which they compute again with their next step. The context stays as it was, if
    /// [`Options::max_context`] or [`Options::fit`] did not allow a smaller one; a session that has more tokens then gets an error. Where
    /// loading fails, for want of memory perhaps, steps are [`Error::Unloaded`] until this succeeds. What a device that hangs has is not
    /// freed before the process ends, since freeing would wait for it.
    pub fn recover(&self) -> Result<bool> {
        let mut opened = self.shared.opened();
        let before = self.shared.loaded();
        if before.works() {
            return Ok(false);
        }
        before.runner().pipeline.empty();
        let (hardware, options, gone) = opened.hardware.again(&before.devices, &opened.options)?;
        let note = |label: &String| format!("{label} can't be used any more; the model was loaded without it");
        self.load_again(&mut opened, hardware, options, gone.iter().map(note).collect())?;
        Ok(true)
    }

    /// Loads the model again on devices that an app opened anew, whatever became of those that it lies on; else as
    /// [`Model::recover`] does.
    pub fn recover_on(&self, devices: Vec<SharedDevice>) -> Result<()> {
        let mut opened = self.shared.opened();
        let options = Options {
            shared: devices,
            deadline: opened.options.deadline,
            faults: opened.options.faults.clone(),
            ..Options::default()
        };
        let hardware = Hardware::of(&options)?;
        self.shared.loaded().runner().pipeline.empty();
        self.load_again(&mut opened, hardware, options, Vec::new())
    }

    /// Loads the model again over hardware, of which `found` speaks. What was opened before is forgotten only where that succeeds.
    fn load_again(
        &self,
        opened: &mut Opened,
        hardware: Hardware,
        found: Options,
        mut notes: Vec<String>,
    ) -> Result<()> {
        let shared = &self.shared;
        let Opened { options, hardware: before } = opened;
        // What sessions have must go on fitting; only where that fails the largest context is looked for again.
        options.context = Some(self.context());
        let largest = std::mem::take(&mut options.max_context);
        let mut loaded = load(shared.source(), options, &hardware);
        options.max_context = largest;
        if largest && matches!(loaded, Err(Error::DoesNotFit { .. })) {
            loaded = load(shared.source(), options, &hardware);
        }
        let mut loaded = loaded?;
        notes.extend(loaded.notes.iter().cloned());
        loaded.notes = notes.into();
        options.name_devices_of(found);
        *before = hardware;
        *shared.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }

    /// A session: one sequence of tokens with its place in the KV cache.
    pub fn session(&self) -> Result<Session> {
        let mut free = self.shared.free_sequences.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = free.pop().ok_or(Error::NoSession { sessions: self.limits().sequences })?;
        Ok(Session::new(Arc::clone(&self.shared), sequence))
    }

    /// What was allocated where.
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.shared.loaded().ledger)
    }

    /// What was assumed of devices, or changed so that the model fits, in sentences for a person.
    pub fn notes(&self) -> Arc<[String]> {
        Arc::clone(&self.shared.loaded().notes)
    }

    /// How long loading took.
    pub fn load_time(&self) -> Duration {
        self.shared.loaded().time
    }

    /// Tokens that a sequence may have.
    pub fn context(&self) -> usize {
        self.limits().context
    }

    /// How large steps may be.
    pub fn limits(&self) -> StepLimits {
        self.shared.loaded().runner().limits
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
        self.shared.loaded().runner().pipeline.times()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}
