//! Pages of the KV cache: which sequence has which.

use plywood_kernels::step::PAGE_TOKENS;

use crate::error::{Error, Result};
use crate::stage::plan::StepLimits;

/// The pages of a model's sequences.
pub(super) struct Pages {
    limits: StepLimits,
    /// Pages that no sequence has.
    free: Vec<u32>,
    /// `[sequences, pages_per_sequence]`.
    table: Vec<u32>,
    /// Pages that each sequence has.
    held: Vec<usize>,
}

impl Pages {
    /// All pages free.
    pub fn new(limits: StepLimits) -> Pages {
        Pages {
            limits,
            free: (0..limits.pages as u32).rev().collect(),
            table: vec![0; limits.sequences * limits.pages_per_sequence()],
            held: vec![0; limits.sequences],
        }
    }

    /// `[sequences, pages_per_sequence]`: the pages of each sequence; what lies after those that it has means nothing.
    pub fn table(&self) -> &[u32] {
        &self.table
    }

    /// Takes pages for a sequence of this many tokens. There is a page for every token of every sequence's context.
    pub fn grow(&mut self, sequence: u32, tokens: usize) -> Result<()> {
        if tokens > self.limits.context {
            return Err(Error::ContextFull { tokens, context: self.limits.context });
        }
        let row = sequence as usize * self.limits.pages_per_sequence();
        let held = &mut self.held[sequence as usize];
        while *held < tokens.div_ceil(PAGE_TOKENS) {
            let page = self.free.pop().ok_or(Error::NoSession { sessions: self.limits.sequences })?;
            self.table[row + *held] = page;
            *held += 1;
        }
        Ok(())
    }

    /// Gives a sequence's pages back but for those that its first `tokens` need.
    pub fn truncate(&mut self, sequence: u32, tokens: usize) {
        let kept = tokens.div_ceil(PAGE_TOKENS);
        let row = sequence as usize * self.limits.pages_per_sequence();
        let held = &mut self.held[sequence as usize];
        while *held > kept {
            *held -= 1;
            self.free.push(self.table[row + *held]);
        }
    }
}
