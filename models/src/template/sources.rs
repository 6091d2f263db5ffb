//! Where a model keeps its chat templates and the special tokens that they name.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::checkpoint::{Checkpoint, Settings};
use crate::error::{Error, Result};
use crate::file::File;
use crate::gguf::Metadata;
use crate::json::Json;
use crate::tokenizer::MARKS;

use super::{DEFAULT, LIMIT};

/// The key of a GGUF file's template; named ones follow a dot.
const KEY: &str = "tokenizer.chat_template";

/// A directory's files, and the folder of named templates that newer directories have.
const FILE: &str = "chat_template.jinja";
const FOLDER: &str = "additional_chat_templates";

/// A template and where it is from.
#[derive(Debug)]
pub struct TemplateSource {
    /// Its name among a model's templates.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// What it says.
    pub text: String,
}

impl TemplateSource {
    /// The only template of a file.
    pub fn default(file: &Path, text: String) -> TemplateSource {
        TemplateSource { name: DEFAULT.into(), file: file.into(), text }
    }

    /// An error of this template.
    pub fn failed(&self, line: Option<usize>, reason: String) -> Error {
        let template = if self.name == DEFAULT { String::new() } else { format!(" {:?}", self.name) };
        Error::Template { file: self.file.clone(), template, line, reason }
    }

    /// The engine's error, with what to do.
    pub fn error(&self, error: &minijinja::Error, advice: &str) -> Error {
        let mut reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            reason = format!("{reason}: {inner}");
            cause = inner.source();
        }
        self.failed(error.line(), format!("{reason}; {advice}"))
    }
}

/// All templates of a model; none where it has none.
pub fn of(checkpoint: &Checkpoint) -> Result<Vec<TemplateSource>> {
    match checkpoint.settings() {
        Settings::Gguf(metadata) => in_gguf(metadata),
        Settings::HuggingFace { .. } => in_directory(checkpoint.path()),
    }
}

fn in_gguf(metadata: &Metadata) -> Result<Vec<TemplateSource>> {
    let mut sources = Vec::new();
    for key in metadata.entries.keys().filter(|key| key.starts_with(KEY)) {
        let name = match key[KEY.len()..].strip_prefix('.') {
            None if key.len() == KEY.len() => DEFAULT,
            Some(name) => name,
            // `tokenizer.chat_templates` lists the names.
            None => continue,
        };
        if let Some(text) = metadata.text(key)? {
            sources.push(TemplateSource { name: name.into(), file: metadata.file.clone(), text: text.into() });
        }
    }
    Ok(sources)
}

/// The first of: files of their own, `tokenizer_config.json`, and `chat_template.json`, as transformers seeks them.
pub fn in_directory(directory: &Path) -> Result<Vec<TemplateSource>> {
    let file = directory.join(FILE);
    if file.exists() {
        let mut sources = vec![TemplateSource::default(&file, File::open(&file)?.read_text(LIMIT)?)];
        sources.extend(in_folder(&directory.join(FOLDER))?);
        return Ok(sources);
    }
    for name in ["tokenizer_config.json", "chat_template.json"] {
        if let Some(config) = Json::read(&directory.join(name))? {
            let sources = in_json(&config)?;
            if !sources.is_empty() {
                return Ok(sources);
            }
        }
    }
    Ok(Vec::new())
}

fn in_folder(folder: &Path) -> Result<Vec<TemplateSource>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error| Error::io(folder, error);
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if let Some(name) = file.file_stem().and_then(|name| name.to_str())
            && file.extension().is_some_and(|extension| extension == "jinja")
        {
            let text = File::open(&file)?.read_text(LIMIT)?;
            sources.push(TemplateSource { name: name.into(), file: file.clone(), text });
        }
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}

/// The template under `chat_template`, or the list of named ones.
fn in_json(config: &Json) -> Result<Vec<TemplateSource>> {
    let key = "chat_template";
    let source =
        |name: &str, text: &str| TemplateSource { name: name.into(), file: config.file.clone(), text: text.into() };
    let wrong = || config.wrong(key, "something else", "a string, or a list of objects with name and template");
    let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
    match config.get(key) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![source(DEFAULT, text)]),
        Some(Value::Array(list)) => {
            let named = |entry| Some(source(&text(entry, "name")?, &text(entry, "template")?));
            list.iter().map(|entry| named(entry).ok_or_else(wrong)).collect()
        }
        Some(Value::Object(object)) => {
            let named = |(name, text): (&String, &Value)| text.as_str().map(|text| source(name, text));
            object.iter().map(|entry| named(entry).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// The special tokens of a model, by the names under which templates know them.
pub fn tokens(checkpoint: &Checkpoint) -> Result<Map<String, Value>> {
    match checkpoint.settings() {
        Settings::Gguf(metadata) => gguf_tokens(metadata),
        Settings::HuggingFace { .. } => directory_tokens(checkpoint.path()),
    }
}

fn gguf_tokens(metadata: &Metadata) -> Result<Map<String, Value>> {
    let texts = metadata.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    let mut tokens = Map::new();
    for (name, key) in MARKS {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let Some(id) = metadata.integer(&key)? else { continue };
        // An id of nothing, as converters write where there is none, leaves the variable undefined.
        if let Some(text) = usize::try_from(id).ok().and_then(|id| texts.get(id)) {
            tokens.insert(format!("{name}_token"), text.as_str().into());
        }
    }
    Ok(tokens)
}

fn directory_tokens(directory: &Path) -> Result<Map<String, Value>> {
    let mut tokens = Map::new();
    for name in ["tokenizer_config.json", "special_tokens_map.json"] {
        let Some(config) = Json::read(&directory.join(name))? else { continue };
        for (name, _) in MARKS {
            let name = format!("{name}_token");
            if let Some(text) = config.get(&name).and_then(token_text)
                && !tokens.contains_key(&name)
            {
                tokens.insert(name, text);
            }
        }
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            match config.get(key) {
                Some(Value::Array(list)) if !tokens.contains_key(key) => {
                    tokens.insert(key.into(), list.iter().filter_map(token_text).collect());
                }
                // Tokens with names of their own, such as image_token.
                Some(Value::Object(named)) => {
                    tokens.extend(named.iter().filter_map(|(name, token)| Some((name.clone(), token_text(token)?))));
                }
                _ => {}
            }
        }
    }
    Ok(tokens)
}

/// A token is its text, or an object that holds it.
fn token_text(token: &Value) -> Option<Value> {
    let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
    Some(text.into())
}
