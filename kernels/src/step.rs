//! One step: up to some number of tokens from any number of sequences, and the pages where their keys and values lie.

use crate::sample::draw::Draw;

/// Tokens in a page of the KV cache.
pub const PAGE_TOKENS: usize = 32;

/// Query tokens that the attention kernel for many tokens takes at once.
pub const BLOCK_TOKENS: usize = 16;

/// The most rows that are few: kernels for few rows are made for each number of them.
pub const MAX_FEW: usize = 8;

/// The most rows that kernels of tiles take as one small tile.
pub const ONE_TILE: usize = 32;

/// One token of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Its id in the vocabulary; of a step that [`Step::is_ahead`] it means nothing.
    pub id: u32,
    /// Its place in its sequence, from 0.
    pub position: u32,
    /// The row of the page table that its sequence has.
    pub sequence: u32,
    /// Whether its sequence is a long one, which is rotated by the second of RoPE's tables where there are two.
    pub long: bool,
}

/// A run of consecutive tokens of one sequence, at most [`BLOCK_TOKENS`] long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The first token's place in the step.
    pub first: u32,
    /// Tokens.
    pub tokens: u32,
    /// Their sequence.
    pub sequence: u32,
}

/// What changes from step to step; the engine lays it into device buffers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// The tokens; those of one sequence are consecutive and in order.
    pub tokens: Vec<Token>,
    /// The tokens whose logits are wanted, by their place in `tokens`.
    pub selected: Vec<u32>,
    /// How the next token of each of these is drawn; none where no token is.
    pub draws: Vec<Draw>,
    /// Whether its only token is the one that the device chose for this sequence last, whose id nobody has read yet.
    pub is_ahead: bool,
    /// The pages of every sequence: `[sequences, pages_per_sequence]`.
    pub pages: Vec<u32>,
    /// Pages in a row of the page table.
    pub pages_per_sequence: usize,
}

impl Step {
    /// The tokens as runs for the attention kernel for many tokens.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            match blocks.last_mut() {
                Some(block) if block.sequence == token.sequence && (block.tokens as usize) < BLOCK_TOKENS => {
                    block.tokens += 1;
                }
                _ => blocks.push(Block { first: index as u32, tokens: 1, sequence: token.sequence }),
            }
        }
        blocks
    }

    /// The largest number of keys that a token attends to.
    pub fn longest(&self) -> usize {
        self.tokens.iter().map(|token| token.position as usize + 1).max().unwrap_or(0)
    }

    /// The page and the place in it of a position of a sequence.
    pub fn place(&self, sequence: u32, position: usize) -> (usize, usize) {
        let row = sequence as usize * self.pages_per_sequence;
        (self.pages[row + position / PAGE_TOKENS] as usize, position % PAGE_TOKENS)
    }
}
