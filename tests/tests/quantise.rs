//! `ply quantize`: what it writes runs as what it read, and what is interrupted or fails leaves nothing.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use plywood::devices::Adapter;
use plywood::kernels::graph::Output;
use plywood::models::output::{Existing, partial_path};
use plywood::models::quantise::mixes::{self, Mix};
use plywood::models::quantise::{Options, Plan};
use plywood::tools::perplexity::{Score, Scoring, score};
use plywood::{Model, Rows};
use plywood_models::synthetic::Synthetic;
use plywood_models::tokenizer::EncodeOptions;
use plywood_tests::command::{Ended, finish, start};
use plywood_tests::families::expected_logits;
use plywood_tests::{adapters, data, demo_stories, exact, greedy, nmse, none_wrong, wrong_story};
use serde_json::Value;

const MASTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/master");

/// Tokens that each type of file continues a prompt with, and the gap of logits that may be rounded either way.
const TOKENS: usize = 16;
const GAP: f32 = 1e-3;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(120);

fn write(input: &Path, output: &Path, mix: &str) {
    let mix = Mix::find(mix).expect("a mix of this build");
    let options = Options { mix, pure: false, overrides: Vec::new(), importance: None };
    let plan = Plan::new(input, options).expect("the model opens");
    plan.write(output, Existing::Replace, |_, _| true).expect("it is written");
}

/// The logits of all tokens of a text, on the host.
fn logits(model: &Path, text: &str) -> (Vec<u32>, Vec<f32>) {
    let adapters = adapters();
    let host = adapters.last().expect("the host is always there");
    let model = Model::open(model, exact(&[host]).step_rows(64)).expect("the model opens");
    let mut session = model.session().expect("a session is free");
    let ids = session.encode(text).expect("a text");
    let rows = session.evaluate(&ids, Rows::All, &[Output::Logits]).expect("the text is run");
    (ids, rows.into_iter().flat_map(|row| row.logits).collect())
}

/// Checks that a directory and the file of its converted floats give the same ids and logits.
fn check_converted(directory: &Path, text: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("converted.gguf");
    write(directory, &file, "f32");
    let (ids, wanted) = logits(directory, text);
    let (found_ids, found) = logits(&file, text);
    assert_eq!(found_ids, ids);
    let error = nmse(&wanted, &found);
    println!("{}: {} tokens, NMSE {error:.1e}", directory.display(), ids.len());
    assert!(error < 1e-9, "{error:e}");
}

#[test]
fn converted_directories_compute_the_same() {
    check_converted(Path::new(MASTER), "It is a truth universally acknowledged,\n that  a man of 42");
    if let Some(path) = data("models/stories260k/hf") {
        check_converted(&path, "Once upon a time, there was a little girl named Lily.");
    }
}

#[test]
fn scaled_positions_compute_the_same() {
    for scaling in [
        serde_json::json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64}),
        serde_json::json!({"type": "linear", "factor": 2.5}),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for entry in fs::read_dir(MASTER).expect("the master is there") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("it is copied");
        }
        let path = folder.path().join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).expect("a file")).expect("JSON");
        config["rope_scaling"] = scaling;
        fs::write(&path, config.to_string()).expect("it is written");
        check_converted(folder.path(), "It is a truth universally acknowledged, that a single man in possession");
    }
}

/// The model that is built in was made by a script from the same floats.
#[test]
fn the_demo_tells_its_stories_when_quantised_here() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("demo.gguf");
    write(Path::new(MASTER), &file, "q8_0");
    let adapters = adapters();
    let host = adapters.last().expect("the host is always there");
    let model = Model::open(&file, exact(&[host])).expect("the model opens");
    none_wrong(&demo_stories().iter().filter_map(|story| wrong_story(&model, story)).collect::<Vec<_>>());
}

/// How the front of a text scores, against a reference.
fn scored(model: &Path, reference: &Path, text: &Path) -> Score {
    let text: String = fs::read_to_string(text).expect("a text").chars().take(1500).collect();
    let open = |path| {
        let options = exact(&[]).context(256);
        Model::open(path, options).expect("the model opens")
    };
    let (model, reference) = (open(model), open(reference));
    let tokenizer = model.tokenizer().expect("it has one");
    let ids = tokenizer.encode(&text, EncodeOptions { special: false, bos: false }).expect("a text");
    score(&model, Some(&reference), &ids, Scoring::Windows, |_, _| true).expect("the text is run")
}

/// Tokens of the most probable continuation.
fn continued(model: &Model, prompt: &[u32]) -> Vec<u32> {
    let mut session = model.session().expect("a session is free");
    let mut generation = session.generate_tokens(prompt, greedy(TOKENS)).expect("it begins");
    generation.by_ref().for_each(|piece| _ = piece.expect("a step"));
    generation.tokens().to_vec()
}

