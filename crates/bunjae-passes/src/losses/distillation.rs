//! Losses that compare a student with a teacher.
//!
//! The teacher's tensors are operands like others: inputs of the graph, filled with what the teacher
//! computed, or results of a teacher that is part of the graph and whose weights are not trained.

use bunjae_ir::op::{AveragePool, Conv2d, Flatten, L2Norm, LogSoftmax, Reduction, Softmax, Unary};
use bunjae_ir::{Graph, GraphError, Op, TensorId};

use super::{Loss, kept_sum, positive, same_shape, scores, setting};
use crate::formula::Formula;

fn log_softmax(f: &mut Formula<'_>, x: TensorId) -> Result<TensorId, GraphError> {
    f.push(Op::LogSoftmax(LogSoftmax { axis: 1 }), &[x])
}

fn softmax(f: &mut Formula<'_>, x: TensorId) -> Result<TensorId, GraphError> {
    f.push(Op::Softmax(Softmax { axis: 1 }), &[x])
}

/// Knowledge distillation (Hinton et al. 2015):
/// `T^2 KL(softmax(teacher / T) || softmax(student / T))`, summed over the classes, the mean over the
/// examples. The factor keeps the size of the gradients the same for all temperatures.
///
/// Operands: logits `[N, C]` of the student and the teacher.
///
/// # Errors
/// [`super::LossError`] where the shapes do not fit, or the temperature is not above 0.
pub fn distillation(
    graph: &mut Graph,
    name: &str,
    student: TensorId,
    teacher: TensorId,
    temperature: f64,
) -> Loss {
    scores(graph, name, &[student, teacher])?;
    same_shape(graph, name, student, teacher)?;
    positive(name, "the temperature", temperature)?;
    let f = &mut Formula::new(graph, name);
    let student = f.scaled(student, 1.0 / temperature)?;
    let teacher = f.scaled(teacher, 1.0 / temperature)?;
    let divergence = divergence(f, student, teacher)?;
    Ok(f.scaled(divergence, temperature * temperature)?)
}

/// `KL(softmax(teacher) || softmax(student))`, summed over the classes, the mean over the examples.
fn divergence(
    f: &mut Formula<'_>,
    student: TensorId,
    teacher: TensorId,
) -> Result<TensorId, GraphError> {
    let (log_student, log_teacher) = (log_softmax(f, student)?, log_softmax(f, teacher)?);
    let teacher = f.push(Unary::Exp, &[log_teacher])?;
    let difference = f.sub(log_teacher, log_student)?;
    let product = f.mul(teacher, difference)?;
    let sums = f.sum_over(product, 1)?;
    f.mean(sums)
}

/// How far below the others the logit of the target is put to leave it out: as far as in the authors'
/// code, enough for its probability to be 0.
const LEFT_OUT: f64 = 1000.0;

