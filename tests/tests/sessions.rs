//! What sessions promise: each call goes on where the last ended, and a cancel ends what runs, soon, and nothing else.

use std::sync::Arc;

use plywood::devices::{Adapter, Kind};
use plywood::kernels::graph::Output;
use plywood::testing::{Call, Faults};
use plywood::{Error, Model, Request, Rows, Session, SessionRun, StopReason};
use plywood_tests::turns::fresh;
use plywood_tests::{adapters, demo_stories, exact, greedy, nmse, stories};

/// Where all is f32, the same computation in another order.
const LIMIT: f64 = 1e-9;

/// Opens the demo model with two sessions: one under test, and one to compare with.
fn demo(adapters: &[&Adapter], faults: &Arc<Faults>) -> Model {
    let options = exact(adapters).sessions(2).context(256).step_tokens(256).hooks(faults);
    Model::open("demo", options).expect("the demo model opens")
}

/// All tokens of a generation.
fn generate(session: &mut Session, prompt: &[u32], tokens: usize) -> Vec<u32> {
    let mut generation = session.generate_tokens(prompt, greedy(tokens)).expect("it can be generated");
    generation.by_ref().for_each(|piece| drop(piece.expect("a token")));
    generation.tokens().to_vec()
}

#[test]
fn generations_go_on_where_the_last_ended() {
    let story = &demo_stories()[0];
    for adapter in adapters() {
        let model = demo(&[&adapter], &Arc::default());
        let whole = &story.ids[..24];
        let mut session = model.session().expect("a session is free");
        let mut parts = generate(&mut session, &story.prompt_ids, 9);
        for tokens in [1, 0, 2, 12] {
            parts.extend(generate(&mut session, &[], tokens));
        }
        assert_eq!(parts, whole, "{}", adapter.label());
        assert_eq!(session.tokens(), [&story.prompt_ids, whole].concat());
    }
}

/// A second prompt follows the text of the first generation: no token of it is lost, and no BOS comes between.
#[test]
fn a_second_prompt_follows_the_text() {
    let files = [Some("demo".into()), stories("stories260k-f32.gguf"), stories("hf")];
    for file in files.into_iter().flatten() {
        for adapter in adapters() {
            let model = Model::open(&file, exact(&[&adapter]).sessions(2)).expect("the model opens");
            let mut session = model.session().expect("a session is free");
            let first = session.encode("Once upon a time").expect("it is text");
            let generated = generate(&mut session, &first, 10);
            let before = [first, generated].concat();
            assert_eq!(session.tokens(), before);
            let tokenizer = model.tokenizer().expect("it has one");
            let text = tokenizer.decode(&before) + " The end. Then";
            let whole = [before, tokenizer.encode_after(" The end. Then").expect("it is text")].concat();
            assert_eq!(tokenizer.decode(&whole), text);
            let mut generation = session.generate(" The end. Then", greedy(10)).expect("it can be generated");
            generation.by_ref().for_each(|piece| drop(piece.expect("a token")));
            let generated = generation.tokens().to_vec();
            let what = format!("{} on {}", file.display(), adapter.label());
            assert_eq!(generated, fresh(&model, &whole, greedy(10)).0, "{what}");
            assert_eq!(session.tokens(), [whole, generated].concat(), "{what}");
            let bos = model.config().bos.expect("it has one");
            assert!(!session.tokens()[1..].contains(&bos), "{what}: {:?}", session.tokens());
        }
    }
}

