//! A model with the shape of Llama-3.2-1B: weights beyond a binding's size, loaded in little more memory than they need,
//! quantised in hardly any, and over several adapters that do not hold it alone.
//!
//! One test writes 2.1 GB to the temporary folder (`TMPDIR` names another), and is skipped where there is no room.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plywood::devices::{Adapter, Kind};
use plywood::kernels::graph::Output;
use plywood::planning::{self, Plan};
use plywood::{Model, Options, Row, Rows};
use plywood_models::synthetic::Synthetic;
use plywood_tests::command::{finish, start};
use plywood_tests::{adapters, exact, gpus, names, nmse, on, skipped};
use serde_json::Value;
use tempfile::TempDir;

/// What the process may take beyond the ledger.
const SPARE_BYTES: u64 = 300_000_000;

/// What quantising may take.
const QUANTISING_BYTES: u64 = 200_000_000;

/// Bytes that must be free on the disk: the file, a smaller one, and some.
const DISK_BYTES: u64 = 2_800_000_000;

/// Bytes of memory that must be free: the model and some.
const MEMORY_BYTES: u64 = 3_000_000_000;

/// The software Vulkan adapter with the smallest bindings; `None`, said to be skipped, without any.
fn adapter() -> Option<Adapter> {
    let software = adapters().into_iter().filter(|adapter| adapter.kind == Kind::Software);
    let found = software.filter(|adapter| adapter.backend == "vulkan").min_by_key(|adapter| adapter.max_binding);
    if found.is_none() {
        skipped("there is no software Vulkan adapter; install Mesa's mesa-vulkan-drivers");
    }
    found
}

