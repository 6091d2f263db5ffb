//! Everything that names wgpu: adapters, devices, uploads, and stages that run on them.

mod adapters;
mod device;
mod shader;
mod stage;
mod upload;

pub(crate) use adapters::{FoundAdapter, find};
pub(crate) use device::GpuDevice;
pub(crate) use stage::GpuStage;
pub(crate) use upload::STAGING_BYTES;
