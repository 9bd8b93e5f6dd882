//! What the models of one network have in common: packed weights, and the choices between kernels.

use std::collections::BTreeMap;

use bunjae_kernels::{ConvForm, ConvSpec, Isa};
use bunjae_tensor::Tensor;

use super::tune::Tuner;

/// A convolution for which a form is chosen: a node of the graph and the size of its result, so
/// that all batches share the choice and with it the packed weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choice {
    /// Index of the node.
    pub node: usize,
    /// Rows and columns of the convolution's result.
    pub size: [usize; 2],
}

/// Packed weights and choices; grows with the models that are planned.
#[derive(Default)]
pub(crate) struct Store {
    packed: BTreeMap<String, Tensor>,
    choices: BTreeMap<Choice, ConvForm>,
    /// Where forms are chosen by measuring them.
    tuner: Option<Tuner>,
}

impl Store {
    /// A store that chooses by measuring, or by estimate.
    pub(crate) fn new(tuner: Option<Tuner>) -> Store {
        Store { tuner, ..Store::default() }
    }

    /// A store with what another one held.
    pub(crate) fn with(
        choices: BTreeMap<Choice, ConvForm>,
        packed: BTreeMap<String, Tensor>,
    ) -> Store {
        Store { choices, packed, tuner: None }
    }

    /// The forms of convolutions.
    pub(crate) fn choices(&self) -> &BTreeMap<Choice, ConvForm> {
        &self.choices
    }

    /// All packed weights, by key.
    pub(crate) fn all_packed(&self) -> &BTreeMap<String, Tensor> {
        &self.packed
    }

    /// Weights that were packed before, if they have the wanted number of elements.
    pub(super) fn packed(&self, key: &str, len: usize) -> Option<&Tensor> {
        self.packed.get(key).filter(|tensor| tensor.len() == len)
    }

    pub(super) fn keep(&mut self, key: String, tensor: Tensor) {
        self.packed.insert(key, tensor);
    }

    /// The form of a convolution: as chosen before, as measured, or `None` to leave it to the
    /// kernels' estimate.
    pub(super) fn form(&mut self, choice: Choice, spec: &ConvSpec, isa: Isa) -> Option<ConvForm> {
        match self.choices.get(&choice) {
            Some(form) => Some(*form),
            None => self.tuner.as_mut()?.form(spec, isa),
        }
    }

    /// Remembers the form that a convolution got.
    pub(super) fn choose(&mut self, choice: Choice, form: ConvForm) {
        self.choices.insert(choice, form);
    }

    /// Bytes of all packed weights.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.packed.values().map(|tensor| tensor.bytes().len()).sum()
    }
}
