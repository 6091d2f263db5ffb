//! What is written: whole or not at all, over nothing that is read, and over nothing at all unless that was asked for.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use plywood_models::output::{Existing, NewFile, check, partial_path};
use plywood_models::{Checkpoint, Error, Result};

fn check_message(result: Result<()>, words: &[&str]) {
    let message = result.expect_err("it is refused").to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}

/// Writes a file as commands do.
fn write(output: &Path, existing: Existing) -> std::io::Result<()> {
    let mut file = NewFile::create(output, existing)?;
    file.write_all(b"after")?;
    file.close()?.put_in_place()
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn nothing_that_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("below")).unwrap();
    fs::write(path("input"), "before").unwrap();
    fs::write(path("other.partial"), "before").unwrap();
    let mut same = vec![path("input"), path("below/../input"), path("./below/.././input")];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../input", path("below/link")).unwrap();
        std::os::unix::fs::symlink("below/link", path("link")).unwrap();
        fs::hard_link(path("input"), path("hard")).unwrap();
        same.extend([path("below/link"), path("link"), path("hard")]);
    }
    let inputs = [path("nothing"), path("below/../input"), path("other.partial")];
    for output in same {
        check_message(check(&output, Existing::Replace, &inputs), &[output.to_str().unwrap(), "name another"]);
    }
    // The name under which a file is written until it is whole.
    check_message(check(&path("other"), Existing::Replace, &inputs), &["other.partial", "name another"]);
    check(&path("new"), Existing::Keep, &inputs).unwrap();
    check_message(check(&path("below"), Existing::Replace, &inputs), &["below", "directory"]);
}

/// What a directory is read from is not replaced, and what else lies in it may be.
#[test]
fn the_files_of_a_directory() {
    let family = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families/qwen3");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(family.join(name), path(name)).unwrap();
    }
    fs::create_dir(path("additional_chat_templates")).unwrap();
    for name in ["chat_template.jinja", "additional_chat_templates/tool_use.jinja", "mine.gguf", "logits.safetensors"] {
        fs::write(path(name), "something").unwrap();
    }
    let inputs = Checkpoint::open(folder.path()).unwrap().inputs();
    let refused =
        |name: &str| matches!(check(&path(name), Existing::Replace, &inputs), Err(Error::OutputIsInput { .. }));
    let read = ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"];
    assert!(read.into_iter().all(refused) && refused("additional_chat_templates/tool_use.jinja"));
    assert!(!refused("mine.gguf") && !refused("logits.safetensors") && !refused("new.json"));
    // What is built in has no file, even where there is one of its name.
    #[cfg(feature = "demo")]
    assert!(Checkpoint::open("demo").unwrap().inputs().is_empty());
}

#[test]
fn whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let content = || fs::read_to_string(&path).unwrap();
    write(&path, Existing::Keep).unwrap();
    check_message(check(&path, Existing::Keep, &[]), &["file", "Existing::Replace"]);
    fs::write(&path, "before").unwrap();
    check(&path, Existing::Replace, &[]).unwrap();
    // Neither what is dropped half written nor what is whole and not put in its place.
    let mut half = NewFile::create(&path, Existing::Replace).unwrap();
    half.write_all(b"half").unwrap();
    assert!(NewFile::create(&path, Existing::Replace).unwrap_err().to_string().contains("another process"));
    drop(half);
    let whole = NewFile::create(&path, Existing::Replace).unwrap().close().unwrap();
    assert_eq!(whole.path(), partial_path(&path));
    drop(whole);
    assert_eq!((content().as_str(), names(folder.path())), ("before", vec!["file".to_string()]));
    // What came meanwhile stays.
    fs::remove_file(&path).unwrap();
    let late = NewFile::create(&path, Existing::Keep).unwrap();
    fs::write(&path, "meanwhile").unwrap();
    assert!(late.close().unwrap().put_in_place().is_err());
    assert_eq!((content().as_str(), names(folder.path())), ("meanwhile", vec!["file".to_string()]));
    write(&path, Existing::Replace).unwrap();
    assert_eq!((content().as_str(), names(folder.path())), ("after", vec!["file".to_string()]));
}

#[cfg(unix)]
#[test]
fn links_and_devices() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (link, target) = (folder.path().join("link"), elsewhere.path().join("target"));
    fs::write(&target, "before").unwrap();
    symlink(&target, &link).unwrap();
    check_message(check(&link, Existing::Keep, &[]), &["link", "Existing::Replace"]);
    // What a link leads to is replaced, and written where that lies, so that it is on the same disk.
    assert_eq!(partial_path(&link), target.with_extension("partial"));
    write(&link, Existing::Replace).unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), "after");
    // A link in the way of the file that is not whole yet: what it leads to stays.
    symlink(&target, folder.path().join("new.partial")).unwrap();
    let message = write(&folder.path().join("new"), Existing::Keep).unwrap_err().to_string();
    assert!(message.contains("new.partial is a link"), "{message}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "after");
    check(Path::new("/dev/null"), Existing::Keep, &[PathBuf::from("/dev/null")]).unwrap();
    write(Path::new("/dev/null"), Existing::Keep).unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}
