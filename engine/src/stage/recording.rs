//! Recordings: what a stage runs for steps of one kind, as values over buffer handles.

use std::fmt;
use std::sync::Arc;

use plywood_kernels::candidate::Candidate;
use plywood_kernels::dispatch::{Grid, Shader, StepSize, Work};
use plywood_kernels::graph::{Output, ValueId};
use plywood_kernels::lowering::Batch;
use plywood_kernels::step::Step;

/// A buffer by its place in a stage's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub usize);

/// The kind of step that a recording serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// How many tokens.
    pub tokens: Batch,
    /// For how many of them logits are wanted.
    pub selected: Batch,
    /// What is wanted of these.
    pub requested: Vec<Output>,
}

impl Key {
    /// The kind of a step of which this much is wanted; equal wants in any order are one kind.
    pub fn of(step: &Step, requested: &[Output]) -> Key {
        let mut requested = requested.to_vec();
        requested.sort();
        requested.dedup();
        Key { tokens: Batch::of(step.tokens.len()), selected: Batch::of(step.selected.len()), requested }
    }
}

/// One dispatch over buffers.
#[derive(Debug, Clone)]
pub struct Command {
    /// The candidate of its op that was chosen.
    pub candidate: Arc<Candidate>,
    /// What runs.
    pub shader: Arc<Shader>,
    /// Where its parameters lie in the stage's buffer of them, in words.
    pub params: usize,
    /// Their size in bytes.
    pub params_bytes: usize,
    /// What its bindings from 1 on are bound to.
    pub buffers: Vec<Handle>,
    /// Workgroups.
    pub grid: Grid,
    /// What one workgroup computes.
    pub work: Work,
}

impl Command {
    /// Multiply-adds in a step of this size, roughly.
    pub fn operations(&self, size: StepSize) -> u64 {
        self.work.operations(self.grid, size)
    }
}

/// What a stage runs for steps of one kind.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Dispatches in order.
    pub commands: Vec<Command>,
    /// The values that leave the stage: those that later stages read, and the results wanted.
    pub results: Vec<ValueId>,
}

impl fmt::Display for Recording {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for command in &self.commands {
            let handles: Vec<String> = command.buffers.iter().map(|handle| format!("b{}", handle.0)).collect();
            writeln!(
                formatter,
                "{:<18} {:<40} {}",
                command.shader.name,
                command.candidate.to_string(),
                handles.join(" ")
            )?;
        }
        Ok(())
    }
}
