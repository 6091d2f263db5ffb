//! Reads the header of a GGUF file from front to back through a buffer, within limits.

use crate::error::{Error, Result};
use crate::file::File;

/// The longest header that is read, in bytes: a vocabulary of 262,144 tokens with its merges has 20 MB.
const HEADER_LIMIT: u64 = 128 << 20;

/// Bytes fetched from the file at once.
const BUFFER_BYTES: u64 = 256 << 10;

/// A place in a file's header.
pub(super) struct Cursor<'a> {
    file: &'a File,
    /// The end of the file or of what is read of it.
    end: u64,
    /// What was fetched, and how much of it was taken.
    buffer: Vec<u8>,
    taken: usize,
    /// The offset in the file of the end of the buffer.
    fetched: u64,
}

impl<'a> Cursor<'a> {
    /// The front of a file.
    pub fn new(file: &'a File) -> Cursor<'a> {
        Cursor { file, end: file.length().min(HEADER_LIMIT), buffer: Vec::new(), taken: 0, fetched: 0 }
    }

    /// The offset of the next byte.
    pub fn position(&self) -> u64 {
        self.fetched - (self.buffer.len() - self.taken) as u64
    }

    /// An error about what is here.
    pub fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::malformed(self.file.path(), reason)
    }

    /// Checks that `count` things of at least `bytes` each can follow, before anything is made for them.
    pub fn check_count(&self, what: &str, count: u64, bytes: u64) -> Result<usize> {
        let room = self.end - self.position();
        match count.checked_mul(bytes).filter(|wanted| *wanted <= room) {
            Some(_) => Ok(count as usize),
            None => Err(self.beyond(&format!("{count} {what}"), room)),
        }
    }

    /// The next bytes.
    pub fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// The next string: its length, then UTF-8.
    pub fn string(&mut self) -> Result<String> {
        let claimed = self.u64()?;
        let length = self.check_count("bytes of a string", claimed, 1)?;
        let mut bytes = vec![0; length];
        self.read(&mut bytes)?;
        String::from_utf8(bytes).map_err(|error| self.malformed(format!("a string is not UTF-8: {error}")))
    }

    fn read(&mut self, mut into: &mut [u8]) -> Result<()> {
        let room = self.end - self.position();
        if into.len() as u64 > room {
            return Err(self.beyond(&format!("{} bytes", into.len()), room));
        }
        while !into.is_empty() {
            if self.taken == self.buffer.len() {
                self.buffer.resize((self.end - self.fetched).min(BUFFER_BYTES) as usize, 0);
                self.file.read(self.fetched, &mut self.buffer)?;
                self.fetched += self.buffer.len() as u64;
                self.taken = 0;
            }
            let count = into.len().min(self.buffer.len() - self.taken);
            into[..count].copy_from_slice(&self.buffer[self.taken..self.taken + count]);
            self.taken += count;
            into = &mut into[count..];
        }
        Ok(())
    }

    fn beyond(&self, what: &str, room: u64) -> Error {
        let position = self.position();
        if self.end == HEADER_LIMIT {
            return self
                .malformed(format!("{what} at byte {position} pass the limit of {HEADER_LIMIT} bytes for a header"));
        }
        self.malformed(format!("{what} are announced at byte {position}, where the file has only {room} bytes left"))
    }
}
