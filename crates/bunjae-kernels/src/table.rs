//! The table of kernels: one line each, from which the tests and the benchmark are generated.
//!
//! A kernel is added by adding a line, which names the function that tests it on a given
//! instruction set; without one the crate's tests do not compile. The benchmark matches on
//! [`Kernel`] exhaustively, so it does not compile without the new kernel either.

use std::fmt;

macro_rules! kernels {
    ($($(#[$doc:meta])* $kernel:ident $name:literal $module:ident $test:path;)*) => {
        /// A kernel of this crate. Each exists for every [`Isa`](crate::Isa).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kernel {
            $($(#[$doc])* $kernel,)*
        }

        impl Kernel {
            /// Every kernel there is.
            pub const ALL: &'static [Kernel] = &[$(Kernel::$kernel,)*];

            /// The name used in plans and reports.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kernel::$kernel => $name,)*
                }
            }
        }

        #[cfg(test)]
        mod tests {
            use crate::isa::Isa;

            /// Runs a test if this machine has the path; the others are covered elsewhere.
            fn on(isa: Isa, test: fn(Isa)) {
                match isa.require() {
                    Ok(()) => test(isa),
                    Err(error) => println!("skipped: {error}"),
                }
            }

            $(mod $module {
                use super::{Isa, on};

                #[test]
                fn portable() {
                    on(Isa::Portable, $test);
                }

                #[test]
                fn neon() {
                    on(Isa::Neon, $test);
                }

                #[test]
                fn avx2() {
                    on(Isa::Avx2, $test);
                }

                #[test]
                fn avx512() {
                    on(Isa::Avx512, $test);
                }
            })*
        }
    };
}

kernels! {
    /// Direct convolution, vectors over pixels.
    ConvPixel "conv/pixel" conv_pixel crate::conv::tests::pixel;
    /// Direct convolution, vectors over output channels.
    ConvChannel "conv/channel" conv_channel crate::conv::tests::channel;
    /// Pointwise convolution as a product of matrices.
    ConvGemm "conv/gemm" conv_gemm crate::conv::tests::gemm;
    /// Winograd convolution.
    ConvWinograd "conv/winograd" conv_winograd crate::conv::tests::winograd;
    /// Depthwise convolution.
    ConvDepthwise "conv/depthwise" conv_depthwise crate::conv::tests::depthwise;
    /// Three convolutions in one go.
    ConvBlock "conv/block" conv_block crate::conv::block::tests::block;
    /// Gradient of a convolution's input, and transposed convolution.
    ConvInputGrad "conv/input-grad" conv_input_grad crate::conv::grad_tests::input;
    /// Gradient of a convolution's weights.
    ConvWeightGrad "conv/weight-grad" conv_weight_grad crate::conv::grad_tests::weight;
    /// Fully connected layer of a small batch.
    LinearDot "linear/dot" linear_dot crate::linear::tests::dot;
    /// Fully connected layer of a larger batch.
    LinearPanels "linear/panels" linear_panels crate::linear::tests::panels;
    /// Pooling over windows.
    Pool "pool" pool crate::pool::tests::windows;
    /// Pooling over planes.
    GlobalPool "pool/global" global_pool crate::pool::tests::global;
    /// Activation.
    Map "map" map crate::elementwise::tests::map;
    /// Binary operation with broadcasting.
    Binary "binary" binary crate::elementwise::tests::binary;
    /// Batch normalisation by the statistics of the batch.
    BatchNormTrain "batch-norm" batch_norm crate::train::tests::batch_norm;
    /// Gradient of batch normalisation.
    BatchNormGrad "batch-norm/grad" batch_norm_grad crate::train::tests::batch_norm_grad;
    /// Gradient of an activation.
    MapGrad "map/grad" map_grad crate::train::tests::map_grad;
    /// Gradient of a maximum over windows.
    MaxPoolGrad "pool/grad" max_pool_grad crate::train::tests::max_pool_grad;
    /// Sums over channels.
    ChannelSum "channel-sum" channel_sum crate::train::tests::channel_sum;
    /// Steps of optimisers.
    FlatMath "optimiser" flat_math crate::train::tests::flat_math;
    /// Softmax.
    Softmax "softmax" softmax crate::softmax::tests::softmax;
    /// Nearest resampling.
    ResizeNearest "resize/nearest" resize_nearest crate::resize::tests::nearest;
    /// Bilinear resampling.
    ResizeBilinear "resize/bilinear" resize_bilinear crate::resize::tests::bilinear;
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
