//! What fails while a model is loaded or runs: an error that says so, everything freed, other sessions alive, and a way back.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use plywood::devices::{Adapter, Kind};
use plywood::gpu::{SharedDevice, wgpu};
use plywood::kernels::graph::Output;
use plywood::kernels::random::Random;
use plywood::testing::{Call, Failure, Faults};
use plywood::{Devices, Error, Layers, Model, Options, Rows, Session};
use plywood_tests::{Story, adapters, app_adapters, demo_stories, gpus, names, on, skipped};

/// Tokens that are generated before and after a failure.
const TOKENS: usize = 12;

/// How often something is refused at least.
const ROUNDS: usize = 100;

/// How often an app destroys each of its devices; the engine's own tests do so hundreds of times.
const DESTROYED: usize = 4;

/// The demo model over adapters, with failures that can be ordered; half of the layers on each of two.
fn open(adapters: &[&Adapter], faults: &Arc<Faults>) -> Result<Model, Error> {
    let layers = Layers::Split(vec![1; adapters.len()]);
    Model::open("demo", on(adapters).context(256).sessions(2).exact(true).layers(layers).hooks(faults))
}

/// Goes on with a story by this many tokens; an error or what is wrong with them.
fn go_on(session: &mut Session, story: &Story, tokens: usize) -> Result<(), Error> {
    let whole: Vec<u32> = story.prompt_ids.iter().chain(&story.ids).copied().collect();
    let begin = session.tokens().len();
    // The last token is run again, for its logits.
    let mut last = match begin {
        0 => story.prompt_ids.clone(),
        _ => vec![whole[begin]],
    };
    for _ in 0..tokens {
        let rows = session.evaluate(&last, Rows::Last, &[Output::Argmax])?;
        let place = session.tokens().len();
        last = vec![rows[0].argmax.expect("it was wanted")];
        assert_eq!(last[0], whole[place], "token {place} of {:?}", story.prompt);
    }
    Ok(())
}

/// Each adapter, and pairs of them with and without the host.
fn placements(adapters: &[Adapter]) -> Vec<Vec<&Adapter>> {
    let mut all: Vec<Vec<&Adapter>> = adapters.iter().map(|adapter| vec![adapter]).collect();
    all.extend(adapters.windows(2).map(|pair| pair.iter().collect()));
    all.push(vec![&adapters[0], &adapters[0]]);
    all
}

/// Every byte of the ledger is allocated, and nothing else, on each device. Steps allocate nothing, and wait once for each GPU.
#[test]
fn what_is_allocated_is_what_is_planned() {
    let (adapters, story) = (adapters(), &demo_stories()[0]);
    for placement in placements(&adapters) {
        let what = names(&placement);
        let faults = Arc::new(Faults::default());
        let model = open(&placement, &faults).expect("the model opens");
        let mut planned: BTreeMap<String, u64> = BTreeMap::new();
        for stage in &model.ledger().stages {
            *planned.entry(stage.adapter.clone()).or_default() += stage.bytes.total();
        }
        let mut allocated: BTreeMap<String, u64> = BTreeMap::new();
        for allocation in faults.take_allocations() {
            *allocated.entry(allocation.device).or_default() += allocation.bytes;
        }
        println!("{what}: {allocated:?}");
        assert_eq!(allocated, planned, "{what}");
        let mut session = model.session().expect("a session is free");
        let waits = faults.count("", Call::Wait);
        go_on(&mut session, story, TOKENS).expect("it runs");
        assert_eq!(faults.take_allocations(), [], "{what}: steps allocate");
        let gpus = placement.iter().filter(|adapter| adapter.kind != Kind::Host).count();
        assert_eq!(faults.count("", Call::Wait) - waits, (gpus * TOKENS) as u64, "{what}: waits of {TOKENS} steps");
    }
}

/// An app's own device, so that what it holds can be counted.
struct Own {
    instance: wgpu::Instance,
    shared: SharedDevice,
}

impl Own {
    fn all() -> Vec<Own> {
        let (instance, adapters) = app_adapters();
        let open = |adapter: wgpu::Adapter| {
            let description = wgpu::DeviceDescriptor {
                required_features: plywood::gpu::required_features(&adapter),
                required_limits: plywood::gpu::required_limits(&adapter),
                ..Default::default()
            };
            let (device, queue) = pollster::block_on(adapter.request_device(&description)).expect("it opens");
            Own { instance: instance.clone(), shared: SharedDevice { adapter, device, queue } }
        };
        adapters.into_iter().map(open).collect()
    }

