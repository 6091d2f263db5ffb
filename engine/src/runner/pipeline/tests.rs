//! Stages that compute nothing but say when they run.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use plywood_kernels::graph::ValueId;
use plywood_kernels::step::Token;

use super::*;
use crate::stage::StageTimes;
use crate::stage::plan::StagePlan;

/// Long enough for any machine; only a test that fails waits so long.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a stage does at each step.
type Act = Box<dyn FnMut(&Step) -> Result<()> + Send>;

/// Adds its number after the values, and does something at each step.
struct Fake {
    number: f32,
    overlaps: bool,
    act: Act,
    times: StageTimes,
}

impl Stage for Fake {
    fn run(
        &mut self,
        step: &Step,
        _: &[Output],
        given: &Values,
        results: &mut Values,
        _: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        (self.act)(step)?;
        let numbers = results.entry(ValueId(0)).or_default();
        numbers.clear();
        numbers.extend(given.get(&ValueId(0)).into_iter().flatten());
        numbers.extend([step.tokens[0].id as f32, self.number]);
        Ok(())
    }

    fn overlaps(&self) -> bool {
        self.overlaps
    }

    fn plan(&self) -> &StagePlan {
        unreachable!("a pipeline asks for no plan")
    }

    fn times(&self) -> &StageTimes {
        &self.times
    }

    fn poison(&mut self) -> Result<()> {
        Ok(())
    }
}

fn stage(number: f32, overlaps: bool, act: impl FnMut(&Step) -> Result<()> + Send + 'static) -> Box<dyn Stage> {
    Box::new(Fake { number, overlaps, act: Box::new(act), times: StageTimes::default() })
}

fn steps(count: u32) -> Vec<WantedStep> {
    let token = |id| Token { id, position: id, sequence: 0, long: false };
    let step = |id| Step { tokens: vec![token(id)], ..Step::default() };
    (0..count).map(|id| WantedStep { step: step(id), requested: Vec::new(), cancels: Vec::new() }).collect()
}

#[test]
fn every_step_goes_through_all_stages_in_order() {
    for (count, overlaps) in [(0, true), (1, true), (7, true), (7, false)] {
        let stages: Vec<_> = (1..=3).map(|number| stage(number as f32, overlaps, |_| Ok(()))).collect();
        let values = Pipeline::new(stages).run_all(&steps(count)).expect("all run");
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
        // After the last step comes none.
        while latest < Some((step.tokens[0].id + 1).min(2)) {
            latest = Some(seen.recv_timeout(DEADLINE).expect("the first stage goes on meanwhile"));
        }
        Ok(())
    });
    let pipeline = Pipeline::new(vec![first, second]);
    assert_eq!(pipeline.run_all(&steps(3)).err().map(|error| error.to_string()), None);
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
        let stages: Vec<_> =
            (0..3).map(|number| fails_at(number as f32, if number == failing { 2 } else { u32::MAX })).collect();
        let error = Pipeline::new(stages).run_all(&steps(9)).expect_err("a stage fails");
        assert!(error.to_string().contains(expected), "{error}");
    }
    // While the first or the second stage has the third of nine steps, or all of them if only one of two sessions is cancelled.
    for (cancelling, sessions, expected) in [(0, 1, 3), (1, 1, 3), (0, 2, 9)] {
        let (cancel, begun) = (Cancel::default(), Arc::new([AtomicU32::new(0), AtomicU32::new(0)]));
        let stages = (0..2).map(|index| {
            let (cancel, begun) = (cancel.clone(), Arc::clone(&begun));
            stage(index as f32, true, move |step| {
                begun[index].fetch_add(1, Ordering::Relaxed);
                if index == cancelling && step.tokens[0].id == 2 {
                    cancel.cancel();
                }
                Ok(())
            })
        });
        let pipeline = Pipeline::new(stages.collect());
        let others = (1..sessions).map(|_| Cancel::default());
        let cancels: Vec<Cancel> = std::iter::once(cancel).chain(others).collect();
        let of_all = |step: WantedStep| WantedStep { cancels: cancels.clone(), ..step };
        let outcome = pipeline.run_all(&steps(9).into_iter().map(of_all).collect::<Vec<_>>());
        assert_eq!(matches!(outcome, Err(Error::Cancelled)), sessions == 1);
        let begun = begun[cancelling].load(Ordering::Relaxed);
        assert_eq!(begun, expected, "stage {cancelling} began {begun} steps of {sessions} sessions");
    }
}

/// One session's step is in the second stage while another's is in the first.
#[test]
fn steps_of_two_sessions_run_at_the_same_time() {
    let (met, meeting) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
    // Whoever comes first to a stage waits there for the other to come to the other stage.
    let meet = |first: u32| {
        let (met, meeting) = (Arc::clone(&met), Arc::clone(&meeting));
        move |step: &Step| {
            if step.tokens[0].id == first && meeting.fetch_add(1, Ordering::Relaxed) < 2 {
                met.wait();
            }
            Ok(())
        }
    };
    let pipeline = Pipeline::new(vec![stage(1.0, true, meet(1)), stage(2.0, true, meet(0))]);
    let pipeline = Arc::new(pipeline);
    let (ended, all) = channel();
    let steps = steps(2);
    for step in steps {
        // The step of token 0 comes first.
        let locked = Arc::clone(&pipeline);
        let ended = ended.clone();
        let (entered, begun) = channel();
        std::thread::spawn(move || {
            let guard = locked.enter();
            _ = entered.send(());
            _ = ended.send(locked.run(guard, &step).is_ok());
        });
        if begun.recv_timeout(DEADLINE).is_err() {
            panic!("the first stage is never left");
        }
    }
    for _ in 0..2 {
        assert_eq!(all.recv_timeout(DEADLINE), Ok(true), "the stages do not overlap");
    }
}

/// What crosses lies in the memory of what crossed before: no more than three sets of values for each cut.
#[test]
fn memory_goes_round() {
    let pipeline =
        Pipeline::new(vec![stage(1.0, true, |_| Ok(())), stage(2.0, true, |_| Ok(())), stage(3.0, true, |_| Ok(()))]);
    let rings = || pipeline.slots.iter().map(|place| place.ring().len()).collect::<Vec<_>>();
    let addresses = || -> Vec<*const f32> {
        let mut all: Vec<_> = pipeline.slots[1].ring().iter().map(|values| values[&ValueId(0)].as_ptr()).collect();
        all.sort();
        all
    };
    pipeline.run_all(&steps(9)).expect("all run");
    assert!(rings()[0] == 0 && rings()[1..].iter().all(|held| (1..=RING).contains(held)), "{:?}", rings());
    // Alone, a step takes what is there and brings it back.
    let before = addresses();
    for step in steps(5) {
        pipeline.run(pipeline.enter(), &step).expect("it runs");
        assert_eq!(addresses(), before);
    }
}

/// Once it is emptied a pipeline refuses steps, and waits for none.
#[test]
fn an_empty_pipeline_refuses_steps() {
    let pipeline = Pipeline::new(vec![stage(1.0, true, |_| Ok(())), stage(2.0, true, |_| Ok(()))]);
    pipeline.empty();
    let one = &steps(1)[0];
    assert!(matches!(pipeline.run(pipeline.enter(), one), Err(Error::Unloaded)));
    assert!(matches!(pipeline.run_all(&steps(3)), Err(Error::Unloaded)));
    assert!(pipeline.times().is_empty());
}
