//! Steps that follow each other over stages that run at the same time: while the second stage has a step, the first has the next.

use std::sync::mpsc::{channel, sync_channel};

use plywood_kernels::graph::Want;
use plywood_kernels::reference::Values;
use plywood_kernels::step::Step;

use crate::error::{Error, Result};
use crate::stage::Stage;

/// A step, and what is wanted of it.
pub(crate) type WantedStep = (Step, Vec<Want>);

/// Whether there are several stages, all of which may run at the same time.
pub(crate) fn overlap(stages: &[Box<dyn Stage>]) -> bool {
    stages.len() > 1 && stages.iter().all(|stage| stage.overlaps())
}

/// Runs steps in order over all stages; gives the results of each. No new step begins once `on` says no: then all is
/// [`Error::Cancelled`], as it is where a stage fails what that says.
pub(crate) fn run(stages: &mut [Box<dyn Stage>], steps: &[WantedStep], on: &dyn Fn() -> bool) -> Result<Vec<Values>> {
    if steps.len() < 2 || !overlap(stages) {
        return steps.iter().map(|step| if on() { one(stages, step) } else { Err(Error::Cancelled) }).collect();
    }
    std::thread::scope(|scope| {
        // Of each stage's results one waits for the next stage, so that a slow stage holds up those before it.
        let (first, mut received) = sync_channel::<(usize, Values)>(1);
        let (last, results) = channel();
        let mut workers = Vec::new();
        let count = stages.len();
        for (index, stage) in stages.iter_mut().enumerate() {
            let (sent, next) = sync_channel(1);
            let inputs = std::mem::replace(&mut received, next);
            let last = (index + 1 == count).then(|| last.clone());
            workers.push(scope.spawn(move || -> Result<()> {
                for (place, values) in inputs {
                    let (step, wants) = &steps[place];
                    let values = stage.run(step, wants, &values)?;
                    // Nobody receives any more where a later stage failed, which says why.
                    let gone = match &last {
                        Some(last) => last.send(values).is_err(),
                        None => sent.send((place, values)).is_err(),
                    };
                    if gone {
                        break;
                    }
                }
                Ok(())
            }));
        }
        drop(last);
        let fed = (0..steps.len()).take_while(|place| on() && first.send((*place, Values::new())).is_ok()).count();
        drop(first);
        for worker in workers {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        if fed < steps.len() { Err(Error::Cancelled) } else { Ok(results.into_iter().collect()) }
    })
}

/// Runs one step over all stages.
fn one(stages: &mut [Box<dyn Stage>], (step, wants): &WantedStep) -> Result<Values> {
    let mut values = Values::new();
    for stage in stages {
        values = stage.run(step, wants, &values)?;
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
