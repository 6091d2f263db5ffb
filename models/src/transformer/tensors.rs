//! Weights of the graph from the tensors of a file.

use std::sync::Arc;

use plywood_kernels::graph::{Source, Weight, WeightId, WeightPart};

use super::Builder;
use crate::error::{Error, Result};
use crate::names::{self, Role};
use crate::weights::TensorInfo;

/// The longest bias that is looked at, in bytes.
const ZERO_BIAS_LIMIT: u64 = 1 << 20;

impl<'a> Builder<'a> {
    /// The name that a tensor has in these files.
    pub(super) fn name(&self, role: Role, layer: usize) -> String {
        names::name_in(self.config.architecture, self.config.kind, role, layer)
    }

    /// The weights of a norm as they are multiplied with.
    pub(super) fn norm_weights(&mut self, role: Role, layer: usize, columns: usize) -> Result<Vec<f32>> {
        let offset = self.config.architecture.norm_offset(self.config.kind);
        let mut weights = self.vector(role, layer, columns)?;
        weights.iter_mut().for_each(|weight| *weight += offset);
        Ok(weights)
    }

    /// Biases of these shapes, one after the other.
    pub(super) fn bias(&mut self, label: String, layer: usize, parts: &[(Role, &[usize])]) -> Result<WeightId> {
        let mut numbers = Vec::new();
        for (role, shape) in parts {
            numbers.extend(self.numbers(*role, layer, shape)?);
        }
        Ok(self.computed(label, numbers))
    }

    /// A vector of numbers that are known when the graph is built.
    pub(super) fn computed(&mut self, name: String, numbers: Vec<f32>) -> WeightId {
        self.graph.weight(Weight::computed(name, numbers.len(), numbers))
    }

    /// The numbers of a vector.
    pub(super) fn vector(&mut self, role: Role, layer: usize, columns: usize) -> Result<Vec<f32>> {
        self.numbers(role, layer, &[columns])
    }

    /// The numbers of a small tensor of a shape.
    pub(super) fn numbers(&mut self, role: Role, layer: usize, shape: &[usize]) -> Result<Vec<f32>> {
        let (index, tensor) = self.required(role, layer, shape)?;
        let format = tensor.format()?;
        let mut bytes = vec![0; tensor.bytes as usize];
        self.weights.read_checked(index, 0, &mut bytes)?;
        let mut numbers = vec![0.0; shape.iter().product()];
        format.decode_row(&bytes, &mut numbers);
        Ok(numbers)
    }

    /// Whether a tensor is there.
    pub(super) fn is_there(&self, role: Role, layer: usize) -> bool {
        self.by_name.contains_key(self.name(role, layer).as_str())
    }

    /// A weight matrix stacked from tensors of this many rows each.
    pub(super) fn matrix(
        &mut self,
        label: String,
        layer: usize,
        columns: usize,
        stack: &[(Role, usize)],
    ) -> Result<WeightId> {
        let parts = stack.iter().map(|(role, rows)| self.part(*role, layer, *rows, columns));
        let parts = parts.collect::<Result<Vec<WeightPart>>>()?;
        self.stack(label, columns, parts)
    }

    /// A weight of parts whose columns are in one order.
    pub(super) fn stack(&mut self, label: String, columns: usize, parts: Vec<WeightPart>) -> Result<WeightId> {
        let order = self.order(&parts)?;
        let weight = self.graph.weight(Weight { name: label, columns, parts, held: None });
        self.orders.extend(order.map(|order| (weight, order)));
        Ok(weight)
    }

    /// The order of the columns that all parts of a weight have.
    pub(super) fn order(&self, parts: &[WeightPart]) -> Result<Option<Arc<[u32]>>> {
        let tensors = parts.iter().filter_map(|part| match part.source {
            Source::Tensor(index) => Some(index),
            _ => None,
        });
        let tensors: Vec<usize> = tensors.collect();
        let order = tensors.first().and_then(|tensor| self.weights.order(*tensor));
        let name = |tensor: usize| self.weights.tensors()[tensor].name.clone();
        match tensors.iter().find(|tensor| self.weights.order(**tensor) != order) {
            None => Ok(order.cloned()),
            Some(other) => Err(Error::DifferentOrders { first: name(tensors[0]), second: name(*other) }),
        }
    }

    /// A tensor as part of a weight, checked against the shape that the configuration wants.
    pub(super) fn part(&mut self, role: Role, layer: usize, rows: usize, columns: usize) -> Result<WeightPart> {
        let (index, tensor) = self.required(role, layer, &[rows, columns])?;
        Ok(WeightPart { source: Source::Tensor(index), format: tensor.format()?, rows })
    }

    /// A tensor, if it is there; it must have the shape.
    pub(super) fn tensor(
        &mut self,
        role: Role,
        layer: usize,
        shape: &[usize],
    ) -> Result<Option<(usize, &'a TensorInfo)>> {
        match self.by_name.get(self.name(role, layer).as_str()) {
            Some(&index) => Ok(Some((index, self.shaped(index, shape)?))),
            None => Ok(None),
        }
    }

    /// A tensor that must be there.
    fn required(&mut self, role: Role, layer: usize, shape: &[usize]) -> Result<(usize, &'a TensorInfo)> {
        let found = self.tensor(role, layer, shape)?;
        found.ok_or_else(|| Error::MissingTensor { tensor: self.name(role, layer) })
    }

    /// A tensor, which must have the shape; a vector is a matrix of one row too.
    pub(super) fn shaped(&mut self, index: usize, shape: &[usize]) -> Result<&'a TensorInfo> {
        let tensor = &self.weights.tensors()[index];
        if tensor.shape != shape && [&[1], tensor.shape.as_slice()].concat() != shape {
            let (found, wanted) = (tensor.shape.clone(), shape.to_vec());
            return Err(Error::WrongShape { tensor: tensor.name.clone(), found, wanted });
        }
        self.used[index] = true;
        Ok(tensor)
    }

    /// Checks that no tensor is left over that would change the result.
    pub(super) fn check_all_used(&self) -> Result<()> {
        let output = self.name(Role::Output, 0);
        let redundant = |name: &str| names::is_redundant(name) || (self.config.tied && name == output);
        let after = self.config.layers..self.config.layers.saturating_add(self.config.predicting_layers);
        let predicts = |name: &str| names::layer_of(name).is_some_and(|layer| after.contains(&layer));
        for (index, tensor) in self.weights.tensors().iter().enumerate() {
            let has_place = self.used[index] || redundant(&tensor.name) || predicts(&tensor.name);
            if !has_place && !self.is_zero_bias(index)? {
                return Err(Error::UnusedTensor {
                    tensor: tensor.name.clone(),
                    architecture: self.config.architecture.name_in(self.config.kind).into(),
                });
            }
        }
        Ok(())
    }

    /// Whether a tensor is a bias of zeros, as quantisers write them for layers that have none.
    pub(super) fn is_zero_bias(&self, index: usize) -> Result<bool> {
        let tensor = &self.weights.tensors()[index];
        let small = tensor.shape.len() == 1 && tensor.bytes <= ZERO_BIAS_LIMIT;
        if !tensor.name.ends_with(".bias") || !small || tensor.format().is_err() {
            return Ok(false);
        }
        let mut bytes = vec![0; tensor.bytes as usize];
        self.weights.read(index, 0, &mut bytes)?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }
}