    /// How many buffers, kernels, bind groups and shaders there are, and bytes of memory where the backend counts them.
    fn held(&self) -> [u64; 5] {
        _ = self.shared.device.poll(wgpu::PollType::wait_indefinitely());
        let report = self.instance.generate_report().expect("it is no browser");
        let hub = report.hub_report();
        let kinds = [&hub.buffers, &hub.compute_pipelines, &hub.bind_groups, &hub.shader_modules];
        let [buffers, kernels, bind_groups, shaders] = kinds.map(|kind| kind.num_allocated as u64);
        let memory = self.shared.device.generate_allocator_report().map_or(0, |report| report.total_allocated_bytes);
        [buffers, kernels, bind_groups, shaders, memory]
    }
}

/// Every allocation and every kernel is refused in turn, over a hundred rounds: an error that names the device, and all is freed.
#[test]
fn refusals_leave_nothing_behind() {
    let story = &demo_stories()[0];
    for own in Own::all() {
        let label = own.shared.adapter.get_info().name;
        let faults = Arc::new(Faults::default());
        let options =
            || Options::default().context(256).devices(Devices::Shared(vec![own.shared.clone()])).hooks(&faults);
        let run = || -> Result<(), Error> {
            let model = Model::open("demo", options())?;
            go_on(&mut model.session()?, story, 3)?;
            let held = own.held();
            assert!(held[..3].iter().all(|count| *count > 5), "{label}: {held:?} are not counted");
            Ok(())
        };
        // A device has some things of its own by its first work.
        run().expect("it runs when nothing is refused");
        let begin = own.held();
        let before = [Call::Allocate, Call::Prepare, Call::Submit].map(|call| faults.count("", call));
        run().expect("it runs again");
        assert_eq!(own.held(), begin, "{label}: a model that is dropped leaves nothing");
        let calls: Vec<(Call, u64)> = [Call::Allocate, Call::Prepare, Call::Submit]
            .into_iter()
            .zip(before)
            .flat_map(|(call, before)| (1..=faults.count("", call) - before).map(move |nth| (call, nth)))
            .collect();
        // Submissions of an upload are alike: some of them will do.
        let every = |call| calls.iter().filter(move |(made, _)| *made == call);
        let rounds = every(Call::Allocate).chain(every(Call::Prepare)).chain(every(Call::Submit).step_by(5));
        let all = rounds.clone().count();
        for (call, nth) in rounds.cycle().take(all.max(ROUNDS)) {
            faults.order("", *call, *nth, Failure::Refuse);
            let error = run().expect_err("it was refused");
            let right = match call {
                Call::Allocate => matches!(error, Error::OutOfMemory { .. }),
                _ => matches!(error, Error::Device { .. }),
            };
            assert!(right && error.to_string().contains(&label), "{call:?} {nth}: {error}");
            assert_eq!(faults.call_off(), 0);
            assert_eq!(own.held(), begin, "{label}: {call:?} {nth} leaves something");
        }
        println!("{label}: {all} kinds of refusal, {begin:?} held before and after each");
    }
}

/// A step that was refused once runs when it is asked for again, with nothing loaded anew.
#[test]
fn a_refused_step_runs_again() {
    let story = &demo_stories()[0];
    for adapter in gpus() {
        // The first step of this many tokens is cut: its second submission is refused while the first runs.
        let faults = Arc::new(Faults::default());
        let model = open(&[&adapter], &faults).expect("the model opens");
        let mut session = model.session().expect("a session is free");
        let prompt: Vec<u32> = (0..120).map(|token| token * 7 + 3).collect();
        faults.order("", Call::Submit, 2, Failure::Refuse);
        assert!(session.evaluate(&prompt, Rows::Last, &[Output::Argmax]).is_err(), "the step was not cut");
        session.evaluate(&prompt, Rows::Last, &[Output::Argmax]).expect("it runs now");

        let faults = Arc::new(Faults::default());
        let model = open(&[&adapter, &adapter], &faults).expect("the model opens");
        let mut session = model.session().expect("a session is free");
        for (call, nth) in [(Call::Prepare, 1), (Call::Submit, 1), (Call::Submit, 2)] {
            faults.order("", call, nth, Failure::Refuse);
            let error = go_on(&mut session, story, 1).expect_err("it was refused");
            assert!(matches!(error, Error::Device { .. }), "{error}");
            go_on(&mut session, story, 1).expect("it runs now");
        }
        assert!(faults.take_allocations().len() > 10);
        assert_eq!(faults.count("", Call::Open), 2, "nothing is opened again");
    }
}

