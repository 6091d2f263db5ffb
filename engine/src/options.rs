//! How a model is opened.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use plywood_kernels::Format;
use plywood_kernels::kv_cache::KvType;

use crate::devices::discover::Adapters;
use crate::faults::{self, Watch};
use crate::gpu::SharedDevice;
use crate::testing::Hooks;

/// The context where none is given, in tokens, if the model's own is longer.
pub const DEFAULT_CONTEXT: usize = 8192;

/// Called with the bytes of weights loaded so far and in all. Loading ends with [`Error::Cancelled`](crate::Error::Cancelled) where it
/// returns false.
pub type Progress = Box<dyn FnMut(u64, u64) -> bool + Send>;

/// How many tokens a sequence may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Context {
    /// The model's own context, or [`DEFAULT_CONTEXT`] if that is smaller.
    #[default]
    Default,
    /// This many tokens.
    Tokens(usize),
    /// As many as fit, up to the model's own context.
    Max,
}

impl From<usize> for Context {
    fn from(tokens: usize) -> Context {
        Context::Tokens(tokens)
    }
}

/// Which devices a model may use.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Devices {
    /// The fewest GPUs that hold the model, and of these the fastest; where there is no GPU, the host.
    #[default]
    Best,
    /// All of these adapters: each a number, a name, `backend:name`, or `host`. One that is named twice is opened twice.
    Adapters(Vec<String>),
    /// Devices that the app opened itself, such as its window's.
    Shared(Vec<SharedDevice>),
}

impl Devices {
    /// Adapters by number, name, `backend:name`, or `host`.
    pub fn adapters<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Devices {
        Devices::Adapters(names.into_iter().map(Into::into).collect())
    }
}

impl From<SharedDevice> for Devices {
    fn from(device: SharedDevice) -> Devices {
        Devices::Shared(vec![device])
    }
}

/// How layers are spread over the devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Layers {
    /// So that a token is finished soonest.
    #[default]
    Fastest,
    /// In proportion to these shares, one for each device in order; a share of 0 gives a device none.
    Split(Vec<u32>),
    /// These ranges, which name every layer once and in order. Each has the place of its device in [`Options::devices`], counted from 0,
    /// or the adapter's number where these are [`Devices::Best`].
    Ranges(Vec<(usize, Range<usize>)>),
}

/// How a model is opened. Each option has a method of its name that sets it.
///
/// ```
/// use plywood::{Context, Devices, Options};
///
/// let options = Options::default().context(4096).devices(Devices::adapters(["0", "host"])).sessions(2);
/// assert_eq!(options.context, Context::Tokens(4096));
/// ```
#[non_exhaustive]
pub struct Options {
    /// Tokens of a sequence.
    pub context: Context,
    /// Whether options are changed where the model does not fit: as the first advice of [`Error::DoesNotFit`](crate::Error::DoesNotFit)
    /// says. [`Model::notes`](crate::Model::notes) tells what was changed.
    pub fit: bool,
    /// Which devices are used.
    pub devices: Devices,
    /// Adapters that were found before; they are looked for anew where `None`.
    pub found: Option<Arc<Adapters>>,
    /// How layers are spread over the devices.
    pub layers: Layers,
    /// Bytes that a model may take on adapters, by their numbers; an adapter that is not named gives what the platform says is free.
    pub memory: Vec<(usize, u64)>,
    /// How GPUs store the KV cache.
    pub kv_type: KvType,
    /// The format to which matrices of floats are quantised while they load, where its blocks divide their rows; `None` leaves them as
    /// they are.
    pub quantize: Option<Format>,
    /// Whether only float kernels and an f32 cache are used, for comparing.
    pub exact: bool,
    /// How many sessions may be open at once.
    pub sessions: usize,
    /// Threads that compute on the host; as many as there are cores where `None`. Models with equal numbers share them.
    pub threads: Option<usize>,
    /// The most tokens in a step; chosen by device where `None`.
    pub step_tokens: Option<usize>,
    /// The most tokens of a step whose logits can be asked for; at least [`Options::sessions`].
    pub step_rows: usize,
    /// How long a device may take for one submission before it counts as hanging.
    pub deadline: Duration,
    /// Called while weights load.
    pub progress: Option<Progress>,
    pub(crate) hooks: Hooks,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            context: Context::Default,
            fit: false,
            devices: Devices::Best,
            found: None,
            layers: Layers::Fastest,
            memory: Vec::new(),
            kv_type: KvType::F16,
            quantize: None,
            exact: false,
            sessions: 1,
            threads: None,
            step_tokens: None,
            step_rows: 8,
            deadline: faults::DEADLINE,
            progress: None,
            hooks: Hooks::default(),
        }
    }
}

/// Methods that set the field of their name, from what they take.
macro_rules! setters {
    ($($name:ident: $taken:ty,)*) => {
        impl Options {
            $(
                #[doc = concat!("Sets [`Options::", stringify!($name), "`](Options#structfield.", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: $taken) -> Options {
                    self.$name = $name.into();
                    self
                }
            )*
        }
    };
}

setters! {
    context: impl Into<Context>,
    fit: bool,
    devices: impl Into<Devices>,
    found: impl Into<Option<Arc<Adapters>>>,
    layers: Layers,
    memory: Vec<(usize, u64)>,
    kv_type: KvType,
    quantize: impl Into<Option<Format>>,
    exact: bool,
    sessions: usize,
    threads: impl Into<Option<usize>>,
    step_tokens: impl Into<Option<usize>>,
    step_rows: usize,
    deadline: Duration,
}

impl Options {
    /// Has `progress` called while weights load, with the bytes loaded so far and in all; loading ends with
    /// [`Error::Cancelled`](crate::Error::Cancelled) where it returns false.
    #[must_use]
    pub fn progress(mut self, progress: impl FnMut(u64, u64) -> bool + Send + 'static) -> Options {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Sets what only tests and benches set.
    #[doc(hidden)]
    #[must_use]
    pub fn hooks(mut self, hooks: impl Into<Hooks>) -> Options {
        self.hooks = hooks.into();
        self
    }

    /// How devices are watched.
    pub(crate) fn watch(&self) -> Watch {
        Watch { deadline: self.deadline, faults: self.hooks.faults.clone() }
    }

    /// Options of their own for other devices, watched in the same way.
    pub(crate) fn for_devices(&self, devices: Devices) -> Options {
        Options { devices, deadline: self.deadline, hooks: self.hooks.clone(), ..Options::default() }
    }

    /// Names the devices that others name.
    pub(crate) fn name_devices_of(&mut self, others: Options) {
        let Options { devices, layers, memory, .. } = others;
        (self.devices, self.layers, self.memory) = (devices, layers, memory);
    }
}
