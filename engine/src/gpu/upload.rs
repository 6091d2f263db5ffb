//! Bytes to a device through a ring of staging buffers of fixed size.

use super::device::GpuDevice;
use super::staging::{Staging, Stretch};
use crate::error::Result;
use crate::ledger::Purpose;
use crate::stage::plan::BufferPlan;
use crate::stage::{Fill, READ_BYTES};

/// Bytes of one staging buffer: what is read at once.
const PIECE_BYTES: usize = READ_BYTES;

/// Staging buffers in the ring: one is filled while the others travel.
const PIECES: usize = 3;

/// Bytes of the ring.
pub(crate) const STAGING_BYTES: u64 = (PIECES * PIECE_BYTES) as u64;

/// The ring.
pub(super) struct Upload<'a> {
    device: &'a GpuDevice,
    pieces: Vec<Staging>,
    next: usize,
}

impl<'a> Upload<'a> {
    /// Allocates the ring.
    pub fn new(device: &'a GpuDevice) -> Result<Upload<'a>> {
        let piece = |index| {
            let plan =
                BufferPlan { label: format!("staging {index}"), bytes: PIECE_BYTES as u64, purpose: Purpose::Staging };
            Staging::new(device, &plan)
        };
        let pieces = (0..PIECES).map(piece).collect::<Result<_>>()?;
        Ok(Upload { device, pieces, next: 0 })
    }

    /// Copies bytes (a multiple of 4) to an offset of a buffer.
    pub fn write(&mut self, target: &wgpu::Buffer, offset: u64, bytes: &[u8]) -> Result<()> {
        let offsets = (offset..).step_by(PIECE_BYTES);
        let mut chunks = bytes.chunks(PIECE_BYTES).zip(offsets);
        chunks.try_for_each(|(chunk, offset)| self.fill(target, offset, chunk.len(), &mut |put| put(chunk)))
    }

    /// Has this many bytes (a multiple of 4, at most [`PIECE_BYTES`]) from an offset of a buffer on given, straight into a staging buffer.
    pub fn fill(&mut self, target: &wgpu::Buffer, offset: u64, bytes: usize, fill: Fill) -> Result<()> {
        self.device.caught("upload", || self.fill_piece(target, offset, bytes as u64, fill))
    }

    fn fill_piece(&mut self, target: &wgpu::Buffer, offset: u64, bytes: u64, fill: Fill) -> Result<()> {
        let piece = &mut self.pieces[self.next];
        self.next = (self.next + 1) % PIECES;
        piece.write(self.device, bytes, |view| {
            let mut at = 0;
            fill(&mut |bytes| {
                view.slice(at..at + bytes.len()).copy_from_slice(bytes);
                at += bytes.len();
            });
        })?;
        let label = Some("upload");
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
        piece.send(&mut encoder, [Stretch { target, offset, bytes }]);
        piece.sent(self.device.submit(encoder.finish())?);
        self.device.check()
    }

    /// Waits until all that was written has arrived.
    pub fn finish(mut self) -> Result<()> {
        self.pieces.iter_mut().try_for_each(|piece| piece.finish(self.device))
    }
}
