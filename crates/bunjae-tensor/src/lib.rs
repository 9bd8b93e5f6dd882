//! Dense tensors: element types, shapes, aligned shared storage, and comparison with a tolerance.
//!
//! Owns the one in-memory form of weights and results that every other crate passes around, what
//! arithmetic on single elements means, the seeded random numbers used to fill tensors, and the
//! rules by which two of them count as equal.
//!
//! Never here: arithmetic on tensors (that is the interpreter and the kernels), graphs, files,
//! threads.
#![forbid(unsafe_code)]

mod compare;
mod dtype;
mod number;
mod random;
mod tensor;

pub use compare::{Difference, Tolerance, compare};
pub use dtype::{DType, Element};
pub use number::{Number, Real, Wide};
pub use random::Random;
pub use tensor::{MAX_BYTES, SharedBytes, Tensor, TensorError, element_count};
