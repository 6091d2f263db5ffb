//! DXGI's word on the memory of a DX12 adapter.

use windows::Win32::Graphics::Dxgi;

use super::report::{Budget, Report};

/// The adapter's description, with the budgets of its two segments.
pub(super) fn report(adapter: &wgpu::Adapter) -> Option<Report> {
    // SAFETY: the adapter outlives the guard, and what the guard gives is only read.
    let guard = unsafe { adapter.as_hal::<wgpu::hal::api::Dx12>() }?;
    let raw = guard.as_raw();
    // SAFETY: the guard keeps the interface alive; the call fills a struct of its own.
    let description = unsafe { raw.GetDesc2() }.ok()?;
    let budget = |segment| {
        let mut told = Dxgi::DXGI_QUERY_VIDEO_MEMORY_INFO::default();
        // SAFETY: the guard keeps the interface alive, and the struct outlives the call. Node 0 is the only one that wgpu uses.
        unsafe { raw.QueryVideoMemoryInfo(0, segment, &mut told) }.ok()?;
        Some(Budget { bytes: told.Budget, used: told.CurrentUsage })
    };
    Some(Report::Dxgi {
        dedicated: description.DedicatedVideoMemory as u64,
        shared: (description.SharedSystemMemory as u64).saturating_add(description.DedicatedSystemMemory as u64),
        local: budget(Dxgi::DXGI_MEMORY_SEGMENT_GROUP_LOCAL),
        remote: budget(Dxgi::DXGI_MEMORY_SEGMENT_GROUP_NON_LOCAL),
    })
}
