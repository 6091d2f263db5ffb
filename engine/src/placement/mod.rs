//! Which layers run on which device: pure arithmetic over bytes and speeds, without devices and without a clock.
//!
//! [`place`] finds the devices and the cuts, [`in_order`] only the cuts between devices that a person named; [`by_hand`] follows a
//! person's shares or ranges. [`demand`] says what a model costs, [`speed`] how long devices take for it.

pub mod by_hand;
pub mod demand;
pub mod device;
pub(crate) mod policy;
mod search;
pub mod speed;
pub mod stages;
#[cfg(test)]
mod tests;

pub use by_hand::{ranges, split};
pub use demand::Demand;
pub use device::Device;
pub(crate) use search::no_place;
pub use search::{NoPlace, in_order, place};
pub use stages::{StageNodes, nodes};
