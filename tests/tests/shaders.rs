//! Every shader variant, translated by naga to SPIR-V, MSL and HLSL: how Metal and DX12 are held without them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};
use plywood::devices::tuning::Choices;
use plywood::stage::plan::{Limits, StagePlan, StepLimits};
use plywood::stage::recording::Key;
use plywood_kernels::cases;
use plywood_kernels::compose::compose;
use plywood_kernels::device::{Features, Processor};
use plywood_kernels::dispatch::Shader;
use plywood_kernels::formats;
use plywood_kernels::graph::{Graph, Rows, Want};
use plywood_kernels::kv_cache::KvType;
use plywood_kernels::lowering::{Batch, Precision};
use plywood_models::synthetic::{SHAPES, Synthetic};
use plywood_models::transformer;
use plywood_tests::none_wrong;

/// Devices from the least to the most able: subgroups, f16, on a CPU or not, small or large workgroups.
fn lattice() -> Vec<Features> {
    let mut lattice = Vec::new();
    for subgroup in [None, Some((4, 4)), Some((8, 8)), Some((8, 32)), Some((32, 32)), Some((64, 64)), Some((4, 64))] {
        for f16 in [false, true] {
            for processor in [Processor::Gpu, Processor::Cpu] {
                for (workgroup_bytes, workgroup_invocations) in [(16 << 10, 256), (32 << 10, 256), (32 << 10, 1024)] {
                    lattice.push(Features { subgroup, f16, workgroup_bytes, workgroup_invocations, processor });
                }
            }
        }
    }
    lattice
}

fn limits(features: Features, max_shard: u64) -> Limits {
    Limits {
        device: "a device".into(),
        features,
        precision: Precision::Fast,
        choices: Choices::default(),
        max_binding: 1 << 40,
        max_shard,
        uniform_alignment: 256,
    }
}

/// Shaders, each with the smallest device that gets it.
type Variants = HashMap<Arc<Shader>, Features>;

/// Adds the shaders of a plan for steps of every batch.
fn add(variants: &mut Variants, plan: &StagePlan) {
    // A node's shader depends on the batch of its own rows alone, so each kind of rows goes through its batches.
    let one = Batch::Few(1);
    let of_tokens = plan.steps.batches(Rows::Tokens).map(|tokens| (tokens, one));
    let of_selected = plan.steps.batches(Rows::Selected).map(|selected| (one, selected));
    for (tokens, selected) in of_tokens.chain(of_selected) {
        for wants in [vec![Want::Logits], vec![Want::Argmax, Want::TopK, Want::Normaliser]] {
            let key = Key { tokens, selected, wants };
            for command in plan.record(&key).commands {
                let least = variants.entry(command.shader).or_insert(plan.limits.features);
                if plan.limits.features.workgroup_bytes < least.workgroup_bytes {
                    *least = plan.limits.features;
                }
            }
        }
    }
}

/// Adds the shaders of some nodes on a device, with the best guess of every kernel and with every other candidate.
fn add_all(variants: &mut Variants, graph: &Arc<Graph>, nodes: Range<usize>, limits: &Limits, steps: StepLimits) {
    let plan = |preferred| {
        let limits = Limits { choices: Choices { preferred, ..Choices::default() }, ..limits.clone() };
        StagePlan::new(graph, nodes.clone(), limits, steps).expect("it can be planned")
    };
    let best = plan(Vec::new());
    add(variants, &best);
    for preference in best.preferences() {
        add(variants, &plan(vec![preference]));
    }
}

/// Steps that may be of every batch, whatever a case's own are.
fn steps(context: usize, pages: usize, kv_type: KvType) -> StepLimits {
    StepLimits { tokens: 64, selected: 64, sequences: pages, context, pages, kv_type }
}

