//! The threads of the process that compute on the host.
#![allow(unsafe_code, reason = "what threads run together is lent to them for as long as they run it")]

use std::any::Any;
use std::collections::BTreeMap;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::yield_now;

use plywood_kernels::host::Threads;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::threads::threads;

/// Threads that compute together with the one that asks; they sleep while there is nothing to do.
pub(crate) struct Team(Option<ThreadPool>);

/// The thread that asks.
pub(super) static ALONE: Team = Team(None);

impl Team {
    /// As many threads of the process, with the one that asks, as there are cores, or this many; begun when they are first needed. Where the
    /// system gives none, the thread that asks computes alone.
    pub fn of(count: Option<usize>) -> &'static Team {
        static TEAMS: Mutex<BTreeMap<usize, &'static Team>> = Mutex::new(BTreeMap::new());
        let count = count.unwrap_or_else(threads).max(1);
        let mut teams = TEAMS.lock().unwrap_or_else(PoisonError::into_inner);
        teams.entry(count).or_insert_with(|| {
            let name = |index| format!("plywood {index}");
            let helpers = ThreadPoolBuilder::new().num_threads(count - 1).thread_name(name);
            Box::leak(Box::new(Team((count > 1).then(|| helpers.build().ok()).flatten())))
        })
    }

    /// Runs something with all threads awake, so that what they are given together begins within a microsecond. Those that are busy for
    /// another caller come when they are free.
    pub fn enter<T>(&self, run: impl FnOnce(&Crew) -> T) -> T {
        let helpers = self.0.as_ref().map_or(0, ThreadPool::current_num_threads);
        let crew = Arc::new(Crew { count: helpers + 1, ..Crew::default() });
        if let Some(pool) = &self.0 {
            for _ in 0..helpers {
                let crew = crew.clone();
                pool.spawn(move || crew.help());
            }
        }
        let _dismissed = Dismissed(&crew);
        run(&crew)
    }
}

/// Threads that are awake, and wait for what [`Threads::each`] gives them.
#[derive(Default)]
pub(crate) struct Crew {
    count: usize,
    /// What there is to run; readers are the threads that run it.
    job: RwLock<Option<Job>>,
    /// The next part of it.
    next: AtomicUsize,
    /// Counts the jobs, and is [`DISMISSED`] after the last.
    number: AtomicUsize,
    /// Whether there is a job: a part that gives parts runs them itself.
    is_busy: AtomicBool,
    /// What a helper panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Clone, Copy)]
struct Job {
    part: &'static (dyn Fn(usize) + Sync),
    parts: usize,
}

const DISMISSED: usize = usize::MAX;

/// How often a helper looks for a job before it lets others have the core.
const SPINS: usize = 1000;

impl Crew {
    /// Runs parts of jobs until there are no more jobs.
    fn help(&self) {
        let (mut seen, mut spins) = (0, 0);
        loop {
            let number = self.number.load(Ordering::Acquire);
            if number == DISMISSED {
                return;
            }
            if number == seen {
                spins += 1;
                if spins < SPINS {
                    spin_loop()
                } else {
                    yield_now()
                }
                continue;
            }
            (seen, spins) = (number, 0);
            // Refused when the job is just being taken back.
            if let Ok(job) = self.job.try_read()
                && let Some(job) = *job
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.run_parts(job)))
            {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        }
    }

    fn run_parts(&self, job: Job) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= job.parts {
                return;
            }
            (job.part)(part);
        }
    }

    /// Puts a job in place of the one before; waits for the threads that run that.
    fn put(&self, job: Option<Job>) {
        let mut spins = 0;
        loop {
            if let Ok(mut place) = self.job.try_write() {
                *place = job;
                self.next.store(0, Ordering::Relaxed);
                return;
            }
            spins += 1;
            if spins < SPINS { spin_loop() } else { yield_now() }
        }
    }
}

impl Threads for Crew {
    fn count(&self) -> usize {
        self.count
    }

    fn each(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        if parts < 2 || self.count < 2 || self.is_busy.swap(true, Ordering::Relaxed) {
            return (0..parts).for_each(part);
        }
        // SAFETY: `TakenBack` takes the job back before this function ends, however it ends, and that waits for those who run it.
        let part = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(part) };
        let job = Job { part, parts };
        self.put(Some(job));
        let taken_back = TakenBack(self);
        self.number.fetch_add(1, Ordering::Release);
        self.run_parts(job);
        drop(taken_back);
        if let Some(panic) = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
            resume_unwind(panic);
        }
    }
}

/// Takes a job back.
struct TakenBack<'a>(&'a Crew);

impl Drop for TakenBack<'_> {
    fn drop(&mut self) {
        self.0.put(None);
        self.0.is_busy.store(false, Ordering::Relaxed);
    }
}

/// Lets helpers go.
struct Dismissed<'a>(&'a Crew);

impl Drop for Dismissed<'_> {
    fn drop(&mut self) {
        self.0.number.store(DISMISSED, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs 1000 jobs of this many parts, and says how often each part ran.
    fn runs(team: &Team, parts: usize) -> Vec<usize> {
        let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        team.enter(|crew| {
            for _ in 0..1000 {
                crew.each(parts, &|part| {
                    counts[part].fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_part_runs_once() {
        for threads in [1, 2, 5] {
            let team = Team::of(Some(threads));
            for parts in [0, 1, 2, 9] {
                assert_eq!(runs(team, parts), vec![1000; parts], "{threads} threads");
            }
            // At the same time for several callers.
            std::thread::scope(|scope| {
                let callers = [1, 2, 3].map(|parts| (parts, scope.spawn(move || runs(team, parts))));
                for (parts, caller) in callers {
                    assert_eq!(caller.join().expect("no part panics"), vec![1000; parts]);
                }
            });
        }
    }

    #[test]
    fn a_part_may_give_parts() {
        let count = AtomicUsize::new(0);
        Team::of(Some(3)).enter(|crew| {
            crew.each(4, &|_| {
                crew.each(5, &|_| {
                    count.fetch_add(1, Ordering::Relaxed);
                });
            });
        });
        assert_eq!(count.into_inner(), 20);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let team = Team::of(Some(4));
        for bad in 0..8 {
            let run = || team.enter(|crew| crew.each(8, &|part| assert_ne!(part, bad)));
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "part {bad}");
            assert_eq!(runs(team, 3), [1000; 3]);
        }
    }
}
