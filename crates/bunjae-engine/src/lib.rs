//! The engine: a graph compiled to a flat list of steps, and the runner that executes it.
//!
//! Owns the way from a [`Graph`](bunjae_ir::Graph) to a [`Model`] (simplify, fuse, choose a layout
//! for every tensor and a kernel for every step, pack the weights, plan one arena), the [`Network`]
//! that shares weights between models of several batch sizes, and the [`Session`] that runs a model
//! without allocating. Two halves are kept apart: `compile` knows graphs and passes, `runtime` knows
//! neither.
//!
//! Never here: changing what a model computes (the passes), kernels written with intrinsics (the
//! kernels), files of other people's formats, measuring accuracy, printing.
//!
//! ```
//! use bunjae_engine::{CompileOptions, Input, Network, Output, Session};
//! use bunjae_ir::Graph;
//!
//! let text = "graph @tiny
//! in   %x: f32[N,3]
//! w    @w: f32[2,3] = [1, 0, 0, 0, 1, 0]
//! %1 = linear %x, @w : f32[N,2]
//! %2 = relu %1       : f32[N,2]
//! out  %2 ; \"y\"
//! ";
//! let network = Network::compile(&Graph::parse(text)?, &CompileOptions::default())?;
//! let mut session = Session::new(network.model(2)?)?;
//! let x = [1f32, -2.0, 3.0, -4.0, 5.0, -6.0];
//! let mut y = [0f32; 4];
//! session.run(&[Input::from(&x[..])], &mut [Output::from(&mut y[..])])?;
//! assert_eq!(y, [1.0, 0.0, 0.0, 5.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # From graph to steps
//!
//! 1. The sizes are bound, so every shape is a number, and the passes simplify the graph.
//! 2. Convolutions and linear layers take in what follows them: batch normalisation, an activation,
//!    a residual, a pooling. A convolution, a depthwise and a pointwise one become one step where what
//!    lies between them is wider than what is around.
//! 3. Every tensor gets a place: a buffer, an offset and a stride per axis. Pictures are kept in
//!    the kernels' planar layout with as much zero border as any consumer wants. Slices, splits,
//!    transpositions and most reshapes are only other strides over the same buffer, and what is
//!    concatenated is written into its range of the result right away.
//! 4. What no fast kernel computes, a generic one does, on operands of any strides and type.
//! 5. Buffers whose lifetimes do not meet share memory.
//!
//! # Numerics
//!
//! Results do not depend on the number of threads: a task is the same work whoever does it. They do
//! depend, in the last bits, on the instruction set and on the algorithm chosen for a convolution.
//!
//! The interpreter is the reference. An element of the result of one operator differs from
//! its value there by at most `4e-6` of the largest element of the tensor; integers are equal. That is what the
//! kernels' activations (a few units in the last place), sums in f32 and Winograd convolutions leave.
//! For a network of the zoo's depth with random weights the tests ask for `1e-4`.
#![allow(unsafe_code, reason = "memory shared between threads, mapped files: `runtime`, `file`")]

mod artefact;
mod compile;
mod error;
mod file;
mod network;
mod runtime;
mod training;

pub use artefact::{ArtefactError, OpenError, OpenProblem};
pub use bunjae_files::WriteError;
pub use bunjae_kernels::{Adam, FlatMath, Isa, IsaSet, Sgd, multiply_add_peak};
pub use compile::{CompileOptions, Segment};
pub use error::{CompileError, RunError};
pub use network::{Batch, LoadOptions, Network};
pub use runtime::{Explanation, Input, Model, Output, Port, Profile, Session, StepReport};
pub use training::TrainingSession;
