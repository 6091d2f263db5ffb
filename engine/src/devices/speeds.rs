//! Speeds that were measured, remembered in the user's cache directory by adapter and driver.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use plywood_models::output::{Existing, NewFile};

use crate::devices::adapter::Adapter;
use crate::devices::probe::Probe;

/// What was measured, by adapter and driver.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Measured {
    path: Option<PathBuf>,
    probes: BTreeMap<String, Probe>,
}

impl Measured {
    /// What was remembered. A file that can't be read counts as empty, so that all is measured again.
    pub fn read() -> Measured {
        Measured::of(directory().map(|directory| directory.join("plywood").join("bandwidths.json")))
    }

    fn of(path: Option<PathBuf>) -> Measured {
        let text = path.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let probes: Option<BTreeMap<String, Probe>> = text.and_then(|text| serde_json::from_str(&text).ok());
        let mut probes = probes.unwrap_or_default();
        probes.retain(|_, probe| probe.is_sane());
        Measured { path, probes }
    }

    /// What was measured of an adapter with this driver.
    pub fn probe(&self, adapter: &Adapter) -> Option<Probe> {
        self.probes.get(&key(adapter)).copied()
    }

    /// Remembers what was measured, here and, where that can be, in the file: it is written whole or not at all.
    pub fn remember(&mut self, adapter: &Adapter, probe: Probe) {
        self.probes.insert(key(adapter), probe);
        if let Some(path) = &self.path {
            // Without the file it is measured again the next time, and nothing else is lost.
            _ = write(path, &self.probes);
        }
    }
}

fn write(path: &Path, probes: &BTreeMap<String, Probe>) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = NewFile::create(path, Existing::Replace)?;
    serde_json::to_writer(&mut file, probes)?;
    file.close()?.put_in_place()
}

fn key(adapter: &Adapter) -> String {
    // Debug builds check what kernels read, and are slower.
    let build = if cfg!(debug_assertions) { " | debug" } else { "" };
    format!("{} | {}{build}", adapter.label(), adapter.driver)
}

/// Where programs of this system keep what they can make anew.
fn directory() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    if cfg!(windows) {
        return of("LOCALAPPDATA");
    }
    if cfg!(target_vendor = "apple") {
        return Some(of("HOME")?.join("Library/Caches"));
    }
    of("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(of("HOME")?.join(".cache")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_found_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("below").join("bandwidths.json");
        let host = crate::host::adapter();
        let other = Adapter { driver: "another".into(), ..host.clone() };
        let mut measured = Measured::of(Some(path.clone()));
        let fast = Probe { products: Some(7.5e9), copies: Some(12.5e9) };
        assert_eq!(measured.probe(&host), None);
        measured.remember(&host, fast);
        let again = Measured::of(Some(path.clone()));
        assert_eq!((again.probe(&host), again.probe(&other)), (Some(fast), None));
        // Nothing else is left in the folder.
        assert_eq!(fs::read_dir(folder.path().join("below")).expect("it is there").count(), 1);
        // One adapter more leaves the others as they were.
        let slow = Probe { products: Some(1e9), copies: None };
        Measured::of(Some(path.clone())).remember(&other, slow);
        let again = Measured::of(Some(path.clone()));
        assert_eq!((again.probe(&host), again.probe(&other)), (Some(fast), Some(slow)));
        // What is damaged counts as empty, and so does the bandwidth alone that older versions wrote.
        let key = key(&host);
        let held = [r#""fast""#, "-1", "12.5e9", r#"{"products": -1}"#, r#"{"products": null, "copies": null}"#];
        let held = held.map(|held| format!("{{{key:?}: {held}}}"));
        for damaged in ["", "{", "[1]"].into_iter().chain(held.iter().map(String::as_str)) {
            fs::write(&path, damaged).expect("it is written");
            assert_eq!(Measured::of(Some(path.clone())).probes, BTreeMap::new(), "{damaged}");
        }
        // Where nothing can be written it is still known.
        let mut nowhere = Measured::of(Some(path.join("no folder")));
        nowhere.remember(&host, slow);
        assert_eq!(nowhere.probe(&host), Some(slow));
    }
}
