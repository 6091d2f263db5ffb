//! How models mark their thinking, as data, and the parting of a text that comes in pieces into thinking and answer.

use std::ops::Range;

use crate::tokenizer::Tokenizer;

/// One way to mark thinking. Marks may be text or control tokens, which are no text but have a spelling.
#[derive(Debug, PartialEq, Eq)]
pub struct Marks {
    /// What thinking begins with.
    pub open: &'static str,
    /// What it ends with.
    pub close: &'static str,
    /// What stands before an answer, and belongs to neither.
    pub headers: &'static [&'static str],
    /// What the template or the vocabulary of a model holds that marks so.
    sign: &'static str,
}

/// The ways that are known: Magistral's, gpt-oss' channels, Gemma 4's, and the one of most others.
const MARKS: [Marks; 4] = [
    Marks { open: "[THINK]", close: "[/THINK]", headers: &[], sign: "[/THINK]" },
    Marks {
        open: "<|channel|>analysis<|message|>",
        close: "<|end|>",
        headers: &["<|start|>assistant", "<|channel|>commentary<|message|>", "<|channel|>final<|message|>"],
        sign: "<|channel|>",
    },
    Marks { open: "<|channel>thought", close: "<channel|>", headers: &[], sign: "<channel|>" },
    Marks { open: "<think>", close: "</think>", headers: &[], sign: "</think>" },
];

impl Marks {
    /// How a model marks its thinking: by what its template says, else by a token that it has; `None` if it does not.
    pub fn of(template: &str, tokenizer: Option<&Tokenizer>) -> Option<&'static Marks> {
        let has = |sign: &str| tokenizer.is_some_and(|tokenizer| tokenizer.id(sign).is_some());
        let in_template = MARKS.iter().find(|marks| template.contains(marks.sign));
        in_template.or_else(|| MARKS.iter().find(|marks| has(marks.sign)))
    }
}

/// What a part of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What the model says to itself.
    Thinking,
    /// What it says to the user.
    Answer,
}

/// A part of what a model wrote, without marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub section: Section,
    /// Its text, which is not empty.
    pub text: String,
}

/// Parts what a model writes into thinking and answer, wherever its pieces end.
///
/// Thinking opens only before the first word of the answer: later the mark is a quotation. Line ends beside marks belong to
/// the marks.
#[derive(Debug)]
pub struct Sections {
    marks: Option<&'static Marks>,
    section: Section,
    /// Characters that may belong to a mark, and whether they are text.
    held: Vec<(char, bool)>,
    /// Line ends of thinking, which are given out when more follows.
    line_ends: usize,
    /// Whether a mark came last, whose line ends are to be dropped.
    after_mark: bool,
    /// Whether the answer has a word.
    answered: bool,
}

impl Sections {
    /// Begins after a prompt, which may have opened thinking.
    pub fn new(marks: Option<&'static Marks>, prompt: &str) -> Sections {
        let opened = marks.is_some_and(|marks| prompt.trim_end().ends_with(marks.open));
        let section = if opened { Section::Thinking } else { Section::Answer };
        Sections { marks, section, held: Vec::new(), line_ends: 0, after_mark: opened, answered: false }
    }

    /// Takes text; gives the parts that are sure.
    pub fn text(&mut self, text: &str) -> Vec<Part> {
        self.take(text, true)
    }

    /// Takes the spelling of a control token, which is never part of a text; gives the parts that are sure.
    pub fn control(&mut self, spelling: &str) -> Vec<Part> {
        self.take(spelling, false)
    }

    /// What was held back, at the end.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        self.give(self.held.len(), &mut parts);
        parts
    }

    fn take(&mut self, spelling: &str, visible: bool) -> Vec<Part> {
        self.held.extend(spelling.chars().map(|character| (character, visible)));
        let mut parts = Vec::new();
        while let Some((place, section)) = self.mark() {
            self.give(place.start, &mut parts);
            self.held.drain(..place.len());
            (self.section, self.line_ends, self.after_mark) = (section, 0, true);
        }
        let sure = (0..self.held.len()).find(|at| self.may_begin(*at)).unwrap_or(self.held.len());
        self.give(sure, &mut parts);
        parts
    }

    /// The marks that mean something at a place of what is held, and what follows them.
    fn meant(&self, at: usize) -> Vec<(&'static str, Section)> {
        let Some(marks) = self.marks else { return Vec::new() };
        let mut meant: Vec<_> = marks.headers.iter().map(|header| (*header, Section::Answer)).collect();
        let answered = self.answered || self.held[..at].iter().any(is_word);
        match self.section {
            Section::Thinking => meant.push((marks.close, Section::Answer)),
            Section::Answer if !answered => meant.push((marks.open, Section::Thinking)),
            Section::Answer => {}
        }
        meant
    }

    /// The first mark in what is held.
    fn mark(&self) -> Option<(Range<usize>, Section)> {
        (0..self.held.len()).find_map(|at| {
            let (mark, section) = self.meant(at).into_iter().find(|(mark, _)| self.agrees(at, mark) == mark.len())?;
            Some((at..at + mark.chars().count(), section))
        })
    }

    /// Whether what is held from a place on may go on as a mark.
    fn may_begin(&self, at: usize) -> bool {
        let rest: usize = self.held[at..].iter().map(|(character, _)| character.len_utf8()).sum();
        self.meant(at).iter().any(|(mark, _)| self.agrees(at, mark) == rest)
    }

    /// How many bytes of a mark stand at a place.
    fn agrees(&self, at: usize, mark: &str) -> usize {
        let pairs = mark.chars().zip(&self.held[at..]);
        pairs.take_while(|(wanted, (found, _))| wanted == found).map(|(wanted, _)| wanted.len_utf8()).sum()
    }

    /// Gives out the first characters held, as far as they are text.
    fn give(&mut self, count: usize, parts: &mut Vec<Part>) {
        let mut text = String::new();
        for held in self.held.drain(..count) {
            let (character, visible) = held;
            if !visible || (self.after_mark && character == '\n') {
                continue;
            }
            self.after_mark = false;
            if self.section == Section::Thinking && character == '\n' {
                self.line_ends += 1;
                continue;
            }
            self.answered |= self.section == Section::Answer && is_word(&held);
            text.extend(std::iter::repeat_n('\n', std::mem::take(&mut self.line_ends)));
            text.push(character);
        }
        if !text.is_empty() {
            parts.push(Part { section: self.section, text });
        }
    }
}

