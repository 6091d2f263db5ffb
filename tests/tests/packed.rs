//! Quantised Hugging Face directories on every adapter: logits against float64's, over weights dequantised there.

use std::fs;
use std::path::{Path, PathBuf};

use plywood::kernels::graph::Output;
use plywood::{Model, Rows};
use plywood_tests::families::expected_logits;
use plywood_tests::{adapters, exact, nmse, none_wrong};

/// The ids of models/tests/quantised/make.py.
const IDS: [u32; 7] = [1, 5, 9, 33, 2, 60, 7];

/// What single precision leaves, in whatever order it adds.
const LIMIT: f64 = 1e-9;

#[test]
fn logits_of_every_way_on_every_adapter() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/quantised");
    let entries = fs::read_dir(folder).expect("the fixtures are there").map(|entry| entry.expect("an entry").path());
    let mut fixtures: Vec<PathBuf> = entries.filter(|path| path.join("config.json").exists()).collect();
    fixtures.sort();
    assert!(fixtures.len() > 20, "only {} fixtures were found", fixtures.len());
    let mut wrong = Vec::new();
    for path in fixtures {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let logits = expected_logits(&path.join("expected.safetensors"));
        for adapter in adapters() {
            // All rows at once, and one by one.
            for step_tokens in [IDS.len(), 1] {
                let options = exact(&[&adapter]).step_tokens(step_tokens).step_rows(IDS.len());
                let model = Model::open(&path, options).unwrap_or_else(|error| panic!("{name}: {error}"));
                let mut session = model.session().expect("a session is free");
                let rows = session.evaluate(&IDS, Rows::All, &[Output::Logits]).expect("the ids are run");
                let computed: Vec<f32> = rows.into_iter().flat_map(|row| row.logits).collect();
                let error = nmse(&logits, &computed);
                let line = format!("{name} on {}, {step_tokens} tokens a step: NMSE {error:.1e}", adapter.label());
                println!("{line}");
                if error > LIMIT {
                    wrong.push(line);
                }
            }
        }
    }
    none_wrong(&wrong);
}
