//! What the tests share: where their data lies, and tensors in memory.
#![allow(dead_code, reason = "each test file uses some of it")]

// Where it is shared with the tests of the whole, so that both say alike what they skip.
#[path = "../../../tests/src/data.rs"]
mod data;
pub mod tokens;

#[allow(unused_imports, reason = "not every test reads data")]
pub use data::data;
use plywood_kernels::formats::F32;
use plywood_models::{Result, Storage, TensorInfo, Weights};

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
