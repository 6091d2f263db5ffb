//! An opened device: pipelines, allocation, submission and waiting, with every failure as an error.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plywood_kernels::dispatch::Shader;

use super::shader;
use super::shared::{SharedDevice, memory_hints, required_features, required_limits};
use crate::devices::adapter::Adapter;
use crate::error::{Error, Result};
use crate::faults::{Call, Failure, Watch};
use crate::ledger::Purpose;
use crate::stage::plan::BufferPlan;

/// Bytes that the measuring of copies takes: beyond caches, and quick on a slow device.
const COPY_BYTES: u64 = 256 << 20;

/// What a driver reports outside of calls.
#[derive(Debug, Clone)]
enum Fault {
    Lost(String),
    Error(String),
}

type Pipelines = HashMap<Shader, wgpu::ComputePipeline>;

/// Devices of an adapter that no model uses now, with the kernels that were compiled for them.
#[derive(Clone, Default)]
pub(crate) struct KeptDevices(Arc<Mutex<Vec<GpuDevice>>>);

impl KeptDevices {
    fn list(&self) -> MutexGuard<'_, Vec<GpuDevice>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An opened device.
pub(crate) struct GpuDevice {
    pub facts: Adapter,
    pub device: wgpu::Device,
    /// There until the end.
    queue: Option<wgpu::Queue>,
    watch: Watch,
    pipelines: Mutex<Pipelines>,
    /// Those of the models before.
    earlier: Pipelines,
    fault: Arc<Mutex<Option<Fault>>>,
    /// Where it goes at the end.
    kept: Option<KeptDevices>,
}

impl GpuDevice {
    /// Opens a device of an adapter, with what the adapter can do, or takes one over that a model has left.
    pub fn open(
        adapter: &wgpu::Adapter,
        facts: &Adapter,
        kept: Option<&KeptDevices>,
        watch: &Watch,
    ) -> Result<GpuDevice> {
        while let Some(mut device) = kept.and_then(|kept| kept.list().pop()) {
            if device.works().is_ok() {
                (device.facts, device.watch, device.kept) = (facts.clone(), watch.clone(), kept.cloned());
                return device.opened();
            }
        }
        let description = wgpu::DeviceDescriptor {
            label: Some("plywood"),
            required_features: required_features(adapter),
            required_limits: required_limits(adapter),
            memory_hints: memory_hints(),
            ..Default::default()
        };
        let label = facts.label();
        let (device, queue) = pollster::block_on(adapter.request_device(&description))
            .map_err(|error| Error::device(&label, format!("it could not be opened: {error}")))?;
        let mut opened = GpuDevice::new(facts.clone(), device, queue, watch)?;
        opened.listen();
        opened.kept = kept.cloned();
        Ok(opened)
    }

    /// A device that is open already.
    pub fn new(facts: Adapter, device: wgpu::Device, queue: wgpu::Queue, watch: &Watch) -> Result<GpuDevice> {
        let (queue, watch) = (Some(queue), watch.clone());
        let (pipelines, earlier, fault) = (Mutex::default(), HashMap::new(), Arc::default());
        GpuDevice { facts, device, queue, watch, pipelines, earlier, fault, kept: None }.opened()
    }

    /// Notes that it was opened.
    fn opened(self) -> Result<GpuDevice> {
        match self.reach(Call::Open) {
            true => Err(Error::device(&self.label(), "it could not be opened: a failure was ordered")),
            false => Ok(self),
        }
    }

    /// Notes a call; whether it is to be refused.
    fn reach(&self, call: Call) -> bool {
        match self.watch.reach(|| self.label(), call) {
            None => false,
            Some(Failure::Refuse) => true,
            Some(Failure::Lose) => {
                *self.fault() = Some(Fault::Lost("a failure was ordered".into()));
                self.device.destroy();
                false
            }
        }
    }

    /// The queue.
    pub(super) fn queue(&self) -> &wgpu::Queue {
        self.queue.as_ref().expect("it is there until the end")
    }

