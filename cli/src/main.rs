//! The `ply` command: one file per subcommand, no logic that an app could not reach through `plywood`.

mod adapters;
mod bench;
mod chat;
mod environment;
mod flags;
mod generate;
mod inspect;
mod logits;
mod options;
mod output;
mod perplexity;
mod plan;
mod quantize;
mod selftest;
mod template;
mod tokenize;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::Failure;

/// Runs language models on any GPU that Vulkan, Metal or DX12 reaches, without CUDA.
#[derive(Parser)]
#[command(name = "ply", version, propagate_version = true, args_override_self = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate text after a prompt
    Generate(generate::Arguments),
    /// Hold a conversation, by the model's own chat template
    Chat(chat::Arguments),
    /// List the devices that there are
    Adapters(adapters::Arguments),
    /// Show what a model file holds
    Inspect(inspect::Arguments),
    /// Show where a model would lie and how fast it should go, on this machine or on others, without loading it
    Plan(plan::Arguments),
    /// Show the ids of a text, or the text of ids
    Tokenize(tokenize::Arguments),
    /// Show the chat template, or what it makes of messages
    Template(template::Arguments),
    /// Write the logits of a prompt to a safetensors file
    Logits(logits::Arguments),
    /// Score a text: mean negative log-likelihood and perplexity
    Perplexity(perplexity::Arguments),
    /// Write a GGUF file of a model, its weights in fewer bits
    Quantize(quantize::Arguments),
    /// Measure prompt processing and generation, in tokens per second
    Bench(bench::Arguments),
    /// Run every kernel on every device against the reference
    Selftest(selftest::Arguments),
}

fn main() -> ExitCode {
    environment::prepare();
    let outcome = match Arguments::parse().command {
        Command::Generate(arguments) => generate::run(arguments),
        Command::Chat(arguments) => chat::run(arguments),
        Command::Adapters(arguments) => adapters::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Tokenize(arguments) => tokenize::run(&arguments),
        Command::Template(arguments) => template::run(&arguments),
        Command::Logits(arguments) => logits::run(arguments),
        Command::Perplexity(arguments) => perplexity::run(arguments),
        Command::Quantize(arguments) => quantize::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Selftest(arguments) => selftest::run(&arguments),
    };
    outcome.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
