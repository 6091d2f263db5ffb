//! The graphs of a model for all the layouts that are tried: the files are read once, and each context's graph is made once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use plywood_kernels::Graph;
use plywood_models::transformer::Transformer;

use crate::error::Result;
use crate::planning::settings::{Settings, Source};

/// A model's graphs.
pub(crate) struct Graphs {
    transformer: Transformer,
    by_context: RefCell<BTreeMap<usize, Arc<Graph>>>,
}

impl Graphs {
    /// Reads what the graphs have in common.
    pub fn read(source: Source) -> Result<Graphs> {
        let transformer = Transformer::read(source.weights, source.config)?;
        Ok(Graphs { transformer, by_context: RefCell::default() })
    }

    /// The graph for sequences of up to `context` tokens, with its matrices as the files have them.
    pub fn of_context(&self, context: usize) -> Arc<Graph> {
        let make = || Arc::new(self.transformer.graph(context));
        Arc::clone(self.by_context.borrow_mut().entry(context).or_insert_with(make))
    }

    /// The graph under the settings.
    pub fn under(&self, settings: &Settings) -> Arc<Graph> {
        let mut graph = self.of_context(settings.context);
        if let Some(format) = settings.quantize {
            Arc::make_mut(&mut graph).quantise(format);
        }
        if let Some(format) = settings.stored {
            let graph = Arc::make_mut(&mut graph);
            for weight in graph.matrices() {
                let weight = &mut graph.weights[weight.0];
                if weight.columns.is_multiple_of(format.block_elements) {
                    weight.held = Some(format);
                }
            }
        }
        graph
    }
}
