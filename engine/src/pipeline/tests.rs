//! Stages that compute nothing but say when they run.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use plywood_kernels::graph::ValueId;
use plywood_kernels::step::Token;

use super::*;
use crate::plan::StagePlan;
use crate::stage::StageTimes;

/// Long enough for any machine; only a test that fails waits so long.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a stage does at each step.
type Act = Box<dyn FnMut(&Step) -> Result<()> + Send>;

/// Adds its number behind the values, and does something at each step.
struct Fake {
    number: f32,
    overlaps: bool,
    act: Act,
}

impl Stage for Fake {
    fn run(&mut self, step: &Step, _: &[Want], given: &Values) -> Result<Values> {
        (self.act)(step)?;
        let mut numbers = given.get(&ValueId(0)).cloned().unwrap_or_default();
        numbers.extend([step.tokens[0].id as f32, self.number]);
        Ok(Values::from([(ValueId(0), numbers)]))
    }

    fn overlaps(&self) -> bool {
        self.overlaps
    }

    fn plan(&self) -> &StagePlan {
        unreachable!("a pipeline asks for no plan")
    }

    fn times(&self) -> StageTimes {
        StageTimes::default()
    }

    fn copy_bandwidth(&self) -> Result<Option<f64>> {
        Ok(None)
    }

    fn poison(&mut self) -> Result<()> {
        Ok(())
    }
}

fn stage(number: f32, overlaps: bool, act: impl FnMut(&Step) -> Result<()> + Send + 'static) -> Box<dyn Stage> {
    Box::new(Fake { number, overlaps, act: Box::new(act) })
}

fn steps(count: u32) -> Vec<WantedStep> {
    let token = |id| Token { id, position: id, sequence: 0, long: false };
    (0..count).map(|id| (Step { tokens: vec![token(id)], ..Step::default() }, Vec::new())).collect()
}

#[test]
fn every_step_goes_through_all_stages_in_order() {
    for (count, overlaps) in [(0, true), (1, true), (7, true), (7, false)] {
        let mut stages: Vec<_> = (1..=3).map(|number| stage(number as f32, overlaps, |_| Ok(()))).collect();
        let values = run(&mut stages, &steps(count), &|| true).expect("all run");
        let found: Vec<Vec<f32>> = values.into_iter().map(|mut values| values.remove(&ValueId(0)).unwrap()).collect();
        let expected: Vec<Vec<f32>> =
            (0..count).map(|id| id as f32).map(|id| vec![id, 1.0, id, 2.0, id, 3.0]).collect();
        assert_eq!(found, expected, "{count} steps, overlapping {overlaps}");
    }
}

/// The second stage does not end its first step before the first stage has begun its second.
#[test]
fn stages_run_at_the_same_time() {
    let (begun, seen): (Sender<u32>, Receiver<u32>) = channel();
    let first = stage(1.0, true, move |step| {
        _ = begun.send(step.tokens[0].id);
        Ok(())
    });
    let mut latest = None;
    let second = stage(2.0, true, move |step| {
        // Behind the last step comes none.
        while latest < Some((step.tokens[0].id + 1).min(2)) {
            latest = Some(seen.recv_timeout(DEADLINE).expect("the first stage goes on meanwhile"));
        }
        Ok(())
    });
    let mut stages = vec![first, second];
    assert_eq!(run(&mut stages, &steps(3), &|| true).err().map(|error| error.to_string()), None);
}

#[test]
fn failures_and_cancelling_end_all() {
    let fails_at = |number: f32, at: u32| {
        stage(number, true, move |step| {
            let failed = || Error::Step { reason: format!("stage {number} failed") };
            if step.tokens[0].id == at { Err(failed()) } else { Ok(()) }
        })
    };
    for (failing, expected) in [(0, "stage 0 failed"), (1, "stage 1 failed"), (2, "stage 2 failed")] {
        let mut stages: Vec<_> =
            (0..3).map(|number| fails_at(number as f32, if number == failing { 2 } else { u32::MAX })).collect();
        let error = run(&mut stages, &steps(9), &|| true).expect_err("a stage fails");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let left = std::sync::atomic::AtomicU32::new(3);
    let on = || left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) > 0;
    let mut stages = vec![stage(1.0, true, |_| Ok(())), stage(2.0, true, |_| Ok(()))];
    assert!(matches!(run(&mut stages, &steps(9), &on), Err(Error::Cancelled)));
}
