//! Bytes to a device through a ring of staging buffers of fixed size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::GpuDevice;
use crate::error::{Error, Result};
use crate::memory::Purpose;
use crate::plan::BufferPlan;

/// Bytes of one staging buffer.
const PIECE_BYTES: u64 = 4 << 20;

/// Staging buffers in the ring: one is filled while the others travel.
const PIECES: u64 = 3;

/// Bytes of the ring.
pub(crate) const STAGING_BYTES: u64 = PIECES * PIECE_BYTES;

/// A staging buffer with the submission that last read it.
struct Piece {
    buffer: wgpu::Buffer,
    mapped: Arc<AtomicBool>,
    submission: Option<wgpu::SubmissionIndex>,
}

/// The ring.
pub(super) struct Upload<'a> {
    device: &'a GpuDevice,
    pieces: Vec<Piece>,
    next: usize,
}

impl<'a> Upload<'a> {
    /// Allocates the ring.
    pub fn new(device: &'a GpuDevice) -> Result<Upload<'a>> {
        let usage = wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC;
        let piece = |index| {
            let plan = BufferPlan { label: format!("staging {index}"), bytes: PIECE_BYTES, purpose: Purpose::Staging };
            let buffer = device.allocate(&plan, usage)?;
            let mapped = Arc::new(AtomicBool::new(false));
            let arrived = Arc::clone(&mapped);
            buffer.map_async(wgpu::MapMode::Write, .., move |result| arrived.store(result.is_ok(), Ordering::Release));
            Ok(Piece { buffer, mapped, submission: None })
        };
        let pieces = (0..PIECES).map(piece).collect::<Result<_>>()?;
        Ok(Upload { device, pieces, next: 0 })
    }

    /// Copies bytes (a multiple of 4) to an offset of a buffer.
    pub fn write(&mut self, target: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        self.device.caught("upload", || self.write_pieces(target, offset, bytes))
    }

    fn write_pieces(&mut self, target: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut offset = offset;
        for chunk in bytes.chunks(PIECE_BYTES as usize) {
            let index = self.next;
            self.next = (self.next + 1) % self.pieces.len();
            self.wait_mapped(index)?;
            let piece = &mut self.pieces[index];
            let size = chunk.len() as u64;
            let refused = |error| Error::device(&self.device.label(), format!("staging: {error}"));
            piece.buffer.get_mapped_range_mut(0..size).map_err(refused)?.copy_from_slice(chunk);
            piece.buffer.unmap();
            let label = Some("upload");
            let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            encoder.copy_buffer_to_buffer(&piece.buffer, 0, target, offset, size);
            piece.mapped.store(false, Ordering::Release);
            let arrived = Arc::clone(&piece.mapped);
            encoder.map_buffer_on_submit(&piece.buffer, wgpu::MapMode::Write, .., move |result| {
                arrived.store(result.is_ok(), Ordering::Release);
            });
            piece.submission = Some(self.device.queue.submit([encoder.finish()]));
            offset += size;
        }
        self.device.check()
    }

    /// Waits until all that was written has arrived.
    pub fn finish(mut self) -> Result<()> {
        self.pieces.iter_mut().filter_map(|piece| piece.submission.take()).try_for_each(|last| self.device.wait(last))
    }

    fn wait_mapped(&mut self, index: usize) -> Result<()> {
        let piece = &mut self.pieces[index];
        if let Some(submission) = piece.submission.take() {
            self.device.wait(submission)?;
        } else {
            // Its first mapping waits for nothing.
            _ = self.device.poll(wgpu::PollType::Poll)?;
        }
        match self.pieces[index].mapped.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err(Error::device(&self.device.label(), "a staging buffer could not be mapped")),
        }
    }
}
