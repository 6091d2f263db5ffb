//! Where the test data lie, and what is said of a test that is skipped; for the tests of `models` too.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A file or folder of the test data, which lie in `PLYWOOD_DATA`, by default in `../shared/data` beside the repository; `None`,
/// with a line that the test is skipped, where there are none.
///
/// Panics where the file is missing, and where there are no data although somebody meant the test to run: `PLYWOOD_DATA` names
/// their folder, or `CI` is set.
pub fn data(path: &str) -> Option<PathBuf> {
    let given = std::env::var_os("PLYWOOD_DATA").map(PathBuf::from);
    let root = given.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    if root.is_dir() {
        let path = root.join(path);
        assert!(path.exists(), "{} is not there: the test data are older than the tests", path.display());
        return Some(path);
    }
    let absent = format!("there are no test data in {}; set PLYWOOD_DATA to their folder", root.display());
    assert!(given.is_none() && std::env::var_os("CI").is_none(), "{absent}");
    skipped(&absent);
    None
}

/// Says that a test, or a part of it, is skipped, once for each reason. It shows in the output of a normal run: the test
/// harness keeps what a test that passes prints by `eprintln!`, and not what is written to standard error itself.
pub fn skipped(reason: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(line.clone()) {
        _ = std::io::stderr().write_all(line.as_bytes());
    }
}
