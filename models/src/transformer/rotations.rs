//! Tables of rotations: how fast pairs are rotated is read from the files once, the tables are made for each context.

use std::mem::take;

use plywood_kernels::Graph;
use plywood_kernels::graph::{Weight, WeightId};
use plywood_kernels::rope;

use super::Builder;
use crate::config::{self, Factors, Scaling};
use crate::error::{Error, Result};
use crate::names::Role;

/// What a weight of rotations is made of.
#[derive(Debug, Clone)]
pub(super) struct Rotations {
    weight: WeightId,
    /// The angle per position of each pair.
    frequencies: Vec<f64>,
    /// Those of long sequences, with LongRoPE.
    long: Option<Long>,
    magnitude: f64,
}

/// How pairs are rotated in sequences of more tokens than `above`.
#[derive(Debug, Clone)]
pub(super) struct Long {
    above: usize,
    frequencies: Vec<f64>,
}

impl Rotations {
    /// Makes the weight for sequences of up to `context` tokens; with LongRoPE one table for short sequences, and beside it one for
    /// long ones where there can be some.
    pub fn make(&self, graph: &mut Graph, context: usize) {
        let mut frequencies = self.frequencies.clone();
        if let Some(long) = self.long.as_ref().filter(|long| context > long.above) {
            graph.long_above = Some(long.above);
            frequencies.extend(&long.frequencies);
        }
        let weight = &mut graph.weights[self.weight.0];
        let table = rope::tables(&frequencies, context, self.magnitude);
        *weight = Weight::computed(take(&mut weight.name), 2 * frequencies.len(), table);
    }
}

impl Builder<'_> {
    /// A weight of rotations whose frequencies are divided by the factors that the file has: those of LongRoPE, or such as converters
    /// compute for `llama3` scaling.
    pub(super) fn rotations(&mut self, name: &str, rope: &config::Rope) -> Result<WeightId> {
        let plain = rope.inverse_frequencies();
        let divided = |factors: &[f64]| -> Vec<f64> {
            plain.iter().zip(factors).map(|(frequency, factor)| frequency / factor).collect()
        };
        let mut long = None;
        let frequencies = match &rope.scaling {
            Scaling::Long { original, factors } => {
                let count = plain.len();
                let factors = match factors {
                    Some(given) => given.clone(),
                    None => Factors {
                        short: self.factors(Role::RopeFactorsShort, count)?,
                        long: self.factors(Role::RopeFactorsLong, count)?,
                    },
                };
                long = Some(Long { above: *original, frequencies: divided(&factors.long) });
                divided(&factors.short)
            }
            _ if self.is_there(Role::RopeFactors, 0) => divided(&self.factors(Role::RopeFactors, plain.len())?),
            _ => plain,
        };
        Ok(self.table(name, frequencies, long, rope.magnitude))
    }

    /// A weight of rotations, which is empty until the context is known.
    pub(super) fn table(&mut self, name: &str, frequencies: Vec<f64>, long: Option<Long>, magnitude: f64) -> WeightId {
        let weight = self.graph.weight(Weight::computed(name, 2 * frequencies.len(), []));
        self.rotations.push(Rotations { weight, frequencies, long, magnitude });
        weight
    }

    /// What the file divides RoPE's frequencies by.
    fn factors(&mut self, role: Role, count: usize) -> Result<Vec<f64>> {
        let factors = self.vector(role, 0, count)?;
        if factors.iter().all(|factor| *factor > 0.0) {
            return Ok(factors.into_iter().map(f64::from).collect());
        }
        Err(Error::WrongNumbers { tensor: self.name(role, 0), wanted: "numbers above 0" })
    }
}
