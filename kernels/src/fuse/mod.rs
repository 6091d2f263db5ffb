//! Rewrites: rules by which nodes that follow each other become fewer, each in a file of its own.
//!
//! They are applied to the part of a graph that one device runs, after it was placed. What a part computes stays the same: the
//! reference gives the same values before and after.

mod residual;

use std::fmt;
use std::ops::Range;

use crate::device::Features;
use crate::graph::{Graph, Node, ValueId};

/// All rules, in the order in which they are tried.
pub const RULES: &[&dyn Rule] = &[&residual::ResidualIntoProduct];

/// A rule that replaces nodes.
pub trait Rule: fmt::Debug + Sync {
    /// Its name: that of its file.
    fn name(&self) -> &'static str;

    /// What replaces the nodes that begin at an index of the part, if the rule is about them.
    fn replacement(&self, part: &DeviceNodes, index: usize) -> Option<Replacement>;
}

/// Nodes in place of others.
#[derive(Debug, Clone)]
pub struct Replacement {
    /// How many nodes are replaced, from the index on.
    pub replaced: usize,
    /// What computes the same.
    pub nodes: Vec<Node>,
}

/// The nodes that one device runs, as far as they are rewritten.
#[derive(Debug)]
pub struct DeviceNodes<'a> {
    /// The whole graph, as it was.
    pub graph: &'a Graph,
    /// The device's nodes in order.
    pub nodes: Vec<Node>,
    /// What the device can do.
    pub features: Features,
    /// How many nodes of the whole graph, and outputs, read each value.
    readers: Vec<usize>,
}

/// The nodes that a device runs instead of a range of the graph's: rules are applied wherever they fit, until none does.
pub fn rewrite(graph: &Graph, nodes: Range<usize>, features: Features, rules: &[&dyn Rule]) -> Vec<Node> {
    let mut readers = vec![0; graph.values.len()];
    let outputs = graph.outputs.iter().map(|(_, value)| *value);
    graph.nodes.iter().flat_map(values_read).chain(outputs).for_each(|value| readers[value.0] += 1);
    let mut part = DeviceNodes { graph, nodes: graph.nodes[nodes].to_vec(), features, readers };
    let mut index = 0;
    while index < part.nodes.len() {
        match rules.iter().find_map(|rule| rule.replacement(&part, index)) {
            Some(found) => part.replace(index, found),
            None => index += 1,
        }
    }
    part.nodes
}

fn values_read(node: &Node) -> impl Iterator<Item = ValueId> {
    node.inputs.iter().map(|slice| slice.value)
}

impl DeviceNodes<'_> {
    /// Whether exactly one node, or output, reads a value.
    pub fn is_read_once(&self, value: ValueId) -> bool {
        self.readers[value.0] == 1
    }

    fn replace(&mut self, index: usize, Replacement { replaced, nodes }: Replacement) {
        let removed = &self.nodes[index..index + replaced];
        removed.iter().flat_map(values_read).for_each(|value| self.readers[value.0] -= 1);
        nodes.iter().flat_map(values_read).for_each(|value| self.readers[value.0] += 1);
        self.nodes.splice(index..index + replaced, nodes);
    }
}
