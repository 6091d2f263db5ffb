//! Which layers run on which device: pure arithmetic.
//!
//! Today layers are apportioned by the shares that a person gives; apportioning by measured speed and
//! memory goes here too.

use std::ops::Range;

use plywood_kernels::Graph;

use crate::error::{Error, Result};

/// The nodes of a graph that one stage runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageNodes {
    /// Nodes.
    pub nodes: Range<usize>,
    /// Whole layers among them.
    pub layers: Range<usize>,
}

/// Cuts a graph at its layer marks into one stage for each share, layers in proportion to the shares.
///
/// What comes before the first layer goes with the first stage, what comes behind the last with the last.
/// A share of 0 gets no layer. Shares are whole numbers of any size; their sum must not be 0.
pub fn split(graph: &Graph, shares: &[u32]) -> Result<Vec<StageNodes>> {
    let total: u64 = shares.iter().map(|share| u64::from(*share)).sum();
    if total == 0 {
        return Err(Error::Option { option: "--split", reason: "at least one share must be more than 0".into() });
    }
    let layers = graph.layers() as u64;
    let (mut given, mut first) = (0u64, 0usize);
    let mut stages = Vec::new();
    for (index, share) in shares.iter().enumerate() {
        given += u64::from(*share);
        // Rounding the running sum, so that the shares' errors do not add up.
        let last = ((layers * given * 2 + total) / (total * 2)) as usize;
        let begin = if index == 0 { 0 } else { graph.marks[first] };
        let end = if index + 1 == shares.len() { graph.nodes.len() } else { graph.marks[last] };
        stages.push(StageNodes { nodes: begin..end, layers: first..last });
        first = last;
    }
    Ok(stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_follow_shares() {
        let graph = Graph { marks: (1..=11).collect(), ..Graph::default() };
        let check = |shares: &[u32], cuts: &[usize]| {
            let stages = split(&graph, shares).expect("the shares can be used");
            let begins: Vec<usize> = stages.iter().map(|stage| stage.layers.start).chain([10]).collect();
            assert_eq!(begins, cuts);
        };
        check(&[1], &[0, 10]);
        check(&[3, 1], &[0, 8, 10]);
        check(&[1, 1, 1], &[0, 3, 7, 10]);
        check(&[0, 1], &[0, 0, 10]);
        check(&[u32::MAX, u32::MAX], &[0, 5, 10]);
        assert!(split(&graph, &[0, 0]).is_err());
    }
}
