//! Whether an adapter multiplies four bytes with four bytes and adds them up in one instruction, which wgpu does not tell.
#![allow(unsafe_code, reason = "the question is Vulkan's own")]

use plywood_kernels::device::IntegerDots;

/// As far as it is known: Vulkan tells. Under DX12 naga 30 writes the sum that products are added to as a bare `0`, which DXC takes for 64 bits and then refuses.
/// Metal has no such instruction.
pub(super) fn of(adapter: &wgpu::Adapter, backend: wgpu::Backend) -> IntegerDots {
    match backend {
        #[cfg(not(target_vendor = "apple"))]
        wgpu::Backend::Vulkan if of_vulkan(adapter).unwrap_or(false) => IntegerDots::Native,
        wgpu::Backend::Dx12 => IntegerDots::Refused,
        _ => IntegerDots::Emulated,
    }
}

#[cfg(not(target_vendor = "apple"))]
fn of_vulkan(adapter: &wgpu::Adapter) -> Option<bool> {
    use ash::vk;

    // SAFETY: the adapter outlives the guard, and what the guard gives is only read.
    let guard = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    if !guard.physical_device_capabilities().supports_extension(ash::khr::shader_integer_dot_product::NAME) {
        return Some(false);
    }
    let mut dots = vk::PhysicalDeviceShaderIntegerDotProductProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut dots);
    let instance = guard.shared_instance().raw_instance();
    // SAFETY: the physical device is of this instance, and the chain holds only what the driver has.
    unsafe { instance.get_physical_device_properties2(guard.raw_physical_device(), &mut properties) };
    Some(dots.integer_dot_product4x8_bit_packed_signed_accelerated == vk::TRUE)
}
