//! What can be computed: ops with their WGSL kernels and CPU references, weight formats, the graph of ops.
//!
//! Nothing here touches a device or a file. Read in the order in which data flows:
//! [`formats`] (how numbers are stored) → [`graph`] (what a model computes) → [`fuse`] (which nodes become one) → [`op`] (what a node
//! computes) → [`lowering`] and [`candidate`] (where, and in which way) → [`dispatch`] (what a node becomes) → [`compose`] (how its
//! WGSL is put together) → [`reference`] (what is right).

pub mod candidate;
pub mod cases;
pub mod compose;
pub mod device;
pub mod dispatch;
pub mod formats;
pub mod fuse;
pub mod graph;
pub mod heads;
pub mod host;
pub mod lowering;
pub mod named;
pub mod op;
pub mod random;
pub mod reference;
pub mod shared;
pub mod simd;
pub mod step;

pub mod add;
pub mod attention;
pub mod embedding;
pub mod gated;
pub mod grouped_matmul;
pub mod kv_cache;
pub mod latent_heads;
pub mod matmul;
pub mod moe_combine;
pub mod reorder;
pub mod rms_norm;
pub mod rope;
pub mod route;
pub mod sample;
pub mod select_rows;
pub mod soft_cap;
pub mod temperature;

pub use formats::Format;
pub use graph::Graph;
pub use step::Step;
