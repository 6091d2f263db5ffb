//! A stage on a GPU: its buffers, its recordings with their pipelines and bind groups, and the encoding of a step.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plywood_kernels::Graph;
use plywood_kernels::dispatch::StepSize;
use plywood_kernels::graph::{Output, ValueId, Values};
use plywood_kernels::step::Step;

use super::device::GpuDevice;
use super::in_flight::{Copies, InFlight, Readback, Submitted};
use super::profile::Profile;
use super::staging::{Staging, Stretch};
use super::upload::Upload;
use crate::error::{Error, Result};
use crate::ledger::Purpose;
use crate::stage::plan::{BufferPlan, StagePlan};
use crate::stage::recording::{Command, Handle, Key};
use crate::stage::{
    KernelTimes, Stage, StageQueue, StageTimes, WeightReader, pack_blocks, pack_draws, pack_tokens, step_size,
};

/// A submission should take about so long, and a quarter more at most, far below the 2 s after which watchdogs end it.
pub(super) const SUBMISSION: Duration = Duration::from_millis(200);

/// Multiply-adds of a first submission, before speed is known: 50 ms on a device of 10 GFLOP/s.
pub(super) const FIRST_OPERATIONS: u64 = 250_000_000;

/// Steps of a repetition that are queued before waiting.
const QUEUED_REPEATS: u64 = 64;

/// A command ready to be encoded.
struct Prepared {
    command: Command,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
}

/// A recording ready to be encoded.
pub(super) struct PreparedRecording {
    commands: Vec<Prepared>,
    pub results: Vec<ValueId>,
}

impl PreparedRecording {
    /// How many dispatches it has.
    pub fn dispatches(&self) -> usize {
        self.commands.len()
    }
}

/// A stage on a GPU.
pub(crate) struct GpuStage {
    pub(super) device: Arc<GpuDevice>,
    pub(super) graph: Arc<Graph>,
    pub(super) plan: StagePlan,
    pub(super) buffers: Vec<wgpu::Buffer>,
    /// What a step brings along, in turn.
    pub(super) staging: [Staging; 2],
    /// Whose turn it is.
    turn: usize,
    /// Where stretches of it go that were written and not sent yet, with their bytes.
    pub(super) written: Vec<(Handle, u64)>,
    recordings: HashMap<Key, Arc<PreparedRecording>>,
    /// Steps whose results were not fetched, in their order.
    pub(super) in_flight: VecDeque<InFlight>,
    /// Multiply-adds that a submission may hold.
    pub(super) budget: u64,
    pub(super) times: StageTimes,
    /// While its kernels are measured.
    pub(super) profile: Option<Profile>,
}

