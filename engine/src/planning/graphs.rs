//! The graphs of a model for all the layouts that are tried: the files are read once, and the graph of a context is made once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use plywood_kernels::Graph;
use plywood_models::Weights;
use plywood_models::config::Config;
use plywood_models::transformer::Transformer;

use crate::error::Result;

/// A model's graphs, with its matrices as the files have them.
pub(crate) struct Graphs {
    transformer: Transformer,
    by_context: RefCell<BTreeMap<usize, Arc<Graph>>>,
}

impl Graphs {
    /// Reads what they have in common.
    pub fn read(weights: &dyn Weights, config: &Config) -> Result<Graphs> {
        let transformer = Transformer::read(weights, config)?;
        Ok(Graphs { transformer, by_context: RefCell::default() })
    }

    /// The graph for sequences of up to `context` tokens.
    pub fn of_context(&self, context: usize) -> Arc<Graph> {
        let mut graphs = self.by_context.borrow_mut();
        Arc::clone(graphs.entry(context).or_insert_with(|| Arc::new(self.transformer.graph(context))))
    }
}
