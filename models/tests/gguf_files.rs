//! GGUF files: whole, cut short, damaged, split, and written by hand.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plywood_kernels::formats::{self, Q8_0};
use plywood_models::gguf::{Array, Value, writer};
use plywood_models::synthetic::{SHAPES, Synthetic};
use plywood_models::tokenizer::EncodeOptions;
use plywood_models::{
    Checkpoint, Config, Conventions, Model, Settings, Storage, TensorInfo, Tokenizer, Weights, transformer,
};

use common::{InMemory, check_message, data};

const MIXED: &str = "models/stories260k/stories260k-mixed.gguf";

/// Opens all that a file may hold, and reads every tensor; errors are as good as success.
fn try_everything(path: &Path) {
    let begin = Instant::now();
    let Ok(checkpoint) = Checkpoint::open(path) else { return };
    for (index, tensor) in checkpoint.tensors().iter().enumerate() {
        let mut bytes = vec![0; tensor.bytes as usize];
        let _ = checkpoint.read(index, 0, &mut bytes);
    }
    if let Ok(tokenizer) = Tokenizer::of(&checkpoint) {
        let ids = tokenizer.encode("Once <s> 🙂", EncodeOptions { special: true, bos: true });
        tokenizer.decode(&ids.unwrap_or_default());
    }
    if let Ok(config) = Config::of(&checkpoint) {
        let _ = transformer::build(&checkpoint, &config, config.context.min(512));
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{} took {:?}", path.display(), begin.elapsed());
}

fn copy(name: &str, directory: &Path) -> Option<PathBuf> {
    let copy = directory.join("copy.gguf");
    fs::copy(data(name)?, &copy).unwrap();
    let mut permissions = fs::metadata(&copy).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false, reason = "the copy is in a temporary folder")]
    permissions.set_readonly(false);
    fs::set_permissions(&copy, permissions).unwrap();
    Some(copy)
}

#[test]
fn whole_file() {
    let Some(path) = data(MIXED) else { return };
    let model = Model::open(path).unwrap();
    assert_eq!(model.checkpoint.kind(), Conventions::Gguf);
    assert_eq!(model.checkpoint.tensors().len(), 47);
    let config = &model.config;
    let sizes = [config.layers, config.width, config.heads, config.kv_heads, config.head_width, config.feed_forward];
    assert_eq!(sizes, [5, 64, 8, 4, 8, 172]);
    assert_eq!((config.vocabulary, config.context, config.tied), (512, 512, true));
    assert_eq!((config.bos, config.ends.as_slice()), (Some(1), [2].as_slice()));
    assert_eq!(model.tokenizer.prefix(), [1]);
    let down = model.checkpoint.tensor("blk.0.ffn_down.weight").unwrap();
    let info = &model.checkpoint.tensors()[down];
    assert_eq!((info.shape.as_slice(), info.bytes), ([64, 172].as_slice(), 64 * 172 * 2));
    assert_eq!(model.graph(512).unwrap().layers(), 5);
    let Settings::Gguf(metadata) = model.checkpoint.settings() else { panic!("a GGUF file has metadata") };
    assert_eq!(metadata.text("general.name").unwrap(), Some("stories260K"));
    check_message(metadata.integer("general.name"), &["general.name", "stories260K", "whole number"]);
}

