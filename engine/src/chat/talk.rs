//! All of a chat but its session: what was said, and how it becomes a prompt that fits the context.

use plywood_models::Template;
use plywood_models::template::RenderOptions;
use plywood_models::template::thinking::Marks;
use plywood_models::tokenizer::EncodeOptions;
use serde_json::{Map, Value};

use super::conversation::Conversation;
use crate::error::{Error, Result};
use crate::model::Model;

/// The part of the context that is kept free for an answer when turns are forgotten: one part in this many.
const ROOM: usize = 4;

/// What happens when a conversation no longer fits the context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The turn ends.
    #[default]
    Stop,
    /// The oldest turns are forgotten, but neither the system prompt nor the last message of the user.
    Shift,
}

/// How a conversation is held.
#[derive(Debug, Clone, Default)]
pub struct ChatOptions {
    /// Variables for the template, such as `enable_thinking`.
    pub variables: Map<String, Value>,
    /// What happens when the context is full.
    pub on_full: OnFull,
}

/// All of a chat but its session, which a generation holds.
pub(super) struct Talk {
    pub(super) model: Model,
    pub(super) template: Template,
    pub(super) marks: Option<&'static Marks>,
    pub(super) options: ChatOptions,
    pub(super) conversation: Conversation,
    /// Messages at the front that the model is no longer given.
    pub(super) forgotten: usize,
}

/// A conversation as the model reads it.
pub(super) struct Prompt {
    pub(super) text: String,
    pub(super) tokens: Vec<u32>,
    /// Messages at the front that are not in it, and how many turns more these are than before.
    pub(super) forgotten: usize,
    pub(super) turns: usize,
}

impl Talk {
    /// The conversation without its first messages, for the model.
    pub(super) fn prompt(&self, forgotten: usize, turns: usize) -> Result<Prompt> {
        let messages = self.conversation.for_template(forgotten);
        let variables = self.options.variables.clone();
        let text = self.template.render(&messages, &RenderOptions { variables, ..RenderOptions::default() })?;
        let tokens = self.model.shared().tokenizer()?.encode(&text, EncodeOptions::RENDERED)?;
        Ok(Prompt { text, tokens, forgotten, turns })
    }

    /// The prompt of which the fewest turns are forgotten, if any may be, so that an answer fits after it: `after` tokens
    /// that it has already, and room for more of at most `most`. If none fits, that with the fewest messages.
    pub(super) fn fitting_prompt(&self, after: usize, most: usize) -> Result<Prompt> {
        let context = self.model.context();
        let room = after.saturating_add(most.min(context / ROOM));
        let whole = self.prompt(self.forgotten, 0)?;
        let fits = |prompt: &Prompt| prompt.tokens.len().saturating_add(room) <= context;
        if self.options.on_full == OnFull::Stop || fits(&whole) {
            return Ok(whole);
        }
        // By halves, since rendering a long conversation takes its time.
        let turns = self.conversation.later_turns(self.forgotten);
        let (mut few, mut many, mut found) = (0, turns.len(), whole);
        while few < many {
            let middle = few.midpoint(many);
            let prompt = self.prompt(turns[middle], middle + 1)?;
            match fits(&prompt) {
                true => many = middle,
                false => few = middle + 1,
            }
            if fits(&prompt) || !fits(&found) {
                found = prompt;
            }
        }
        Ok(found)
    }

    /// An error that says how long the conversation is, or the message alone.
    pub(super) fn too_long(&self, tokens: usize) -> Error {
        let context = self.model.context();
        if self.options.on_full == OnFull::Shift || self.conversation.later_turns(self.forgotten).is_empty() {
            Error::MessageTooLong { tokens, context }
        } else {
            Error::ConversationFull { tokens, context }
        }
    }
}
