//! The gradient of an activation: its derivative times the gradient of its result.

use std::ops::Range;

use super::slope::{Clamp, Leaky, Slope};
use crate::activation::{Activation, erf, exp, sigmoid, tanh};
use crate::elementwise::{join_rows, plane_tasks, same_shape};
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::Planar;
use crate::simd::{Body, Entry, Simd, entry};

const NAME: &str = "activation gradient";

/// A prepared gradient of an activation.
///
/// Where there is no derivative it is, as in PyTorch, that of the left side for the rectifiers with
/// a slope, 0 at bounds, and that of the outer side for [`Activation::HardSwish`].
pub struct MapGrad {
    input: Planar,
    gradient: Planar,
    output: Planar,
    activation: Activation,
    entry: Entry<MapGradArgs>,
    tasks: usize,
}

struct MapGradArgs {
    input: *const f32,
    input_row: usize,
    gradient: *const f32,
    gradient_row: usize,
    out: *mut f32,
    out_row: usize,
    rows: usize,
    width: usize,
    activation: Activation,
}

/// Some rows.
struct MapGradRows;

/// Evaluates an expression of the vectors `$v` and `$g` over all rows. A macro for the reason given
/// at [`crate::activation::map`]'s.
macro_rules! each {
    ($simd:ident, $a:ident, $v:ident, $g:ident => $f:expr) => {{
        for y in 0..$a.rows {
            let x_row = $a.input.add(y * $a.input_row);
            let g_row = $a.gradient.add(y * $a.gradient_row);
            let out = $a.out.add(y * $a.out_row);
            let mut i = 0;
            while i < $a.width {
                let n = $a.width - i;
                let ($v, $g) = ($simd::load_n(x_row.add(i), n), $simd::load_n(g_row.add(i), n));
                $simd::store_n(out.add(i), $f, n);
                i += $simd::LANES;
            }
        }
    }};
}

/// `g` where `lo < x < hi`, else 0.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
unsafe fn between<S: Simd>(lo: f32, hi: f32, x: S::V, g: S::V) -> S::V {
    // SAFETY: pure arithmetic.
    unsafe { Clamp::<S> { lo: S::splat(lo), hi: S::splat(hi) }.gradient(x, g) }
}

impl Body<MapGradArgs> for MapGradRows {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &MapGradArgs) {
        // SAFETY: each row has `width` elements in all tensors.
        unsafe {
            let one = S::splat(1.0);
            match a.activation {
                Activation::Identity | Activation::Prelu => each!(S, a, _v, g => g),
                Activation::Relu => each!(S, a, v, g => {
                    S::select(S::lt(S::zero(), v), g, S::zero())
                }),
                Activation::Clip { lo, hi } => {
                    each!(S, a, v, g => between::<S>(lo, hi, v, g));
                }
                Activation::LeakyRelu { slope } => each!(S, a, v, g => {
                    Leaky::<S> { slope: S::splat(slope) }.gradient(v, g)
                }),
                Activation::Elu { alpha } => each!(S, a, v, g => {
                    let below = S::mul(g, S::mul(S::splat(alpha), exp::<S>(v)));
                    S::select(S::lt(S::zero(), v), g, below)
                }),
                Activation::Sigmoid => each!(S, a, v, g => {
                    let s = sigmoid::<S>(v);
                    S::mul(g, S::mul(s, S::sub(one, s)))
                }),
                Activation::HardSigmoid { alpha, beta } => each!(S, a, v, g => {
                    let inner = S::fma(v, S::splat(alpha), S::splat(beta));
                    between::<S>(0.0, 1.0, inner, S::mul(g, S::splat(alpha)))
                }),
                Activation::HardSwish => each!(S, a, v, g => {
                    let slope = S::fma(v, S::splat(1.0 / 3.0), S::splat(0.5));
                    let upper = S::select(S::lt(v, S::splat(3.0)), S::mul(g, slope), g);
                    S::select(S::lt(S::splat(-3.0), v), upper, S::zero())
                }),
                Activation::Silu => each!(S, a, v, g => {
                    let s = sigmoid::<S>(v);
                    S::mul(g, S::mul(s, S::fma(v, S::sub(one, s), one)))
                }),
                Activation::Tanh => each!(S, a, v, g => {
                    let t = tanh::<S>(v);
                    S::mul(g, S::sub(one, S::mul(t, t)))
                }),
                Activation::Gelu => each!(S, a, v, g => {
                    // The normal distribution and its density.
                    const DENSITY: f32 = 0.398_942_3;
                    let half = S::splat(0.5);
                    let scaled = S::mul(v, S::splat(std::f32::consts::FRAC_1_SQRT_2));
                    let below = S::fma(half, erf::<S>(scaled), half);
                    let power = S::mul(S::mul(v, v), S::splat(-0.5));
                    let density = S::mul(exp::<S>(power), S::splat(DENSITY));
                    S::mul(g, S::fma(v, density, below))
                }),
                Activation::GeluTanh => each!(S, a, v, g => {
                    // sqrt(2 / pi), and the factor of the cubic term.
                    const SCALE: f32 = 0.797_884_6;
                    const CUBIC: f32 = 0.044715;
                    let square = S::mul(v, v);
                    let inner = S::fma(square, S::splat(CUBIC * SCALE), S::splat(SCALE));
                    let t = tanh::<S>(S::mul(v, inner));
                    let slope =
                        S::fma(square, S::splat(3.0 * CUBIC * SCALE), S::splat(SCALE));
                    let half = S::splat(0.5);
                    let bend = S::mul(S::mul(v, half), S::sub(one, S::mul(t, t)));
                    S::mul(g, S::fma(bend, slope, S::fma(half, t, half)))
                }),
                Activation::Exp => each!(S, a, v, g => S::mul(g, exp::<S>(v))),
            }
        }
    }
}

