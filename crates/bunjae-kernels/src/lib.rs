//! The compute kernels.
#![allow(unsafe_code, reason = "the kernels are written with intrinsics and raw pointers")]

mod activation;
mod aligned;
mod conv;
mod elementwise;
mod error;
mod isa;
mod output;
mod peak;
mod planar;
mod simd;

#[cfg(test)]
mod reference;

pub use activation::Activation;
pub use aligned::AlignedVec;
pub use conv::{Conv, ConvForm, ConvInputs, ConvSpec, ResidualAt, Tail};
pub use error::KernelError;
pub use isa::{ISA_VARIABLE, Isa, IsaSet};
pub use output::Output;
pub use peak::multiply_add_peak;
pub use planar::{Halo, Planar, TAIL};
