//! Buffers as a plan lists them.

use super::BufferPlan;
use crate::ledger::Purpose;
use crate::stage::recording::Handle;

/// Adds a buffer of this many bytes.
pub(super) fn allot(buffers: &mut Vec<BufferPlan>, label: impl Into<String>, bytes: u64, purpose: Purpose) -> Handle {
    buffers.push(BufferPlan { label: label.into(), bytes: bytes.next_multiple_of(16).max(16), purpose });
    Handle(buffers.len() - 1)
}
