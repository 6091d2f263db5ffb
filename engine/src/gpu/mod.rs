//! Everything that names wgpu: adapters, devices, uploads, and stages that run on them.

mod adapters;
mod device;
mod in_flight;
mod integer_dots;
mod memory;
mod profile;
mod queue;
mod shader;
mod shared;
mod stage;
mod staging;
mod upload;

pub use shared::{SharedDevice, memory_hints, required_features, required_limits};
/// The wgpu that the engine uses, so that an app that shares a device has the same.
pub use wgpu;

pub(crate) use adapters::{FoundAdapter, find};
pub(crate) use device::{GpuDevice, KeptDevices};
pub(crate) use stage::GpuStage;
pub(crate) use upload::STAGING_BYTES;

#[cfg(test)]
mod tests;
