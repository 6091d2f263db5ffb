//! Devices: what there is to run on, what of it a model may take, how fast it is, and what is chosen on it.

pub mod adapter;
pub mod candidate;
pub mod cards;
pub mod discover;
pub mod hypothetical;
pub(crate) mod open;
pub(crate) mod probe;
pub(crate) mod select;
pub(crate) mod speeds;
pub mod tuning;

pub use adapter::{Adapter, Kind, Memory};
pub use candidate::{DeviceCandidate, SpeedFrom};
pub use discover::Adapters;
