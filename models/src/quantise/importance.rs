//! Importance matrices of `llama-imatrix`: how much the squared error of each column of a weight counts.
//!
//! A file is GGUF, with `NAME.in_sum2` and `NAME.counts` for each weight, or the older list of sums
//! (`common/imatrix-loader.cpp` of llama.cpp reads both).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use plywood_kernels::formats::F32;

use crate::error::{Error, Result};
use crate::file::File;
use crate::gguf::{self, Value};
use crate::weights::TensorInfo;

use super::source::Tensor;

/// The longest file that is read, in bytes: that of a model of 70B with experts has some hundred MB.
const LIMIT: u64 = 1 << 30;

/// The importance of columns by the names of weights.
#[derive(Debug)]
pub struct Importance {
    pub(super) file: PathBuf,
    /// One row of columns for each expert.
    entries: HashMap<String, Vec<f32>>,
    dataset: Option<String>,
    chunks: u32,
}

impl Importance {
    /// Reads a file of either kind.
    pub fn open(path: &Path) -> Result<Importance> {
        let file = File::open(path)?;
        if file.length() > LIMIT {
            let reason = format!("it has {} bytes, and an importance matrix at most {LIMIT}", file.length());
            return Err(Error::malformed(path, reason));
        }
        let mut magic = [0; 4];
        file.read(0, &mut magic)?;
        let read = if magic == gguf::MAGIC { Importance::read_gguf(file)? } else { Importance::read_list(&file)? };
        let wrong = |numbers: &[f32]| numbers.iter().any(|number| !(number.is_finite() && *number >= 0.0));
        match read.entries.iter().find(|(_, numbers)| wrong(numbers)) {
            Some((name, _)) => {
                Err(Error::malformed(path, format!("{name} has an importance that is no number from 0 on")))
            }
            None if read.entries.is_empty() => Err(Error::malformed(path, "it holds no importance of any weight")),
            None => Ok(read),
        }
    }

    fn read_gguf(file: File) -> Result<Importance> {
        let path = file.path().to_path_buf();
        let (files, metadata, tensors) = gguf::open(file)?;
        let by_name: HashMap<&str, &TensorInfo> = tensors.iter().map(|info| (info.name.as_str(), info)).collect();
        let numbers = |info: &TensorInfo| -> Result<Vec<f32>> {
            if info.format()? != F32 {
                return Err(Error::malformed(&path, format!("{} is not F32", info.name)));
            }
            let mut bytes = vec![0; info.bytes as usize];
            files[info.file].read(info.offset, &mut bytes)?;
            Ok(floats(&bytes))
        };
        let mut entries = HashMap::new();
        for info in &tensors {
            let Some(name) = info.name.strip_suffix(".in_sum2") else { continue };
            let counts = by_name.get(format!("{name}.counts").as_str());
            let counts = counts.ok_or_else(|| Error::malformed(&path, format!("{name}.counts is missing")))?;
            let (mut sums, counts) = (numbers(info)?, numbers(counts)?);
            if counts.is_empty() || !sums.len().is_multiple_of(counts.len()) {
                let reason = format!("{name} has {} sums for {} counts", sums.len(), counts.len());
                return Err(Error::malformed(&path, reason));
            }
            let columns = sums.len() / counts.len();
            for (row, count) in sums.chunks_exact_mut(columns.max(1)).zip(counts) {
                let mean = |sum: &mut f32| *sum = if count > 0.0 { *sum / count.round() } else { 1.0 };
                row.iter_mut().for_each(mean);
            }
            entries.insert(name.to_owned(), sums);
        }
        let chunks = metadata.integer("imatrix.chunk_count")?.and_then(|count| u32::try_from(count).ok());
        let dataset = metadata.texts("imatrix.datasets")?.and_then(|names| names.first().cloned());
        Ok(Importance { file: path, entries, dataset, chunks: chunks.unwrap_or(0) })
    }

    /// The older kind: a count of entries, each of a name, a number of calls and the sums; then what they are from.
    fn read_list(file: &File) -> Result<Importance> {
        let mut list = List { file, offset: 0 };
        let mut entries = HashMap::new();
        for _ in 0..list.count("entries", 12)? {
            let name = list.text()?;
            let calls = list.number()?;
            let count = list.count("values", 4)?;
            let mut sums = floats(&list.bytes(4 * count)?);
            if calls > 0 {
                sums.iter_mut().for_each(|sum| *sum /= calls as f32);
            }
            entries.insert(name, sums);
        }
        let (mut chunks, mut dataset) = (0, None);
        if !list.is_at_end() {
            chunks = u32::try_from(list.number()?).unwrap_or(0);
        }
        if !list.is_at_end() {
            dataset = Some(list.text()?).filter(|name| !name.is_empty());
        }
        Ok(Importance { file: file.path().into(), entries, dataset, chunks })
    }

    /// The importance of a tensor's columns, one row of them for each expert; an error where it has another length.
    pub(super) fn of(&self, tensor: &Tensor) -> Result<Option<&[f32]>> {
        let Some(found) = self.entries.get(&tensor.name) else { return Ok(None) };
        let wanted = tensor.columns() * tensor.experts();
        if found.len() != wanted {
            let (file, tensor, found) = (self.file.clone(), tensor.name.clone(), found.len());
            return Err(Error::ImportanceLength { file, tensor, found, wanted });
        }
        Ok(Some(found))
    }

    /// What a file that was quantised with it says of it.
    pub(super) fn metadata(&self) -> Vec<(String, Value)> {
        let name = self.file.to_string_lossy().into_owned();
        let mut entries = vec![
            ("quantize.imatrix.file".into(), Value::String(name)),
            ("quantize.imatrix.entries_count".into(), Value::U32(self.entries.len() as u32)),
        ];
        entries.extend(self.dataset.clone().map(|name| ("quantize.imatrix.dataset".into(), Value::String(name))));
        if self.chunks > 0 {
            entries.push(("quantize.imatrix.chunks_count".into(), Value::U32(self.chunks)));
        }
        entries
    }
}

/// The older kind of file, from front to back.
struct List<'a> {
    file: &'a File,
    offset: u64,
}

impl List<'_> {
    fn is_at_end(&self) -> bool {
        self.offset >= self.file.length()
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let left = self.file.length() - self.offset;
        if count as u64 > left {
            let wanted = self.offset + count as u64;
            return Err(Error::CutShort { file: self.file.path().into(), wanted, length: self.file.length() });
        }
        let mut bytes = vec![0; count];
        self.file.read(self.offset, &mut bytes)?;
        self.offset += count as u64;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<i32> {
        let bytes = self.bytes(4)?;
        Ok(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// How many things of at least this many bytes follow; the file must have room for them.
    fn count(&mut self, what: &str, bytes: u64) -> Result<usize> {
        let count = self.number()?;
        let left = self.file.length() - self.offset;
        match usize::try_from(count) {
            Ok(fitting) if fitting as u64 * bytes <= left => Ok(fitting),
            _ => {
                let reason = format!("this is no importance matrix: {count} {what} cannot be in {left} bytes");
                Err(Error::malformed(self.file.path(), reason))
            }
        }
    }

    fn text(&mut self) -> Result<String> {
        let count = self.count("bytes of a name", 1)?;
        let bytes = self.bytes(count)?;
        String::from_utf8(bytes).map_err(|error| Error::malformed(self.file.path(), error.to_string()))
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}
