//! Every shader variant: what plans of cases and of models record on devices from the least to the most able.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use plywood::StepLimits;
use plywood::testing::Choices;
use plywood::testing::Key;
use plywood::testing::{Limits, StagePlan};
use plywood_kernels::cases;
use plywood_kernels::device::{Features, IntegerDots, Processor};
use plywood_kernels::dispatch::Shader;
use plywood_kernels::formats;
use plywood_kernels::graph::{Graph, Output, Rows};
use plywood_kernels::kv_cache::KvType;
use plywood_kernels::lowering::{Batch, Precision};
use plywood_models::synthetic::{SHAPES, Synthetic};
use plywood_models::transformer;

/// Devices from the least to the most able: subgroups, f16, small or large workgroups.
fn lattice() -> Vec<Features> {
    let mut lattice = Vec::new();
    for subgroup in [None, Some((4, 4)), Some((8, 8)), Some((8, 32)), Some((32, 32)), Some((64, 64)), Some((4, 64))] {
        for f16 in [false, true] {
            for (workgroup_bytes, workgroup_invocations) in [(16 << 10, 256), (32 << 10, 256), (32 << 10, 1024)] {
                // Kernels offer a CPU the same candidates, and a GPU without integer dot products, in another order.
                let (processor, integer_dots) = (Processor::Gpu, IntegerDots::Native);
                lattice.push(Features {
                    subgroup,
                    f16,
                    integer_dots,
                    workgroup_bytes,
                    workgroup_invocations,
                    processor,
                });
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
        threads: None,
        choices: Choices::default(),
        max_binding: 1 << 40,
        max_shard,
        uniform_alignment: 256,
    }
}

/// A shader, with the devices that get it.
pub struct Variant {
    pub shader: Arc<Shader>,
    pub devices: Vec<Features>,
}

impl Variant {
    /// A name for messages.
    pub fn name(&self) -> String {
        let modules: Vec<&str> = self.shader.modules.iter().map(|(name, _)| *name).collect();
        format!("{} {modules:?} {:?}", self.shader.name, self.shader.constants)
    }
}

/// Shaders, each with the devices that get it.
type Variants = HashMap<Arc<Shader>, HashSet<Features>>;

/// Adds the shaders of a plan for steps of every batch.
fn add(variants: &mut Variants, plan: &StagePlan) {
    // A node's shader depends on the batch of its own rows alone, so each kind of rows goes through its batches.
    let one = Batch::Few(1);
    let of_tokens = plan.steps.batches(Rows::Tokens).map(|tokens| (tokens, one));
    let of_selected = plan.steps.batches(Rows::Selected).map(|selected| (one, selected));
    for (tokens, selected) in of_tokens.chain(of_selected) {
        for requested in [vec![Output::Logits], vec![Output::Argmax, Output::Drawn, Output::LogSumExp]] {
            let key = Key { tokens, selected, requested };
            for command in plan.record(&key).commands {
                variants.entry(command.shader).or_default().insert(plan.limits.features);
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
    // Smaller devices offer fewer of the same.
    let is_large = limits.features.workgroup_bytes > 16 << 10 && limits.features.workgroup_invocations > 256;
    for preference in best.preferences().into_iter().filter(|_| is_large) {
        add(variants, &plan(vec![preference]));
    }
}

/// Steps that may be of every batch, whatever a case's own are.
fn steps(context: usize, pages: usize, kv_type: KvType) -> StepLimits {
    StepLimits { tokens: 64, selected: 64, sequences: pages, context, pages, kv_type }
}

/// The shaders of all cases and of models, on devices from the least to the most able.
pub static VARIANTS: LazyLock<Vec<Variant>> = LazyLock::new(|| variants(&lattice()));

/// The shaders of all cases, and of models with the shapes of real ones in every format, on some devices.
pub fn variants(devices: &[Features]) -> Vec<Variant> {
    let mut variants = Variants::new();
    for case in cases::all() {
        let (graph, steps) = (Arc::new(case.graph.clone()), steps(case.context(), case.pages(), case.kv_type));
        for features in devices {
            let limits = limits(*features, case.max_shard.unwrap_or(1 << 27));
            add_all(&mut variants, &graph, 0..graph.nodes.len(), &limits, steps);
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
            for features in devices {
                for (kv_type, max_shard) in [(KvType::F16, 1 << 27), (KvType::F32, 1 << 40)] {
                    let steps = steps(64, 2, kv_type);
                    let limits = limits(*features, max_shard);
                    // Layers are alike: the first, and what lies before and after them.
                    for nodes in [0..graph.marks[1], graph.marks[graph.layers()]..graph.nodes.len()] {
                        add_all(&mut variants, &graph, nodes, &limits, steps);
                    }
                }
            }
        }
    }
    println!("{of_cases} variants in cases, {} with those of synthetic models", variants.len());
    let variant = |(shader, devices): (Arc<Shader>, HashSet<Features>)| Variant {
        shader,
        devices: devices.into_iter().collect(),
    };
    let mut variants: Vec<Variant> = variants.into_iter().map(variant).collect();
    variants.sort_by(|a, b| (a.shader.name, &a.shader.constants).cmp(&(b.shader.name, &b.shader.constants)));
    variants
}
