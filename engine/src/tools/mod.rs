//! Tools over a model or a device: self-test, benchmark, perplexity.

pub mod bench;
pub(crate) mod case;
pub mod perplexity;
pub mod selftest;
