//! Staging buffers: memory that the host writes and a device copies from, over and over again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::GpuDevice;
use crate::error::{Error, Result};
use crate::plan::BufferPlan;

/// A staging buffer. It is the host's until it was sent, and again once the device has read it.
pub(super) struct Staging {
    buffer: wgpu::Buffer,
    mapped: Arc<AtomicBool>,
    /// The submission that last read it.
    submission: Option<wgpu::SubmissionIndex>,
}

/// A stretch of a staging buffer and where it goes.
pub(super) struct Stretch<'a> {
    pub target: &'a wgpu::Buffer,
    pub offset: u64,
    pub bytes: u64,
}

impl Staging {
    /// Allocates a planned buffer.
    pub fn new(device: &GpuDevice, plan: &BufferPlan) -> Result<Staging> {
        let buffer = device.allocate(plan, wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC)?;
        let staging = Staging { buffer, mapped: Arc::default(), submission: None };
        staging.buffer.map_async(wgpu::MapMode::Write, .., staging.arrival());
        Ok(staging)
    }

    /// The buffer.
    pub fn buffer(&self) -> wgpu::Buffer {
        self.buffer.clone()
    }

    /// What notes that the buffer is the host's again.
    fn arrival(&self) -> impl FnOnce(Result<(), wgpu::BufferAsyncError>) + Send + 'static {
        let mapped = Arc::clone(&self.mapped);
        move |result| mapped.store(result.is_ok(), Ordering::Release)
    }

    /// Has its first bytes written, once it is the host's.
    pub fn write(
        &mut self,
        device: &GpuDevice,
        bytes: u64,
        write: impl FnOnce(&mut wgpu::BufferViewMut),
    ) -> Result<()> {
        if let Some(submission) = self.submission.take() {
            device.wait(submission)?;
        } else if !self.mapped.load(Ordering::Acquire) {
            // A mapping that waits for nothing is told when the device is polled.
            _ = device.poll(wgpu::PollType::Poll)?;
        }
        let refused = |error: &dyn std::fmt::Display| Error::device(&device.label(), format!("staging: {error}"));
        if !self.mapped.load(Ordering::Acquire) {
            return Err(refused(&"a buffer could not be mapped"));
        }
        write(&mut self.buffer.get_mapped_range_mut(0..bytes).map_err(|error| refused(&error))?);
        Ok(())
    }

    /// Has a submission copy what was written, stretch by stretch, and give the buffer back.
    pub fn send<'a>(&self, encoder: &mut wgpu::CommandEncoder, stretches: impl IntoIterator<Item = Stretch<'a>>) {
        self.buffer.unmap();
        self.mapped.store(false, Ordering::Release);
        let mut from = 0;
        for Stretch { target, offset, bytes } in stretches {
            encoder.copy_buffer_to_buffer(&self.buffer, from, target, offset, bytes);
            from += bytes;
        }
        encoder.map_buffer_on_submit(&self.buffer, wgpu::MapMode::Write, .., self.arrival());
    }

    /// Says in which submission it was sent, unless somebody waits for that anyway.
    pub fn sent(&mut self, submission: wgpu::SubmissionIndex) {
        self.submission = Some(submission);
    }

    /// Waits until the device has read what was sent.
    pub fn finish(&mut self, device: &GpuDevice) -> Result<()> {
        self.submission.take().map_or(Ok(()), |submission| device.wait(submission))
    }

    /// Makes it the host's again where a submission failed.
    pub fn take_back(&mut self) {
        self.submission = None;
        if !self.mapped.load(Ordering::Acquire) {
            self.buffer.unmap();
            self.buffer.map_async(wgpu::MapMode::Write, .., self.arrival());
        }
    }
}
