//! An app's own devices, which it may destroy whenever it wants.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use plywood_kernels::cases::Case;
use plywood_kernels::gated;
use plywood_kernels::graph::{Output, Values};
use plywood_kernels::random::Random;

use super::*;
use crate::error::{Error, Result};
use crate::faults::Watch;
use crate::stage::{Stage, WeightReader};
use crate::tools::case::case_plan;

/// How often an app destroys a device of each adapter.
const ROUNDS: usize = 150;

/// Cases have no files.
struct NoFiles;

impl WeightReader for NoFiles {
    fn read(&self, _: usize, _: u64, _: &mut [u8]) -> Result<()> {
        unreachable!("a case has no files")
    }
}

/// Loads a case onto an app's device and runs it until that fails.
fn run(shared: &SharedDevice, case: &Case, runs: &AtomicU32) -> Error {
    let run = || -> Result<()> {
        let device = Arc::new(shared.open(&Watch::default())?);
        let plan = case_plan(case, device.facts.limits())?;
        let graph = Arc::new(case.graph.clone());
        let mut stage = GpuStage::load(device, graph, plan, &NoFiles, &mut |_| Ok(()))?;
        let (given, mut found) = (case.given(0), Values::new());
        loop {
            let outcome = stage.run(&case.steps[0], &[Output::Logits], &given, &mut found, &|| false);
            runs.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = outcome {
                let again = stage.run(&case.steps[0], &[Output::Logits], &given, &mut found, &|| false);
                assert!(matches!(again, Err(Error::DeviceLost { .. })), "{again:?} after {error}");
                return Err(error);
            }
        }
    };
    run().expect_err("it runs until the device is gone")
}

/// A device that its app destroys in another thread, at a random moment of loading or of a step: always an error, never a panic or a hang.
#[test]
fn a_device_is_destroyed_at_any_moment() {
    let size = |case: &Case| case.steps[0].tokens.len() * case.graph.values.last().map_or(0, |value| value.width);
    let case = gated::cases().into_iter().max_by_key(size).expect("there are cases");
    let mut description = wgpu::InstanceDescriptor::new_without_display_handle();
    description.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(description.with_env());
    let mut random = Random::new(7);
    for adapter in pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all())) {
        let mut ends: BTreeMap<u32, usize> = BTreeMap::new();
        for round in 0..ROUNDS {
            let description = wgpu::DeviceDescriptor {
                required_features: required_features(&adapter),
                required_limits: required_limits(&adapter),
                ..Default::default()
            };
            let (device, queue) = pollster::block_on(adapter.request_device(&description)).expect("it opens");
            let shared = SharedDevice { adapter: adapter.clone(), device, queue };
            // In every other round the app goes on polling, as a render thread does; in every third two stages share the device. Of GL only
            // one thread may use a device.
            let is_gl = adapter.get_info().backend == wgpu::Backend::Gl;
            let (polls, stages) = (round % 2 == 0 && !is_gl, if round % 3 == 0 && !is_gl { 2 } else { 1 });
            let (after, delay) = ((random.next() % 6) as u32, Duration::from_micros(random.next() % 2500));
            let (runs, ended) = (AtomicU32::new(0), AtomicBool::new(false));
            let errors = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let ended = || ended.load(Ordering::Relaxed);
                    while runs.load(Ordering::Relaxed) < after && !ended() {
                        std::thread::yield_now();
                    }
                    let begin = Instant::now();
                    while begin.elapsed() < delay {}
                    shared.device.destroy();
                    while polls && !ended() {
                        _ = shared.device.poll(wgpu::PollType::Poll);
                    }
                });
                let run = || run(&shared, &case, &runs);
                let threads: Vec<_> = (1..stages).map(|_| scope.spawn(run)).collect();
                let mine = catch_unwind(AssertUnwindSafe(run));
                let others = threads.into_iter().map(|thread| thread.join());
                let all: Vec<_> = others.chain([mine]).collect();
                ended.store(true, Ordering::Relaxed);
                all.into_iter().map(|error| error.unwrap_or_else(|panic| resume_unwind(panic))).collect::<Vec<_>>()
            });
            for error in errors {
                assert!(matches!(error, Error::DeviceLost { .. }), "{error}");
            }
            *ends.entry(runs.into_inner()).or_default() += 1;
        }
        println!("{}: rounds by how many steps were run: {ends:?}", adapter.get_info().name);
        assert!(ends.len() > 3, "the moments are all alike: {ends:?}");
    }
}
