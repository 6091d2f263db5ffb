//! What the tests share: where their data lies, and tensors in memory.
#![allow(dead_code, reason = "each test file uses some of it")]

pub mod tokens;

use std::path::PathBuf;

use plywood_kernels::formats::F32;
use plywood_models::{Result, Storage, TensorInfo, Weights};

/// A file of the data pack; where it is absent, says that the test is skipped.
pub fn data(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("PLYWOOD_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there; set PLYWOOD_DATA to the folder with the test data", path.display());
    None
}

/// Tensors in memory.
#[derive(Default)]
pub struct InMemory {
    pub tensors: Vec<TensorInfo>,
    pub bytes: Vec<Vec<u8>>,
}

impl InMemory {
    /// Adds a tensor of single-precision numbers, all 0.5.
    pub fn add(&mut self, name: &str, shape: &[usize]) {
        let elements: usize = shape.iter().product();
        let bytes = 0.5f32.to_le_bytes().repeat(elements);
        self.tensors.push(TensorInfo {
            name: name.into(),
            shape: shape.into(),
            storage: Storage::Format(F32),
            file: 0,
            offset: 0,
            bytes: bytes.len() as u64,
        });
        self.bytes.push(bytes);
    }
}

impl Weights for InMemory {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn read(&self, tensor: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        // Tensors whose numbers do not matter have none.
        match self.bytes.get(tensor).and_then(|bytes| bytes.get(offset as usize..)?.get(..buffer.len())) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => buffer.fill(0),
        }
        Ok(())
    }
}

/// Checks that something failed, with a message that contains all of these.
pub fn check_message<T>(result: Result<T>, parts: &[&str]) {
    let message = match result {
        Ok(_) => panic!("should fail with {parts:?}"),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}
