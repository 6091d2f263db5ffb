//! Steps of several sequences, chunks, threads, cancellation, truncation and shards: none may change a result.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use plywood::devices::{Adapter, Kind};
use plywood::kernels::graph::Output;
use plywood::testing::{Call, Faults, Hooks};
use plywood::{Model, Options, Row, Rows, Session, SessionRun, StopReason};
use plywood_tests::{
    adapters, expected, expected_stories, greedy, ids, names, nmse, none_wrong, placed, stories, tell, wrong_story,
};

/// Where all is f32, the same computation in another order.
const LIMIT: f64 = 1e-9;

/// Opens the f32 file with float kernels.
fn open(adapters: &[&Adapter], options: Options) -> Option<Model> {
    let options = placed(adapters, options).exact(true);
    Some(Model::open(stories("stories260k-f32.gguf")?, options).expect("the model opens"))
}

/// Three sequences of real text, and the logits of each of their tokens when it is alone.
fn sequences(model: &Model) -> Option<Vec<(Vec<u32>, Vec<Row>)>> {
    let texts = expected("nll.json")?;
    let (prose, story) = (ids(&texts["texts"][0]["ids"]), ids(&texts["texts"][1]["ids"]));
    let alone = |ids: &[u32]| {
        let mut session = model.session().expect("a session is free");
        (ids.to_vec(), session.evaluate(ids, Rows::All, &[Output::Logits]).expect("the text is run"))
    };
    Some([&prose[..120], &story[..120], &prose[150..270]].map(alone).into())
}

/// What each of three sessions adds in one step, and of which tokens it wants logits.
type Growth = [(usize, Rows); 3];

/// Some in prefill, some decoding, some not there; page boundaries (at multiples of 32) in all ways.
const SCHEDULES: &[&[Growth]] = &[
    &[
        [(20, Rows::All), (3, Rows::Last), (1, Rows::All)],
        [(1, Rows::Last), (33, Rows::All), (1, Rows::Last)],
        [(0, Rows::None), (1, Rows::Last), (50, Rows::Last)],
        [(31, Rows::All), (1, Rows::Last), (1, Rows::Last)],
        [(1, Rows::Last), (1, Rows::Last), (1, Rows::Last)],
        [(1, Rows::All), (64, Rows::None), (1, Rows::None)],
        [(2, Rows::All), (2, Rows::All), (2, Rows::All)],
        [(1, Rows::Last), (0, Rows::None), (17, Rows::All)],
    ],
    &[
        [(1, Rows::Last), (0, Rows::None), (0, Rows::None)],
        [(1, Rows::Last), (1, Rows::Last), (0, Rows::None)],
        [(1, Rows::Last), (1, Rows::Last), (1, Rows::Last)],
        [(6, Rows::Last), (1, Rows::Last), (1, Rows::Last)],
        [(7, Rows::Last), (1, Rows::Last), (1, Rows::Last)],
        [(16, Rows::All), (16, Rows::All), (16, Rows::All)],
        [(31, Rows::Last), (31, Rows::Last), (31, Rows::Last)],
        [(1, Rows::Last), (1, Rows::None), (1, Rows::Last)],
    ],
];

/// Gives pages out and takes them back, so that later sequences get them in no order.
fn shuffle_pages(sessions: &mut [Session], ids: &[u32]) {
    for (turn, keep) in [(0, 40), (1, 0), (2, 33), (1, 70), (0, 0), (2, 0), (1, 0)] {
        for session in sessions.iter_mut() {
            let more = (turn * 17 + 13).min(120 - session.tokens().len());
            session.evaluate(&ids[..more], Rows::None, &[]).expect("the tokens are run");
        }
        sessions[turn].truncate(keep);
    }
    sessions.iter_mut().for_each(|session| session.truncate(0));
}

