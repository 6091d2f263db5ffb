//! A lock that threads get in the order in which they asked: std's lets the thread that releases it take it again before others wake.

use std::sync::{Condvar, Mutex, PoisonError};

/// A lock that is granted in order.
#[derive(Default)]
pub(super) struct FairLock {
    state: Mutex<Tickets>,
    changed: Condvar,
}

/// The ticket that the next to ask gets, and the one that has the lock.
#[derive(Default)]
struct Tickets {
    next: u64,
    current: u64,
}

/// Holds the lock until it is dropped.
pub(crate) struct FairGuard<'a>(&'a FairLock);

impl FairLock {
    /// Waits for those that asked before.
    pub fn lock(&self) -> FairGuard<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = state.next;
        state.next += 1;
        while state.current != mine {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        FairGuard(self)
    }
}

impl Drop for FairGuard<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).current += 1;
        self.0.changed.notify_all();
    }
}
