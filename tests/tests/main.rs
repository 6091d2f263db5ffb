//! The tests that open models as one program, so that they share open devices and compiled kernels, and are linked once. `cargo test -p plywood-tests greedy::` runs those of one file.

mod ahead;
mod candidates;
#[path = "chat/main.rs"]
mod chat;
mod command_line;
mod conversation;
mod dispatches;
mod families;
mod greedy;
mod hostile;
mod kernels;
mod logits;
mod misuse;
mod packed;
mod perplexity;
mod pieces;
mod plans;
mod positions;
mod quantise;
mod ragged;
mod sessions;
mod survival;

/// A file that is named nowhere would never run.
#[test]
fn every_file_runs() {
    let named = concat!(include_str!("main.rs"), include_str!("../Cargo.toml"));
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")).expect("this folder") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let stem = name.trim_end_matches(".rs");
        let ways = [format!("mod {stem};"), format!("\"tests/{name}\""), format!("\"tests/{stem}/main.rs\"")];
        let runs = ways.iter().any(|way| named.contains(way));
        assert!(runs, "tests/tests/{name} is named neither in main.rs nor in Cargo.toml");
    }
}
