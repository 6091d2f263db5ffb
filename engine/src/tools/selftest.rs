//! The self-test: every case of every op on a device against the reference, with every candidate of its kernels, and with ever fewer of
//! the device's features.

use std::sync::Arc;
use std::time::Duration;

use plywood_kernels::candidate::ROUNDED;
use plywood_kernels::cases::Case;
use plywood_kernels::device::{Features, Processor};
use plywood_kernels::dispatch::Shader;
use plywood_kernels::graph::{Element, Output, ValueId, Values};
use plywood_kernels::reference::{Machine, nmse};
use plywood_kernels::simd::Isa;
use serde::Serialize;

use crate::devices::adapter::Adapter;
use crate::devices::discover::Adapters;
use crate::devices::open::{self, load_stage};
use crate::devices::tuning::{Choices, Preference};
use crate::error::Result;
use crate::faults::Watch;
use crate::gpu::{GpuDevice, GpuStage};
use crate::stage::plan::{ChosenKernel, Limits, StagePlan};
use crate::stage::recording::Key;
use crate::stage::{Stage, WeightReader};
use crate::tools::case::case_plan;

/// A row may be this many times worse than the whole output.
const ROW_ALLOWANCE: f64 = 100.0;

/// How a case went on a device.
#[derive(Debug, Clone, Serialize)]
pub struct CaseResult {
    /// The device.
    pub adapter: String,
    /// The op.
    pub op: &'static str,
    /// What is special about the case.
    pub case: String,
    /// The weight's format, where the op has one.
    pub format: Option<&'static str>,
    /// How it was run: see [`Variant::name`].
    pub variant: String,
    /// Normalised mean squared error of the worst output; `None` where something was not a number or the case failed.
    pub nmse: Option<f64>,
    /// The largest that passes.
    pub limit: f64,
    /// Whether it passed.
    pub passed: bool,
    /// What the device said, where the case could not run.
    pub error: Option<String>,
}

/// A case, and what the reference makes of its steps.
pub struct Expected<'a> {
    case: &'a Case,
    steps: Vec<Values>,
}

impl<'a> Expected<'a> {
    /// Runs the reference.
    pub fn of(case: &'a Case) -> Expected<'a> {
        let mut machine = Machine::new(&case.graph, case.host_weights(), case.kv_type, case.pages());
        let steps = case.steps.iter().enumerate();
        let steps = steps.map(|(index, step)| machine.step(step, case.given(index), &[Output::Logits])).collect();
        Expected { case, steps }
    }
}

/// A device opened for running cases.
pub struct Bench {
    adapter: Adapter,
    gpu: Option<Arc<GpuDevice>>,
}

/// A way to run a case on a device.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The features that are used: the device's, or fewer, as lesser devices have them.
    pub features: Features,
    /// A candidate that is taken instead of its kernel's best guess.
    pub preferred: Option<Preference>,
}

impl Variant {
    /// Its name: the features, and the candidate that is preferred: `subgroup+f16`, `f16, matmul by tiles, rows 64, bits 16`.
    pub fn name(&self) -> String {
        let features = self.features.mask();
        match &self.preferred {
            Some(Preference { op, candidate }) => format!("{features}, {op} by {candidate}"),
            None => features.into(),
        }
    }
}

impl Bench {
    /// Opens an adapter of a list.
    pub fn open(adapters: &Adapters, adapter: &Adapter) -> Result<Bench> {
        Ok(Bench { adapter: adapter.clone(), gpu: open::open(adapters, adapter, &Watch::default())? })
    }

    /// The variants in which a case runs different shaders: the device's own choice, every other candidate, and the best guesses for
    /// devices that have ever fewer of its features.
    pub fn variants(&self, case: &Case) -> Vec<Variant> {
        let best = |features| Variant { features, preferred: None };
        let features = self.gpu.as_ref().map_or(self.adapter.features, |gpu| gpu.facts.features);
        let mut masks = features.masks().into_iter().map(best);
        let mut variants: Vec<Variant> = masks.by_ref().take(1).collect();
        let preferences = self.plan(case, &self.best()).map(|plan| plan.preferences()).unwrap_or_default();
        let with = |of: &Variant| -> Vec<Variant> {
            preferences.iter().map(|by| Variant { preferred: Some(by.clone()), ..of.clone() }).collect()
        };
        variants.extend(with(&self.best()));
        for mask in masks {
            // Instruction sets of the host run every candidate; there is no compiler between them and the kernels.
            let others = if self.gpu.is_none() { with(&mask) } else { Vec::new() };
            variants.extend([mask].into_iter().chain(others));
        }
        let mut seen = Vec::new();
        variants.retain(|variant| {
            // A case that can't be planned is run once, to tell why.
            let runs = self.plan(case, variant).map(|plan| runs(case, &plan)).ok();
            let is_new = !seen.contains(&runs);
            seen.push(runs);
            is_new
        });
        variants
    }

    /// The device's own choice.
    pub fn best(&self) -> Variant {
        Variant { features: self.adapter.features, preferred: None }
    }

