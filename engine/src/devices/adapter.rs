//! An adapter: what is known of a device before it is opened.

use plywood_kernels::device::Features;
use plywood_kernels::lowering::Precision;
use serde::{Deserialize, Serialize};

use crate::devices::tuning::Choices;
use crate::stage::plan::Limits;

/// What kind of device an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the system's memory.
    Integrated,
    /// A GPU lent by a hypervisor, or of a kind that the driver does not tell.
    Virtual,
    /// A driver that computes on the CPU.
    Software,
    /// No driver: Plywood's own CPU code.
    Host,
}

impl Kind {
    /// Whether it computes on the CPU.
    pub(crate) fn computes_on_cpu(self) -> bool {
        matches!(self, Kind::Software | Kind::Host)
    }
}

/// Bytes of a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All.
    pub total: u64,
    /// Those that are free, where the platform tells.
    pub free: Option<u64>,
}

/// A device as `ply adapters` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Its number in the list.
    pub index: usize,
    /// The name that the driver gives.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `gl` or `host`.
    pub backend: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// The driver and its version.
    pub driver: String,
    /// Its memory, where the platform tells.
    pub memory: Option<Memory>,
    /// What its shaders can do.
    pub features: Features,
    /// Whether it has matrix units that shaders reach.
    pub matrix: bool,
    /// The largest storage binding, in bytes.
    pub max_binding: u64,
    /// The largest buffer, in bytes.
    pub max_buffer: u64,
    /// Workgroups along one dimension of a dispatch.
    pub max_workgroups: u32,
    /// Bytes at a multiple of which a uniform binding may begin.
    pub uniform_alignment: u32,
}

impl Adapter {
    /// What a plan must know.
    pub fn limits(&self) -> Limits {
        Limits {
            device: self.label(),
            features: self.features,
            precision: Precision::Fast,
            choices: Choices::default(),
            threads: None,
            max_binding: self.max_binding.min(self.max_buffer),
            max_shard: self.max_binding.min(self.max_buffer),
            uniform_alignment: self.uniform_alignment,
        }
    }

    /// Its name with the backend: `llvmpipe (vulkan)`; the host and what is only planned for have none.
    pub fn label(&self) -> String {
        if self.kind == Kind::Host || self.backend.is_empty() {
            self.name.clone()
        } else {
            format!("{} ({})", self.name, self.backend)
        }
    }

    /// What `--adapters` calls it: its number, or `host`.
    pub fn entry(&self) -> String {
        if self.kind == Kind::Host { self.name.clone() } else { self.index.to_string() }
    }

    /// Whether all that is done with it is best done by one thread: a GL context belongs to one at a time.
    pub(crate) fn keeps_to_a_thread(&self) -> bool {
        self.backend == "gl"
    }

    /// Whether another listing's adapter is this one, or another of its kind.
    pub(crate) fn is_like(&self, other: &Adapter) -> bool {
        let facts = |adapter: &Adapter| (adapter.name.clone(), adapter.backend, adapter.kind, adapter.driver.clone());
        facts(self) == facts(other)
    }

    /// Whether an entry of `--adapters` means it: its number, `backend:name`, or a part of its name.
    pub(crate) fn answers_to(&self, entry: &str) -> bool {
        if let Ok(index) = entry.parse::<usize>() {
            return index == self.index;
        }
        let entry = entry.to_lowercase();
        let name = self.name.to_lowercase();
        match entry.split_once(':') {
            Some((backend, rest)) => backend == self.backend && name.contains(rest),
            None => entry == self.backend || name.contains(&entry),
        }
    }
}
