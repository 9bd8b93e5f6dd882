//! Running a network on batches: for validation, and for what a teacher says.

use std::sync::Arc;

use bunjae_data::loader::{Batches, Loading};
use bunjae_data::pictures::Pictures;
use bunjae_engine::{CompileOptions, Input, Model, Output, Session};
use bunjae_ir::{Graph, Source, TensorId};
use bunjae_measure::metrics::{Classified, Scores};

use crate::error::TrainError;
use crate::step::{logits, with_batch};

/// A network that gives logits for batches of pictures, and features from inside.
pub(crate) struct Predictor {
    session: Session,
    batch: usize,
    classes: usize,
    input: Vec<f32>,
    /// The logits, then the features that were asked for.
    outputs: Vec<Vec<f32>>,
}

impl Predictor {
    /// Compiles a network whose batch is fixed. Where it ends in a softmax, the logits are what that
    /// is taken of.
    pub(crate) fn new(
        bound: &Graph,
        features: &[TensorId],
        threads: usize,
    ) -> Result<Self, TrainError> {
        let mut wanted = vec![logits(bound)?];
        wanted.extend(features);
        let bound = with_outputs(bound, &wanted)?;
        let options = CompileOptions { threads, ..CompileOptions::default() };
        let model = Model::compile(&bound, &options)?;
        let (batch, input) = match model.inputs() {
            [input] => (input.shape.first().copied().unwrap_or(0), input.elements()),
            inputs => return Err(TrainError::Inputs { found: inputs.len() }),
        };
        let outputs: Vec<Vec<f32>> =
            model.outputs().iter().map(|port| vec![0.0; port.elements()]).collect();
        let classes = outputs.first().map_or(0, Vec::len) / batch.max(1);
        let session = Session::new(Arc::new(model))?;
        Ok(Predictor { session, batch, classes, input: vec![0.0; input], outputs })
    }

    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// Runs at most a batch of pictures.
    pub(crate) fn run(&mut self, inputs: &[f32]) -> Result<(), TrainError> {
        let inputs = if inputs.len() == self.input.len() {
            inputs
        } else if inputs.len() < self.input.len() {
            // A model is compiled for whole batches; what is missing is computed for nothing.
            self.input.fill(0.0);
            self.input[..inputs.len()].copy_from_slice(inputs);
            &self.input
        } else {
            let (expected, found) = (self.input.len(), inputs.len());
            return Err(TrainError::Length { what: "a batch of pictures", expected, found });
        };
        let outputs = self.outputs.iter_mut().map(|values| Output::from(values.as_mut_slice()));
        self.session.run(&[Input::from(inputs)], &mut outputs.collect::<Vec<_>>())?;
        Ok(())
    }

    /// The logits of the last run; a row for each picture, and rows without meaning where the batch
    /// was not full.
    pub(crate) fn logits(&self) -> &[f32] {
        self.outputs.first().map_or(&[], Vec::as_slice)
    }

    /// The features of the last run, in the order in which they were asked for.
    pub(crate) fn features(&self) -> &[Vec<f32>] {
        self.outputs.get(1..).unwrap_or_default()
    }

    /// Pictures in a batch.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }
}

/// The graph with other outputs: these tensors, in this order.
fn with_outputs(graph: &Graph, outputs: &[TensorId]) -> Result<Graph, TrainError> {
    let mut result = Graph::new(&graph.name);
    let mut ids = vec![None; graph.value_count()];
    // Inputs and weights first, as nodes use them.
    for (id, value) in graph.values() {
        ids[id.index()] = match &value.source {
            Source::Input { name } => Some(result.input(name, value.ty.clone())?),
            Source::Weight { name, tensor, trainable } => {
                Some(result.add_weight(name, tensor.clone(), *trainable)?)
            }
            Source::Node { .. } => None,
        };
    }
    for node in graph.nodes() {
        let inputs: Vec<_> = node.inputs.iter().filter_map(|id| ids[id.index()]).collect();
        let results = result.push_multi(&node.name, node.op.clone(), &inputs)?;
        for (old, new) in node.outputs.iter().zip(results) {
            ids[old.index()] = Some(new);
        }
    }
    for (number, id) in outputs.iter().enumerate() {
        if let Some(id) = ids[id.index()] {
            result.output(&format!("bunjae.output.{number}"), id)?;
        }
    }
    Ok(bunjae_passes::prune_dead(&result)?.unwrap_or(result))
}

/// Scores a network on the labelled pictures of a data set.
///
/// # Errors
/// [`TrainError`], also where a probability is no number.
pub fn validate(
    graph: &Graph,
    pictures: &Arc<Pictures>,
    batch: usize,
    threads: usize,
) -> Result<Scores, TrainError> {
    let mut predictor = Predictor::new(&with_batch(graph, batch)?, &[], threads)?;
    let classes = predictor.classes();
    let loading = Loading { workers: threads, ..Loading::plain(batch) };
    let (mut labels, mut probabilities) = (Vec::new(), Vec::new());
    for batch in Batches::new(Arc::clone(pictures), loading, 0..1, 0)? {
        let batch = batch?;
        predictor.run(batch.inputs.elements::<f32>()?)?;
        for (label, row) in batch.labels.iter().zip(predictor.logits().chunks_exact(classes.max(1)))
        {
            if let Some(label) = label {
                labels.push(*label);
                softmax(row, &mut probabilities);
            }
        }
    }
    Ok(Scores::of(&Classified::new(&labels, &probabilities, classes)?))
}

/// Appends `exp(x) / sum(exp(x))`, in f64, shifted by the largest so that nothing overflows.
fn softmax(row: &[f32], probabilities: &mut Vec<f32>) {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let powers: Vec<f64> = row.iter().map(|&x| (f64::from(x) - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    probabilities.extend(powers.iter().map(|power| (power / sum) as f32));
}
