//! Broken files and misuse of the library: an error that names the thing, never a panic, never a hang.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plywood::{Error, Model, Options};
use plywood_kernels::random::Random;
use plywood_tests::{adapters, exact, expected_stories, greedy, none_wrong, on_host, stories, wrong_story};
use tempfile::TempDir;

/// Far more than opening a small model takes.
const LIMIT: Duration = Duration::from_secs(30);

/// A folder with a copy of the f32 file; `None` without test data.
fn copy() -> Option<(TempDir, PathBuf, Vec<u8>)> {
    let bytes = fs::read(stories("stories260k-f32.gguf")?).expect("the file is there");
    let directory = tempfile::tempdir().expect("a temporary folder");
    let path = directory.path().join("broken.gguf");
    fs::write(&path, &bytes).expect("there is room for it");
    Some((directory, path, bytes))
}

/// What is wrong with how a model is refused: it must be, soon, with these words.
fn refused(path: &Path, options: Options, what: &str, says: &[&str]) -> Option<String> {
    let begin = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| Model::open(path, options)));
    let message = match outcome {
        Ok(Ok(_)) => return Some(format!("{what}: it opened")),
        Err(_) => return Some(format!("{what}: it panicked")),
        Ok(Err(error)) => error.to_string(),
    };
    let missing: Vec<&&str> = says.iter().filter(|word| !message.contains(**word)).collect();
    let slow = begin.elapsed() > LIMIT;
    (slow || !missing.is_empty()).then(|| format!("{what}: {missing:?} missing in {message:?}, {:?}", begin.elapsed()))
}

