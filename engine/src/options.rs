//! How a model is opened.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use plywood_kernels::Format;
use plywood_kernels::kv_cache::KvType;

use crate::devices::discover::Adapters;
use crate::devices::tuning::Choices;
use crate::faults::{self, Faults, Watch};
use crate::gpu::SharedDevice;

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
    /// Adapters that were found before; they are looked for anew where `None`.
    pub found: Option<Arc<Adapters>>,
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
            found: None,
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
    /// How devices are watched.
    pub(crate) fn watch(&self) -> Watch {
        Watch { deadline: self.deadline, faults: self.faults.clone() }
    }

    /// Names the devices that others name.
    pub(crate) fn name_devices_of(&mut self, others: Options) {
        let Options { adapters, shared, split, layers, memory, .. } = others;
        (self.adapters, self.shared, self.split, self.layers, self.memory) = (adapters, shared, split, layers, memory);
    }
}