impl GpuStage {
    /// Allocates a plan's buffers and uploads its weights. `progress` is told bytes of weights as they arrive.
    pub fn load(
        device: Arc<GpuDevice>,
        graph: Arc<Graph>,
        plan: StagePlan,
        reader: &dyn WeightReader,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<GpuStage> {
        let [first, second] = plan.step.staging;
        let new_staging = |handle: Handle| Staging::new(&device, &plan.buffers[handle.0]);
        let staging = [new_staging(first)?, new_staging(second)?];
        let allocate = |(index, buffer): (usize, &BufferPlan)| {
            let usage = match buffer.purpose {
                _ if Handle(index) == first => return Ok(staging[0].buffer()),
                _ if Handle(index) == second => return Ok(staging[1].buffer()),
                Purpose::Staging => wgpu::BufferUsages::MAP_READ,
                _ if Handle(index) == plan.params.buffer => wgpu::BufferUsages::UNIFORM,
                _ => wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
            };
            device.allocate(buffer, usage | wgpu::BufferUsages::COPY_DST)
        };
        let buffers: Vec<wgpu::Buffer> = plan.buffers.iter().enumerate().map(allocate).collect::<Result<_>>()?;
        let mut upload = Upload::new(&device)?;
        crate::stage::read_weights(&graph, &plan, reader, &mut |handle, offset, bytes, fill| {
            upload.fill(&buffers[handle.0], offset, bytes, fill)?;
            progress(bytes as u64)
        })?;
        upload.write(&buffers[plan.params.buffer.0], 0, bytemuck::cast_slice(&plan.params.words))?;
        upload.finish()?;
        Ok(GpuStage {
            device,
            graph,
            plan,
            buffers,
            staging,
            turn: 0,
            written: Vec::new(),
            recordings: HashMap::new(),
            in_flight: VecDeque::new(),
            budget: FIRST_OPERATIONS,
            times: StageTimes::default(),
            profile: None,
        })
    }

    /// The recording for a kind of step, prepared once, unless the step `is_cancelled`: drivers may compile for seconds.
    pub(super) fn recording(&mut self, key: &Key, is_cancelled: &dyn Fn() -> bool) -> Result<Arc<PreparedRecording>> {
        if let Some(recording) = self.recordings.get(key) {
            return Ok(Arc::clone(recording));
        }
        let recording = self.plan.record(key);
        let mut commands = Vec::with_capacity(recording.commands.len());
        for command in recording.commands {
            if is_cancelled() {
                return Err(Error::Cancelled);
            }
            let pipeline = self.device.pipeline(&command.shader)?;
            let params = wgpu::BindGroupEntry {
                binding: 0,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.buffers[self.plan.params.buffer.0],
                    offset: command.params as u64 * 4,
                    size: std::num::NonZeroU64::new(command.params_bytes as u64),
                }),
            };
            let storage = command.buffers.iter().enumerate().map(|(index, handle)| wgpu::BindGroupEntry {
                binding: index as u32 + 1,
                resource: self.buffers[handle.0].as_entire_binding(),
            });
            let bind_group = self.device.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(command.shader.name),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &std::iter::once(params).chain(storage).collect::<Vec<_>>(),
            });
            commands.push(Prepared { command, pipeline, bind_group });
        }
        self.device.check()?;
        let prepared = Arc::new(PreparedRecording { commands, results: recording.results });
        self.recordings.insert(key.clone(), Arc::clone(&prepared));
        Ok(prepared)
    }

    /// Writes what changes from step to step, and the values that come from outside, into a staging buffer.
    pub(super) fn write_step(&mut self, step: &Step, given: &Values) -> Result<()> {
        let words = [
            (self.plan.step.tokens, pack_tokens(step)),
            (self.plan.step.blocks, pack_blocks(step)),
            (self.plan.step.selected, step.selected.clone()),
            (self.plan.step.draws, pack_draws(step)),
            (self.plan.step.pages, step.pages.clone()),
        ];
        // Rows lie as far from each other as on the device; what is between them is never read.
        let received = self.plan.received.iter().filter_map(|value| {
            let (width, stride) = (self.graph.values[value.0].width, StagePlan::stride(&self.graph, *value));
            given.get(value).map(|rows| (self.plan.values[value], rows, width, stride))
        });
        let words_written = words.iter().map(|(handle, words)| (*handle, 4 * words.len() as u64));
        let rows_written =
            received.clone().map(|(handle, rows, width, stride)| (handle, 4 * (rows.len() / width * stride) as u64));
        self.written.clear();
        self.written.extend(words_written.chain(rows_written).filter(|(_, bytes)| *bytes > 0));
        let all = self.written.iter().map(|(_, bytes)| bytes).sum();
        // Values that are received have room in the first alone.
        self.turn = if self.plan.received.is_empty() { 1 - self.turn } else { 0 };
        self.staging[self.turn].write(&self.device, all, |view| {
            let mut at = 0;
            let mut write = |bytes: &[u8], space: usize| {
                view.slice(at..at + bytes.len()).copy_from_slice(bytes);
                at += space;
            };
            words.iter().for_each(|(_, words)| write(bytemuck::cast_slice(words), 4 * words.len()));
            for (_, rows, width, stride) in received {
                rows.chunks(width).for_each(|row| write(bytemuck::cast_slice(row), 4 * stride));
            }
        })
    }

    /// Encodes and submits a recording, in as many submissions as its work needs; the last copies the results out. Once the step
    /// `is_cancelled` nothing more is submitted, and what was is waited for.
    pub(super) fn send(
        &mut self,
        recording: &PreparedRecording,
        size: StepSize,
        copies: &Copies,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Submitted> {
        let operations_of = |prepared: &Prepared| prepared.command.operations(size);
        let whole: u64 = recording.commands.iter().map(operations_of).sum();
        // Parts of equal work, rather than full ones and a rest.
        let parts = whole.div_ceil(self.budget + self.budget / 4).max(1);
        let part = whole.div_ceil(parts);
        let most = self.device.facts.max_workgroups;
        let new_encoder = || {
            let label = Some("step");
            self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label })
        };
        let mut queued: Option<wgpu::SubmissionIndex> = None;
        let mut sending = !self.written.is_empty();
        let mut encode = Duration::ZERO;
        let mut begin = Instant::now();
        let mut encoder = new_encoder();
        if sending {
            let stretch =
                |(handle, bytes): &(Handle, u64)| Stretch { target: &self.buffers[handle.0], offset: 0, bytes: *bytes };
            self.staging[self.turn].send(&mut encoder, self.written.iter().map(stretch));
            self.written.clear();
        }
        let chosen = &self.buffers[self.plan.step.chosen.0];
        if let Some(sequence) = copies.first {
            let tokens = &self.buffers[self.plan.step.tokens.0];
            encoder.copy_buffer_to_buffer(chosen, 4 * u64::from(sequence), tokens, 0, 4);
        }
        let (mut total, mut held, mut next) = (0, 0, 0);
        let mut end = part;
        let is_full = |next: usize, held: u64, total: u64, end: u64| {
            let next = recording.commands.get(next);
            next.is_some_and(|next| held > 0 && total + operations_of(next) / 2 > end)
        };
        while let Some(first) = recording.commands.get(next) {
            let timestamp_writes = self.profile.as_mut().and_then(|profile| profile.stamp(&first.command));
            let is_timed = timestamp_writes.is_some();
            let description = wgpu::ComputePassDescriptor { label: Some("step"), timestamp_writes };
            let mut pass = encoder.begin_compute_pass(&description);
            while let Some(prepared) = recording.commands.get(next) {
                let operations = operations_of(prepared);
                held += operations;
                total += operations;
                next += 1;
                let (groups, rows) = (prepared.command.grid.spread.at(size), prepared.command.grid.rows.at(size));
                let planes = groups.div_ceil(most);
                pass.set_pipeline(&prepared.pipeline);
                pass.set_bind_group(0, &prepared.bind_group, &[]);
                pass.dispatch_workgroups(groups.div_ceil(planes.max(1)), rows, planes);
                if is_timed || is_full(next, held, total, end) {
                    break;
                }
            }
            drop(pass);
            if is_full(next, held, total, end) {
                let commands = encoder.finish();
                encode += begin.elapsed();
                // A software driver may compute in here. One runs while the next is encoded, so that nothing waits for more
                // than two.
                let submission = self.device.submit(commands)?;
                if std::mem::take(&mut sending) {
                    self.staging[self.turn].sent(submission.clone());
                }
                if let Some(before) = queued.replace(submission.clone()) {
                    self.device.wait(before)?;
                }
                if is_cancelled() {
                    self.device.wait(submission)?;
                    return Err(Error::Cancelled);
                }
                begin = Instant::now();
                encoder = new_encoder();
                (held, end) = (0, end + part);
            }
        }
        if let Some((value, sequence)) = copies.chosen {
            let choice = &self.buffers[self.plan.values[&value].0];
            encoder.copy_buffer_to_buffer(choice, 0, chosen, 4 * u64::from(sequence), 4);
        }
        for Readback { value, bytes, to } in &copies.read {
            let source = &self.buffers[self.plan.values[value].0];
            let target = &self.buffers[to.0];
            encoder.copy_buffer_to_buffer(source, 0, target, 0, *bytes);
            encoder.map_buffer_on_submit(target, wgpu::MapMode::Read, 0..*bytes, |_| {});
        }
        if let Some(profile) = &self.profile {
            profile.copy_out(&mut encoder);
        }
        let commands = encoder.finish();
        encode += begin.elapsed();
        let last = self.device.submit(commands)?;
        if sending {
            self.staging[self.turn].sent(last.clone());
        }
        Ok(Submitted { last, operations: total, encode })
    }
}

