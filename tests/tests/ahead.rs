//! Steps that a device is given before the last one's token is known: the tokens are those of one step after the other, whatever ends them.

use std::sync::Arc;

use plywood::devices::{Adapter, Kind};
use plywood::kernels::graph::Output;
use plywood::kernels::sample::draw::Draw;
use plywood::testing::{Call, Failure, Faults};
use plywood::{Error, Model, Request, Rows, Sampling, Session, StopReason};
use plywood_tests::{adapters, demo_stories, exact, gpus, greedy};

fn demo(adapter: &Adapter, faults: &Arc<Faults>) -> Model {
    let options = exact(&[adapter]).sessions(3).context(256).hooks(faults);
    Model::open("demo", options).expect("the demo model opens")
}

/// Ways to sample that a device takes over.
fn samplings() -> Vec<Sampling> {
    let all = Sampling { top_k: 64, top_p: 1.0, min_p: 0.0, seed: Some(1), ..Sampling::default() };
    vec![
        Sampling::greedy(),
        Sampling { seed: Some(7), ..Sampling::default() },
        Sampling { temperature: 1.5, ..all.clone() },
        Sampling { temperature: 1.0, top_p: 0.6, ..all.clone() },
        Sampling { temperature: 3.0, min_p: 0.1, seed: Some(u64::MAX), ..all },
    ]
}

fn request(sampling: &Sampling, tokens: usize) -> Request {
    Request { max_tokens: tokens, ignore_eos: true, ..Request::from(sampling.clone()) }
}

fn generate(session: &mut Session, prompt: &[u32], request: Request) -> Vec<u32> {
    let mut generation = session.generate_tokens(prompt, request).expect("it can be generated");
    generation.by_ref().for_each(|piece| drop(piece.expect("a token")));
    generation.tokens().to_vec()
}

/// Each step read before the next begins, its token chosen here.
fn one_by_one(session: &mut Session, prompt: &[u32], sampling: &Sampling, tokens: usize) -> Vec<u32> {
    let (mut last, mut chosen) = (prompt.to_vec(), Vec::new());
    for number in 0..tokens as u32 {
        let rows = session.evaluate(&last, Rows::Last, &[Output::Argmax, Output::TopK]).expect("it is run");
        let Sampling { temperature, top_k, top_p, min_p, seed, .. } = *sampling;
        let token = match temperature > 0.0 {
            true => {
                let seed = seed.expect("it is given");
                Draw { temperature, top_k, top_p, min_p, seed, number }.choose(rows[0].top_k.iter().copied())
            }
            false => rows[0].argmax.expect("it was wanted"),
        };
        chosen.push(token);
        last = vec![token];
    }
    chosen
}

#[test]
fn tokens_are_those_of_one_step_after_the_other() {
    let story = &demo_stories()[0];
    for adapter in adapters() {
        let model = demo(&adapter, &Arc::default());
        for sampling in samplings() {
            let expected = one_by_one(&mut model.session().expect("it is free"), &story.prompt_ids, &sampling, 40);
            let mut session = model.session().expect("it is free");
            let mut found = generate(&mut session, &story.prompt_ids, request(&sampling, 40));
            assert_eq!(found, expected, "{sampling:?} on {}", adapter.label());
            if sampling.temperature == 0.0 {
                assert_eq!(found, &story.ids[..40]);
                found.extend(generate(&mut session, &[], request(&sampling, 8)));
                assert_eq!(found, &story.ids[..48], "it does not go on where it ended");
            }
        }
    }
}

/// A generation that its length ends runs no step too many; one that a stop text ends runs one, of which nothing is left.
#[test]
fn what_was_computed_for_nothing_leaves_nothing() {
    let story = &demo_stories()[0];
    for adapter in adapters() {
        let model = demo(&adapter, &Arc::default());
        let stop = vec![model.tokenizer().expect("it has one").decode(&story.ids[5..7])];
        let ahead = u64::from(adapter.kind != Kind::Host);
        for (request, too_many) in [(greedy(7), 0), (Request { stop, ..greedy(40) }, ahead)] {
            let (what, before) = (format!("{:?} on {}", request.stop, adapter.label()), model.times()[0].steps);
            let mut session = model.session().expect("it is free");
            assert_eq!(generate(&mut session, &story.prompt_ids, request), &story.ids[..7], "{what}");
            assert_eq!(generate(&mut session, &[], greedy(1)), &story.ids[7..8], "{what}");
            // The prompt's, 6 more, and that of the token after.
            assert_eq!(model.times()[0].steps - before, 8 + too_many, "{what}: steps");
            assert_eq!(session.tokens(), [&story.prompt_ids[..], &story.ids[..8]].concat(), "{what}");
        }
    }
}

