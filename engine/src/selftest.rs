//! The self-test: every case of every op on a device, on every rung of its kernel ladder, against the reference.

use std::sync::Arc;
use std::time::Duration;

use plywood_kernels::cases::Case;
use plywood_kernels::graph::{Element, ValueId, Want};
use plywood_kernels::op::{Features, Shader};
use plywood_kernels::reference::{Machine, Values, nmse};
use serde::Serialize;

use crate::adapters::{Adapter, Adapters};
use crate::devices::{self, load_stage};
use crate::error::Result;
use crate::faults::Watch;
use crate::gpu::{GpuDevice, GpuStage};
use crate::plan::{Limits, StagePlan, StepLimits};
use crate::recording::Key;
use crate::stage::{Stage, WeightReader};

/// A row may be so many times worse than the whole output.
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
    /// The rung of the kernel ladder.
    pub rung: &'static str,
    /// Normalised mean squared error of the worst output; `None` where something was not a number or the case failed.
    pub nmse: Option<f64>,
    /// The largest that passes.
    pub limit: f64,
    /// Whether it passed.
    pub passed: bool,
    /// What the device said, where the case could not run.
    pub error: Option<String>,
}

/// A device opened for running cases.
pub struct Bench {
    adapter: Adapter,
    gpu: Option<Arc<GpuDevice>>,
}

impl Bench {
    /// Opens an adapter of a list.
    pub fn open(adapters: &Adapters, adapter: &Adapter) -> Result<Bench> {
        Ok(Bench { adapter: adapter.clone(), gpu: devices::open(adapters, adapter, &Watch::default())? })
    }

    /// The rungs of the device's kernel ladder on which a case runs different shaders, best first.
    pub fn rungs(&self, case: &Case) -> Vec<Features> {
        let Some(gpu) = &self.gpu else { return vec![self.adapter.features] };
        let mut seen: Vec<Vec<Shader>> = Vec::new();
        let mut rungs = gpu.facts.features.rungs();
        // A case that can't be planned is run once, to tell why.
        rungs.retain(|rung| {
            let shaders = self.plan(case, *rung).map(|plan| shaders(case, &plan)).unwrap_or_default();
            let new = !seen.contains(&shaders);
            seen.push(shaders);
            new
        });
        rungs
    }

    /// Runs a case on a rung.
    pub fn check(&self, case: &Case, rung: Features) -> CaseResult {
        let outcome = self.errors(case, rung);
        let error = outcome.as_ref().err().map(ToString::to_string);
        let (worst, worst_row) = outcome.unwrap_or((f64::INFINITY, f64::INFINITY));
        CaseResult {
            adapter: self.adapter.label(),
            op: case.op,
            case: case.name.clone(),
            format: case.format.map(|format| format.name),
            rung: rung.rung(),
            nmse: worst.is_finite().then_some(worst),
            limit: case.limit,
            passed: worst <= case.limit && worst_row <= case.limit * ROW_ALLOWANCE,
            error,
        }
    }

    /// The largest NMSE of an output, and of a row of one.
    fn errors(&self, case: &Case, rung: Features) -> Result<(f64, f64)> {
        let mut stage = self.stage(case, rung)?;
        let mut machine = Machine::new(&case.graph, case.host_weights(), case.kv_type, case.pages());
        stage.poison()?;
        let (mut worst, mut worst_row) = (0f64, 0f64);
        for (index, step) in case.steps.iter().enumerate() {
            let given = case.given(index);
            let mut computed = Values::new();
            stage.run(step, &[Want::Logits], &given, &mut computed, &|| false)?;
            let expected = machine.step(step, given, &[Want::Logits]);
            for (_, value) in &case.graph.outputs {
                let (whole, row) = compare(case, *value, &expected, &computed);
                (worst, worst_row) = (worst.max(whole), worst_row.max(row));
            }
        }
        Ok((worst, worst_row))
    }

    fn stage(&self, case: &Case, rung: Features) -> Result<Box<dyn Stage>> {
        let plan = self.plan(case, rung)?;
        let graph = Arc::new(case.graph.clone());
        load_stage(self.gpu.as_ref(), &graph, plan, &NoFiles, &Watch::default(), &mut |_| Ok(()))
    }

    /// Loads a case for timing, on the best rung; `None` on the host.
    pub fn timed(&self, case: &Case) -> Result<Option<TimedCase>> {
        let Some(gpu) = &self.gpu else { return Ok(None) };
        let plan = self.plan(case, self.adapter.features)?;
        let graph = Arc::new(case.graph.clone());
        let stage = GpuStage::load(Arc::clone(gpu), graph, plan, &NoFiles, &mut |_| Ok(()))?;
        Ok(Some(TimedCase { stage, step: case.steps[0].clone(), given: case.given(0) }))
    }

    /// Bytes that the device reads and writes per second when it copies; `None` for the host.
    pub fn copy_bandwidth(&self) -> Result<Option<f64>> {
        self.gpu.as_ref().map(|gpu| gpu.copy_bandwidth()).transpose()
    }

    fn plan(&self, case: &Case, rung: Features) -> Result<StagePlan> {
        let limits = self.adapter.limits();
        case_plan(case, Limits { features: rung, ..limits })
    }
}

/// A case loaded onto a GPU, for timing its first step.
pub struct TimedCase {
    stage: GpuStage,
    step: plywood_kernels::Step,
    given: Values,
}

impl TimedCase {
    /// Runs the step so many times; gives the time of all.
    pub fn run(&mut self, times: u64) -> Result<Duration> {
        self.stage.repeat(&self.step, &[Want::Logits], &self.given, times)
    }
}

/// The shaders that a case's steps run, in order.
pub fn shaders(case: &Case, plan: &StagePlan) -> Vec<Shader> {
    let recordings = case.steps.iter().map(|step| plan.record(&case.graph, &Key::of(step, &[Want::Logits])));
    recordings.flat_map(|recording| recording.commands).map(|command| command.shader).collect()
}

/// The plan of a case for a device.
pub fn case_plan(case: &Case, limits: Limits) -> Result<StagePlan> {
    let most = |count: fn(&plywood_kernels::Step) -> usize| case.steps.iter().map(count).max().unwrap_or(0).max(1);
    let steps = StepLimits {
        tokens: most(|step| step.tokens.len()),
        selected: most(|step| step.selected.len()),
        sequences: most(|step| step.pages.len() / step.pages_per_sequence.max(1)),
        context: case.context(),
        pages: case.pages(),
        kv_type: case.kv_type,
    };
    let max_shard = case.max_shard.unwrap_or(limits.max_shard);
    StagePlan::new(&case.graph, 0..case.graph.nodes.len(), Limits { max_shard, ..limits }, steps)
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
