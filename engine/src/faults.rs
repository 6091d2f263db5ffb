//! Failures to order: with them an app sees, before its users do, what becomes of it where a device goes away, hangs, or has no
//! memory left. The engine's own tests order one at every call.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a wait may be. Submissions are bounded far below it, and each waits for the one before; this is for drivers that hang.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A call at which a failure may be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// The opening of a device.
    Open,
    /// The allocation of a buffer, or of memory for weights and cache on the host.
    Allocate,
    /// The making of a kernel with what it is bound to.
    Prepare,
    /// A submission of work; on the host, a node of the graph.
    Submit,
    /// A wait for work.
    Wait,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It is refused; a wait is never over.
    Refuse,
    /// The device goes away.
    Lose,
}

/// What was ordered.
enum Order {
    Fail(Failure),
    Act(Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Order {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Fail(failure) => failure.fmt(formatter),
            Order::Act(_) => formatter.write_str("Act"),
        }
    }
}

/// An allocation that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The device.
    pub device: String,
    /// What it is for.
    pub what: String,
    /// Its size.
    pub bytes: u64,
}

/// Failures that were ordered, and a count of calls.
#[derive(Debug, Default)]
pub struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: HashMap<(String, Call), u64>,
    orders: Vec<Due>,
    allocations: Vec<Allocation>,
}

/// An order with the call at which it happens.
#[derive(Debug)]
struct Due {
    device: String,
    call: Call,
    /// Calls until it happens.
    left: u64,
    order: Order,
}

impl Faults {
    /// Orders a failure at the `nth` call from now on, counted from 1, of devices whose label begins with `device`.
    pub fn order(&self, device: &str, call: Call, nth: u64, failure: Failure) {
        self.add(device, call, nth, Order::Fail(failure));
    }

    /// Does something just before the `nth` call from now on, counted from 1, of devices whose label begins with `device`: cancel a
    /// session there, for example.
    pub fn act(&self, device: &str, call: Call, nth: u64, act: impl FnOnce() + Send + 'static) {
        self.add(device, call, nth, Order::Act(Box::new(act)));
    }

    fn add(&self, device: &str, call: Call, nth: u64, order: Order) {
        self.state().orders.push(Due { device: device.into(), call, left: nth.max(1), order });
    }

    /// Calls off what was ordered and did not happen; says how much that was.
    pub fn call_off(&self) -> usize {
        std::mem::take(&mut self.state().orders).len()
    }

    /// How often a call was made so far, on devices whose label begins with `device`.
    pub fn count(&self, device: &str, call: Call) -> u64 {
        let state = self.state();
        let counts = state.counts.iter().filter(|((label, made), _)| *made == call && label.starts_with(device));
        counts.map(|(_, count)| count).sum()
    }

    /// Allocations since this was last asked.
    pub fn take_allocations(&self) -> Vec<Allocation> {
        std::mem::take(&mut self.state().allocations)
    }

    /// Counts a call; gives what is to happen at it.
    fn reach(&self, device: &str, call: Call) -> Option<Failure> {
        let mut state = self.state();
        *state.counts.entry((device.to_string(), call)).or_default() += 1;
        let mine = |due: &Due| due.call == call && device.starts_with(&due.device);
        // Of several that are due at once, the others happen at the next calls.
        state.orders.iter_mut().filter(|due| mine(due)).for_each(|due| due.left = due.left.saturating_sub(1));
        let due = state.orders.iter().position(|due| mine(due) && due.left == 0)?;
        let due = state.orders.swap_remove(due);
        drop(state);
        match due.order {
            Order::Fail(failure) => Some(failure),
            Order::Act(act) => {
                act();
                None
            }
        }
    }

    fn allocated(&self, device: String, what: &str, bytes: u64) {
        self.state().allocations.push(Allocation { device, what: what.into(), bytes });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How devices are watched: how long a wait may be, and which failures were ordered.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub deadline: Duration,
    pub faults: Option<Arc<Faults>>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch { deadline: DEADLINE, faults: None }
    }
}

impl Watch {
    /// Counts a call; gives what is to happen at it.
    pub fn reach(&self, device: impl FnOnce() -> String, call: Call) -> Option<Failure> {
        self.faults.as_ref()?.reach(&device(), call)
    }

    /// Notes an allocation.
    pub fn allocated(&self, device: impl FnOnce() -> String, what: &str, bytes: u64) {
        if let Some(faults) = &self.faults {
            faults.allocated(device(), what, bytes);
        }
    }
}
