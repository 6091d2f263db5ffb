//! Devices that an app opened and shares with the engine.

use super::adapters;
use crate::devices::adapter::Adapter;
use crate::error::{Error, Result};

/// Bytes of a block in which small buffers lie: the least that wgpu's allocator takes.
pub(super) const MEMORY_BLOCK: u64 = 4 << 20;

/// A device of the app's own. The engine works with the features and limits that it was opened with, leaves its
/// error handlers alone, and submits to its queue. How much more than the ledger says is allocated, its [`memory_hints`] decide.
///
/// ```no_run
/// use plywood::gpu::{SharedDevice, memory_hints, required_features, required_limits, wgpu};
/// use plywood::{Model, Options};
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let instance = wgpu::Instance::default();
/// let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
/// let description = wgpu::DeviceDescriptor {
///     required_features: required_features(&adapter),
///     required_limits: required_limits(&adapter),
///     memory_hints: memory_hints(),
///     ..Default::default()
/// };
/// let (device, queue) = adapter.request_device(&description).await?;
/// let shared = SharedDevice { adapter, device: device.clone(), queue: queue.clone() };
/// let model = Model::open("model.gguf", Options::default().devices(shared))?;
/// // `device` and `queue` go on drawing.
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SharedDevice {
    /// The adapter that the device is of.
    pub adapter: wgpu::Adapter,
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
}

/// The features that make the engine fast on an adapter, or tell where its time goes; an app adds them to its own when it opens a device.
pub fn required_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | wgpu::Features::TIMESTAMP_QUERY)
}

/// The limits that let the engine use all of an adapter.
pub fn required_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
    adapter.limits()
}

/// The hints by which wgpu allocates about what a model's ledger says: the smallest blocks that it knows, so that larger buffers
/// have memory of their own. By its defaults buffers of 130 MiB lie each in a block of 256.
pub fn memory_hints() -> wgpu::MemoryHints {
    wgpu::MemoryHints::Manual { suballocated_device_memory_block_size: MEMORY_BLOCK..MEMORY_BLOCK }
}

impl SharedDevice {
    /// What the device can do, with the features and limits that it has.
    pub(crate) fn facts(&self) -> Result<Adapter> {
        let facts = adapters::describe(&self.adapter, self.device.features(), &self.device.limits());
        facts.ok_or_else(|| {
            let reason =
                "it was opened with limits that the kernels do not fit; open it with plywood::gpu::required_limits";
            Error::device(&self.adapter.get_info().name, reason)
        })
    }
}
