//! What somebody types: messages of one line or several, and commands.

/// What a message of several lines stands between.
const QUOTES: &str = "\"\"\"";

/// What one or more lines are.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing at all.
    Nothing,
    /// A message to the model.
    Message(String),
    /// A command without its slash, and what follows it.
    Command(String, String),
}

impl Entry {
    /// What lines are, which end with `\n`; `None` where more of them belong to it.
    ///
    /// A line that begins with `"""` and all up to one that ends with them are a message as they are; otherwise a line that
    /// ends with a backslash goes on with the next.
    pub fn of(lines: &str) -> Option<Entry> {
        let Some(quoted) = lines.trim_start().strip_prefix(QUOTES) else {
            let whole = !lines.trim_end_matches('\n').ends_with('\\');
            return whole.then(|| Entry::unquoted(lines));
        };
        quoted.trim_end().strip_suffix(QUOTES).map(Entry::quoted)
    }

    /// What lines are after which no more come.
    pub fn of_last(lines: &str) -> Entry {
        let unfinished = || lines.trim_start().strip_prefix(QUOTES).map(Entry::quoted);
        Entry::of(lines).or_else(unfinished).unwrap_or_else(|| Entry::unquoted(lines))
    }

    fn quoted(text: &str) -> Entry {
        let text = text.strip_prefix('\n').unwrap_or(text);
        Entry::message(text.strip_suffix('\n').unwrap_or(text))
    }

    fn unquoted(lines: &str) -> Entry {
        let text = lines.trim_end_matches(['\n', '\\']).replace("\\\n", "\n");
        match text.trim_start().strip_prefix('/') {
            Some(command) => {
                let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
                Entry::Command(name.into(), rest.trim().into())
            }
            None => Entry::message(&text),
        }
    }

    fn message(text: &str) -> Entry {
        if text.trim().is_empty() { Entry::Nothing } else { Entry::Message(text.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_and_commands() {
        let message = |text: &str| Some(Entry::Message(text.into()));
        let command = |name: &str, rest: &str| Some(Entry::Command(name.into(), rest.into()));
        let cases: [(&str, Option<Entry>); 18] = [
            ("", Some(Entry::Nothing)),
            (" \t\n", Some(Entry::Nothing)),
            ("Hello\n", message("Hello")),
            ("  Hello ", message("  Hello ")),
            ("one\ntwo", message("one\ntwo")),
            ("one\\", None),
            ("one\\\n", None),
            ("one\\\ntwo\n", message("one\ntwo")),
            ("\"\"\"", None),
            ("\"\"\"one\ntwo\\\n", None),
            ("\"\"\"one\ntwo\\\n\"\"\"\n", message("one\ntwo\\")),
            ("\"\"\"\none\n\"\"\"\n", message("one")),
            ("\"\"\"/quit\"\"\"", message("/quit")),
            ("\"\"\"\"\"\"", Some(Entry::Nothing)),
            ("/", command("", "")),
            (" /quit ", command("quit", "")),
            ("/system  Be brief. \n", command("system", "Be brief.")),
            ("/system one\\\ntwo", command("system", "one\ntwo")),
        ];
        for (lines, expected) in cases {
            assert_eq!(Entry::of(lines), expected, "{lines:?}");
        }
        for (lines, expected) in [("\"\"\"one\n", "one"), ("one\\\n", "one"), ("\"\"\"one\"\"\"", "one")] {
            assert_eq!(Some(Entry::of_last(lines)), message(expected), "{lines:?}");
        }
    }
}
