//! Kernels for everything: plain loops over operands of any strides and, where the operator allows
//! it, any element type.
//!
//! They are what a graph falls back on where no fast kernel fits, so they are written to be seen
//! right: sums are accumulated in `f64` and rounded once, as are functions of one element. Each is
//! prepared with all that it needs, and none allocates.

mod conv;
mod elementwise;
mod gradient;
mod movement;
mod normalise;
mod pool;
mod product;
mod quantise;
mod reduce;
mod resize;
mod train;
mod walk;

pub(crate) use conv::{ConvTransposed, Convolution};
pub(crate) use elementwise::{BinaryFunction, Cast, Map, UnaryFunction, Zip};
pub(crate) use gradient::{Adjoint, MapGrad, PoolGrad, ReduceGrad, WeightGrad};
pub(crate) use movement::{Clear, Copy, Fill, Gather, copy_from, copy_to};
pub(crate) use normalise::{BatchNorm, LayerNorm, RunFunction, Runs};
pub(crate) use pool::{Pool, PoolKind, Window};
pub(crate) use product::Product;
pub(crate) use quantise::{Dequantize, Quantize};
pub(crate) use reduce::{Reduce, Reduction};
pub(crate) use resize::{ResizeLinear, Sample};
pub(crate) use train::{BatchNormGrad, BatchNormTrain};

use super::memory::StepMemory;
use super::step::StepError;
use super::view::View;

/// The views in a field of a kernel.
trait Views {
    fn views(&self) -> &[View];
    fn views_mut(&mut self) -> &mut [View];
}

impl Views for View {
    fn views(&self) -> &[View] {
        std::slice::from_ref(self)
    }
    fn views_mut(&mut self) -> &mut [View] {
        std::slice::from_mut(self)
    }
}

impl Views for Option<View> {
    fn views(&self) -> &[View] {
        self.as_slice()
    }
    fn views_mut(&mut self) -> &mut [View] {
        self.as_mut_slice()
    }
}

impl<const N: usize> Views for [View; N] {
    fn views(&self) -> &[View] {
        self
    }
    fn views_mut(&mut self) -> &mut [View] {
        self
    }
}

/// What every generic kernel can say about itself.
trait Operands {
    fn views(&self) -> Vec<&View>;
    fn views_mut(&mut self) -> Vec<&mut View>;
    fn results(&self) -> Vec<&View>;
}

/// Names the operands and the results of a kernel.
macro_rules! operands {
    ($kernel:ident: $($field:ident),* -> $($result:ident),+) => {
        impl super::Operands for $kernel {
            fn views(&self) -> Vec<&View> {
                let fields: Vec<&[View]> =
                    vec![$(super::Views::views(&self.$field),)* $(std::slice::from_ref(&self.$result)),+];
                fields.into_iter().flatten().collect()
            }

            fn views_mut(&mut self) -> Vec<&mut View> {
                let fields: Vec<&mut [View]> = vec![
                    $(super::Views::views_mut(&mut self.$field),)*
                    $(std::slice::from_mut(&mut self.$result)),+
                ];
                fields.into_iter().flatten().collect()
            }

            fn results(&self) -> Vec<&View> {
                vec![$(&self.$result),+]
            }
        }
    };
}
use operands;

macro_rules! generics {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// A prepared generic kernel.
        #[derive(Debug)]
        pub(crate) enum Generic { $($variant($variant)),* }

        impl Generic {
            /// Runs it.
            ///
            /// # Errors
            /// [`StepError`].
            pub(crate) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
                match self { $(Generic::$variant(kernel) => kernel.run(memory)),* }
            }

            /// Its operands and results.
            pub(crate) fn views(&self) -> Vec<&View> {
                match self { $(Generic::$variant(kernel) => kernel.views()),* }
            }

            /// Its operands and results, to be changed.
            pub(crate) fn views_mut(&mut self) -> Vec<&mut View> {
                match self { $(Generic::$variant(kernel) => kernel.views_mut()),* }
            }

            /// Its results.
            pub(crate) fn results(&self) -> Vec<&View> {
                match self { $(Generic::$variant(kernel) => kernel.results()),* }
            }

            /// What people call it.
            pub(crate) fn name(&self) -> &'static str {
                match self { $(Generic::$variant(_) => $name),* }
            }
        }

        $(impl From<$variant> for Generic {
            fn from(kernel: $variant) -> Generic {
                Generic::$variant(kernel)
            }
        })*
    };
}

generics! {
    Adjoint = "adjoint",
    BatchNorm = "batch norm",
    BatchNormGrad = "batch norm grad",
    BatchNormTrain = "batch norm train",
    Cast = "cast",
    Clear = "clear border",
    ConvTransposed = "transposed conv",
    Convolution = "plain conv",
    Copy = "copy",
    Dequantize = "dequantize",
    Fill = "fill",
    Gather = "gather",
    LayerNorm = "layer norm",
    Map = "unary",
    MapGrad = "unary grad",
    Pool = "pool",
    PoolGrad = "pool grad",
    Product = "product",
    Quantize = "quantize",
    Reduce = "reduce",
    ReduceGrad = "reduce grad",
    ResizeLinear = "resize",
    Runs = "along axis",
    WeightGrad = "conv weight grad",
    Zip = "binary",
}
