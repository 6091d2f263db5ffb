//! DX12, which the machine that tests does not have: HLSL as wgpu has naga write it, and Microsoft's compiler for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use naga::back::hlsl::{BindTarget, Options, PipelineOptions, ShaderModel, Writer};
use naga::valid::ModuleInfo;
use naga::{Module, ShaderStage};
use plywood_kernels::compose::compose;
use plywood_tests::none_wrong;

use crate::dxc::{self, Compiler};
use crate::parse;
use crate::variants::{VARIANTS, Variant};

/// How shaders are asked for (engine/src/gpu/shader.rs): without runtime checks, or with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    Release,
    Debug,
}

/// A shader in DX12's language.
#[derive(PartialEq, Eq, Hash)]
pub struct Hlsl {
    pub text: String,
    pub entry: String,
}

/// The HLSL of a shader, with the options that wgpu-hal gives naga. Only its numbers of registers are others.
pub fn write(module: &Module, info: &ModuleInfo, shader_model: ShaderModel, build: Build) -> Result<Hlsl, String> {
    let options = Options {
        shader_model,
        // The number of workgroups comes in a buffer of wgpu's own, after our one uniform.
        special_constants_binding: Some(BindTarget { register: 1, ..BindTarget::default() }),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: build == Build::Debug,
        force_loop_bounding: build == Build::Debug,
        ..Options::default()
    };
    let pipeline = PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())) };
    let mut text = String::new();
    let translated = Writer::new(&mut text, &options, &pipeline).write(module, info, None);
    let mut names = translated.map_err(|error| error.to_string())?.entry_point_names;
    let entry = names.pop().ok_or("no entry point")?.map_err(|error| error.to_string())?;
    Ok(Hlsl { text, entry })
}

impl Variant {
    /// Whether a device gets it that has what DX12 has without DXC: neither subgroups nor f16.
    fn is_for_fxc(&self) -> bool {
        self.devices.iter().any(|device| device.subgroup.is_none() && !device.f16)
    }

    /// The HLSL of this variant for shader models and builds.
    fn hlsl(&self, shader_models: &[ShaderModel], builds: &[Build]) -> Result<Vec<(ShaderModel, Hlsl)>, String> {
        let (module, info) = parse(&compose(&self.shader))?;
        let each = shader_models.iter().flat_map(|model| builds.iter().map(|build| (*model, *build)));
        each.map(|(model, build)| Ok((model, write(&module, &info, model, build)?))).collect()
    }
}

/// The shader models for which a variant is compiled by DXC: the first that has what it needs, and a late one.
fn shader_models(variant: &Variant) -> &'static [ShaderModel] {
    if variant.is_for_fxc() {
        // What FXC gets, DXC understands too.
        &[ShaderModel::V5_1, ShaderModel::V6_0, ShaderModel::V6_6]
    } else if variant.devices.iter().all(|device| device.f16) {
        &[ShaderModel::V6_2, ShaderModel::V6_6]
    } else {
        &[ShaderModel::V6_0, ShaderModel::V6_6]
    }
}

/// DXC's arguments, as wgpu-hal gives them.
fn arguments(model: ShaderModel, entry: &str) -> Vec<String> {
    // DXC compiles for no model below 6.0.
    let model = if model < ShaderModel::V6_0 { ShaderModel::V6_0 } else { model };
    let profile = format!("cs_{}", model.to_str());
    let mut arguments = vec!["-E", entry, "-T", &profile, "-HV", "2018", "-no-warnings", "-Ges"];
    if model >= ShaderModel::V6_2 {
        arguments.push("-enable-16bit-types");
    }
    arguments.into_iter().map(str::to_owned).collect()
}

/// What the compiler has against a shader, in its own words.
fn refusal(compiler: &Compiler, model: ShaderModel, hlsl: &Hlsl) -> Option<String> {
    let arguments = arguments(model, &hlsl.entry);
    match compiler.compile(&hlsl.text, &arguments) {
        Ok(dxil) if dxil.starts_with(b"DXBC") => None,
        Ok(dxil) => Some(format!("{} bytes that are no container", dxil.len())),
        Err(error) => Some(error.lines().find(|line| line.contains("error")).unwrap_or(&error).to_owned()),
    }
}

/// Gives variants to DXC, on all cores; fails with those that it refuses.
fn through_dxc(variants: &[&Variant], builds: &[Build]) {
    let Some(library) = dxc::library() else { return };
    let mut wrong = Vec::new();
    // Equal texts are compiled once, for the first model that has them.
    let mut texts = HashMap::new();
    for variant in variants {
        match variant.hlsl(shader_models(variant), builds) {
            Ok(written) => written.into_iter().for_each(|(model, hlsl)| {
                texts.entry(hlsl).or_insert((model, variant));
            }),
            Err(error) => wrong.push(format!("{}: {error}", variant.name())),
        }
    }
    let texts: Vec<(Hlsl, (ShaderModel, &&Variant))> = texts.into_iter().collect();
    let next = AtomicUsize::new(0);
    let compile = || {
        let compiler = Compiler::new(&library).expect("DXC can be loaded");
        let mut refused = Vec::new();
        while let Some((hlsl, (model, variant))) = texts.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(refusal) = refusal(&compiler, *model, hlsl) {
                refused.push(format!("{} for {}: {refusal}", variant.name(), model.to_str()));
            }
        }
        refused
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        let compiling: Vec<_> = (0..threads).map(|_| scope.spawn(compile)).collect();
        compiling.into_iter().for_each(|thread| wrong.extend(thread.join().expect("no thread panics")));
    });
    println!("{} variants are {} texts, of which DXC refuses {}", variants.len(), texts.len(), wrong.len());
    wrong.sort();
    none_wrong(&wrong);
}

