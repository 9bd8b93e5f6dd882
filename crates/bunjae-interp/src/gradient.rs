//! The gradients: for a scalar loss and an operator from x to y, dx (the derivatives of the loss by
//! the elements of x) from dy.
//!
//! Each is the transpose of the operator's derivative, applied to dy. Sums are accumulated in f64 and
//! each element is rounded once.

use bunjae_ir::op::{
    AveragePool, BatchNormGrad, Conv2dWeightGrad, MaxPool, Pad, Reduce, Reduction, Resize, Slice,
    Unary,
};
use bunjae_ir::resolve_range;
use bunjae_tensor::Tensor;

use crate::conv::group_count;
use crate::elementwise::{sigmoid, softplus};
use crate::error::EvalError;
use crate::eval::{Along, fill, sizes};
use crate::movement::padded;
use crate::normalise::channel_of;
use crate::number::Real;
use crate::pool::{Pool, divisor};
use crate::resize::sample;
use crate::walk::{for_each_row, strides};
use crate::window::Window;

/// The derivative at x times dy; 0 where the derivative is 0, whatever dy is.
pub(crate) fn unary_grad<T: Real>(op: &Unary, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let (x, dy) = (inputs[0].elements::<T>()?, inputs[1].elements::<T>()?);
    fill::<T>(inputs[0].shape(), |result| {
        for (dx, (x, dy)) in result.iter_mut().zip(x.iter().zip(dy)) {
            let slope = derivative(op, x.to_f64());
            *dx = T::from_f64(if slope == 0.0 { 0.0 } else { slope * dy.to_f64() });
        }
    })
}

/// The derivative of a function of one element; what stands for it where there is none is said at
/// [`bunjae_ir::Op::UnaryGrad`].
fn derivative(op: &Unary, x: f64) -> f64 {
    let step = |inside: bool| if inside { 1.0 } else { 0.0 };
    match *op {
        Unary::Identity => 1.0,
        Unary::Relu => step(x > 0.0),
        Unary::LeakyRelu { alpha } => {
            if x > 0.0 {
                1.0
            } else {
                f64::from(alpha)
            }
        }
        Unary::Clip { min, max } => step(x > f64::from(min) && x < f64::from(max)),
        // sigmoid(-x) is 1 - sigmoid(x) without cancellation.
        Unary::Sigmoid => sigmoid(x) * sigmoid(-x),
        Unary::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (f64::from(alpha), f64::from(beta));
            let line = alpha * x + beta;
            alpha * step(line > 0.0 && line < 1.0)
        }
        Unary::HardSwish if x <= -3.0 => 0.0,
        Unary::HardSwish if x >= 3.0 => 1.0,
        Unary::HardSwish => x / 3.0 + 0.5,
        Unary::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
        Unary::Tanh => 1.0 - libm::tanh(x) * libm::tanh(x),
        // The normal distribution function, and x times its density.
        Unary::Gelu { tanh: false } => {
            let density = libm::exp(-0.5 * x * x) / (2.0 * std::f64::consts::PI).sqrt();
            0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2) + x * density
        }
        // With u = 2 sqrt(2/pi) (x + 0.044715 x^3), the function is x sigmoid(u).
        Unary::Gelu { tanh: true } => {
            let slope = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
            let u = slope * (x + 0.044715 * x * x * x);
            let inner = slope * (1.0 + 3.0 * 0.044715 * x * x);
            sigmoid(u) * (1.0 + x * sigmoid(-u) * inner)
        }
        Unary::Elu { .. } if x > 0.0 => 1.0,
        Unary::Elu { alpha } => f64::from(alpha) * libm::exp(x),
        Unary::Softplus => sigmoid(x),
        Unary::Mish => {
            let tanh = libm::tanh(softplus(x));
            tanh + x * (1.0 - tanh * tanh) * sigmoid(x)
        }
        Unary::Exp => libm::exp(x),
        Unary::Log => 1.0 / x,
        Unary::Sqrt => 0.5 / x.sqrt(),
        Unary::Neg => -1.0,
        Unary::Abs => step(x > 0.0) - step(x < 0.0),
        Unary::Reciprocal => -1.0 / (x * x),
        Unary::Erf => 2.0 / std::f64::consts::PI.sqrt() * libm::exp(-x * x),
    }
}

