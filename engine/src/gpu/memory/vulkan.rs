//! Vulkan's heaps, with `VK_EXT_memory_budget` where the driver has it.

use ash::vk;

use super::report::{Budget, Heap, Report};

/// The heaps as the driver reports them.
pub(super) fn report(adapter: &wgpu::Adapter) -> Option<Report> {
    // SAFETY: the adapter outlives the guard, and what the guard gives is only read.
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
    let budgets = budget.heap_budget.into_iter().zip(budget.heap_usage);
    let heap = |(heap, (bytes, used)): (&vk::MemoryHeap, (u64, u64))| Heap {
        bytes: heap.size,
        budget: has_budget.then_some(Budget { bytes, used }),
    };
    let heaps = memory.memory_heaps.iter().take(memory.memory_heap_count as usize).zip(budgets).map(heap).collect();
    let types = memory.memory_types.iter().take(memory.memory_type_count as usize);
    let local = types.filter(|kind| kind.property_flags.contains(vk::MemoryPropertyFlags::DEVICE_LOCAL));
    Some(Report::Vulkan { heaps, local: local.map(|kind| kind.heap_index as usize).collect() })
}