/// Decoupled knowledge distillation (Zhao et al. 2022): `T^2 (alpha TCKD + beta NCKD)`, where TCKD
/// compares the probabilities of the target class against all others, and NCKD the distribution
/// among the others. Of two classes NCKD is 0, and with an alpha of 1 it is [`distillation`].
///
/// Operands: logits `[N, C]` of the student and the teacher, and the one-hot targets `[N, C]`.
///
/// # Errors
/// [`super::LossError`] where the shapes do not fit, or the temperature is not above 0.
#[allow(
    clippy::too_many_arguments,
    reason = "operands, then the factors by the names of the paper"
)]
pub fn decoupled_distillation(
    graph: &mut Graph,
    name: &str,
    student: TensorId,
    teacher: TensorId,
    targets: TensorId,
    temperature: f64,
    alpha: f64,
    beta: f64,
) -> Loss {
    scores(graph, name, &[student, teacher, targets])?;
    same_shape(graph, name, student, teacher)?;
    same_shape(graph, name, student, targets)?;
    positive(name, "the temperature", temperature)?;
    let f = &mut Formula::new(graph, name);
    let student = f.scaled(student, 1.0 / temperature)?;
    let teacher = f.scaled(teacher, 1.0 / temperature)?;
    let left_out = f.scaled(targets, LEFT_OUT)?;
    let (student_others, teacher_others) = (f.sub(student, left_out)?, f.sub(teacher, left_out)?);

    // The distribution among the others, by the teacher; 0 for the target.
    let shares = softmax(f, teacher_others)?;
    // For each: the logarithm of the probabilities of the target, and of all others together. The
    // latter is what the logarithms among the others differ by from those among all, which is the
    // same for every other class, so that any mean over them will do.
    let mut pair = |logits: TensorId, others: TensorId| -> Result<[TensorId; 2], GraphError> {
        let (log, log_others) = (log_softmax(f, logits)?, log_softmax(f, others)?);
        let of_target = f.mul(log, targets)?;
        let difference = f.sub(log, log_others)?;
        let of_others = f.mul(shares, difference)?;
        Ok([f.sum_over(of_target, 1)?, f.sum_over(of_others, 1)?])
    };
    let [student_pair, teacher_pair] =
        [pair(student, student_others)?, pair(teacher, teacher_others)?];
    let mut terms = Vec::new();
    for (of_student, of_teacher) in student_pair.into_iter().zip(teacher_pair) {
        let probability = f.push(Unary::Exp, &[of_teacher])?;
        let difference = f.sub(of_teacher, of_student)?;
        terms.push(f.mul(probability, difference)?);
    }
    let sum = f.add(terms[0], terms[1])?;
    let target_term = f.mean(sum)?;
    let other_term = divergence(f, student_others, teacher_others)?;
    let square = temperature * temperature;
    let target_term = f.scaled(target_term, alpha * square)?;
    let other_term = f.scaled(other_term, beta * square)?;
    Ok(f.add(target_term, other_term)?)
}

/// DIST (Huang et al. 2022):
/// `beta (1 - mean over examples of r) + gamma (1 - mean over classes of r)`, r being Pearson's
/// correlation of the student's and the teacher's `softmax(x / T)`, along a row or a column.
///
/// With two classes the first term teaches nearly nothing: rows of two correlate fully or not at all.
/// T only softens; some libraries multiply by T^2 as well.
///
/// Operands: logits `[N, C]` of the student and the teacher.
///
/// # Errors
/// [`super::LossError`] where the shapes do not fit, or the temperature is not above 0.
pub fn relation_distillation(
    graph: &mut Graph,
    name: &str,
    student: TensorId,
    teacher: TensorId,
    temperature: f64,
    beta: f64,
    gamma: f64,
) -> Loss {
    scores(graph, name, &[student, teacher])?;
    same_shape(graph, name, student, teacher)?;
    positive(name, "the temperature", temperature)?;
    let f = &mut Formula::new(graph, name);
    let mut probabilities = |logits| -> Result<TensorId, GraphError> {
        let logits = f.scaled(logits, 1.0 / temperature)?;
        softmax(f, logits)
    };
    let (student, teacher) = (probabilities(student)?, probabilities(teacher)?);
    let mut total = f.number(beta + gamma, f.ty(student).dtype)?;
    for (axis, factor) in [(1, beta), (0, gamma)] {
        let correlations = correlation(f, student, teacher, axis)?;
        let mean = f.mean(correlations)?;
        let term = f.scaled(mean, factor)?;
        total = f.sub(total, term)?;
    }
    Ok(total)
}

/// Pearson's correlation along an axis: of the deviations from the mean, the product over the product of
/// their lengths, to which the authors add 1e-8.
fn correlation(
    f: &mut Formula<'_>,
    a: TensorId,
    b: TensorId,
    axis: usize,
) -> Result<TensorId, GraphError> {
    let mut centred = |x| -> Result<TensorId, GraphError> {
        let mean = f.reduce(Reduction::Mean, x, vec![axis], true)?;
        f.sub(x, mean)
    };
    let (a, b) = (centred(a)?, centred(b)?);
    let product = f.mul(a, b)?;
    let sum = kept_sum(f, product, axis)?;
    let length = |f: &mut Formula<'_>, x| f.reduce(Reduction::L2, x, vec![axis], true);
    let (of_a, of_b) = (length(f, a)?, length(f, b)?);
    let lengths = f.mul(of_a, of_b)?;
    let safe = f.plus(lengths, 1e-8)?;
    f.div(sum, safe)
}

