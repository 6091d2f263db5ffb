//! What an app can ask for wrongly: each is an error, and the model works afterwards.

use plywood::kernels::graph::Output;
use plywood::testing::Hooks;
use plywood::{Devices, Error, Layers, Model, Options, Request, Rows, Sampling, SessionRun, StopReason};
use plywood_tests::{adapters, expected_stories, greedy, none_wrong, placed, stories, wrong_story};

/// Opens the f32 file on the first adapter, for few tokens.
fn open(options: Options) -> Option<Model> {
    let adapters = adapters();
    let options = placed(&[&adapters[0]], options).exact(true);
    Some(Model::open(stories("stories260k-f32.gguf")?, options).expect("the model opens"))
}

/// Fails unless a call gives the error.
macro_rules! refuses {
    ($call:expr, $error:pat) => {
        match $call {
            Err($error) => {}
            Err(error) => panic!("{} gives {error}", stringify!($call)),
            Ok(_) => panic!("{} works", stringify!($call)),
        }
    };
}

#[test]
fn tokens_and_contexts() {
    let Some(model) = open(Options::default().context(20)) else { return };
    let mut session = model.session().expect("a session is free");
    let requested = [Output::Argmax];
    refuses!(session.evaluate(&[512], Rows::Last, &requested), Error::UnknownToken { token: 512, vocabulary: 512 });
    refuses!(session.evaluate(&[1; 21], Rows::Last, &requested), Error::ContextFull { tokens: 21, context: 20 });
    refuses!(session.generate_tokens(&[], greedy(1)), Error::EmptyPrompt);
    refuses!(session.generate_tokens(&[u32::MAX], greedy(1)), Error::UnknownToken { .. });
    refuses!(session.generate(&"word ".repeat(50), greedy(1)), Error::ContextFull { context: 20, .. });
    assert!(session.tokens().is_empty(), "what was refused left tokens");
    assert!(session.evaluate(&[], Rows::Last, &requested).expect("nothing is run").is_empty());
    // The context fills up to its last place, and a generation then ends.
    let mut generation = session.generate("Once upon a time", greedy(1000)).expect("it can be generated");
    generation.by_ref().for_each(|piece| drop(piece.expect("a token")));
    assert_eq!((generation.stop_reason(), generation.tokens().len()), (Some(StopReason::Context), 16));
    // The last token that was chosen needed no place, and has none to be run in.
    refuses!(session.evaluate(&[1], Rows::Last, &requested), Error::ContextFull { tokens: 22, context: 20 });
    session.truncate(usize::MAX);
    session.truncate(3);
    assert_eq!(session.evaluate(&[1], Rows::Last, &requested).expect("there is room again").len(), 1);
}

#[test]
fn sampling_that_means_nothing() {
    let Some(model) = open(Options::default()) else { return };
    let mut session = model.session().expect("a session is free");
    let wrong = [
        Sampling { temperature: -1.0, ..Sampling::default() },
        Sampling { temperature: f32::NAN, ..Sampling::default() },
        Sampling { top_p: 2.0, ..Sampling::default() },
        Sampling { min_p: -1.0, ..Sampling::default() },
        Sampling { repeat_penalty: 0.0, ..Sampling::default() },
    ];
    for sampling in wrong {
        refuses!(session.generate("Once", sampling), Error::Option { .. });
    }
    let none = Request { max_tokens: 0, ..greedy(0) };
    let mut generation = session.generate("Once", none).expect("it can be generated");
    assert!(generation.next().is_none());
    assert_eq!(generation.stop_reason(), Some(StopReason::Length));
}

#[test]
fn sessions_and_steps() {
    let Some(stories) = expected_stories("greedy_ids.json") else { return };
    let options = Options::default().sessions(2).step_tokens(8).step_rows(4);
    let Some(model) = open(options) else { return };
    let (mut first, mut second) = (model.session().expect("one"), model.session().expect("two"));
    refuses!(model.session(), Error::NoSession { sessions: 2 });
    let requested = [Output::Argmax];
    let mut step = |tokens: [&[u32]; 2], rows: Rows| {
        let [one, two] = tokens;
        let mut runs = [
            SessionRun { session: &mut first, tokens: one, rows },
            SessionRun { session: &mut second, tokens: two, rows },
        ];
        let rows = model.step(&mut runs, &requested)?;
        Ok::<Vec<usize>, Error>(rows.iter().map(Vec::len).collect())
    };
    refuses!(step([&[1; 5], &[1; 4]], Rows::None), Error::Option { .. });
    refuses!(step([&[1; 3], &[1; 2]], Rows::All), Error::Option { .. });
    refuses!(step([&[1], &[600]], Rows::Last), Error::UnknownToken { .. });
    assert_eq!(step([&[1; 2], &[1; 2]], Rows::All).expect("it fits"), [2, 2]);
    assert_eq!(step([&[1; 4], &[1; 4]], Rows::Last).expect("it fits"), [1, 1]);
    assert!(model.step(&mut [], &requested).expect("nothing is run").is_empty());
    drop(first);
    drop(second);
    none_wrong(&Vec::from_iter(wrong_story(&model, &stories[1])));
}

/// A session without tokens in a joint step.
#[test]
fn an_empty_run_in_a_step() {
    let Some(model) = open(Options::default().sessions(2)) else { return };
    let (mut first, mut second) = (model.session().expect("one"), model.session().expect("two"));
    for rows in [Rows::None, Rows::All, Rows::Last] {
        let mut runs = [
            SessionRun { session: &mut first, tokens: &[], rows },
            SessionRun { session: &mut second, tokens: &[1], rows: Rows::Last },
        ];
        let found = model.step(&mut runs, &[Output::Argmax]).expect("it runs");
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
    }
}

#[test]
fn options_that_mean_nothing() {
    let Some(path) = stories("stories260k-f32.gguf") else { return };
    let option = |options: Options| Model::open(&path, options);
    let two = || vec!["host".to_string(), "host".to_string()];
    refuses!(option(Options::default().context(0)), Error::Option { option: "Options::context", .. });
    refuses!(option(Options::default().context(1 << 40)), Error::Option { .. });
    refuses!(
        option(Options::default().layers(Layers::Split(vec![1, 1]))),
        Error::Option { option: "Layers::Split", .. }
    );
    refuses!(
        option(Options::default().devices(Devices::adapters(two())).layers(Layers::Split(vec![1]))),
        Error::Option { .. }
    );
    refuses!(
        option(Options::default().devices(Devices::adapters(two())).layers(Layers::Split(vec![0, 0]))),
        Error::Option { .. }
    );
    refuses!(option(Options::default().devices(Devices::adapters(["nothing"]))), Error::NoAdapter { .. });
    refuses!(option(Options::default().hooks(Hooks { max_shard: Some(8), ..Hooks::default() })), Error::Binding { .. });
    // What is merely strange works.
    let zeros = Options::default().sessions(0).step_tokens(0).step_rows(0).context(1);
    let model = option(zeros.devices(Devices::adapters(two())).layers(Layers::Split(vec![u32::MAX; 2])))
        .expect("the model opens");
    assert_eq!(model.context(), 1);
    let mut session = model.session().expect("one session is always there");
    let rows = session.evaluate(&[1], Rows::All, &[Output::Argmax]).expect("one token fits");
    assert_eq!(rows[0].argmax, Some(403));
}
