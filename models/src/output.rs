//! Files that are written: whole or not at all, and never over what is read.

use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Bytes that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// What to do with a file that lies in the place of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Keep,
    /// Replace it, once the new one is whole.
    Replace,
}

/// Where a file is written until it is whole: beside it, or beside what it links to.
pub fn partial_path(output: &Path) -> PathBuf {
    let mut path = target(output).into_os_string();
    path.push(".partial");
    path.into()
}

/// Checks that a file may be written: it is no directory, none of the files that are read, whatever its path, and it is not there yet
/// unless it may be replaced. What is no ordinary file (a device, a pipe) may be written.
pub fn check(output: &Path, existing: Existing, inputs: &[PathBuf]) -> Result<()> {
    for written in [output, &partial_path(output)] {
        if inputs.iter().any(|input| is_same(input, written)) {
            return Err(Error::OutputIsInput { file: written.into() });
        }
    }
    match fs::metadata(output) {
        Ok(facts) if facts.is_dir() => {
            Err(Error::io(output, io::Error::new(ErrorKind::IsADirectory, "this is a directory and no file")))
        }
        Ok(facts) if facts.is_file() && existing == Existing::Keep => Err(Error::OutputExists { file: output.into() }),
        _ => Ok(()),
    }
}

/// Where a link leads; any other path as it is.
fn target(path: &Path) -> PathBuf {
    let target = if path.is_symlink() { path.canonicalize().ok() } else { None };
    target.unwrap_or_else(|| path.into())
}

/// Whether two paths lead to one file, over links or by other spellings.
#[cfg(unix)]
fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| {
        let facts = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some((facts.dev(), facts.ino()))
    };
    identity(one).is_some_and(|found| identity(other) == Some(found))
}

/// Whether two paths lead to one file. A hard link is another: replacing it leaves what the first path leads to.
#[cfg(not(unix))]
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.canonicalize().ok().filter(|path| path.is_file());
    identity(one).is_some_and(|found| identity(other) == Some(found))
}

/// A file that is being written, under the name that [`partial_path`] gives. Dropped, it is gone.
///
/// What is no ordinary file (a device, a pipe) is written as it is.
#[derive(Debug)]
pub struct NewFile {
    out: BufWriter<fs::File>,
    place: Place,
}

/// A file that was written and is not in its place yet. Dropped, it is gone.
#[derive(Debug)]
pub struct WrittenFile(Place);

#[derive(Debug)]
struct Place {
    output: PathBuf,
    existing: Existing,
    /// Removed when this is dropped; none where the output is written as it is.
    partial: Option<PathBuf>,
}

impl NewFile {
    /// Makes an empty file. Call [`check`] first.
    pub fn create(output: &Path, existing: Existing) -> io::Result<NewFile> {
        let is_ordinary = fs::metadata(output).map_or(true, |facts| facts.is_file());
        let partial = is_ordinary.then(|| partial_path(output));
        let file = match &partial {
            Some(partial) => create_alone(partial)?,
            None => fs::OpenOptions::new().write(true).open(output)?,
        };
        let place = Place { output: output.into(), existing, partial };
        Ok(NewFile { out: BufWriter::with_capacity(BUFFER_BYTES, file), place })
    }

    /// Ends writing; all of it is on the disk then.
    pub fn close(self) -> io::Result<WrittenFile> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        if self.place.partial.is_some() {
            file.sync_all()?;
        }
        Ok(WrittenFile(self.place))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl WrittenFile {
    /// Where it can be read until it is in its place.
    pub fn path(&self) -> &Path {
        self.0.partial.as_ref().unwrap_or(&self.0.output)
    }

    /// Puts it in its place.
    pub fn put_in_place(self) -> io::Result<()> {
        let Some(partial) = &self.0.partial else { return Ok(()) };
        if self.0.existing == Existing::Keep && self.0.output.exists() {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "another file came here meanwhile"));
        }
        // A link's target is replaced, not the link.
        fs::rename(partial, target(&self.0.output))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // After renaming it is not there any more.
            _ = fs::remove_file(partial);
        }
    }
}

/// Makes an empty file, unless somebody else is writing it: only what is locked is emptied.
fn create_alone(path: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    // Where a file system has no locks, two may write.
    if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) {
        return Err(io::Error::new(ErrorKind::ResourceBusy, "another process is writing this file"));
    }
    if file.metadata()?.is_file() {
        if path.is_symlink() {
            return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} is a link to a file", path.display())));
        }
        file.set_len(0)?;
    }
    Ok(file)
}
