//! Turns in the order of asking: std's lock lets the thread that leaves take it again before others wake.

use std::sync::{Condvar, Mutex, PoisonError};

/// Something that one thread has at a time.
#[derive(Default)]
pub(super) struct Turns {
    state: Mutex<Tickets>,
    changed: Condvar,
}

/// The ticket that the next to ask gets, and the one whose turn it is.
#[derive(Default)]
struct Tickets {
    next: u64,
    current: u64,
}

/// One thread's turn, which ends when it is dropped.
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for those who asked before.
    pub fn take(&self) -> Turn<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = state.next;
        state.next += 1;
        while state.current != mine {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).current += 1;
        self.0.changed.notify_all();
    }
}
