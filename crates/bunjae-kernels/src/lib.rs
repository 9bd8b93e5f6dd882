//! The compute kernels: f32, forward and backward, for every instruction set, for any shape.
//!
//! Owns the loops that the time goes into, and most of the project's `unsafe` code. Its interface is
//! safe, apart from the `run_tasks` functions, which a thread pool calls.
//!
//! Never here: graphs, threads, and allocation after a kernel is prepared.
//!
//! # How a kernel is used
//!
//! 1. *Prepare*: `Conv::new(spec, isa)` and its like check the geometry, choose the algorithm,
//!    divide the work and pick function pointers for one instruction set ([`Isa::preferred`]).
//! 2. *Pack*: `pack` brings the weights into the order in which the prepared kernel reads them.
//!    Kernels of equal [`Packing`] read the same packed weights.
//! 3. *Run*: `run` on slices whose lengths are checked, or `run_tasks` for a range of tasks. The
//!    division into tasks depends on the geometry alone and no element's arithmetic depends on
//!    the division, so every number of threads gives the same bits.
//!
//! Kernels with [`Conv::workspace_len`] or `scratch_len` are lent memory, so that the caller can
//! plan all of it at once.
//!
//! # Instruction sets
//!
//! A kernel body is written once, generic over a small trait of vector operations on `std::arch`
//! intrinsics, and instantiated per path inside a function that enables the instruction set.
//! In the machine code, no inner loop touches the stack except in three AVX2 bodies, which reload
//! one or two operands; the tiles run at 90 to 96 % of the measured peak when their operands are in
//! cache, so there was nothing left to gain from a crate for vectors or matrix products. (Closures
//! too long to be inlined are the trap, and `array::map` with them: they are compiled without the
//! instruction set, and called with all vectors in memory.)
//! Paths may round differently from each other (fused or separate multiply-add, order of sums).
//!
//! # Layout: padded planes
//!
//! There is one activation layout, [`Planar`]: planes of rows with zeros around them. The gap after
//! a row is also the gap before the next, so a stride-1 convolution of any kernel runs over a whole
//! plane as if it were one row, a tap is one constant offset, and border handling disappears.
//!
//! The alternative is to interleave channels in blocks of a vector's width. It was judged by
//! measuring both inner loops on planes, [`ConvForm::Pixel`] (vectors of pixels) against
//! [`ConvForm::Channel`] (vectors of output channels, which is the inner loop of that layout and
//! wastes the same lanes). Share of the peak of one core, AVX-512, AMD EPYC of the Zen 4
//! generation, other programs running, best of several medians:
//!
//! | layer | pixels | channels |
//! |---|---|---|
//! | 3x3, 64 to 128, 32 x 32 | 92 % | 93 % |
//! | 3x3, 44 to 89, 32 x 32 | 94 % | 87 % |
//! | 3x3, 11 to 8, 64 x 64 | 86 % | 44 % |
//! | 1x1, 16 to 96, 30 x 60 | 67 % | 46 % |
//! | 1x1, 96 to 24, 15 x 30 | 87 % | 63 % |
//! | 1x1, 576 to 96, 14 x 14 | 91 % | 94 % |
//! | 1x1, 160 to 960, 7 x 7 | 66 % | 81 % |
//! | 3x3, 256 to 256, 14 x 14 | 85 % | 96 % |
//! | 3x3, 512 to 512, 7 x 7 | 67 % | 93 % |
//!
//! Vectors of channels win only on small pictures with many channels, and they can be had on planes
//! too, for a transposition in the epilogue. Vectors of pixels win wherever channel counts are
//! small or odd, which is what pruning leaves, and depthwise convolution, pooling and Winograd's
//! transforms want pixels anyway. So planes it is, and the convolution chooses between its forms
//! ([`Conv::forms`]).
//!
//! # Pointwise convolutions
//!
//! Of a pointwise convolution each product reads another plane, kilobytes away. [`ConvForm::Gemm`]
//! packs some dozens of pixels of all planes first, in the order in which tiles read them. Share of the
//! peak of one core, AVX2, AMD EPYC of the Zen 3 generation with other programs running, the forms by
//! turns, medians (`cargo bench -p bunjae-kernels -- --forms`):
//!
//! | 1x1 layer | pixels | channels | packed |
//! |---|---|---|---|
//! | 32 to 16, 112 x 112 | 42 % | 34 % | 48 % |
//! | 16 to 96, 112 x 112 | 45 % | 24 % | 56 % |
//! | 144 to 24, 56 x 56 | 48 % | 42 % | 55 % |
//! | 64 to 384, 14 x 14 | 74 % | 58 % | 74 % |
//! | 576 to 96, 14 x 14 | 62 % | 62 % | 66 % |
//! | 144 to 32, 8 x 15 | 69 % | 62 % | 51 % |
//! | 160 to 960, 7 x 7 | 53 % | 50 % | 60 % |
//! | 960 to 320, 7 x 7 | 56 % | 72 % | 68 % |
//!
//! # Training
//!
//! The layout serves the backward pass as well. The gradient of a convolution's weights is dot
//! products of planes, or for 3x3 kernels Winograd's algorithm turned round ([`ConvWeightGrad`]), that of its input another convolution
//! ([`ConvInputGrad`]), for which [`Packing::pack_into`] packs weights that change at every step. Where
//! a convolution's input is the result of a normalisation that was not kept, the gradient of a
//! depthwise or pointwise weight makes it on the way, a few planes at a time: in MobileNetV2 at
//! 128 x 128 that takes 0.84 of the time of normalising again first (batch 32, AVX2, one thread).
//!
//! Winograd's form of the weight gradient transforms some tiles of all input and of some output channels
//! at a time, with vectors over channels, so that the width of a plane does not matter, and multiplies them
//! with the tiles of [`ConvForm::Channel`]. Milliseconds in a training step of 32 pictures (AMD EPYC of the
//! Zen 2 generation, AVX2, one thread, the programs by turns):
//!
//! | 3x3 layer | direct | Winograd |
//! |---|---|---|
//! | 8 to 16, 64 x 64 | 4.3 | 2.7 |
//! | 16 to 32, 32 x 32 | 3.7 | 1.9 |
//! | 32 to 64, 64 x 64 | 62 | 23 |
//! | 64 to 128, 32 x 32 | 62 | 23 |
//! | 64 to 64, 32 x 32 | 32 | 12 |
//! | 256 to 256, 8 x 8 | 30 | 13 |
//! | 512 to 512, 4 x 4 | 35 | 23 |
//! | 3 to 32, 128 x 128 (direct is chosen) | 12.5 | 15.3 |
//!
//! Batch normalisation with an activation and a pooling ([`BatchNormTrain`], [`BatchNormGrad`])
//! stores no masks: the backward pass computes them again. Sums over a batch are divided by the
//! geometry alone and added in a fixed order, in f64 across planes.
//!
//! # Stores on narrow pictures
//!
//! A row that is no multiple of a vector ends in a partial store. On AVX2 those are split into
//! plain ones, the depthwise form lets the last vector of a row overlap the one before, and the
//! average over all pixels sums channels in their lanes. Together with asking early for the lines
//! that a tile will write, this changed MobileNetV2 at 224 x 224 from 12.43 to 11.72 ms (AMD EPYC of
//! the Zen 3 generation, AVX2, one thread, medians, alternating).
//!
//! # Depthwise blocks
//!
//! Nine products for each number that is loaded leave little room beside them. A block of rows has as
//! many sums as hide the latency of a multiply-add, takes the columns of the kernel one after another, so
//! that few registers hold weights, and is compiled for its number of rows. Microseconds of the benchmark
//! of this crate (the same machine, least of five by turns), beside blocks of four rows with all weights
//! in registers:
//!
//! | layer | four rows, all weights | now |
//! |---|---|---|
//! | 3x3, 32 channels, 112 x 112 | 135 | 117 |
//! | 3x3, 144 channels, 56 x 56 | 150 | 122 |
//! | 3x3, 192 channels, 28 x 28 | 59 | 47 |
//! | 3x3, 384 channels, 14 x 14 | 34 | 25 |
//! | 3x3, 960 channels, 7 x 7 | 32 | 19 |
//! | 5x5, 120 channels, 28 x 28 | 102 | 68 |
//!
//! # Blocks
//!
//! A network for small devices is mostly a pointwise, a depthwise and a pointwise convolution, again and
//! again, with several times as many channels in between. [`ConvBlock`] computes the three a few rows or
//! a few channels at a time. What lies between stays in a thread's own cache, and channels lie next to
//! each other there, which is what a depthwise convolution wants: no lane is wasted on a narrow picture,
//! no columns are taken apart for a stride. `cargo bench -p bunjae-kernels -- conv/block` on one core of
//! an AMD EPYC of the Zen 2 generation, AVX2:
//!
//! | block | us | share of peak | of the three by themselves |
//! |---|---|---|---|
//! | 3x3/2 3 to 32, 3x3, to 16; 224 x 224 | 542 | 71 % | 0.86 |
//! | 16 to 96, 3x3/2, to 24; 112 x 112 | 788 | 69 % | 0.85 |
//! | 24 to 144, 3x3, to 24; 56 x 56 | 633 | 75 % | 0.92 |
//! | 32 to 192, 3x3, to 32; 28 x 28 | 261 | 78 % | 0.89 |
//! | 96 to 576, 3x3/2, to 160; 14 x 14 | 340 | 85 % | 0.89 |
//! | 160 to 960, 3x3, to 160; 7 x 7 | 353 | 81 % | 0.91 |
//! | 64 to 384, 3x3, to 64; 4 x 8 | 42 | 75 % | 0.63 |
//! | 40 to 120, 5x5, to 40; 28 x 28 | 240 | 76 % | 0.88 |
//! | 19 to 29, 3x3, to 19; 56 x 56 | 143 | 56 % | 0.74 |
//! | 64 to 128, 3x3, to 128; 56 x 56 | 1928 | 77 % | 1.07 |
//!
//! In a network the gain is larger, as a step by itself finds its operands in a cache here, and threads
//! exchange only what is narrow. Where the channels in between are no more than around them ([`BlockSpec::is_worth`]) there is
//! little to gain; without vectors (the portable path) it takes 0.8 to 1.2 of the time.
//!
//! # Accuracy
//!
//! Direct sums are chains of multiply-adds in a fixed order. On uniform random data of 64 channels
//! their root mean square error is 4e-7 of the result's; [`ConvForm::Winograd`] has 8e-7 there, and
//! 4 times the direct error on 3 channels. For functions see the tests of [`Map`]: about 3e-7
//! relative, for GELU 4e-7 absolute per unit of `max(1, |x|)`.
//! A NaN in the input reaches every output that sees it; in the Winograd form also the others of
//! the same 4 x 4 tile.
#![allow(unsafe_code, reason = "the kernels are written with intrinsics and raw pointers")]

