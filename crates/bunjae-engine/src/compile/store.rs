//! What the models of one network have in common: packed weights, and the choices between kernels.

use std::collections::BTreeMap;

use bunjae_kernels::{ConvForm, ConvSpec, Isa};
use bunjae_tensor::Tensor;

use super::tune::Tuner;
use crate::error::CompileError;

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
    /// Whether all that the next plan wants packed should be here.
    complete: bool,
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
        Store { choices, packed, ..Store::default() }
    }

    /// The forms of convolutions.
    pub(crate) fn choices(&self) -> &BTreeMap<Choice, ConvForm> {
        &self.choices
    }

    /// All packed weights, by key.
    pub(crate) fn all_packed(&self) -> &BTreeMap<String, Tensor> {
        &self.packed
    }

    /// Says whether all that the next plan wants packed should be here, so that what is not is an
    /// error.
    pub(crate) fn expect_complete(&mut self, complete: bool) {
        self.complete = complete;
    }

    /// Weights that were packed before.
    ///
    /// # Errors
    /// [`CompileError::Packed`] where they are not as long as the kernel wants, or missing from a
    /// store that should hold them.
    pub(super) fn packed(&self, key: &str, len: usize) -> Result<Option<&Tensor>, CompileError> {
        let what = match self.packed.get(key) {
            Some(tensor) if tensor.len() == len => return Ok(Some(tensor)),
            Some(tensor) => format!("{} elements, where the kernel wants {len}", tensor.len()),
            None if self.complete => "missing".to_string(),
            None => return Ok(None),
        };
        Err(CompileError::Packed { key: key.to_string(), what })
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

    /// Keeps what was measured for other runs, where that is asked for.
    pub(super) fn save_measured(&mut self) {
        if let Some(tuner) = &mut self.tuner {
            tuner.save();
        }
    }

    /// How many convolutions were measured.
    #[cfg(test)]
    pub(crate) fn measured(&self) -> usize {
        self.tuner.as_ref().map_or(0, Tuner::measured)
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