/// Runs the schedules over three sessions and compares each row with that of its token alone.
fn check_ragged(adapters: &[&Adapter]) -> Vec<String> {
    let options = Options::default().sessions(3).step_tokens(128).step_rows(128);
    let Some(model) = open(adapters, options) else { return Vec::new() };
    let Some(sequences) = sequences(&model) else { return Vec::new() };
    let mut sessions: Vec<Session> = (0..3).map(|_| model.session().expect("a session is free")).collect();
    let (mut worst, mut rows_seen, mut wrong) = (0f64, 0, Vec::new());
    for (number, schedule) in SCHEDULES.iter().enumerate() {
        shuffle_pages(&mut sessions, &sequences[0].0);
        for (step, growth) in schedule.iter().enumerate() {
            let begins: Vec<usize> = sessions.iter().map(|session| session.tokens().len()).collect();
            let runs = sessions.iter_mut().zip(growth).zip(&sequences).filter(|((_, (more, _)), _)| *more > 0);
            let mut runs: Vec<SessionRun> = runs
                .map(|((session, (more, rows)), (ids, _))| {
                    let begin = session.tokens().len();
                    SessionRun { session, tokens: &ids[begin..begin + more], rows: *rows }
                })
                .collect();
            let mut found = model.step(&mut runs, &[Output::Logits]).expect("the step runs").into_iter();
            for (sequence, (more, rows)) in growth.iter().enumerate().filter(|(_, (more, _))| *more > 0) {
                let end = begins[sequence] + more;
                let wanted = match rows {
                    Rows::None => end..end,
                    Rows::Last => end - 1..end,
                    Rows::All => begins[sequence]..end,
                };
                let alone = &sequences[sequence].1[wanted];
                let found = found.next().expect("rows for every run");
                assert_eq!(found.len(), alone.len(), "rows of sequence {sequence} in step {step}");
                for (found, alone) in found.iter().zip(alone) {
                    let error = nmse(&alone.logits, &found.logits);
                    (worst, rows_seen) = (worst.max(error), rows_seen + 1);
                    if error > LIMIT {
                        let place = names(adapters);
                        wrong
                            .push(format!("{place}, schedule {number}, step {step}, sequence {sequence}: {error:.1e}"));
                    }
                }
            }
        }
    }
    println!("{}: {rows_seen} rows, worst NMSE {worst:.1e}", names(adapters));
    wrong
}

#[test]
fn sequences_of_one_step_are_as_alone() {
    let adapters = adapters();
    let mut wrong: Vec<String> = adapters.iter().flat_map(|adapter| check_ragged(&[adapter])).collect();
    wrong.extend(check_ragged(&[&adapters[0], &adapters[adapters.len() - 1]]));
    none_wrong(&wrong);
}

/// A prompt in chunks of a size, as the caller gives them and as the engine cuts them.
#[test]
fn a_prompt_in_chunks_is_as_at_once() {
    let mut wrong = Vec::new();
    for adapter in adapters() {
        let last = |options: Options, chunk: usize| -> Option<Vec<f32>> {
            let model = open(&[&adapter], options)?;
            Some(chunked(&model, chunk)?.remove(0))
        };
        let options = || Options::default().step_tokens(128);
        let (Some(model), Some(at_once)) = (open(&[&adapter], options()), last(options(), PROMPT)) else { return };
        let mut worst = 0f64;
        let mut check = |what: String, logits: Vec<f32>| {
            let error = nmse(&at_once, &logits);
            worst = worst.max(error);
            if error > LIMIT {
                wrong.push(format!("{}, {what}: {error:.1e}", adapter.label()));
            }
        };
        for chunk in (1..=16).chain([17, 31, 32, 33, 48, 64, 65, 89]) {
            check(format!("chunks of {chunk}"), chunked(&model, chunk).expect("the data are there").remove(0));
        }
        for step in [1, 7, 8, 9, 33] {
            let options = Options::default().step_tokens(step);
            check(format!("steps of {step}"), last(options, PROMPT).expect("the data are there"));
        }
        println!("{}: worst NMSE {worst:.1e}", adapter.label());
    }
    none_wrong(&wrong);
}

/// Tokens of the prompt that is run in chunks.
const PROMPT: usize = 90;

/// Runs a prompt in chunks; gives the last token's logits.
fn chunked(model: &Model, chunk: usize) -> Option<Vec<Vec<f32>>> {
    let ids = ids(&expected("nll.json")?["texts"][0]["ids"]);
    let mut session = model.session().expect("a session is free");
    let run = |ids| session.evaluate(ids, Rows::Last, &[Output::Logits]).expect("the chunk is run");
    let rows = ids[..PROMPT].chunks(chunk).map(run).last().expect("there are chunks");
    Some(rows.into_iter().map(|row| row.logits).collect())
}

/// Nodes of the host from a pause to the next: fewer than a step of stories260k has.
const PAUSE_NODES: u64 = 40;

