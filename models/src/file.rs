//! Files read by position from several threads, never mapped: a mapped file that is cut short ends the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file, or bytes built into the program that are read like one.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    length: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Disk(fs::File),
    Memory(&'static [u8]),
}

impl File {
    /// Opens a regular file. Pipes and devices are refused, since they have no length and may block.
    pub fn open(path: &Path) -> Result<File> {
        let kind = fs::metadata(path).map_err(|source| Error::io(path, source))?;
        if !kind.is_file() {
            return Err(Error::NotAModel { path: path.into(), reason: "this is not a regular file".into() });
        }
        let file = fs::File::open(path).map_err(|source| Error::io(path, source))?;
        let length = file.metadata().map_err(|source| Error::io(path, source))?.len();
        Ok(File { path: path.into(), length, content: Content::Disk(file) })
    }

    /// Bytes of the program under a name for messages.
    pub fn in_memory(name: &str, bytes: &'static [u8]) -> File {
        File { path: name.into(), length: bytes.len() as u64, content: Content::Memory(bytes) }
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path, unless it is built into the program.
    pub fn on_disk(&self) -> Option<&Path> {
        matches!(self.content, Content::Disk(_)).then_some(self.path.as_path())
    }

    /// Bytes in it when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Fills the buffer with the bytes from `offset` on; a file that has fewer is [`Error::CutShort`].
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let wanted = offset.saturating_add(buffer.len() as u64);
        let cut_short = |length| Error::CutShort { file: self.path.clone(), wanted, length };
        if wanted > self.length {
            return Err(cut_short(self.length));
        }
        match &self.content {
            Content::Memory(bytes) => buffer.copy_from_slice(&bytes[offset as usize..wanted as usize]),
            Content::Disk(file) => read_at(file, offset, buffer).map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof => cut_short(file.metadata().map_or(0, |now| now.len())),
                _ => Error::io(&self.path, source),
            })?,
        }
        Ok(())
    }

    /// The whole file as text, if it has at most `limit` bytes.
    pub fn read_text(&self, limit: u64) -> Result<String> {
        String::from_utf8(self.read_all(limit)?).map_err(|error| Error::malformed(&self.path, error.to_string()))
    }

    /// The whole file, if it has at most `limit` bytes.
    pub fn read_all(&self, limit: u64) -> Result<Vec<u8>> {
        if self.length > limit {
            let reason = format!("it has {} bytes, but at most {limit} are expected here", self.length);
            return Err(Error::malformed(&self.path, reason));
        }
        let mut bytes = vec![0; self.length as usize];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(unix)]
fn read_at(file: &fs::File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &fs::File, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
