//! The host as the list of adapters has it.

use plywood_kernels::device::{Features, Processor};
use plywood_kernels::simd::Isa;

use crate::devices::adapter::{Adapter, Kind, Memory};
use crate::threads::threads;

/// The system's memory; `None` where the system does not tell.
pub(crate) fn system_memory() -> Option<Memory> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let total = system.total_memory();
    (total > 0).then(|| Memory { total, free: Some(system.available_memory().min(total)) })
}

/// Its name.
pub(super) fn label() -> String {
    "host".into()
}

/// The host as the list of adapters has it.
pub(crate) fn adapter() -> Adapter {
    let threads = threads();
    Adapter {
        index: 0,
        name: label(),
        backend: "host",
        kind: Kind::Host,
        driver: format!("{threads} threads, {}", Isa::best().name()),
        memory: system_memory(),
        features: Features { processor: Processor::Host(Isa::best()), ..Features::LEAST },
        matrix: false,
        max_binding: 1 << 40,
        max_buffer: 1 << 40,
        max_workgroups: 65535,
        uniform_alignment: 16,
    }
}