/// One number of a tensor is not finite, in a row after the first: every format says which.
#[test]
fn numbers_that_are_not_finite_are_told() {
    struct Bytes(Vec<TensorInfo>, Vec<u8>);
    impl Weights for Bytes {
        fn tensors(&self) -> &[TensorInfo] {
            &self.0
        }
        fn read(&self, _: usize, offset: u64, buffer: &mut [u8]) -> plywood_models::Result<()> {
            buffer.copy_from_slice(&self.1[offset as usize..][..buffer.len()]);
            Ok(())
        }
    }
    for format in formats::GGUF {
        let columns = 2 * format.block_elements;
        let mut bytes = vec![0; 3 * 2 * format.block_bytes];
        let storage = Storage::Format(format);
        let info = TensorInfo {
            name: "one".into(),
            shape: vec![3, columns],
            storage,
            file: 0,
            offset: 0,
            bytes: bytes.len() as u64,
        };
        let read = |bytes: &[u8], first: usize| {
            let tensor = Bytes(vec![info.clone()], bytes.to_vec());
            tensor.read_checked(0, first as u64, &mut vec![0; bytes.len() - first])
        };
        assert!(read(&bytes, 0).is_ok(), "{format}");
        for scale in format.scales {
            let spoilt = 5 * format.block_bytes;
            scale.set(&mut bytes[spoilt..], f32::NAN);
            check_message(read(&bytes, 0), &["one", "row 2", "not finite"]);
            check_message(read(&bytes, 2 * format.block_bytes), &["one", "row 2", "not finite"]);
            scale.set(&mut bytes[spoilt..], 0.0);
        }
    }
}

#[test]
fn vocabulary_only() {
    let Some(path) = data("tokenizers/llama.cpp-vocab/ggml-vocab-starcoder.gguf") else { return };
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert!(checkpoint.tensors().is_empty());
    assert_eq!(Tokenizer::of(&checkpoint).unwrap().len(), 49_152);
    check_message(Config::of(&checkpoint), &["starcoder2", "llama", "ggml-vocab-starcoder"]);
}

#[test]
fn every_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let Some(path) = copy(MIXED, directory.path()) else { return };
    let whole = Checkpoint::open(&path).unwrap();
    let header = whole.tensors().iter().map(|tensor| tensor.offset).min().unwrap();
    let length = whole.files()[0].length();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let sparse = (header + 64..length).rev().step_by(997);
    for length in sparse.chain((0..header + 64).rev()) {
        file.set_len(length).unwrap();
        assert!(Checkpoint::open(&path).is_err(), "{length} bytes of it open");
    }
}

#[test]
fn cut_short_while_read() {
    let directory = tempfile::tempdir().unwrap();
    let Some(path) = copy(MIXED, directory.path()) else { return };
    let checkpoint = Checkpoint::open(&path).unwrap();
    let last = checkpoint.tensors().len() - 1;
    let mut bytes = vec![0; checkpoint.tensors()[last].bytes as usize];
    checkpoint.read(last, 0, &mut bytes).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(20_000).unwrap();
    check_message(checkpoint.read(last, 0, &mut bytes), &["copy.gguf", "20000 bytes", "cut short"]);
    check_message(checkpoint.read(last, 1, &mut bytes), &["bytes 1 to"]);
    check_message(checkpoint.read(999, 0, &mut bytes), &["number 999"]);
}

#[test]
fn flipped_bits() {
    let directory = tempfile::tempdir().unwrap();
    let Some(path) = copy(MIXED, directory.path()) else { return };
    let original = fs::read(&path).unwrap();
    let header = Checkpoint::open(&path).unwrap().tensors().iter().map(|tensor| tensor.offset).min().unwrap();
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..2000 {
        let mut damaged = original.clone();
        for _ in 0..1 + random() % 3 {
            damaged[random() % header as usize] ^= 1 << (random() % 8);
        }
        fs::write(&path, damaged).unwrap();
        try_everything(&path);
    }
}

/// The front of a file: magic, version, tensors, metadata entries.
fn front(version: u32, tensors: u64, entries: u64) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(entries.to_le_bytes());
    bytes
}

/// Checks that a file of these bytes is refused with such a message.
fn check_refused(bytes: &[u8], parts: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.gguf");
    fs::write(&path, bytes).unwrap();
    check_message(Checkpoint::open(&path), parts);
}

