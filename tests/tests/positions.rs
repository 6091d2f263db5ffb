//! LongRoPE: all tokens of a sequence turn by its length, in whatever pieces and steps it comes, also when it grows past the
//! original context or shrinks below it.

use std::sync::Arc;

use plywood::devices::Adapter;
use plywood::kernels::graph::Output;
use plywood::testing::{Call, Faults};
use plywood::tools::perplexity::{Scoring, score};
use plywood::{Error, Model, Options, Rows, Session, SessionRun};
use plywood_tests::families::{folder, recorded};
use plywood_tests::{adapters, exact, greedy, nmse, placed};

/// Where all is f32, the same computation in other steps.
const LIMIT: f64 = 1e-9;

/// The original context of both models.
const ORIGINAL: usize = 32;

/// Tokens of the text.
const LENGTH: usize = 60;

/// A model of the family with a text, and the logits of its tokens in short sequences and in long ones.
struct Text {
    model: Model,
    faults: Arc<Faults>,
    ids: Vec<u32>,
    short: Vec<Vec<f32>>,
    long: Vec<Vec<f32>>,
}

impl Text {
    fn open(adapter: &Adapter, path: &str, options: Options) -> Text {
        let faults = Arc::new(Faults::default());
        let options = options.step_rows(LENGTH).exact(true).hooks(&faults);
        let options = placed(&[adapter], options);
        let model = Model::open(folder(path), options).expect("the model opens");
        let name = path.split('/').next().expect("a folder");
        let ids = recorded(name, path.ends_with(".gguf")).remove(0).ids;
        assert_eq!(ids.len(), LENGTH);
        // That these are right is seen by the families' test.
        let fresh = |count: usize| logits(&mut model.session().expect("a session is free"), &ids[..count]);
        let (short, long) = (fresh(ORIGINAL), fresh(LENGTH));
        assert!(nmse(&short.concat(), &long[..ORIGINAL].concat()) > 1e-4, "short and long factors are alike");
        Text { short, long, model, faults, ids }
    }

    fn session(&self) -> Session {
        self.model.session().expect("a session is free")
    }

    /// The logits of the tokens from a place on in a sequence that ends after them.
    fn rows(&self, tokens: std::ops::Range<usize>) -> &[Vec<f32>] {
        if tokens.end > ORIGINAL { &self.long[tokens] } else { &self.short[tokens] }
    }

    /// Evaluates the text from where a session is up to a place, and checks the logits.
    fn go_on(&self, session: &mut Session, end: usize) {
        let begin = session.tokens().len();
        let found = logits(session, &self.ids[begin..end]);
        check(&format!("{begin} to {end}"), &found, self.rows(begin..end));
        assert_eq!(session.tokens(), &self.ids[..end]);
    }
}

fn logits(session: &mut Session, ids: &[u32]) -> Vec<Vec<f32>> {
    let rows = session.evaluate(ids, Rows::All, &[Output::Logits]).expect("the tokens are run");
    rows.into_iter().map(|row| row.logits).collect()
}

fn check(what: &str, found: &[Vec<f32>], wanted: &[Vec<f32>]) {
    assert_eq!(found.len(), wanted.len(), "{what}: the number of rows");
    for (row, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = nmse(wanted, found);
        assert!(error <= LIMIT, "{what}, row {row}: NMSE {error:.1e}");
    }
}

/// Runs a check on every adapter: on one model in large steps, and on the other in small ones.
fn on_all(check: impl Fn(&Text)) {
    in_steps_of([LENGTH, 7], check);
}

/// The same, in steps of these sizes.
fn in_steps_of(tokens: [usize; 2], check: impl Fn(&Text)) {
    for adapter in adapters() {
        for (path, step_tokens) in ["phi35", "phi4_mini/model.gguf"].into_iter().zip(tokens) {
            println!("{}, {path}, steps of {step_tokens}", adapter.label());
            let options = Options::default().step_tokens(step_tokens).sessions(3);
            check(&Text::open(&adapter, path, options));
        }
    }
}

#[test]
fn any_number_of_tokens_may_be_cached() {
    on_all(|text| {
        for cached in 1..LENGTH {
            let mut session = text.session();
            text.go_on(&mut session, cached);
            text.go_on(&mut session, LENGTH);
        }
    });
}

#[test]
fn token_by_token_past_the_limit_and_back() {
    on_all(|text| {
        let mut session = text.session();
        (1..=LENGTH).for_each(|end| text.go_on(&mut session, end));
        for keep in [45, 33, 32, 31, 20, 1, 0] {
            session.truncate(keep);
            text.go_on(&mut session, keep + 1);
            text.go_on(&mut session, ORIGINAL.max(keep + 2));
            text.go_on(&mut session, LENGTH);
        }
        // Nothing is computed before it is asked for, nor by a truncation that leaves a sequence long.
        let steps = || text.model.times()[0].steps;
        let before = steps();
        session.truncate(10);
        session.evaluate(&[], Rows::All, &[Output::Logits]).expect("nothing is run");
        session.evaluate(&text.ids[10..14], Rows::None, &[]).expect("the tokens are run");
        session.truncate(20);
        assert!(steps() - before <= 3, "{} steps", steps() - before);
    });
}

