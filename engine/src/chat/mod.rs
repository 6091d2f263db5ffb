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
mod talk;
mod turn;

use plywood_models::Template;
use plywood_models::template::thinking::Marks;

use self::talk::Talk;
use crate::error::Result;
use crate::model::Model;
use crate::session::Session;
use crate::session::cancel::Cancel;
use crate::session::generation::Request;

pub use self::conversation::{Conversation, Message, Role};
pub use self::talk::{ChatOptions, OnFull};
pub use self::turn::{Turn, TurnReport};
pub use plywood_models::template::thinking::{Part, Section};

/// A conversation with a model, in a session of its own. [The module](self) has an example.
pub struct Chat {
    session: Session,
    talk: Talk,
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
