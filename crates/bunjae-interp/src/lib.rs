//! The interpreter: the meaning of every operator in the plainest loops.
//!
//! Owns [`eval()`], which computes one operator, and [`run()`], which computes a graph node by node.
//! What they compute is by definition right: the kernels, the passes and other runtimes are
//! compared with it, and so no loop here is clever.
//!
//! Never here: changing a graph (the passes), fast kernels, threads, layouts, memory plans (the
//! kernels and the engine), files.
//!
//! # Numerics
//!
//! - Sums (convolutions, products, means, norms, softmax) over `f32` are accumulated in `f64` and
//!   rounded once, at the end; so are functions of one element. The reference is then nearly exact,
//!   and a tolerance belongs to what is compared with it.
//! - Sums run in one fixed order: input channel, row of the kernel, column of the kernel; the bias
//!   comes last. They start at +0 and therefore never are -0 on the way, so a term that is zero,
//!   such as one of a masked channel, changes no bit of the result. That a network without some
//!   channels computes exactly what the network with these channels masked computes rests on this.
//!   It is why no sum is split over lanes, where a missing term would move all later ones.
//! - Arithmetic on two elements (`add`, `mul`, ...) is that of the element type.
//! - Transcendental functions come from `libm` rather than from the platform, which makes results
//!   equal bit for bit on all machines.
//! - NaN is passed on by everything that looks at it: clip, relu, maxima and minima of elements, of
//!   windows and over axes. ONNX Runtime disagrees with itself here (its `Max` passes NaN on, its
//!   pools and `ReduceMax` may lose it); PyTorch passes it on everywhere.
#![forbid(unsafe_code)]

mod conv;
mod elementwise;
mod error;
mod eval;
mod gradient;
mod linear;
mod movement;
mod normalise;
mod number;
mod pool;
mod quantise;
mod reduce;
mod resize;
mod run;
mod walk;
mod window;

pub use error::{EvalError, RunError};
pub use eval::eval;
pub use run::{run, run_with};
