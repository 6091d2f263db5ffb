//! An opened device: pipelines, allocation, submission and waiting, with every failure as an error.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use plywood_kernels::op::Shader;

use super::shader;
use super::shared::{memory_hints, required_features, required_limits};
use crate::adapters::Adapter;
use crate::error::{Error, Result};
use crate::memory::Purpose;
use crate::plan::BufferPlan;

/// How long a submission may take. Submissions are bounded far below it, and each waits for the one before; this is for
/// drivers that hang.
const DEADLINE: Duration = Duration::from_secs(120);

/// Bytes that the measuring of copies takes: beyond caches, and quick on a slow device.
const COPY_BYTES: u64 = 256 << 20;

/// What a driver reports outside of calls.
#[derive(Debug, Clone)]
enum Fault {
    Lost(String),
    Error(String),
}

/// An opened device.
pub(crate) struct GpuDevice {
    pub facts: Adapter,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pipelines: Mutex<HashMap<Shader, wgpu::ComputePipeline>>,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl GpuDevice {
    /// Opens a device of an adapter, with what the adapter can do.
    pub fn open(adapter: &wgpu::Adapter, facts: &Adapter) -> Result<GpuDevice> {
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
        let opened = GpuDevice::new(facts.clone(), device, queue);
        opened.watch();
        Ok(opened)
    }

    /// A device that is open already.
    pub fn new(facts: Adapter, device: wgpu::Device, queue: wgpu::Queue) -> GpuDevice {
        GpuDevice { facts, device, queue, pipelines: Mutex::default(), fault: Arc::default() }
    }

    /// Keeps what the driver reports outside of calls; by default wgpu panics.
    fn watch(&self) {
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
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match fault.clone() {
            // A lost device stays lost.
            Some(Fault::Lost(reason)) => Err(Error::DeviceLost { device: self.label(), reason }),
            Some(Fault::Error(reason)) => {
                *fault = None;
                Err(Error::device(&self.label(), reason))
            }
            None => Ok(()),
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
            // Where the device was lost, that is the reason of all that follows.
            Some(_) if matches!(result, Err(Error::DeviceLost { .. })) => result,
            Some(error) => Err(Error::device(&self.label(), format!("{what}: {error}"))),
            None => result,
        }
    }

    /// Allocates a planned buffer.
    pub fn allocate(&self, plan: &BufferPlan, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let description =
            wgpu::BufferDescriptor { label: Some(&plan.label), size: plan.bytes, usage, mapped_at_creation: false };
        let (buffer, error) = self.scoped(|| self.device.create_buffer(&description));
        match error {
            None => self.check().map(|()| buffer),
            Some(wgpu::Error::OutOfMemory { .. }) => {
                Err(Error::OutOfMemory { device: self.label(), what: plan.label.clone(), bytes: plan.bytes })
            }
            Some(error) => Err(Error::device(&self.label(), format!("{}: {error}", plan.label))),
        }
    }

    /// The pipeline of a shader, made once.
    pub fn pipeline(&self, shader: &Shader) -> Result<wgpu::ComputePipeline> {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = pipelines.get(shader) {
            return Ok(pipeline.clone());
        }
        let (pipeline, error) = self.scoped(|| shader::pipeline(&self.device, shader));
        if let Some(error) = error {
            return Err(Error::device(&self.label(), format!("kernel {}: {error}", shader.name)));
        }
        pipelines.insert(shader.clone(), pipeline.clone());
        Ok(pipeline)
    }

    /// Bytes read and written per second by copies between two buffers, the best of several.
    pub fn copy_bandwidth(&self) -> Result<f64> {
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
            self.wait(self.queue.submit([encoder.finish()]))?;
            best = best.max(2.0 * bytes as f64 / begin.elapsed().as_secs_f64());
        }
        Ok(best)
    }

    /// Polls the device; an error where it was lost.
    pub fn poll(&self, poll: wgpu::PollType) -> Result<Result<wgpu::PollStatus, wgpu::PollError>> {
        // wgpu 30 panics where the device is lost while it is polled; its callback has told the fault before.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(poll)));
        self.check()?;
        let reason = "it failed while it was waited for".to_string();
        polled.map_err(|_| Error::DeviceLost { device: self.label(), reason })
    }

    /// Waits for a submission.
    pub fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let begin = Instant::now();
        loop {
            // GL caps a wait at about 2 s whatever is asked, so waits are short and repeated everywhere.
            let wait = wgpu::PollType::Wait {
                submission_index: Some(submission.clone()),
                timeout: Some(Duration::from_secs(1)),
            };
            match self.poll(wait)? {
                Ok(_) => return Ok(()),
                Err(wgpu::PollError::Timeout) if begin.elapsed() < DEADLINE => {}
                Err(wgpu::PollError::Timeout) => {
                    return Err(Error::Timeout { device: self.label(), seconds: DEADLINE.as_secs() });
                }
                Err(error) => return Err(Error::device(&self.label(), error)),
            }
        }
    }
}