/// Bytes that are free in a folder, as `df` tells; `None` where it can't be asked.
fn free_disk(directory: &TempDir) -> Option<u64> {
    let told = Command::new("df").args(["-Pk"]).arg(directory.path()).output().ok()?;
    let table = String::from_utf8(told.stdout).ok()?;
    let kilobytes: u64 = table.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The peak of a process's resident memory so far, in bytes (Linux only).
fn peak_memory(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

#[test]
fn a_model_of_one_billion() {
    let Some(adapter) = adapter() else { return };
    if adapter.memory.and_then(|memory| memory.free).is_some_and(|free| free < MEMORY_BYTES) {
        skipped(&format!("less than {MEMORY_BYTES} bytes of memory are free"));
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary folder");
    if free_disk(&directory).is_some_and(|free| free < DISK_BYTES) {
        skipped(&format!("{} has less than {DISK_BYTES} bytes free; set TMPDIR", directory.path().display()));
        return;
    }
    let path = directory.path().join("llama-1b-q8_0.gguf");
    let begin = Instant::now();
    Synthetic::named("llama-1b:q8_0").expect("a shape").write_gguf(&path).expect("there is room for it");
    let bytes = fs::metadata(&path).expect("it was written").len();
    println!("wrote {bytes} bytes in {:.1} s", begin.elapsed().as_secs_f64());
    assert!(bytes > 1_200_000_000, "the file has only {bytes} bytes");

    // First in a process of its own, so that nothing else counts as its memory.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ply-tested"));
    command.arg("generate").arg(&path).args(["-p", "w1 w2 w3", "-n", "2", "-c", "64", "--temp", "0", "--json"]);
    command.args(["--adapters", &adapter.index.to_string()]);
    let mut peak = None;
    let limit = Duration::from_secs(900);
    let child = start(&mut command, b"", Stdio::piped());
    let ended = finish(child, limit, |process, _| peak = peak_memory(process).or(peak));
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    let ledger: u64 = report["placement"][0]["bytes"].as_object().expect("bytes by purpose").values().map(number).sum();
    let count = |list: &str| report[list].as_array().map_or(0, Vec::len);
    let (prompt, generated) = (count("prompt_tokens"), count("generated_tokens"));
    println!(
        "{}: {prompt} and {generated} tokens in {:.1} s; loaded in {} s, first token after {} s, then {} tokens/s",
        adapter.label(),
        ended.time.as_secs_f64(),
        report["timings"]["load_s"],
        report["timings"]["first_token_s"],
        report["timings"]["decode_tokens_per_s"],
    );
    assert_eq!(generated, 2);
    match peak {
        None => skipped("this system does not tell a process's peak memory"),
        Some(peak) => {
            println!("peak resident memory {peak}, ledger {ledger}: {} more", peak as i64 - ledger as i64);
            assert!(peak < ledger + SPARE_BYTES, "the process took {peak} bytes, the ledger says {ledger}");
        }
    }

    // Quantised, which takes no more memory than some rows.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ply-tested"));
    command.arg("quantize").arg(&path).arg(directory.path().join("smaller.gguf")).args(["-t", "q4_k_m", "--json"]);
    let mut peak = None;
    let ended =
        finish(start(&mut command, b"", Stdio::piped()), limit, |process, _| peak = peak_memory(process).or(peak));
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    println!("quantised {} bytes to {} in {} s", report["input_bytes"], report["output_bytes"], report["seconds"]);
    if let Some(peak) = peak {
        println!("peak resident memory {peak}");
        assert!(peak < QUANTISING_BYTES, "quantising took {peak} bytes");
    }

    // Then here: every logit of a prompt in one step and of a token after it is a number.
    let options = on(&[&adapter]).context(64);
    let model = Model::open(&path, options).expect("the model opens");
    let matrix = model.config().vocabulary as u64 * model.config().width as u64 * 34 / 32;
    assert!(matrix > adapter.max_binding, "the output matrix of {matrix} bytes fits a binding");
    let mut session = model.session().expect("a session is free");
    for tokens in [&[128_000, 5, 70_000, 128_255][..], &[1]] {
        let begin = Instant::now();
        let rows = session.evaluate(tokens, Rows::All, &[Output::Logits, Output::Argmax]).expect("the step runs");
        println!("a step of {} tokens: {:.1} s", tokens.len(), begin.elapsed().as_secs_f64());
        assert_eq!(rows.len(), tokens.len());
        for row in rows {
            assert_eq!(row.logits.len(), 128_256);
            assert!(row.logits.iter().all(|logit| logit.is_finite()), "a logit is no number");
            let largest = row.logits.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(row.argmax.map(|id| row.logits[id as usize]), Some(largest));
            // Every shard of the output matrix wrote its part: none is all one number.
            for part in row.logits.chunks(8016) {
                assert!(part.iter().any(|logit| *logit != part[0]), "a part of the logits is constant");
            }
        }
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number of bytes")
}

/// The model of the tests that write no file, whose tied matrix of 279 MB is on the first and on the last of several stages.
const TIED: &str = "llama-1b:q8_0";

/// Three adapters; `None`, said to be skipped, without as many, or where what they compute in has no room.
fn three() -> Option<Vec<Adapter>> {
    let mut adapters = gpus();
    adapters.truncate(3);
    if adapters.len() < 3 {
        skipped(&format!("there are {} adapters but the host, not 3", adapters.len()));
        return None;
    }
    if adapters.iter().filter_map(|adapter| adapter.memory?.free).any(|free| free < MEMORY_BYTES) {
        skipped(&format!("less than {MEMORY_BYTES} bytes of memory are free"));
        return None;
    }
    Some(adapters)
}

/// Where one adapter has room for about half of a model, three run it, and give what one with room for all of it gives.
#[test]
fn one_billion_over_three_adapters() {
    let Some(adapters) = three() else { return };
    let some = |count: usize| adapters.iter().take(count).collect::<Vec<_>>();
    let options = |count: usize| exact(&some(count)).context(64);
    let plan = |options: &Options| -> Plan { planning::plan_synthetic(TIED, options, None).expect("it is planned") };
    let total = plan(&options(1)).stages[0].bytes.total();
    let limited =
        |count: usize| options(count).memory(adapters.iter().map(|adapter| (adapter.index, total / 2)).collect());
    for count in [1, 2] {
        assert!(!plan(&limited(count)).fits, "{} have room for {total}", names(&some(count)));
    }

    let run = |options: Options| -> (Model, Vec<Row>) {
        let begin = Instant::now();
        let model = Model::synthetic(TIED, options).expect("the model opens");
        let mut session = model.session().expect("a session is free");
        let prompt = session.evaluate(&[128_000, 5, 70_000], Rows::Last, &[Output::Logits, Output::Argmax]);
        let mut rows = prompt.expect("the prompt runs");
        let argmax = rows[0].argmax.expect("it was wanted");
        rows.extend(session.evaluate(&[argmax], Rows::Last, &[Output::Logits, Output::Argmax]).expect("the step runs"));
        drop(session);
        println!("{} stages: {:.1} s", model.ledger().stages.len(), begin.elapsed().as_secs_f64());
        (model, rows)
    };
    let (_, alone) = run(exact(&[&adapters[1]]).context(64));
    let (model, together) = run(limited(3));
    let stages = &model.ledger().stages;
    assert_eq!(stages.len(), 3);
    for stage in stages {
        let bytes = &stage.bytes;
        println!("{}: layers {:?}, weights {}, in all {}", stage.adapter, stage.layers, bytes.weights, bytes.total());
        assert!(bytes.total() <= total / 2 && stage.available == Some(total / 2), "{stage:?}");
    }
    let weights: u64 = stages.iter().map(|stage| stage.bytes.weights).sum();
    assert!(weights > 1_590_000_000, "the tied matrix is not on both ends: {weights} bytes in all");
    for (row, expected) in together.iter().zip(&alone) {
        assert!(row.logits.iter().all(|logit| logit.is_finite()), "a logit is no number");
        assert_eq!((row.argmax, row.logits.len()), (expected.argmax, 128_256));
        assert!(nmse(&expected.logits, &row.logits) < 1e-9, "NMSE {}", nmse(&expected.logits, &row.logits));
    }
}

/// Runs `ply` with words; `A` to `C` are the numbers of three adapters, `H` is that of the host.
fn ply(words: &str, adapters: &[Adapter]) -> Value {
    let number = |word: &str| match ["A", "B", "C", "H"].iter().position(|name| *name == word) {
        Some(place) => adapters[place].index.to_string(),
        None => word.to_string(),
    };
    let words = words.split(' ').map(|word| {
        let parts = word.split_inclusive([',', '=']).map(|part| {
            let (name, end) = part.split_at(part.len() - usize::from(part.ends_with([',', '='])));
            number(name) + end
        });
        parts.collect::<String>()
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_ply-tested"));
    command.args(words).arg("--json");
    // What else there is has room for nothing.
    command.args(adapters[4..].iter().map(|adapter| format!("--memory={}=1MB", adapter.index)));
    let ended = finish(start(&mut command, b"", Stdio::piped()), Duration::from_secs(600), |_, _| {});
    assert_eq!(ended.status, Some(0), "{command:?}: {}", ended.stderr);
    println!("{command:?}: {:.1} s", ended.time.as_secs_f64());
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// A model that does not fit as it is asked for, and the flags that are advised.
struct Refused {
    /// What is asked, as for [`ply`].
    asked: &'static str,
    /// What each advice that is a flag begins with.
    advised: &'static [&'static str],
}

/// 1.31 GB of weights on one adapter; on several the ends have 279 MB each, and a layer 65 MB. A token's cache takes 4 KiB in f32 for each
/// layer, half in f16 and 17/64 in q8_0.
const REFUSED: &[Refused] = &[
    // About half of the model each: two are not enough.
    Refused {
        asked: "--synthetic llama-1b:q8_0 -c 64 --adapters A --memory A=690MB,B=690MB,C=690MB",
        advised: &["--adapters "],
    },
    // 2, 7 and 2 layers of 16 have room: the host takes the others.
    Refused {
        asked: "--synthetic llama-1b:q8_0 -c 64 --adapters A,B,C --memory A=480MB,B=480MB,C=480MB",
        advised: &["--adapters "],
    },
    // One that is named has room for no layer, another for all.
    Refused {
        asked: "--synthetic llama-1b:q8_0 -c 64 --adapters A,B --memory B=1MB,C=1MB,H=1MB",
        advised: &["--adapters "],
    },
    // 1.07 GB of cache beside the weights; 0.54 in f16.
    Refused {
        asked: "--synthetic llama-1b:q8_0 --context 16384 --kv-type f32 --adapters A --memory A=2.1GB,B=1MB,C=1MB,H=1MB",
        advised: &["--context ", "--kv-type "],
    },
    // 2.5 GB of floats.
    Refused {
        asked: "--synthetic llama-1b:f16 -c 64 --adapters A --memory A=2GB,B=1MB,C=1MB,H=1MB",
        advised: &["--quantize "],
    },
    // No flag alone is enough: 8.6 GB of cache beside floats.
    Refused {
        asked: "--synthetic llama-1b:f16 -c 131072 --kv-type f32 --adapters A --memory A=2GB,B=1MB,C=1MB,H=1MB",
        advised: &["--context "],
    },
    // Nor here, where two adapters are needed too.
    Refused {
        asked: "--synthetic llama-1b:q8_0 -c 131072 --adapters A --memory A=1GB,B=1GB,C=1MB,H=1MB",
        advised: &["--context "],
    },
];

/// Every flag that is advised does what it says where it is written after what was asked.
#[test]
fn advice_is_followed_to_the_letter() {
    let Some(mut named) = three() else { return };
    let (host, others): (Vec<Adapter>, Vec<Adapter>) =
        adapters().into_iter().skip(3).partition(|adapter| adapter.kind == Kind::Host);
    named.extend(host.into_iter().chain(others));
    let adapters = named;
    for (index, Refused { asked, advised }) in REFUSED.iter().enumerate() {
        let plan = ply(&format!("plan {asked}"), &adapters);
        assert_eq!(plan["fits"], false, "{asked}: {plan}");
        let advice = plan["advice"].as_array().expect("a list").iter().filter_map(Value::as_str);
        let flags: Vec<&str> = advice.filter(|advice| advice.starts_with("--")).collect();
        println!("{}: {}", plan["reason"], plan["advice"]);
        assert_eq!(flags.len(), advised.len(), "{asked}: {flags:?}");
        for (flag, begin) in flags.iter().zip(*advised) {
            assert!(flag.starts_with(begin), "{asked}: {flag:?}, not {begin:?}");
            let followed = ply(&format!("plan {asked} {flag}"), &adapters);
            assert_eq!(followed["fits"], true, "{asked} {flag}: {followed}");
        }
        if index == 0 {
            let measured = ply(&format!("bench {asked} {} -p 0 -n 1 -r 1", flags[0]), &adapters);
            let rate = measured[0]["tokens_per_s"]["median"].as_f64();
            assert!(rate.is_some_and(|rate| rate > 0.0), "{measured}");
        }
    }
}
