//! Devices that an app opened and shares with the engine.

use super::{GpuDevice, adapters};
use crate::adapters::Adapter;
use crate::error::{Error, Result};
use crate::faults::Watch;

/// A device of the app's own. The engine works with the features and limits that it was opened with, leaves its
/// error handlers alone, and submits to its queue.
#[derive(Debug, Clone)]
pub struct SharedDevice {
    /// The adapter that the device is of.
    pub adapter: wgpu::Adapter,
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
}

/// The features that make the engine fast on an adapter; an app adds them to its own when it opens a device.
pub fn required_features(adapter: &wgpu::Adapter) -> wgpu::Features {
    adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16)
}

/// The limits that let the engine use all of an adapter.
pub fn required_limits(adapter: &wgpu::Adapter) -> wgpu::Limits {
    adapter.limits()
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

    pub(crate) fn open(&self, watch: &Watch) -> Result<GpuDevice> {
        GpuDevice::new(self.facts()?, self.device.clone(), self.queue.clone(), watch)
    }
}
