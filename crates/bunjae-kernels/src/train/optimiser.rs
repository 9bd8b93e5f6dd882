//! Steps of optimisers, and other arithmetic over flat arrays.
//!
//! Every element is computed by itself in one order of operations, so an array may be divided in
//! any way between calls and threads without changing a bit. The exception, the sum of squares, adds
//! blocks of fixed size in order.

use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::simd::{Body, Entry, Simd, entry};

/// Elements whose squares are added in f32 before they are added to the others in f64.
const BLOCK: usize = 1024;

/// Stochastic gradient descent with momentum, as PyTorch defines it:
///
/// ```text
/// g = scale * gradient + decay * parameter
/// velocity = momentum * velocity + g
/// parameter -= rate * (nesterov ? g + momentum * velocity : velocity)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Share of the velocity that is kept.
    pub momentum: f32,
    /// Whether the step looks ahead (Nesterov).
    pub nesterov: bool,
    /// Weight decay, as a part of the gradient.
    pub decay: f32,
    /// What gradients are multiplied by first, to clip them.
    pub scale: f32,
}

/// Adam (Kingma and Ba, 2015) or AdamW (Loshchilov and Hutter, 2019):
///
/// ```text
/// g = scale * gradient                    (+ decay * parameter, if coupled)
/// parameter -= rate * decay * parameter   (if decoupled)
/// first = beta1 * first + (1 - beta1) * g
/// second = beta2 * second + (1 - beta2) * g * g
/// parameter -= rate / (1 - beta1^t) * first / (sqrt(second / (1 - beta2^t)) + eps)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub rate: f32,
    /// Share of the first moment that is kept.
    pub beta1: f32,
    /// Share of the second moment that is kept.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Weight decay.
    pub decay: f32,
    /// Whether the decay is taken from the parameter itself (AdamW) rather than added to the
    /// gradient (Adam).
    pub decoupled: bool,
    /// What gradients are multiplied by first, to clip them.
    pub scale: f32,
    /// The number of this step, from 1 on.
    pub step: u64,
}

/// Arithmetic over flat arrays, prepared for one instruction set.
pub struct FlatMath {
    sgd: Entry<SgdArgs>,
    adam: Entry<AdamArgs>,
    squares: Entry<SquaresArgs>,
    lerp: Entry<LerpArgs>,
}

struct SgdArgs {
    sgd: Sgd,
    len: usize,
    parameters: *mut f32,
    gradients: *const f32,
    velocity: *mut f32,
}

struct SgdStep;

impl Body<SgdArgs> for SgdStep {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &SgdArgs) {
        // SAFETY: all arrays have `len` elements.
        unsafe {
            let [rate, momentum, decay, scale] =
                [-a.sgd.rate, a.sgd.momentum, a.sgd.decay, a.sgd.scale].map(|x| S::splat(x));
            for i in (0..a.len).step_by(S::LANES) {
                let n = a.len - i;
                let p = S::load_n(a.parameters.add(i), n);
                let g = S::mul(S::load_n(a.gradients.add(i), n), scale);
                let g = S::fma(p, decay, g);
                let velocity = S::fma(S::load_n(a.velocity.add(i), n), momentum, g);
                S::store_n(a.velocity.add(i), velocity, n);
                let step = if a.sgd.nesterov { S::fma(velocity, momentum, g) } else { velocity };
                S::store_n(a.parameters.add(i), S::fma(step, rate, p), n);
            }
        }
    }
}

struct AdamArgs {
    adam: Adam,
    /// `rate / (1 - beta1^t)` and `1 / sqrt(1 - beta2^t)`.
    rate: f32,
    root: f32,
    len: usize,
    parameters: *mut f32,
    gradients: *const f32,
    first: *mut f32,
    second: *mut f32,
}

struct AdamStep;

impl Body<AdamArgs> for AdamStep {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &AdamArgs) {
        let Adam { beta1, beta2, eps, decay, decoupled, scale, .. } = a.adam;
        let (coupled, kept) =
            if decoupled { (0.0, 1.0 - a.adam.rate * decay) } else { (decay, 1.0) };
        // SAFETY: all arrays have `len` elements.
        unsafe {
            let [beta1, rest1, beta2, rest2] =
                [beta1, 1.0 - beta1, beta2, 1.0 - beta2].map(|x| S::splat(x));
            let [eps, coupled, kept, scale] = [eps, coupled, kept, scale].map(|x| S::splat(x));
            let (rate, root) = (S::splat(-a.rate), S::splat(a.root));
            for i in (0..a.len).step_by(S::LANES) {
                let n = a.len - i;
                let p = S::load_n(a.parameters.add(i), n);
                let g = S::mul(S::load_n(a.gradients.add(i), n), scale);
                let g = S::fma(p, coupled, g);
                let first = S::mul(S::load_n(a.first.add(i), n), beta1);
                let first = S::fma(g, rest1, first);
                let second = S::mul(S::load_n(a.second.add(i), n), beta2);
                let second = S::fma(S::mul(g, g), rest2, second);
                S::store_n(a.first.add(i), first, n);
                S::store_n(a.second.add(i), second, n);
                let divisor = S::fma(S::sqrt(second), root, eps);
                let step = S::div(S::mul(first, rate), divisor);
                S::store_n(a.parameters.add(i), S::fma(p, kept, step), n);
            }
        }
    }
}