/// The gradient of a convolution's weight: each element of dy meets what its window saw.
pub(crate) fn conv2d_weight_grad<T: Real>(
    op: &Conv2dWeightGrad,
    inputs: &[&Tensor],
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let (x, dy) = (inputs[0].elements::<T>()?, inputs[1].elements::<T>()?);
    let [images, channels, height, width] = sizes(inputs[0])?;
    let [_, filters, out_height, out_width] = sizes(inputs[1])?;
    let window = |axis: usize, size: usize| Window {
        size,
        stride: op.stride[axis],
        dilation: op.dilation[axis],
        before: op.pad[axis],
    };
    let (vertical, horizontal) = (window(0, height), window(1, width));
    let group_filters = filters / group_count(op.groups, channels).max(1);
    fill::<T>(shape, |result| {
        let (group_channels, [kernel_height, kernel_width]) = (shape[1], op.kernel);
        let mut places = result.iter_mut();
        for filter in 0..filters {
            for channel in 0..group_channels {
                let channel = filter / group_filters * group_channels + channel;
                for (ky, kx) in
                    (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx)))
                {
                    let mut sum = 0.0;
                    for n in 0..images {
                        let plane = &x[(n * channels + channel) * height * width..];
                        let gradient = &dy[(n * filters + filter) * out_height * out_width..];
                        for row in vertical.positions(ky, out_height) {
                            let Some(y) = vertical.index(row, ky) else { continue };
                            for column in horizontal.positions(kx, out_width) {
                                let Some(at) = horizontal.index(column, kx) else { continue };
                                let seen = plane[y * width + at].to_f64();
                                sum += gradient[row * out_width + column].to_f64() * seen;
                            }
                        }
                    }
                    if let Some(place) = places.next() {
                        *place = T::from_f64(sum);
                    }
                }
            }
        }
    })
}

/// The gradients of x, gamma and beta of a batch normalisation by the statistics of the batch. With
/// `normal = (x - mean) / deviation` over the n elements of a channel:
/// `dbeta = sum(dy)`, `dgamma = sum(dy normal)`,
/// `dx = gamma / deviation (dy - dbeta / n - normal dgamma / n)`.
pub(crate) fn batch_norm_grad<T: Real>(
    op: &BatchNormGrad,
    inputs: &[&Tensor],
) -> Result<Vec<Tensor>, EvalError> {
    let (x, dy) = (inputs[0].elements::<T>()?, inputs[1].elements::<T>()?);
    let (gamma, mean) = (inputs[2].elements::<T>()?, inputs[3].elements::<T>()?);
    let variance = inputs[4].elements::<T>()?;
    let along = Along::new(inputs[0].shape(), 1);
    let count = (along.outer * along.inner) as f64;
    let deviation = |c: usize| (variance[c].to_f64() + f64::from(op.eps)).sqrt();
    let normal = |c: usize, x: f64| (x - mean[c].to_f64()) / deviation(c);
    let channels = 0..along.len;
    let dbeta: Vec<f64> = channels.clone().map(|c| channel_of(dy, along, c).sum()).collect();
    let dgamma: Vec<f64> = channels
        .map(|c| {
            let pairs = channel_of(x, along, c).zip(channel_of(dy, along, c));
            pairs.map(|(x, dy)| dy * normal(c, x)).sum()
        })
        .collect();
    let dx = fill::<T>(inputs[0].shape(), |result| {
        for (at, (dx, (x, dy))) in result.iter_mut().zip(x.iter().zip(dy)).enumerate() {
            let c = along.index(at);
            let shared = dbeta[c] / count + normal(c, x.to_f64()) * dgamma[c] / count;
            let scale = gamma[c].to_f64() / deviation(c);
            *dx = T::from_f64(scale * (dy.to_f64() - shared));
        }
    })?;
    let rounded = |values: Vec<f64>| {
        fill::<T>(&[along.len], |result| {
            result.iter_mut().zip(&values).for_each(|(y, &value)| *y = T::from_f64(value));
        })
    };
    Ok(vec![dx, rounded(dgamma)?, rounded(dbeta)?])
}

