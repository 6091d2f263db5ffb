//! Every shader variant, translated by naga to SPIR-V, MSL and HLSL, and compiled for DX12 and for AMD's cards: how what is not there is held.

mod amd;
mod directx;
mod dxc;
mod variants;

use std::collections::BTreeMap;
use std::path::PathBuf;

use naga::back::hlsl::ShaderModel;
use naga::back::{msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};
use plywood_kernels::compose::compose;
use plywood_kernels::device::Features;
use plywood_tests::{none_wrong, skipped};

use directx::Build;
use variants::VARIANTS;

/// Where a compiler's library is: the file that a variable names, or one of the cache where `.ci/run` puts it. `None`, said to be skipped, where there is none.
///
/// Panics where the variable names a file that is not there: then somebody meant it to be used.
fn compiler(variable: &str, file: &str) -> Option<PathBuf> {
    if let Some(given) = std::env::var_os(variable).map(PathBuf::from) {
        assert!(given.is_file(), "{variable} is {}, where there is no file", given.display());
        return Some(given);
    }
    let kept = std::env::home_dir()?.join(".cache/plywood").join(file);
    if kept.is_file() {
        return Some(kept);
    }
    skipped(&format!("there is no {}; .ci/run brings it, or {variable} names it", kept.display()));
    None
}

/// Parses and validates a variant as wgpu does on a device with subgroups and f16.
fn parse(wgsl: &str) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|error| error.emit_to_string(wgsl))?;
    let capabilities = Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module);
    let info = info.map_err(|error| error.emit_to_string(wgsl))?;
    Ok((module, info))
}

/// SPIR-V as Vulkan 1.1 takes it, which is the first version with subgroups.
fn to_spirv(module: &Module, info: &ModuleInfo) -> Result<usize, String> {
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    let entry = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into() };
    spv::write_vec(module, info, &options, Some(&entry)).map(|words| words.len()).map_err(|error| error.to_string())
}

/// Metal's language of a version.
fn to_msl(module: &Module, info: &ModuleInfo, version: (u8, u8)) -> Result<usize, String> {
    let options = msl::Options { lang_version: version, ..Default::default() };
    let entry = msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())), ..Default::default() };
    let (text, translated) = msl::write_string(module, info, &options, &entry).map_err(|error| error.to_string())?;
    let name = translated.entry_point_names.first().ok_or("no entry point")?.as_ref();
    name.map(|name| text.matches(name.as_str()).count()).map_err(|error| error.to_string())
}

/// DirectX 12's language for a shader model.
fn to_hlsl(module: &Module, info: &ModuleInfo, shader_model: ShaderModel) -> Result<usize, String> {
    let hlsl = directx::write(module, info, shader_model, Build::Debug)?;
    Ok(hlsl.text.matches(&hlsl.entry).count())
}

/// A translation; gives how much it wrote of the entry point.
type Translate = fn(&Module, &ModuleInfo) -> Result<usize, String>;

/// What a target can't express of itself: a translation that fails elsewhere is a defect.
struct Target {
    name: &'static str,
    translate: Translate,
    /// Why a variant of these words in its WGSL is not for this target.
    excused: &'static [(&'static str, &'static str)],
}

const TARGETS: &[Target] = &[
    Target { name: "SPIR-V 1.3", translate: to_spirv, excused: &[] },
    Target { name: "MSL 2.4", translate: |module, info| to_msl(module, info, (2, 4)), excused: &[] },
    Target { name: "MSL 3.0", translate: |module, info| to_msl(module, info, (3, 0)), excused: &[] },
    Target {
        name: "HLSL 6.0",
        translate: |module, info| to_hlsl(module, info, ShaderModel::V6_0),
        excused: &[("enable f16;", "16-bit floats come with shader model 6.2, and wgpu has no f16 below it")],
    },
    Target { name: "HLSL 6.2", translate: |module, info| to_hlsl(module, info, ShaderModel::V6_2), excused: &[] },
    Target { name: "HLSL 6.6", translate: |module, info| to_hlsl(module, info, ShaderModel::V6_6), excused: &[] },
];

#[test]
fn every_variant_for_every_target() {
    let mut wrong = Vec::new();
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut excused: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for variant in VARIANTS.iter() {
        let (name, wgsl) = (variant.name(), compose(&variant.shader));
        let (module, info) = match parse(&wgsl) {
            Ok(parsed) => parsed,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        *passed.entry("validated").or_default() += 1;
        for target in TARGETS {
            let excuse = target.excused.iter().find(|(word, _)| wgsl.contains(word));
            match ((target.translate)(&module, &info), excuse) {
                (_, Some((_, reason))) => *excused.entry((target.name, *reason)).or_default() += 1,
                (Ok(written), None) if written > 0 => *passed.entry(target.name).or_default() += 1,
                (Ok(_), None) => wrong.push(format!("{name} to {}: no entry point was written", target.name)),
                (Err(error), None) => wrong.push(format!("{name} to {}: {error}", target.name)),
            }
        }
    }
    println!("{} variants", VARIANTS.len());
    passed.iter().for_each(|(target, count)| println!("{count} to {target}"));
    excused.iter().for_each(|((target, reason), count)| println!("{count} not to {target}: {reason}"));
    none_wrong(&wrong);
}

/// A variant needs no more than every device that gets it has; 8 storage bindings are what wgpu promises anywhere.
#[test]
fn every_variant_keeps_within_the_limits() {
    let mut wrong = Vec::new();
    for variant in VARIANTS.iter() {
        let Ok((module, _)) = parse(&compose(&variant.shader)) else { continue };
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("types have sizes");
        let globals = || module.global_variables.iter().map(|(_, global)| global);
        let storage = globals().filter(|global| matches!(global.space, naga::AddressSpace::Storage { .. })).count();
        let shared = globals().filter(|global| global.space == naga::AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|global| layouter[global.ty].size).sum();
        let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
        let fits = |device: &Features| bytes <= device.workgroup_bytes && invocations <= device.workgroup_invocations;
        if storage > 8 || !variant.devices.iter().all(fits) {
            let name = variant.name();
            wrong.push(format!("{name}: {storage} storage bindings, {bytes} bytes, {invocations} invocations"));
        }
    }
    none_wrong(&wrong);
}
