//! WGSL that kernels share, by the name under which they import it.

use crate::device::Features;
use crate::dispatch::NamedWgsl;

/// `struct Quarter`.
pub const QUARTER: NamedWgsl = ("quarter", include_str!("quarter.wgsl"));

/// The codes of quarters as numbers.
pub const CODES_FLOAT: NamedWgsl = ("codes", include_str!("codes_float.wgsl"));

/// The codes of quarters as signed bytes.
pub const CODES_INTEGER: NamedWgsl = ("codes", include_str!("codes_integer.wgsl"));

/// `spread_index`.
pub const GRID: NamedWgsl = ("grid", include_str!("grid.wgsl"));

/// `tanh_of`.
pub const TANH: NamedWgsl = ("tanh", include_str!("tanh.wgsl"));

/// Sums and maxima over a subgroup and over a workgroup, with or without subgroup operations.
pub fn reduce(features: Features) -> NamedWgsl {
    let source = match features.subgroup {
        Some(_) => include_str!("reduce_subgroup.wgsl"),
        None => include_str!("reduce_workgroup.wgsl"),
    };
    ("reduce", source)
}
