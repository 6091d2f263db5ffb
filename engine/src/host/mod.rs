//! The host as a device: kernels of its own on threads.

pub(crate) mod adapter;
mod stage;
mod team;

pub(crate) use adapter::adapter;
pub(crate) use stage::HostStage;
pub(crate) use team::Team;