#[test]
fn refused_headers() {
    check_refused(b"", &["made.gguf", "not a GGUF file"]);
    check_refused(b"PK\x03\x04 and more", &["not a GGUF file"]);
    check_refused(&front(1, 0, 0), &["GGUF version 1", "2 and 3"]);
    check_refused(&front(3u32.swap_bytes(), 0, 0), &["version 3 in big-endian order"]);
    check_refused(&front(3, u64::MAX, 0), &["18446744073709551615 tensors"]);
    check_refused(&front(3, 0, 1 << 40), &["1099511627776 metadata entries"]);
    let mut nested = front(3, 0, 1);
    nested.extend(1u64.to_le_bytes());
    nested.extend(b"k");
    nested.extend(9u32.to_le_bytes());
    for _ in 0..8 {
        nested.extend(9u32.to_le_bytes());
        nested.extend(1u64.to_le_bytes());
    }
    nested.extend([0; 64]);
    check_refused(&nested, &["nested deeper"]);
    let mut string = front(3, 0, 1);
    string.extend((1u64 << 62).to_le_bytes());
    string.extend([0; 64]);
    check_refused(&string, &["bytes of a string"]);
}

/// A tensor table with one entry: dimensions, type, offset.
fn one_tensor(dimensions: &[u64], type_id: u32, offset: u64) -> Vec<u8> {
    let mut bytes = front(3, 1, 0);
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(b"t");
    bytes.extend((dimensions.len() as u32).to_le_bytes());
    dimensions.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
    bytes.extend(type_id.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32) + 1024, 0);
    bytes
}

#[test]
fn refused_tensors() {
    check_refused(&one_tensor(&[], 0, 0), &["tensor t has 0 dimensions"]);
    check_refused(&one_tensor(&[2, 2, 2, 2, 2], 0, 0), &["tensor t has 5 dimensions"]);
    check_refused(&one_tensor(&[0], 0, 0), &["impossible dimension"]);
    check_refused(&one_tensor(&[u64::MAX, 2], 0, 0), &["no possible size"]);
    check_refused(&one_tensor(&[33], 8, 0), &["no possible size"]);
    check_refused(&one_tensor(&[32], 0, 7), &["tensor t begins at 7", "multiple of 32"]);
    check_refused(&one_tensor(&[1024], 0, 0), &["cut short"]);
    check_refused(&one_tensor(&[32], 0, u64::MAX - 31), &["outside"]);
    check_refused(&two_tensors(32), &["tensors t and u", "same bytes"]);
}

/// Two tensors of 64 bytes, the second this many bytes after the front of the first.
fn two_tensors(offset: u64) -> Vec<u8> {
    let mut bytes = front(3, 2, 0);
    for (name, offset) in [(b"t", 0), (b"u", offset)] {
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(name);
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(16u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + 1024, 0);
    bytes
}

#[test]
fn tensors_that_touch() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.gguf");
    fs::write(&path, two_tensors(64)).unwrap();
    assert_eq!(Checkpoint::open(&path).unwrap().tensors().len(), 2);
}

#[test]
fn unsupported_types_open_and_are_named() {
    let directory = tempfile::tempdir().unwrap();
    for (type_id, name) in [(9, "Q8_1"), (15, "Q8_K"), (26, "I32"), (77, "number 77")] {
        let path = directory.path().join("made.gguf");
        fs::write(&path, one_tensor(&[256], type_id, 0)).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        let tensor = &checkpoint.tensors()[0];
        assert!(matches!(tensor.storage, Storage::Unsupported(_)));
        check_message(tensor.format(), &["tensor t", name, "Q8_0"]);
    }
}

#[test]
fn pipes_and_missing_files() {
    check_message(Checkpoint::open("/nowhere/at/all.gguf"), &["/nowhere/at/all.gguf"]);
    #[cfg(unix)]
    check_message(Checkpoint::open("/dev/zero"), &["/dev/zero", "regular file"]);
    let directory = tempfile::tempdir().unwrap();
    check_message(Checkpoint::open(directory.path()), &["model.safetensors", "tokenizer.json"]);
}

