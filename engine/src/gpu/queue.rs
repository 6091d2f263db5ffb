//! Steps that a GPU was given and whose results are not fetched yet: the next is encoded while the device runs the last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plywood_kernels::graph::{Output, ValueId, Values};
use plywood_kernels::step::Step;

use super::in_flight::{Copies, InFlight, Readback, Submitted};
use super::profile::Profile;
use super::stage::{FIRST_OPERATIONS, GpuStage, SUBMISSION};
use super::staging::Staging;
use crate::error::Result;
use crate::stage::plan::StagePlan;
use crate::stage::recording::{Handle, Key};
use crate::stage::{StageQueue, Ticket, rows_of, step_size};

/// Steps that may be in flight: one that the device runs, and the next.
const MOST: usize = 2;

impl StageQueue for GpuStage {
    fn submit(
        &mut self,
        step: &Step,
        requested: &[Output],
        given: &Values,
        is_cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Ticket> {
        let (device, ticket) = (Arc::clone(&self.device), Ticket::default());
        let key = Key::of(step, requested);
        let recording = device.caught("a recording", || self.recording(&key, is_cancelled))?;
        if recording.dispatches() == 0 {
            ticket.stub().keep(Ok(Values::new()));
            return Ok(ticket);
        }
        let most = if self.profile.is_some() { 1 } else { MOST };
        while self.in_flight.len() >= most {
            self.fetch_for_its_ticket();
        }
        let begin = Instant::now();
        let copies = Copies {
            first: step.is_ahead.then(|| step.tokens[0].sequence),
            chosen: self.choice(step, &key.requested, &recording.results),
            read: recording.results.iter().map(|value| self.readback(*value, step)).collect(),
        };
        let submitted = device.caught("a step", || {
            self.write_step(step, given)?;
            self.send(&recording, step_size(step), &copies, is_cancelled)
        });
        let submitted = submitted.inspect_err(|_| self.take_back(&copies.read))?;
        let (read, dispatches) = (copies.read, recording.dispatches());
        self.in_flight.push_back(InFlight { submitted, read, begin, dispatches, ticket: ticket.stub() });
        Ok(ticket)
    }

    fn collect(&mut self, ticket: Ticket, results: &mut Values) -> Result<()> {
        loop {
            if let Some(outcome) = ticket.take() {
                *results = outcome?;
                return Ok(());
            }
            if self.in_flight.front().is_some_and(|step| step.ticket.is_of(&ticket)) {
                let step = self.in_flight.pop_front().expect("there is one");
                return self.fetch(step, results);
            }
            self.fetch_for_its_ticket();
        }
    }
}

impl GpuStage {
    /// The one token that a step chooses, if it is one and chosen here, and the sequence that it is for.
    fn choice(&self, step: &Step, requested: &[Output], results: &[ValueId]) -> Option<(ValueId, u32)> {
        let ([output], [place]) = (requested, &step.selected[..]) else { return None };
        let (_, value) = self.graph.outputs.iter().find(|(known, _)| known == output && output.is_choice())?;
        results.contains(value).then(|| (*value, step.tokens[*place as usize].sequence))
    }

    /// Where a value of a step is read back: to a buffer that no step in flight has.
    fn readback(&mut self, value: ValueId, step: &Step) -> Readback {
        let rows = rows_of(&self.graph, value, step);
        let bytes = (rows * StagePlan::stride(&self.graph, value) * 4) as u64;
        loop {
            let taken =
                |handle: &&Handle| self.in_flight.iter().flat_map(|step| &step.read).any(|read| read.to == **handle);
            if let Some(to) = self.plan.readbacks[&value].iter().find(|handle| !taken(handle)) {
                return Readback { value, bytes, to: *to };
            }
            self.fetch_for_its_ticket();
        }
    }

    /// Fetches the results of the oldest step in flight, for whoever has its ticket.
    fn fetch_for_its_ticket(&mut self) {
        if let Some(step) = self.in_flight.pop_front() {
            let (ticket, mut results) = (step.ticket.clone(), Values::new());
            ticket.keep(self.fetch(step, &mut results).map(|()| results));
        }
    }

    /// Fetches the results of all steps in flight.
    pub(super) fn fetch_all(&mut self) {
        while !self.in_flight.is_empty() {
            self.fetch_for_its_ticket();
        }
    }

    /// Waits for a step and reads its results.
    fn fetch(&mut self, step: InFlight, results: &mut Values) -> Result<()> {
        let device = Arc::clone(&self.device);
        let InFlight { submitted: Submitted { last, operations, encode }, read, begin, dispatches, .. } = step;
        let waited = device.caught("a step", || {
            device.wait(last)?;
            self.profile.as_mut().map_or(Ok(()), |profile| profile.read(&device))
        });
        waited.inspect_err(|_| self.take_back(&read))?;
        let outcome = device.caught("read back", || {
            results.retain(|value, _| read.iter().any(|read| read.value == *value));
            // All are read, and so unmapped, before an error is returned.
            let mut outcome = Ok(());
            for readback in &read {
                outcome = outcome.and(self.read(readback, results.entry(readback.value).or_default()));
            }
            outcome
        });
        let busy = self.times.add(begin, encode, dispatches);
        self.learn_speed(operations, busy);
        outcome
    }

    /// What the next submissions may hold, from how long a step took; no more than doubled at once.
    fn learn_speed(&mut self, operations: u64, busy: Duration) {
        let measured = (operations as f64 * SUBMISSION.as_secs_f64() / busy.as_secs_f64().max(1e-6)) as u64;
        if operations > self.budget / 4 {
            self.budget = measured.clamp(FIRST_OPERATIONS / 16, self.budget * 2);
        }
    }

    /// Reads the rows of a value that was copied out.
    fn read(&self, Readback { value, bytes, to }: &Readback, rows: &mut Vec<f32>) -> Result<()> {
        let buffer = &self.buffers[to.0];
        let view = match buffer.get_mapped_range(0..*bytes) {
            Ok(view) => view,
            Err(error) => {
                buffer.unmap();
                return Err(self.device.refused("read back", error));
            }
        };
        let (width, stride) = (self.graph.values[value.0].width, StagePlan::stride(&self.graph, *value));
        // Bytes, because a mapping need not be aligned for f32.
        let numbers = view.chunks_exact(stride * 4).flat_map(|row| row[..width * 4].chunks_exact(4));
        rows.clear();
        rows.extend(numbers.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])));
        drop(view);
        buffer.unmap();
        Ok(())
    }

    /// Makes buffers the host's again after a step that failed: one left mapped, or never given back, would make every later step fail.
    fn take_back(&mut self, read: &[Readback]) {
        self.written.clear();
        let device = Arc::clone(&self.device);
        _ = device.scoped(|| {
            read.iter().for_each(|read| self.buffers[read.to.0].unmap());
            self.staging.iter().for_each(Staging::take_back);
            self.profile.iter_mut().for_each(Profile::forget);
        });
    }
}
