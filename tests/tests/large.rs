//! A model with the shape of Llama-3.2-1B: weights beyond a binding's size, loaded in little more memory than they need, and
//! quantised in hardly any.
//!
//! It writes 2.1 GB to the temporary folder (`TMPDIR` names another), and is skipped where there is no room.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plywood::adapters::{Adapter, Kind};
use plywood::kernels::graph::Want;
use plywood::{Model, Options, Rows};
use plywood_models::synthetic::Synthetic;
use plywood_tests::command::{finish, start};
use plywood_tests::{adapters, on};
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

/// The software Vulkan adapter with the smallest bindings; `None`, said on standard error, without any.
fn adapter() -> Option<Adapter> {
    let software = adapters().into_iter().filter(|adapter| adapter.kind == Kind::Software);
    let found = software.filter(|adapter| adapter.backend == "vulkan").min_by_key(|adapter| adapter.max_binding);
    if found.is_none() {
        eprintln!("skipped: there is no software Vulkan adapter; install Mesa's mesa-vulkan-drivers");
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
        eprintln!("skipped: less than {MEMORY_BYTES} bytes of memory are free");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary folder");
    if free_disk(&directory).is_some_and(|free| free < DISK_BYTES) {
        eprintln!("skipped: {} has less than {DISK_BYTES} bytes free; set TMPDIR", directory.path().display());
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
    let ended = finish(child, limit, |process| peak = peak_memory(process).or(peak));
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
        None => eprintln!("not checked: this system does not tell a process's peak memory"),
        Some(peak) => {
            println!("peak resident memory {peak}, ledger {ledger}: {} more", peak as i64 - ledger as i64);
            assert!(peak < ledger + SPARE_BYTES, "the process took {peak} bytes, the ledger says {ledger}");
        }
    }

    // Quantised, which takes no more memory than some rows.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ply-tested"));
    command.arg("quantize").arg(&path).arg(directory.path().join("smaller.gguf")).args(["-t", "q4_k_m", "--json"]);
    let mut peak = None;
    let ended = finish(start(&mut command, b"", Stdio::piped()), limit, |process| peak = peak_memory(process).or(peak));
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    println!("quantised {} bytes to {} in {} s", report["input_bytes"], report["output_bytes"], report["seconds"]);
    if let Some(peak) = peak {
        println!("peak resident memory {peak}");
        assert!(peak < QUANTISING_BYTES, "quantising took {peak} bytes");
    }

    // Then here: every logit of a prompt in one step and of a token behind it is a number.
    let options = Options { context: Some(64), ..on(&[&adapter]) };
    let model = Model::open(&path, options).expect("the model opens");
    let matrix = model.config().vocabulary as u64 * model.config().width as u64 * 34 / 32;
    assert!(matrix > adapter.max_binding, "the output matrix of {matrix} bytes fits a binding");
    let mut session = model.session().expect("a session is free");
    for tokens in [&[128_000, 5, 70_000, 128_255][..], &[1]] {
        let begin = Instant::now();
        let rows = session.evaluate(tokens, Rows::All, &[Want::Logits, Want::Argmax]).expect("the step runs");
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
