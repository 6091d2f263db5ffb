//! What can go wrong with a model's files: each message names the file, key or tensor, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The result of anything that reads a model.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a model cannot be opened, read or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}; check that the path is right and can be read or written", .file.display())]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The path leads to something that holds no model.
    #[error("{}: {reason}; name a .gguf file, a directory with a Hugging Face model, or `demo`", .path.display())]
    NotAModel {
        /// What was given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The file ends before what is in it.
    #[error("{}: the file has {length} bytes but byte {wanted} was to be read: it was cut short; download or copy it again", .file.display())]
    CutShort {
        /// The file.
        file: PathBuf,
        /// The end of what was wanted, in bytes.
        wanted: u64,
        /// The bytes that are there.
        length: u64,
    },
    /// A tensor whose bytes end after the file's.
    #[error("{}: tensor {tensor} ends at byte {end}, but the file has {length}: it was cut short or damaged; download or copy it again", .file.display())]
    TensorPastEnd {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The end of the tensor, in bytes.
        end: u64,
        /// The bytes that are there.
        length: u64,
    },

    /// The bytes of a file contradict its format.
    #[error("{}: {reason}; the file is damaged or was written wrongly: download or convert it again", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The contradiction.
        reason: String,
    },

    /// A version or byte order of GGUF that is not read.
    #[error("{}: this is {found}, and versions 2 and 3 in little-endian order are read; convert the model again with a current tool", .file.display())]
    GgufVersion {
        /// The file.
        file: PathBuf,
        /// What it is.
        found: String,
    },

    /// One of several files of a model is wrong or not there.
    #[error("{}: {reason}", .file.display())]
    Shard {
        /// The file.
        file: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },

    /// Two tensors have the same name.
    #[error("{}: tensor {tensor} is there twice; convert the model again", .file.display())]
    DuplicateTensor {
        /// The file with the second one.
        file: PathBuf,
        /// Its name.
        tensor: String,
    },

    /// A setting that the model needs is not there.
    #[error("{}: {key} is missing; convert the model again with a current tool", .file.display())]
    MissingKey {
        /// The file where it was sought.
        file: PathBuf,
        /// The key.
        key: String,
    },

    /// A setting has a value that no model can have.
    #[error("{}: {key} is {found}, but must be {wanted}; correct it or convert the model again", .file.display())]
    WrongValue {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What it may be.
        wanted: String,
    },

    /// A setting that would change the result, and that this build does not know how to follow.
    #[error("{}: {key} is {found}, which this build does not support (only {wanted}); use another model", .file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What is supported.
        wanted: String,
    },

    /// A model family that is not in the table.
    #[error("{}: unknown architecture {name:?}; this build runs {known}", .file.display())]
    UnknownArchitecture {
        /// The file.
        file: PathBuf,
        /// The name it gives.
        name: String,
        /// The names of the table.
        known: String,
    },

    /// A tensor of a type that is not run.
    #[error("tensor {tensor} has type {type_name}, which this build does not run yet; use a file with types {known}")]
    UnsupportedType {
        /// The tensor.
        tensor: String,
        /// Its type.
        type_name: String,
        /// The types that run.
        known: String,
    },

    /// A tensor that the model needs is not there.
    #[error("tensor {tensor} is missing; the model is incomplete or of another architecture: convert it again")]
    MissingTensor {
        /// Its name.
        tensor: String,
    },

    /// A tensor that the architecture does not use, and whose omission would change the result.
    #[error(
        "tensor {tensor} belongs to no part of architecture {architecture} that this build runs; use another model"
    )]
    UnusedTensor {
        /// Its name.
        tensor: String,
        /// The architecture's name.
        architecture: String,
    },

    /// A tensor's shape contradicts the configuration. Shapes have the slowest dimension first.
    #[error("tensor {tensor} has shape {found:?}, but the configuration wants {wanted:?}; convert the model again")]
    WrongShape {
        /// Its name.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape by the configuration.
        wanted: Vec<usize>,
    },

    /// A tensor holds numbers that no model can have.
    #[error("tensor {tensor} must hold {wanted}, and does not; download or convert the model again")]
    WrongNumbers {
        /// Its name.
        tensor: String,
        /// What it must hold.
        wanted: &'static str,
    },

    /// A tensor whose rows are not whole blocks of a format.
    #[error("tensor {tensor}: its rows of {columns} are not whole blocks of {format}; choose another type for it")]
    UnevenRows {
        /// The tensor.
        tensor: String,
        /// Elements of a row.
        columns: usize,
        /// The format.
        format: String,
    },

    /// A directory of a family that is not converted to GGUF files yet.
    #[error(
        "{class} is not converted from a directory yet; quantise a GGUF file of the model, as llama.cpp's converter makes it"
    )]
    NotConverted {
        /// The class by its configuration.
        class: String,
    },

    /// A format that is only read.
    #[error("tensor {tensor} would become {format}, which this build cannot write; choose a type of {known}")]
    NotWritten {
        /// The tensor.
        tensor: String,
        /// The format.
        format: String,
        /// The formats that can be written.
        known: String,
    },

    /// A pattern for names of tensors that no matrix has.
    #[error(
        "Options::overrides: {pattern}: no matrix of the model has this in its name; Checkpoint::tensors has the names"
    )]
    UnmatchedPattern {
        /// The pattern.
        pattern: String,
    },

    /// A weight that is not a finite number, by which everything computed from it would not be one either.
    #[error(
        "tensor {tensor}: row {row} has numbers that are not finite; the file is damaged or the model broken: download or convert it again"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The row, from 0.
        row: usize,
    },

    /// A quantised weight whose tensors contradict each other, or that is packed in a way that is not read.
    #[error("tensor {tensor}: {reason}; the model is damaged, or quantised in a way that this build does not run")]
    Packed {
        /// The weight, or one of its tensors.
        tensor: String,
        /// The contradiction.
        reason: String,
    },

    /// Weights of one matrix product whose columns are in different orders.
    #[error(
        "tensors {first} and {second} share their input but have different activation orders (g_idx), which this build does not run; use a model that was quantised without desc_act"
    )]
    DifferentOrders {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },

    /// A weight that a format cannot hold.
    #[error(
        "tensor {tensor} has a weight in row {row} that is too large for {format}; choose f32 or bf16 for it, such as by Options::overrides = {tensor}=bf16"
    )]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// The row, counted from 0.
        row: usize,
        /// The format.
        format: String,
    },

    /// An importance matrix of another model.
    #[error("{}: the importance of {tensor} has {found} values, but its columns are {wanted}; use the importance matrix of this model", .file.display())]
    ImportanceLength {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Values in the file.
        found: usize,
        /// Columns, those of every expert counted.
        wanted: usize,
    },

    /// A file that would be replaced.
    #[error("{}: this file is there already; name another, or replace it with Existing::Replace", .file.display())]
    OutputExists {
        /// The file.
        file: PathBuf,
    },

    /// An output that is an input too.
    #[error("{}: this is one of the files that are read; name another file to write", .file.display())]
    OutputIsInput {
        /// The file.
        file: PathBuf,
    },

    /// No room for a file.
    #[error("{}: the disk is full; {bytes} bytes are needed: make room or name a file on another disk", .file.display())]
    DiskFull {
        /// The file.
        file: PathBuf,
        /// Bytes that it would have.
        bytes: u64,
    },

    /// The caller ended it.
    #[error("cancelled")]
    Cancelled,

    /// A read outside a tensor, or of a tensor that does not exist: a mistake of the caller.
    #[error("bytes {offset} to {end} of tensor {tensor} were asked for, but it has {bytes}")]
    OutsideTensor {
        /// The tensor.
        tensor: String,
        /// First byte.
        offset: u64,
        /// The byte after the last.
        end: u64,
        /// Its bytes.
        bytes: u64,
    },

    /// The tokenizer has ids for which the embedding has no row.
    #[error(
        "the tokenizer has {tokens} tokens but the embedding only {rows} rows; use the tokenizer that belongs to the model"
    )]
    VocabularyTooShort {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },

    /// A tokenizer that cannot be built.
    #[error("{}: tokenizer: {reason}", .file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// Why, and what to do.
        reason: String,
    },

    /// A model without a chat template.
    #[error("{}: it has no chat template; give one of a file (Template::from_file)", .path.display())]
    NoTemplate {
        /// The model.
        path: PathBuf,
    },

    /// A chat template that cannot be read, or that fails.
    #[error("{}: chat template{template}{}: {reason}", .file.display(), .line.map_or(String::new(), |line| format!(", line {line}")))]
    Template {
        /// The file with the template.
        file: PathBuf,
        /// A space and its name, where it is one of several.
        template: String,
        /// The line where it failed.
        line: Option<usize>,
        /// Why, and what to do.
        reason: String,
    },

    /// A text that the tokenizer cannot encode.
    #[error("the text cannot be tokenized: {reason}")]
    Encode {
        /// What the tokenizer said.
        reason: String,
    },

    /// A synthetic model that nobody has described.
    #[error("unknown synthetic model {name:?}; write SHAPE:FORMAT, SHAPE one of {shapes}, FORMAT one of {formats}")]
    UnknownSynthetic {
        /// What was given.
        name: String,
        /// The shapes.
        shapes: String,
        /// The formats.
        formats: String,
    },

    /// A synthetic model whose rows the blocks of its format do not divide.
    #[error(
        "synthetic model {name}: rows of {width} elements are not whole blocks of {block_elements}; choose another format"
    )]
    UnevenSynthetic {
        /// What was given.
        name: String,
        /// Elements of a row.
        width: usize,
        /// Elements of a block.
        block_elements: usize,
    },
}

impl Error {
    /// An error of the operating system about a file.
    pub(crate) fn io(file: &Path, source: io::Error) -> Error {
        Error::Io { file: file.into(), source }
    }

    /// A contradiction in a file.
    pub(crate) fn malformed(file: &Path, reason: impl Into<String>) -> Error {
        Error::Malformed { file: file.into(), reason: reason.into() }
    }

    /// A reason why a tokenizer cannot be built.
    pub(crate) fn tokenizer(file: &Path, reason: impl ToString) -> Error {
        Error::Tokenizer { file: file.into(), reason: reason.to_string() }
    }
}
