//! Writes GGUF files, version 3: a header, then the bytes of each tensor as another source of weights gives them.

use std::io::{self, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::output::{Existing, NewFile};
use crate::weights::{TensorInfo, Weights};

use super::{Array, DEFAULT_ALIGNMENT, MAGIC, Value};

/// Bytes of a tensor in memory at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// Writes metadata and all tensors of a source to a file, which replaces what is there.
///
/// The tensors' names, shapes and formats are those of the source, so its names should be those
/// of GGUF files. Errors: that the file cannot be written, that a tensor cannot be read or has a
/// type that this build does not know to name.
pub fn write(path: &Path, metadata: &[(String, Value)], weights: &dyn Weights) -> Result<()> {
    let failed = |source| Error::io(path, source);
    let mut out = NewFile::create(path, Existing::Replace).map_err(failed)?;
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let entries = weights.tensors().iter().map(Entry::of).collect::<Result<Vec<Entry>>>()?;
    let header = header(&metadata, &entries);
    out.write_all(&header).map_err(failed)?;
    pad(&mut out, header.len() as u64).map_err(failed)?;
    let mut chunk = Vec::new();
    for (index, tensor) in weights.tensors().iter().enumerate() {
        let mut offset = 0;
        while offset < tensor.bytes {
            chunk.resize((tensor.bytes - offset).min(CHUNK_BYTES) as usize, 0);
            weights.read(index, offset, &mut chunk)?;
            out.write_all(&chunk).map_err(failed)?;
            offset += chunk.len() as u64;
        }
        pad(&mut out, tensor.bytes).map_err(failed)?;
    }
    out.close().map_err(failed)?.put_in_place().map_err(failed)
}

/// A line of the tensor table.
pub(crate) struct Entry<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// Its dimensions, the slowest first.
    pub shape: &'a [usize],
    /// The number of its type.
    pub type_id: u32,
    /// Its bytes.
    pub bytes: u64,
}

impl Entry<'_> {
    fn of(tensor: &TensorInfo) -> Result<Entry<'_>> {
        let type_id = tensor.format()?.gguf_id.ok_or_else(|| tensor.unsupported())?;
        Ok(Entry { name: &tensor.name, shape: &tensor.shape, type_id, bytes: tensor.bytes })
    }
}

/// The metadata and the tensor table; the tensors follow in this order, each padded.
pub(crate) fn header(metadata: &[(&str, &Value)], tensors: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_string(&mut out, key);
        out.extend(value.type_id().to_le_bytes());
        put_value(&mut out, value);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        put_string(&mut out, tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|size| out.extend((*size as u64).to_le_bytes()));
        out.extend(tensor.type_id.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += aligned(tensor.bytes);
    }
    out
}

/// This many bytes and what pads them.
pub(crate) fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(DEFAULT_ALIGNMENT)
}

/// Pads this many bytes.
pub(crate) fn pad(out: &mut impl Write, written: u64) -> io::Result<()> {
    let rest = aligned(written) - written;
    out.write_all(&[0; DEFAULT_ALIGNMENT as usize][..rest as usize])
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(value) => out.extend(value.to_le_bytes()),
        Value::I8(value) => out.extend(value.to_le_bytes()),
        Value::U16(value) => out.extend(value.to_le_bytes()),
        Value::I16(value) => out.extend(value.to_le_bytes()),
        Value::U32(value) => out.extend(value.to_le_bytes()),
        Value::I32(value) => out.extend(value.to_le_bytes()),
        Value::F32(value) => out.extend(value.to_le_bytes()),
        Value::Bool(value) => out.push((*value).into()),
        Value::String(value) => put_string(out, value),
        Value::Array(value) => put_array(out, value),
        Value::U64(value) => out.extend(value.to_le_bytes()),
        Value::I64(value) => out.extend(value.to_le_bytes()),
        Value::F64(value) => out.extend(value.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    out.extend(array.type_id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(values) => out.extend(values),
        Array::I8(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        Array::U16(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        Array::I16(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        Array::U32(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        Array::I32(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        Array::F32(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        Array::Bool(values) => values.iter().for_each(|value| out.push((*value).into())),
        Array::String(values) => values.iter().for_each(|value| put_string(out, value)),
        Array::Array(values) => values.iter().for_each(|value| put_array(out, value)),
        Array::U64(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        Array::I64(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        Array::F64(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
    }
}