#[test]
fn a_cancel_holds_within_two_steps() {
    let story = &demo_stories()[0];
    for adapter in adapters() {
        for submission in 1..6 {
            let faults = Arc::new(Faults::default());
            let model = demo(&adapter, &faults);
            let mut session = model.session().expect("it is free");
            let cancel = session.canceller();
            let mut generation = session.generate_tokens(&story.prompt_ids, greedy(40)).expect("it can be generated");
            let first = generation.next().expect("a token").expect("it is run").token;
            assert_eq!(first, Some(story.ids[0]));
            faults.act("", Call::Submit, submission, move || cancel.cancel());
            generation.by_ref().for_each(|piece| drop(piece.expect("no error")));
            assert_eq!(generation.stop_reason(), Some(StopReason::Cancelled));
            let chosen = generation.tokens().to_vec();
            // On the host nodes are submitted one by one; a GPU begins one step for each token, and one before the first is read.
            let most = if adapter.kind == Kind::Host { 2 } else { submission as usize + 1 };
            assert!(
                chosen.len() <= most,
                "{} tokens after submission {submission} on {}",
                chosen.len(),
                adapter.label()
            );
            assert_eq!(chosen, &story.ids[..chosen.len()]);
            let rest = generate(&mut session, &[], greedy(20));
            assert_eq!(rest, &story.ids[chosen.len()..chosen.len() + 20], "it does not go on on {}", adapter.label());
        }
    }
}

/// The failure of a step that was begun ahead is reported when its token is asked for; tokens before it are given out.
#[test]
fn failures_come_in_order() {
    let story = &demo_stories()[0];
    for adapter in gpus() {
        let faults = Arc::new(Faults::default());
        let model = demo(&adapter, &faults);
        let mut session = model.session().expect("it is free");
        let mut told = generate(&mut session, &story.prompt_ids, greedy(2));
        for (call, nth, failure, tokens) in [
            (Call::Submit, 1, Failure::Refuse, 0),
            (Call::Submit, 4, Failure::Refuse, 3),
            (Call::Submit, 4, Failure::Lose, 2),
            (Call::Wait, 3, Failure::Lose, 2),
        ] {
            faults.order("", call, nth, failure);
            let mut generation = session.generate_tokens(&[], greedy(20)).expect("it can be generated");
            let error = generation.by_ref().find_map(Result::err).expect("it fails");
            let chosen = generation.tokens().to_vec();
            let what = format!("{call:?} {nth}, {failure:?} on {}: {error}", adapter.label());
            assert_eq!(chosen.len(), tokens, "{what}");
            told.extend(chosen);
            assert_eq!(told, &story.ids[..told.len()], "{what}");
            if failure == Failure::Lose {
                assert!(matches!(error, Error::DeviceLost { .. }), "{what}");
                assert!(model.recover().expect("the adapter is still there"), "{what}");
            }
            told.extend(generate(&mut session, &[], greedy(2)));
            assert_eq!(told, &story.ids[..told.len()], "{what}: it does not go on");
        }
    }
}

/// Sessions on threads of their own, which run ahead of each other or together as it comes.
#[test]
fn sessions_at_the_same_time() {
    let story = &demo_stories()[0];
    for adapter in adapters() {
        let model = demo(&adapter, &Arc::default());
        let alone: Vec<Vec<u32>> = samplings()[..3]
            .iter()
            .map(|sampling| one_by_one(&mut model.session().expect("it is free"), &story.prompt_ids, sampling, 30))
            .collect();
        for round in 0..4 {
            std::thread::scope(|scope| {
                for (sampling, expected) in samplings().into_iter().zip(&alone) {
                    let (model, prompt, adapter) = (&model, &story.prompt_ids, &adapter);
                    scope.spawn(move || {
                        let mut session = model.session().expect("it is free");
                        let found = generate(&mut session, prompt, request(&sampling, 30));
                        assert_eq!(&found, expected, "{sampling:?} in round {round} on {}", adapter.label());
                    });
                }
            });
        }
    }
}
