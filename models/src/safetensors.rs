//! Safetensors files: a JSON header, then the tensors' bytes; single or sharded with an index.
//!
//! Specification: <https://huggingface.co/docs/safetensors>.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path};

use plywood_kernels::formats::{BF16, F16, F32, F64};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::file::File;
use crate::weights::{Storage, TensorInfo};

/// The name of a model's only file.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The name of the index of a model in several files.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The longest header that is read, in bytes, as the format's own library has it.
const HEADER_LIMIT: u64 = 100_000_000;
/// The longest index that is read, in bytes.
const INDEX_LIMIT: u64 = 64 << 20;

/// Which file holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens the model's files in a directory: [`SINGLE`], else those that [`INDEX`] names, else none.
pub(crate) fn open(directory: &Path) -> Result<(Vec<File>, Vec<TensorInfo>)> {
    let single = directory.join(SINGLE);
    if single.exists() {
        let file = File::open(&single)?;
        let tensors = read_header(&file, 0)?;
        return Ok((vec![file], tensors));
    }
    let index = directory.join(INDEX);
    if !index.exists() {
        return Ok((Vec::new(), Vec::new()));
    }
    open_shards(directory, &index)
}

fn open_shards(directory: &Path, path: &Path) -> Result<(Vec<File>, Vec<TensorInfo>)> {
    let text = File::open(path)?.read_text(INDEX_LIMIT)?;
    let index: Index = serde_json::from_str(&text).map_err(|error| Error::malformed(path, error.to_string()))?;
    let shard_names: BTreeSet<&String> = index.weight_map.values().collect();
    let (mut files, mut tensors, mut homes) = (Vec::new(), Vec::new(), HashMap::new());
    for name in shard_names {
        let file = open_shard(directory, path, name)?;
        for tensor in read_header(&file, files.len())? {
            if homes.insert(tensor.name.clone(), name).is_some() {
                return Err(Error::DuplicateTensor { file: file.path().into(), tensor: tensor.name });
            }
            tensors.push(tensor);
        }
        files.push(file);
    }
    for (tensor, shard) in &index.weight_map {
        if homes.get(tensor) != Some(&shard) {
            let reason = format!(
                "{} says that tensor {tensor} is in this file, but it is not; download both again",
                path.display()
            );
            return Err(Error::Shard { file: directory.join(shard), reason });
        }
    }
    Ok((files, tensors))
}

/// Opens a file that the index names, which must lie beside it.
fn open_shard(directory: &Path, index: &Path, name: &str) -> Result<File> {
    let mut components = Path::new(name).components();
    let (Some(Component::Normal(_)), None) = (components.next(), components.next()) else {
        return Err(Error::malformed(index, format!("{name:?} is not the name of a file in the same directory")));
    };
    let path = directory.join(name);
    if !path.exists() {
        let reason = format!("{} names this file, but it is missing; put it beside the others", index.display());
        return Err(Error::Shard { file: path, reason });
    }
    File::open(&path)
}

/// Reads the tensor table of one file; `index` is the file's place in the model.
fn read_header(file: &File, index: usize) -> Result<Vec<TensorInfo>> {
    let mut length = [0; 8];
    file.read(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_LIMIT {
        let reason = format!("its header claims {length} bytes, which is more than the format allows");
        return Err(Error::malformed(file.path(), reason));
    }
    let data = 8 + length;
    if data > file.length() {
        return Err(Error::CutShort { file: file.path().into(), wanted: data, length: file.length() });
    }
    let mut header = vec![0; length as usize];
    file.read(8, &mut header)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|error| Error::malformed(file.path(), error.to_string()))?;
    let end = data + header.data_len() as u64;
    if end > file.length() {
        return Err(Error::CutShort { file: file.path().into(), wanted: end, length: file.length() });
    }
    if end < file.length() {
        let reason = format!("its tensors end at byte {end}, but it has {} bytes", file.length());
        return Err(Error::malformed(file.path(), reason));
    }
    let tensors = header.offset_keys().into_iter().filter_map(|name| {
        let info = header.info(&name)?;
        let (begin, end) = info.data_offsets;
        let (offset, bytes) = (data + begin as u64, (end - begin) as u64);
        let (shape, storage) = (info.shape.clone(), storage(info.dtype));
        Some(TensorInfo { name, shape, storage, file: index, offset, bytes })
    });
    Ok(tensors.collect())
}

fn storage(dtype: Dtype) -> Storage {
    match dtype {
        Dtype::F32 => Storage::Format(F32),
        Dtype::F64 => Storage::Format(F64),
        Dtype::F16 => Storage::Format(F16),
        Dtype::BF16 => Storage::Format(BF16),
        other => Storage::Unsupported(format!("{other:?}")),
    }
}
