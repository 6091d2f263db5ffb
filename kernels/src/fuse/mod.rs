//! Rewrites: rules by which nodes that follow each other become fewer, each in a file of its own.
//!
//! They are applied to the part of a graph that one device runs, after it was placed. What a part computes stays the same: the
//! reference gives the same values before and after.

mod gate;
mod heads;
mod norm;
mod residual;

use std::fmt;
use std::ops::Range;

use crate::device::Features;
use crate::graph::{Graph, Node, ValueId};

/// All rules, in the order in which they are tried.
pub const RULES: &[&dyn Rule] =
    &[&residual::ResidualIntoSummand, &norm::NormIntoProduct, &gate::GateIntoProduct, &heads::HeadsAtOnce];

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
    /// How many operands of the whole graph's nodes, and outputs, are each value.
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

    /// Whether a node reads a value, by whatever of its columns, and no other does.
    pub fn is_read_only_by(&self, value: ValueId, node: &Node) -> bool {
        self.readers[value.0] == values_read(node).filter(|read| *read == value).count()
    }

    fn replace(&mut self, index: usize, Replacement { replaced, nodes }: Replacement) {
        let removed = &self.nodes[index..index + replaced];
        removed.iter().flat_map(values_read).for_each(|value| self.readers[value.0] -= 1);
        nodes.iter().flat_map(values_read).for_each(|value| self.readers[value.0] += 1);
        self.nodes.splice(index..index + replaced, nodes);
    }
}

#[cfg(test)]
mod testing {
    use std::ops::Range;

    use super::{RULES, rewrite};
    use crate::cases::Case;
    use crate::device::{Features, Processor};
    use crate::graph::{Graph, Output};
    use crate::reference::{Machine, nmse};
    use crate::simd::Isa;

    pub const GPU: Features = Features::LEAST;

    pub const HOST: Features = Features { processor: Processor::Host(Isa::PORTABLE), ..GPU };

    /// That a device runs this many nodes instead of a case's, which give the same.
    pub fn check(case: &Case, device: Features, nodes: usize) {
        check_range(case, 0..case.graph.nodes.len(), device, nodes);
    }

    /// The same of a part of the nodes.
    pub fn check_range(case: &Case, range: Range<usize>, device: Features, nodes: usize) {
        let part = rewrite(&case.graph, range.clone(), device, RULES);
        assert_eq!(part.len(), nodes, "{part:?}");
        let mut rewritten = case.graph.clone();
        rewritten.nodes.splice(range, part);
        let outputs = |graph: &Graph| {
            let mut machine = Machine::new(graph, case.host_weights(), case.kv_type, case.pages());
            let values = machine.step(&case.steps[0], case.given(0), &[Output::Logits, Output::LogSumExp]);
            graph.outputs.iter().flat_map(|(_, value)| values[value].clone()).collect::<Vec<_>>()
        };
        // What lay between was rounded once more.
        assert!(nmse(&outputs(&case.graph), &outputs(&rewritten)) < 1e-13);
    }
}
