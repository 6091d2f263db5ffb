//! Devices as placement sees them.

use plywood_kernels::kv_cache::KvType;

/// The share of a device's memory bandwidth that matrix-vector products reach, where they were not measured.
pub const SHARE: f64 = 0.6;

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

/// How fast a device is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Bytes that its memory moves per second.
    pub bandwidth: f64,
    /// Bytes of weights that matrix-vector products read per second, where that was measured.
    pub products: Option<f64>,
    /// Bytes per second between it and the host.
    pub link: f64,
    /// Multiply-adds per second, where these and not memory may bound it; infinite where they never do.
    pub multiply_adds: f64,
}

impl Speed {
    /// Bytes of weights and cache that products read per second.
    pub fn reads(&self) -> f64 {
        self.products.unwrap_or(self.bandwidth * SHARE)
    }
}
