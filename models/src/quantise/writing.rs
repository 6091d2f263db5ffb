//! The file of a plan: written beside its place, checked to be whole, and renamed, or not there at all.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::file::File;
use crate::gguf::{self, Value, writer};
use crate::output::{self, Existing, NewFile};

use super::{Plan, Report};

impl Plan {
    /// Quantises and writes; `progress` is told the bytes of tensors written and of all, and ends it by `false`.
    ///
    /// Until the end the file has the name that [`output::partial_path`] gives. Whatever goes wrong, none is left there, and what
    /// was in the place of the output stays.
    pub fn write(
        &self,
        output: impl AsRef<Path>,
        existing: Existing,
        mut progress: impl FnMut(u64, u64) -> bool,
    ) -> Result<Report> {
        let (output, begin) = (output.as_ref(), Instant::now());
        self.check_output(output, existing)?;
        let header = self.header()?;
        let total: u64 = self.targets.iter().map(|target| target.bytes).sum();
        let padded: u64 = self.targets.iter().map(|target| writer::aligned(target.bytes)).sum();
        let length = writer::aligned(header.len() as u64) + padded;
        let failed = |source: std::io::Error| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::DiskFull { file: output.into(), bytes: length },
            _ => Error::io(output, source),
        };

        let mut out = NewFile::create(output, existing).map_err(failed)?;
        out.write_all(&header).map_err(failed)?;
        writer::pad(&mut out, header.len() as u64).map_err(failed)?;
        let (mut current, mut in_tensor, mut done) = (0, 0, 0);
        self.quantise(|piece, bytes| {
            if piece.tensor != current {
                (current, in_tensor) = (piece.tensor, 0);
            }
            out.write_all(bytes).map_err(failed)?;
            in_tensor += bytes.len() as u64;
            done += bytes.len() as u64;
            if in_tensor == self.targets[current].bytes {
                writer::pad(&mut out, in_tensor).map_err(failed)?;
            }
            if progress(done, total) { Ok(()) } else { Err(Error::Cancelled) }
        })?;
        let written = out.close().map_err(failed)?;
        self.check_written(written.path(), length)?;
        written.put_in_place().map_err(failed)?;

        let input_bytes = self.source.tensors.iter().map(|tensor| tensor.bytes()).sum();
        Ok(Report { input_bytes, output_bytes: length, seconds: begin.elapsed().as_secs_f64() })
    }

    /// Checks that the output may be written where it shall be, and that this destroys nothing that is read.
    pub fn check_output(&self, output: &Path, existing: Existing) -> Result<()> {
        let mut inputs = self.source.checkpoint.inputs();
        inputs.extend(self.importance.as_ref().map(|importance| importance.file.clone()));
        output::check(output, existing, &inputs)?;
        // What was written is read again, which a device or a pipe does not allow.
        match fs::metadata(output) {
            Ok(facts) if !facts.is_file() => {
                let reason = "there is something here that is no file";
                Err(Error::io(output, std::io::Error::new(ErrorKind::AlreadyExists, reason)))
            }
            _ => Ok(()),
        }
    }

    fn header(&self) -> Result<Vec<u8>> {
        // What every file begins with goes first; the rest in the order of keys.
        let (general, others): (Vec<_>, Vec<_>) =
            self.source.metadata.entries.iter().partition(|(key, _)| key.starts_with("general."));
        let metadata: Vec<(&str, &Value)> =
            general.into_iter().chain(others).map(|(key, value)| (key.as_str(), value)).collect();
        let mut tensors = Vec::new();
        for (tensor, target) in self.source.tensors.iter().zip(&self.targets) {
            let type_id = target.format.gguf_id.ok_or_else(|| tensor.not_written(target.format))?;
            tensors.push(writer::Entry { name: &tensor.name, shape: &tensor.shape, type_id, bytes: target.bytes });
        }
        Ok(writer::header(&metadata, &tensors))
    }

    /// Reads the table of what was written: every tensor is there, in its place, and nothing is after the last.
    fn check_written(&self, path: &Path, length: u64) -> Result<()> {
        let file = File::open(path)?;
        if file.length() != length {
            return Err(Error::CutShort { file: path.into(), wanted: length, length: file.length() });
        }
        let (_, _, tensors) = gguf::open(file)?;
        let same = tensors.len() == self.targets.len()
            && tensors.iter().zip(self.targets()).all(|(read, (name, target))| {
                read.name == name
                    && read.format().is_ok_and(|format| format == target.format)
                    && read.bytes == target.bytes
            });
        match same {
            true => Ok(()),
            false => Err(Error::malformed(path, "its table of tensors is not the one that was written")),
        }
    }
}
