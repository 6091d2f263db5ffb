//! The host as a device: the reference ops on threads, where there is no GPU at all.

pub(crate) mod adapter;
mod stage;

pub(crate) use adapter::adapter;
pub(crate) use stage::HostStage;
