//! How long a token takes: a prediction from bytes and speeds, written down here and nowhere else.
//!
//! Decoding reads every weight of a stage and the cache of what was said before; it is bound by memory, where it is not bound by
//! arithmetic. So a stage takes `max(bytes / reads, multiply-adds / rate) + dispatches × DISPATCH`, and a cut `CUT + bytes / link`
//! on either side. What products read per second is measured where several devices are needed (`probe`), and `bandwidth × SHARE` where it
//! was not. The cache counts as half full.

use std::ops::Range;

use super::demand::Demand;
use super::device::{Device, Speed};

/// Seconds that a dispatch takes besides its work: the barrier, and threads that start and end.
pub const DISPATCH: f64 = 4e-6;

/// Seconds that a cut takes besides its bytes: a wait, a read-back and a submission.
pub const CUT: f64 = 200e-6;

/// Bytes per second at which weights come from a file: a solid-state drive.
pub const FILE: f64 = 2e9;

/// Picoseconds, so that sums are exact and equal devices take equal times; saturating.
pub type Picoseconds = u64;

fn picoseconds(seconds: f64) -> Picoseconds {
    // A conversion of floats saturates, and what is no number becomes 0.
    (seconds * 1e12) as Picoseconds
}

impl Demand {
    /// How long a layer, counted from 0, takes for a token on a device; the ends of the model go with its first and its last.
    pub(super) fn layer_time(&self, device: &Device, layer: usize) -> Picoseconds {
        let cost = self.cost(layer..layer + 1);
        let speed = &device.speed;
        let bytes = cost.read.saturating_add(cost.cache_bytes(device) / 2) as f64;
        let work = (bytes / speed.reads()).max(cost.multiply_adds as f64 / speed.multiply_adds);
        picoseconds(work + cost.dispatches as f64 * DISPATCH)
    }

    /// How long a cut takes on one of its sides.
    pub(super) fn cut_time(&self, device: &Device) -> Picoseconds {
        picoseconds(CUT / 2.0 + self.crossing as f64 / device.speed.link)
    }

    /// How long a stage takes for a token, with its sides of the cuts.
    pub fn time(&self, device: &Device, range: Range<usize>) -> Picoseconds {
        let sides = u64::from(range.start > 0) + u64::from(range.end < self.layers.len());
        let layers = range.map(|layer| self.layer_time(device, layer)).fold(0, Picoseconds::saturating_add);
        layers.saturating_add(self.cut_time(device).saturating_mul(sides))
    }
}

/// Seconds in which the weights of stages arrive: all from one file, and each over its device's link, whichever is slower.
pub fn load_seconds<'a>(stages: impl Iterator<Item = (&'a Speed, u64)>) -> f64 {
    let (mut file, mut slowest) = (0.0, 0f64);
    for (speed, weights) in stages {
        file += weights as f64 / FILE;
        slowest = slowest.max(weights as f64 / speed.link);
    }
    slowest.max(file)
}
