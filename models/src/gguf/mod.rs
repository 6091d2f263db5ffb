//! The GGUF format: metadata and a table of tensors at the front of a file, then the tensors' bytes.
//!
//! Specification: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Versions 2 and 3 in
//! little-endian order are read. Nothing is allocated for a count before the file is known to have
//! room for it.

mod cursor;
mod split;
mod types;
mod value;
pub mod writer;

use std::collections::HashSet;

use plywood_kernels::Format;

use crate::error::{Error, Result};
use crate::file::File;
use crate::weights::{Storage, TensorInfo};

use self::cursor::Cursor;
pub(crate) use self::split::open;
pub use self::value::{Array, Metadata, Value};

/// The first bytes of every GGUF file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// Tensors begin at multiples of this many bytes where the file does not say otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;

/// The largest alignment that is believed.
const ALIGNMENT_LIMIT: u64 = 1 << 20;

/// The most dimensions that a tensor of ggml has.
const DIMENSIONS_LIMIT: u32 = 4;

/// The fewest bytes of an entry: in the metadata, and in the tensor table.
const METADATA_ENTRY_BYTES: u64 = 8 + 4 + 1;
const TENSOR_ENTRY_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// Reads the metadata and the tensor table of one file; `index` is the file's place in the model.
fn read_header(file: &File, index: usize) -> Result<(Metadata, Vec<TensorInfo>)> {
    let mut cursor = Cursor::new(file);
    if file.length() < 4 || cursor.take()? != MAGIC {
        return Err(Error::NotAModel { path: file.path().into(), reason: "this is not a GGUF file".into() });
    }
    check_version(file, cursor.u32()?)?;
    let (tensors, entries) = (cursor.u64()?, cursor.u64()?);
    let metadata = read_metadata(&mut cursor, file, entries)?;
    let alignment = metadata.integer("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > ALIGNMENT_LIMIT {
        let wanted = format!("a power of two up to {ALIGNMENT_LIMIT}");
        return Err(metadata.wrong("general.alignment", alignment, wanted));
    }
    let mut tensors = read_tensors(&mut cursor, file, index, tensors)?;
    let data = cursor.position().next_multiple_of(alignment);
    for tensor in &mut tensors {
        place(tensor, file, data, alignment)?;
    }
    check_apart(file, &tensors)?;
    Ok((metadata, tensors))
}

fn check_version(file: &File, version: u32) -> Result<()> {
    let found = match version {
        2 | 3 => return Ok(()),
        _ if matches!(version.swap_bytes(), 1..=3) => {
            format!("GGUF version {} in big-endian order", version.swap_bytes())
        }
        other => format!("GGUF version {other}"),
    };
    Err(Error::GgufVersion { file: file.path().into(), found })
}

fn read_metadata(cursor: &mut Cursor, file: &File, entries: u64) -> Result<Metadata> {
    let mut metadata = Metadata::new(file.path());
    for _ in 0..cursor.check_count("metadata entries", entries, METADATA_ENTRY_BYTES)? {
        let key = cursor.string()?;
        let type_id = cursor.u32()?;
        let value = Value::read(cursor, type_id)?;
        if metadata.entries.contains_key(&key) {
            return Err(cursor.malformed(format!("metadata key {key} is there twice")));
        }
        metadata.entries.insert(key, value);
    }
    Ok(metadata)
}

/// Reads the tensor table; offsets are still relative to the tensors' bytes.
fn read_tensors(cursor: &mut Cursor, file: &File, index: usize, count: u64) -> Result<Vec<TensorInfo>> {
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    for _ in 0..cursor.check_count("tensors", count, TENSOR_ENTRY_BYTES)? {
        let name = cursor.string()?;
        if !names.insert(name.clone()) {
            return Err(Error::DuplicateTensor { file: file.path().into(), tensor: name });
        }
        let dimensions = cursor.u32()?;
        if !(1..=DIMENSIONS_LIMIT).contains(&dimensions) {
            return Err(cursor.malformed(format!("tensor {name} has {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = cursor.u64()?;
            let size = usize::try_from(size).ok().filter(|size| *size > 0);
            shape.push(size.ok_or_else(|| cursor.malformed(format!("tensor {name} has an impossible dimension")))?);
        }
        shape.reverse();
        let type_id = cursor.u32()?;
        let offset = cursor.u64()?;
        let bytes = tensor_bytes(&shape, type_id)
            .ok_or_else(|| cursor.malformed(format!("tensor {name} of shape {shape:?} has no possible size")))?;
        tensors.push(TensorInfo { name, shape, storage: storage(type_id), file: index, offset, bytes });
    }
    Ok(tensors)
}

fn storage(type_id: u32) -> Storage {
    match (Format::from_gguf_id(type_id), types::by_id(type_id)) {
        (Some(format), _) => Storage::Format(format),
        (None, Some(known)) => Storage::Unsupported(known.name.into()),
        (None, None) => Storage::Unsupported(format!("number {type_id} (unknown)")),
    }
}

/// Bytes of a tensor, 0 where its type is unknown; `None` where blocks do not divide its rows or they overflow.
fn tensor_bytes(shape: &[usize], type_id: u32) -> Option<u64> {
    let elements = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size as u64))?;
    let (block_elements, block_bytes) = match (Format::from_gguf_id(type_id), types::by_id(type_id)) {
        (Some(format), _) => (format.block_elements as u64, format.block_bytes as u64),
        (None, Some(known)) => (known.block_elements, known.block_bytes),
        (None, None) => return Some(0),
    };
    let columns = *shape.last()? as u64;
    if !columns.is_multiple_of(block_elements) {
        return None;
    }
    (elements / block_elements).checked_mul(block_bytes)
}

/// Makes a tensor's offset one from the front of the file, and checks that its bytes are there.
fn place(tensor: &mut TensorInfo, file: &File, data: u64, alignment: u64) -> Result<()> {
    let wrong = |what: String| Error::malformed(file.path(), format!("tensor {} {what}", tensor.name));
    if !tensor.offset.is_multiple_of(alignment) {
        return Err(wrong(format!("begins at {}, which is not a multiple of {alignment}", tensor.offset)));
    }
    let begin = data.checked_add(tensor.offset);
    let end = begin.and_then(|begin| begin.checked_add(tensor.bytes));
    match (begin, end) {
        (Some(begin), Some(end)) if end <= file.length() => tensor.offset = begin,
        (_, Some(end)) => {
            let (file, tensor, length) = (file.path().into(), tensor.name.clone(), file.length());
            return Err(Error::TensorPastEnd { file, tensor, end, length });
        }
        (_, None) => return Err(wrong("lies outside of all files".into())),
    }
    Ok(())
}

/// Checks that no tensors share bytes: a small file could claim any amount of them.
fn check_apart(file: &File, tensors: &[TensorInfo]) -> Result<()> {
    let mut in_order: Vec<&TensorInfo> = tensors.iter().filter(|tensor| tensor.bytes > 0).collect();
    in_order.sort_by_key(|tensor| tensor.offset);
    match in_order.windows(2).find(|pair| pair[0].offset + pair[0].bytes > pair[1].offset) {
        None => Ok(()),
        Some(pair) => {
            let reason = format!("tensors {} and {} lie in the same bytes", pair[0].name, pair[1].name);
            Err(Error::malformed(file.path(), reason))
        }
    }
}
