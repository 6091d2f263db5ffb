//! Bandwidths that were measured, remembered in the user's cache directory by adapter and driver.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::adapters::Adapter;

/// Bytes per second by adapter and driver.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Measured {
    path: Option<PathBuf>,
    bandwidths: BTreeMap<String, f64>,
}

impl Measured {
    /// What was remembered. A file that can't be read counts as empty, so that all is measured again.
    pub fn read() -> Measured {
        Measured::of(directory().map(|directory| directory.join("plywood").join("bandwidths.json")))
    }

    fn of(path: Option<PathBuf>) -> Measured {
        let text = path.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let bandwidths: Option<BTreeMap<String, f64>> = text.and_then(|text| serde_json::from_str(&text).ok());
        let mut bandwidths = bandwidths.unwrap_or_default();
        bandwidths.retain(|_, bandwidth| bandwidth.is_finite() && *bandwidth > 0.0);
        Measured { path, bandwidths }
    }

    /// The bandwidth of an adapter, if it was measured with this driver.
    pub fn bandwidth(&self, adapter: &Adapter) -> Option<f64> {
        self.bandwidths.get(&key(adapter)).copied()
    }

    /// Remembers a bandwidth, here and, where that can be, in the file: it is written whole or not at all.
    pub fn remember(&mut self, adapter: &Adapter, bandwidth: f64) {
        self.bandwidths.insert(key(adapter), bandwidth);
        if let Some(path) = &self.path {
            // Without the file it is measured again the next time, and nothing else is lost.
            _ = write(path, &self.bandwidths);
        }
    }
}

fn write(path: &Path, bandwidths: &BTreeMap<String, f64>) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    let written = serde_json::to_string(bandwidths).map_err(io::Error::other);
    let result = written.and_then(|text| fs::write(&partial, text)).and_then(|()| fs::rename(&partial, path));
    if result.is_err() {
        _ = fs::remove_file(&partial);
    }
    result
}

fn key(adapter: &Adapter) -> String {
    format!("{} | {}", adapter.label(), adapter.driver)
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
        assert_eq!(measured.bandwidth(&host), None);
        measured.remember(&host, 12.5e9);
        let again = Measured::of(Some(path.clone()));
        assert_eq!((again.bandwidth(&host), again.bandwidth(&other)), (Some(12.5e9), None));
        // Nothing else is left in the folder, and what is damaged counts as empty.
        assert_eq!(fs::read_dir(folder.path().join("below")).expect("it is there").count(), 1);
        for damaged in ["", "{", "[1]", r#"{"host | x": "fast"}"#, r#"{"host": -1}"#] {
            fs::write(&path, damaged).expect("it is written");
            assert_eq!(Measured::of(Some(path.clone())).bandwidths, BTreeMap::new());
        }
        // Where nothing can be written it is still known.
        let mut nowhere = Measured::of(Some(path.join("no folder")));
        nowhere.remember(&host, 1.0);
        assert_eq!(nowhere.bandwidth(&host), Some(1.0));
    }
}
