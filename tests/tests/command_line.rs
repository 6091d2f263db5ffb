//! The command line under hostile use: a message that names the thing, the right status, no panic, no hang.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use plywood_models::synthetic::Synthetic;
use plywood_tests::command::{Ended, finish, start};
use plywood_tests::{data, expected_stories, none_wrong, stories};
use serde_json::{Value, json};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// The command with arguments divided by spaces. MODEL stands for a real model, ON-HOST for flags by which it runs
/// alike everywhere.
fn ply(arguments: &str) -> Command {
    let model = stories("stories260k-f32.gguf").expect("the caller looked for it");
    let arguments = arguments.replace("ON-HOST", "--adapters host --temp 0");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ply-tested"));
    for word in arguments.split_whitespace() {
        if word == "MODEL" {
            command.arg(&model)
        } else {
            command.arg(word)
        };
    }
    command
}

fn run(arguments: &str) -> Ended {
    finish(start(&mut ply(arguments), b"", Stdio::piped()), LIMIT, |_, _| {})
}

/// Arguments, the status they must end with, and what must be said.
type Case = (&'static str, i32, &'static [&'static str]);

const USAGE: &[Case] = &[
    ("", 2, &["Usage"]),
    ("frobnicate", 2, &["frobnicate"]),
    ("generate", 2, &["MODEL"]),
    ("generate MODEL --frobnicate", 2, &["--frobnicate"]),
    ("generate MODEL one -p two", 2, &["--prompt"]),
    ("generate MODEL -p one -f two", 2, &["--file"]),
    ("generate MODEL -p x -n -5", 2, &["-5"]),
    ("generate MODEL -p x -n five", 2, &["five"]),
    ("generate MODEL -p x --temp=-1", 2, &["--temp", "-1"]),
    ("generate MODEL -p x --temp -1", 2, &["--temp", "-1"]),
    ("generate MODEL -p x --temp=nan", 2, &["--temp"]),
    ("generate MODEL -p x --top-p 1.5", 2, &["--top-p", "1.5"]),
    ("generate MODEL -p x --min-p=-0.1", 2, &["--min-p", "-0.1"]),
    ("generate MODEL -p x --repeat-penalty 0", 2, &["--repeat-penalty"]),
    ("generate MODEL -p x --top-k many", 2, &["many"]),
    ("generate MODEL -p x --seed=-1", 2, &["-1"]),
    ("generate MODEL -p x ON-HOST -c 0", 2, &["--context", "512"]),
    ("generate MODEL -p x ON-HOST -c 513", 2, &["--context", "513", "512"]),
    ("generate MODEL -p x -c many", 2, &["many", "max"]),
    ("generate MODEL -p x --kv-type q9", 2, &["q9", "f16", "q8_0"]),
    ("generate MODEL -p x --adapters 99", 2, &["`99`", "host", "ply adapters"]),
    ("generate MODEL -p x --adapters no-such-gpu", 2, &["`no-such-gpu`", "host", "ply adapters"]),
    ("generate MODEL -p x --adapters host,cuda:0", 2, &["`cuda:0`"]),
    ("generate MODEL -p x --adapters host,host --split 1,2,3", 2, &["--split", "3 shares", "2 --adapters"]),
    ("generate MODEL -p x --adapters host,host --split 0,0", 2, &["--split"]),
    ("generate MODEL -p x --split 1,1", 2, &["--split", "--adapters"]),
    ("generate MODEL -p x --adapters host --split 1,x", 2, &["--split", "x"]),
    ("generate MODEL -p x --adapters host --split=-1", 2, &["-1"]),
    ("generate MODEL -p x --adapters host,host --layers 0=0-1,1=3-4", 2, &["--layers", "layer 2 must come next"]),
    ("generate MODEL -p x --adapters host --layers 1=0-4", 2, &["--layers", "no device 1"]),
    ("generate MODEL -p x --layers 0:0-4", 2, &["--layers", "0=0-19"]),
    ("generate MODEL -p x --adapters host --layers 0=0-18446744073709551615", 2, &["--layers", "0=0-19"]),
    ("generate MODEL -p x --layers 0=0-4 --split 1", 2, &["--layers", "--split"]),
    ("generate MODEL -p x --memory 0=much", 2, &["--memory", "0=20GiB"]),
    ("generate MODEL -p x --memory 99=1GiB", 2, &["--memory", "no adapter 99"]),
    ("generate MODEL -p x --memory 0=20", 2, &["--memory", "no unit", "0=20GiB"]),
    ("generate MODEL -p x --memory 0=1GiB,1=24576", 2, &["--memory", "no unit", "1=24576MiB"]),
    ("plan", 2, &["MODEL"]),
    ("plan MODEL --as RTX3090-RTX3060", 2, &["--as", "\"RTX3090-RTX3060\" is none of", "2x RTX 3090 + "]),
    ("plan MODEL --as voodoo", 2, &["--as", "voodoo", "RTX 3090"]),
    ("plan MODEL --as H100 --adapters 0", 2, &["--as", "--adapters"]),
    ("plan MODEL --as H100 -c 513", 2, &["--context", "513", "512"]),
    ("template", 2, &["MODEL"]),
    ("template MODEL -m hello", 2, &["--message", "ROLE:TEXT"]),
    ("template MODEL -m user:x --messages y", 2, &["--message", "--messages"]),
    ("template MODEL --tools x", 2, &["--tools", "--message"]),
    ("logits MODEL -p x", 2, &["--out"]),
    ("logits MODEL --tokens 1,x -o out", 2, &["--tokens", "x"]),
    ("logits MODEL --tokens 1 -p x -o out", 2, &["--tokens"]),
    ("selftest --op nothing", 2, &["--op", "nothing"]),
    ("selftest --adapters 99", 2, &["`99`"]),
    ("bench", 2, &["MODEL"]),
    ("bench --synthetic tiny:q8_0 -p 0 -n 0", 2, &["nothing to measure"]),
    ("bench MODEL --synthetic tiny:q8_0", 2, &["--synthetic"]),
];

/// Linux's names of things that are always there.
#[cfg(target_os = "linux")]
const WORK: &[Case] = &[
    ("generate /nowhere/at/all.gguf -p x", 1, &["/nowhere/at/all.gguf", "No such file"]),
    ("generate /dev/null -p x", 1, &["/dev/null"]),
    ("generate /usr -p x", 1, &["/usr", "model.safetensors"]),
    ("inspect /nowhere/at/all.gguf", 1, &["/nowhere/at/all.gguf"]),
    ("generate MODEL -f /nowhere/prompt.txt", 1, &["/nowhere/prompt.txt"]),
    ("generate MODEL -f /usr", 1, &["/usr"]),
    ("generate MODEL ON-HOST -c 4 -p little-girl-named-Lily", 1, &["context of 4", "--context"]),
    ("template MODEL -m user:x", 1, &["stories260k-f32.gguf", "no chat template", "--template"]),
    ("template MODEL -m user:x --template /nowhere.jinja", 1, &["/nowhere.jinja", "No such file"]),
    ("template MODEL -m user:x --template /usr", 1, &["/usr", "no file"]),
    ("template MODEL --messages /dev/null --template /etc/hostname", 1, &["/dev/null"]),
    ("logits MODEL --adapters host --tokens 1,512 -o /tmp/never", 1, &["512", "vocabulary"]),
    ("logits MODEL --adapters host --tokens 4294967295 -o /tmp/never", 1, &["4294967295"]),
    ("logits MODEL --adapters host -p x -o /nowhere/at/all", 1, &["/nowhere/at/all", "No such file"]),
    ("logits MODEL --adapters host -p x -o /usr", 1, &["/usr"]),
    ("logits MODEL --adapters host -p x -o /dev/full", 1, &["/dev/full", "No space left"]),
    ("generate MODEL --adapters host -p x --memory 99=1 --fit", 2, &["--memory"]),
    ("plan MODEL --devices /nowhere.json", 1, &["/nowhere.json", "No such file"]),
    ("plan MODEL --devices /etc/hostname", 1, &["/etc/hostname", "--devices"]),
    ("plan /nowhere/at/all.gguf --as H100", 1, &["/nowhere/at/all.gguf"]),
    ("bench --synthetic llama-9000b:q8_0", 1, &["llama-9000b", "llama-8b", "q8_0"]),
    ("bench --synthetic tiny", 1, &["tiny", "SHAPE:FORMAT"]),
];

fn check_all(cases: &[Case]) {
    if stories("").is_none() {
        return;
    }
    let check = |(arguments, status, says): &Case| {
        let wrong = run(arguments).wrong(*status, says)?;
        Some(format!("ply {arguments}: {wrong}"))
    };
    none_wrong(&cases.iter().filter_map(check).collect::<Vec<_>>());
}

#[test]
fn wrong_usage() {
    check_all(USAGE);
}

#[cfg(target_os = "linux")]
#[test]
fn work_that_fails() {
    use std::os::unix::fs::FileTypeExt;
    check_all(WORK);
    // What is no ordinary file must not be replaced by one.
    let full = std::fs::metadata("/dev/full").expect("Linux has it");
    assert!(full.file_type().is_char_device());
}

/// A directory with a chat template, and the model that has none.
/// A test may be as long as the context that it is given, which nothing is generated after.
#[test]
fn a_bench_fills_its_context() {
    if stories("").is_none() {
        return;
    }
    let ended = run("bench MODEL -p 512 -n 8 -r 1 --adapters host --json");
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let measured: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let names = measured.as_array().expect("a list").iter().map(|measured| &measured["test"]);
    assert_eq!(names.collect::<Vec<_>>(), ["pp512", "tg8"]);
}

#[test]
fn inspect_tells_what_a_chat_needs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let family = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/families/qwen3");
    for name in ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(family.join(name), folder.path().join(name)).expect("it is copied");
    }
    let template = "{# é </think> #}{{ messages[0].content }}";
    std::fs::write(folder.path().join("chat_template.jinja"), template).expect("it is written");
    let inspect = |model: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ply-tested"));
        let ended =
            finish(start(command.arg("inspect").arg(model).arg("--json"), b"", Stdio::piped()), LIMIT, |_, _| {});
        none_wrong(&Vec::from_iter(ended.wrong(0, &[])));
        serde_json::from_str::<Value>(&ended.stdout).expect("one JSON object")
    };
    let found = inspect(folder.path());
    // The numbers are those of generation_config.json, and the defaults.
    let expected = json!({
        "family": "Qwen3ForCausalLM",
        "end_tokens": [{ "id": 2, "text": "</s>" }, { "id": 1, "text": "<s>" }],
        "template": { "file": folder.path().join("chat_template.jinja"), "characters": 41 },
        "thinking": { "open": "<think>", "close": "</think>" },
        "sampling": { "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0 },
    });
    for (key, expected) in expected.as_object().expect("an object") {
        assert_eq!(&found[key], expected, "{key}");
    }
    std::fs::write(folder.path().join("chat_template.jinja"), "{% if").expect("it is written");
    let broken = inspect(folder.path());
    let reason = broken["template"]["reason"].as_str().expect("a reason");
    assert!(broken["runs"] == true && reason.contains("chat_template.jinja"), "{reason}");
    let plain = inspect(&plywood_tests::families::folder("mixtral").join("model.gguf"));
    let found = ["template", "thinking", "family"].map(|key| &plain[key]);
    assert_eq!(found, [&Value::Null, &Value::Null, &json!("llama")]);
    // By the shapes of its tensors: of three matrices of 32 x 48 in each of 2 layers, 2 of 4 experts are not met.
    let count = |key: &str| plain[key].as_u64().expect("a number");
    assert_eq!(count("parameters") - count("active_parameters"), 2 * 2 * 3 * 32 * 48);
    assert_eq!(plain["experts"], json!({"layers": 2, "count": 4, "chosen": 2, "width": 32, "shared": null}));
}

