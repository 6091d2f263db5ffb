//! A lock that threads get in the order in which they asked: std's lets the thread that releases it take it again before others wake.

use std::sync::{Condvar, Mutex, PoisonError};

/// A lock that is granted in order.
#[derive(Default)]
pub(super) struct FairLock {
    state: Mutex<Turns>,
    changed: Condvar,
}

/// The turn of the next to ask, and of the one that has the lock.
#[derive(Default)]
struct Turns {
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

    /// The lock, if nobody has it or waits for it.
    pub fn try_lock(&self) -> Option<FairGuard<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.current == state.next).then(|| {
            state.next += 1;
            FairGuard(self)
        })
    }
}

impl Drop for FairGuard<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).current += 1;
        self.0.changed.notify_all();
    }
}