/// The distance of the two largest logits after some ids.
fn gap(model: &Model, ids: &[u32]) -> f32 {
    let mut session = model.session().expect("a session is free");
    let mut rows = session.evaluate(ids, Rows::Last, &[Output::Logits]).expect("the ids are run");
    let logits = &mut rows[0].logits;
    logits.sort_by(|a, b| b.total_cmp(a));
    logits[0] - logits[1]
}

/// Checks that a model gives the same tokens on every adapter as on the host, by float kernels, or others first where two logits
/// are as good as equal.
fn check_adapters(file: &Path, mix: &str, prompt: &str) {
    let adapters = adapters();
    let open = |adapter: &Adapter| {
        let options = exact(&[adapter]).context(128);
        Model::open(file, options).unwrap_or_else(|error| panic!("{mix}: {error}"))
    };
    let host = open(adapters.last().expect("the host is always there"));
    let ids = host.session().and_then(|session| session.encode(prompt)).expect("a prompt");
    let wanted = continued(&host, &ids);
    println!("{mix}: {:?}", host.tokenizer().map(|tokenizer| tokenizer.decode(&wanted)));
    for adapter in &adapters {
        let found = continued(&open(adapter), &ids);
        if let Some(place) = (0..TOKENS).find(|place| found[*place] != wanted[*place]) {
            let gap = gap(&host, &[&ids, &wanted[..place]].concat());
            assert!(gap < GAP, "{mix}, {}: token {place} differs, gap {gap:e}", adapter.label());
            println!("{mix}, {}: other tokens from {place} on, gap {gap:.0e}", adapter.label());
        }
    }
}

/// Quantises a model to every type that is written, and runs those of `falling`, of which each has fewer bits than the one before,
/// on every adapter. The fewer bits, the more a text's distributions differ from those of the floats, and the less likely it is at
/// last; over so few tokens its likelihood alone is noise.
fn check_types(input: &Path, prompt: &str, text: &Path, falling: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, floats) = (folder.path().join("model.gguf"), folder.path().join("floats.gguf"));
    write(input, &floats, "f32");
    let mut scores = HashMap::new();
    // The larger and smaller ones of a mix have the same formats.
    for mix in mixes::ALL.iter().filter(|mix| !mix.name().ends_with("_s") && !mix.name().ends_with("_l")) {
        write(input, &file, mix.name());
        let score = scored(&file, &floats, text);
        let kl = score.against.expect("there is a reference").kl;
        println!("{}: NLL {:.4}, KL {kl:.6}", mix.name(), score.nll);
        if falling.contains(&mix.name()) {
            check_adapters(&file, mix.name(), prompt);
        }
        scores.insert(mix.name(), (score.nll, kl));
    }
    for pair in falling.windows(2) {
        let (more, fewer) = (scores[pair[0]].1, scores[pair[1]].1);
        assert!(fewer > more, "{} has KL {fewer}, {} has {more}", pair[1], pair[0]);
    }
    let (first, last) = (scores[falling[0]].0, scores[falling[falling.len() - 1]].0);
    assert!(last > first * 1.005, "{last} against {first}");
}

#[test]
fn every_type_of_the_demo() {
    let Some(text) = data("text/pride_and_prejudice.txt") else { return };
    check_types(Path::new(MASTER), "It is a truth", &text, &["q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"]);
}

/// Rows of 64 and 172: most types fall back to others.
#[test]
fn every_type_of_the_stories() {
    let (Some(input), Some(text)) =
        (data("models/stories260k/stories260k-f32.gguf"), data("text/tinystories_sample.txt"))
    else {
        return;
    };
    check_types(&input, "Once upon a time", &text, &["q8_0", "q5_k_m", "q3_k_m"]);
}

/// Weights of directories that are quantised already, in whatever order their columns lie, are those of a file of floats.
#[test]
fn packed_weights_as_floats() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("floats.gguf");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/quantised");
    for name in ["awq_g64", "gptq_asym_act_g32", "ct_w4a16_act_g128", "bnb_nf4_double", "mlx_q4_g64", "fp8_block"] {
        write(&fixtures.join(name), &file, "f32");
        let wanted = expected_logits(&fixtures.join(name).join("expected.safetensors"));
        let host = adapters().pop().expect("the host is always there");
        let model = Model::open(&file, exact(&[&host]).step_rows(8)).expect("the model opens");
        let rows = model.session().expect("a session").evaluate(&[1, 5, 9, 33, 2, 60, 7], Rows::All, &[Output::Logits]);
        let found: Vec<f32> = rows.expect("the ids are run").into_iter().flat_map(|row| row.logits).collect();
        let error = nmse(&wanted, &found);
        assert!(error < 1e-9, "{name}: {error:e}");
    }
}

