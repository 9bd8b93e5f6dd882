//! Losses, as functions that write a formula into a graph and return it: a scalar tensor.
//!
//! Everything that changes from batch to batch is an operand, and so usually an input of the graph:
//! targets (one-hot, smoothed, mixed), weights of examples, logits and features of a teacher. Each
//! function gives its nodes the name it is given, which is what profiles and messages call the loss.
//!
//! All are means over the batch, so that the size of a gradient does not grow with it.

mod distillation;

use bunjae_ir::op::{Binary, LogSoftmax, Reduction, Unary};
use bunjae_ir::{Graph, GraphError, Op, TensorId};
use thiserror::Error;

pub use distillation::{
    FitNets, attention_transfer, decoupled_distillation, distillation, fitnets,
    relation_distillation,
};

use crate::formula::Formula;

/// Why a loss cannot be written.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LossError {
    /// The operands do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A number without sense, or shapes for which the loss is not defined.
    #[error("{loss}: {what}")]
    Setting {
        /// The name of the loss.
        loss: String,
        /// What is wrong.
        what: String,
    },
}

type Loss = Result<TensorId, LossError>;

fn setting<T>(loss: &str, what: String) -> Result<T, LossError> {
    Err(LossError::Setting { loss: loss.to_string(), what })
}

/// Refuses what are no scores of examples: `[N, C]`.
fn scores(graph: &Graph, name: &str, operands: &[TensorId]) -> Result<(), LossError> {
    for &id in operands {
        let ty = graph.ty(id);
        if ty.rank() != 2 {
            let what = format!("{} should be [examples, classes], but is {ty}", graph.label(id));
            return setting(name, what);
        }
    }
    Ok(())
}

/// Refuses operands that would be broadcast where they should be compared element by element.
fn same_shape(graph: &Graph, name: &str, a: TensorId, b: TensorId) -> Result<(), LossError> {
    let (left, right) = (graph.ty(a), graph.ty(b));
    let mut pairs = left.dims.iter().zip(&right.dims);
    if left.rank() == right.rank() && pairs.all(|(a, b)| a.may_equal(b)) {
        return Ok(());
    }
    let (a, b) = (graph.label(a), graph.label(b));
    setting(name, format!("{a} is {left} and {b} is {right}, but their shapes should be the same"))
}

fn positive(name: &str, what: &str, value: f64) -> Result<(), LossError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    setting(name, format!("{what} should be above 0, but is {value}"))
}

/// The mean over the examples of `weight * value`, of operands `[N]`.
fn mean_of_examples(
    f: &mut Formula<'_>,
    name: &str,
    values: TensorId,
    weights: Option<TensorId>,
) -> Loss {
    if let Some(weights) = weights {
        same_shape(f.graph, name, values, weights)?;
    }
    let weighted = match weights {
        Some(weights) => f.mul(values, weights)?,
        None => values,
    };
    Ok(f.mean(weighted)?)
}

/// Cross entropy: the mean over the examples of `-w sum over c of t_c ln softmax(x)_c`.
///
/// Operands: logits x `[N, C]`, targets t `[N, C]` (the rows are distributions: one-hot, smoothed,
/// mixed) and, optionally, weights w `[N]` of the examples. For the weighted mean that PyTorch computes
/// with class weights, w is the weight of the example's class over the mean of those of the batch.
///
/// # Errors
/// [`LossError`] where the shapes do not fit.
pub fn cross_entropy(
    graph: &mut Graph,
    name: &str,
    logits: TensorId,
    targets: TensorId,
    weights: Option<TensorId>,
) -> Loss {
    scores(graph, name, &[logits, targets])?;
    same_shape(graph, name, logits, targets)?;
    let f = &mut Formula::new(graph, name);
    let log = f.push(Op::LogSoftmax(LogSoftmax { axis: 1 }), &[logits])?;
    let product = f.mul(log, targets)?;
    let sum = f.sum_over(product, 1)?;
    let values = f.neg(sum)?;
    mean_of_examples(f, name, values, weights)
}

