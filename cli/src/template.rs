//! `ply template`: a model's chat template, or what it makes of a conversation.

use std::path::{Path, PathBuf};

use clap::Args;
use plywood::models::Checkpoint;
use plywood::models::template::{RenderOptions, message};
use serde::Serialize;
use serde_json::Value;

use crate::options::{TemplateArguments, read_text};
use crate::output::{Failure, Outcome, print, print_json};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// A .gguf file, a Hugging Face directory, one that holds only a vocabulary or a tokenizer, or `demo`
    model: PathBuf,
    /// A message, such as "user:What is the capital of France?"; repeat it for more
    #[arg(short, long, value_name = "ROLE:TEXT", value_parser = role_and_text, conflicts_with = "messages")]
    message: Vec<Value>,
    /// The messages: a JSON list of objects with role and content
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    /// Tools that the model may call: a JSON list of schemas
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// Documents that the model may quote: a JSON list of objects
    #[arg(long, value_name = "FILE")]
    documents: Option<PathBuf>,
    #[command(flatten)]
    template: TemplateArguments,
    /// End after the last message, without the beginning of an answer
    #[arg(long)]
    no_generation_prompt: bool,
    /// A JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Report<'a> {
    Template(&'a str),
    Text(String),
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let given = [
        ("--tools", arguments.tools.is_some()),
        ("--documents", arguments.documents.is_some()),
        ("--set", !arguments.template.variables.is_empty()),
    ];
    if let Some((flag, _)) =
        given.iter().find(|(_, given)| *given && arguments.message.is_empty() && arguments.messages.is_none())
    {
        return Err(Failure::Usage(format!("{flag}: give the conversation too, with --message or --messages")));
    }
    let checkpoint = Checkpoint::open(&arguments.model)?;
    let template = arguments.template.open(&checkpoint)?;
    let list = |path: &Option<PathBuf>| path.as_deref().map(read_list).transpose();
    let messages = list(&arguments.messages)?.unwrap_or_else(|| arguments.message.clone());
    let report = if messages.is_empty() && arguments.messages.is_none() {
        Report::Template(template.source())
    } else {
        let (tools, documents) = (list(&arguments.tools)?, list(&arguments.documents)?);
        let variables = arguments.template.variables();
        let generation_prompt = !arguments.no_generation_prompt;
        Report::Text(template.render(
            &messages,
            &RenderOptions { generation_prompt, tools, documents, variables, ..RenderOptions::default() },
        )?)
    };
    match &report {
        report if arguments.json => print_json(report),
        Report::Template(text) => print(text),
        // Exactly what the model reads, with no line end of ours.
        Report::Text(text) => print(text),
    }
}

/// `user:Hello` as a message.
fn role_and_text(argument: &str) -> Result<Value, String> {
    let (role, text) = argument.split_once(':').ok_or("write ROLE:TEXT, such as \"user:Hello\"")?;
    Ok(message(role.trim(), text))
}

/// A JSON list of objects.
fn read_list(path: &Path) -> Outcome<Vec<Value>> {
    let failed = |reason: String| Failure::Work(format!("{}: {reason}", path.display()));
    let list: Value = serde_json::from_str(&read_text(path)?).map_err(|error| failed(error.to_string()))?;
    match list {
        Value::Array(list) if list.iter().all(Value::is_object) => Ok(list),
        _ => Err(failed(
            "this is no JSON list of objects; write for example [{\"role\": \"user\", \"content\": \"Hello\"}]".into(),
        )),
    }
}
