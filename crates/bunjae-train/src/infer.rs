//! Running a network on batches: for validation, and for what a teacher says.

use std::sync::Arc;

use bunjae_data::loader::{Batches, Loading};
use bunjae_data::pictures::Pictures;
use bunjae_engine::{CompileOptions, Input, Model, Output, Session};
use bunjae_ir::Graph;
use bunjae_measure::metrics::{Classified, Scores};

use crate::error::TrainError;
use crate::step::{logits, with_batch};

/// A network that gives logits for batches of pictures.
pub(crate) struct Predictor {
    session: Session,
    batch: usize,
    classes: usize,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl Predictor {
    /// Compiles a network for a batch. Where it ends in a softmax, the logits are what that is taken
    /// of.
    pub(crate) fn new(graph: &Graph, batch: usize, threads: usize) -> Result<Self, TrainError> {
        let mut bound = with_batch(graph, batch)?;
        let scores = logits(&bound)?;
        // The first output becomes the logits, and others are not computed.
        let name = "bunjae.logits";
        bound.output(name, scores)?;
        let bound = only_output(&bound, name)?;
        let options = CompileOptions { threads, ..CompileOptions::default() };
        let model = Model::compile(&bound, &options)?;
        let (input, output) = match (model.inputs(), model.outputs()) {
            ([input], [output]) => (input.elements(), output.elements()),
            (inputs, _) => return Err(TrainError::Inputs { found: inputs.len() }),
        };
        let session = Session::new(Arc::new(model))?;
        let (input, output) = (vec![0.0; input], vec![0.0; output]);
        let classes = output.len() / batch.max(1);
        Ok(Predictor { session, batch, classes, input, output })
    }

    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// The logits of at most a batch of pictures.
    pub(crate) fn logits(&mut self, inputs: &[f32]) -> Result<&[f32], TrainError> {
        let size = (self.input.len() / self.batch.max(1)).max(1);
        let count = (inputs.len() / size).min(self.batch);
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
        let outputs = &mut [Output::from(self.output.as_mut_slice())];
        self.session.run(&[Input::from(inputs)], outputs)?;
        Ok(&self.output[..count * self.classes])
    }
}

/// The graph with one of its outputs alone.
fn only_output(graph: &Graph, name: &str) -> Result<Graph, TrainError> {
    let mut result = Graph::new(&graph.name);
    result.metadata = graph.metadata.clone();
    let mut ids = Vec::with_capacity(graph.value_count());
    // Inputs and weights first, as they were added before the nodes that use them.
    for (_, value) in graph.values() {
        ids.push(match &value.source {
            bunjae_ir::Source::Input { name } => Some(result.input(name, value.ty.clone())?),
            bunjae_ir::Source::Weight { name, tensor, trainable } => {
                Some(result.add_weight(name, tensor.clone(), *trainable)?)
            }
            bunjae_ir::Source::Node { .. } => None,
        });
    }
    for node in graph.nodes() {
        let inputs: Vec<_> = node.inputs.iter().filter_map(|id| ids[id.index()]).collect();
        let outputs = result.push_multi(&node.name, node.op.clone(), &inputs)?;
        for (old, new) in node.outputs.iter().zip(outputs) {
            ids[old.index()] = Some(new);
        }
    }
    for output in graph.outputs().iter().filter(|output| output.name == name) {
        if let Some(id) = ids[output.tensor.index()] {
            result.output(name, id)?;
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
    let mut predictor = Predictor::new(graph, batch, threads)?;
    let classes = predictor.classes();
    let loading = Loading { workers: threads, ..Loading::plain(batch) };
    let (mut labels, mut probabilities) = (Vec::new(), Vec::new());
    for batch in Batches::new(Arc::clone(pictures), loading, 0..1, 0)? {
        let batch = batch?;
        let rows = predictor.logits(batch.inputs.elements::<f32>()?)?;
        for (label, row) in batch.labels.iter().zip(rows.chunks_exact(classes.max(1))) {
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