#[test]
fn a_long_prompt_is_computed_once() {
    on_all(|text| {
        let most = text.model.limits().tokens;
        let steps = || text.model.times()[0].steps;
        let before = steps();
        text.go_on(&mut text.session(), LENGTH);
        assert_eq!(steps() - before, LENGTH.div_ceil(most) as u64);

        // In pieces too, where it is told how long it will be.
        let before = steps();
        let mut session = text.session();
        session.expect_length(LENGTH);
        for piece in 0..LENGTH / 5 {
            let tokens = piece * 5..piece * 5 + 5;
            let found = logits(&mut session, &text.ids[tokens.clone()]);
            check("expected_length", &found, &text.long[tokens]);
        }
        assert_eq!(steps() - before, (LENGTH / 5) as u64);
        // A truncation is the beginning of something else.
        session.truncate(3);
        text.go_on(&mut session, 9);
    });
}

#[test]
fn generation_crosses_the_limit() {
    on_all(|text| {
        let largest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("logits") as u32;
        let mut wanted = text.ids[..ORIGINAL - 5].to_vec();
        for _ in 0..12 {
            let rows = logits(&mut text.session(), &wanted);
            wanted.push(largest(rows.last().expect("a row")));
        }
        let mut session = text.session();
        let mut generation = session.generate_tokens(&text.ids[..ORIGINAL - 5], greedy(12)).expect("it is generated");
        generation.by_ref().for_each(|piece| drop(piece.expect("a token")));
        assert_eq!(generation.tokens(), &wanted[ORIGINAL - 5..]);
    });
}

/// One session becomes long, one short again, and one stays as it is, all by one step.
#[test]
fn sequences_of_one_step_turn_each_by_its_length() {
    on_all(|text| {
        let mut sessions = [text.session(), text.session(), text.session()];
        for (session, cached) in sessions.iter_mut().zip([ORIGINAL - 1, LENGTH, 4]) {
            text.go_on(session, cached);
        }
        sessions[1].truncate(ORIGINAL - 3);
        let begins = [ORIGINAL - 1, ORIGINAL - 3, 4];
        let runs = sessions.iter_mut().zip(begins);
        let mut runs: Vec<SessionRun> = runs
            .map(|(session, begin)| SessionRun { session, tokens: &text.ids[begin..begin + 2], rows: Rows::All })
            .collect();
        let found = text.model.step(&mut runs, &[Output::Logits]).expect("the step runs");
        for (rows, begin) in found.into_iter().zip(begins) {
            let rows: Vec<Vec<f32>> = rows.into_iter().map(|row| row.logits).collect();
            check(&format!("from {begin}"), &rows, text.rows(begin..begin + 2));
        }
        for session in &mut sessions {
            text.go_on(session, LENGTH);
        }
    });
}

/// Sessions in threads of their own cross the limit while others' steps carry their tokens.
#[test]
fn sessions_cross_the_limit_at_once() {
    on_all(|text| {
        std::thread::scope(|scope| {
            for first in [29, 3, 32] {
                let mut session = text.session();
                scope.spawn(move || {
                    text.go_on(&mut session, first);
                    (first + 1..=LENGTH).for_each(|end| text.go_on(&mut session, end));
                });
            }
        });
    });
}

#[test]
fn cancelled_while_computing_again() {
    in_steps_of([9, 7], |text| {
        let mut session = text.session();
        let cancel = session.canceller();
        // While the first of several steps runs.
        let cancel_soon = || {
            let cancel = cancel.clone();
            text.faults.act("", Call::Submit, 1, move || cancel.cancel());
        };
        text.go_on(&mut session, ORIGINAL);
        for _ in 0..2 {
            cancel_soon();
            let cancelled = session.evaluate(&text.ids[ORIGINAL..], Rows::All, &[Output::Logits]);
            assert!(matches!(cancelled, Err(Error::Cancelled)));
            assert_eq!(session.tokens(), &text.ids[..ORIGINAL]);
        }
        text.go_on(&mut session, LENGTH);
        session.truncate(20);
        cancel_soon();
        assert!(matches!(session.evaluate(&text.ids[20..21], Rows::Last, &[Output::Argmax]), Err(Error::Cancelled)));
        session.truncate(2);
        text.go_on(&mut session, 30);
    });
}

/// A text scores alike in whatever pieces its logits are asked for: as one sequence of its length.
#[test]
fn perplexity_is_that_of_the_whole_sequence() {
    for adapter in adapters() {
        let nll = |step_rows: usize, tokens: usize| {
            let options = exact(&[&adapter]).step_rows(step_rows);
            let model = Model::open(folder("phi35"), options).expect("the model opens");
            let mut ids = recorded("phi35", false).remove(0).ids;
            ids.truncate(tokens);
            // BOS comes before what is scored.
            ids[0] = model.config().bos.expect("the model has one");
            let rows = logits(&mut model.session().expect("a session is free"), &ids);
            let share = |(row, next): (&Vec<f32>, &u32)| {
                let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
                sum.ln() - f64::from(row[*next as usize])
            };
            let wanted = rows.iter().zip(&ids[1..]).map(share).sum::<f64>() / (ids.len() - 1) as f64;
            let found = score(&model, None, &ids[1..], Scoring::All, |_, _| true).expect("the text is scored");
            assert!((found.nll - wanted).abs() < 1e-5, "{} instead of {wanted}", found.nll);
        };
        for step_rows in [1, 7, LENGTH] {
            nll(step_rows, LENGTH);
            nll(step_rows, ORIGINAL + 1);
            nll(step_rows, ORIGINAL);
        }
    }
}