/// Where a name's bytes end in a file.
fn after(bytes: &[u8], name: &str) -> usize {
    let found = bytes.windows(name.len()).position(|window| window == name.as_bytes());
    found.unwrap_or_else(|| panic!("{name} is in the file")) + name.len()
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// A change of the file that keeps its length.
enum Change {
    /// The u32 (or the bits of an f32) of a metadata key.
    Setting(&'static str, u32),
    /// A name by another of its length.
    Name(&'static str, &'static str),
    /// The dimensions of a matrix, the fastest first.
    Shape(&'static str, [u64; 2]),
    /// The type of a matrix.
    Type(&'static str, u32),
    /// Where a matrix begins.
    Offset(&'static str, u64),
}

impl Change {
    fn apply(&self, bytes: &mut [u8]) {
        match self {
            Change::Setting(key, value) => put(bytes, after(bytes, key) + 4, &value.to_le_bytes()),
            Change::Name(from, to) => put(bytes, after(bytes, from) - from.len(), to.as_bytes()),
            Change::Shape(name, [columns, rows]) => {
                let at = after(bytes, name) + 4;
                put(bytes, at, &columns.to_le_bytes());
                put(bytes, at + 8, &rows.to_le_bytes());
            }
            Change::Type(name, id) => put(bytes, after(bytes, name) + 20, &id.to_le_bytes()),
            Change::Offset(name, offset) => put(bytes, after(bytes, name) + 24, &offset.to_le_bytes()),
        }
    }
}

const QUERY: &str = "blk.2.attn_q.weight";

/// Changes of the file, and what must be said of each.
const CHANGES: &[(Change, &[&str])] = &[
    (Change::Name("\0\0\0\0llama\x0c", "\0\0\0\0mamba\x0c"), &["broken.gguf", "mamba", "llama"]),
    (Change::Name(QUERY, "blk.2.attn_x.weight"), &[QUERY, "missing"]),
    (Change::Name("token_embd.weight", "token_embx.weight"), &["token_embd.weight", "missing"]),
    (Change::Name("output_norm.weight", "output_norx.weight"), &["output_norm.weight", "missing"]),
    (Change::Name("llama.embedding_length", "llama.embedding_lengtx"), &["llama.embedding_length", "missing"]),
    (Change::Shape(QUERY, [32, 128]), &[QUERY, "[128, 32]", "[64, 64]"]),
    (Change::Shape(QUERY, [128, 64]), &[QUERY]),
    (Change::Shape(QUERY, [64, u64::MAX]), &[QUERY]),
    (Change::Shape(QUERY, [0, 64]), &[QUERY]),
    (Change::Shape("token_embd.weight", [64, 511]), &["511"]),
    (Change::Type(QUERY, 9), &[QUERY, "Q8_1"]),
    (Change::Type(QUERY, 99), &[QUERY, "99"]),
    (Change::Offset(QUERY, 1 << 40), &[QUERY, "broken.gguf"]),
    (Change::Offset(QUERY, u64::MAX - 31), &[QUERY, "broken.gguf"]),
    (Change::Offset(QUERY, 7), &[QUERY]),
    (Change::Setting("llama.block_count", 6), &["blk.5", "missing"]),
    (Change::Setting("llama.block_count", 4), &["blk.4"]),
    (Change::Setting("llama.block_count", 0), &["layers is 0"]),
    (Change::Setting("llama.block_count", u32::MAX), &["layers is 4294967295"]),
    (Change::Setting("llama.embedding_length", 128), &["128"]),
    (Change::Setting("llama.embedding_length", 0), &["width is 0"]),
    (Change::Setting("llama.embedding_length", u32::MAX), &[]),
    (Change::Setting("llama.feed_forward_length", 171), &["171"]),
    (Change::Setting("llama.feed_forward_length", u32::MAX), &[]),
    (Change::Setting("llama.attention.head_count", 0), &["llama.attention.head_count"]),
    (Change::Setting("llama.attention.head_count", 7), &[]),
    (Change::Setting("llama.attention.head_count", u32::MAX), &[]),
    (Change::Setting("llama.attention.head_count_kv", 3), &[]),
    (Change::Setting("llama.attention.head_count_kv", 0), &["key/value heads is 0"]),
    (Change::Setting("llama.attention.layer_norm_rms_epsilon", 0x7fc0_0000), &["epsilon is NaN"]),
    (Change::Setting("llama.rope.freq_base", 0), &["RoPE's base is 0"]),
    (Change::Setting("llama.rope.dimension_count", 7), &["RoPE rotates is 7"]),
    (Change::Setting("llama.context_length", 0), &["context length is 0"]),
    (Change::Setting("tokenizer.ggml.bos_token_id", 100_000), &["BOS is 100000", "512"]),
];

#[test]
fn files_that_contradict_themselves() {
    let Some((_directory, path, bytes)) = copy() else { return };
    let check = |(number, (change, says)): (usize, &(Change, &[&str]))| {
        let mut changed = bytes.clone();
        change.apply(&mut changed);
        assert_ne!(changed, bytes, "change {number} changes something");
        fs::write(&path, changed).expect("there is room for it");
        refused(&path, on_host(), &format!("change {number} ({})", says.first().unwrap_or(&"")), says)
    };
    none_wrong(&CHANGES.iter().enumerate().filter_map(check).collect::<Vec<_>>());
}

#[test]
fn files_cut_short() {
    let Some((_directory, path, bytes)) = copy() else { return };
    let check = |length: usize| {
        fs::write(&path, &bytes[..length]).expect("there is room for it");
        refused(&path, on_host(), &format!("{length} bytes"), &["broken.gguf"])
    };
    let lengths = [0, 3, 4, 24, 100, 5000, 13_000, 14_600, 20_000, bytes.len() / 2, bytes.len() - 1];
    none_wrong(&lengths.into_iter().filter_map(check).collect::<Vec<_>>());
}

/// Someone copies over the file, or cancels, while it is loaded.
#[test]
fn what_happens_while_it_loads() {
    let mut wrong = Vec::new();
    for adapter in adapters() {
        let Some((_directory, path, _)) = copy() else { return };
        let cancelled = exact(&[&adapter]).progress(|_, _| false);
        wrong.extend(refused(&path, cancelled, &format!("cancelled on {}", adapter.label()), &["cancelled"]));
        let file = fs::OpenOptions::new().write(true).open(&path).expect("it is ours");
        let cut = move |_, _| {
            file.set_len(20_000).expect("it can be cut");
            true
        };
        let options = exact(&[&adapter]).progress(cut);
        wrong.extend(refused(&path, options, &adapter.label(), &["broken.gguf", "20000 bytes", "cut short"]));
    }
    none_wrong(&wrong);
}

/// Bits flipped under a fixed seed, half of the files in the header: whatever opens also runs, or says why not.
#[test]
fn two_hundred_damaged_files() {
    let Some((_directory, path, bytes)) = copy() else { return };
    let header = after(&bytes, "output_norm.weight") + 24;
    let (mut random, mut wrong, mut refused, mut slowest) = (Random::new(8), Vec::new(), 0, Duration::ZERO);
    for number in 0..200 {
        let mut damaged = bytes.clone();
        let mut flips = Vec::new();
        for _ in 0..1 + random.next() % 4 {
            let end = if number % 2 == 0 { header } else { bytes.len() };
            let (place, bit) = (random.next() as usize % end, random.next() % 8);
            damaged[place] ^= 1 << bit;
            flips.push((place, bit));
        }
        fs::write(&path, damaged).expect("there is room for it");
        let begin = Instant::now();
        let outcome = catch_unwind(|| -> Result<(), Error> {
            let model = Model::open(&path, on_host())?;
            let mut session = model.session()?;
            session.generate("Once", greedy(3))?.try_for_each(|piece| piece.map(drop))
        });
        slowest = slowest.max(begin.elapsed());
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(_)) => refused += 1,
            Err(_) => wrong.push(format!("flips {flips:?}: it panicked")),
        }
        if begin.elapsed() > LIMIT {
            wrong.push(format!("flips {flips:?}: it took {:?}", begin.elapsed()));
        }
    }
    println!("{refused} of 200 refused, the slowest took {slowest:?}");
    none_wrong(&wrong);
    assert!((20..190).contains(&refused), "{refused} of 200 were refused");
}

/// A change to a file of a Hugging Face directory.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

fn rewrite(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("a text");
    assert!(text.contains(from), "{from} is in {}", path.display());
    fs::write(path, text.replace(from, to)).expect("there is room for it");
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("there is room for it");
}

fn cut(path: &Path, bytes: usize) {
    let whole = fs::read(path).expect("the file is there");
    write(path, &whole[..whole.len().min(bytes)]);
}

const DAMAGES: &[Damage] = &[
    ("config.json", |path| write(path, b"{"), &["config.json"]),
    ("config.json", |path| fs::remove_file(path).expect("it is ours"), &["config.json"]),
    ("config.json", |path| rewrite(path, "\"hidden_size\"", "\"hidden_sizx\""), &["config.json", "hidden_size"]),
    ("config.json", |path| rewrite(path, "LlamaForCausalLM", "MambaForCausalLM"), &["config.json", "MambaForCausalLM"]),
    ("config.json", |path| rewrite(path, "\"num_hidden_layers\": 5", "\"num_hidden_layers\": 6"), &["layers.5"]),
    ("config.json", |path| rewrite(path, "\"hidden_size\": 64", "\"hidden_size\": 1e400"), &["config.json"]),
    ("config.json", |path| rewrite(path, "\"hidden_size\": 64", "\"hidden_size\": -64"), &["hidden_size"]),
    ("config.json", |path| write(path, "[".repeat(100_000).as_bytes()), &["config.json"]),
    ("model.safetensors", |path| fs::remove_file(path).expect("it is ours"), &["model.embed_tokens.weight"]),
    ("model.safetensors", |path| cut(path, 0), &["model.safetensors"]),
    ("model.safetensors", |path| cut(path, 7), &["model.safetensors"]),
    ("model.safetensors", |path| cut(path, 1000), &["model.safetensors"]),
    ("model.safetensors", |path| cut(path, 900_000), &["model.safetensors", "cut short"]),
    ("model.safetensors", |path| write(path, &[0xff; 64]), &["model.safetensors"]),
    ("model.safetensors", |path| write(path, b"\x02\0\0\0\0\0\0\0{}"), &["model.embed_tokens.weight", "missing"]),
    (
        "model.safetensors.index.json",
        |path| write(path, b"{\"weight_map\": {\"x\": \"../../etc/passwd\"}}"),
        &["etc/passwd"],
    ),
    (
        "model.safetensors.index.json",
        |path| write(path, b"{\"weight_map\": {\"x\": \"part-1.safetensors\"}}"),
        &["part-1"],
    ),
    ("model.safetensors.index.json", |path| write(path, b"[]"), &["model.safetensors.index.json"]),
    ("tokenizer.json", |path| write(path, b"{}"), &["tokenizer.json"]),
    ("tokenizer.json", |path| cut(path, 5000), &["tokenizer.json"]),
    ("tokenizer.json", |path| fs::remove_file(path).expect("it is ours"), &["tokenizer"]),
];

/// A copy of the Hugging Face directory.
fn directory() -> Option<TempDir> {
    let directory = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(stories("hf")?).expect("a folder") {
        let entry = entry.expect("an entry");
        write(&directory.path().join(entry.file_name()), &fs::read(entry.path()).expect("a file"));
    }
    Some(directory)
}

#[test]
fn directories_that_contradict_themselves() {
    let check = |(number, (file, damage, says)): (usize, &Damage)| {
        let directory = directory()?;
        let path = directory.path().join(file);
        // An index is read where the single file is not there.
        if file.ends_with("index.json") {
            fs::remove_file(directory.path().join("model.safetensors")).expect("it is ours");
        }
        damage(&path);
        refused(directory.path(), on_host(), &format!("damage {number} of {file}"), says)
    };
    none_wrong(&DAMAGES.iter().enumerate().filter_map(check).collect::<Vec<_>>());
}

/// Whatever else lies in a directory is not the model's.
#[test]
fn other_files_in_a_directory() {
    let (Some(directory), Some(stories)) = (directory(), expected_stories("greedy_ids.json")) else { return };
    for name in ["consolidated.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin", "x.gguf"] {
        write(&directory.path().join(name), b"not a model");
    }
    let model = Model::open(directory.path(), on_host().exact(true)).expect("the model opens");
    none_wrong(&Vec::from_iter(wrong_story(&model, &stories[1])));
}
