//! Ops: [`Op`], one variant for each folder, and [`Kernel`], what each of them brings.

use std::fmt;
use std::sync::Arc;

use crate::add::Add;
use crate::attention::Attention;
use crate::candidate::Candidate;
use crate::dispatch::Lowered;
use crate::embedding::Embedding;
use crate::gated::Gated;
use crate::grouped_matmul::GroupedMatMul;
use crate::heads::Heads;
use crate::host::HostRun;
use crate::kv_cache::KvWrite;
use crate::latent_heads::LatentHeads;
use crate::lowering::{LoweringContext, Precision};
use crate::matmul::MatMul;
use crate::moe_combine::MoeCombine;
use crate::reference::Operands;
use crate::reorder::Reorder;
use crate::rms_norm::RmsNorm;
use crate::rope::Rope;
use crate::route::Route;
use crate::sample::draw::Drawn;
use crate::sample::{Argmax, LogSumExp, TopK};
use crate::select_rows::SelectRows;
use crate::soft_cap::SoftCap;
use crate::temperature::Temperature;

/// An op of the graph; each variant is a folder.
#[derive(Debug, Clone)]
pub enum Op {
    /// Rows of a matrix by token id.
    Embedding(Embedding),
    /// Division by the root mean square, times a weight.
    RmsNorm(RmsNorm),
    /// Product with a weight matrix.
    MatMul(MatMul),
    /// Products of a token's slots, each with a matrix of its own or one that was chosen.
    GroupedMatMul(GroupedMatMul),
    /// The experts of a token, with their shares.
    Route(Route),
    /// The sum of what experts gave, by their shares.
    MoeCombine(MoeCombine),
    /// Columns in another order.
    Reorder(Reorder),
    /// Rotary position embedding.
    Rope(Rope),
    /// A factor that grows with the position.
    Temperature(Temperature),
    /// Queries and key of latent attention, rotated and put together.
    LatentHeads(LatentHeads),
    /// Queries, keys and values of heads, rotated and cached at once.
    Heads(Heads),
    /// Keys and values into the cache.
    KvWrite(KvWrite),
    /// Attention over the cache.
    Attention(Attention),
    /// Activated gate times up.
    Gated(Gated),
    /// Sum of two values.
    Add(Add),
    /// The rows whose logits are wanted.
    SelectRows(SelectRows),
    /// Softly bounded numbers.
    SoftCap(SoftCap),
    /// The id of the largest logit.
    Argmax(Argmax),
    /// The largest logits with their ids.
    TopK(TopK),
    /// An id, drawn from the largest logits.
    Drawn(Drawn),
    /// The logarithm of the sum of exponentials.
    LogSumExp(LogSumExp),
    /// An op from outside of this crate.
    Custom(Arc<dyn Kernel>),
}

impl Op {
    /// The op's behaviour.
    pub fn kernel(&self) -> &dyn Kernel {
        match self {
            Op::Embedding(op) => op,
            Op::RmsNorm(op) => op,
            Op::MatMul(op) => op,
            Op::GroupedMatMul(op) => op,
            Op::Route(op) => op,
            Op::MoeCombine(op) => op,
            Op::Reorder(op) => op,
            Op::Rope(op) => op,
            Op::Temperature(op) => op,
            Op::LatentHeads(op) => op,
            Op::Heads(op) => op,
            Op::KvWrite(op) => op,
            Op::Attention(op) => op,
            Op::Gated(op) => op,
            Op::Add(op) => op,
            Op::SelectRows(op) => op,
            Op::SoftCap(op) => op,
            Op::Argmax(op) => op,
            Op::TopK(op) => op,
            Op::Drawn(op) => op,
            Op::LogSumExp(op) => op,
            Op::Custom(op) => op.as_ref(),
        }
    }
}

impl Op {
    /// Of the matrices of the op's weight, how many a token meets, and of how many; `None` of an op that multiplies with none.
    pub fn matrices_met(&self) -> Option<(u64, u64)> {
        match self {
            Op::MatMul(_) => Some((1, 1)),
            Op::GroupedMatMul(op) => Some((op.slots as u64, op.matrices as u64)),
            _ => None,
        }
    }
}

/// What every op brings.
pub trait Kernel: fmt::Debug + Send + Sync {
    /// The name of its folder.
    fn name(&self) -> &'static str;

    /// Whether it reads the weight named `weight` shard by shard; if not, each weight must be one shard.
    fn takes_shards(&self) -> bool {
        false
    }

    /// Whether it writes the cache slot of its node, besides an output or without one: then it is needed whatever a step is asked for.
    fn writes_cache(&self) -> bool {
        false
    }

    /// The ways to compute it there, best guess first; at least one.
    fn candidates(&self, _context: &LoweringContext) -> Vec<Candidate> {
        vec![Candidate::new("plain")]
    }

    /// The dispatches that compute it there by one of its candidates.
    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered;

    /// The ways to compute it on the host, best guess first; at least one.
    fn host_candidates(&self, _precision: Precision) -> Vec<Candidate> {
        vec![Candidate::new("reference")]
    }

    /// Computes it on the host by the candidate of the run. An op without an own way takes its reference, which has no cache there.
    fn host(&self, run: &mut HostRun) {
        let rows = self.reference(&mut run.operands);
        if let Some(output) = &run.output {
            output.copy_from(&rows);
        }
    }

    /// The obvious computation on the CPU, accumulated in float64: the output's rows in order.
    fn reference(&self, operands: &mut Operands) -> Vec<f32>;
}
