//! An adapter's memory, as its platform tells it: Vulkan's budgets, DXGI's, Metal's. Only the asking is here; what the answers
//! mean is arithmetic, in `report.rs`.

#![allow(unsafe_code, reason = "wgpu does not tell memory, so that the platforms below it are asked directly")]

#[cfg(windows)]
mod dxgi;
#[cfg(target_os = "macos")]
mod metal;
mod report;
#[cfg(test)]
mod tests;
#[cfg(not(target_vendor = "apple"))]
mod vulkan;

use report::Report;

use crate::devices::adapter::{Kind, Memory};

/// A device's memory, whatever kind it is of; `None` where nobody tells.
pub(super) fn of(adapter: &wgpu::Adapter, kind: Kind) -> Option<Memory> {
    let told = || ask(adapter).and_then(|report| report.memory(kind));
    match kind {
        // A software adapter's memory is the system's, whatever heap its driver makes up.
        Kind::Software | Kind::Host => crate::host::adapter::system_memory(),
        Kind::Integrated => told().map(|told| report::beside_system(told, crate::host::adapter::system_memory())),
        Kind::Discrete | Kind::Virtual => told(),
    }
}

/// Bytes that the driver says are allocated, in all of the adapter's heaps; `None` where it does not tell. They should be this
/// process's. Mesa's llvmpipe tells those of the whole system: there, only differences mean something.
#[cfg(test)]
fn used(adapter: &wgpu::Adapter) -> Option<u64> {
    ask(adapter)?.used()
}

/// What the adapter's platform reports. GL has nothing to be asked.
fn ask(adapter: &wgpu::Adapter) -> Option<Report> {
    match adapter.get_info().backend {
        #[cfg(not(target_vendor = "apple"))]
        wgpu::Backend::Vulkan => vulkan::report(adapter),
        #[cfg(windows)]
        wgpu::Backend::Dx12 => dxgi::report(adapter),
        #[cfg(target_os = "macos")]
        wgpu::Backend::Metal => metal::report(adapter),
        _ => None,
    }
}
