//! The proof that a cut did what it should: removed equals masked.

use bunjae_ir::{Bindings, Graph};
use bunjae_passes::{EquivalenceError, output_difference, sample_inputs};
use bunjae_tensor::Tolerance;
use serde::Serialize;

/// A network with its channels removed beside the same with them masked, run on random input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The seed of the input.
    pub seed: u64,
    /// Whether no output differs, and all of it are numbers.
    pub passed: bool,
    /// Every output.
    pub outputs: Vec<CheckedOutput>,
}

/// How far an output of the two lies apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckedOutput {
    /// Its name.
    pub name: String,
    /// The largest absolute difference; in JSON null where it is infinite.
    pub largest_difference: f64,
    /// How many values are not a number in both, which proves nothing.
    pub not_numbers: usize,
}

impl Check {
    /// Runs both graphs in the interpreter.
    ///
    /// # Errors
    /// [`EquivalenceError`] where a graph cannot be run.
    pub fn of(
        removed: &Graph,
        masked: &Graph,
        bindings: &Bindings,
        seed: u64,
    ) -> Result<Check, EquivalenceError> {
        let inputs = sample_inputs(masked, bindings, seed)?;
        let differences = output_difference(removed, masked, &inputs, Tolerance::EXACT)?;
        let outputs = differences.into_iter().map(|(name, found)| CheckedOutput {
            name,
            largest_difference: found.largest,
            not_numbers: found.undefined,
        });
        let outputs: Vec<CheckedOutput> = outputs.collect();
        let equal = |output: &CheckedOutput| output.largest_difference == 0.0;
        let passed = outputs.iter().all(|output| equal(output) && output.not_numbers == 0);
        Ok(Check { seed, passed, outputs })
    }

    /// What is wrong, where it did not pass.
    pub fn fault(&self) -> &'static str {
        if self.outputs.iter().any(|output| output.largest_difference != 0.0) {
            "removed and masked channels differ"
        } else {
            "the outputs are not numbers, which proves nothing"
        }
    }
}
