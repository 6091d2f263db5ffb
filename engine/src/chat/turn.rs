//! One turn: an answer that comes part by part and is kept as far as it came.

use std::collections::VecDeque;

use plywood_models::template::thinking::{Part, Section, Sections};

use crate::error::Result;
use crate::session::Session;
use crate::session::generation::{Generation, Request, StopReason, Timings};

use super::conversation::{Message, Role};
use super::talk::{OnFull, Talk};

/// An answer under way. The conversation gets as much of it as was given out, also where it is dropped before its end.
pub struct Turn<'a> {
    generation: Generation<'a>,
    talk: &'a mut Talk,
    sections: Sections,
    /// Parts that are to be given out.
    ready: VecDeque<Part>,
    thinking: String,
    answer: String,
    reused: usize,
    forgotten_turns: usize,
    /// The most tokens of an answer.
    max_tokens: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Running,
    /// Nothing more is generated.
    Ended,
    /// The conversation has what came.
    Kept,
    /// Nothing came, and the message was taken back.
    TakenBack,
}

/// How an answer came about.
#[derive(Debug, Clone, Copy)]
pub struct TurnReport {
    /// Tokens of the prompt that the cache had; those that were run stand in the times.
    pub reused: usize,
    /// Turns that were forgotten so that the answer fits.
    pub forgotten_turns: usize,
    /// Whether the user's message was taken back, since the answer ended before it began.
    pub taken_back: bool,
    /// Why the answer ended; `None` while it goes on and where it failed.
    pub stop_reason: Option<StopReason>,
    /// How long it took.
    pub timings: Timings,
    /// The seed, given or drawn.
    pub seed: u64,
}

impl<'a> Turn<'a> {
    /// Begins the answer to the last message, which is taken back where that fails.
    pub(super) fn new(session: &'a mut Session, talk: &'a mut Talk, request: Request) -> Result<Turn<'a>> {
        let max_tokens = request.max_tokens;
        let begun = talk.fitting_prompt(0, max_tokens).and_then(|prompt| {
            if prompt.tokens.len() > talk.model.context() {
                return Err(talk.too_long(prompt.tokens.len()));
            }
            let reused = session.rewind(&prompt.tokens);
            let generation = session.generation(&prompt.tokens[reused..], request)?;
            Ok((prompt, reused, generation))
        });
        let (prompt, reused, generation) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                talk.conversation.messages.pop();
                return Err(error);
            }
        };
        talk.forgotten = prompt.forgotten;
        Ok(Turn {
            generation,
            sections: Sections::new(talk.marks, &prompt.text),
            talk,
            ready: VecDeque::new(),
            thinking: String::new(),
            answer: String::new(),
            reused,
            forgotten_turns: prompt.turns,
            max_tokens,
            state: State::Running,
        })
    }

    /// How the answer comes about; whole once it has ended.
    pub fn report(&self) -> TurnReport {
        TurnReport {
            reused: self.reused,
            forgotten_turns: self.forgotten_turns,
            taken_back: self.state == State::TakenBack,
            stop_reason: self.generation.stop_reason(),
            timings: self.generation.timings(),
            seed: self.generation.seed(),
        }
    }

    /// Generates one token, or ends.
    fn advance(&mut self) -> Result<()> {
        if self.talk.options.on_full == OnFull::Shift && self.generation.needs_room() {
            self.make_room()?;
        }
        let Some(piece) = self.generation.next().transpose()? else {
            self.state = State::Ended;
            self.ready.extend(self.sections.finish());
            return Ok(());
        };
        self.ready.extend(self.sections.text(&piece.text));
        let tokenizer = self.talk.model.tokenizer();
        if let Some(spelling) = piece.token.and_then(|token| tokenizer?.control(token)) {
            self.ready.extend(self.sections.control(spelling));
        }
        Ok(())
    }

    /// Forgets turns while the answer is under way, and goes on with what it has. Where none can be, the answer ends.
    fn make_room(&mut self) -> Result<()> {
        let generated = self.generation.tokens().len();
        let prompt = self.talk.fitting_prompt(generated, self.max_tokens - generated)?;
        if prompt.turns > 0 && prompt.tokens.len() + generated <= self.talk.model.context() {
            self.generation.move_after(&prompt.tokens);
            self.talk.forgotten = prompt.forgotten;
            self.forgotten_turns += prompt.turns;
        }
        Ok(())
    }

    /// Adds what was given out to the conversation; takes the message back where that is nothing though more was to come.
    fn keep(&mut self) {
        let whole = [StopReason::Eos, StopReason::Length, StopReason::Stop];
        let is_whole = self.generation.stop_reason().is_some_and(|reason| whole.contains(&reason));
        let (content, thinking) = (std::mem::take(&mut self.answer), std::mem::take(&mut self.thinking));
        let messages = &mut self.talk.conversation.messages;
        self.state = if is_whole || !content.is_empty() || !thinking.is_empty() {
            let thinking = Some(thinking).filter(|thinking| !thinking.is_empty());
            messages.push(Message { role: Role::Assistant, content, thinking });
            State::Kept
        } else {
            messages.pop();
            State::TakenBack
        };
    }
}

impl Iterator for Turn<'_> {
    type Item = Result<Part>;

    fn next(&mut self) -> Option<Result<Part>> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                match part.section {
                    Section::Thinking => self.thinking.push_str(&part.text),
                    Section::Answer => self.answer.push_str(&part.text),
                }
                return Some(Ok(part));
            }
            match self.state {
                State::Running => {
                    if let Err(error) = self.advance() {
                        self.keep();
                        return Some(Err(error));
                    }
                }
                State::Ended => self.keep(),
                State::Kept | State::TakenBack => return None,
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if matches!(self.state, State::Running | State::Ended) {
            self.keep();
        }
    }
}
