//! A conversation with a model: its template makes a prompt of all that was said, and what the cache has of it is not run again.
//!
//! Each turn renders the whole conversation, so a template may change what stands further up (most drop earlier thinking);
//! the session keeps the longest common beginning of its tokens and the new ones.
//!
//! ```no_run
//! # use plywood::models::{Checkpoint, Template};
//! # use plywood::{Chat, ChatOptions, Model, Options};
//! let template = Template::of(&Checkpoint::open("model.gguf")?)?;
//! let model = Model::open("model.gguf", Options::default())?;
//! let mut chat = Chat::new(&model, template, ChatOptions::default())?;
//! for part in chat.send("Why is the sky blue?", model.sampling())? {
//!     print!("{}", part?.text);
//! }
//! # Ok::<(), plywood::Error>(())
//! ```

mod conversation;
mod turn;

use plywood_models::Template;
use plywood_models::template::RenderOptions;
use plywood_models::template::thinking::Marks;
use plywood_models::tokenizer::EncodeOptions;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::Model;
use crate::session::Session;
use crate::session::cancel::Cancel;
use crate::session::generation::Request;

pub use self::conversation::{Conversation, Message, Role};
pub use self::turn::{Turn, TurnReport};
pub use plywood_models::template::thinking::{Part, Section};

/// The part of the context that is kept free for an answer when turns are forgotten: one of so many.
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

/// A conversation with a model, in a session of its own.
pub struct Chat {
    session: Session,
    talk: Talk,
}

/// All of a chat but its session, which a generation holds.
struct Talk {
    model: Model,
    template: Template,
    marks: Option<&'static Marks>,
    options: ChatOptions,
    conversation: Conversation,
    /// Messages at the front that the model is no longer given.
    forgotten: usize,
}

/// A conversation as the model reads it.
struct Prompt {
    text: String,
    tokens: Vec<u32>,
    /// Messages at the front that are not in it, and how many turns more these are than before.
    forgotten: usize,
    turns: usize,
}

impl Chat {
    /// An empty conversation in a new session. The template is the model's ([`Template::of`]) or another.
    pub fn new(model: &Model, template: Template, options: ChatOptions) -> Result<Chat> {
        let marks = Marks::of(template.source(), model.tokenizer());
        let (model, conversation) = (model.clone(), Conversation::default());
        let session = model.session()?;
        Ok(Chat { session, talk: Talk { model, template, marks, options, conversation, forgotten: 0 } })
    }

    /// What was said. Messages that the context had no room for are still in it.
    pub fn conversation(&self) -> &Conversation {
        &self.talk.conversation
    }

    /// Puts another conversation in the place of this one.
    pub fn set_conversation(&mut self, conversation: Conversation) {
        (self.talk.conversation, self.talk.forgotten) = (conversation, 0);
    }

    /// Changes the system prompt, from the next message on; the messages stay.
    pub fn set_system(&mut self, system: Option<String>) {
        self.talk.conversation.system = system;
    }

    /// Forgets all messages; the system prompt stays.
    pub fn clear(&mut self) {
        self.talk.conversation.messages.clear();
        self.talk.forgotten = 0;
    }

    /// Tokens that a conversation and its answer may have.
    pub fn context(&self) -> usize {
        self.talk.model.context()
    }

    /// What ends the answer under way, from another thread: from [`Chat::send`] to the end of its [`Turn`].
    pub fn canceller(&self) -> Cancel {
        self.session.canceller()
    }

    /// Adds a message of the user and begins the answer, part by part.
    ///
    /// After an error the conversation is as it was: of the template, or where the message or, with [`OnFull::Stop`],
    /// the conversation is longer than the context.
    pub fn send(&mut self, message: impl Into<String>, request: impl Into<Request>) -> Result<Turn<'_>> {
        let request = request.into();
        self.session.begin();
        self.talk.conversation.messages.push(Message::user(message));
        Turn::new(&mut self.session, &mut self.talk, request)
    }
}

impl Talk {
    /// The conversation without its first messages, for the model.
    fn prompt(&self, forgotten: usize, turns: usize) -> Result<Prompt> {
        let messages = self.conversation.for_template(forgotten);
        let variables = self.options.variables.clone();
        let text = self.template.render(&messages, &RenderOptions { variables, ..RenderOptions::default() })?;
        let tokens = self.model.shared().tokenizer()?.encode(&text, EncodeOptions::RENDERED)?;
        Ok(Prompt { text, tokens, forgotten, turns })
    }

    /// The prompt of which the fewest turns are forgotten, if any may be, so that an answer fits behind it: `behind` tokens
    /// that it has already, and room for more of at most `most`. If none fits, that with the fewest messages.
    fn fitting_prompt(&self, behind: usize, most: usize) -> Result<Prompt> {
        let context = self.model.context();
        let room = behind.saturating_add(most.min(context / ROOM));
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
    fn too_long(&self, tokens: usize) -> Error {
        let context = self.model.context();
        if self.options.on_full == OnFull::Shift || self.conversation.later_turns(self.forgotten).is_empty() {
            Error::MessageTooLong { tokens, context }
        } else {
            Error::ConversationFull { tokens, context }
        }
    }
}
