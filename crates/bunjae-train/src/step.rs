//! The graph of a training step: the network as it is trained, its loss, and the gradients.

use bunjae_ir::op::Flatten;
use bunjae_ir::{Bindings, Dim, DimExpr, Graph, Node, Op, Source, TensorId, TensorType};
use bunjae_passes::trainable_weights;
use bunjae_passes::{BatchStatistics, DropoutMask, differentiate, for_training, losses};
use bunjae_tensor::{DType, Random, Tensor};

use crate::distil::{self, Operands, REGRESSOR};
use crate::error::TrainError;
use crate::freeze::Frozen;
use crate::recipe::Recipe;

/// The names of what a step takes and gives beside the network's own.
/// The input of [`with_cross_entropy`] that takes the share of each class, `[batch, classes]`.
pub const TARGETS: &str = "bunjae.targets";
/// The input of [`with_cross_entropy`] that takes the weight of each example, `[batch]`.
pub const WEIGHTS: &str = "bunjae.weights";
/// The output of [`with_cross_entropy`] that is the loss, a scalar.
pub const LOSS: &str = "bunjae.loss";

/// A training step as a graph.
pub(crate) struct StepGraph {
    pub(crate) graph: Graph,
    pub(crate) statistics: Vec<Statistics>,
    pub(crate) masks: Vec<DropoutMask>,
    /// Tensors of the teacher that the step takes as inputs.
    pub(crate) features: Vec<TensorId>,
}

/// The statistics of one batch normalisation.
pub(crate) struct Statistics {
    pub(crate) names: BatchStatistics,
    /// Elements of a channel in a batch.
    pub(crate) count: usize,
}

/// The tensor of the scores: the first output, or what a last softmax is taken of.
pub(crate) fn logits(graph: &Graph) -> Result<TensorId, TrainError> {
    let output = graph
        .outputs()
        .first()
        .ok_or(TrainError::NoScores { output: String::new(), found: "nothing".to_owned() })?;
    let mut id = output.tensor;
    if let Source::Node { node, .. } = graph.value(id).source
        && let Op::Softmax(_) = graph.node(node).op
    {
        id = graph.node(node).inputs[0];
    }
    Ok(id)
}

/// The number of classes that the model tells apart.
///
/// # Errors
/// [`TrainError::NoScores`] where its first output is no `[batch, classes]`.
pub fn classes(graph: &Graph) -> Result<usize, TrainError> {
    let id = logits(graph)?;
    let dims = &graph.ty(id).dims;
    let rest_is_one = dims.iter().skip(2).all(Dim::is_one);
    match dims.get(1).and_then(Dim::fixed) {
        Some(classes) if rest_is_one && graph.ty(id).dtype == DType::F32 => Ok(classes),
        _ => Err(TrainError::NoScores {
            output: graph.outputs().first().map(|output| output.name.clone()).unwrap_or_default(),
            found: graph.ty(id).to_string(),
        }),
    }
}

/// The model with its last layer drawn anew for so many classes.
///
/// The new numbers are uniform within `1 / sqrt(inputs)`, as PyTorch draws linear layers, under the
/// layer's name.
///
/// # Errors
/// [`TrainError::NoHead`] where the scores do not come from a linear layer or a convolution.
pub fn with_new_head(graph: &Graph, classes: usize, seed: u64) -> Result<Graph, TrainError> {
    let mut id = logits(graph)?;
    let no_head = |found: String| TrainError::NoHead { found };
    let node = loop {
        let Source::Node { node, .. } = graph.value(id).source else {
            return Err(no_head(graph.label(id)));
        };
        let node = graph.node(node);
        match node.op {
            Op::Linear | Op::Conv2d(_) => break node,
            Op::Flatten(_) | Op::Reshape(_) | Op::Squeeze(_) => id = node.inputs[0],
            _ => return Err(no_head(format!("{} ({})", node.name, node.op.name()))),
        }
    };
    let [_, weight, bias @ ..] = node.inputs.as_slice() else {
        return Err(no_head(node.name.clone()));
    };
    let Some(old) = graph.weight_tensor(*weight) else {
        return Err(no_head(format!("{}, whose weight is computed", node.name)));
    };
    let inputs: usize = old.shape().iter().skip(1).product();
    let bound = 1.0 / (inputs.max(1) as f64).sqrt();
    let draw = |id: TensorId, old: &Tensor| -> Result<Tensor, TrainError> {
        let mut shape = old.shape().to_vec();
        if let Some(first) = shape.first_mut() {
            *first = classes;
        }
        let mut random = Random::for_name(seed, &graph.label(id));
        let mut new = Tensor::zeros(DType::F32, &shape)?;
        new.elements_mut::<f32>()?
            .iter_mut()
            .for_each(|value| *value = random.uniform(-bound, bound) as f32);
        Ok(new)
    };
    let mut new = Vec::new();
    for &id in std::iter::once(weight).chain(bias) {
        let old = graph.weight_tensor(id).ok_or_else(|| no_head(graph.label(id)))?;
        new.push((id, draw(id, old)?));
    }
    let changed = graph.map::<TrainError>(
        |id, tensor| {
            let found = new.iter().find(|(head, _)| *head == id);
            found.map_or_else(|| tensor.clone(), |(_, tensor)| tensor.clone())
        },
        |graph_, id, inputs| {
            let node = graph.node(id);
            Ok(graph_.push_multi(&node.name, node.op.clone(), inputs)?)
        },
    )?;
    Ok(changed)
}

