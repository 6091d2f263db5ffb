//! The adapters of every backend that wgpu has.

use plywood_kernels::device::{Features, Processor};

use super::{integer_dots, memory};

use crate::devices::adapter::{Adapter, Kind};

/// An adapter with what it can do.
#[derive(Clone)]
pub(crate) struct FoundAdapter {
    pub adapter: wgpu::Adapter,
    pub facts: Adapter,
}

impl FoundAdapter {
    /// The same, with the memory that it has now.
    pub fn asked_again(&self) -> FoundAdapter {
        let mut found = self.clone();
        found.facts.memory = memory::of(&self.adapter, self.facts.kind);
        found
    }
}

/// The adapters of every backend; of one GPU under several backends, only the best.
pub(crate) fn find() -> Vec<FoundAdapter> {
    let mut description = wgpu::InstanceDescriptor::new_without_display_handle();
    // Validation belongs to the tests of wgpu; indirect calls are not used. WGPU_BACKEND still limits the search.
    description.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(description.with_env());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut found: Vec<FoundAdapter> = adapters.into_iter().filter_map(facts).collect();
    found.sort_by_key(|found| backend_rank(found.facts.backend));
    let mut kept: Vec<FoundAdapter> = Vec::new();
    for candidate in found {
        if !kept.iter().any(|better| same_gpu(&better.adapter.get_info(), &candidate.adapter.get_info())) {
            kept.push(candidate);
        }
    }
    kept
}

fn backend_rank(backend: &str) -> usize {
    ["vulkan", "metal", "dx12", "gl"].iter().position(|name| *name == backend).unwrap_or(usize::MAX)
}

/// Whether two adapters of different backends are one GPU. Software adapters are told apart: they are not hardware.
fn same_gpu(a: &wgpu::AdapterInfo, b: &wgpu::AdapterInfo) -> bool {
    if a.backend == b.backend || a.device_type == wgpu::DeviceType::Cpu || b.device_type == wgpu::DeviceType::Cpu {
        return false;
    }
    if !a.device_pci_bus_id.is_empty() && !b.device_pci_bus_id.is_empty() {
        return a.device_pci_bus_id == b.device_pci_bus_id;
    }
    // GL tells neither a bus nor, often, a device number; where another backend has hardware, it is that.
    a.backend == wgpu::Backend::Gl || b.backend == wgpu::Backend::Gl
}

/// An adapter with what it can do; `None` if it can't run the kernels.
fn facts(adapter: wgpu::Adapter) -> Option<FoundAdapter> {
    let facts = describe(&adapter, adapter.features(), &adapter.limits())?;
    Some(FoundAdapter { adapter, facts })
}

/// What a device of an adapter can do, with the features and limits that it was opened with.
pub(super) fn describe(adapter: &wgpu::Adapter, features: wgpu::Features, limits: &wgpu::Limits) -> Option<Adapter> {
    let info = adapter.get_info();
    let backend = match info.backend {
        wgpu::Backend::Vulkan => "vulkan",
        wgpu::Backend::Metal => "metal",
        wgpu::Backend::Dx12 => "dx12",
        wgpu::Backend::Gl => "gl",
        _ => return None,
    };
    // Heads that are normalised bind 8 storage buffers, as many as WebGPU promises.
    if limits.max_storage_buffers_per_shader_stage < 8 || limits.max_compute_invocations_per_workgroup < 256 {
        return None;
    }
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
        wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
        wgpu::DeviceType::Cpu => Kind::Software,
        // GL on Mesa does not say that it computes on the CPU.
        _ if info.name.to_lowercase().contains("llvmpipe") => Kind::Software,
        _ => Kind::Virtual,
    };
    let has = |feature| features.contains(feature);
    // Below 4 lanes the scratch memory of reductions would not do; no driver has them.
    let subgroup = (has(wgpu::Features::SUBGROUP) && info.subgroup_min_size >= 4)
        .then_some((info.subgroup_min_size, info.subgroup_max_size));
    Some(Adapter {
        index: 0,
        name: info.name.clone(),
        backend,
        kind,
        driver: [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_string(),
        memory: memory::of(adapter, kind),
        features: Features {
            subgroup,
            f16: has(wgpu::Features::SHADER_F16),
            integer_dots: integer_dots::of(adapter, info.backend),
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            processor: if kind == Kind::Software { Processor::Cpu } else { Processor::Gpu },
        },
        matrix: has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        uniform_alignment: limits.min_uniform_buffer_offset_alignment,
    })
}