struct SquaresArgs {
    values: *const f32,
    len: usize,
    out: *mut f32,
}

struct Squares;

impl Body<SquaresArgs> for Squares {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &SquaresArgs) {
        let l = S::LANES;
        // SAFETY: there are `len` values.
        unsafe {
            let mut sums = [S::zero(); 4];
            let mut i = 0;
            while i + 4 * l <= a.len {
                for j in 0..4 {
                    let v = S::load(a.values.add(i + j * l));
                    sums[j] = S::fma(v, v, sums[j]);
                }
                i += 4 * l;
            }
            while i < a.len {
                let v = S::load_n(a.values.add(i), a.len - i);
                sums[0] = S::fma(v, v, sums[0]);
                i += l;
            }
            *a.out = S::sum(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])));
        }
    }
}

struct LerpArgs {
    to: *mut f32,
    from: *const f32,
    weight: f32,
    len: usize,
}

struct Lerp;

impl Body<LerpArgs> for Lerp {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &LerpArgs) {
        // SAFETY: both arrays have `len` elements.
        unsafe {
            let weight = S::splat(a.weight);
            for i in (0..a.len).step_by(S::LANES) {
                let n = a.len - i;
                let to = S::load_n(a.to.add(i), n);
                let delta = S::sub(S::load_n(a.from.add(i), n), to);
                S::store_n(a.to.add(i), S::fma(delta, weight, to), n);
            }
        }
    }
}

impl FlatMath {
    /// Prepares the functions for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`].
    pub fn new(isa: Isa) -> Result<FlatMath, KernelError> {
        isa.require()?;
        Ok(FlatMath {
            sgd: entry::<SgdStep, SgdArgs>(isa),
            adam: entry::<AdamStep, AdamArgs>(isa),
            squares: entry::<Squares, SquaresArgs>(isa),
            lerp: entry::<Lerp, LerpArgs>(isa),
        })
    }

    /// One step of [`Sgd`] on some parameters, with their gradients and velocities.
    ///
    /// # Errors
    /// [`KernelError::Length`] if an array is shorter than the parameters.
    pub fn sgd(
        &self,
        sgd: &Sgd,
        parameters: &mut [f32],
        gradients: &[f32],
        velocity: &mut [f32],
    ) -> Result<(), KernelError> {
        let len = parameters.len();
        require_len("sgd", "the gradients", len, gradients.len())?;
        require_len("sgd", "the velocities", len, velocity.len())?;
        let args = SgdArgs {
            sgd: *sgd,
            len,
            parameters: parameters.as_mut_ptr(),
            gradients: gradients.as_ptr(),
            velocity: velocity.as_mut_ptr(),
        };
        // SAFETY: lengths are checked.
        unsafe { (self.sgd)(&args) };
        Ok(())
    }

    /// One step of [`Adam`] on some parameters, with their gradients and moments.
    ///
    /// # Errors
    /// [`KernelError::Length`] if an array is shorter than the parameters, and
    /// [`KernelError::Geometry`] for a step 0.
    pub fn adam(
        &self,
        adam: &Adam,
        parameters: &mut [f32],
        gradients: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) -> Result<(), KernelError> {
        let len = parameters.len();
        require_len("adam", "the gradients", len, gradients.len())?;
        require_len("adam", "the first moments", len, first.len())?;
        require_len("adam", "the second moments", len, second.len())?;
        require("adam", adam.step > 0, || "steps count from 1 on".to_owned())?;
        let remains = |beta: f32| 1.0 - f64::from(beta).powf(adam.step as f64);
        let args = AdamArgs {
            adam: *adam,
            rate: (f64::from(adam.rate) / remains(adam.beta1)) as f32,
            root: (1.0 / remains(adam.beta2).sqrt()) as f32,
            len,
            parameters: parameters.as_mut_ptr(),
            gradients: gradients.as_ptr(),
            first: first.as_mut_ptr(),
            second: second.as_mut_ptr(),
        };
        // SAFETY: lengths are checked.
        unsafe { (self.adam)(&args) };
        Ok(())
    }

    /// The sum of squares; its root is the norm by which gradients are clipped.
    pub fn sum_of_squares(&self, values: &[f32]) -> f64 {
        let mut sum = 0.0f64;
        for block in values.chunks(BLOCK) {
            let mut out = 0.0f32;
            let args = SquaresArgs { values: block.as_ptr(), len: block.len(), out: &mut out };
            // SAFETY: the block is a slice.
            unsafe { (self.squares)(&args) };
            sum += f64::from(out);
        }
        sum
    }

    /// Moves `to` towards `from` by `weight` of the way: an exponential moving average.
    ///
    /// # Errors
    /// [`KernelError::Length`] if `from` is shorter than `to`.
    pub fn lerp(&self, to: &mut [f32], from: &[f32], weight: f32) -> Result<(), KernelError> {
        require_len("lerp", "the values", to.len(), from.len())?;
        let args = LerpArgs { to: to.as_mut_ptr(), from: from.as_ptr(), weight, len: to.len() };
        // SAFETY: lengths are checked.
        unsafe { (self.lerp)(&args) };
        Ok(())
    }
}
