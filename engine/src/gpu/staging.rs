//! Staging buffers: memory that the host writes and a device copies from, over and over again.

use super::device::GpuDevice;
use crate::error::Result;
use crate::stage::plan::BufferPlan;

/// A staging buffer. It is the host's until it was sent, and again once the device has read it.
pub(super) struct Staging {
    buffer: wgpu::Buffer,
    /// The submission that reads it, or did.
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
        let staging = Staging { buffer, submission: None };
        device.caught(&plan.label, || {
            staging.map();
            Ok(())
        })?;
        Ok(staging)
    }

    /// The buffer.
    pub fn buffer(&self) -> wgpu::Buffer {
        self.buffer.clone()
    }

    /// Asks for it. Nothing is to be done when it comes: [`Staging::write`] looks whether it has.
    fn map(&self) {
        self.buffer.map_async(wgpu::MapMode::Write, .., |_| {});
    }

    /// Has its first bytes written, once it is the host's.
    pub fn write(
        &mut self,
        device: &GpuDevice,
        bytes: u64,
        write: impl FnOnce(&mut wgpu::BufferViewMut),
    ) -> Result<()> {
        let refused = |error| device.refused("staging", error);
        let mut view = match self.buffer.get_mapped_range_mut(0..bytes) {
            Ok(view) => view,
            Err(_) => {
                match self.submission.take() {
                    Some(submission) => device.wait(submission)?,
                    // What waits for nothing comes when the device is polled.
                    None => _ = device.poll(wgpu::PollType::Poll)?,
                }
                self.buffer.get_mapped_range_mut(0..bytes).map_err(refused)?
            }
        };
        write(&mut view);
        Ok(())
    }

    /// Has a submission copy what was written, stretch by stretch, and give the buffer back.
    pub fn send<'a>(&self, encoder: &mut wgpu::CommandEncoder, stretches: impl IntoIterator<Item = Stretch<'a>>) {
        self.buffer.unmap();
        let mut from = 0;
        for Stretch { target, offset, bytes } in stretches {
            encoder.copy_buffer_to_buffer(&self.buffer, from, target, offset, bytes);
            from += bytes;
        }
        encoder.map_buffer_on_submit(&self.buffer, wgpu::MapMode::Write, .., |_| {});
    }

    /// Says in which submission it was sent.
    pub fn sent(&mut self, submission: wgpu::SubmissionIndex) {
        self.submission = Some(submission);
    }

    /// Waits until the device has read what was sent.
    pub fn finish(&mut self, device: &GpuDevice) -> Result<()> {
        self.submission.take().map_or(Ok(()), |submission| device.wait(submission))
    }

    /// Makes it the host's again where sending it failed.
    pub fn take_back(&self) {
        self.buffer.unmap();
        self.map();
    }
}
