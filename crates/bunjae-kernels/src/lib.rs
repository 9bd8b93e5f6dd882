//! The compute kernels.
#![allow(unsafe_code, reason = "the kernels are written with intrinsics and raw pointers")]

mod activation;
mod aligned;
mod conv;
mod elementwise;
mod error;
mod isa;
mod linear;
mod output;
mod peak;
mod planar;
mod pool;
mod resize;
mod simd;
mod softmax;
mod table;

#[cfg(test)]
mod reference;

pub use activation::Activation;
pub use aligned::AlignedVec;
pub use conv::{Conv, ConvForm, ConvInputs, ConvSpec, ResidualAt, Tail};
pub use elementwise::{Binary, BinaryOp, Copy, Map};
pub use error::KernelError;
pub use isa::{ISA_VARIABLE, Isa, IsaSet};
pub use linear::{Linear, LinearSpec};
pub use output::Output;
pub use peak::multiply_add_peak;
pub use planar::{Halo, Planar, TAIL};
pub use pool::{GlobalPool, Pool, PoolKind, PoolSpec};
pub use resize::{Coordinates, Resize, Rounding, Sampling};
pub use softmax::Softmax;
pub use table::Kernel;