#[test]
fn a_vocabulary_is_no_model() {
    let Some(path) = data("tokenizers/llama.cpp-vocab/ggml-vocab-starcoder.gguf") else { return };
    let mut command = ply("generate -p x");
    let ended = finish(start(command.arg(path), b"", Stdio::piped()), LIMIT, |_, _| {});
    none_wrong(&Vec::from_iter(ended.wrong(1, &["ggml-vocab-starcoder.gguf", "starcoder2"])));
}

#[test]
fn prompts_from_standard_input() {
    if stories("").is_none() {
        return;
    }
    let run =
        |input: &[u8], arguments: &str| finish(start(&mut ply(arguments), input, Stdio::piped()), LIMIT, |_, _| {});
    let told = run(b"Once upon a time", "generate MODEL ON-HOST -n 11 --quiet");
    assert_eq!((told.status, told.stdout.as_str()), (Some(0), ", there was a little girl named Lily.\n"));
    assert_eq!(told.stderr, "", "--quiet says nothing");
    let refused = run(b"caf\xe9", "generate MODEL ON-HOST -n 12");
    none_wrong(&Vec::from_iter(refused.wrong(1, &["standard input", "UTF-8"])));
}

/// Commands that write to standard output.
const WRITERS: &[&str] = &[
    "adapters",
    "adapters --json",
    "inspect MODEL",
    "inspect MODEL --json --tensors",
    "selftest --op add --adapters host",
    "selftest --op add --adapters host --json",
    "generate MODEL ON-HOST -p Once",
    "generate MODEL ON-HOST -p Once --json",
    "bench MODEL --adapters host -p 4 -n 4 -r 1 --kernels",
    "--help",
];

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_on_standard_output() {
    if stories("").is_none() {
        return;
    }
    let check = |arguments: &&str| {
        let full = File::create("/dev/full").expect("Linux has it");
        let ended = finish(start(&mut ply(arguments), b"", full.into()), LIMIT, |_, _| {});
        // Clap prints its help itself and does not look what became of it.
        let (status, says): (i32, &[&str]) =
            if *arguments == "--help" { (0, &[]) } else { (1, &["standard output", "No space left"]) };
        Some(format!("ply {arguments}: {}", ended.wrong(status, says)?))
    };
    none_wrong(&WRITERS.iter().filter_map(check).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_on_standard_output() {
    if stories("").is_none() {
        return;
    }
    let check = |arguments: &&str| {
        let mut child = start(&mut ply(arguments), b"", Stdio::piped());
        drop(child.stdout.take());
        let ended = finish(child, LIMIT, |_, _| {});
        let wrong = ended.wrong(0, &[]).or((ended.stderr.contains("ply:")).then(|| ended.stderr.clone()))?;
        Some(format!("ply {arguments}: {wrong}"))
    };
    none_wrong(&WRITERS.iter().filter_map(check).collect::<Vec<_>>());
}

/// The file beside which `ply logits` writes leads to a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_on_the_logits_file() {
    if stories("").is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary folder");
    let out = directory.path().join("logits.safetensors");
    std::os::unix::fs::symlink("/dev/full", directory.path().join("logits.safetensors.partial")).expect("a link");
    let mut command = ply("logits MODEL --adapters host -p Once -o");
    let ended = finish(start(command.arg(&out), b"", Stdio::piped()), LIMIT, |_, _| {});
    none_wrong(&Vec::from_iter(ended.wrong(1, &["logits.safetensors", "No space left"])));
    assert!(!out.exists(), "half a file was left");
}

/// `ply logits` keeps what it reads, and any other file until `--force` says that it may go.
#[test]
fn what_logits_may_replace() {
    let Some(model) = stories("stories260k-f32.gguf") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::copy(model, path("model.gguf")).expect("it is copied");
    let whole = std::fs::read(path("model.gguf")).expect("it is there");
    std::fs::write(path("prompt"), "Once").expect("it is written");
    std::fs::write(path("other"), "something").expect("it is written");
    let logits = |arguments: &str, status: i32, says: &[&str]| {
        let mut command = ply(&format!("logits model.gguf --adapters host {arguments}"));
        let ended = finish(start(command.current_dir(folder.path()), b"", Stdio::piped()), LIMIT, |_, _| {});
        none_wrong(&Vec::from_iter(ended.wrong(status, says).map(|wrong| format!("{arguments}: {wrong}"))));
    };
    let kept = || {
        assert!(std::fs::read(path("model.gguf")).expect("it is there") == whole, "the model was replaced");
        assert_eq!(std::fs::read_to_string(path("prompt")).expect("it is there"), "Once");
    };
    logits("-p Once -o model.gguf", 2, &["model.gguf", "name another"]);
    logits("-p Once -o ./model.gguf --force", 2, &["./model.gguf", "name another"]);
    logits("-f prompt -o prompt --force", 2, &["prompt", "name another"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("model.gguf", path("link")).expect("a link");
        std::fs::hard_link(path("model.gguf"), path("hard")).expect("a link");
        logits("-p Once -o link --force", 2, &["link", "name another"]);
        logits("-p Once -o hard --force", 2, &["hard", "name another"]);
    }
    kept();
    logits("-p Once -o other", 2, &["other", "--force"]);
    assert_eq!(std::fs::read_to_string(path("other")).expect("it is there"), "something");
    logits("-p Once -o other --force", 0, &[]);
    let written = std::fs::read(path("other")).expect("it is there");
    safetensors::SafeTensors::deserialize(&written).expect("a safetensors file");
    kept();
}

/// A long generation, stopped by Ctrl-C once it has said something.
#[cfg(unix)]
fn interrupt(arguments: &str, model: &Path) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ply-tested"));
    command.arg("generate").arg(model).args(arguments.split_whitespace());
    let child = start(&mut command, b"", Stdio::piped());
    let (mut loaded, mut pressed) = (None, false);
    // It says where the model lies once it is loaded, and then generates.
    finish(child, LIMIT, |id, said| {
        let loaded = (said > 0).then(|| *loaded.get_or_insert_with(std::time::Instant::now));
        if !pressed && loaded.is_some_and(|loaded| loaded.elapsed() > Duration::from_millis(300)) {
            pressed = true;
            let killed = Command::new("sh").args(["-c", &format!("kill -INT {id}")]).status();
            assert!(killed.expect("there is a shell").success());
        }
    })
}

#[cfg(unix)]
#[test]
fn control_c_ends_with_what_was_generated() {
    let directory = tempfile::tempdir().expect("a temporary folder");
    let model = directory.path().join("slow.gguf");
    Synthetic::named("tiny:f32").expect("a shape").write_gguf(&model).expect("it is written");
    let arguments = "-p w1 --adapters host --temp 0 -n 100000 --ignore-eos --verbose";
    let ended = interrupt(arguments, &model);
    none_wrong(&Vec::from_iter(ended.wrong(130, &[])));
    assert!(ended.stdout.trim().len() > 2, "nothing was generated: {ended:?}");
    let ended = interrupt(&format!("{arguments} --json"), &model);
    none_wrong(&Vec::from_iter(ended.wrong(130, &[])));
    let report: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    let generated = report["generated_tokens"].as_array().map_or(0, Vec::len);
    println!("interrupted after {generated} tokens, ended after {:.1} s", ended.time.as_secs_f64());
    assert_eq!(report["stop_reason"], "cancelled");
    assert!((1..255).contains(&generated), "{generated} tokens were generated");
}

/// Vulkan alone, and a driver that is not there.
#[test]
fn no_adapter_at_all() {
    let Some(stories) = expected_stories("greedy_ids.json") else { return };
    let hidden = |arguments: &str| {
        let mut command = ply(arguments);
        for driver in ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"] {
            command.env(driver, "/nowhere/icd.json");
        }
        command.env("WGPU_BACKEND", "vulkan").env_remove("VK_ADD_DRIVER_FILES");
        finish(start(&mut command, b"", Stdio::piped()), LIMIT, |_, _| {})
    };
    let listed = hidden("adapters --json");
    none_wrong(&Vec::from_iter(listed.wrong(0, &[])));
    let list: Value = serde_json::from_str(&listed.stdout).expect("a JSON list");
    let kinds: Vec<&Value> = list.as_array().expect("a list").iter().map(|adapter| &adapter["kind"]).collect();
    assert_eq!(kinds, ["host"]);
    let told = hidden("generate MODEL --temp 0 --exact -n 200 --json");
    none_wrong(&Vec::from_iter(told.wrong(0, &["no GPU", "CPU"])));
    let report: Value = serde_json::from_str(&told.stdout).expect("one JSON object");
    assert_eq!(plywood_tests::ids(&report["generated_tokens"]), stories[0].ids);
    assert_eq!(report["placement"][0]["adapter"], "host");
}
