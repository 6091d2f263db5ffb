//! An adapter's memory, where the platform tells it: Vulkan, through `VK_EXT_memory_budget`.

#![allow(unsafe_code, reason = "wgpu does not tell memory, so that Vulkan is asked directly")]

use crate::adapters::Memory;

/// Bytes of the adapter's own memory, and those of them that are free where the driver has the extension.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn of(adapter: &wgpu::Adapter) -> Option<Memory> {
    use ash::vk;

    // SAFETY: the guard is dropped at the end, and the physical device is only read.
    let guard = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let has_budget = guard.physical_device_capabilities().supports_extension(ash::ext::memory_budget::NAME);
    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut properties = vk::PhysicalDeviceMemoryProperties2::default();
    if has_budget {
        properties = properties.push_next(&mut budget);
    }
    let instance = guard.shared_instance().raw_instance();
    // SAFETY: the physical device is of this instance, and the chain holds only the extension that the driver has.
    unsafe { instance.get_physical_device_memory_properties2(guard.raw_physical_device(), &mut properties) };
    let memory = properties.memory_properties;
    let heaps = (0..memory.memory_heap_count as usize)
        .filter(|heap| memory.memory_heaps[*heap].flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL));
    let total = heaps.clone().map(|heap| memory.memory_heaps[heap].size).fold(0, u64::saturating_add);
    // Drivers have reported a budget above the heap and a use above the budget.
    let free_of = |heap: usize| {
        let budgeted = budget.heap_budget[heap].min(memory.memory_heaps[heap].size);
        budgeted.saturating_sub(budget.heap_usage[heap])
    };
    let free = has_budget.then(|| heaps.map(free_of).fold(0, u64::saturating_add));
    (total > 0).then_some(Memory { total, free })
}

/// Metal's figures are not read yet.
#[cfg(target_vendor = "apple")]
pub(super) fn of(_: &wgpu::Adapter) -> Option<Memory> {
    None
}

#[cfg(all(test, not(target_vendor = "apple")))]
mod tests {
    #[test]
    fn vulkan_adapters_tell_their_memory() {
        for found in crate::gpu::find() {
            let memory = super::of(&found.adapter);
            if found.facts.backend == "vulkan" {
                let memory = memory.expect("Vulkan has a heap of the device's own");
                assert!(memory.total > 0 && memory.free.is_none_or(|free| free <= memory.total), "{memory:?}");
            } else {
                assert_eq!(memory, None);
            }
        }
    }
}
