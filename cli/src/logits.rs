//! `ply logits`: the logits of a prompt, to a safetensors file.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args;
use plywood::kernels::graph::Want;
use plywood::{Model, Options, Rows};
use serde::Serialize;

use crate::options::{DeviceArguments, PromptArguments};
use crate::output::{Failure, Outcome, interrupted, note, on_interrupt, print_json, write_file};

/// Rows of logits in a step.
const STEP_ROWS: usize = 64;

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// A .gguf file (the first of a split set), a Hugging Face directory, or `demo`
    model: PathBuf,
    #[command(flatten)]
    prompt: PromptArguments,
    /// The tokens to run, instead of a prompt
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["text", "prompt", "file"], value_name = "IDS")]
    tokens: Vec<u32>,
    /// The file to write: tensors `tokens` (i32) and `logits` (f32, [tokens, vocabulary])
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
    /// A JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    tokens: usize,
    vocabulary: usize,
    out: String,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Outcome {
    let prompt = if arguments.tokens.is_empty() { Some(arguments.prompt.read()?) } else { None };
    let options = Options { step_rows: STEP_ROWS, ..arguments.device.options() };
    let model = arguments.device.announce(Model::open(&arguments.model, options)?)?;
    let mut session = model.session()?;
    let tokens = match prompt {
        Some(prompt) => session.encode(&prompt)?,
        None => arguments.tokens,
    };
    let cancel = session.canceller();
    on_interrupt(move || cancel.cancel());
    // A cancel counts once the evaluation has begun.
    if interrupted().load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let rows = session.evaluate(&tokens, Rows::All, &[Want::Logits])?;
    let logits: Vec<f32> = rows.into_iter().flat_map(|row| row.logits).collect();
    let vocabulary = model.config().vocabulary;
    write(&arguments.out, &tokens, &logits, vocabulary)?;
    if arguments.json {
        print_json(&Report { tokens: tokens.len(), vocabulary, out: arguments.out.display().to_string() })?;
    } else if !arguments.device.quiet {
        note(&format!("{} rows of {vocabulary} logits in {}", tokens.len(), arguments.out.display()));
    }
    Ok(())
}

fn write(path: &Path, tokens: &[u32], logits: &[f32], vocabulary: usize) -> Outcome {
    let (count, width) = (tokens.len(), vocabulary);
    let header = serde_json::json!({
        "tokens": {"dtype": "I32", "shape": [count], "data_offsets": [0, count * 4]},
        "logits": {"dtype": "F32", "shape": [count, width], "data_offsets": [count * 4, count * 4 + count * width * 4]},
    });
    let mut header = header.to_string();
    // The tensors begin at a multiple of 8.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    write_file(path, &mut |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        tokens.iter().try_for_each(|token| file.write_all(&token.to_le_bytes()))?;
        logits.iter().try_for_each(|logit| file.write_all(&logit.to_le_bytes()))
    })
}