fn is_word((character, visible): &(char, bool)) -> bool {
    *visible && !character.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a template with this sign gives of a prompt's end and what follows: thinking and answer. Parts between `⟨` and `⟩`
    /// are control tokens.
    fn check(sign: &str, prompt: &str, written: &str, thinking: &str, answer: &str) {
        let marks = Marks::of(sign, None);
        let pieces: Vec<(bool, &str)> = written
            .split('⟩')
            .flat_map(|part| {
                let (text, control) = part.split_once('⟨').unwrap_or((part, ""));
                [(true, text), (false, control)]
            })
            .collect();
        // Whole, and in characters: every border that there can be.
        for whole in [true, false] {
            let mut sections = Sections::new(marks, prompt);
            let mut parts = Vec::new();
            for (visible, piece) in &pieces {
                match (visible, whole) {
                    (true, true) => parts.extend(sections.text(piece)),
                    (true, false) => parts.extend(piece.chars().flat_map(|one| sections.text(&one.to_string()))),
                    (false, _) => parts.extend(sections.control(piece)),
                }
            }
            parts.extend(sections.finish());
            let of = |section| parts.iter().filter(move |part| part.section == section).map(|part| &*part.text);
            let found = (of(Section::Thinking).collect::<String>(), of(Section::Answer).collect::<String>());
            assert_eq!(found, (thinking.into(), answer.into()), "{written:?} after {prompt:?}, whole: {whole}");
        }
    }

    #[test]
    fn marks_part_thinking_from_answers() {
        let think = "</think>";
        check(think, "assistant\n", "<think>\nHm.\n\nYes.\n</think>\n\nBlue.\n", "Hm.\n\nYes.", "Blue.\n");
        check(think, "assistant\n<think>\n", "Hm.</think>Blue.", "Hm.", "Blue.");
        check(think, "<think>\n\n</think>\n\n", "Blue.", "", "Blue.");
        check(think, "", "\n <think>Hm.</think>Blue.", "Hm.", "\n Blue.");
        // What only begins like a mark, what quotes one, and thinking without an end.
        check(think, "", "<thin", "", "<thin");
        check(think, "", "<<think>a</thin</think>b", "", "<<think>a</thin</think>b");
        check(think, "", "<think>a<<//think</think></think>b", "a<<//think", "</think>b");
        check(think, "", "Write <think> and </think>.", "", "Write <think> and </think>.");
        check(think, "", "<think>a\n\n", "a", "");
        check("no sign", "", "<think>a</think>b", "", "<think>a</think>b");
    }

    #[test]
    fn marks_that_are_control_tokens() {
        check("[/THINK]", "", "⟨[THINK]⟩Hm.⟨[/THINK]⟩Blue.⟨</s>⟩", "Hm.", "Blue.");
        let channels = "⟨<|channel|>⟩analysis⟨<|message|>⟩Hm.⟨<|end|>⟩⟨<|start|>⟩assistant⟨<|channel|>⟩final⟨<|message|>⟩Blue.⟨<|return|>⟩";
        check("<|channel|>", "<|start|>assistant", channels, "Hm.", "Blue.");
        check("<|channel|>", "", "⟨<|channel|>⟩final⟨<|message|>⟩The final analysis.", "", "The final analysis.");
        check("<channel|>", "", "⟨<|channel>⟩thought\nHm.\n⟨<channel|>⟩Blue.", "Hm.", "Blue.");
        // A control token that is no mark parts nothing.
        check("</think>", "", "a⟨<pad>⟩b", "", "ab");
    }
}
