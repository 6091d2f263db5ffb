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
//! In the order in which a prompt meets them: [`devices`] (what there is, and how fast it is) → [`placement`] (which layers where) →
//! [`planning`] (what would lie where, before anything is allocated) and its [`ledger`] → `stage` (plans, recordings and weights of one
//! device), on [`gpu`] and host → `runner` (steps over stages) → [`session`], and [`chat`] over it. [`model`] puts them together;
//! [`tools`] measure and prove.

pub mod chat;
pub mod devices;
pub mod error;
pub mod faults;
pub mod gpu;
mod host;
pub mod ledger;
pub mod model;
pub mod options;
pub mod placement;
pub mod planning;
pub mod runner;
pub mod session;
pub mod stage;
mod threads;
pub mod tools;

pub use chat::{Chat, ChatOptions};
pub use error::{Error, Result};
pub use model::Model;
pub use options::Options;
pub use plywood_kernels as kernels;
pub use plywood_models as models;
pub use runner::Row;
pub use session::cancel::Cancel;
pub use session::generation::{Generation, Piece, Request, StopReason};
pub use session::sampler::Sampling;
pub use session::{Rows, Session, SessionRun};