/// However a generation ends, its session has the prompt and what was chosen, and goes on from there.
#[test]
fn whatever_ends_a_generation() {
    let (adapters, story) = (adapters(), &demo_stories()[0]);
    let adapter = adapters.last().expect("the host is listed");
    let model = demo(&[adapter], &Arc::default());
    let tokenizer = model.tokenizer().expect("it has one");
    let stop = tokenizer.decode(&story.ids[5..7]);
    let ends: [(&str, Request, usize, Option<StopReason>); 5] = [
        ("at its length", greedy(7), usize::MAX, Some(StopReason::Length)),
        ("at a stop text", Request { stop: vec![stop], ..greedy(30) }, usize::MAX, Some(StopReason::Stop)),
        ("where it is dropped", greedy(30), 4, None),
        ("where it is cancelled", greedy(30), 5, Some(StopReason::Cancelled)),
        ("where the context is full", greedy(1000), usize::MAX, Some(StopReason::Context)),
    ];
    for (end, request, taken, reason) in ends {
        let mut session = model.session().expect("a session is free");
        let cancel = session.canceller();
        let mut generation = session.generate_tokens(&story.prompt_ids, request).expect("it can be generated");
        generation.by_ref().take(taken).for_each(|piece| drop(piece.expect("a token")));
        if reason == Some(StopReason::Cancelled) {
            cancel.cancel();
            assert!(generation.next().is_none_or(|piece| piece.is_ok_and(|piece| piece.token.is_none())));
        }
        assert_eq!(generation.stop_reason(), reason, "{end}");
        let chosen = generation.tokens().to_vec();
        drop(generation);
        let held = [&story.prompt_ids[..], &chosen].concat();
        assert_eq!(session.tokens(), held, "{end}");
        if reason == Some(StopReason::Context) {
            // The last token needed no place, and has none to be run in.
            let full = session.generate_tokens(&[], greedy(1)).map(|_| ());
            assert!(matches!(full, Err(Error::ContextFull { tokens: 257, context: 256 })), "{full:?}");
            continue;
        }
        assert_eq!(generate(&mut session, &[], 4), fresh(&model, &held, greedy(4)).0, "{end}");
        let next = session.tokens().len();
        // What is evaluated follows it all as well.
        let found = session.evaluate(&story.ids[..3], Rows::All, &[Output::Logits]).expect("it is run");
        assert_eq!((found.len(), session.tokens().len()), (3, next + 3), "{end}");
        let mut other = model.session().expect("a session is free");
        let expected = other.evaluate(session.tokens(), Rows::Last, &[Output::Logits]).expect("it is run");
        let error = nmse(&expected[0].logits, &found[2].logits);
        assert!(error <= LIMIT, "{end}: NMSE {error:.1e}");
    }
}

#[test]
fn a_cancel_ends_only_what_runs() {
    let (adapters, story) = (adapters(), &demo_stories()[0]);
    let model = demo(&[adapters.last().expect("the host is listed")], &Arc::default());
    let mut session = model.session().expect("a session is free");
    let cancel = session.canceller();
    let requested = [Output::Argmax];
    // Before a call it does nothing, whatever the call is.
    cancel.cancel();
    assert_eq!(generate(&mut session, &story.prompt_ids, 3), &story.ids[..3]);
    cancel.cancel();
    assert_eq!(session.evaluate(&[5], Rows::Last, &requested).expect("it is run").len(), 1);
    cancel.cancel();
    let mut runs = [SessionRun { session: &mut session, tokens: &[6], rows: Rows::Last }];
    assert_eq!(model.step(&mut runs, &requested).expect("it is run")[0].len(), 1);
    // At the end of a generation, while it is still there, and after it.
    session.truncate(0);
    let mut generation = session.generate_tokens(&story.prompt_ids, greedy(3)).expect("it can be generated");
    assert_eq!(generation.by_ref().count(), 3);
    cancel.cancel();
    assert!(generation.next().is_none());
    assert_eq!(generation.stop_reason(), Some(StopReason::Length));
    assert_eq!(generate(&mut session, &[], 3), &story.ids[3..6]);
    // Between two tokens it counts, and before the first.
    for taken in [0, 2] {
        let before = session.tokens().to_vec();
        let mut generation = session.generate_tokens(&[], greedy(9)).expect("it can be generated");
        assert_eq!(generation.by_ref().take(taken).count(), taken);
        cancel.cancel();
        assert!(generation.next().is_none());
        assert_eq!(generation.stop_reason(), Some(StopReason::Cancelled));
        assert_eq!(session.tokens().len(), before.len() + taken);
    }
    assert_eq!(session.tokens()[story.prompt_ids.len()..], story.ids[..8]);
}

