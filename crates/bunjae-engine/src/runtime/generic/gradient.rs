//! Gradients of one operand. Every element of a result is summed by itself, in f64 and rounded once,
//! from the elements of dy that it has a share in.

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Real, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::{View, coalesce};

use super::conv::{index, position_of, positions};
use super::elementwise::{UnaryFunction, sigmoid, softplus};
use super::operands;
use super::pool::{PoolKind, Window};
use super::reduce::Reduction;
use super::walk::rows;

impl UnaryFunction {
    /// The derivative, computed in f64; where there is none, what the graph's operator says.
    fn derivative(self, x: f64) -> f64 {
        let step = |inside: bool| if inside { 1.0 } else { 0.0 };
        match self {
            UnaryFunction::Relu => step(x > 0.0),
            UnaryFunction::LeakyRelu { alpha } => {
                if x > 0.0 {
                    1.0
                } else {
                    f64::from(alpha)
                }
            }
            UnaryFunction::Clip { min, max } => step(x > f64::from(min) && x < f64::from(max)),
            UnaryFunction::Sigmoid => sigmoid(x) * sigmoid(-x),
            UnaryFunction::HardSigmoid { alpha, beta } => {
                let line = f64::from(alpha) * x + f64::from(beta);
                f64::from(alpha) * step(line > 0.0 && line < 1.0)
            }
            UnaryFunction::HardSwish if x <= -3.0 => 0.0,
            UnaryFunction::HardSwish if x >= 3.0 => 1.0,
            UnaryFunction::HardSwish => x / 3.0 + 0.5,
            UnaryFunction::Silu => sigmoid(x) * (1.0 + x * sigmoid(-x)),
            UnaryFunction::Tanh => 1.0 - libm::tanh(x) * libm::tanh(x),
            UnaryFunction::Gelu => {
                let density = libm::exp(-0.5 * x * x) / (2.0 * std::f64::consts::PI).sqrt();
                0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2) + x * density
            }
            // (1 + tanh(u)) / 2 is sigmoid(2 u).
            UnaryFunction::GeluTanh => {
                let slope = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
                let u = slope * (x + 0.044715 * x * x * x);
                let inner = slope * (1.0 + 3.0 * 0.044715 * x * x);
                sigmoid(u) * (1.0 + x * sigmoid(-u) * inner)
            }
            UnaryFunction::Elu { .. } if x > 0.0 => 1.0,
            UnaryFunction::Elu { alpha } => f64::from(alpha) * libm::exp(x),
            UnaryFunction::Softplus => sigmoid(x),
            UnaryFunction::Mish => {
                let tanh = libm::tanh(softplus(x));
                tanh + x * (1.0 - tanh * tanh) * sigmoid(x)
            }
            UnaryFunction::Exp => libm::exp(x),
            UnaryFunction::Log => 1.0 / x,
            UnaryFunction::Sqrt => 0.5 / x.sqrt(),
            UnaryFunction::Neg => -1.0,
            UnaryFunction::Abs => step(x > 0.0) - step(x < 0.0),
            UnaryFunction::Reciprocal => -1.0 / (x * x),
            UnaryFunction::Erf => 2.0 / std::f64::consts::PI.sqrt() * libm::exp(-x * x),
        }
    }
}

/// `dx = f'(x) dy`; 0 where the derivative is 0.
#[derive(Debug)]
pub(crate) struct MapGrad {
    function: UnaryFunction,
    x: View,
    dy: View,
    dx: View,
}

operands!(MapGrad: x, dy -> dx);

impl MapGrad {
    /// For views of the same dims and type.
    pub(crate) fn new(function: UnaryFunction, x: &View, dy: &View, dx: &View) -> MapGrad {
        let [x, dy, dx] = coalesce([x, dy, dx]);
        MapGrad { function, x, dy, dx }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &MapGrad, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, dy) = (memory.read::<T>(&own.x)?, memory.read::<T>(&own.dy)?);
            let dx = memory.write::<T>(&own.dx)?;
            rows([&own.x, &own.dy, &own.dx], |row| {
                for index in 0..row.len {
                    let [from, gradient, to] = row.at(index);
                    let slope = own.function.derivative(x[from].to_f64());
                    let product = slope * dy[gradient].to_f64();
                    dx[to] = T::from_f64(if slope == 0.0 { 0.0 } else { product });
                }
                Ok(())
            })
        }
        by_real!(self.dx.dtype, run(self, memory))
    }
}

