//! The devices that a model is opened on, and the opening of a stage on one.

use std::sync::Arc;

use plywood_kernels::Graph;

use crate::adapters::{Adapter, Adapters, Kind};
use crate::error::{Error, Result};
use crate::gpu::{GpuDevice, GpuStage, SharedDevice};
use crate::host::HostStage;
use crate::model::Options;
use crate::plan::StagePlan;
use crate::stage::{Stage, WeightReader};

/// A device that was chosen and is not open yet; one chosen twice is opened twice.
pub(crate) struct Chosen {
    /// What it can do.
    pub facts: Adapter,
    opened: Opened,
}

/// How a stage comes to its device.
enum Opened {
    Host,
    Adapter(crate::gpu::RawAdapter),
    Shared(SharedDevice),
}

impl Chosen {
    /// The devices that the options name: those of the app, adapters by name, or the best adapter.
    pub fn of(options: &Options) -> Result<Vec<Chosen>> {
        let chosen: Vec<Chosen> = if options.shared.is_empty() {
            let adapters = Adapters::find();
            let named = match options.adapters.is_empty() {
                true => vec![adapters.best()],
                false => adapters.choose(&options.adapters)?,
            };
            named.into_iter().map(|adapter| Chosen::adapter(&adapters, adapter)).collect()
        } else {
            options.shared.iter().map(Chosen::shared).collect::<Result<_>>()?
        };
        if !options.split.is_empty() && options.split.len() != chosen.len() {
            let reason = format!("it has {} shares and there are {} --adapters", options.split.len(), chosen.len());
            return Err(Error::Option { option: "--split", reason });
        }
        Ok(chosen)
    }

    /// An adapter of a list.
    pub fn adapter(adapters: &Adapters, adapter: &Adapter) -> Chosen {
        let opened = match adapter.kind {
            Kind::Host => Opened::Host,
            _ => Opened::Adapter(adapters.gpus[adapter.index].adapter.clone()),
        };
        Chosen { facts: adapter.clone(), opened }
    }

    fn shared(shared: &SharedDevice) -> Result<Chosen> {
        Ok(Chosen { facts: shared.facts()?, opened: Opened::Shared(shared.clone()) })
    }

    /// Opens the device; `None` for the host, which is always open.
    pub fn open(&self) -> Result<Option<Arc<GpuDevice>>> {
        match &self.opened {
            Opened::Host => Ok(None),
            Opened::Adapter(adapter) => GpuDevice::open(adapter, &self.facts).map(|device| Some(Arc::new(device))),
            Opened::Shared(shared) => shared.open().map(|device| Some(Arc::new(device))),
        }
    }
}

/// Loads a plan onto a device, or onto the host where there is none.
pub(crate) fn load_stage(
    device: Option<&Arc<GpuDevice>>,
    graph: &Arc<Graph>,
    plan: StagePlan,
    reader: &dyn WeightReader,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Box<dyn Stage>> {
    let graph = Arc::clone(graph);
    Ok(match device {
        Some(device) => Box::new(GpuStage::load(Arc::clone(device), graph, plan, reader, progress)?),
        None => Box::new(HostStage::load(graph, plan, reader, progress)?),
    })
}
