//! What begins with a slash: `/help`, `/system`, `/clear`, `/save`, `/load` and `/quit`.

use std::io::Write;
use std::path::{Path, PathBuf};

use plywood::chat::{Chat, Conversation};
use plywood::models::Error;
use plywood::models::output::{self, Existing};

use super::input::Input;
use crate::options::read_text;
use crate::output::{Failure, Outcome, note, write_file};

/// The commands: name, what follows it, and what it does.
const COMMANDS: [(&str, &str, &str); 6] = [
    ("help", "", "this list"),
    ("system", "[TEXT]", "changes the system prompt, or shows it; \"\" takes it away"),
    ("clear", "", "begins anew; the system prompt stays"),
    ("save", "FILE", "writes the conversation, as JSON"),
    ("load", "FILE", "goes on with a conversation that was saved"),
    ("quit", "", "leaves, as Ctrl-D does"),
];

/// What a message of several lines looks like.
const LINES: &str = "Lines between \"\"\" and \"\"\" are one message; a line that ends with \\ goes on with the next.";

/// The largest conversation that is read, in bytes.
const LIMIT: u64 = 64 << 20;

/// How the chat goes on.
pub enum Next {
    /// With the next entry.
    Entry,
    /// Not at all.
    Quit,
    /// With the next entry, when it has been told what was wrong with this one.
    Mistake(Failure),
    /// Without answers, since a device failed or computes nonsense.
    Failure(Failure),
}

/// Does what a command says, which must not write to `inputs`.
pub fn obey(chat: &mut Chat, input: &mut Input, inputs: &[PathBuf], name: &str, rest: &str) -> Outcome<Next> {
    let (_, takes, _) = COMMANDS.iter().find(|(known, ..)| *known == name).ok_or_else(|| {
        Failure::Usage(format!(
            "there is no command /{name}; /help lists them (to say it to the model, put it in \"\"\")"
        ))
    })?;
    if takes.is_empty() && !rest.is_empty() {
        return Err(Failure::Usage(format!("/{name} takes nothing after it")));
    }
    if *takes == "FILE" && rest.is_empty() {
        return Err(Failure::Usage(format!("/{name}: name a file")));
    }
    match name {
        "system" if rest.is_empty() => note(chat.conversation().system.as_deref().unwrap_or("(no system prompt)")),
        "system" => chat.set_system(Some(rest.to_string()).filter(|text| text != "\"\"")),
        "clear" => chat.clear(),
        "save" => save(chat.conversation(), input, inputs, Path::new(rest))?,
        "load" => {
            let conversation = load(Path::new(rest))?;
            note(&format!("{} messages from {rest}", conversation.messages.len()));
            chat.set_conversation(conversation);
        }
        "quit" => return Ok(Next::Quit),
        _ => help(),
    }
    Ok(Next::Entry)
}

fn help() {
    for (name, takes, does) in COMMANDS {
        note(&format!("  {:<16}{does}", format!("/{name} {takes}")));
    }
    note(LINES);
}

/// Saves a conversation. Whoever sits at a terminal is asked before a file is replaced.
fn save(conversation: &Conversation, input: &mut Input, inputs: &[PathBuf], path: &Path) -> Outcome {
    let text = serde_json::to_string_pretty(conversation).map_err(|error| Failure::Work(format!("JSON: {error}")))?;
    let existing = match output::check(path, Existing::Keep, inputs) {
        Err(Error::OutputExists { .. }) => {
            if !input.confirm(&format!("{} is there already; replace it?", path.display()))? {
                let kept = "this file is there already and stays as it was; name another";
                return Err(Failure::Usage(format!("{}: {kept}", path.display())));
            }
            Existing::Replace
        }
        // Anything else is said when it is written.
        _ => Existing::Keep,
    };
    write_file(path, existing, inputs, |file| writeln!(file, "{text}"))?;
    note(&format!("{} messages in {}", conversation.messages.len(), path.display()));
    Ok(())
}

/// A conversation from a file.
pub fn load(path: &Path) -> Outcome<Conversation> {
    let failed = |reason: String| Failure::Work(format!("{}: {reason}", path.display()));
    // A pipe or a device may have no end.
    let facts = path.metadata().map_err(|error| failed(error.to_string()))?;
    if !facts.is_file() || facts.len() > LIMIT {
        return Err(failed(format!("this is no file of at most {} MiB", LIMIT >> 20)));
    }
    let example = "write {\"system\": null, \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}";
    serde_json::from_str(&read_text(path)?).map_err(|error| failed(format!("{error}; {example}")))
}
