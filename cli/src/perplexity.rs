//! `ply perplexity`: how well a model predicts a text, and what a quantisation costs against a reference.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::Args;
use plywood::models::tokenizer::{EncodeOptions, Tokenizer};
use plywood::models::{Checkpoint, Config};
use plywood::tools::perplexity::{Score, Scoring, score};
use plywood::{Context, Model};
use serde::Serialize;

use crate::options::{DeviceArguments, read_text};
use crate::output::{Failure, Outcome, counting_bar, interrupted, print, print_json};

/// Tokens of a window where no --context is given, as llama.cpp's tool has it.
const WINDOW: usize = 512;

/// Rows of logits in a step.
const STEP_ROWS: usize = 64;

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// A .gguf file (the first of a split set), a Hugging Face directory, or `demo`
    model: PathBuf,
    /// The text to score
    file: PathBuf,
    /// Score every token after BOS in one sequence, rather than the second half of each window of --context tokens [default: 512]
    #[arg(long)]
    all: bool,
    /// Only the first tokens of the text
    #[arg(long, value_name = "TOKENS")]
    first: Option<usize>,
    /// A reference model of the same vocabulary: report the mean KL divergence from it and the share of equal top tokens
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArguments,
    /// A JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    scoring: Scoring,
    context: usize,
    #[serde(flatten)]
    score: Score,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Outcome {
    let text = read_text(&arguments.file)?;
    let checkpoint = Checkpoint::open(&arguments.model)?;
    let (tokenizer, longest) = (Tokenizer::of(&checkpoint)?, Config::of(&checkpoint)?.context);
    let mut tokens = tokenizer.encode(&text, EncodeOptions { special: false, bos: false })?;
    tokens.truncate(arguments.first.unwrap_or(tokens.len()));
    let scoring = if arguments.all { Scoring::All } else { Scoring::Windows };
    if arguments.all && tokens.len() >= longest {
        let (tokens, most) = (tokens.len(), longest - 1);
        return Err(Failure::Usage(format!(
            "--all: the text has {tokens} tokens and one sequence {most}; add --first {most}"
        )));
    }
    // One sequence needs room for BOS and all; windows are as long as the context.
    let context = match (arguments.device.context, scoring) {
        (Some(context), _) => context,
        (None, Scoring::All) => Context::Tokens(tokens.len() + 1),
        (None, Scoring::Windows) => Context::Tokens(WINDOW.min(longest)),
    };
    let open = |checkpoint: Checkpoint| -> Outcome<Model> {
        let options = arguments.device.options().context(context).step_rows(STEP_ROWS);
        arguments.device.announce(Model::of(checkpoint, options)?)
    };
    let model = open(checkpoint)?;
    let reference = arguments.against.as_ref().map(|path| open(Checkpoint::open(path)?)).transpose()?;
    if let Some(reference) = &reference
        && reference.config().vocabulary != model.config().vocabulary
    {
        let (ours, theirs) = (model.config().vocabulary, reference.config().vocabulary);
        return Err(Failure::Work(format!("--against: its vocabulary has {theirs} tokens and the model's {ours}")));
    }
    let pressed = interrupted();
    let bar = counting_bar(arguments.device.quiet, 0);
    bar.set_message("scoring");
    let score = score(&model, reference.as_ref(), &tokens, scoring, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        !pressed.load(Ordering::Relaxed)
    })?;
    bar.finish_and_clear();
    if arguments.json {
        return print_json(&Report { scoring, context: model.context(), score });
    }
    print(&describe(scoring, model.context(), &score))
}

fn describe(scoring: Scoring, context: usize, score: &Score) -> String {
    let how = match scoring {
        Scoring::Windows => format!("the second half of each window of {context}"),
        Scoring::All => "every token after BOS".into(),
    };
    let Score { tokens, nll, perplexity, against } = score;
    let mut text = format!("perplexity {perplexity:.4}, {nll:.6} nats per token, over {tokens} tokens ({how})\n");
    if let Some(against) = against {
        let share = against.same_top * 100.0;
        text += &format!("KL divergence {:.6} nats per token, the same top token before {share:.2}%\n", against.kl);
    }
    text
}
