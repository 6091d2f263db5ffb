//! `cargo bench --bench quantise_file`: a file of the shape of Llama-3.2-1B in F16, quantised on all cores, once for each type.
//!
//! It needs 4 GB in the temporary folder (`TMPDIR` names another). What follows `--` are other types than [`TYPES`].

use plywood::models::output::Existing;
use plywood::models::quantise::mixes::Mix;
use plywood::models::quantise::{Options, Plan};
use plywood::models::synthetic::Synthetic;

const SHAPE: &str = "llama-1b:f16";
const TYPES: [&str; 3] = ["f16", "q8_0", "q4_k_m"];

fn main() {
    // Cargo adds `--bench` itself.
    let mut types: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if types.is_empty() {
        types = TYPES.map(String::from).into();
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (input, output) = (folder.path().join("input.gguf"), folder.path().join("output.gguf"));
    Synthetic::named(SHAPE).expect("a shape").write_gguf(&input).expect("there is room for it");
    for name in types {
        let mix = Mix::find(&name).unwrap_or_else(|| panic!("{name} is no type"));
        let options = Options { mix, pure: false, overrides: Vec::new(), importance: None };
        let plan = Plan::new(&input, options).expect("the file opens");
        let report = plan.write(&output, Existing::Replace, |_, _| true).expect("it is written");
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        let (read, written) = (gigabytes(report.input_bytes), gigabytes(report.output_bytes));
        let rate = read / report.seconds;
        println!(
            "{SHAPE} to {name}: {read:.2} GB to {written:.2} GB in {:.1} s, {rate:.3} GB/s of input",
            report.seconds
        );
        if let Some(peak) = peak_memory() {
            println!("  at most {peak} MB of memory so far");
        }
    }
}

/// The peak of this process's resident memory so far, in MB (Linux only).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1000)
}
