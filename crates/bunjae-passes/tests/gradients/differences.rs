//! Finite differences through the interpreter.

use bunjae_interp::run;
use bunjae_ir::op::{Binary, Cast, Reduce, Reduction};
use bunjae_ir::{Graph, Op, Source, TensorId, TensorType};
use bunjae_passes::{DifferentiateError, differentiate};
use bunjae_tensor::{DType, Random, Tensor};
use bunjae_testkit::fill::uniform;

/// How far a gradient may be from the difference quotient, as a share of the larger of 1 and the
/// quotient. The quotient is off by the third derivative times the step squared (1e-10) and by the
/// rounding of the loss over the step (1e-15 / 1e-5), times some tens for losses of that size.
pub(crate) const ALLOWED: f64 = 2e-7;

/// The step to either side.
const STEP: f64 = 1e-5;

/// What came of a comparison.
#[derive(Default, Debug)]
pub(crate) struct Outcome {
    /// Elements of gradients that were compared.
    pub(crate) compared: usize,
    /// Those whose quotients of two step sizes disagree, as the function has a kink in between.
    pub(crate) kinks: usize,
    /// What was wrong with those that differ.
    pub(crate) wrong: Vec<String>,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: Outcome) {
        self.compared += other.compared;
        self.kinks += other.kinks;
        self.wrong.extend(other.wrong);
    }
}

/// The graph with f64 in place of f32: inputs, weights and conversions.
pub(crate) fn widened(graph: &Graph) -> Graph {
    let mut wide = Graph::new(&graph.name);
    let mut ids: Vec<Option<TensorId>> = vec![None; graph.value_count()];
    for (id, value) in graph.values() {
        ids[id.index()] = match &value.source {
            Source::Input { name } => {
                let dims = value.ty.dims.clone();
                Some(wide.input(name, TensorType { dtype: widest(value.ty.dtype), dims }).unwrap())
            }
            Source::Weight { name, tensor, trainable } => {
                let tensor = match tensor.dtype() {
                    DType::F32 => Tensor::from_slice(tensor.shape(), &tensor.to_f64_vec()).unwrap(),
                    _ => tensor.clone(),
                };
                Some(wide.add_weight(name, tensor, *trainable).unwrap())
            }
            Source::Node { .. } => None,
        };
    }
    for node in graph.nodes() {
        let inputs: Vec<TensorId> = node.inputs.iter().map(|id| ids[id.index()].unwrap()).collect();
        let mut op = node.op.clone();
        if let Op::Cast(cast) = &mut op {
            cast.to = widest(cast.to);
        }
        let results = wide.push_multi(&node.name, op, &inputs).unwrap();
        for (old, new) in node.outputs.iter().zip(results) {
            ids[old.index()] = Some(new);
        }
    }
    for output in graph.outputs() {
        wide.output(&output.name, ids[output.tensor.index()].unwrap()).unwrap();
    }
    wide
}

fn widest(dtype: DType) -> DType {
    if dtype == DType::F32 { DType::F64 } else { dtype }
}

/// Adds `sum(y * r)` over all outputs y, with random numbers r of their own, and makes it the only
/// output: a loss that depends on every element of every result. The sizes have to be known.
pub(crate) fn random_loss(graph: &Graph, seed: u64) -> (Graph, TensorId) {
    let mut result = Graph::new(&graph.name);
    let mut random = Random::for_name(seed, "loss");
    let mut ids: Vec<Option<TensorId>> = vec![None; graph.value_count()];
    for (id, value) in graph.values() {
        ids[id.index()] = match &value.source {
            Source::Input { name } => Some(result.input(name, value.ty.clone()).unwrap()),
            Source::Weight { name, tensor, trainable } => {
                Some(result.add_weight(name, tensor.clone(), *trainable).unwrap())
            }
            Source::Node { .. } => None,
        };
    }
    for node in graph.nodes() {
        let inputs: Vec<TensorId> = node.inputs.iter().map(|id| ids[id.index()].unwrap()).collect();
        let results = result.push_multi(&node.name, node.op.clone(), &inputs).unwrap();
        for (old, new) in node.outputs.iter().zip(results) {
            ids[old.index()] = Some(new);
        }
    }
    let mut total: Option<TensorId> = None;
    for (at, output) in graph.outputs().iter().enumerate() {
        let mut y = ids[output.tensor.index()].unwrap();
        if !result.ty(y).dtype.is_float() {
            y = result.push("", Op::Cast(Cast { to: DType::F64 }), &[y]).unwrap();
        }
        let weights = uniform(result.ty(y), -1.0, 1.0, &mut random).unwrap();
        let weights = result.constant(&format!("loss.weights{at}"), weights).unwrap();
        let product = result.push("", Binary::Mul, &[y, weights]).unwrap();
        let axes = (0..result.ty(y).rank()).collect();
        let sum = Reduce { kind: Reduction::Sum, axes, keep: false };
        let sum = result.push("", Op::Reduce(sum), &[product]).unwrap();
        total = Some(match total {
            None => sum,
            Some(total) => result.push("", Binary::Add, &[total, sum]).unwrap(),
        });
    }
    let loss = total.unwrap();
    result.output("loss", loss).unwrap();
    (result, loss)
}

