//! Pipelines from shaders: in release builds, of kernels without runtime checks.

#![allow(unsafe_code, reason = "release builds trust kernels that the tests have run with checks on")]

use plywood_kernels::compose::compose;
use plywood_kernels::dispatch::Shader;

/// A pipeline of a shader. Errors go to the error scope that is open.
pub(super) fn pipeline(device: &wgpu::Device, shader: &Shader) -> wgpu::ComputePipeline {
    let description = wgpu::ShaderModuleDescriptor {
        label: Some(shader.name),
        source: wgpu::ShaderSource::Wgsl(compose(shader).into()),
    };
    let module = if cfg!(debug_assertions) {
        device.create_shader_module(description)
    } else {
        // SAFETY: every kernel keeps its indices within its bindings for the sizes that plans give it, which
        // the case tables show with checks on, and every loop ends.
        unsafe { device.create_shader_module_trusted(description, wgpu::ShaderRuntimeChecks::unchecked()) }
    };
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(shader.name),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        // Kernels write workgroup memory before they read it.
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    })
}