    /// Runs a case in a variant.
    pub fn check(&self, expected: &Expected, variant: &Variant) -> CaseResult {
        let (case, outcome) = (expected.case, self.errors(expected, variant));
        let error = outcome.as_ref().err().map(ToString::to_string);
        let (worst, worst_row) = outcome.unwrap_or((f64::INFINITY, f64::INFINITY));
        let rounds = self.plan(case, variant).is_ok_and(|plan| plan.rounds());
        let limit = if rounds { case.limit.max(ROUNDED) } else { case.limit };
        CaseResult {
            adapter: self.adapter.label(),
            op: case.op,
            case: case.name.clone(),
            format: case.format.map(|format| format.name),
            variant: variant.name(),
            nmse: worst.is_finite().then_some(worst),
            limit,
            passed: worst <= limit && worst_row <= limit * ROW_ALLOWANCE,
            error,
        }
    }

    /// The largest NMSE of an output, and of a row of one.
    fn errors(&self, expected: &Expected, variant: &Variant) -> Result<(f64, f64)> {
        let case = expected.case;
        let mut stage = self.stage(case, variant)?;
        stage.poison()?;
        let (mut worst, mut worst_row) = (0f64, 0f64);
        for (index, (step, expected)) in case.steps.iter().zip(&expected.steps).enumerate() {
            let mut computed = Values::new();
            stage.run(step, &[Output::Logits], &case.given(index), &mut computed, &|| false)?;
            for (_, value) in &case.graph.outputs {
                let (whole, row) = compare(case, *value, expected, &computed);
                (worst, worst_row) = (worst.max(whole), worst_row.max(row));
            }
        }
        Ok((worst, worst_row))
    }

    fn stage(&self, case: &Case, variant: &Variant) -> Result<Box<dyn Stage>> {
        let plan = self.plan(case, variant)?;
        let graph = Arc::clone(&plan.graph);
        load_stage(self.gpu.as_ref(), &graph, plan, &NoFiles, &Watch::default(), &mut |_| Ok(()))
    }

    /// Loads a case for timing, by the device's own choice; `None` on the host.
    pub fn timed(&self, case: &Case) -> Result<Option<TimedCase>> {
        let Some(gpu) = &self.gpu else { return Ok(None) };
        let plan = self.plan(case, &self.best())?;
        let graph = Arc::clone(&plan.graph);
        let stage = GpuStage::load(Arc::clone(gpu), graph, plan, &NoFiles, &mut |_| Ok(()))?;
        Ok(Some(TimedCase { stage, step: case.steps[0].clone(), given: case.given(0) }))
    }

    /// Bytes that the device reads and writes per second when it copies; `None` for the host.
    pub fn copy_bandwidth(&self) -> Result<Option<f64>> {
        self.gpu.as_ref().map(|gpu| gpu.copy_bandwidth()).transpose()
    }

    fn plan(&self, case: &Case, variant: &Variant) -> Result<StagePlan> {
        let choices = Choices { preferred: variant.preferred.iter().cloned().collect(), ..Choices::default() };
        case_plan(case, Limits { features: variant.features, choices, ..self.adapter.limits() })
    }
}

/// A case loaded onto a GPU, for timing its first step.
pub struct TimedCase {
    stage: GpuStage,
    step: plywood_kernels::Step,
    given: Values,
}

impl TimedCase {
    /// Runs the step this many times; gives the time of all.
    pub fn run(&mut self, times: u64) -> Result<Duration> {
        self.stage.repeat(&self.step, &[Output::Logits], &self.given, times)
    }
}

/// What a case's steps run.
#[derive(PartialEq)]
enum Runs {
    Shaders(Vec<Arc<Shader>>),
    /// Kernels of the host in an instruction set.
    Host(Isa, Vec<ChosenKernel>),
}

fn runs(case: &Case, plan: &StagePlan) -> Runs {
    match plan.limits.features.processor {
        Processor::Host(isa) => Runs::Host(isa, plan.kernels()),
        Processor::Gpu | Processor::Cpu => Runs::Shaders(shaders(case, plan)),
    }
}

/// The shaders that a case's steps run, in order.
pub fn shaders(case: &Case, plan: &StagePlan) -> Vec<Arc<Shader>> {
    let recordings = case.steps.iter().map(|step| plan.record(&Key::of(step, &[Output::Logits])));
    recordings.flat_map(|recording| recording.commands).map(|command| command.shader).collect()
}

/// Cases have no files.
struct NoFiles;

impl WeightReader for NoFiles {
    fn read(&self, _: usize, _: u64, _: &mut [u8]) -> Result<()> {
        unreachable!("a case has no files")
    }
}

/// The NMSE of a value, and the largest of one of its rows. Indices must be equal.
fn compare(case: &Case, value: ValueId, expected: &Values, computed: &Values) -> (f64, f64) {
    let facts = &case.graph.values[value.0];
    let (expected, computed) = (&expected[&value], &computed[&value]);
    if facts.element == Element::U32 {
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let error = if bits(expected) == bits(computed) { 0.0 } else { f64::INFINITY };
        return (error, error);
    }
    let rows = expected.chunks(facts.width).zip(computed.chunks(facts.width));
    let worst_row = rows.map(|(expected, computed)| nmse(expected, computed)).fold(0.0, f64::max);
    (nmse(expected, computed), worst_row)
}