/// Attention transfer (Zagoruyko and Komodakis 2017): the mean over all elements of
/// `(n(student) - n(teacher))^2`, n being the mean over the channels of the squares, as a vector over
/// the picture of length 1.
///
/// Operands: features `[N, C, H, W]` of the student and the teacher, of any numbers of channels. Where
/// one picture is larger, it is averaged to the size of the other, of which it has to be a multiple.
///
/// # Errors
/// [`super::LossError`] where the shapes do not fit.
pub fn attention_transfer(
    graph: &mut Graph,
    name: &str,
    student: TensorId,
    teacher: TensorId,
) -> Loss {
    let [own, other] = [student, teacher].map(|id| graph.ty(id).clone());
    if own.rank() != 4 || other.rank() != 4 {
        return setting(name, format!("{own} and {other} should be pictures: [N, C, H, W]"));
    }
    let mut shrink = [[1; 2]; 2];
    for axis in 0..2 {
        let sizes = [own.dims[2 + axis].fixed(), other.dims[2 + axis].fixed()];
        match sizes {
            [Some(a), Some(b)] if a > b && b > 0 && a % b == 0 => shrink[0][axis] = a / b,
            [Some(a), Some(b)] if b > a && a > 0 && b % a == 0 => shrink[1][axis] = b / a,
            [Some(a), Some(b)] if a != b => {
                let what = format!("pictures of {own} and {other}: {a} and {b} are no multiples");
                return setting(name, what);
            }
            _ => {}
        }
    }
    let f = &mut Formula::new(graph, name);
    let mut map = |x, kernel: [usize; 2]| -> Result<TensorId, GraphError> {
        let mut pooled = x;
        if kernel != [1, 1] {
            let pool = AveragePool { kernel, stride: kernel, ..AveragePool::default() };
            pooled = f.push(Op::AveragePool(pool), &[x])?;
        }
        let square = f.mul(pooled, pooled)?;
        let mean = f.reduce(Reduction::Mean, square, vec![1], false)?;
        let flat = f.push(Op::Flatten(Flatten { axis: 1 }), &[mean])?;
        f.push(Op::L2Norm(L2Norm { axis: 1, ..L2Norm::default() }), &[flat])
    };
    let (student, teacher) = (map(student, shrink[0])?, map(teacher, shrink[1])?);
    let difference = f.sub(student, teacher)?;
    let square = f.mul(difference, difference)?;
    Ok(f.mean(square)?)
}

/// What FitNets compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FitNets {
    /// Features of the student, `[N, Cs, H, W]`.
    pub student: TensorId,
    /// Features of the teacher, `[N, Ct, H, W]`.
    pub teacher: TensorId,
    /// The weight `[Ct, Cs, 1, 1]` of the regressor, a convolution that is trained with the student and
    /// thrown away with the teacher; `None` where both have the same channels.
    pub regressor: Option<TensorId>,
}

/// FitNets (Romero et al. 2015): the mean over all elements of `(r(student) - teacher)^2`, r being a
/// convolution of 1 x 1.
///
/// # Errors
/// [`super::LossError`] where the shapes do not fit.
pub fn fitnets(graph: &mut Graph, name: &str, hint: FitNets) -> Loss {
    let f = &mut Formula::new(graph, name);
    let student = match hint.regressor {
        Some(weight) => f.push(Op::Conv2d(Conv2d::default()), &[hint.student, weight])?,
        None => hint.student,
    };
    same_shape(f.graph, name, student, hint.teacher)?;
    let difference = f.sub(student, hint.teacher)?;
    let square = f.mul(difference, difference)?;
    Ok(f.mean(square)?)
}