/// `dw[o, c, t] = sum over n, p of dy[n, o, p] x[n, c, p stride + t dilation - pad]`.
#[derive(Debug)]
pub(crate) struct WeightGrad {
    groups: usize,
    windows: [Window; 2],
    x: View,
    dy: View,
    dw: View,
}

operands!(WeightGrad: x, dy -> dw);

impl WeightGrad {
    /// `dw` is `[output channels, input channels / groups, rows, columns]`.
    pub(crate) fn new(
        groups: usize,
        windows: [Window; 2],
        [x, dy]: [&View; 2],
        dw: &View,
    ) -> WeightGrad {
        WeightGrad { groups, windows, x: x.clone(), dy: dy.clone(), dw: dw.clone() }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &WeightGrad, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, dy) = (memory.read::<T>(&own.x)?, memory.read::<T>(&own.dy)?);
            let result = memory.write::<T>(&own.dw)?;
            let [vertical, horizontal] = own.windows;
            let group_outputs = own.dy.dims[1] / own.groups;
            for [o, c, ty, tx] in positions(&own.dw) {
                let channel = o / group_outputs * own.dw.dims[1] + c;
                let mut sum = 0.0;
                for n in 0..own.x.dims[0] {
                    for py in 0..own.dy.dims[2] {
                        if !vertical.inside(py).contains(&ty) {
                            continue;
                        }
                        let y = vertical.index(py, ty);
                        for px in 0..own.dy.dims[3] {
                            if !horizontal.inside(px).contains(&tx) {
                                continue;
                            }
                            let place = [n, channel, y, horizontal.index(px, tx)];
                            let seen = x[index(&own.x, place)].to_f64();
                            sum += dy[index(&own.dy, [n, o, py, px])].to_f64() * seen;
                        }
                    }
                }
                result[index(&own.dw, [o, c, ty, tx])] = T::from_f64(sum);
            }
            Ok(())
        }
        by_real!(self.dw.dtype, run(self, memory))
    }
}

/// The gradient of a pool.
#[derive(Debug)]
pub(crate) struct PoolGrad {
    kind: PoolKind,
    windows: [Window; 2],
    /// Asked for by the maximum alone.
    x: Option<View>,
    dy: View,
    dx: View,
}

operands!(PoolGrad: x, dy -> dx);