/// The variants that DX12 gets: it is offered no integer dot products (`engine/src/gpu/integer_dots.rs`).
fn for_dx12() -> impl Iterator<Item = &'static Variant> {
    VARIANTS.iter().filter(|variant| !compose(&variant.shader).contains("dot4I8Packed"))
}

/// Of variants that differ in numbers alone the first and the last, which are the smallest and the largest.
fn ends<'a>(variants: impl Iterator<Item = &'a Variant>) -> Vec<&'a Variant> {
    let mut ends: HashMap<_, [&Variant; 2]> = HashMap::new();
    for variant in variants {
        ends.entry((variant.shader.source, &variant.shader.modules)).or_insert([variant; 2])[1] = variant;
    }
    ends.into_values().flatten().collect()
}

#[test]
fn every_set_of_modules_through_dxc() {
    through_dxc(&ends(for_dx12()), &[Build::Release]);
}

#[test]
#[ignore = "takes ten minutes of a CPU"]
fn every_variant_through_dxc() {
    through_dxc(&for_dx12().collect::<Vec<_>>(), &[Build::Release, Build::Debug]);
}

/// Why entry points take built-ins one by one (kernels/src/shared/reduce_subgroup.wgsl), and that DXC refuses at all.
#[test]
fn subgroup_built_ins_in_a_struct_are_refused() {
    let Some(library) = dxc::library() else { return };
    let wgsl = "struct Lane { @builtin(subgroup_size) subgroup_size: u32 }
        @group(0) @binding(0) var<storage, read_write> output: u32;
        @compute @workgroup_size(64) fn main(lane: Lane) { output = lane.subgroup_size; }";
    let (module, info) = parse(wgsl).expect("it is valid WGSL");
    let hlsl = write(&module, &info, ShaderModel::V6_0, Build::Release).expect("naga writes it");
    let compiler = Compiler::new(&library).expect("DXC can be loaded");
    let refusal = refusal(&compiler, ShaderModel::V6_0, &hlsl).expect("DXC refuses it");
    assert!(refusal.contains("Semantic must be defined for all parameters"), "{refusal}");
}

/// What FXC, the compiler of Windows itself, has no words for, and how naga's words for it begin.
const NOT_IN_FXC: &[(&str, &[&str])] = &[
    ("subgroups", &["Wave"]),
    ("f16", &["half", "float16_t"]),
    ("integers of 16 or 64 bits", &["int16_t", "uint16_t", "int64_t", "uint64_t"]),
    ("integer dot products", &["dot4add", "dot2add"]),
    ("typed access to buffers", &["Load<", "Store<"]),
];

impl Hlsl {
    /// What FXC has no words for.
    fn not_in_fxc(&self) -> BTreeSet<&'static str> {
        let words = self.text.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '<');
        // `half_` is a variable that WGSL calls `half`.
        let words = words.filter(|word| !word.starts_with("half_"));
        let lacks =
            |word: &str| NOT_IN_FXC.iter().find(|(_, begins)| begins.iter().any(|begin| word.starts_with(begin)));
        words.filter_map(lacks).map(|(what, _)| *what).collect()
    }
}

/// The names of variants, by what is in their HLSL and not in FXC.
fn not_in_fxc(variants: &[&Variant], model: ShaderModel) -> BTreeMap<&'static str, Vec<String>> {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for variant in variants {
        let written =
            variant.hlsl(&[model], &[Build::Release]).unwrap_or_else(|error| panic!("{}: {error}", variant.name()));
        for what in written.iter().flat_map(|(_, hlsl)| hlsl.not_in_fxc()) {
            names.entry(what).or_default().push(variant.name());
        }
    }
    names
}

/// What an adapter of DX12 gets where there is no DXC, as far as its text tells: FXC runs on Windows alone.
#[test]
fn variants_for_fxc_keep_to_its_language() {
    let for_fxc = ends(for_dx12().filter(|variant| variant.is_for_fxc()));
    let for_dxc = ends(for_dx12().filter(|variant| !variant.is_for_fxc()));
    println!("{} variants are for FXC, {} for DXC alone", for_fxc.len(), for_dxc.len());
    let found = not_in_fxc(&for_dxc, ShaderModel::V6_6);
    assert!(["subgroups", "f16"].iter().all(|what| found.contains_key(what)), "the words find nothing: {found:?}");
    let wrong = not_in_fxc(&for_fxc, ShaderModel::V5_1);
    let named = |(what, names): (&str, Vec<String>)| format!("{what} in {}", names.join("\n"));
    none_wrong(&wrong.into_iter().map(named).collect::<Vec<_>>());
}