mod activation;
mod aligned;
mod conv;
mod elementwise;
mod error;
mod isa;
mod linear;
mod output;
mod packing;
mod peak;
mod planar;
mod pool;
mod resize;
mod simd;
mod softmax;
mod table;
mod train;

#[cfg(test)]
mod reference;

pub use activation::Activation;
pub use aligned::AlignedVec;
pub use conv::{
    BlockInputs, BlockNumbers, BlockSpec, Conv, ConvBlock, ConvForm, ConvInputGrad, ConvInputs,
    ConvSpec, ConvWeightGrad, InputGradInputs, ResidualAt, Tail, WeightGradInputs,
};
pub use elementwise::{Binary, BinaryOp, Copy, Map};
pub use error::KernelError;
pub use isa::{ISA_VARIABLE, Isa, IsaSet};
pub use linear::{Linear, LinearSpec};
pub use output::Output;
pub use packing::{Axis, Packing, WeightLayout};
pub use peak::multiply_add_peak;
pub use planar::{Halo, Planar, TAIL};
pub use pool::{GlobalPool, Pool, PoolKind, PoolSpec};
pub use resize::{Coordinates, Resize, Rounding, Sampling};
pub use softmax::Softmax;
pub use table::Kernel;
pub use train::{
    Adam, BatchNormAgain, BatchNormAgainInputs, BatchNormGrad, BatchNormGradInputs,
    BatchNormGradOutputs, BatchNormInputs, BatchNormNumbers, BatchNormOutputs, BatchNormSpec,
    BatchNormTrain, ChannelSum, FlatMath, MapGrad, MaxPoolGrad, Sgd,
};
