//! `ply logits`: the logits of a prompt, to a safetensors file.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use plywood::kernels::graph::Output;
use plywood::models::Checkpoint;
use plywood::models::output::{self, partial_path};
use plywood::{Model, Rows};
use serde::Serialize;

use crate::options::{DeviceArguments, ForceArgument, PromptArguments};
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
    force: ForceArgument,
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
    let options = arguments.device.options().step_rows(STEP_ROWS);
    let checkpoint = Checkpoint::open(&arguments.model)?;
    let (existing, mut inputs) = (arguments.force.existing(), checkpoint.inputs());
    inputs.extend(arguments.prompt.file);
    // Before anything is computed in vain.
    output::check(&arguments.out, existing, &inputs)?;
    let model = arguments.device.announce(Model::of(checkpoint, options)?)?;
    let mut session = model.session()?;
    let tokens = match prompt {
        Some(prompt) => session.encode(&prompt)?,
        None => arguments.tokens,
    };
    let cancel = session.canceller();
    let partial = partial_path(&arguments.out);
    on_interrupt(move || {
        cancel.cancel();
        // Should a second Ctrl-C end the process at once, there is nothing left to clean up.
        _ = std::fs::remove_file(&partial);
    });
    // A cancel counts once the evaluation has begun.
    if interrupted().load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let rows = session.evaluate(&tokens, Rows::All, &[Output::Logits])?;
    let logits: Vec<f32> = rows.into_iter().flat_map(|row| row.logits).collect();
    let vocabulary = model.config().vocabulary;
    let header = header(tokens.len(), vocabulary);
    let written = write_file(&arguments.out, existing, &inputs, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        tokens.iter().try_for_each(|token| file.write_all(&token.to_le_bytes()))?;
        logits.iter().try_for_each(|logit| file.write_all(&logit.to_le_bytes()))
    });
    if written.is_err() && interrupted().load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    written?;
    if arguments.json {
        print_json(&Report { tokens: tokens.len(), vocabulary, out: arguments.out.display().to_string() })?;
    } else if !arguments.device.quiet {
        note(&format!("{} rows of {vocabulary} logits in {}", tokens.len(), arguments.out.display()));
    }
    Ok(())
}

/// The header of a safetensors file.
fn header(tokens: usize, vocabulary: usize) -> String {
    let (begin, end) = (tokens * 4, tokens * 4 + tokens * vocabulary * 4);
    let header = serde_json::json!({
        "tokens": {"dtype": "I32", "shape": [tokens], "data_offsets": [0, begin]},
        "logits": {"dtype": "F32", "shape": [tokens, vocabulary], "data_offsets": [begin, end]},
    });
    let mut header = header.to_string();
    // The tensors begin at a multiple of 8.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    header
}
