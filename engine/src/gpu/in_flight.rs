//! What is known of a step while a device has it.

use std::time::{Duration, Instant};

use plywood_kernels::graph::ValueId;

use crate::stage::TicketStub;
use crate::stage::recording::Handle;

/// A step that was submitted.
pub(super) struct Submitted {
    /// What to wait for.
    pub last: wgpu::SubmissionIndex,
    /// Multiply-adds, roughly.
    pub operations: u64,
    /// The CPU's encoding of commands, without the driver's taking of them.
    pub encode: Duration,
}

/// What goes between buffers before and after the dispatches of a step.
#[derive(Default)]
pub(super) struct Copies {
    /// Whether the step's token is the one that was chosen for this sequence last.
    pub first: Option<u32>,
    /// The token that the step chooses, and for which sequence.
    pub chosen: Option<(ValueId, u32)>,
    /// What is read back.
    pub read: Vec<Readback>,
}

/// What is read back of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readback {
    pub value: ValueId,
    pub bytes: u64,
    pub to: Handle,
}

/// A step that the device was given.
pub(super) struct InFlight {
    pub submitted: Submitted,
    pub read: Vec<Readback>,
    pub begin: Instant,
    pub dispatches: usize,
    pub ticket: TicketStub,
}
