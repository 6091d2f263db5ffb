//! An opened model: its settings, and its tensors as one table whatever files they lie in.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::file::File;
use crate::gguf;
use crate::json::Json;
use crate::key_value::{self, HeadRows};
use crate::packed::{self, Assembly};
use crate::safetensors;
use crate::text_part;
use crate::weights::{Conventions, TensorInfo, Weights, check_read};

/// The name that stands for the model built into the program.
pub const DEMO: &str = "demo";

/// How the names of a directory's files end that tell of settings, tokenizer and templates.
const TELLING: [&str; 4] = ["json", "jinja", "model", "txt"];

/// What lies in a folder that can be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    folder.read_dir().map_or_else(|_| Vec::new(), |entries| entries.flatten().map(|entry| entry.path()).collect())
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
            return Checkpoint::open_gguf(crate::demo::file(DEMO));
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
    pub fn kind(&self) -> Conventions {
        match self.settings {
            Settings::Gguf(_) => Conventions::Gguf,
            Settings::HuggingFace { .. } => Conventions::HuggingFace,
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
        if self.kind() == Conventions::HuggingFace {
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
