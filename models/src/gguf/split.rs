//! Models in several GGUF files, `NAME-00001-of-00003.gguf`: opening the first opens all.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file::File;
use crate::weights::TensorInfo;

use super::{Metadata, read_header};

/// The files of a model, its metadata (that of the first file) and its tensors.
type Opened = (Vec<File>, Metadata, Vec<TensorInfo>);

/// Opens the model that a file begins.
pub(crate) fn open(first: File) -> Result<Opened> {
    let (metadata, tensors) = read_header(&first, 0)?;
    let count = metadata.integer("split.count")?.unwrap_or(1);
    let number = metadata.integer("split.no")?.unwrap_or(0);
    if count <= 1 {
        return Ok((vec![first], metadata, tensors));
    }
    let names = Names::of(first.path(), count)?;
    if number != 0 {
        let reason = format!(
            "this is file {} of a model in {count} files; open the first, {}",
            number + 1,
            names.path(0).display()
        );
        return Err(Error::Shard { file: first.path().into(), reason });
    }
    let mut opened = (vec![first], metadata, tensors);
    for number in 1..count {
        add(&mut opened, &names, number)?;
    }
    check_tensors(&opened)?;
    Ok(opened)
}

/// Opens one of the later files.
fn add(opened: &mut Opened, names: &Names, number: u64) -> Result<()> {
    let path = names.path(number);
    if !path.exists() {
        let reason = format!(
            "file {} of the {} files of this model is missing; put it beside the others",
            number + 1,
            names.count
        );
        return Err(Error::Shard { file: path, reason });
    }
    let file = File::open(&path)?;
    let (metadata, tensors) = read_header(&file, opened.0.len())?;
    let claims = (metadata.integer("split.no")?, metadata.integer("split.count")?);
    if claims != (Some(number), Some(names.count)) {
        let reason = format!(
            "by its name this is file {} of {}, but its metadata say otherwise; download it again",
            number + 1,
            names.count
        );
        return Err(Error::Shard { file: path, reason });
    }
    opened.0.push(file);
    opened.2.extend(tensors);
    Ok(())
}

/// Checks that the tensors of all files are as many as announced and have different names.
fn check_tensors((files, metadata, tensors): &Opened) -> Result<()> {
    let mut names = HashSet::new();
    if let Some(twice) = tensors.iter().find(|tensor| !names.insert(&tensor.name)) {
        let file = files[twice.file].path().into();
        return Err(Error::DuplicateTensor { file, tensor: twice.name.clone() });
    }
    match metadata.integer("split.tensors.count")? {
        Some(count) if count != tensors.len() as u64 => {
            let reason = format!(
                "the model has {count} tensors, but its files hold {}; download all files again",
                tensors.len()
            );
            Err(Error::Shard { file: metadata.file.clone(), reason })
        }
        _ => Ok(()),
    }
}

/// How the files of a model are called.
struct Names {
    stem: PathBuf,
    count: u64,
}

impl Names {
    /// Takes the name of one of the files apart.
    fn of(path: &Path, count: u64) -> Result<Names> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let end = format!("-of-{count:05}.gguf");
        let stem = name.strip_suffix(&end).and_then(|name| name.split_at_checked(name.len().checked_sub(6)?));
        match stem {
            Some((stem, number)) if number.starts_with('-') => Ok(Names { stem: path.with_file_name(stem), count }),
            _ => {
                let reason = format!("this is one of {count} files, and must keep its name, which ends in -00001{end}");
                Err(Error::Shard { file: path.into(), reason })
            }
        }
    }

    /// The path of a file, counted from 0.
    fn path(&self, number: u64) -> PathBuf {
        let mut path = self.stem.clone().into_os_string();
        path.push(format!("-{:05}-of-{:05}.gguf", number + 1, self.count));
        path.into()
    }
}