/// What is quantised while it loads is what a file of that type holds.
#[test]
fn quantised_at_load() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("model.gguf");
    for name in ["q8_0", "q4_0", "q4_k_m", "q6_k"] {
        let mix = Mix::find(name).expect("a mix of this build");
        let options = Options { mix, pure: true, overrides: Vec::new(), importance: None };
        let plan = Plan::new(MASTER, options).expect("the model opens");
        plan.write(&file, Existing::Replace, |_, _| true).expect("it is written");
        let logits = |path: &Path, quantize| {
            let options = exact(&[]).quantize(quantize).step_rows(8);
            let model = Model::open(path, options).expect("the model opens");
            let mut session = model.session().expect("a session is free");
            let rows = session.evaluate(&[0, 80, 300, 7, 900], Rows::All, &[Output::Logits]).expect("the ids are run");
            rows.into_iter().flat_map(|row| row.logits).collect::<Vec<f32>>()
        };
        let error = nmse(&logits(&file, None), &logits(Path::new(MASTER), Some(mix.format)));
        println!("{name}: NMSE {error:.1e}");
        assert!(error < 1e-11, "{name}: {error:e}");
    }
}

/// Runs the command in a folder, where `watch` may look at it.
fn ply(folder: &Path, arguments: &str, watch: impl FnMut(u32, usize)) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ply-tested"));
    command.current_dir(folder).arg("quantize").args(arguments.split_whitespace());
    finish(start(&mut command, b"", Stdio::piped()), LIMIT, watch)
}

/// What lies in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_command() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let mut wrong = Vec::new();
    let mut check = |arguments: &str, status: i32, says: &[&str]| {
        let ended = ply(folder, arguments, |_, _| {});
        wrong.extend(ended.wrong(status, says).map(|wrong| format!("{arguments}: {wrong}")));
        ended
    };
    let told = check("demo out.gguf --type q8_0 --json", 0, &[]);
    let report: Value = serde_json::from_str(&told.stdout).expect("one JSON object");
    assert_eq!(report["output_bytes"], fs::metadata(folder.join("out.gguf")).expect("it is there").len());
    assert_eq!((&report["type"], &report["types"]["Q8_0"]["tensors"]), (&"q8_0".into(), &36.into()));
    assert!(report["seconds"].is_f64() && report["input_bytes"].as_u64() > Some(3_000_000));
    check("demo out.gguf -t q8_0", 2, &["out.gguf", "--force"]);
    check("demo out.gguf -t q8_0 --force", 0, &[]);
    check("out.gguf out.gguf -t q4_0 --pure --force", 2, &["out.gguf", "name another"]);
    check("out.gguf two.gguf -t q4_0 --pure", 0, &["warning", "36 matrices"]);
    check("demo three.gguf -t q4_9", 2, &["q4_9", "q4_k_m"]);
    check("demo three.gguf -t q8_0 --tensor ffn", 2, &["PATTERN=TYPE"]);
    check("demo three.gguf -t q8_0 --tensor ffn=iq1_s", 2, &["iq1_s", "q4_0"]);
    check("demo three.gguf -t q8_0 --tensor fnf=f16", 2, &["--tensor fnf", "ply inspect --tensors"]);
    check("demo three.gguf -t q8_0 --imatrix out.gguf", 1, &["out.gguf", "no importance"]);
    check("demo three.gguf -t q8_0 --imatrix none", 1, &["none", "No such file"]);
    check("none three.gguf -t q8_0", 1, &["none"]);
    check("demo none/three.gguf -t q8_0", 1, &["none/three.gguf"]);
    check("demo three.gguf", 2, &["--type"]);
    none_wrong(&wrong);
    assert_eq!(names(folder), ["out.gguf", "two.gguf"]);
}

/// The file that is written first leads to a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let partial = partial_path(&folder.path().join("out.gguf"));
    std::os::unix::fs::symlink("/dev/full", partial).expect("a link");
    let ended = ply(folder.path(), "demo out.gguf -t q8_0", |_, _| {});
    none_wrong(&Vec::from_iter(ended.wrong(1, &["out.gguf", "disk is full", "bytes are needed"])));
    assert_eq!(names(folder.path()), [""; 0]);
}

/// Ctrl-C while a large file is written, once or twice, leaves what was there before; so do other signals to end.
#[cfg(unix)]
#[test]
fn control_c() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Synthetic::named("tiny:f32").expect("a shape").write_gguf(&folder.path().join("in.gguf")).expect("it is written");
    fs::write(folder.path().join("out.gguf"), "before").expect("it is written");
    let partial = partial_path(&folder.path().join("out.gguf"));
    for signals in ["INT", "INT INT", "TERM", "HUP"] {
        let mut pressed = false;
        let ended = ply(folder.path(), "in.gguf out.gguf -t q8_0 --force", |id, _| {
            let begun = fs::metadata(&partial).is_ok_and(|facts| facts.len() > 1 << 20);
            if !pressed && begun {
                pressed = true;
                let kill = format!("for signal in {signals}; do kill -$signal {id}; done");
                Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
            }
        });
        assert!(pressed, "it was over before it could be interrupted");
        none_wrong(&Vec::from_iter(ended.wrong(130, &[]).map(|wrong| format!("{signals}: {wrong}"))));
        assert_eq!(names(folder.path()), ["in.gguf", "out.gguf"], "{signals}");
        assert_eq!(fs::read_to_string(folder.path().join("out.gguf")).expect("it is there"), "before");
    }
}
