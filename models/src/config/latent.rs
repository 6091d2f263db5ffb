//! The widths of multi-head latent attention (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>, §2.1), from both kinds of files.

use serde_json::Value;

use super::gguf::Keys;
use super::hugging_face::unsupported;
use super::{HEAD_LIMIT, Rope, SIZE_LIMIT, Scaling, size};
use crate::error::Result;
use crate::json::Json;

/// The widths of latent attention. A query head has `plain` elements, then `rotated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latent {
    /// Elements of the latent that keys and values are made of (`kv_lora_rank`).
    pub rank: usize,
    /// Elements that queries go through (`q_lora_rank`); `None` where they are made at once.
    pub query_rank: Option<usize>,
    /// Elements of a query head that meet the latent and are not rotated (`qk_nope_head_dim`).
    pub plain: usize,
    /// Elements of a query head, and of the one key, that are rotated (`qk_rope_head_dim`).
    pub rotated: usize,
    /// Elements of a value head (`v_head_dim`).
    pub value_width: usize,
}

/// The most heads: kernels take them along one dimension of a dispatch.
const HEADS_LIMIT: u64 = 1024;

impl Latent {
    /// Elements of a query head.
    pub fn head_width(&self) -> usize {
        self.plain.saturating_add(self.rotated)
    }

    /// Elements of what is kept of a token: the latent, and what is rotated of the key.
    pub fn key_width(&self) -> usize {
        self.rank.saturating_add(self.rotated)
    }

    /// Of a directory.
    pub(super) fn of_directory(config: &Json) -> Result<Latent> {
        let required = |key: &str| config.integer(key)?.map(size).ok_or_else(|| config.missing(key));
        for (key, wanted) in [("attention_bias", false), ("rope_interleave", true)] {
            if let Some(found) = config.boolean(key)?.filter(|found| *found != wanted) {
                return Err(unsupported(config, key, &Value::Bool(found), &wanted.to_string()));
            }
        }
        Ok(Latent {
            rank: required("kv_lora_rank")?,
            query_rank: config.integer("q_lora_rank")?.map(size),
            plain: required("qk_nope_head_dim")?,
            rotated: required("qk_rope_head_dim")?,
            value_width: required("v_head_dim")?,
        })
    }

    /// Of a GGUF file.
    pub(super) fn of_gguf(keys: &Keys) -> Result<Latent> {
        let required = |key: &str| keys.size(key)?.ok_or_else(|| keys.missing(key));
        let key = "attention.head_count_kv";
        if let Some(found) = keys.size(key)?.filter(|heads| *heads != 1) {
            // Files of before April 2025 have as many as heads, and `attn_kv_b` whole.
            return Err(keys.unsupported(
                key,
                found,
                "1: convert the model anew, with keys apart from values (attn_k_b)",
            ));
        }
        let (head_width, rotated) = (required("attention.key_length_mla")?, required("rope.dimension_count")?);
        let plain = head_width.checked_sub(rotated);
        let wrong = || keys.unsupported("rope.dimension_count", rotated, &format!("at most {head_width}"));
        Ok(Latent {
            rank: required("attention.kv_lora_rank")?,
            query_rank: keys.size("attention.q_lora_rank")?.filter(|rank| *rank > 0),
            plain: plain.ok_or_else(wrong)?,
            rotated,
            value_width: required("attention.value_length_mla")?,
        })
    }

    /// Its numbers by name.
    fn numbers(&self) -> Vec<(&'static str, usize)> {
        let mut numbers = vec![
            ("the rank of keys and values", self.rank),
            ("the elements of a query head that are not rotated", self.plain),
            ("the elements of a value head", self.value_width),
        ];
        numbers.extend(self.query_rank.map(|rank| ("the rank of queries", rank)));
        numbers
    }

    /// What does not fit the kernels, with this many heads: a number's name, the number, and what it should be.
    pub(super) fn check(&self, heads: usize, rope: &Rope) -> Option<(&'static str, String, String)> {
        if heads as u64 > HEADS_LIMIT {
            return Some(("the number of heads", heads.to_string(), format!("at most {HEADS_LIMIT}")));
        }
        if rope.rotated != self.rotated {
            let name = "the number of dimensions that RoPE rotates";
            return Some((name, rope.rotated.to_string(), self.rotated.to_string()));
        }
        if rope.temperature.is_some() || matches!(rope.scaling, Scaling::Long { .. }) {
            let name = "RoPE's scaling over a latent";
            return Some((name, "LongRoPE, or queries that grow".into(), "none, linear, llama3 or yarn".into()));
        }
        for (name, found) in self.numbers() {
            if found == 0 || found as u64 > SIZE_LIMIT || !found.is_multiple_of(4) {
                return Some((name, found.to_string(), format!("a multiple of 4 from 4 to {SIZE_LIMIT}")));
            }
        }
        let most = HEAD_LIMIT.min(SIZE_LIMIT / heads as u64);
        let width = self.key_width();
        if width as u64 > most || !width.is_multiple_of(4) {
            let name = "the rank of keys and values with what is rotated";
            return Some((name, width.to_string(), format!("a multiple of 4 up to {most}")));
        }
        None
    }
}
