//! Metal's word on a device's memory. On macOS only: other systems of Apple cannot be asked before their version 16.

use objc2_metal::MTLDevice;

use super::report::Report;

/// What a process may well allocate, and what this one has.
pub(super) fn report(adapter: &wgpu::Adapter) -> Option<Report> {
    // SAFETY: the adapter outlives the guard, and the device is only read.
    let guard = unsafe { adapter.as_hal::<wgpu::hal::api::Metal>() }?;
    let device = guard.raw_device();
    let (working_set, allocated) = (device.recommendedMaxWorkingSetSize(), device.currentAllocatedSize() as u64);
    Some(Report::Metal { working_set, allocated })
}
