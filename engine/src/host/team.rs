//! The threads of the process that compute on the host.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use plywood_kernels::host::Threads;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::threads::threads;

/// Threads that compute together; they sleep while there is nothing to do.
pub(super) struct Team(Option<ThreadPool>);

impl Team {
    /// The threads of the process that are this many, or as many as there are cores; begun when they are first needed. Where the system gives
    /// none, the thread that asks computes alone.
    pub fn of(count: Option<usize>) -> &'static Team {
        static TEAMS: Mutex<BTreeMap<usize, &'static Team>> = Mutex::new(BTreeMap::new());
        let count = count.unwrap_or_else(threads).max(1);
        let mut teams = TEAMS.lock().unwrap_or_else(PoisonError::into_inner);
        teams.entry(count).or_insert_with(|| {
            let name = |index| format!("plywood {index}");
            Box::leak(Box::new(Team(ThreadPoolBuilder::new().num_threads(count).thread_name(name).build().ok())))
        })
    }

    /// Runs something on one of the threads, from which the others are reached soonest.
    pub fn enter<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        match &self.0 {
            Some(pool) => pool.install(run),
            None => run(),
        }
    }
}

impl Threads for Team {
    fn count(&self) -> usize {
        self.0.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    fn each(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        if parts > 0 {
            self.enter(|| halves(0..parts, part));
        }
    }
}

/// Runs parts, the second half of them where another thread is free.
fn halves(parts: Range<usize>, part: &(dyn Fn(usize) + Sync)) {
    if parts.len() == 1 {
        part(parts.start);
    } else {
        let middle = parts.start.midpoint(parts.end);
        rayon::join(|| halves(parts.start..middle, part), || halves(middle..parts.end, part));
    }
}
