//! What kernels compute on the host with: weights in panels, activations in 8 bits, a cache in pages, products, threads.

pub mod activations;
pub mod cache;
pub mod matrix;
pub mod output;
pub mod product;
mod tile;

use std::sync::{Mutex, PoisonError};

use crate::attention::AttentionScratch;
use crate::candidate::Candidate;
use crate::host::activations::QuantisedRows;
use crate::host::cache::PagedCache;
use crate::host::matrix::HostMatrix;
use crate::host::output::OutputRows;
use crate::reference::Operands;
use crate::simd::Isa;

/// Threads that compute together.
pub trait Threads: Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Runs every part from 0 on, at the same time as far as there are threads, and comes back when all have run.
    fn each(&self, parts: usize, part: &(dyn Fn(usize) + Sync));
}

/// Has each of some things taken by one thread, with its number.
pub fn each_item<T: Send>(threads: &dyn Threads, items: impl Iterator<Item = T>, take: impl Fn(usize, T) + Sync) {
    let items: Vec<Mutex<Option<T>>> = items.map(|item| Mutex::new(Some(item))).collect();
    threads.each(items.len(), &|index| {
        let item = items[index].lock().unwrap_or_else(PoisonError::into_inner).take();
        take(index, item.expect("a part runs once"));
    });
}

/// Memory that ops use while they run, kept from one to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Input in 8 bits.
    pub input: QuantisedRows,
    /// Input in single precision, where rows must be copied.
    pub floats: Vec<f32>,
    /// Lists of rows.
    pub rows: Vec<u32>,
    /// Of attention, for each thread.
    pub attention: Vec<Mutex<AttentionScratch>>,
}

/// What an op of a step computes from on the host, and where to.
pub struct HostRun<'a> {
    /// Activations, vectors of weights, and the step; no cache.
    pub operands: Operands<'a>,
    /// The weight named `weight` of an op that takes shards.
    pub matrix: Option<&'a HostMatrix>,
    /// The cache slot.
    pub cache: Option<&'a mut PagedCache>,
    /// Where its output goes.
    pub output: Option<OutputRows<'a>>,
    /// The candidate that was chosen.
    pub candidate: &'a Candidate,
    /// The instruction set.
    pub isa: Isa,
    /// Threads to compute on.
    pub threads: &'a dyn Threads,
    /// Memory to use meanwhile.
    pub scratch: &'a mut Scratch,
}

impl HostRun<'_> {
    /// Where the output goes, of an op that has one.
    pub fn output(&self) -> &OutputRows<'_> {
        self.output.as_ref().expect("the op writes a value")
    }

    /// Has every row of the output written, on all threads where there is enough to do: `row_work` operations for each, roughly.
    pub fn each_row(&mut self, row_work: usize, write: impl Fn(&Operands, usize, &mut [f32]) + Sync) {
        let (operands, threads) = (&self.operands, self.threads);
        let parts = threads.count().min(operands.rows * row_work / MIN_WORK).max(1);
        let output = self.output.as_mut().expect("the op writes a value");
        output.each_row(threads, parts, operands.rows, &|row, out: &mut [f32]| write(operands, row, out));
    }
}

/// Operations that are worth a thread.
const MIN_WORK: usize = 20_000;

#[cfg(test)]
mod tests;