/// A device that goes away at any call of a step: an error, and after recovering both sessions go on where they were.
#[test]
fn sessions_go_on_after_a_device_was_lost() {
    let (adapters, stories) = (adapters(), demo_stories());
    for placement in placements(&adapters) {
        if placement.iter().all(|adapter| adapter.kind == Kind::Host) {
            continue;
        }
        let what = names(&placement);
        let faults = Arc::new(Faults::default());
        let model = open(&placement, &faults).expect("the model opens");
        let mut sessions = [model.session(), model.session()].map(|session| session.expect("it is free"));
        let tell = |sessions: &mut [Session; 2]| -> Result<(), Error> {
            sessions.iter_mut().zip(&stories).try_for_each(|(session, story)| go_on(session, story, 3))
        };
        tell(&mut sessions).expect("it runs");
        let mut rounds = 0;
        for (call, nth) in [(Call::Submit, 1), (Call::Wait, 1), (Call::Submit, 2), (Call::Wait, 3), (Call::Submit, 4)] {
            let device = placement.iter().rev().find(|adapter| adapter.kind != Kind::Host).expect("there is one");
            faults.order(&device.label(), call, nth, Failure::Lose);
            let before = sessions.each_ref().map(|session| session.tokens().len());
            let error = tell(&mut sessions).expect_err("the device is gone");
            assert!(matches!(error, Error::DeviceLost { .. }), "{what}, {call:?} {nth}: {error}");
            assert!(error.to_string().contains(&device.label()), "{error}");
            let again = tell(&mut sessions).expect_err("it stays gone");
            assert!(again.is_device_error(), "{again}");
            assert!(model.recover().expect("the adapter is still there"), "it was not loaded again");
            // Somebody else had met the failure too.
            assert!(!model.recover().expect("nothing is to be done"), "it was loaded twice");
            let kept = sessions.each_ref().map(|session| session.tokens().len());
            assert!(kept.iter().zip(before).all(|(kept, before)| *kept >= before), "{what}: tokens were lost");
            tell(&mut sessions).expect("it goes on");
            rounds += 1;
        }
        println!(
            "{what}: lost and recovered {rounds} times; stories of {} tokens as expected",
            sessions[0].tokens().len()
        );
    }
}

/// A device that does not come back is left out, and said so; what is placed by hand is placed anew.
#[test]
fn a_model_goes_on_with_what_is_left() {
    let adapters = gpus();
    let [first, second, ..] = &adapters[..] else {
        skipped("there is only one adapter");
        return;
    };
    let story = &demo_stories()[0];
    let faults = Arc::new(Faults::default());
    let model = open(&[first, second], &faults).expect("the model opens");
    let mut session = model.session().expect("a session is free");
    go_on(&mut session, story, TOKENS).expect("it runs");
    let stages =
        |model: &Model| -> Vec<String> { model.ledger().stages.iter().map(|stage| stage.adapter.clone()).collect() };
    assert_eq!(stages(&model), [first.label(), second.label()]);

    // First nothing can be allocated, so that the model lies nowhere; then it can.
    faults.order(&second.label(), Call::Submit, 1, Failure::Lose);
    assert!(go_on(&mut session, story, 1).is_err());
    faults.order(&first.label(), Call::Allocate, 1, Failure::Refuse);
    assert!(matches!(model.recover(), Err(Error::OutOfMemory { .. })));
    assert!(matches!(go_on(&mut session, story, 1), Err(Error::Unloaded)));
    // Now the second device does not open either, and is there the next time.
    faults.order(&second.label(), Call::Open, 1, Failure::Refuse);
    faults.order(&first.label(), Call::Allocate, 1, Failure::Refuse);
    assert!(matches!(model.recover(), Err(Error::OutOfMemory { .. })));
    assert!(model.recover().expect("there is memory again"));
    assert_eq!(stages(&model), [first.label(), second.label()]);
    go_on(&mut session, story, 2).expect("it goes on");

    faults.order(&second.label(), Call::Submit, 1, Failure::Lose);
    assert!(go_on(&mut session, story, 1).is_err());
    faults.order(&second.label(), Call::Open, 1, Failure::Refuse);
    model.recover().expect("one is left");
    assert_eq!(stages(&model), [first.label()]);
    let note = model.notes().iter().find(|note| note.contains(&second.label())).cloned();
    println!("{note:?}");
    assert!(note.is_some(), "{:?}", model.notes());
    go_on(&mut session, story, 5).expect("it goes on");
}

