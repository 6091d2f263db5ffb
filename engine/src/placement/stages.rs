//! The nodes of stages.

use std::ops::Range;

use plywood_kernels::Graph;

/// The nodes of a graph that one stage runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageNodes {
    /// Nodes.
    pub nodes: Range<usize>,
    /// Whole layers among them.
    pub layers: Range<usize>,
}

/// The nodes of stages that hold these layers. What comes before the first layer goes with the first stage, what comes after the
/// last with the last.
pub fn nodes(graph: &Graph, layers: &[Range<usize>]) -> Vec<StageNodes> {
    let stage = |(index, range): (usize, &Range<usize>)| {
        let begin = if index == 0 { 0 } else { graph.marks[range.start] };
        let end = if index + 1 == layers.len() { graph.nodes.len() } else { graph.marks[range.end] };
        StageNodes { nodes: begin..end, layers: range.clone() }
    };
    layers.iter().enumerate().map(stage).collect()
}
