//! Which layers run on which device: pure arithmetic over bytes and speeds, without devices and without a clock.
//!
//! [`place`] finds the devices and the cuts, [`in_order`] only the cuts between devices that a person named; [`by_hand`] follows a
//! person's shares or ranges. [`demand`] says what a model costs, [`speed`] how long devices take for it.

pub mod by_hand;
pub mod demand;
mod search;
pub mod speed;
#[cfg(test)]
mod tests;

use std::ops::Range;

use plywood_kernels::Graph;
use plywood_kernels::kv_cache::KvType;

pub use by_hand::{ranges, split};
pub use demand::{Cost, Demand};
pub(crate) use search::no_place;
pub use search::{in_order, place};
pub use speed::Speed;

/// The most devices among which [`place`] chooses: it looks at every set of them.
pub const MAX_DEVICES: usize = 10;

/// A device as placement sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its name, which decides where nothing else does.
    pub name: String,
    /// Bytes that a model may take on it.
    pub memory: u64,
    /// Whose memory that is: of devices with the same number at most one is chosen, since a second one holds nothing more.
    pub pool: usize,
    /// How fast it is.
    pub speed: Speed,
    /// How it stores the KV cache.
    pub kv_type: KvType,
    /// Whether it takes only what no other device has room for, as the host does beside GPUs.
    pub last_resort: bool,
}

/// Some layers on a device: the first stage has the embedding too, the last the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The device, by its place in the list.
    pub device: usize,
    /// Its layers; never none.
    pub layers: Range<usize>,
}

/// Why there is no placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPlace {
    /// Bytes that the model takes on one device.
    pub needed: u64,
    /// Bytes that the devices have together; those of a pool count once.
    pub available: u64,
}

/// The nodes of a graph that one stage runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageNodes {
    /// Nodes.
    pub nodes: Range<usize>,
    /// Whole layers among them.
    pub layers: Range<usize>,
}

/// The nodes of stages that hold these layers. What comes before the first layer goes with the first stage, what comes behind the
/// last with the last.
pub fn nodes(graph: &Graph, layers: &[Range<usize>]) -> Vec<StageNodes> {
    let stage = |(index, range): (usize, &Range<usize>)| {
        let begin = if index == 0 { 0 } else { graph.marks[range.start] };
        let end = if index + 1 == layers.len() { graph.nodes.len() } else { graph.marks[range.end] };
        StageNodes { nodes: begin..end, layers: range.clone() }
    };
    layers.iter().enumerate().map(stage).collect()
}
