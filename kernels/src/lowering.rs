//! What a kernel knows when a node becomes dispatches on a device: where operands lie, and how many rows there are.

use crate::device::Features;
use crate::formats::Format;
use crate::graph::{CacheSlot, Rows};
use crate::kv_cache::KvType;
use crate::named::Named;
use crate::step::{MAX_FEW, ONE_TILE};

/// For how many rows a recording is made: kernels differ for few and for many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Batch {
    /// Exactly this many rows, at most [`MAX_FEW`].
    Few(u32),
    /// More than these, and at most [`ONE_TILE`].
    OneTile,
    /// Any number of rows.
    Many,
}

impl Batch {
    /// The batch of a step with this many rows.
    pub fn of(rows: usize) -> Batch {
        if rows <= MAX_FEW {
            Batch::Few(rows as u32)
        } else if rows <= ONE_TILE {
            Batch::OneTile
        } else {
            Batch::Many
        }
    }

    /// The batches of steps of up to this many rows, from few to many.
    pub fn up_to(most: usize) -> impl Iterator<Item = Batch> {
        let few = (1..=most.min(MAX_FEW)).map(|rows| Batch::Few(rows as u32));
        let larger = [(MAX_FEW, Batch::OneTile), (ONE_TILE, Batch::Many)];
        few.chain(larger.into_iter().filter(move |(above, _)| most > *above).map(|(_, batch)| batch))
    }
}

/// What numbers may be rounded to on the way, besides what they are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Nothing is rounded below f32.
    Exact,
    /// What is faster, within the limits that the cases set.
    Fast,
}

/// Where a slice lies in a device buffer, in elements of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// First element of the first row.
    pub offset: u32,
    /// Elements from a row to the next, a multiple of [`crate::formats::BLOCK32`].
    pub stride: u32,
    /// Elements of a row.
    pub width: u32,
}

/// Consecutive rows of a weight in one device buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Their format on the device.
    pub format: Format,
    /// The first row's index in the weight.
    pub first_row: u32,
    /// Rows.
    pub rows: u32,
    /// `vec4<u32>` from a row to the next.
    pub row_stride: u32,
}

/// A weight as one device holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceWeight {
    /// Elements in a row.
    pub columns: u32,
    /// Its rows in order.
    pub shards: Vec<Shard>,
}

/// A cache slot as one device holds it: shards of consecutive KV heads; keys have a buffer of their own, and so have values that
/// are not in the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCache {
    /// The slot.
    pub slot: CacheSlot,
    /// How its numbers are stored.
    pub kv_type: KvType,
    /// KV heads of each shard.
    pub shards: Vec<u32>,
    /// Tokens of the longest sequence.
    pub context: u32,
    /// Pages in a row of the page table.
    pub pages_per_sequence: u32,
}

/// Everything known when a node is lowered for a device.
#[derive(Debug, Clone)]
pub struct LoweringContext<'a> {
    /// What the device can do.
    pub features: Features,
    /// What may be rounded.
    pub precision: Precision,
    /// For how many rows of output.
    pub batch: Batch,
    /// What the output's rows are.
    pub rows: Rows,
    /// The largest number of those rows in a step.
    pub max_rows: u32,
    /// Where the inputs lie.
    pub inputs: Named<View>,
    /// Where the output lies.
    pub output: Option<View>,
    /// The weights.
    pub weights: Named<&'a DeviceWeight>,
    /// The cache slot.
    pub cache: Option<&'a DeviceCache>,
}

impl LoweringContext<'_> {
    /// Where the output lies, of an op that has one.
    pub fn output(&self) -> View {
        self.output.expect("the op writes a value")
    }

    /// The cache slot, of an op that uses one.
    pub fn cache(&self) -> &DeviceCache {
        self.cache.expect("the op uses the cache")
    }
}
