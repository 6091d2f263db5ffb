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
//! What an app meets:
//!
//! - [`Model`] opened with [`Options`]; its [`Session`]s, each a sequence of tokens; a [`Generation`], an iterator of pieces of text;
//!   [`Cancel`] from another thread; [`Model::recover`] after a device was lost.
//! - [`chat`]: a conversation over a session, by the model's own template.
//! - [`devices`]: what there is to run on. [`gpu::SharedDevice`]: a device of the app's own, such as its window's.
//! - [`planning`]: what would lie where and how fast it should go, before anything is loaded; the [`ledger`] counts the bytes.
//! - [`tools`]: self-test, benchmark and perplexity.
//!
//! Inside, in the order in which a prompt meets them: `devices` → `placement` (which layers where) → `planning` → `stage` (plans,
//! recordings and weights of one device), on `gpu` and `host` → `runner` (steps over stages) → `session`, and `chat` over it.

pub mod chat;
pub mod devices;
mod error;
mod faults;
pub mod gpu;
mod host;
pub mod ledger;
mod model;
mod options;
mod placement;
pub mod planning;
mod runner;
mod session;
mod stage;
#[doc(hidden)]
pub mod testing;
mod threads;
pub mod tools;

pub use chat::{Chat, ChatOptions};
pub use error::{Error, Result};
pub use model::Model;
pub use options::{Context, DEFAULT_CONTEXT, Devices, Layers, Options, Progress};
pub use plywood_kernels as kernels;
pub use plywood_kernels::graph::Output;
pub use plywood_kernels::kv_cache::KvType;
pub use plywood_models as models;
pub use runner::Row;
pub use session::cancel::Cancel;
pub use session::generation::{Generation, Piece, Request, StopReason, Timings};
pub use session::sampler::Sampling;
pub use session::{Rows, Session, SessionRun};
pub use stage::StageTimes;
pub use stage::plan::StepLimits;
