//! What was said: messages, which JSON files keep, and what templates are given of them.

use plywood_models::template::message;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said, without marks.
    pub content: String,
    /// What the model thought before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
}

/// A system prompt and messages: `{"system": "…", "messages": [{"role": "user", "content": "…"}, …]}` as JSON, where
/// an assistant's message may have `thinking` too. Fields that nobody knows are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// What the model is told before all messages.
    pub system: Option<String>,
    /// What was said, the oldest first.
    pub messages: Vec<Message>,
}

impl Message {
    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Message {
        Message { role: Role::User, content: content.into(), thinking: None }
    }

    /// The message as templates know it: thinking under the names that they read, to drop or to keep.
    fn for_template(&self) -> Value {
        let role = match self.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let mut value = message(role, &self.content);
        if let Some(thinking) = &self.thinking {
            // Qwen's and most others read the first, gpt-oss' the second.
            value["reasoning_content"] = thinking.as_str().into();
            value["thinking"] = thinking.as_str().into();
        }
        value
    }
}

impl Conversation {
    /// The messages for a template, without the first `forgotten`.
    pub(super) fn for_template(&self, forgotten: usize) -> Vec<Value> {
        let system = self.system.iter().map(|system| message("system", system));
        system.chain(self.messages[forgotten..].iter().map(Message::for_template)).collect()
    }

    /// Where the turns begin that follow the first `forgotten` messages, those excepted that begin there.
    pub(super) fn later_turns(&self, forgotten: usize) -> Vec<usize> {
        let is_turn = |at: &usize| self.messages[*at].role == Role::User;
        (forgotten + 1..self.messages.len()).filter(is_turn).collect()
    }
}
