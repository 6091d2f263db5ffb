//! Opening a model: devices chosen, layers placed, memory planned, weights loaded.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use plywood_models::config::Config;
use plywood_models::synthetic::Synthetic;
use plywood_models::tokenizer::Tokenizer;
use plywood_models::{Checkpoint, Weights};

use crate::devices::open::Hardware;
use crate::error::{Error, Result};
use crate::gpu::SharedDevice;
use crate::ledger::Ledger;
use crate::options::{Context, Devices, Options};
use crate::planning::settings::ModelRef;
use crate::runner::loading::{Loaded, load};
use crate::session::sampler::Sampling;
use crate::stage::StageTimes;
use crate::stage::plan::StepLimits;

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
        self.tokenizer.as_ref().ok_or_else(|| Error::Option { option: "Session::generate", reason: reason() })
    }

    /// Where its weights are, and its numbers.
    fn source(&self) -> ModelRef<'_> {
        ModelRef { weights: self.weights.as_ref(), config: &self.config }
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model as it is loaded now.
    pub fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A loaded model. It is cheap to clone, and the clones share everything, so threads can each have one.
///
/// ```no_run
/// use plywood::{Model, Options};
///
/// let model = Model::open("model.gguf", Options::default().sessions(2))?;
/// println!("{} layers, {} tokens of context", model.config().layers, model.context());
/// for stage in &model.ledger().stages {
///     println!("{}: {} bytes", stage.adapter, stage.bytes.total());
/// }
/// let (mut first, mut second) = (model.session()?, model.session()?);
/// # Ok::<(), plywood::Error>(())
/// ```
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
    ///
    /// Errors: a file that is broken or not understood ([`Error::Model`]), options that can't be used ([`Error::Option`]), a model that
    /// does not fit ([`Error::DoesNotFit`], with what would), a device that fails, and [`Error::Cancelled`] by [`Options::progress`].
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
        let loaded = load(ModelRef { weights: weights.as_ref(), config: &config }, &mut options, &hardware)?;
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
    /// [`Context::Max`] or [`Options::fit`] did not allow a smaller one; a session that has more tokens then gets an error. Where
    /// loading fails, for want of memory perhaps, steps are [`Error::Unloaded`] until this succeeds. What a device that hangs has is not
    /// freed before the process ends, since freeing would wait for it.
    ///
    /// ```no_run
    /// # use plywood::{Model, Options, Output, Rows};
    /// # let model = Model::open("model.gguf", Options::default())?;
    /// # let mut session = model.session()?;
    /// let rows = match session.evaluate(&[1, 2, 3], Rows::Last, &[Output::Argmax]) {
    ///     Err(error) if error.is_device_error() => {
    ///         model.recover()?;
    ///         session.evaluate(&[1, 2, 3], Rows::Last, &[Output::Argmax])?
    ///     }
    ///     rows => rows?,
    /// };
    /// # Ok::<(), plywood::Error>(())
    /// ```
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
        let options = opened.options.for_devices(Devices::Shared(devices));
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
        let asked = std::mem::replace(&mut options.context, Context::Tokens(self.context()));
        let mut loaded = load(shared.source(), options, &hardware);
        options.context = asked;
        if asked == Context::Max && matches!(loaded, Err(Error::DoesNotFit { .. })) {
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
