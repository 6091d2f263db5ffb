//! Tools over a model or a device: self-test, benchmark, perplexity.

pub mod bench;
pub mod perplexity;
pub mod selftest;
