//! What a language model is: files, settings, architectures as data, tokenizers, chat templates; it builds a graph of ops.
//!
//! Nothing here touches a device. In the order in which data flows: [`mod@file`] → [`gguf`] or
//! safetensors → [`checkpoint`] (one table of tensors, which [`weights`] describes) → [`config`] (one set of numbers) →
//! [`transformer`] (a graph), and beside it [`tokenizer`] and [`template`]. [`synthetic`] stands in for files in benches;
//! [`quantise`] writes them, by way of [`mod@output`].

pub mod architectures;
pub mod checkpoint;
pub mod config;
#[cfg(feature = "demo")]
mod demo;
pub mod error;
pub mod file;
pub mod gguf;
pub mod json;
mod key_value;
pub mod model;
pub mod names;
pub mod output;
mod packed;
pub mod quantise;
mod safetensors;
pub mod synthetic;
pub mod template;
mod text_part;
pub mod tokenizer;
pub mod transformer;
pub mod weights;

pub use checkpoint::{Checkpoint, Settings};
pub use config::Config;
pub use error::{Error, Result};
pub use model::Model;
pub use template::Template;
pub use tokenizer::Tokenizer;
pub use weights::{Conventions, Storage, TensorInfo, Weights};
