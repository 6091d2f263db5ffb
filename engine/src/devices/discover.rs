//! The adapters that there are, and those that a person names.

use std::cmp::Reverse;

use crate::devices::adapter::{Adapter, Kind};
use crate::error::{Error, Result};
use crate::gpu;
use crate::host;

/// The instance that adapters come from, and what it found. The host is the last of the list.
pub struct Adapters {
    pub(crate) gpus: Vec<gpu::FoundAdapter>,
    /// For each of them; none where devices are closed.
    pub(crate) kept: Vec<gpu::KeptDevices>,
    list: Vec<Adapter>,
}

impl Adapters {
    /// Asks every backend for its adapters.
    pub fn find() -> Adapters {
        let gpus = gpu::find();
        let mut list: Vec<Adapter> = gpus.iter().map(|found| found.facts.clone()).collect();
        list.push(host::adapter());
        list.iter_mut().enumerate().for_each(|(index, adapter)| adapter.index = index);
        Adapters { gpus, kept: Vec::new(), list }
    }

    /// These adapters, whose devices stay open when a model is dropped, with the kernels that were compiled for them: models that
    /// are opened one after another through [`crate::Options::found`] take them over.
    pub fn keeping_devices(mut self) -> Adapters {
        self.kept = self.gpus.iter().map(|_| gpu::KeptDevices::default()).collect();
        self
    }

    /// The same adapters, with the memory that is free now.
    pub fn asked_again(&self) -> Adapters {
        let gpus: Vec<gpu::FoundAdapter> = self.gpus.iter().map(gpu::FoundAdapter::asked_again).collect();
        let mut list = self.list.clone();
        let memory = gpus.iter().map(|found| found.facts.memory).chain([host::adapter::system_memory()]);
        list.iter_mut().zip(memory).for_each(|(adapter, memory)| adapter.memory = memory);
        Adapters { gpus, kept: self.kept.clone(), list }
    }

    /// Leaves some out, by their numbers; those after them move up. The host stays.
    pub(crate) fn remove(&mut self, left_out: &[usize]) {
        let mut index = 0..self.gpus.len();
        self.gpus.retain(|_| index.next().is_none_or(|index| !left_out.contains(&index)));
        let mut index = 0..self.kept.len();
        self.kept.retain(|_| index.next().is_none_or(|index| !left_out.contains(&index)));
        self.list.retain(|adapter| adapter.kind == Kind::Host || !left_out.contains(&adapter.index));
        self.list.iter_mut().enumerate().for_each(|(index, adapter)| adapter.index = index);
    }

    /// What tests have a platform report.
    #[cfg(test)]
    pub(crate) fn listed(list: Vec<Adapter>) -> Adapters {
        Adapters { gpus: Vec::new(), kept: Vec::new(), list }
    }

    /// All of them, by their numbers.
    pub fn list(&self) -> &[Adapter] {
        &self.list
    }

    /// The adapters that entries of [`Devices::Adapters`](crate::Devices::Adapters) name, in their order; an adapter may be named twice.
    pub fn choose(&self, entries: &[String]) -> Result<Vec<&Adapter>> {
        let find = |entry: &String| {
            let named = entry.trim();
            let found = self.list.iter().find(|adapter| !named.is_empty() && adapter.answers_to(named));
            found.ok_or_else(|| Error::NoAdapter { wanted: entry.clone(), available: self.names() })
        };
        entries.iter().map(find).collect()
    }

    /// The adapter to use where none is named.
    pub fn best(&self) -> &Adapter {
        best(&self.list).expect("the host is always listed")
    }

    fn names(&self) -> String {
        let name = |adapter: &Adapter| format!("{} {}", adapter.index, adapter.label());
        format!("there are {}", self.list.iter().map(name).collect::<Vec<_>>().join(", "))
    }
}

/// The best of a list: of the best kind, and of these the one of the widest subgroups.
pub(crate) fn best(list: &[Adapter]) -> Option<&Adapter> {
    let rank = |adapter: &&Adapter| {
        let kind = match adapter.kind {
            Kind::Discrete => 0,
            Kind::Integrated => 1,
            Kind::Virtual => 2,
            // Kernels for the CPU are faster there than shaders are through a software driver.
            Kind::Host => 3,
            Kind::Software => 4,
        };
        (kind, Reverse(adapter.features.subgroup.map_or(0, |(_, largest)| largest)))
    };
    list.iter().min_by_key(rank)
}