/// Each element of dy goes to the first of the largest elements under its window, in row-major order;
/// as in PyTorch, NaN counts as the largest, and of several the last.
pub(crate) fn max_pool_grad<T: Real>(
    op: &MaxPool,
    inputs: &[&Tensor],
) -> Result<Tensor, EvalError> {
    let [_, _, height, width] = sizes(inputs[0])?;
    let x = inputs[0].elements::<T>()?;
    let pool = Pool::new([height, width], op.kernel, op.stride, op.dilation, op.pad);
    unpool::<T>(&pool, inputs, |place, y, column, dy, sums| {
        let plane = &x[place * height * width..][..height * width];
        let larger = |best: Option<usize>, at: usize| match best {
            Some(best) if !(plane[at] > plane[best] || plane[at].to_f64().is_nan()) => Some(best),
            _ => Some(at),
        };
        if let Some(largest) = pool.places(y, column).fold(None, larger) {
            sums[largest] += dy;
        }
    })
}

/// Each element of dy is shared out over its window.
pub(crate) fn average_pool_grad<T: Real>(
    op: &AveragePool,
    inputs: &[&Tensor],
) -> Result<Tensor, EvalError> {
    let [_, _, height, width] = sizes(inputs[0])?;
    let pool = Pool::new([height, width], op.kernel, op.stride, op.dilation, op.pad);
    unpool::<T>(&pool, inputs, |_, y, column, dy, sums| {
        let share = dy / divisor(op, &pool, y, column);
        pool.places(y, column).for_each(|at| sums[at] += share);
    })
}

/// Adds to the sums of a plane what `spread` makes of each element of dy: it is given the number of
/// the plane, the position of the window, the element and the sums.
fn unpool<T: Real>(
    pool: &Pool,
    inputs: &[&Tensor],
    spread: impl Fn(usize, usize, usize, f64, &mut [f64]),
) -> Result<Tensor, EvalError> {
    let dy = inputs[1].elements::<T>()?;
    let [_, _, out_height, out_width] = sizes(inputs[1])?;
    fill::<T>(inputs[0].shape(), |result| {
        let area = pool.vertical.size * pool.horizontal.size;
        let mut sums = vec![0.0; area];
        for (place, result) in result.chunks_exact_mut(area).enumerate() {
            sums.fill(0.0);
            let dy = &dy[place * out_height * out_width..][..out_height * out_width];
            for (at, dy) in dy.iter().enumerate() {
                spread(place, at / out_width, at % out_width, dy.to_f64(), &mut sums);
            }
            result.iter_mut().zip(&sums).for_each(|(dx, &sum)| *dx = T::from_f64(sum));
        }
    })
}

/// The gradient of a reduction.
pub(crate) fn reduce_grad<T: Real>(op: &Reduce, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let (x, dy) = (inputs[0].elements::<T>()?, inputs[1].elements::<T>()?);
    let shape = inputs[0].shape();
    let kept = |axis: &usize| !op.axes.contains(axis);
    let kept_axes: Vec<usize> = (0..shape.len()).filter(kept).collect();
    let kept_shape: Vec<usize> = kept_axes.iter().map(|&axis| shape[axis]).collect();
    let mut onto = vec![0; shape.len()];
    for (&axis, stride) in kept_axes.iter().zip(strides(&kept_shape)) {
        onto[axis] = stride;
    }
    let count: f64 = op.axes.iter().map(|&axis| shape[axis] as f64).product();
    // For each element of x in row-major order, the element of dy that it falls on.
    let mut owners = Vec::with_capacity(x.len());
    for_each_row(shape, [&onto], |row| {
        owners.extend((0..row.len).map(|at| row.start[0] + at * row.step[0]));
    });
    let pairs = || x.iter().map(|x| x.to_f64()).zip(owners.iter().copied());
    fill::<T>(shape, |result| match op.kind {
        Reduction::Sum | Reduction::Mean => {
            let divisor = if op.kind == Reduction::Mean { count } else { 1.0 };
            for (dx, &owner) in result.iter_mut().zip(&owners) {
                *dx = T::from_f64(dy[owner].to_f64() / divisor);
            }
        }
        Reduction::Max | Reduction::Min => {
            let wins = |x: f64, best: f64| match op.kind {
                Reduction::Max => x > best,
                _ => x < best,
            };
            let mut best: Vec<Option<(usize, f64)>> = vec![None; dy.len()];
            for (at, (x, owner)) in pairs().enumerate() {
                match best[owner] {
                    Some((_, known)) if !(wins(x, known) || x.is_nan()) => {}
                    _ => best[owner] = Some((at, x)),
                }
            }
            for (best, &dy) in best.iter().zip(dy) {
                if let Some((at, _)) = best {
                    result[*at] = dy;
                }
            }
        }
        Reduction::L2 => {
            let mut norms = vec![0.0; dy.len()];
            pairs().for_each(|(x, owner)| norms[owner] += x * x);
            norms.iter_mut().for_each(|norm: &mut f64| *norm = norm.sqrt());
            for (dx, (x, owner)) in result.iter_mut().zip(pairs()) {
                let norm = norms[owner];
                let share = if norm == 0.0 { 0.0 } else { x / norm };
                *dx = T::from_f64(share * dy[owner].to_f64());
            }
        }
    })
}

