//! The engine's error type: what failed, on which device, and what to do.

use std::fmt;

/// What went wrong; the message names the thing and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or what it says of the model.
    #[error(transparent)]
    Model(#[from] plywood_models::Error),
    /// A device that was asked for and is not there.
    #[error("there is no adapter `{wanted}`: {available}; Adapters::list has them")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// Which there are.
        available: String,
    },
    /// An option whose value can't be used.
    #[error("{option}: {reason}")]
    Option {
        /// The option, such as `Options::context`, or the function that was given the value.
        option: &'static str,
        /// Why, and what would be right.
        reason: String,
    },
    /// A device that could not be opened or refused a call.
    #[error("{device}: {reason}")]
    Device {
        /// The device.
        device: String,
        /// What it said.
        reason: String,
    },
    /// A device that stopped working; [`crate::Model::recover`] loads the model again.
    #[error("{device} was lost ({reason}); load the model again, with other Options::devices if it happens twice")]
    DeviceLost {
        /// The device.
        device: String,
        /// What the driver said.
        reason: String,
    },
    /// A device that did not finish in time.
    #[error("{device} did not finish within {seconds} s; the driver may hang: try another adapter or backend")]
    Timeout {
        /// The device.
        device: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A model that the devices have no room for.
    #[error("{reason}; {}", advised(advice))]
    DoesNotFit {
        /// What it takes, and what there is.
        reason: String,
        /// With what it would fit, each tried by planning it.
        advice: Vec<String>,
    },
    /// Memory that a device did not give.
    #[error(
        "{device} has no room for {what} ({bytes} bytes), perhaps because another program takes it: free some, or use a smaller Options::context or Options::memory, or more Options::devices"
    )]
    OutOfMemory {
        /// The device.
        device: String,
        /// What was to be allocated.
        what: String,
        /// Its size.
        bytes: u64,
    },
    /// Something that a device's limits do not allow.
    #[error("{device}: {what} needs a binding of {bytes} bytes and the device binds at most {limit}; {advice}")]
    Binding {
        /// The device.
        device: String,
        /// What would be bound.
        what: String,
        /// Its size.
        bytes: u64,
        /// The device's limit.
        limit: u64,
        /// What to do.
        advice: &'static str,
    },
    /// A prompt, or a prompt and what was generated, longer than the context.
    #[error("{tokens} tokens do not fit the context of {context}; shorten the prompt or raise Options::context")]
    ContextFull {
        /// Tokens that there would be.
        tokens: usize,
        /// Tokens that there is room for.
        context: usize,
    },
    /// A conversation longer than the context.
    #[error(
        "the context is full: the conversation has {tokens} tokens, and {context} fit; \
         begin anew (Chat::clear), forget the oldest turns (OnFull::Shift), or raise Options::context"
    )]
    ConversationFull {
        /// Tokens of the conversation, the last message among them.
        tokens: usize,
        /// Tokens that there is room for.
        context: usize,
    },
    /// A message that is longer than the context by itself.
    #[error(
        "the message does not fit: it has {tokens} tokens with all that must stand around it, and the context {context}; \
         shorten it or raise Options::context"
    )]
    MessageTooLong {
        /// Tokens of the message, the system prompt and what the template adds.
        tokens: usize,
        /// Tokens that there is room for.
        context: usize,
    },
    /// A token that the model does not have.
    #[error("token {token} is not in the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// Nothing to begin with.
    #[error("the prompt has no tokens and the model has no BOS token to begin with; give a prompt")]
    EmptyPrompt,
    /// More sessions than were planned for.
    #[error("the model was opened for {sessions} sessions and all are in use; raise Options::sessions")]
    NoSession {
        /// How many there are.
        sessions: usize,
    },
    /// Logits that are not numbers.
    #[error("the model's logits are not numbers: the weights are damaged or a kernel is wrong; run tools::selftest")]
    NotANumber,
    /// The session was cancelled from another thread.
    #[error("cancelled")]
    Cancelled,
    /// A model whose devices were lost and that was not loaded again.
    #[error(
        "the model lies on no device: what it was loaded on was lost, and it is not loaded again yet (Model::recover)"
    )]
    Unloaded,
    /// A step that several sessions shared failed; the message is that of the session that ran it.
    #[error("{reason}")]
    Step {
        /// What went wrong.
        reason: String,
    },
}

/// The result of what an engine does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What would fit, for a person.
fn advised(advice: &[String]) -> String {
    match advice {
        [] => "nothing that was tried would fit either: use a smaller model or more Options::devices".into(),
        some => {
            format!("it would fit with {} (Options::fit applies the first that is an option)", some.join(", or with "))
        }
    }
}

impl Error {
    /// A device's refusal.
    pub(crate) fn device(device: &str, reason: impl fmt::Display) -> Error {
        Error::Device { device: device.to_string(), reason: reason.to_string() }
    }

    /// Whether [`crate::Model::recover`] may help: a device was lost, hangs, or gave no memory.
    pub fn is_device_error(&self) -> bool {
        use Error::{Device, DeviceLost, OutOfMemory, Timeout, Unloaded};
        matches!(self, Device { .. } | DeviceLost { .. } | OutOfMemory { .. } | Timeout { .. } | Unloaded)
    }

    /// The same error for another session that shared the step.
    pub(crate) fn again(&self) -> Error {
        match self {
            Error::Device { device, reason } => Error::device(device, reason),
            Error::DeviceLost { device, reason } => {
                Error::DeviceLost { device: device.clone(), reason: reason.clone() }
            }
            Error::Timeout { device, seconds } => Error::Timeout { device: device.clone(), seconds: *seconds },
            Error::OutOfMemory { device, what, bytes } => {
                Error::OutOfMemory { device: device.clone(), what: what.clone(), bytes: *bytes }
            }
            Error::Unloaded => Error::Unloaded,
            Error::Cancelled => Error::Cancelled,
            Error::ContextFull { tokens, context } => Error::ContextFull { tokens: *tokens, context: *context },
            error => Error::Step { reason: error.to_string() },
        }
    }
}
