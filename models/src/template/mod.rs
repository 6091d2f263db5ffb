//! Chat templates: a conversation to the text that a model was trained on, in the settings of transformers' `apply_chat_template`.
//!
//! A template is a program from a file, so it runs with limits: on its steps, on its depth, and on what it writes.
//! One that fails is an error with its line; there is no other format to fall back on.

mod environment;
mod python;
mod sources;
pub mod thinking;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, context};
use serde_json::{Map, Value, json};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::file::File;

use self::environment::Output;
use self::sources::TemplateSource;

/// The longest template that is read from a file, in bytes.
const LIMIT: u64 = 4 << 20;

/// The template of ordinary conversations, and the one for conversations with tools where a model has two.
pub(crate) const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// What every template is given under names of their own, besides the special tokens and the variables.
pub const GIVEN: [&str; 5] = ["messages", "tools", "documents", "add_generation_prompt", "strftime_now"];

/// Steps that a template may take, and so many more for each message and tool. The longest of the data pack takes
/// about 300 for a message. What can be nested in this many steps fits the stack below.
const STEPS: u64 = 250_000;
const STEPS_EACH: u64 = 5_000;

/// The stack of the thread in which a template runs: values that it nests are compared, printed and dropped in depth.
const STACK: usize = 256 << 20;

/// The chat template of a model.
#[derive(Debug)]
pub struct Template {
    sources: Vec<TemplateSource>,
    /// `bos_token` and the others, by the names under which templates know them.
    tokens: Map<String, Value>,
    environment: Environment<'static>,
}

/// What a template is given besides the messages.
#[derive(Debug, Clone)]
pub struct RenderOptions {
    /// Whether the text ends with the beginning of an answer.
    pub generation_prompt: bool,
    /// Tools that the model may call, as JSON schemas.
    pub tools: Option<Vec<Value>>,
    /// Documents that the model may quote.
    pub documents: Option<Vec<Value>>,
    /// Further variables, such as `enable_thinking`, under other names than [`GIVEN`].
    pub variables: Map<String, Value>,
    /// The time that `strftime_now` tells; the local time where there is none.
    pub now: Option<NaiveDateTime>,
}

impl Default for RenderOptions {
    fn default() -> RenderOptions {
        RenderOptions { generation_prompt: true, tools: None, documents: None, variables: Map::new(), now: None }
    }
}

/// The templates of a directory, by their names.
pub(crate) fn in_directory(directory: &Path) -> Result<Vec<(String, String)>> {
    Ok(sources::in_directory(directory)?.into_iter().map(|source| (source.name, source.text)).collect())
}

/// A message that is a text.
pub fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

impl Template {
    /// The template that a model brings.
    pub fn of(checkpoint: &Checkpoint) -> Result<Template> {
        let sources = sources::of(checkpoint)?;
        if sources.is_empty() {
            return Err(Error::NoTemplate { path: checkpoint.path().into() });
        }
        Template::compile(sources, sources::tokens(checkpoint)?)
    }

    /// The template in a file, with the special tokens of a model.
    pub fn from_file(path: &Path, checkpoint: &Checkpoint) -> Result<Template> {
        if path.exists() && !path.is_file() {
            let source = TemplateSource::default(path, String::new());
            return Err(source.failed(None, "this is no file; name one that holds a Jinja template".into()));
        }
        let text = File::open(path)?.read_text(LIMIT)?;
        Template::compile(vec![TemplateSource::default(path, text)], sources::tokens(checkpoint)?)
    }

    /// A template that is text; `file` is named in errors, and `tokens` are variables such as `bos_token`.
    pub fn from_text(file: impl Into<PathBuf>, text: String, tokens: Map<String, Value>) -> Result<Template> {
        Template::compile(vec![TemplateSource::default(&file.into(), text)], tokens)
    }

    fn compile(sources: Vec<TemplateSource>, tokens: Map<String, Value>) -> Result<Template> {
        let mut environment = environment::new();
        for source in &sources {
            let text = environment::without_generation_blocks(&source.text).into_owned();
            let added = environment.add_template_owned(source.name.clone(), text);
            added.map_err(|error| source.error(&error, "correct it, or give another one (Template::from_file)"))?;
        }
        Ok(Template { sources, tokens, environment })
    }

    /// The file of the template for ordinary conversations.
    pub fn file(&self) -> &Path {
        &self.choose(&RenderOptions::default()).file
    }

    /// The source of the template for ordinary conversations.
    pub fn source(&self) -> &str {
        &self.choose(&RenderOptions::default()).text
    }

    /// The text of a conversation: each message an object with `role` and `content`.
    ///
    /// It holds all special tokens, so encode it with
    /// [`EncodeOptions::RENDERED`](crate::tokenizer::EncodeOptions::RENDERED), which adds no second BOS.
    pub fn render(&self, messages: &[Value], options: &RenderOptions) -> Result<String> {
        // Whatever a template does to the stack happens to a stack of its own.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("chat template".into()).stack_size(STACK);
            let run = thread.spawn_scoped(scope, || self.render_here(messages, options));
            let source = self.choose(options);
            let run = run.map_err(|error| Error::io(&source.file, error))?;
            run.join().unwrap_or_else(|_| Err(source.failed(None, "the template engine failed; report it".into())))
        })
    }

    fn render_here(&self, messages: &[Value], options: &RenderOptions) -> Result<String> {
        let source = self.choose(options);
        let now = options.now;
        let known = context! {
            messages => minijinja::Value::from(Serde(messages)),
            tools => minijinja::Value::from(Serde(&options.tools)),
            documents => minijinja::Value::from(Serde(&options.documents)),
            add_generation_prompt => options.generation_prompt,
            strftime_now => minijinja::Value::from_function(move |format: Cow<'_, str>| python::strftime(now, &format)),
        };
        let tokens = minijinja::Value::from(Serde(&self.tokens));
        let variables = minijinja::Value::from(Serde(&options.variables));
        let mut environment = self.environment.clone();
        let things = messages.len() + options.tools.as_ref().map_or(0, Vec::len);
        environment.set_fuel(Some(STEPS.saturating_add(STEPS_EACH.saturating_mul(things as u64))));
        let failed = |error: minijinja::Error| match error.kind() {
            ErrorKind::OutOfFuel => {
                source.failed(error.line(), "it does not come to an end; give another one (Template::from_file)".into())
            }
            _ => source.error(&error, "change the messages, or give another template (Template::from_file)"),
        };
        let template = environment.get_template(&source.name).map_err(failed)?;
        let mut output = Output::default();
        template.render_captured_to(context! { ..variables, ..known, ..tokens }, &mut output).map_err(failed)?;
        String::from_utf8(output.bytes).map_err(|error| source.failed(None, error.to_string()))
    }

    /// The source that renders a conversation: that for tools where there are any, as transformers chooses.
    fn choose(&self, options: &RenderOptions) -> &TemplateSource {
        let named = |name: &str| self.sources.iter().find(|source| source.name == name);
        let tools = options.tools.as_ref().and_then(|_| named(TOOL_USE));
        tools.or_else(|| named(DEFAULT)).unwrap_or(&self.sources[0])
    }
}
