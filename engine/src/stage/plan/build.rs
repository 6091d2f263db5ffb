//! The making of a plan: buffers in the order in which they are known, then what lies over them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use plywood_kernels::{Graph, fuse};

use super::buffers::allot;
use super::values::crossing;
use super::{BufferPlan, Limits, Params, StagePlan, StepBuffers, StepLimits};
use crate::error::{Error, Result};
use crate::ledger::Purpose;
use crate::stage::recording::Handle;

impl StagePlan {
    /// Plans the nodes of a stage for a device.
    pub fn new(graph: &Arc<Graph>, range: Range<usize>, limits: Limits, steps: StepLimits) -> Result<StagePlan> {
        let mut buffers = Vec::new();
        let mut step = StepBuffers {
            tokens: allot(&mut buffers, "tokens", 16 * steps.tokens as u64, Purpose::Activations),
            blocks: allot(&mut buffers, "blocks", 16 * steps.tokens as u64, Purpose::Activations),
            selected: allot(&mut buffers, "selected", 4 * steps.selected as u64, Purpose::Activations),
            pages: allot(
                &mut buffers,
                "page table",
                4 * (steps.sequences * steps.pages_per_sequence()) as u64,
                Purpose::Activations,
            ),
            draws: allot(&mut buffers, "draws", 32 * steps.selected as u64, Purpose::Activations),
            chosen: Handle(0),
            staging: [Handle(0); 2],
        };
        let words: u64 = buffers.iter().map(|buffer: &BufferPlan| buffer.bytes).sum();
        step.chosen = allot(&mut buffers, "chosen tokens", 4 * steps.sequences as u64, Purpose::Activations);
        step.staging = [(); 2].map(|()| allot(&mut buffers, "step staging", words, Purpose::Staging));
        let (received, sent) = crossing(graph, &range);
        let nodes = fuse::rewrite(graph, range.clone(), limits.features, &limits.choices.rules);
        let mut plan = StagePlan {
            limits,
            steps,
            graph: Arc::clone(graph),
            range,
            nodes: Vec::new(),
            received,
            sent,
            buffers,
            weights: BTreeMap::new(),
            caches: HashMap::new(),
            values: HashMap::new(),
            step,
            readbacks: HashMap::new(),
            params: Params { buffer: Handle(0), words: Vec::new() },
            lowered: Vec::new(),
            scratch: Vec::new(),
        };
        for node in &nodes {
            for weight in node.weights.iter() {
                if !plan.weights.contains_key(weight) {
                    let planned = plan.plan_weight(&graph.weights[weight.0], node.op.kernel().takes_shards())?;
                    plan.weights.insert(*weight, planned);
                }
            }
            if let Some(cache) = node.cache
                && !plan.caches.contains_key(&cache)
            {
                let planned = plan.plan_cache(graph, cache)?;
                plan.caches.insert(cache, planned);
            }
        }
        plan.nodes = nodes;
        plan.assign_values();
        let received: u64 = plan.received.iter().map(|value| plan.value_bytes(*value)).sum();
        plan.buffers[step.staging[0].0].bytes += received.next_multiple_of(16);
        plan.assign_readbacks();
        plan.lower();
        plan.check_bindings()?;
        Ok(plan)
    }

    fn check_bindings(&self) -> Result<()> {
        let bound = self.buffers.iter().filter(|buffer| buffer.purpose != Purpose::Staging);
        match bound.max_by_key(|buffer| buffer.bytes).filter(|buffer| buffer.bytes > self.limits.max_binding) {
            Some(buffer) => Err(self.binding_error(
                &buffer.label,
                buffer.bytes,
                "use a smaller Options::context, or another adapter",
            )),
            None => Ok(()),
        }
    }

    pub(super) fn binding_error(&self, what: &str, bytes: u64, advice: &'static str) -> Error {
        let device = self.limits.device.clone();
        Error::Binding { device, what: what.to_string(), bytes, limit: self.limits.max_binding, advice }
    }
}
