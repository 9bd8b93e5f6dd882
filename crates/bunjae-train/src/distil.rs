//! The terms of distillation in the graph of a step.

use bunjae_ir::op::Binary;
use bunjae_ir::{Graph, TensorId, TensorType};
use bunjae_passes::losses::{self, FitNets};
use bunjae_tensor::{DType, Random, Tensor};

use crate::error::TrainError;
use crate::hints::{Pair, pairs};
use crate::recipe::{Distil, Method};

/// The input that takes the teachers' logits, `[batch, classes]`.
pub(crate) const TEACHER: &str = "bunjae.teacher";
/// The input that takes the weight of a term that grows in the first epochs, a scalar.
pub(crate) const WARM_UP: &str = "bunjae.warm_up";
/// What the inputs begin with that take a teacher's features; a number follows.
pub(crate) const HINT: &str = "bunjae.hint.";
/// What the weights begin with that are trained along and are no part of the model.
pub(crate) const REGRESSOR: &str = "bunjae.regressor.";

/// What the terms are made of.
pub(crate) struct Operands {
    /// The student's logits.
    pub(crate) scores: TensorId,
    /// One-hot, smoothed or mixed.
    pub(crate) targets: TensorId,
    /// The loss of the labels.
    pub(crate) loss: TensorId,
}

/// The loss of a student, and what a teacher has to give for it.
pub(crate) struct Distilled {
    pub(crate) loss: TensorId,
    /// The teacher's features, one for each of the inputs that begin with [`HINT`], by number.
    pub(crate) features: Vec<TensorId>,
}

/// Adds the terms to a step in which nothing but the forward pass and the loss of the labels stands.
/// The batch of `teacher`, whose layers are compared, is fixed.
pub(crate) fn add(
    step: &mut Graph,
    distil: &Distil,
    Operands { scores, targets, loss }: Operands,
    forward: &Graph,
    teacher: &Graph,
    seed: u64,
) -> Result<Distilled, TrainError> {
    let matrix = step.ty(scores).clone();
    let logits = step.input(TEACHER, TensorType { dtype: DType::F32, dims: matrix.dims })?;
    let share = if distil.methods.iter().any(Method::shares) { distil.labels } else { 1.0 };
    let mut terms = vec![(share, loss)];
    let mut features = Vec::new();
    for method in &distil.methods {
        let name = "bunjae.distillation";
        let (factor, term) = match *method {
            Method::Kd { temperature } => {
                (1.0 - share, losses::distillation(step, name, scores, logits, temperature)?)
            }
            Method::Logits | Method::Noisy { .. } => {
                (1.0 - share, losses::mean_squared_error(step, name, scores, logits)?)
            }
            Method::Dkd { temperature, alpha, beta, warm_up } => {
                let term = losses::decoupled_distillation(
                    step,
                    name,
                    scores,
                    logits,
                    targets,
                    temperature,
                    alpha,
                    beta,
                )?;
                (1.0, if warm_up > 1 { warmed(step, term)? } else { term })
            }
            Method::Dist { temperature, beta, gamma } => {
                let term = losses::relation_distillation(
                    step,
                    name,
                    scores,
                    logits,
                    temperature,
                    beta,
                    gamma,
                )?;
                (1.0, term)
            }
            Method::FitNet { weight, .. } | Method::At { weight, .. } => {
                let pairs = pairs(method, forward, teacher)?;
                let is_fitnet = matches!(method, Method::FitNet { .. });
                let each = 1.0 / pairs.len().max(1) as f64;
                let mut sum = Vec::with_capacity(pairs.len());
                for Pair { student, teacher: theirs } in pairs {
                    let number = features.len();
                    let hint =
                        step.input(&format!("{HINT}{number}"), teacher.ty(theirs).clone())?;
                    features.push(theirs);
                    let term = if is_fitnet {
                        let regressor = regressor(step, number, student, hint, seed)?;
                        let hint = FitNets { student, teacher: hint, regressor: Some(regressor) };
                        losses::fitnets(step, name, hint)?
                    } else {
                        losses::attention_transfer(step, name, student, hint)?
                    };
                    sum.push((each, term));
                }
                (weight, losses::weighted_sum(step, name, &sum)?)
            }
        };
        terms.push((factor, term));
    }
    let loss = losses::weighted_sum(step, "bunjae.total", &terms)?;
    Ok(Distilled { loss, features })
}

/// A term times the input [`WARM_UP`].
fn warmed(step: &mut Graph, term: TensorId) -> Result<TensorId, TrainError> {
    let known = step.inputs().iter().copied().find(|&id| step.label(id) == WARM_UP);
    let scalar = TensorType { dtype: DType::F32, dims: Vec::new() };
    let weight = known.map_or_else(|| step.input(WARM_UP, scalar), Ok)?;
    Ok(step.push("bunjae.warmed", Binary::Mul, &[term, weight])?)
}

/// The weight of a convolution of 1 x 1 from the student's channels to the teacher's, drawn as PyTorch
/// draws convolutions.
fn regressor(
    step: &mut Graph,
    number: usize,
    student: TensorId,
    teacher: TensorId,
    seed: u64,
) -> Result<TensorId, TrainError> {
    let channels = |id: TensorId| step.ty(id).dims.get(1).and_then(bunjae_ir::Dim::fixed);
    let (own, theirs) = (channels(student).unwrap_or(1), channels(teacher).unwrap_or(1));
    let name = format!("{REGRESSOR}{number}");
    let bound = 1.0 / (own.max(1) as f64).sqrt();
    let mut random = Random::for_name(seed, &name);
    let mut weight = Tensor::zeros(DType::F32, &[theirs, own, 1, 1])?;
    for value in weight.elements_mut::<f32>()? {
        *value = random.uniform(-bound, bound) as f32;
    }
    Ok(step.weight(&name, weight)?)
}
