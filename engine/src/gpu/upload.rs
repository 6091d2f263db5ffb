//! Bytes to a device through a ring of staging buffers of fixed size.

use super::GpuDevice;
use super::staging::{Staging, Stretch};
use crate::error::Result;
use crate::ledger::Purpose;
use crate::stage::plan::BufferPlan;

/// Bytes of one staging buffer.
const PIECE_BYTES: u64 = 4 << 20;

/// Staging buffers in the ring: one is filled while the others travel.
const PIECES: u64 = 3;

/// Bytes of the ring.
pub(crate) const STAGING_BYTES: u64 = PIECES * PIECE_BYTES;

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
            let plan = BufferPlan { label: format!("staging {index}"), bytes: PIECE_BYTES, purpose: Purpose::Staging };
            Staging::new(device, &plan)
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
            let size = chunk.len() as u64;
            let piece = &mut self.pieces[self.next];
            self.next = (self.next + 1) % PIECES as usize;
            piece.write(self.device, size, |view| view.copy_from_slice(chunk))?;
            let label = Some("upload");
            let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
            piece.send(&mut encoder, [Stretch { target, offset, bytes: size }]);
            piece.sent(self.device.submit(encoder.finish())?);
            offset += size;
        }
        self.device.check()
    }

    /// Waits until all that was written has arrived.
    pub fn finish(mut self) -> Result<()> {
        self.pieces.iter_mut().try_for_each(|piece| piece.finish(self.device))
    }
}
