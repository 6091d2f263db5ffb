//! The threads of the process that compute on the host.

use std::ops::Range;
use std::sync::OnceLock;

use plywood_kernels::host::Threads;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::threads::threads;

/// Threads that compute together; they sleep while there is nothing to do.
pub(super) struct Team(Option<ThreadPool>);

impl Team {
    /// Those of the process, begun when they are first needed. Where the system gives none, the thread that asks computes alone.
    pub fn of_process() -> &'static Team {
        static TEAM: OnceLock<Team> = OnceLock::new();
        TEAM.get_or_init(|| {
            let name = |index| format!("plywood {index}");
            Team(ThreadPoolBuilder::new().num_threads(threads()).thread_name(name).build().ok())
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