/// A long prompt is left between two submissions of a step, or two nodes on the host: nothing is submitted after the cancel, and the session
/// goes on as if it had not been.
#[test]
fn a_prompt_is_left_between_submissions() {
    let adapters = adapters();
    let (host, gpus) = adapters.split_last().expect("the host is listed");
    let mut placements: Vec<Vec<&Adapter>> = adapters.iter().map(|adapter| vec![adapter]).collect();
    placements.push(vec![host, host]);
    placements.extend(gpus.windows(2).map(|pair| pair.iter().collect()));
    for placement in placements {
        // The host is left between nodes, of which a short prompt has enough.
        let length = if placement[0].kind == Kind::Host { 24 } else { 240 };
        let prompt: Vec<u32> = (0..length).map(|token| token * 7 + 3).collect();
        let what = plywood_tests::names(&placement);
        let faults = Arc::new(Faults::default());
        let submissions = || faults.count("", Call::Submit);
        let model = demo(&placement, &faults);
        let run = |session: &mut Session, nth: u64| {
            let cancel = session.canceller();
            faults.act("", Call::Submit, nth, move || cancel.cancel());
            let before = submissions();
            let outcome = session.evaluate(&prompt, Rows::Last, &[Output::Logits]);
            (outcome, submissions() - before)
        };
        let mut session = model.session().expect("a session is free");
        session.evaluate(&prompt[..3], Rows::None, &[]).expect("it is run");
        for nth in [1, 2] {
            let (outcome, made) = run(&mut session, nth);
            assert!(matches!(outcome, Err(Error::Cancelled)), "{what}: the prompt was run to its end");
            // Stages that run at the same time end their submissions at the same time.
            assert!(
                (nth..nth + placement.len() as u64).contains(&made),
                "{what}: {made} submissions, cancelled at {nth}"
            );
            assert_eq!(session.tokens(), &prompt[..3], "{what}");
        }
        // A generation ends with the tokens that it has, here none.
        let cancel = session.canceller();
        faults.act("", Call::Submit, 1, move || cancel.cancel());
        let mut generation = session.generate_tokens(&prompt, greedy(5)).expect("it can be generated");
        assert!(generation.next().is_none());
        assert_eq!((generation.stop_reason(), generation.tokens()), (Some(StopReason::Cancelled), &[][..]));
        let mut other = model.session().expect("a session is free");
        let whole = [&prompt[..3], &prompt].concat();
        let before = submissions();
        let expected = other.evaluate(&whole, Rows::Last, &[Output::Logits]).expect("it is run");
        let made = submissions() - before;
        assert!(made > 2, "{what}: the prompt takes {made} submissions");
        let found = session.evaluate(&prompt, Rows::Last, &[Output::Logits]).expect("it goes on");
        assert_eq!(session.tokens(), whole);
        let error = nmse(&expected[0].logits, &found[0].logits);
        println!("{what}: left after 1 and 2 of {made} submissions, then NMSE {error:.1e}");
        assert!(error <= LIMIT, "{what}: NMSE {error:.1e}");
    }
}

/// A step that two sessions share ends where both are cancelled, and not where one is.
#[test]
fn a_shared_step_is_for_all_of_its_sessions() {
    for adapter in adapters() {
        let faults = Arc::new(Faults::default());
        let model = demo(&[&adapter], &faults);
        let (mut first, mut second) = (model.session().expect("one"), model.session().expect("two"));
        let prompt: Vec<u32> = (0..60).map(|token| token * 7 + 3).collect();
        for (both, expected) in [(true, false), (false, true)] {
            let cancels = [first.canceller(), second.canceller()];
            faults.act("", Call::Submit, 1, move || {
                cancels.iter().take(if both { 2 } else { 1 }).for_each(|cancel| cancel.cancel());
            });
            let mut runs =
                [&mut first, &mut second].map(|session| SessionRun { session, tokens: &prompt, rows: Rows::Last });
            let outcome = model.step(&mut runs, &[Output::Argmax]);
            match outcome {
                Ok(rows) => assert!(expected && rows.len() == 2, "{}", adapter.label()),
                Err(error) => assert!(!expected && matches!(error, Error::Cancelled), "{}: {error}", adapter.label()),
            }
            let held = if expected { prompt.len() } else { 0 };
            assert_eq!([first.tokens().len(), second.tokens().len()], [held; 2]);
        }
        assert!(adapter.kind == Kind::Host || faults.count("", Call::Submit) > 4, "the steps were not cut");
    }
}
