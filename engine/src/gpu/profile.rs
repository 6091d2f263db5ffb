//! Where a step's time goes, dispatch by dispatch: timestamps of the device before and after each.

use std::sync::Arc;

use plywood_kernels::candidate::Candidate;

use super::device::GpuDevice;
use crate::error::Result;
use crate::ledger::Purpose;
use crate::stage::KernelTimes;
use crate::stage::plan::BufferPlan;
use crate::stage::recording::Command;

/// Dispatches of a step that are timed, with two timestamps each; those after them are not.
const MOST: u32 = wgpu::QUERY_SET_MAX_QUERIES / 2;

/// Bytes of a timestamp.
const STAMP: u64 = 8;

/// Timestamps of a step, and what dispatches took in the steps before.
pub(super) struct Profile {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readback: wgpu::Buffer,
    /// Nanoseconds of a unit of timestamps.
    period: f64,
    /// The dispatches of the step that have timestamps, in their order.
    timed: Vec<(&'static str, Arc<Candidate>)>,
    times: KernelTimes,
}

impl Profile {
    /// Allocates what it needs; `None` on a device without timestamps.
    pub fn new(device: &GpuDevice) -> Result<Option<Profile>> {
        if !device.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let bytes = 2 * u64::from(MOST) * STAMP;
        let allocate = |label: &str, usage| {
            device.allocate(&BufferPlan { label: label.into(), bytes, purpose: Purpose::Staging }, usage)
        };
        let resolved = allocate("timestamps", wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        let readback = allocate("read timestamps", wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ)?;
        device.caught("timestamps", || {
            let queries = device.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2 * MOST,
            });
            let (period, timed, times) = (device.timestamp_period(), Vec::new(), KernelTimes::new());
            Ok(Some(Profile { queries, resolved, readback, period, timed, times }))
        })
    }

    /// The timestamps of a dispatch that has a pass of its own; `None` where there are no more of them.
    pub fn stamp(&mut self, command: &Command) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let index = self.timed.len() as u32;
        (index < MOST).then(|| {
            self.timed.push((command.shader.name, Arc::clone(&command.candidate)));
            wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(2 * index),
                end_of_pass_write_index: Some(2 * index + 1),
            }
        })
    }

    fn bytes(&self) -> u64 {
        2 * self.timed.len() as u64 * STAMP
    }

    /// Has the step's timestamps copied out with its results.
    pub fn copy_out(&self, encoder: &mut wgpu::CommandEncoder) {
        let stamps = 2 * self.timed.len() as u32;
        if stamps > 0 {
            encoder.resolve_query_set(&self.queries, 0..stamps, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, self.bytes());
            encoder.map_buffer_on_submit(&self.readback, wgpu::MapMode::Read, 0..self.bytes(), |_| {});
        }
    }

    /// Adds what was copied out, once it is there.
    pub fn read(&mut self, device: &GpuDevice) -> Result<()> {
        if self.timed.is_empty() {
            return Ok(());
        }
        let read = self.readback.get_mapped_range(0..self.bytes()).map(|view| {
            let (stamps, _) = view.as_chunks::<{ STAMP as usize }>();
            let stamps: Vec<u64> = stamps.iter().map(|stamp| u64::from_le_bytes(*stamp)).collect();
            for ((kernel, candidate), stamps) in self.timed.drain(..).zip(stamps.chunks_exact(2)) {
                let seconds = stamps[1].saturating_sub(stamps[0]) as f64 * self.period * 1e-9;
                self.times.entry((kernel, candidate.to_string())).or_default().add(seconds);
            }
        });
        self.forget();
        read.map_err(|error| device.refused("timestamps", error))
    }

    /// Leaves what a step that failed has timed.
    pub fn forget(&mut self) {
        self.timed.clear();
        self.readback.unmap();
    }

    /// What dispatches took.
    pub fn into_times(self) -> KernelTimes {
        self.times
    }
}