impl PoolGrad {
    /// For pictures of the same images, channels and type; `windows` are vertical and horizontal.
    pub(crate) fn new(
        kind: PoolKind,
        windows: [Window; 2],
        x: &View,
        dy: &View,
        dx: &View,
    ) -> PoolGrad {
        let x = (kind == PoolKind::Max).then(|| x.clone());
        PoolGrad { kind, windows, x, dy: dy.clone(), dx: dx.clone() }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &PoolGrad, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let x = own.x.as_ref().map(|x| memory.read::<T>(x)).transpose()?;
            let dy = memory.read::<T>(&own.dy)?;
            let dx = memory.write::<T>(&own.dx)?;
            let [vertical, horizontal] = own.windows;
            let count_pad = own.kind == PoolKind::Mean { count_pad: true };
            let [height, width] = [own.dy.dims[2], own.dy.dims[3]];
            for [n, c, row, column] in positions(&own.dx) {
                let mut sum = 0.0;
                for ty in 0..vertical.taps {
                    let Some(py) = position_of(&vertical, row, ty, height) else { continue };
                    for tx in 0..horizontal.taps {
                        let px = position_of(&horizontal, column, tx, width);
                        let Some(px) = px else { continue };
                        let share = match (&own.x, x) {
                            (Some(view), Some(x)) => {
                                let wins = own.largest(view, x, [n, c, py, px]) == [row, column];
                                if wins { 1.0 } else { continue }
                            }
                            _ => {
                                let taps = vertical.counted(py, count_pad)
                                    * horizontal.counted(px, count_pad);
                                1.0 / taps.max(1.0)
                            }
                        };
                        sum += share * dy[index(&own.dy, [n, c, py, px])].to_f64();
                    }
                }
                dx[index(&own.dx, [n, c, row, column])] = T::from_f64(sum);
            }
            Ok(())
        }
        by_real!(self.dx.dtype, run(self, memory))
    }

    /// Row and column of the first of the largest elements under a window; the last NaN, if any.
    fn largest<T: Real>(&self, view: &View, x: &[T], [n, c, py, px]: [usize; 4]) -> [usize; 2] {
        let [vertical, horizontal] = self.windows;
        let mut best: Option<(f64, [usize; 2])> = None;
        for ty in vertical.inside(py) {
            for tx in horizontal.inside(px) {
                let [row, column] = [vertical.index(py, ty), horizontal.index(px, tx)];
                let value = x[index(view, [n, c, row, column])].to_f64();
                match best {
                    Some((known, _)) if !(value > known || value.is_nan()) => {}
                    _ => best = Some((value, [row, column])),
                }
            }
        }
        // Asked about windows alone that hold an element.
        best.map_or([usize::MAX; 2], |(_, place)| place)
    }
}

/// The gradient of a reduction.
#[derive(Debug)]
pub(crate) struct ReduceGrad {
    kind: Reduction,
    /// Asked for by maxima, minima and norms: the kept axes, and the reduced ones from index 0 on.
    x: Option<View>,
    x_reduced: Option<View>,
    /// The kept axes alone.
    dy: View,
    /// The kept axes, and the reduced ones from index 0 on.
    dx: View,
    dx_reduced: View,
    /// All of the operand and of the result, for their bounds.
    whole_x: Option<View>,
    whole_dx: View,
}

operands!(ReduceGrad: x, dy, dx, whole_x -> whole_dx);

impl ReduceGrad {
    /// `dy` has the dims of `x` without `axes`, in order, once its own axes of length 1 that stand for
    /// reduced ones are left out.
    pub(crate) fn new(
        kind: Reduction,
        axes: &[usize],
        x: &View,
        dy: &View,
        dx: &View,
    ) -> ReduceGrad {
        let pick = |view: &View, keep: bool| {
            let chosen = (0..view.dims.len()).filter(|axis| axes.contains(axis) != keep);
            view.permuted(&chosen.collect::<Vec<_>>())
        };
        let reduced = |view: &View| View { first: 0, ..pick(view, false) };
        let wanted = matches!(kind, Reduction::Max | Reduction::Min | Reduction::L2);
        let of = |part: View| wanted.then_some(part);
        let dy = if dy.dims.len() == x.dims.len() { pick(dy, true) } else { dy.clone() };
        ReduceGrad {
            kind,
            x: of(pick(x, true)),
            x_reduced: of(reduced(x)),
            dy,
            dx: pick(dx, true),
            dx_reduced: reduced(dx),
            whole_x: of(x.clone()),
            whole_dx: dx.clone(),
        }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &ReduceGrad, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let x = own.x.as_ref().map(|x| memory.read::<T>(x)).transpose()?.unwrap_or_default();
            let dy = memory.read::<T>(&own.dy)?;
            let dx = memory.write::<T>(&own.whole_dx)?;
            let count = own.dx_reduced.elements();
            for kept in 0..own.dx.elements() {
                let at = |view: &View| view.first + offset(view, kept);
                let gradient = dy[at(&own.dy) as usize].to_f64();
                let to = at(&own.dx);
                // The elements of x that fall on this one of dy, in row-major order.
                let value = |index: usize| match (&own.x, &own.x_reduced) {
                    (Some(view), Some(reduced)) => {
                        x[(at(view) + offset(reduced, index)) as usize].to_f64()
                    }
                    _ => 0.0,
                };
                let best = match own.kind {
                    Reduction::Max => first((0..count).map(value), |a, b| a > b),
                    Reduction::Min => first((0..count).map(value), |a, b| a < b),
                    _ => None,
                };
                let norm = match own.kind {
                    Reduction::L2 => (0..count).map(|i| value(i) * value(i)).sum::<f64>().sqrt(),
                    _ => 0.0,
                };
                for index in 0..count {
                    let share = match own.kind {
                        Reduction::Sum => gradient,
                        Reduction::Mean => gradient / count as f64,
                        Reduction::Max | Reduction::Min if best == Some(index) => gradient,
                        Reduction::L2 if norm > 0.0 => value(index) / norm * gradient,
                        Reduction::L2 if norm.is_nan() => f64::NAN,
                        Reduction::Max | Reduction::Min | Reduction::L2 => 0.0,
                    };
                    dx[(to + offset(&own.dx_reduced, index)) as usize] = T::from_f64(share);
                }
            }
            Ok(())
        }
        by_real!(self.whole_dx.dtype, run(self, memory))
    }
}

