//! Where entries come from: a terminal, with a line editor and a history, or a pipe.

use std::io::{self, BufRead, IsTerminal};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ConditionalEventHandler, Config, Editor, Event, EventContext, EventHandler, Helper, KeyEvent, Movement,
    RepeatCount,
};

use super::entry::Entry;
use crate::options::unreadable;
use crate::output::{Failure, Outcome, note};

const PROMPT: &str = "> ";

/// Where entries come from.
pub enum Input {
    /// Keys, and a screen that shows them.
    Terminal(Box<Editor<Lines, MemHistory>>),
    /// Anything else.
    Pipe,
}

impl Input {
    /// A terminal where standard input and output are one.
    pub fn open() -> Outcome<Input> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Input::Pipe);
        }
        let config = Config::default();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history).map_err(unusable)?;
        editor.set_helper(Some(Lines));
        editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(ClearLine)));
        Ok(Input::Terminal(Box::new(editor)))
    }

    /// Whether somebody sits there.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Input::Terminal(_))
    }

    /// Whether somebody agrees; where nobody sits there, nobody does.
    pub fn confirm(&mut self, question: &str) -> Outcome<bool> {
        match self {
            Input::Terminal(editor) => confirm(editor, question),
            Input::Pipe => Ok(false),
        }
    }

    /// The next entry; `None` at the end.
    pub fn next(&mut self) -> Outcome<Option<Entry>> {
        match self {
            Input::Terminal(editor) => type_in(editor),
            Input::Pipe => read(&mut io::stdin().lock()),
        }
    }
}

/// A question that is answered by `y` or `yes`, and denied by anything else.
fn confirm(editor: &mut Editor<Lines, MemHistory>, question: &str) -> Outcome<bool> {
    match editor.readline(&format!("{question} [y/N] ")) {
        Ok(answer) => Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str())),
        Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(false),
        Err(error) => Err(unusable(error)),
    }
}

/// An entry that somebody types. Ctrl-D ends, and so does Ctrl-C twice on an empty line.
fn type_in(editor: &mut Editor<Lines, MemHistory>) -> Outcome<Option<Entry>> {
    let mut pressed = false;
    loop {
        match editor.readline(PROMPT) {
            Ok(lines) => {
                // Only a history that is kept in a file can fail.
                _ = editor.add_history_entry(lines.as_str());
                return Ok(Some(Entry::of_last(&lines)));
            }
            Err(ReadlineError::Eof) => return Ok(None),
            Err(ReadlineError::Interrupted) if pressed => return Ok(None),
            Err(ReadlineError::Interrupted) => {
                pressed = true;
                note("Ctrl-C again or Ctrl-D leaves");
            }
            Err(error) => return Err(unusable(error)),
        }
    }
}

fn unusable(error: ReadlineError) -> Failure {
    Failure::Work(format!("the terminal: {error}"))
}

/// An entry from a pipe: a line, or as many as belong together.
fn read(input: &mut impl BufRead) -> Outcome<Option<Entry>> {
    let mut lines = String::new();
    loop {
        match input.read_line(&mut lines) {
            Ok(0) if lines.is_empty() => return Ok(None),
            Ok(0) => return Ok(Some(Entry::of_last(&lines))),
            Ok(_) => {
                if lines.ends_with("\r\n") {
                    lines.replace_range(lines.len() - 2.., "\n");
                }
                if let Some(entry) = Entry::of(&lines) {
                    return Ok(Some(entry));
                }
            }
            Err(error) => return Err(unreadable("standard input", &error)),
        }
    }
}

/// Tells the line editor whether lines are complete; it takes more of them where they are not.
pub struct Lines;

impl Validator for Lines {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(match Entry::of(context.input()) {
            Some(_) => ValidationResult::Valid(None),
            None => ValidationResult::Incomplete,
        })
    }
}

impl Completer for Lines {
    type Candidate = String;
}

impl Hinter for Lines {
    type Hint = String;
}

impl Highlighter for Lines {}

impl Helper for Lines {}

/// Ctrl-C clears what was typed; where there is nothing it interrupts, as it does without this.
struct ClearLine;

impl ConditionalEventHandler for ClearLine {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext) -> Option<Cmd> {
        (!context.line().is_empty()).then_some(Cmd::Kill(Movement::WholeBuffer))
    }
}
