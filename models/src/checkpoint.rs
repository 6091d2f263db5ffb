//! An opened model: its settings, and its tensors as one table whatever files they lie in.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plywood_kernels::Format;
use plywood_kernels::formats;

use crate::error::{Error, Result};
use crate::file::File;
use crate::gguf;
use crate::json::Json;
use crate::key_value::{self, HeadRows};
use crate::packed::{self, Assembly};
use crate::safetensors;
use crate::text_part;

/// The name that stands for the model built into the program.
pub const DEMO: &str = "demo";

/// How the names of a directory's files end that tell of settings, tokenizer and templates.
const TELLING: [&str; 4] = ["json", "jinja", "model", "txt"];

/// How a tensor's elements are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In a format that this build runs.
    Format(Format),
    /// In a type of this name, which it does not run.
    Unsupported(String),
}

/// The type's name as GGUF tools spell it: `Q8_0`.
impl fmt::Display for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Storage::Format(format) => formatter.write_str(&format.name.to_uppercase()),
            Storage::Unsupported(name) => formatter.write_str(name),
        }
    }
}

/// One tensor of a model.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions, the slowest first (a matrix is `[rows, columns]`).
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub storage: Storage,
    /// The place of its file among the model's files.
    pub file: usize,
    /// Where it begins in that file, in bytes.
    pub offset: u64,
    /// Its bytes in the file; 0 where its type is unknown.
    pub bytes: u64,
}

impl TensorInfo {
    /// Elements of all dimensions; saturating, since a type may be of unknown size.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |product: u64, size| product.saturating_mul(*size as u64))
    }

    /// Its format, or an error that names its type.
    pub fn format(&self) -> Result<Format> {
        match self.storage {
            Storage::Format(format) => Ok(format),
            Storage::Unsupported(_) => Err(self.unsupported()),
        }
    }

    /// The error that names its type.
    pub(crate) fn unsupported(&self) -> Error {
        let known: Vec<String> = formats::GGUF.iter().map(|format| format.name.to_uppercase()).collect();
        Error::UnsupportedType {
            tensor: self.name.clone(),
            type_name: self.storage.to_string(),
            known: known.join(", "),
        }
    }
}

/// Where the numbers of a model come from: files, or a generator.
pub trait Weights: Send + Sync {
    /// The tensors.
    fn tensors(&self) -> &[TensorInfo];

    /// Fills the buffer with the bytes of a tensor from `offset` on, in its storage format.
    fn read(&self, tensor: usize, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// The same of whole rows, which must hold finite numbers.
    fn read_checked(&self, tensor: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.read(tensor, offset, buffer)?;
        let info = &self.tensors()[tensor];
        let format = info.format()?;
        match format.not_finite(buffer) {
            None => Ok(()),
            Some(block) => {
                let columns = info.shape.last().map_or(1, |columns| *columns as u64).max(1);
                let before = (offset / format.block_bytes as u64 + block as u64) * format.block_elements as u64;
                Err(Error::NotFinite { tensor: info.name.clone(), row: (before / columns) as usize })
            }
        }
    }

    /// For each column of a tensor as it is read, which one of the matrix it is; `None` where they are in their order.
    fn order(&self, _tensor: usize) -> Option<&Arc<[u32]>> {
        None
    }
}

/// What lies in a folder that can be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    folder.read_dir().map_or_else(|_| Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect())
}

/// Checks that a read lies inside a tensor.
pub(crate) fn check_read(tensors: &[TensorInfo], tensor: usize, offset: u64, length: usize) -> Result<&TensorInfo> {
    let end = offset.saturating_add(length as u64);
    let outside = |tensor: String, bytes| Error::OutsideTensor { tensor, offset, end, bytes };
    let info = tensors.get(tensor).ok_or_else(|| outside(format!("number {tensor}"), 0))?;
    if end > info.bytes {
        return Err(outside(info.name.clone(), info.bytes));
    }
    Ok(info)
}

/// Which conventions a model's names and settings follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A GGUF file or several.
    Gguf,
    /// A Hugging Face directory.
    HuggingFace,
}

/// What a model says about itself.
#[derive(Debug, Clone)]
pub enum Settings {
    /// The metadata of a GGUF file.
    Gguf(gguf::Metadata),
    /// The JSON files of a directory.
    HuggingFace {
        /// `config.json`.
        config: Option<Json>,
        /// `generation_config.json`.
        generation: Option<Json>,
    },
}

/// An opened model, or only the tokenizer of one.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    settings: Settings,
    files: Vec<File>,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
    /// How tensors are assembled that lie in several tensors of the files, by name.
    assemblies: HashMap<String, Assembly>,
    /// Which tensors are some rows of each head of another one, by name.
    head_rows: HashMap<String, HeadRows>,
}