/// The graph with another value for one weight or the inputs as they are.
fn loss_at(graph: &Graph, inputs: &[Tensor], of: TensorId, element: usize, by: f64) -> f64 {
    let moved = |tensor: &Tensor| {
        let mut tensor = tensor.clone();
        tensor.elements_mut::<f64>().unwrap()[element] += by;
        tensor
    };
    let outputs = match graph.inputs().iter().position(|id| *id == of) {
        Some(at) => {
            let mut inputs = inputs.to_vec();
            inputs[at] = moved(&inputs[at]);
            run(graph, &inputs)
        }
        None => {
            let graph = graph
                .map::<bunjae_ir::GraphError>(
                    |id, tensor| if id == of { moved(tensor) } else { tensor.clone() },
                    |new, id, inputs| {
                        let node = graph.node(id);
                        new.push_multi(&node.name, node.op.clone(), inputs)
                    },
                )
                .unwrap();
            run(&graph, inputs)
        }
    };
    outputs.unwrap()[0].to_f64_vec()[0]
}

/// Differentiates a graph whose first output is the loss, and compares up to `limit` elements of each
/// gradient with the difference quotients.
///
/// # Errors
/// Those of [`differentiate`].
pub(crate) fn compare(
    graph: &Graph,
    loss: TensorId,
    with_respect_to: &[TensorId],
    inputs: &[Tensor],
    limit: usize,
    context: &str,
) -> Result<Outcome, DifferentiateError> {
    let training = differentiate(graph, loss, with_respect_to)?;
    training.verify().unwrap_or_else(|errors| panic!("{context}: {errors:?}\n{training}"));
    Ok(compare_gradients(graph, &training, with_respect_to, inputs, limit, context))
}

/// As [`compare`], for a graph that was differentiated already.
pub(crate) fn compare_gradients(
    graph: &Graph,
    training: &Graph,
    with_respect_to: &[TensorId],
    inputs: &[Tensor],
    limit: usize,
    context: &str,
) -> Outcome {
    let outputs = run(training, inputs).unwrap_or_else(|error| panic!("{context}: {error}"));
    let forward = run(graph, inputs).unwrap();
    let kept = forward.len();
    assert!(outputs[..kept] == forward[..], "{context}: the old outputs changed");
    let mut outcome = Outcome::default();
    let mut random = Random::for_name(5, context);
    for (&of, gradient) in with_respect_to.iter().zip(&outputs[kept..]) {
        let label = graph.label(of);
        let size: usize = gradient.shape().iter().product();
        let mut elements: Vec<usize> = (0..size).collect();
        if size > limit {
            random.shuffle(&mut elements);
            elements.truncate(limit);
        }
        let values = gradient.to_f64_vec();
        for element in elements {
            let quotient = |step: f64| {
                let at = |by: f64| loss_at(graph, inputs, of, element, by);
                (at(step) - at(-step)) / (2.0 * step)
            };
            let (wide, found) = (quotient(STEP), values[element]);
            let near = |a: f64, b: f64| (a - b).abs() <= ALLOWED * b.abs().max(1.0);
            outcome.compared += 1;
            if near(found, wide) {
                continue;
            }
            // Quotients of a smooth function agree for all small steps.
            if !near(quotient(STEP / 3.0), wide) {
                outcome.kinks += 1;
                continue;
            }
            let what = format!("{context}: grad.{label}[{element}] is {found}, not {wide}");
            outcome.wrong.push(what);
        }
    }
    outcome
}
