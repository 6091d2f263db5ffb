//! Threads to compute on.

use std::sync::OnceLock;

/// How many there are: one for each core, since two that share a core's units of arithmetic are in each other's way, and no more than the
/// process may use.
pub(crate) fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        let usable = std::thread::available_parallelism().map_or(1, usize::from);
        sysinfo::System::physical_core_count().map_or(usable, |cores| cores.clamp(1, usable))
    })
}
