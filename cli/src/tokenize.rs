//! `ply tokenize`: the ids of a text, or the text of ids.

use std::path::PathBuf;

use clap::Args;
use plywood::models::Checkpoint;
use plywood::models::tokenizer::{EncodeOptions, Tokenizer};
use serde::Serialize;

use crate::options::PromptArguments;
use crate::output::{Failure, Outcome, print, print_json};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// A .gguf file, a Hugging Face directory, one that holds only a vocabulary or a tokenizer, or `demo`
    model: PathBuf,
    #[command(flatten)]
    text: PromptArguments,
    /// The text of these ids, instead of ids of a text
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["text", "prompt", "file", "special", "no_bos"], value_name = "IDS")]
    decode: Vec<u32>,
    /// Take special tokens that the text spells (such as <s>) as such
    #[arg(long)]
    special: bool,
    /// Add no BOS, nor anything else that the model wants around a text
    #[arg(long)]
    no_bos: bool,
    /// A JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    Ids(Vec<u32>),
    Text(String),
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let tokenizer = Tokenizer::of(&Checkpoint::open(&arguments.model)?)?;
    let report = if arguments.decode.is_empty() {
        let options = EncodeOptions { special: arguments.special, bos: !arguments.no_bos };
        Report::Ids(tokenizer.encode(&arguments.text.read()?, options)?)
    } else {
        if let Some(unknown) = arguments.decode.iter().find(|id| **id as usize >= tokenizer.len()) {
            return Err(Failure::Usage(format!("--decode: {unknown} is not in the vocabulary of {}", tokenizer.len())));
        }
        Report::Text(tokenizer.decode(&arguments.decode))
    };
    match report {
        report if arguments.json => print_json(&report),
        Report::Ids(ids) => print(&(ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ") + "\n")),
        Report::Text(text) => print(&(text + "\n")),
    }
}
