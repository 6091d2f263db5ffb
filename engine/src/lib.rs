//! Plywood: language models on any GPU through wgpu, one model over whatever adapters are there.
//!
//! ```no_run
//! let model = plywood::Model::open("model.gguf", plywood::Options::default())?;
//! let mut session = model.session()?;
//! for piece in session.generate("Once upon a time", plywood::Sampling::greedy())? {
//!     print!("{}", piece?.text);
//! }
//! # Ok::<(), plywood::Error>(())
//! ```
//!
//! In the order in which a prompt meets them: [`adapters`] and [`sites`] (what there is) → [`placement`] (which
//! layers where) → [`plan`] and [`memory`] (which buffers, how many bytes), which [`planning`] tells without loading →
//! [`recording`] (which dispatches) → stages on GPUs and the host → [`session`] and [`generation`], and [`chat`] over them.

pub mod adapters;
pub mod bench;
pub mod cards;
pub mod chat;
mod devices;
pub mod error;
pub mod faults;
mod fit;
pub mod generation;
pub mod gpu;
mod graphs;
mod host;
pub mod imagined;
mod layout;
mod loading;
mod measured;
pub mod memory;
pub mod model;
pub mod perplexity;
pub mod placement;
pub mod plan;
pub mod planning;
mod probe;
pub mod recording;
pub mod runner;
pub mod sampler;
pub mod selftest;
pub mod session;
pub mod sites;
pub mod stage;

pub use chat::{Chat, ChatOptions};
pub use error::{Error, Result};
pub use generation::{Generation, Piece, Request, StopReason};
pub use model::{Model, Options};
pub use plywood_kernels as kernels;
pub use plywood_models as models;
pub use runner::Row;
pub use sampler::Sampling;
pub use session::{Cancel, Rows, Session, SessionRun};