/// An app whose own device went away gives another, and its sessions go on.
#[test]
fn an_app_gives_another_device() {
    let story = &demo_stories()[0];
    for (own, another) in Own::all().into_iter().zip(Own::all()) {
        let options = Options::default().context(256).devices(Devices::Shared(vec![own.shared.clone()]));
        let model = Model::open("demo", options).expect("the model opens");
        let mut session = model.session().expect("a session is free");
        go_on(&mut session, story, TOKENS).expect("it runs");
        own.shared.device.destroy();
        let error = go_on(&mut session, story, 1).expect_err("the device is gone");
        assert!(error.is_device_error(), "{error}");
        let none = model.recover().expect_err("there is no other").to_string();
        assert!(none.contains("recover_on"), "{none}");
        assert!(matches!(go_on(&mut session, story, 1), Err(Error::Unloaded)));
        // What is lost already is an error too.
        let lost = Options::default().context(256).devices(Devices::Shared(vec![own.shared.clone()]));
        assert!(Model::open("demo", lost).is_err_and(|error| error.is_device_error()));
        assert!(model.recover_on(vec![own.shared.clone()]).is_err_and(|error| error.is_device_error()));
        model.recover_on(vec![another.shared]).expect("it is another");
        go_on(&mut session, story, 3).expect("it goes on");
        println!("{}: {none}", own.shared.adapter.get_info().name);
    }
}

/// An app destroys its device in another thread, at random moments of loading, of a prompt and of generation: always an error that
/// says so, never a panic or a hang.
#[test]
fn an_app_destroys_its_device_at_any_moment() {
    let mut random = Random::new(7);
    let mut errors: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..DESTROYED {
        // In every other round the app goes on polling, as a render thread does; in every third two stages share the device.
        let (polls, stages) = (round % 2 == 0, if round % 3 == 0 { 2 } else { 1 });
        for own in Own::all() {
            let label = own.shared.adapter.get_info().name;
            // The first round's loading, and any step of the others.
            let after = if round == 0 { 0 } else { 1 + (random.next() % 11) as u32 };
            let delay = Duration::from_micros(random.next() % 8000);
            let (reached, ended) = (AtomicU32::new(0), AtomicBool::new(false));
            let error = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let ended = || ended.load(Ordering::Relaxed);
                    while reached.load(Ordering::Relaxed) < after && !ended() {
                        std::thread::yield_now();
                    }
                    std::thread::sleep(delay);
                    own.shared.device.destroy();
                    while polls && !ended() {
                        _ = own.shared.device.poll(wgpu::PollType::Poll);
                    }
                });
                let run = || -> Result<(), Error> {
                    let shared = vec![own.shared.clone(); stages];
                    let split = vec![1; stages];
                    let model = Model::open(
                        "demo",
                        Options::default().devices(Devices::Shared(shared)).layers(Layers::Split(split)).context(256),
                    )?;
                    let mut session = model.session()?;
                    reached.fetch_add(1, Ordering::Relaxed);
                    loop {
                        session.truncate(0);
                        let tokens: Vec<u32> = (0..70).map(|token| token * 7 + 3).collect();
                        for tokens in std::iter::once(&tokens[..]).chain(tokens.chunks(1).take(9)) {
                            let found = session.evaluate(tokens, Rows::Last, &[Output::TopK]);
                            if let Err(error) = found {
                                let again =
                                    session.evaluate(&[1], Rows::Last, &[Output::TopK]).expect_err("it is gone");
                                assert!(matches!(again, Error::DeviceLost { .. }), "{again}");
                                return Err(error);
                            }
                            reached.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                };
                let outcome = catch_unwind(AssertUnwindSafe(run));
                ended.store(true, Ordering::Relaxed);
                outcome.unwrap_or_else(|panic| resume_unwind(panic)).expect_err("the device was destroyed")
            });
            assert!(matches!(error, Error::DeviceLost { .. }) && error.to_string().contains(&label), "{error}");
            *errors.entry(if reached.into_inner() == 0 { "loading" } else { "running" }.into()).or_default() += 1;
        }
    }
    println!("destroyed while {errors:?}");
    assert!(errors.len() == 2, "{errors:?}");
}