/// The model with its batch fixed.
///
/// # Errors
/// [`TrainError::Inputs`] where it has not one input, [`TrainError::Batch`] where it is made for
/// another batch.
pub fn with_batch(graph: &Graph, batch: usize) -> Result<Graph, TrainError> {
    let Some(&input) = graph.inputs().first().filter(|_| graph.inputs().len() == 1) else {
        return Err(TrainError::Inputs { found: graph.inputs().len() });
    };
    let first = graph.ty(input).dims.first();
    let symbol = match first {
        Some(Dim::Dynamic(expression)) => match expression.as_ref() {
            DimExpr::Symbol(name) => Some(name.to_string()),
            _ => None,
        },
        _ => None,
    };
    match (symbol, first.and_then(Dim::fixed)) {
        (Some(symbol), _) => Ok(graph.bind(&Bindings::from([(symbol, batch)]))?),
        (None, Some(fixed)) if fixed == batch => Ok(graph.clone()),
        (None, fixed) => Err(TrainError::Batch { fixed: fixed.unwrap_or(0), batch }),
    }
}

/// Writes the step of a model whose batch is fixed; so is that of the teacher whose layers it may
/// imitate.
pub(crate) fn step_graph(
    graph: &Graph,
    recipe: &Recipe,
    teacher: Option<&Graph>,
) -> Result<StepGraph, TrainError> {
    let frozen = Frozen::new(graph, &recipe.freeze)?;
    let form = for_training(graph, |node: &Node| frozen.layer(graph, node))?;
    let mut step = form.graph;
    let mut scores = logits(&step)?;
    if step.ty(scores).rank() > 2 {
        scores = step.push("bunjae.scores", Op::Flatten(Flatten { axis: 1 }), &[scores])?;
    }
    let [examples, classes] = match step.ty(scores).dims.as_slice() {
        [examples, classes] => [examples.clone(), classes.clone()],
        _ => {
            let found = step.ty(scores).to_string();
            return Err(TrainError::NoScores { output: step.label(scores), found });
        }
    };
    let matrix = TensorType { dtype: DType::F32, dims: vec![examples.clone(), classes] };
    let vector = TensorType { dtype: DType::F32, dims: vec![examples] };
    let targets = step.input(TARGETS, matrix.clone())?;
    let weights = step.input(WEIGHTS, vector)?;
    let forward = step.clone();
    let focal = recipe.objective.focal;
    let mut loss = losses::focal(&mut step, LOSS, scores, targets, Some(weights), focal)?;
    let mut features = Vec::new();
    if let (Some(distil), Some(teacher)) = (&recipe.distil, teacher) {
        let operands = Operands { scores, targets, loss };
        let distilled = distil::add(&mut step, distil, operands, &forward, teacher, recipe.seed)?;
        (loss, features) = (distilled.loss, distilled.features);
    }
    step.output(LOSS, loss)?;
    let trained: Vec<TensorId> = trainable_weights(&step, loss)
        .into_iter()
        .filter(|&id| !frozen.weight(&step.label(id)))
        .collect();
    if trained.iter().all(|&id| step.label(id).starts_with(REGRESSOR)) {
        return Err(TrainError::NothingToTrain);
    }
    let step = differentiate(&step, loss, &trained)?;
    let statistics = form.statistics.into_iter().map(|names| {
        let dims = &step.ty(names.input).dims;
        let sizes = dims.iter().enumerate().filter(|&(axis, _)| axis != 1);
        let count = sizes.map(|(_, dim)| dim.fixed().unwrap_or(1)).product();
        Statistics { names, count }
    });
    Ok(StepGraph { statistics: statistics.collect(), masks: form.masks, features, graph: step })
}

/// Adds the cross-entropy of a model's scores, the mean over the batch of `weight * loss`, as the output
/// [`LOSS`], with the new inputs [`TARGETS`] and [`WEIGHTS`]. The model stays in the form in which it
/// is used: batch normalisation by the running statistics, no dropout.
///
/// # Errors
/// [`TrainError::NoScores`] where its first output is no `[batch, classes]`.
pub fn with_cross_entropy(graph: &Graph) -> Result<(Graph, TensorId), TrainError> {
    classes(graph)?;
    let mut step = graph.clone();
    let mut scores = logits(&step)?;
    if step.ty(scores).rank() > 2 {
        scores = step.push("bunjae.scores", Op::Flatten(Flatten { axis: 1 }), &[scores])?;
    }
    let matrix = step.ty(scores).clone();
    let vector = TensorType { dtype: DType::F32, dims: matrix.dims[..1].to_vec() };
    let targets = step.input(TARGETS, matrix)?;
    let weights = step.input(WEIGHTS, vector)?;
    let loss = losses::cross_entropy(&mut step, LOSS, scores, targets, Some(weights))?;
    step.output(LOSS, loss)?;
    Ok((step, loss))
}