/// The gradient of resizing: each element of dy goes to those that it was made of.
pub(crate) fn resize_grad<T: Real>(op: &Resize, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let (shape, target) = (inputs[0].shape(), inputs[1].shape());
    let mut spread = Spread::new::<T>(inputs)?;
    if inputs[0].is_empty() {
        return spread.finish::<T>(shape);
    }
    for axis in 0..2 {
        let (source, target) = (shape[2 + axis], target[2 + axis]);
        spread.along(2 + axis, source, |index| {
            let sample = sample(op, axis, index, source, target);
            vec![(sample.low, 1.0 - sample.fraction), (sample.high, sample.fraction)]
        });
    }
    spread.finish::<T>(shape)
}

/// The gradient of padding: what was added goes to what it was a copy of, or nowhere.
pub(crate) fn pad_grad<T: Real>(op: &Pad, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let shape = inputs[0].shape();
    let mut spread = Spread::new::<T>(inputs)?;
    let mut len = shape.to_vec();
    let mut steps = Vec::new();
    for &[axis, before, after] in &op.pads {
        steps.push((axis, before, len[axis]));
        len[axis] += before + after;
    }
    // The last padding was put around all others.
    for (axis, before, len) in steps.into_iter().rev() {
        spread.along(axis, len, |index| {
            padded(op.mode, before, len, index).map(|source| (source, 1.0)).into_iter().collect()
        });
    }
    spread.finish::<T>(shape)
}

/// The gradient of a slice: dy in its place among zeros.
pub(crate) fn slice_grad<T: Real>(op: &Slice, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
    let shape = inputs[0].shape();
    let mut spread = Spread::new::<T>(inputs)?;
    for range in &op.ranges {
        let (start, _, step) = resolve_range(range, shape[range.axis])?;
        spread.along(range.axis, shape[range.axis], |index| {
            let at = usize::try_from(start as i64 + index as i64 * step);
            at.map(|at| (at, 1.0)).into_iter().collect()
        });
    }
    spread.finish::<T>(shape)
}

/// A gradient on its way back through operators that pick and mix elements along one axis at a time.
struct Spread {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Spread {
    /// The gradient dy.
    fn new<T: Real>(inputs: &[&Tensor]) -> Result<Spread, EvalError> {
        let values = inputs[1].elements::<T>()?.iter().map(|dy| dy.to_f64()).collect();
        Ok(Spread { shape: inputs[1].shape().to_vec(), values })
    }

    /// Gives each index of an axis to the indices below `len` that it was made of, by their shares.
    fn along(&mut self, axis: usize, len: usize, sources: impl Fn(usize) -> Vec<(usize, f64)>) {
        let from = Along::new(&self.shape, axis);
        let mut values = vec![0.0; from.outer * len * from.inner];
        for index in 0..from.len {
            for (source, share) in sources(index) {
                // What has no share must not turn infinity into NaN.
                if share == 0.0 {
                    continue;
                }
                for outer in 0..from.outer {
                    let row = &self.values[(outer * from.len + index) * from.inner..];
                    let to = &mut values[(outer * len + source) * from.inner..][..from.inner];
                    to.iter_mut().zip(row).for_each(|(to, value)| *to += share * value);
                }
            }
        }
        self.shape[axis] = len;
        self.values = values;
    }

    /// The gradient as a tensor; its shape is that of x by now.
    fn finish<T: Real>(self, shape: &[usize]) -> Result<Tensor, EvalError> {
        fill::<T>(shape, |result| {
            result.iter_mut().zip(&self.values).for_each(|(dx, &value)| *dx = T::from_f64(value));
        })
    }
}
