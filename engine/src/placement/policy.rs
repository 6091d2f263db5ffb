//! How layers find their devices.

use std::ops::Range;

/// How layers find their devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlacementPolicy {
    /// The fewest devices that hold them, and of these the fastest.
    Best,
    /// All devices in their order.
    InOrder,
    /// Shares for each device.
    Split(Vec<u32>),
    /// Ranges, each with the device's place in the list.
    Layers(Vec<(usize, Range<usize>)>),
}
