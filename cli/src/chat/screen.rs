//! How an answer looks: thinking dimmed, between marks where nothing can be dimmed, or hidden.

use std::io::{self, IsTerminal};

use plywood::chat::{Part, Section};

use crate::output::{Outcome, print};

/// How thinking is set off from answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thinking {
    Dimmed,
    Marked,
    Hidden,
}

/// Writes answers.
pub struct Screen {
    thinking: Thinking,
    /// What was written last of the answer under way.
    section: Option<Section>,
    in_line: bool,
}

impl Screen {
    /// A screen that dims thinking where somebody sits at it and wants colours (<https://no-color.org>).
    pub fn new(hides_thinking: bool, is_terminal: bool) -> Screen {
        let colours =
            is_terminal && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        let thinking = match (hides_thinking, colours) {
            (true, _) => Thinking::Hidden,
            (false, true) => Thinking::Dimmed,
            (false, false) => Thinking::Marked,
        };
        Screen { thinking, section: None, in_line: false }
    }

    /// Writes a part of an answer.
    pub fn show(&mut self, part: &Part) -> Outcome {
        if self.thinking == Thinking::Hidden && part.section == Section::Thinking {
            return Ok(());
        }
        if self.section != Some(part.section) {
            let close = self.close();
            let gap = if close.is_empty() { "" } else { "\n" };
            let open = match (part.section, self.thinking) {
                (Section::Thinking, Thinking::Dimmed) => "\x1b[2m",
                (Section::Thinking, _) => "<think>\n",
                (Section::Answer, _) => "",
            };
            print(&format!("{close}{gap}{open}"))?;
            self.section = Some(part.section);
        }
        self.in_line = !part.text.ends_with('\n');
        print(&part.text)
    }

    /// Ends an answer, on a line of its own.
    pub fn end(&mut self) -> Outcome {
        let mut close = self.close();
        if close.is_empty() && self.in_line {
            close.push('\n');
        }
        (self.section, self.in_line) = (None, false);
        print(&close)
    }

    /// What ends thinking that is shown, with the end of its line.
    fn close(&self) -> String {
        let line_end = if self.in_line { "\n" } else { "" };
        match (self.section, self.thinking) {
            (Some(Section::Thinking), Thinking::Dimmed) => format!("\x1b[22m{line_end}"),
            (Some(Section::Thinking), _) => format!("{line_end}</think>\n"),
            _ => String::new(),
        }
    }
}