    fn fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what the driver reports outside of calls; by default wgpu panics.
    fn listen(&self) {
        let lost = Arc::clone(&self.fault);
        self.device.set_device_lost_callback(move |reason, message| {
            // Dropping the device at the end is no loss.
            if reason != wgpu::DeviceLostReason::Destroyed {
                let message = if message.is_empty() { "the driver gave no reason".to_string() } else { message };
                *lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Fault::Lost(message));
            }
        });
        let uncaptured = Arc::clone(&self.fault);
        self.device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let mut fault = uncaptured.lock().unwrap_or_else(PoisonError::into_inner);
            fault.get_or_insert(Fault::Error(error.to_string()));
        }));
    }

    /// The name for messages.
    pub fn label(&self) -> String {
        self.facts.label()
    }

    /// An error if the driver reported one since the last call.
    pub fn check(&self) -> Result<()> {
        let mut fault = self.fault();
        match fault.take() {
            Some(Fault::Lost(reason)) => {
                // A lost device stays lost.
                *fault = Some(Fault::Lost(reason.clone()));
                Err(Error::DeviceLost { device: self.label(), reason })
            }
            Some(Fault::Error(reason)) => Err(Error::device(&self.label(), reason)),
            None => Ok(()),
        }
    }

    /// The error of a call that failed: where the device was lost, that is the reason of all that follows.
    pub(super) fn refused(&self, what: &str, error: impl fmt::Display) -> Error {
        match self.check().and_then(|()| self.takes_work()) {
            Err(lost @ Error::DeviceLost { .. }) => lost,
            _ => Error::device(&self.label(), format!("{what}: {error}")),
        }
    }

    /// An error if the device takes no work any more. An app's own device tells its loss to the app alone.
    fn takes_work(&self) -> Result<()> {
        let (waited, _) = self.scoped(|| {
            let submission_index = Some(self.queue().submit([]));
            self.poll(wgpu::PollType::Wait { submission_index, timeout: Some(Duration::ZERO) })
        });
        match waited? {
            // So wgpu tells that it did not take the submission.
            Err(wgpu::PollError::WrongSubmissionIndex(..)) => {
                let reason = "it takes no work any more: it was destroyed, or its driver reset it".to_string();
                Err(Error::DeviceLost { device: self.label(), reason })
            }
            _ => Ok(()),
        }
    }

    /// Runs calls whose errors are to be caught here.
    pub(super) fn scoped<T>(&self, calls: impl FnOnce() -> T) -> (T, Option<wgpu::Error>) {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = calls();
        let errors = [validation, internal, memory].map(|scope| pollster::block_on(scope.pop()));
        (result, errors.into_iter().flatten().next())
    }

    /// Runs calls whose errors become theirs: an app's own device has no handler of ours.
    pub fn caught<T>(&self, what: &str, calls: impl FnOnce() -> Result<T>) -> Result<T> {
        let (result, error) = self.scoped(calls);
        match error {
            Some(_) if matches!(result, Err(Error::DeviceLost { .. })) => result,
            Some(error) => Err(self.refused(what, error)),
            None => result,
        }
    }

    /// Allocates a planned buffer.
    pub fn allocate(&self, plan: &BufferPlan, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let description =
            wgpu::BufferDescriptor { label: Some(&plan.label), size: plan.bytes, usage, mapped_at_creation: false };
        let full = || Error::OutOfMemory { device: self.label(), what: plan.label.clone(), bytes: plan.bytes };
        if self.reach(Call::Allocate) {
            return Err(full());
        }
        let (buffer, error) = self.scoped(|| self.device.create_buffer(&description));
        match error {
            None => self.check()?,
            Some(wgpu::Error::OutOfMemory { .. }) => return Err(full()),
            Some(error) => return Err(self.refused(&plan.label, error)),
        }
        self.watch.allocated(|| self.label(), &plan.label, plan.bytes);
        Ok(buffer)
    }

    /// The pipeline of a shader, made once.
    pub fn pipeline(&self, shader: &Shader) -> Result<wgpu::ComputePipeline> {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = pipelines.get(shader) {
            return Ok(pipeline.clone());
        }
        let what = || format!("kernel {}", shader.name);
        if self.reach(Call::Prepare) {
            return Err(self.refused(&what(), "a failure was ordered"));
        }
        let pipeline = match self.earlier.get(shader) {
            Some(pipeline) => pipeline.clone(),
            None => {
                let (pipeline, error) = self.scoped(|| shader::pipeline(&self.device, shader));
                if let Some(error) = error {
                    return Err(self.refused(&what(), error));
                }
                pipeline
            }
        };
        pipelines.insert(shader.clone(), pipeline.clone());
        Ok(pipeline)
    }

    /// Bytes read and written per second by copies between two buffers, the best of several.
    pub fn copy_bandwidth(&self) -> Result<f64> {
        self.caught("copies", || self.copy())
    }

    fn copy(&self) -> Result<f64> {
        let bytes = COPY_BYTES.min(self.facts.max_buffer);
        let usage = wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffer =
            |label: &str| self.allocate(&BufferPlan { label: label.into(), bytes, purpose: Purpose::Staging }, usage);
        let (from, to) = (buffer("copy source")?, buffer("copy target")?);
        let mut best = 0f64;
        for _ in 0..5 {
            let label = Some("copy");
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes);
            let begin = Instant::now();
            self.wait(self.submit(encoder.finish())?)?;
            best = best.max(2.0 * bytes as f64 / begin.elapsed().as_secs_f64());
        }
        Ok(best)
    }

    /// An error if the device does not do what it is given.
    pub fn works(&self) -> Result<()> {
        self.check()?;
        self.caught("a check", || {
            let encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("check") });
            self.wait(self.submit(encoder.finish())?)
        })
    }

    /// Polls the device; an error where it was lost.
    pub fn poll(&self, poll: wgpu::PollType) -> Result<Result<wgpu::PollStatus, wgpu::PollError>> {
        // wgpu 30 panics where the device is lost while it is polled; its callback has told the fault before.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(poll)));
        self.check()?;
        let reason = "it failed while it was waited for".to_string();
        polled.map_err(|_| Error::DeviceLost { device: self.label(), reason })
    }

    /// Submits work.
    pub fn submit(&self, commands: wgpu::CommandBuffer) -> Result<wgpu::SubmissionIndex> {
        if self.reach(Call::Submit) {
            return Err(self.refused("a submission", "a failure was ordered"));
        }
        Ok(self.queue().submit([commands]))
    }

    /// Nanoseconds of a unit of its timestamps.
    pub fn timestamp_period(&self) -> f64 {
        f64::from(self.queue().get_timestamp_period())
    }

    /// Fills a buffer, whatever it holds. Errors go to the scope that is open.
    pub fn fill(&self, buffer: &wgpu::Buffer, byte: u8) {
        self.queue().write_buffer(buffer, 0, &vec![byte; buffer.size() as usize]);
    }

    /// Waits for a submission, as long as the watch says: every wait of the engine ends, since it is this one.
    pub fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let (begin, deadline) = (Instant::now(), self.watch.deadline);
        let hangs = self.reach(Call::Wait);
        loop {
            // GL caps a wait at about 2 s whatever is asked, so waits are short and repeated everywhere.
            let timeout = Duration::from_secs(1).min(deadline);
            let wait = wgpu::PollType::Wait { submission_index: Some(submission.clone()), timeout: Some(timeout) };
            let polled = if hangs { Err(wgpu::PollError::Timeout) } else { self.poll(wait)? };
            match polled {
                Ok(_) => return Ok(()),
                Err(wgpu::PollError::Timeout) if begin.elapsed() < deadline => {
                    if hangs {
                        std::thread::sleep(timeout);
                    }
                }
                Err(wgpu::PollError::Timeout) => {
                    let seconds = deadline.as_secs();
                    // It is not waited for again, and freeing it would wait for what does not end.
                    *self.fault() = Some(Fault::Lost(format!("it did not finish within {seconds} s")));
                    std::mem::forget((self.device.clone(), self.queue.clone()));
                    return Err(Error::Timeout { device: self.label(), seconds });
                }
                Err(error) => return Err(self.refused("a submission", error)),
            }
        }
    }
}

impl SharedDevice {
    /// The device as the engine uses it.
    pub(crate) fn open(&self, watch: &Watch) -> Result<GpuDevice> {
        GpuDevice::new(self.facts()?, self.device.clone(), self.queue.clone(), watch)
    }
}

impl Drop for GpuDevice {
    fn drop(&mut self) {
        // wgpu 30 panics where a driver fails while its queue is freed.
        let queue = self.queue.take();
        if let Some(kept) = self.kept.take().filter(|_| self.check().is_ok()) {
            let mut earlier = std::mem::take(&mut self.earlier);
            earlier.extend(self.pipelines.get_mut().unwrap_or_else(PoisonError::into_inner).drain());
            let left = GpuDevice {
                facts: self.facts.clone(),
                device: self.device.clone(),
                queue,
                watch: Watch::default(),
                pipelines: Mutex::default(),
                earlier,
                fault: Arc::clone(&self.fault),
                kept: None,
            };
            return kept.list().push(left);
        }
        _ = catch_unwind(AssertUnwindSafe(|| drop(queue)));
    }
}