impl MapGrad {
    /// Prepares the gradient of an activation for one instruction set: `input` is the layout of its
    /// operand, `gradient` that of the gradient of its result, `output` that of the gradient to be
    /// computed.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the shapes differ, and for
    /// [`Activation::Prelu`], whose slopes have gradients of their own.
    pub fn new(
        input: Planar,
        gradient: Planar,
        output: Planar,
        activation: Activation,
        isa: Isa,
    ) -> Result<MapGrad, KernelError> {
        isa.require()?;
        for (what, planar) in
            [("the input", &input), ("the gradient", &gradient), ("the output", &output)]
        {
            planar.check(NAME, what)?;
        }
        same_shape(NAME, &input, &gradient)?;
        same_shape(NAME, &input, &output)?;
        require(NAME, activation != Activation::Prelu, || "no slopes".to_owned())?;
        let [input, gradient, output] = join_rows([input, gradient, output]);
        let tasks = plane_tasks(&output);
        let entry = entry::<MapGradRows, MapGradArgs>(isa);
        Ok(MapGrad { input, gradient, output, activation, entry, tasks })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(
        &self,
        input: &[f32],
        gradient: &[f32],
        output: &mut [f32],
    ) -> Result<(), KernelError> {
        // SAFETY: all tasks on one thread.
        unsafe { self.run_tasks(0..self.tasks, input, gradient, Output::new(output)) }
    }

    /// Runs some tasks.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same `output` name disjoint tasks; `output`
    /// overlaps no other argument.
    pub unsafe fn run_tasks(
        &self,
        tasks: Range<usize>,
        input: &[f32],
        gradient: &[f32],
        output: Output<'_>,
    ) -> Result<(), KernelError> {
        require_len(NAME, "the input", self.input.end(), input.len())?;
        require_len(NAME, "the gradient", self.gradient.end(), gradient.len())?;
        require_len(NAME, "the output", self.output.end(), output.len())?;
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        let channels = self.output.channels;
        for task in tasks {
            for plane in part(self.output.images * channels, self.tasks, task) {
                let (image, channel) = (plane / channels, plane % channels);
                let args = MapGradArgs {
                    input: input[self.input.index(image, channel, 0, 0)..].as_ptr(),
                    input_row: self.input.row_stride,
                    gradient: gradient[self.gradient.index(image, channel, 0, 0)..].as_ptr(),
                    gradient_row: self.gradient.row_stride,
                    out: output.ptr().wrapping_add(self.output.index(image, channel, 0, 0)),
                    out_row: self.output.row_stride,
                    rows: self.output.height,
                    width: self.output.width,
                    activation: self.activation,
                };
                // SAFETY: lengths are checked; this task alone writes its planes.
                unsafe { (self.entry)(&args) };
            }
        }
        Ok(())
    }
}