#[test]
fn threads_share_a_model() {
    let Some(stories) = expected_stories("greedy_ids.json") else { return };
    let mut wrong = Vec::new();
    for adapter in adapters() {
        // A step of the host is shorter than the time in which a busy system wakes a thread: there steps pause.
        let faults = Arc::new(Faults::default());
        for step in 0..if adapter.kind == Kind::Host { 800 } else { 0 } {
            faults.act("host", Call::Submit, 1 + PAUSE_NODES * step, || std::thread::sleep(Duration::from_millis(2)));
        }
        let options = Options::default().sessions(4).hooks(&faults);
        let Some(model) = open(&[&adapter], options) else { return };
        let told: Vec<Option<String>> = std::thread::scope(|scope| {
            let tell = |teller: usize| {
                let (model, stories) = (&model, &stories);
                scope.spawn(move || wrong_story(model, &stories[teller % stories.len()]))
            };
            let tellers: Vec<_> = (0..4).map(tell).collect();
            tellers.into_iter().map(|teller| teller.join().expect("no thread panics")).collect()
        });
        wrong.extend(told.into_iter().flatten().map(|wrong| format!("{}: {wrong}", adapter.label())));
        let steps: u64 = model.times().iter().map(|times| times.steps).sum();
        let tokens: usize = (0..4).map(|teller| stories[teller % stories.len()].ids.len()).sum();
        println!("{}: {tokens} tokens of 4 sessions in {steps} steps", adapter.label());
        // In turn, four sessions need little more than a fourth of the steps; one after the other, all.
        assert!(steps * 3 < tokens as u64 * 2, "{}: the sessions do not take turns", adapter.label());
    }
    none_wrong(&wrong);
}

#[test]
fn cancelled_from_another_thread() {
    for adapter in adapters() {
        let Some(model) = open(&[&adapter], Options::default()) else { return };
        let mut session = model.session().expect("a session is free");
        let cancel = session.canceller();
        let (sender, receiver) = mpsc::channel();
        let canceller = std::thread::spawn(move || {
            receiver.recv().expect("the generation begins");
            cancel.cancel();
        });
        let mut generation = session.generate("Once", greedy(100_000)).expect("it can be generated");
        let mut pieces = 0;
        for piece in generation.by_ref() {
            piece.expect("a cancelled generation is no error");
            pieces += 1;
            if pieces == 5 {
                sender.send(()).expect("somebody listens");
            }
        }
        let (reason, tokens) = (generation.stop_reason(), generation.tokens().len());
        canceller.join().expect("no thread panics");
        assert_eq!(reason, Some(StopReason::Cancelled), "{}: after {tokens} tokens", adapter.label());
        assert!((5..400).contains(&tokens), "{}: cancelled after {tokens} tokens", adapter.label());
        println!("{}: cancelled after {tokens} tokens", adapter.label());
        // The session goes on afterwards, and where nothing runs a cancel does nothing.
        session.canceller().cancel();
        assert_eq!(session.evaluate(&[1], Rows::Last, &[Output::Argmax]).expect("it goes on").len(), 1);
    }
}

#[test]
fn truncated_and_generated_again() {
    let Some(stories) = expected_stories("greedy_ids.json") else { return };
    let story = &stories[1];
    for adapter in adapters() {
        let Some(model) = open(&[&adapter], Options::default()) else { return };
        let mut session = model.session().expect("a session is free");
        for keep in [0, 1, 4, 31, 32, 33, 100] {
            let whole: Vec<u32> = story.prompt_ids.iter().chain(&story.ids).copied().collect();
            session.truncate(keep);
            assert_eq!(session.tokens(), &whole[..session.tokens().len()]);
            let rest = whole[session.tokens().len()..keep + 5].to_vec();
            let mut generation = session.generate_tokens(&rest, greedy(60)).expect("it can be generated");
            generation.by_ref().for_each(|piece| drop(piece.expect("a token")));
            let wanted = &whole[keep + 5..keep + 65];
            assert_eq!(generation.tokens(), wanted, "{}: after {keep} tokens", adapter.label());
        }
    }
}

/// Weights in shards of some rows, a cache in shards of one KV head and of two.
#[test]
fn small_shards_change_nothing() {
    let Some(stories_told) = expected_stories("greedy_ids.json") else { return };
    let story = &stories_told[2];
    for adapter in adapters() {
        let mut buffers = Vec::new();
        for max_shard in [16 << 10, 40_000] {
            let options = Options::default().hooks(Hooks { max_shard: Some(max_shard), ..Hooks::default() });
            let Some(model) = open(&[&adapter], options) else { return };
            let (ids, _) = tell(&model, story).expect("the story is told");
            assert_eq!(ids, story.ids, "{} in shards of {max_shard}", adapter.label());
            buffers.push(model.times()[0].dispatches);
        }
        let whole = open(&[&adapter], Options::default()).expect("the data are there");
        tell(&whole, story).expect("the story is told");
        buffers.push(whole.times()[0].dispatches);
        println!("{}: dispatches with small, larger and no shards: {buffers:?}", adapter.label());
        let sharded = buffers[0] > buffers[1] && buffers[1] > buffers[2];
        assert!(sharded || buffers[2] == 0, "{}: the shards were not made", adapter.label());
    }
}
