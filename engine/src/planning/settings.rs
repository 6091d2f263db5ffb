//! What is laid out, and what decides how many bytes it takes.

use plywood_kernels::Format;
use plywood_kernels::kv_cache::KvType;
use plywood_models::Weights;
use plywood_models::config::Config;

use crate::devices::tuning::Choices;

/// What is laid out: where the weights are, and the model's numbers.
#[derive(Clone, Copy)]
pub(crate) struct ModelRef<'a> {
    pub weights: &'a dyn Weights,
    pub config: &'a Config,
}

/// What decides how many bytes a model takes.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Tokens of a sequence.
    pub context: usize,
    /// How the KV cache is stored.
    pub kv_type: KvType,
    /// What matrices of floats are quantised to.
    pub quantize: Option<Format>,
    /// What all matrices are thought to be stored in, for advice.
    pub stored: Option<Format>,
    /// Only float kernels and an f32 cache.
    pub exact: bool,
    /// How kernels are chosen.
    pub choices: Choices,
    /// Sessions that may be open at once.
    pub sessions: usize,
    /// Threads that compute on the host; as many as there are cores where `None`.
    pub threads: Option<usize>,
    /// Tokens in a step; chosen by device where `None`.
    pub step_tokens: Option<usize>,
    /// Tokens of a step whose logits can be asked for.
    pub step_rows: usize,
    /// The largest shard of a weight or a cache.
    pub max_shard: Option<u64>,
}

impl Settings {
    /// How GPUs store the KV cache.
    pub fn kv_type(&self) -> KvType {
        if self.exact { KvType::F32 } else { self.kv_type }
    }
}