/// The place of the first of the values that beat all before them; NaN beats everything.
fn first(values: impl Iterator<Item = f64>, wins: impl Fn(f64, f64) -> bool) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, value) in values.enumerate() {
        match best {
            Some((_, known)) if !(wins(value, known) || value.is_nan()) => {}
            _ => best = Some((at, value)),
        }
    }
    best.map(|(at, _)| at)
}

#[inline]
fn offset(view: &View, index: usize) -> isize {
    super::movement::offset_of(view, 0..view.dims.len(), index)
}

/// The transpose of an operator that picks or mixes elements along each axis by itself: slices,
/// paddings, resizing.
#[derive(Debug)]
pub(crate) struct Adjoint {
    /// For each axis and each index of dx along it, the offsets in dy that it has a share in.
    shares: Vec<Vec<Vec<(isize, f64)>>>,
    dy: View,
    dx: View,
}

operands!(Adjoint: dy -> dx);

impl Adjoint {
    /// `sources` holds for each axis and each index of `dy` along it the indices of `dx` that the
    /// operator made it of, with their shares.
    pub(crate) fn new(sources: &[Vec<Vec<(usize, f64)>>], dy: &View, dx: &View) -> Adjoint {
        let mut shares = Vec::new();
        for ((sources, stride), &len) in sources.iter().zip(&dy.strides).zip(&dx.dims) {
            let mut axis = vec![Vec::new(); len];
            for (index, sources) in sources.iter().enumerate() {
                // What has no share must not turn infinity into NaN.
                for &(source, share) in sources.iter().filter(|(_, share)| *share != 0.0) {
                    axis[source].push((index as isize * stride, share));
                }
            }
            shares.push(axis);
        }
        Adjoint { shares, dy: dy.clone(), dx: dx.clone() }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &Adjoint, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (dy, dx) = (memory.read::<T>(&own.dy)?, memory.write::<T>(&own.dx)?);
            for element in 0..own.dx.elements() {
                let sum = own.sum(dy, element, own.dx.dims.len(), own.dy.first, 1.0);
                dx[(own.dx.first + offset(&own.dx, element)) as usize] = T::from_f64(sum);
            }
            Ok(())
        }
        by_real!(self.dx.dtype, run(self, memory))
    }

    /// The sum over the last of the first `axes` axes and those before it, for the element of dx
    /// whose row-major index within them is `element`.
    fn sum<T: Real>(&self, dy: &[T], element: usize, axes: usize, at: isize, share: f64) -> f64 {
        let Some(axis) = axes.checked_sub(1) else { return share * dy[at as usize].to_f64() };
        let len = self.dx.dims[axis];
        let shares = self.shares[axis][element % len].iter();
        shares.map(|(step, own)| self.sum(dy, element / len, axis, at + step, share * own)).sum()
    }
}
