//! `ply chat`: a conversation, in a terminal or through a pipe.

mod commands;
mod entry;
mod input;
mod interrupt;
mod screen;

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use plywood::chat::{Chat, ChatOptions, OnFull, TurnReport};
use plywood::models::Checkpoint;
use plywood::{Error, Model, Request, Sampling, StopReason};

use self::commands::{Next, load, obey};
use self::entry::Entry;
use self::input::Input;
use self::interrupt::Interrupt;
use self::screen::Screen;
use crate::options::{DeviceArguments, SamplingArguments, TemplateArguments};
use crate::output::{Failure, Outcome, interrupted, note};

/// What the command takes.
#[derive(Args)]
pub struct Arguments {
    /// A .gguf file (the first of a split set), a Hugging Face directory, or `demo`
    model: PathBuf,
    /// What the model is told before all messages
    #[arg(long, visible_alias = "system-prompt", value_name = "TEXT")]
    system: Option<String>,
    /// Go on with a conversation that /save wrote
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    #[command(flatten)]
    template: TemplateArguments,
    /// Show answers only
    #[arg(long)]
    hide_thinking: bool,
    /// What happens when the context is full
    #[arg(long, default_value = "stop", value_name = "WHAT")]
    on_full: OnFullArgument,
    /// The most tokens of an answer [default: as many as the context holds]
    #[arg(short = 'n', long, visible_aliases = ["n-predict", "predict"], value_name = "TOKENS")]
    max_tokens: Option<usize>,
    #[command(flatten)]
    sampling: SamplingArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

/// What happens when the context is full, on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum OnFullArgument {
    /// The answer ends, and you are told
    Stop,
    /// The oldest turns are forgotten, and you are told how many
    Shift,
}

impl From<OnFullArgument> for OnFull {
    fn from(argument: OnFullArgument) -> OnFull {
        match argument {
            OnFullArgument::Stop => OnFull::Stop,
            OnFullArgument::Shift => OnFull::Shift,
        }
    }
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Outcome {
    // What is wrong with the flags, and what the model lacks, is told before its weights are loaded.
    arguments.sampling.sampling(Sampling::default()).check()?;
    let checkpoint = Checkpoint::open(&arguments.model)?;
    let template = arguments.template.open(&checkpoint)?;
    let mut inputs = checkpoint.inputs();
    inputs.extend(arguments.template.template.clone());
    let mut conversation = arguments.load.as_deref().map(load).transpose()?.unwrap_or_default();
    conversation.system = arguments.system.clone().or(conversation.system);
    let pressed = interrupted();
    let model = arguments.device.announce(Model::of(checkpoint, arguments.device.options())?)?;
    let options = ChatOptions { variables: arguments.template.variables(), on_full: arguments.on_full.into() };
    let mut chat = Chat::new(&model, template, options)?;
    chat.set_conversation(conversation);
    let mut input = Input::open()?;
    if pressed.load(Ordering::Relaxed) {
        return Err(Failure::Interrupted);
    }
    let interrupt = Interrupt::new(chat.canceller(), input.is_terminal());
    if input.is_terminal() && !arguments.device.quiet {
        note(&format!(
            "{} with a context of {} tokens; /help lists the commands",
            arguments.model.display(),
            model.context()
        ));
    }
    let request = Request {
        sampling: arguments.sampling.sampling(model.sampling()),
        max_tokens: arguments.max_tokens.unwrap_or(usize::MAX),
        stop: arguments.sampling.stop.clone(),
        ignore_eos: false,
    };
    let mut screen = Screen::new(arguments.hide_thinking, input.is_terminal());
    while let Some(entry) = input.next()? {
        let next = match entry {
            Entry::Nothing => Next::Entry,
            Entry::Command(name, rest) => {
                obey(&mut chat, &mut input, &inputs, &name, &rest).unwrap_or_else(Next::Mistake)
            }
            Entry::Message(message) => {
                let _answering = interrupt.answering();
                answer(&mut chat, message, &request, &mut screen, &arguments)?
                    .unwrap_or_else(|error| failed(&model, error))
            }
        };
        match next {
            Next::Entry => {}
            Next::Quit => break,
            // Somebody who sits there can still save the conversation.
            Next::Failure(failure) if !input.is_terminal() => return Err(failure),
            Next::Mistake(failure) | Next::Failure(failure) => _ = failure.report(),
        }
        if !input.is_terminal() && pressed.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
    }
    Ok(())
}

/// Shows the answer to a message.
fn answer(
    chat: &mut Chat,
    message: String,
    request: &Request,
    screen: &mut Screen,
    arguments: &Arguments,
) -> Outcome<Result<Next, Error>> {
    let mut turn = match chat.send(message, request.clone()) {
        Ok(turn) => turn,
        Err(error) => return Ok(Err(error)),
    };
    let mut outcome = Ok(Next::Entry);
    for part in turn.by_ref() {
        match part {
            Ok(part) => screen.show(&part)?,
            Err(error) => outcome = Err(error),
        }
    }
    screen.end()?;
    let report = turn.report();
    drop(turn);
    tell(chat, &report, arguments);
    Ok(outcome)
}

/// How a chat goes on after an error of the engine.
fn failed(model: &Model, error: Error) -> Next {
    match error {
        Error::NotANumber => Next::Failure(error.into()),
        error if error.is_device_error() => match model.recover() {
            Ok(false) => Next::Failure(error.into()),
            Ok(true) => {
                note(&format!("ply: {error}"));
                model.notes().iter().for_each(|text| note(&format!("ply: {text}")));
                note("ply: the model was loaded again, and the conversation goes on");
                Next::Entry
            }
            Err(again) => Next::Failure(Failure::Work(format!("{error}; loading the model again failed: {again}"))),
        },
        _ => Next::Mistake(error.into()),
    }
}

/// Says what somebody must know of an answer besides its text.
fn tell(chat: &Chat, report: &TurnReport, arguments: &Arguments) {
    let context = chat.context();
    if report.forgotten_turns > 0 {
        let turns = if report.forgotten_turns == 1 { "turn" } else { "turns" };
        note(&format!(
            "ply: the context of {context} tokens is full: forgot the oldest {} {turns}",
            report.forgotten_turns
        ));
    }
    if report.stop_reason == Some(StopReason::Context) {
        let shift = match arguments.on_full {
            OnFullArgument::Stop => "--on-full shift forgets the oldest turns, ",
            OnFullArgument::Shift => "",
        };
        note(&format!(
            "ply: the context of {context} tokens is full, and the answer ends here: /clear begins anew, {shift}--context makes it longer"
        ));
    }
    if report.taken_back {
        note("ply: the message was taken back, since the answer had not begun");
    }
    if arguments.device.verbose {
        let times = &report.timings;
        note(&format!(
            "prompt {} tokens, {} of them in the cache, {:.1} tokens/s · generated {} tokens, {:.1} tokens/s · seed {}",
            report.reused + times.prompt_tokens,
            report.reused,
            times.prefill_rate(),
            times.generated_tokens,
            times.decode_rate(),
            report.seed
        ));
    }
}
