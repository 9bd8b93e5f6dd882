//! ONNX Runtime as the outside judge of import and export.
//!
//! Whatever import makes of a file has to compute what ONNX Runtime computes with that file, and
//! ONNX Runtime has to load what export writes, in every operator set, and find the same numbers.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

mod operators;
mod patterns;
mod real_models;

use std::path::Path;

use bunjae_interp::run;
use bunjae_ir::{Bindings, Graph};
use bunjae_onnx::export::{ExportOptions, save};
use bunjae_onnx::{Limits, SaveError, export, import};
use bunjae_tensor::{Random, Tensor, Tolerance, compare};
use bunjae_testkit::fill::uniform;
use bunjae_testkit::onnx_runtime::{self, Job};

/// Operator sets at which the meaning of some operator changed, the oldest and the newest.
const OPSETS: [i64; 10] = [9, 10, 11, 12, 13, 14, 17, 18, 21, 26];

/// A run of ONNX Runtime, and what it should find.
struct Trial {
    what: String,
    job: Job,
    expected: Vec<Tensor>,
    /// How far the results may be from the expected ones, in proportion to the largest.
    allowed: f64,
}

/// A difference between results that matters to nobody, even where all of them are tiny.
const NEGLIGIBLE: f64 = 1e-6;

/// Lets ONNX Runtime run everything, and returns what it found together with all objections.
fn judge(python: &Path, folder: &Path, trials: &[Trial]) -> (Vec<Vec<Tensor>>, Vec<String>) {
    let jobs: Vec<Job> = trials.iter().map(|trial| trial.job.clone()).collect();
    let answers =
        onnx_runtime::run(python, folder, &jobs).unwrap_or_else(|error| panic!("{error}"));
    let mut objections = Vec::new();
    let mut found = Vec::new();
    for (trial, answer) in trials.iter().zip(answers) {
        let tensors: Vec<Tensor> = answer.into_iter().map(|(_, tensor)| tensor).collect();
        assert_eq!(tensors.len(), trial.expected.len(), "{}", trial.what);
        for (tensor, expected) in tensors.iter().zip(&trial.expected) {
            let objection = match compare(tensor, expected, Tolerance::EXACT) {
                Ok(difference) if difference.largest <= NEGLIGIBLE => continue,
                Ok(difference) if difference.largest_relative <= trial.allowed => continue,
                Ok(difference) => format!("{difference:?}"),
                Err(shapes) => shapes,
            };
            objections.push(format!("{}: {objection}", trial.what));
        }
        found.push(tensors);
    }
    (found, objections)
}

/// The graph's inputs, filled at random; `sizes` gives the symbols their values.
fn random_inputs(graph: &Graph, sizes: &Bindings, random: &mut Random) -> Vec<(String, Tensor)> {
    let input = |&id| {
        let ty = graph.ty(id).bind(sizes).unwrap();
        (graph.label(id), uniform(&ty, -2.0, 2.0, random).unwrap())
    };
    graph.inputs().iter().map(input).collect()
}

fn interpret(graph: &Graph, inputs: &[(String, Tensor)]) -> Vec<Tensor> {
    let inputs: Vec<Tensor> = inputs.iter().map(|(_, tensor)| tensor.clone()).collect();
    run(graph, &inputs).unwrap_or_else(|error| panic!("{}: {error}", graph.name))
}

fn imported(path: &Path) -> Graph {
    import(path, &Limits::default()).unwrap_or_else(|error| panic!("{error}")).graph
}

/// Writes the graph in an operator set; false where that set lacks something.
fn saved(path: &Path, graph: &Graph, opset: i64) -> bool {
    let options = ExportOptions { opset: Some(opset), ..ExportOptions::default() };
    match save(path, graph, &options) {
        Ok(()) => true,
        Err(SaveError::Export { source: export::ExportError::NeedsOpset { .. }, .. }) => false,
        Err(error) => panic!("{error}"),
    }
}
