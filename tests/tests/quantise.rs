//! `ply quantize`: what it writes runs as what it read, and what is interrupted or fails leaves nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use plywood::kernels::graph::Want;
use plywood::models::quantise::mixes::Mix;
use plywood::models::quantise::{Existing, Options, Plan, partial_path};
use plywood::{Model, Rows};
use plywood_models::synthetic::Synthetic;
use plywood_tests::command::{Ended, finish, start};
use plywood_tests::{adapters, data, demo_stories, exact, nmse, none_wrong, wrong_story};
use serde_json::Value;

const MASTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/demo/master");

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(120);

fn write(input: &Path, output: &Path, mix: &str) {
    let mix = Mix::find(mix).expect("a mix of this build");
    let options = Options { mix, pure: false, overrides: Vec::new(), importance: None };
    let plan = Plan::new(input, options).expect("the model opens");
    plan.write(output, Existing::Keep, |_, _| true).expect("it is written");
}

/// The logits of all tokens of a text, on the host.
fn logits(model: &Path, text: &str) -> (Vec<u32>, Vec<f32>) {
    let adapters = adapters();
    let host = adapters.last().expect("the host is always there");
    let model = Model::open(model, plywood::Options { step_rows: 64, ..exact(&[host]) }).expect("the model opens");
    let mut session = model.session().expect("a session is free");
    let ids = session.encode(text).expect("a text");
    let rows = session.evaluate(&ids, Rows::All, &[Want::Logits]).expect("the text is run");
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

/// Runs the command in a folder, where `watch` may look at it.
fn ply(folder: &Path, arguments: &str, watch: impl FnMut(u32)) -> Ended {
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
        let ended = ply(folder, arguments, |_| {});
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
    let ended = ply(folder.path(), "demo out.gguf -t q8_0", |_| {});
    none_wrong(&Vec::from_iter(ended.wrong(1, &["out.gguf", "disk is full", "bytes are needed"])));
    assert_eq!(names(folder.path()), [""; 0]);
}

/// Ctrl-C while a large file is written, once or twice, leaves what was there before.
#[cfg(unix)]
#[test]
fn control_c() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    Synthetic::named("tiny:f32").expect("a shape").write_gguf(&folder.path().join("in.gguf")).expect("it is written");
    fs::write(folder.path().join("out.gguf"), "before").expect("it is written");
    let partial = partial_path(&folder.path().join("out.gguf"));
    for times in [1, 2] {
        let mut pressed = false;
        let ended = ply(folder.path(), "in.gguf out.gguf -t q8_0 --force", |id| {
            let begun = fs::metadata(&partial).is_ok_and(|facts| facts.len() > 1 << 20);
            if !pressed && begun {
                pressed = true;
                let signals = format!("kill -INT {id};").repeat(times);
                Command::new("sh").args(["-c", &signals]).status().expect("there is a shell");
            }
        });
        assert!(pressed, "it was over before it could be interrupted");
        none_wrong(&Vec::from_iter(ended.wrong(130, &[])));
        assert_eq!(names(folder.path()), ["in.gguf", "out.gguf"]);
        assert_eq!(fs::read_to_string(folder.path().join("out.gguf")).expect("it is there"), "before");
    }
}
