//! Compiles compute shaders by RADV, Mesa's Vulkan driver for AMD's cards, for a card that is not there, and writes what came out: a line of
//! JSON for each shader, with the compiler's statistics and the instructions.
//!
//! `compile-for-amd DRIVER SPIRV…`, with the card in `RADV_FORCE_FAMILY`: a program of its own, since the driver reads it from the environment.
//! The driver is called without Vulkan's loader. Features are asked for as wgpu does.

#![allow(unsafe_code, reason = "the driver is a library, and Vulkan's calls are unsafe")]

use std::error::Error;
use std::ffi::CStr;
use std::io::Write;

use ash::{Device, Entry, Instance, khr, vk};
use libloading::Library;

/// Bindings of a shader: parameters, then arrays. No shader has more.
const BINDINGS: u32 = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let driver = arguments.next().ok_or("the driver's library is missing")?;
    // SAFETY: it is a Vulkan driver, whose initialisers may run at any time.
    let library = unsafe { Library::new(&driver)? };
    // SAFETY: the function that every driver gives to the loader has this type.
    let get_instance_proc_addr = unsafe { *library.get(b"vk_icdGetInstanceProcAddr\0")? };
    // SAFETY: the library lives as long as the process.
    let entry = unsafe { Entry::from_static_fn(ash::StaticFn { get_instance_proc_addr }) };
    // SAFETY: every structure below lives until its call is over, and every handle comes from the call before.
    unsafe {
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let instance =
            entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&application), None)?;
        let card = *instance.enumerate_physical_devices()?.first().ok_or("the driver knows no such card")?;
        let device = open(&instance, card)?;
        let statistics = khr::pipeline_executable_properties::Device::new(&instance, &device);
        let layout = layout(&device)?;
        for file in arguments {
            let words = ash::util::read_spv(&mut std::fs::File::open(&file)?)?;
            let (numbers, text) = compile(&device, &statistics, layout, &words)?;
            let line = serde_json::json!({ "file": file, "statistics": numbers, "instructions": text });
            writeln!(std::io::stdout(), "{line}")?;
        }
    }
    Ok(())
}

/// Opens a card with what wgpu asks for: robust access to buffers, subgroups of varying size, 16-bit numbers.
unsafe fn open(instance: &Instance, card: vk::PhysicalDevice) -> Result<Device, vk::Result> {
    let extensions = [khr::pipeline_executable_properties::NAME, ash::ext::robustness2::NAME].map(CStr::as_ptr);
    let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
    let mut properties =
        vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
    let mut from_1_1 = vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(true);
    let mut from_1_2 = vk::PhysicalDeviceVulkan12Features::default().shader_float16(true).vulkan_memory_model(true);
    let mut from_1_3 = vk::PhysicalDeviceVulkan13Features::default()
        .subgroup_size_control(true)
        .compute_full_subgroups(true)
        .shader_integer_dot_product(true)
        .shader_zero_initialize_workgroup_memory(true)
        .maintenance4(true);
    let core = vk::PhysicalDeviceFeatures::default().robust_buffer_access(true).shader_int16(true);
    let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(&extensions)
        .enabled_features(&core)
        .push_next(&mut robust)
        .push_next(&mut properties)
        .push_next(&mut from_1_1)
        .push_next(&mut from_1_2)
        .push_next(&mut from_1_3);
    // SAFETY: see main.
    unsafe { instance.create_device(card, &info, None) }
}

unsafe fn layout(device: &Device) -> Result<vk::PipelineLayout, vk::Result> {
    let binding = |binding| {
        let kind = if binding == 0 { vk::DescriptorType::UNIFORM_BUFFER } else { vk::DescriptorType::STORAGE_BUFFER };
        vk::DescriptorSetLayoutBinding::default()
            .binding(binding)
            .descriptor_type(kind)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    };
    let bindings: Vec<_> = (0..BINDINGS).map(binding).collect();
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    // SAFETY: see main.
    unsafe {
        let sets = [device.create_descriptor_set_layout(&info, None)?];
        device.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&sets), None)
    }
}

/// The statistics of a compiled shader, by the driver's names, and its instructions.
unsafe fn compile(
    device: &Device,
    properties: &khr::pipeline_executable_properties::Device,
    layout: vk::PipelineLayout,
    words: &[u32],
) -> Result<(serde_json::Map<String, serde_json::Value>, String), Box<dyn Error>> {
    // SAFETY: see main.
    unsafe {
        let module = device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(words), None)?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE)
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main");
        let info = vk::ComputePipelineCreateInfo::default()
            .flags(
                vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                    | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
            )
            .stage(stage)
            .layout(layout);
        let pipelines = device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
        let pipeline = pipelines.map_err(|(_, error)| error)?[0];
        let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        let mut numbers = serde_json::Map::new();
        for statistic in properties.get_pipeline_executable_statistics(&executable)? {
            let number = match statistic.format {
                vk::PipelineExecutableStatisticFormatKHR::UINT64 => serde_json::json!(statistic.value.u64),
                vk::PipelineExecutableStatisticFormatKHR::INT64 => serde_json::json!(statistic.value.i64),
                vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => serde_json::json!(statistic.value.f64),
                _ => continue,
            };
            numbers.insert(statistic.name_as_c_str()?.to_string_lossy().into_owned(), number);
        }
        let mut shapes = properties.get_pipeline_executable_internal_representations(&executable)?;
        let mut texts: Vec<Vec<u8>> = shapes.iter().map(|shape| vec![0; shape.data_size]).collect();
        for (shape, text) in shapes.iter_mut().zip(&mut texts) {
            shape.p_data = text.as_mut_ptr().cast();
        }
        let mut count = shapes.len() as u32;
        let call = properties.fp().get_pipeline_executable_internal_representations_khr;
        call(device.handle(), &executable, &mut count, shapes.as_mut_ptr()).result()?;
        let assembly = shapes.iter().position(|shape| shape.name_as_c_str().is_ok_and(|name| name == c"Assembly"));
        let text = assembly.map(|index| String::from_utf8_lossy(&texts[index]).trim_end_matches('\0').to_owned());
        device.destroy_pipeline(pipeline, None);
        device.destroy_shader_module(module, None);
        Ok((numbers, text.unwrap_or_default()))
    }
}