/// Metadata of one file of a split set.
fn split_metadata(number: u16, count: u16, tensors: i32) -> Vec<(String, Value)> {
    vec![
        ("split.no".into(), Value::U16(number)),
        ("split.count".into(), Value::U16(count)),
        ("split.tensors.count".into(), Value::I32(tensors)),
        ("nested".into(), Value::Array(Array::Array(vec![Array::U8(vec![1]), Array::String(vec!["a".into()])]))),
    ]
}

/// Writes three files with a tensor each.
fn write_split(directory: &Path, tensors: i32) -> Vec<PathBuf> {
    let paths: Vec<PathBuf> =
        (1..=3).map(|number| directory.join(format!("model-{number:05}-of-00003.gguf"))).collect();
    for (number, path) in paths.iter().enumerate() {
        let mut weights = InMemory::default();
        weights.add(&format!("tensor.{number}"), &[2, 3 + number]);
        writer::write(path, &split_metadata(number as u16, 3, tensors), &weights).unwrap();
    }
    paths
}

#[test]
fn split_files() {
    let directory = tempfile::tempdir().unwrap();
    let paths = write_split(directory.path(), 3);
    let checkpoint = Checkpoint::open(&paths[0]).unwrap();
    assert_eq!((checkpoint.files().len(), checkpoint.tensors().len()), (3, 3));
    let last = checkpoint.tensor("tensor.2").unwrap();
    assert_eq!(checkpoint.tensors()[last].shape, [2, 5]);
    let mut bytes = [0; 40];
    checkpoint.read(last, 0, &mut bytes).unwrap();
    assert_eq!(bytes.to_vec(), 0.5f32.to_le_bytes().repeat(10));

    check_message(Checkpoint::open(&paths[1]), &["file 2", "model-00001-of-00003.gguf"]);
    let renamed = directory.path().join("other.gguf");
    fs::copy(&paths[0], &renamed).unwrap();
    check_message(Checkpoint::open(&renamed), &["other.gguf", "keep its name"]);
    fs::copy(&paths[1], &paths[2]).unwrap();
    check_message(Checkpoint::open(&paths[0]), &["model-00003-of-00003.gguf", "metadata say otherwise"]);
    fs::remove_file(&paths[2]).unwrap();
    check_message(Checkpoint::open(&paths[0]), &["model-00003-of-00003.gguf", "missing"]);
    let paths = write_split(directory.path(), 4);
    check_message(Checkpoint::open(&paths[0]), &["4 tensors", "hold 3"]);
}

#[test]
fn duplicate_tensor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("twice.gguf");
    let mut weights = InMemory::default();
    weights.add("same", &[4]);
    weights.add("same", &[4]);
    writer::write(&path, &[], &weights).unwrap();
    check_message(Checkpoint::open(&path), &["twice.gguf", "tensor same is there twice"]);
}

#[test]
fn synthetic_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("synthetic.gguf");
    let synthetic = Synthetic::new(&SHAPES[0], Q8_0);
    synthetic.write_gguf(&path).unwrap();
    let model = Model::open(&path).unwrap();
    assert_eq!(model.graph(256).unwrap().layers(), SHAPES[0].layers);
    for (index, tensor) in synthetic.tensors().iter().enumerate() {
        let found = model.checkpoint.tensor(&tensor.name).unwrap();
        // The end of a tensor, read in pieces that no block divides.
        let length = tensor.bytes.min(1001);
        let (mut written, mut made) = (vec![0; length as usize], vec![0; length as usize]);
        model.checkpoint.read(found, tensor.bytes - length, &mut written).unwrap();
        for (piece, bytes) in made.chunks_mut(13).enumerate() {
            synthetic.read(index, tensor.bytes - length + 13 * piece as u64, bytes).unwrap();
        }
        assert_eq!(written, made, "{}", tensor.name);
    }
    let ids = model.tokenizer.encode("w12 🙂", EncodeOptions { special: false, bos: true }).unwrap();
    assert_eq!(model.tokenizer.decode(&ids), "w12 🙂");
}