/// The shaders of all cases, and of models with the shapes of real ones in every format, on every device.
fn variants() -> Vec<(Arc<Shader>, Features)> {
    let mut variants = Variants::new();
    let lattice = lattice();
    for case in cases::all() {
        let (graph, steps) = (Arc::new(case.graph.clone()), steps(case.context(), case.pages(), case.kv_type));
        for features in &lattice {
            add_all(
                &mut variants,
                &graph,
                0..graph.nodes.len(),
                &limits(*features, case.max_shard.unwrap_or(1 << 27)),
                steps,
            );
        }
    }
    let of_cases = variants.len();
    for shape in &SHAPES {
        // The cases have every format; shapes vary by sizes, which a float, a scale and a minimum to a block show.
        for format in [formats::F16, formats::Q8_0, formats::Q4_K] {
            if shape.row_widths().iter().any(|width| !width.is_multiple_of(format.block_elements)) {
                continue;
            }
            let synthetic = Synthetic::new(shape, format);
            let graph = transformer::build(&synthetic, &synthetic.config, 64);
            let graph = Arc::new(graph.expect("a synthetic model has a graph"));
            for features in &lattice {
                for (kv_type, max_shard) in [(KvType::F16, 1 << 27), (KvType::F32, 1 << 40)] {
                    let steps = steps(64, 2, kv_type);
                    let limits = limits(*features, max_shard);
                    // Layers are alike: the first, and what lies before and behind them.
                    for nodes in [0..graph.marks[1], graph.marks[graph.layers()]..graph.nodes.len()] {
                        add_all(&mut variants, &graph, nodes, &limits, steps);
                    }
                }
            }
        }
    }
    println!("{of_cases} variants in cases, {} with those of synthetic models", variants.len());
    let mut variants: Vec<(Arc<Shader>, Features)> = variants.into_iter().collect();
    variants.sort_by(|(a, _), (b, _)| (a.name, &a.constants).cmp(&(b.name, &b.constants)));
    variants
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
fn to_hlsl(module: &Module, info: &ModuleInfo, shader_model: hlsl::ShaderModel) -> Result<usize, String> {
    let options = hlsl::Options { shader_model, ..Default::default() };
    let entry = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())) };
    let mut text = String::new();
    let translated = hlsl::Writer::new(&mut text, &options, &entry).write(module, info, None);
    let translated = translated.map_err(|error| error.to_string())?;
    let name = translated.entry_point_names.first().ok_or("no entry point")?.as_ref();
    name.map(|name| text.matches(name.as_str()).count()).map_err(|error| error.to_string())
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
        translate: |module, info| to_hlsl(module, info, hlsl::ShaderModel::V6_0),
        excused: &[("enable f16;", "16-bit floats come with shader model 6.2, and wgpu has no f16 below it")],
    },
    Target { name: "HLSL 6.2", translate: |module, info| to_hlsl(module, info, hlsl::ShaderModel::V6_2), excused: &[] },
    Target { name: "HLSL 6.6", translate: |module, info| to_hlsl(module, info, hlsl::ShaderModel::V6_6), excused: &[] },
];

#[test]
fn every_variant_for_every_target() {
    let variants = variants();
    let mut wrong = Vec::new();
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut excused: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (shader, _) in &variants {
        let wgsl = compose(shader);
        let name = format!("{} {:?} {:?}", shader.name, modules(shader), shader.constants);
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
    println!("{} variants", variants.len());
    passed.iter().for_each(|(target, count)| println!("{count} to {target}"));
    excused.iter().for_each(|((target, reason), count)| println!("{count} not to {target}: {reason}"));
    none_wrong(&wrong);
}

/// The names that a shader imports.
fn modules(shader: &Shader) -> Vec<&str> {
    shader.modules.iter().map(|(name, _)| *name).collect()
}

/// A variant needs no more than every device that gets it has; 8 storage bindings are what wgpu promises anywhere.
#[test]
fn every_variant_keeps_within_the_limits() {
    let mut wrong = Vec::new();
    for (shader, device) in variants() {
        let Ok((module, _)) = parse(&compose(&shader)) else { continue };
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).expect("types have sizes");
        let globals = || module.global_variables.iter().map(|(_, global)| global);
        let storage = globals().filter(|global| matches!(global.space, naga::AddressSpace::Storage { .. })).count();
        let shared = globals().filter(|global| global.space == naga::AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|global| layouter[global.ty].size).sum();
        let invocations: u32 = module.entry_points[0].workgroup_size.iter().product();
        if storage > 8 || bytes > device.workgroup_bytes || invocations > device.workgroup_invocations {
            let name = format!("{} {:?} {:?}", shader.name, modules(&shader), shader.constants);
            wrong.push(format!("{name}: {storage} storage bindings, {bytes} bytes, {invocations} invocations"));
        }
    }
    none_wrong(&wrong);
}