/// An app's render thread polls the device and submits to it all the while.
#[test]
fn an_app_uses_its_device_meanwhile() {
    let story = &demo_stories()[0];
    for own in Own::all() {
        let ended = AtomicBool::new(false);
        let rounds = std::thread::scope(|scope| {
            let app = scope.spawn(|| {
                let mut rounds = 0;
                while !ended.load(Ordering::Relaxed) {
                    let encoder = own.shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                    own.shared.queue.submit([encoder.finish()]);
                    own.shared.device.poll(wgpu::PollType::Poll).expect("the device is there");
                    rounds += 1;
                }
                rounds
            });
            // Both stages on the app's device, each loaded by a thread of its own.
            let shared = vec![own.shared.clone(), own.shared.clone()];
            let options =
                Options::default().context(256).devices(Devices::Shared(shared)).layers(Layers::Split(vec![1, 1]));
            let told = Model::open("demo", options).and_then(|model| go_on(&mut model.session()?, story, 24));
            ended.store(true, Ordering::Relaxed);
            told.unwrap_or_else(|error| panic!("{}: {error}", own.shared.adapter.get_info().name));
            app.join().expect("it does not panic")
        });
        println!("{}: {rounds} rounds of the app meanwhile", own.shared.adapter.get_info().name);
    }
}

/// A wait that never ends is an error in time; nothing waits for the device again, and it can be left.
#[test]
fn a_hang_is_an_error_in_time() {
    const DEADLINE: Duration = Duration::from_secs(4);
    let story = &demo_stories()[0];
    for adapter in gpus() {
        let faults = Arc::new(Faults::default());
        let options = on(&[&adapter]).deadline(DEADLINE).hooks(&faults);
        let model = Model::open("demo", options).expect("the model opens");
        let mut session = model.session().expect("a session is free");
        go_on(&mut session, story, 2).expect("it runs");
        faults.order("", Call::Wait, 1, Failure::Refuse);
        let begin = Instant::now();
        let error = go_on(&mut session, story, 1).expect_err("it hangs");
        assert!(matches!(error, Error::Timeout { seconds: 4, .. }), "{error}");
        assert!(begin.elapsed() >= DEADLINE, "it was not waited for");
        let begin = Instant::now();
        let error = go_on(&mut session, story, 1).expect_err("it still hangs");
        assert!(matches!(error, Error::DeviceLost { .. }) && begin.elapsed() < DEADLINE, "{error}");
        model.recover().expect("the adapter is there");
        go_on(&mut session, story, 2).expect("it goes on");
        println!("{}: {error}", adapter.label());
    }
}

/// Threads whose sessions share a model that loses its device: none hangs, each recovers, all end as expected.
#[test]
fn threads_survive_together() {
    let (adapters, stories) = (adapters(), demo_stories());
    let pair = [&adapters[0], &adapters[1.min(adapters.len() - 1)]];
    let faults = Arc::new(Faults::default());
    let model = open(&pair, &faults).expect("the model opens");
    let (begin, met) = (Barrier::new(2), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for story in &stories[..2] {
            let (model, begin, faults, met) = (&model, &begin, &faults, &met);
            scope.spawn(move || {
                let mut session = model.session().expect("a session is free");
                begin.wait();
                let mut failures = 0;
                for round in 0..TOKENS {
                    if round % 4 == 2 {
                        faults.order("", Call::Submit, 3, Failure::Lose);
                    }
                    while let Err(error) = go_on(&mut session, story, 1) {
                        assert!(error.is_device_error(), "{error}");
                        failures += 1;
                        assert!(failures < 100, "{error}");
                        // Another thread may be at it, or its order may be for what is loaded now.
                        _ = model.recover();
                    }
                }
                println!("{:?}: {failures} failures", story.prompt);
                met.fetch_add(failures, Ordering::Relaxed);
            });
        }
    });
    assert!(met.into_inner() >= 3, "the device was hardly ever lost");
}