/// Focal loss (Lin et al. 2017): the mean over the examples of
/// `-w sum over c of t_c (1 - p_c)^gamma ln p_c` with `p = softmax(x)`. With a gamma of 0 it is
/// [`cross_entropy`], whose operands it has.
///
/// A probability closer to 1 than 1e-7 counts as if it were so far away: the power of 0 has no slope.
///
/// # Errors
/// [`LossError`] where the shapes do not fit, or gamma is negative.
pub fn focal(
    graph: &mut Graph,
    name: &str,
    logits: TensorId,
    targets: TensorId,
    weights: Option<TensorId>,
    gamma: f64,
) -> Loss {
    if gamma == 0.0 {
        return cross_entropy(graph, name, logits, targets, weights);
    }
    positive(name, "gamma", gamma)?;
    scores(graph, name, &[logits, targets])?;
    same_shape(graph, name, logits, targets)?;
    let f = &mut Formula::new(graph, name);
    let dtype = f.ty(logits).dtype;
    let log = f.push(Op::LogSoftmax(LogSoftmax { axis: 1 }), &[logits])?;
    let probability = f.push(Unary::Exp, &[log])?;
    let one = f.number(1.0, dtype)?;
    let rest = f.sub(one, probability)?;
    let least = f.number(1e-7, dtype)?;
    let rest = f.push(Binary::Max, &[rest, least])?;
    let gamma = f.number(gamma, dtype)?;
    let factor = f.push(Binary::Pow, &[rest, gamma])?;
    let entropy = f.mul(log, targets)?;
    let product = f.mul(factor, entropy)?;
    let sum = f.sum_over(product, 1)?;
    let values = f.neg(sum)?;
    mean_of_examples(f, name, values, weights)
}

/// Binary cross entropy of logits: the mean over all elements of
/// `-t ln sigmoid(x) - (1 - t) ln(1 - sigmoid(x))`, computed as `softplus(x) - t x`, in which nothing
/// overflows.
///
/// Operands: logits x, targets t of the same shape, in 0 to 1, and optionally weights that broadcast to
/// it.
///
/// # Errors
/// [`LossError`] where the shapes do not fit.
pub fn binary_cross_entropy(
    graph: &mut Graph,
    name: &str,
    logits: TensorId,
    targets: TensorId,
    weights: Option<TensorId>,
) -> Loss {
    same_shape(graph, name, logits, targets)?;
    let f = &mut Formula::new(graph, name);
    let soft = f.push(Unary::Softplus, &[logits])?;
    let product = f.mul(logits, targets)?;
    let mut values = f.sub(soft, product)?;
    if let Some(weights) = weights {
        values = f.mul(values, weights)?;
        same_shape(f.graph, name, values, logits)?;
    }
    Ok(f.mean(values)?)
}

/// The mean over all elements of `(a - b)^2`. On logits it is the distillation of Ba and Caruana (2014).
///
/// # Errors
/// [`LossError`] where the shapes do not fit.
pub fn mean_squared_error(graph: &mut Graph, name: &str, a: TensorId, b: TensorId) -> Loss {
    same_shape(graph, name, a, b)?;
    let f = &mut Formula::new(graph, name);
    let difference = f.sub(a, b)?;
    let square = f.mul(difference, difference)?;
    Ok(f.mean(square)?)
}

/// The sum of losses, each times its factor.
///
/// # Errors
/// [`LossError`] where there are none, or one is no scalar.
pub fn weighted_sum(graph: &mut Graph, name: &str, terms: &[(f64, TensorId)]) -> Loss {
    let f = &mut Formula::new(graph, name);
    let mut total: Option<TensorId> = None;
    for &(factor, term) in terms {
        if f.ty(term).rank() > 0 {
            let what = format!("{} is {}, no scalar", f.graph.label(term), f.ty(term));
            return setting(name, what);
        }
        let term = f.scaled(term, factor)?;
        total = Some(match total {
            Some(total) => f.add(total, term)?,
            None => term,
        });
    }
    match total {
        Some(total) => Ok(total),
        None => setting(name, "a sum of no losses".into()),
    }
}

/// The sum over one axis, kept with length 1.
fn kept_sum(f: &mut Formula<'_>, x: TensorId, axis: usize) -> Result<TensorId, GraphError> {
    f.reduce(Reduction::Sum, x, vec![axis], true)
}
