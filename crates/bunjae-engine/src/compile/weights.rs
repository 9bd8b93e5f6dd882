//! Weights as the kernels want them: as they are, packed, or computed from others.
//!
//! What is packed or computed is kept in the [`Store`](super::store::Store) under a key that says
//! what it is and how it is packed, so it is made once for all models that want the same.

use std::borrow::Cow;

use bunjae_ir::{NodeId, Op, TensorId};
use bunjae_kernels::Packing;
use bunjae_tensor::Tensor;

use super::lower::Lowering;
use crate::error::CompileError;

/// What the numbers are that a kernel computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A weight of the graph.
    Weight(TensorId),
    /// The factors of a batch normalisation, one per channel.
    Scale(NodeId),
    /// What a batch normalisation adds, one per channel.
    Shift(NodeId),
}

impl<'g> Lowering<'g> {
    /// Numbers in the order that a kernel wants; returns their region.
    pub(super) fn packed(
        &mut self,
        content: &Content,
        packing: &Packing,
        node: &str,
    ) -> Result<usize, CompileError> {
        if packing.is_plain() {
            return self.content(content);
        }
        let key = format!("{} as {packing}", self.key(content));
        self.stored(key, packing.packed_len(), |own| {
            let packed = packing.pack(&own.elements(content)?);
            packed.map_err(|source| CompileError::Kernel { node: node.to_string(), source })
        })
    }

    /// Numbers as they are; returns their region.
    pub(super) fn content(&mut self, content: &Content) -> Result<usize, CompileError> {
        match content {
            Content::Weight(id) => {
                // A kernel would take bytes of another type for f32.
                self.weight_elements(*id)?;
                let tensor = self.weight(*id)?.clone();
                Ok(self.add_weight(tensor))
            }
            Content::Scale(_) | Content::Shift(_) => {
                let elements = self.elements(content)?;
                self.stored(self.key(content), elements.len(), |_| Ok(elements.into_owned()))
            }
        }
    }

    /// Slopes, one per channel, from a weight that holds those or one for all.
    pub(super) fn slopes(&mut self, id: TensorId, channels: usize) -> Result<usize, CompileError> {
        match self.weight_elements(id)? {
            &[slope] => {
                let key = format!("{} for {channels} channels", self.key(&Content::Weight(id)));
                self.stored(key, channels, |_| Ok(vec![slope; channels]))
            }
            _ => self.content(&Content::Weight(id)),
        }
    }

    /// What the store holds under a key, or else what `make` makes; returns its region.
    pub(super) fn stored(
        &mut self,
        key: String,
        len: usize,
        make: impl FnOnce(&Self) -> Result<Vec<f32>, CompileError>,
    ) -> Result<usize, CompileError> {
        let tensor = match self.store.packed(&key, len)? {
            Some(tensor) => tensor.clone(),
            None => {
                let elements = make(self)?;
                let tensor = Tensor::from_slice(&[elements.len()], &elements);
                let tensor = tensor
                    .map_err(|source| CompileError::Weight { weight: key.clone(), source })?;
                self.store.keep(key, tensor.clone());
                tensor
            }
        };
        Ok(self.add_weight(tensor))
    }

    /// A name that is the same in every plan of a network, and no other content has.
    pub(super) fn key(&self, content: &Content) -> String {
        match content {
            Content::Weight(id) => format!("weight {:?}", self.graph.label(*id)),
            Content::Scale(node) => format!("scale of node {}", node.index()),
            Content::Shift(node) => format!("shift of node {}", node.index()),
        }
    }

    pub(super) fn elements(&self, content: &Content) -> Result<Cow<'g, [f32]>, CompileError> {
        let node = match content {
            Content::Weight(id) => return Ok(self.weight_elements(*id)?.into()),
            Content::Scale(node) | Content::Shift(node) => self.graph.node(*node),
        };
        let eps = match &node.op {
            Op::BatchNorm(norm) => f64::from(norm.eps),
            _ => 0.0,
        };
        let [gamma, beta, mean, variance] =
            [1, 2, 3, 4].map(|at| self.weight_elements(node.inputs[at]));
        let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
        let channels = 0..gamma.len();
        let scale = |channel: usize| {
            f64::from(gamma[channel]) / (f64::from(variance[channel]) + eps).sqrt()
        };
        Ok(match content {
            Content::Shift(_) => channels
                .map(|c| (f64::from(beta[c]) - f64::from(mean[c]) * scale(c)) as f32)
                .collect(),
            _ => channels.map(|c| scale(c) as f32).collect(),
        })
    }
}