impl GpuStage {
    /// Runs a step's commands this many times, results aside; gives the time from the first submission to the end of the last.
    pub fn repeat(&mut self, step: &Step, requested: &[Output], given: &Values, times: u64) -> Result<Duration> {
        let device = Arc::clone(&self.device);
        device.caught("a repeated step", || {
            let recording = self.recording(&Key::of(step, requested), &|| false)?;
            self.write_step(step, given)?;
            let begin = Instant::now();
            for time in 1..=times {
                let submitted = self.send(&recording, step_size(step), &Copies::default(), &|| false)?;
                // Now and then, so that a slow device's queue stays short.
                if time % QUEUED_REPEATS == 0 || time == times {
                    self.device.wait(submitted.last)?;
                }
            }
            Ok(begin.elapsed())
        })
    }
}

impl Stage for GpuStage {
    fn run(
        &mut self,
        step: &Step,
        requested: &[Output],
        given: &Values,
        results: &mut Values,
        is_cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let ticket = self.submit(step, requested, given, is_cancelled)?;
        self.collect(ticket, results)
    }

    fn queue(&mut self) -> Option<&mut dyn StageQueue> {
        Some(self)
    }

    fn plan(&self) -> &StagePlan {
        &self.plan
    }

    fn overlaps(&self) -> bool {
        !self.device.facts.keeps_to_a_thread()
    }

    fn times(&self) -> &StageTimes {
        &self.times
    }

    fn profile(&mut self, on: bool) -> Result<Option<KernelTimes>> {
        self.fetch_all();
        let before = self.profile.take().map(Profile::into_times);
        self.profile = if on { Profile::new(&self.device)? } else { None };
        Ok(before.or_else(|| self.profile.is_some().then(KernelTimes::new)))
    }

    fn copy_bandwidth(&self) -> Result<Option<f64>> {
        self.device.copy_bandwidth().map(Some)
    }

    fn check(&self) -> Result<()> {
        self.device.works()
    }

    fn poison(&mut self) -> Result<()> {
        let weights = self.plan.weights.values().flat_map(|weight| weight.shards.iter().map(|(handle, _)| *handle));
        let kept: Vec<Handle> = weights.chain([self.plan.params.buffer]).collect();
        self.device.caught("poison", || {
            for (index, (buffer, plan)) in self.buffers.iter().zip(&self.plan.buffers).enumerate() {
                if plan.purpose != Purpose::Staging && !kept.contains(&Handle(index)) {
                    self.device.fill(buffer, 0xff);
                }
            }
            self.device.check()
        })
    }
}