impl Checkpoint {
    /// Opens a `.gguf` file (the first of a split set), a Hugging Face directory, or [`DEMO`].
    ///
    /// Only metadata and tensor tables are read. A file with only a vocabulary opens, as does a
    /// directory with only a tokenizer: their tables are empty.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let path = path.as_ref();
        #[cfg(feature = "demo")]
        if path == Path::new(DEMO) {
            return Checkpoint::open_gguf(crate::demo::file());
        }
        #[cfg(not(feature = "demo"))]
        if path == Path::new(DEMO) && !path.exists() {
            let reason = "this build has no model of its own; build it with the cargo feature `demo`".into();
            return Err(Error::NotAModel { path: path.into(), reason });
        }
        if path.is_dir() { Checkpoint::open_directory(path) } else { Checkpoint::open_gguf(File::open(path)?) }
    }

    fn open_gguf(file: File) -> Result<Checkpoint> {
        let path = file.path().to_path_buf();
        let (files, metadata, tensors) = gguf::open(file)?;
        Ok(Checkpoint::new(path, Settings::Gguf(metadata), files, tensors))
    }

    fn open_directory(path: &Path) -> Result<Checkpoint> {
        let config = Json::read(&path.join("config.json"))?;
        let generation = Json::read(&path.join("generation_config.json"))?;
        let (files, tensors) = safetensors::open(path)?;
        let (config, tensors) = match config {
            Some(config) => text_part::of(config, tensors).map(|(config, tensors)| (Some(config), tensors))?,
            None => (None, tensors),
        };
        let (tensors, assemblies) = packed::assemble(config.as_ref(), &files, tensors)?;
        let tokenizer = ["tokenizer.json", "vocab.json", "tokenizer.model"].iter().any(|name| path.join(name).exists());
        if files.is_empty() && !tokenizer {
            let reason = format!("there is no {}, {} or tokenizer.json in it", safetensors::SINGLE, safetensors::INDEX);
            return Err(Error::NotAModel { path: path.into(), reason });
        }
        let has_order = |name: &str| assemblies.get(name).is_some_and(|assembly| assembly.order().is_some());
        let (tensors, head_rows) = key_value::split(config.as_ref(), tensors, has_order)?;
        let settings = Settings::HuggingFace { config, generation };
        Ok(Checkpoint { assemblies, head_rows, ..Checkpoint::new(path.into(), settings, files, tensors) })
    }

    fn new(path: PathBuf, settings: Settings, files: Vec<File>, tensors: Vec<TensorInfo>) -> Checkpoint {
        let by_name = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.clone(), index)).collect();
        Checkpoint { path, settings, files, tensors, by_name, assemblies: HashMap::new(), head_rows: HashMap::new() }
    }

    /// Fills the buffer with the bytes of a tensor of the files from `offset` on.
    fn read_stored(&self, info: &TensorInfo, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match self.assemblies.get(&info.name) {
            None => self.files[info.file].read(info.offset + offset, buffer),
            Some(assembly) => assembly.read(&info.name, &self.files, offset, buffer),
        }
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which conventions it follows.
    pub fn kind(&self) -> Kind {
        match self.settings {
            Settings::Gguf(_) => Kind::Gguf,
            Settings::HuggingFace { .. } => Kind::HuggingFace,
        }
    }

    /// What it says about itself.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The files that hold its tensors.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// What must not be written while it is open: the files that hold its tensors, and of a directory whatever may tell of
    /// settings, tokenizer and templates.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let mut inputs: Vec<PathBuf> = self.files.iter().filter_map(|file| Some(file.on_disk()?.into())).collect();
        if self.kind() == Kind::HuggingFace {
            // Named templates lie in a folder of their own.
            let folders = entries(&self.path).into_iter().filter(|path| path.is_dir());
            let files = entries(&self.path).into_iter().chain(folders.flat_map(|folder| entries(&folder)));
            let tells = |path: &PathBuf| TELLING.iter().any(|end| path.extension().is_some_and(|found| found == *end));
            inputs.extend(files.filter(tells));
        }
        inputs
    }

    /// The index of the tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

impl Weights for Checkpoint {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn read(&self, tensor: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let info = check_read(&self.tensors, tensor, offset, buffer.len())?;
        match self.head_rows.get(&info.name) {
            None => self.read_stored(info, offset, buffer),
            Some(rows) => rows.read(offset, buffer, |base, offset, part| self.read_stored(base, offset, part)),
        }
    }

    fn order(&self, tensor: usize) -> Option<&Arc<[u32]>> {
        self.assemblies.get(&self.tensors.get(tensor)?.name)?.order()
    }
}
