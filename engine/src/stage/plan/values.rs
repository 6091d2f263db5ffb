//! Buffers of the values between ops, and of what leaves a stage.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use plywood_kernels::Graph;
use plywood_kernels::graph::ValueId;

use super::StagePlan;
use super::buffers::allot;
use crate::ledger::Purpose;
use crate::stage::recording::Handle;

impl StagePlan {
    /// Gives each value a buffer; a buffer is taken again once no later node reads what it held.
    pub(super) fn assign_values(&mut self) {
        let graph = Arc::clone(&self.graph);
        let mut last_use: HashMap<ValueId, usize> = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let used = node.inputs.iter().map(|slice| slice.value).chain(node.output);
            used.for_each(|value| _ = last_use.insert(value, index));
        }
        let kept = self.sent.iter().chain(graph.outputs.iter().map(|(_, value)| value));
        kept.for_each(|value| _ = last_use.entry(*value).and_modify(|last| *last = usize::MAX));
        let mut free: Vec<Handle> = Vec::new();
        for value in self.received.clone() {
            self.assign_value(value, &mut free);
        }
        for index in 0..self.nodes.len() {
            if let Some(value) = self.nodes[index].output {
                self.assign_value(value, &mut free);
            }
            // Only now, so that no op reads what it writes.
            let mut ended: Vec<ValueId> =
                last_use.iter().filter(|(_, last)| **last == index).map(|(id, _)| *id).collect();
            ended.sort();
            free.extend(ended.iter().map(|value| self.values[value]));
        }
    }

    /// Bytes of the most rows that a value may have.
    pub(super) fn value_bytes(&self, value: ValueId) -> u64 {
        (4 * Self::stride(&self.graph, value) * self.steps.rows(self.graph.values[value.0].rows)) as u64
    }

    /// Gives a value the free buffer that needs to grow least, or a new one.
    fn assign_value(&mut self, value: ValueId, free: &mut Vec<Handle>) {
        if self.values.contains_key(&value) {
            return;
        }
        let bytes = self.value_bytes(value);
        let growth = |handle: &Handle| {
            let size = self.buffers[handle.0].bytes;
            (bytes.saturating_sub(size), size)
        };
        let best = (0..free.len()).min_by_key(|index| growth(&free[*index]));
        let handle = match best {
            Some(index) => {
                let handle = free.remove(index);
                let buffer = &mut self.buffers[handle.0];
                buffer.bytes = buffer.bytes.max(bytes);
                handle
            }
            None => allot(&mut self.buffers, self.graph.values[value.0].name, bytes, Purpose::Activations),
        };
        self.values.insert(value, handle);
    }

    /// Allots read-back buffers for each value that may leave the stage.
    pub(super) fn assign_readbacks(&mut self) {
        let graph = Arc::clone(&self.graph);
        let sent = self.sent.iter().map(|value| (*value, 1));
        let outputs = graph.outputs.iter().filter(|(_, value)| self.values.contains_key(value));
        let outputs = outputs.map(|(output, value)| (*value, if output.is_choice() { 2 } else { 1 }));
        for (value, count) in sent.chain(outputs).collect::<Vec<_>>() {
            let label = format!("read back {}", graph.values[value.0].name);
            let bytes = self.value_bytes(value);
            let allotted = (0..count).map(|_| allot(&mut self.buffers, &label, bytes, Purpose::Staging));
            self.readbacks.insert(value, allotted.collect());
        }
    }
}

/// The values that enter a range of nodes and those that leave it for later nodes.
pub(super) fn crossing(graph: &Graph, nodes: &Range<usize>) -> (Vec<ValueId>, Vec<ValueId>) {
    let written =
        |range: Range<usize>| -> Vec<ValueId> { graph.nodes[range].iter().filter_map(|node| node.output).collect() };
    let read = |range: Range<usize>| -> Vec<ValueId> {
        let mut values: Vec<ValueId> =
            graph.nodes[range].iter().flat_map(|node| node.inputs.iter().map(|slice| slice.value)).collect();
        values.sort();
        values.dedup();
        values
    };
    let (inside, after) = (written(nodes.clone()), read(nodes.end..graph.nodes.len()));
    let received = read(nodes.clone()).into_iter().filter(|value| !inside.contains(value)).collect::<Vec<_>>();
    // What was received and is read further after passes through.
    let before: Vec<ValueId> = written(0..nodes.start).into_iter().chain(graph.inputs.iter().copied()).collect();
    let passing = after.iter().filter(|value| before.contains(value) && !received.contains(value));
    let received: Vec<ValueId> = received.iter().chain(passing).copied().collect();
    let sent = after.into_iter().filter(|value| inside.contains(value) || received.contains(value)).collect();
    (received, sent)
}
