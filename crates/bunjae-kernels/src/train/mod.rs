//! Kernels that only training needs.

mod batch_norm;
mod batch_norm_again;
mod batch_norm_grad;
mod channel_sum;
mod gather;
mod map_grad;
mod max_pool_grad;
mod optimiser;
mod planes_again;
mod slope;

pub use batch_norm::{BatchNormInputs, BatchNormOutputs, BatchNormSpec, BatchNormTrain};
pub use batch_norm_again::{BatchNormAgain, BatchNormAgainInputs};
pub use batch_norm_grad::{BatchNormGrad, BatchNormGradInputs, BatchNormGradOutputs};
pub use channel_sum::ChannelSum;
pub use map_grad::MapGrad;
pub use max_pool_grad::MaxPoolGrad;
pub use optimiser::{Adam, FlatMath, Sgd};
pub use planes_again::BatchNormNumbers;
pub(crate) use planes_again::{PlaneSet, PlanesAgain};

#[cfg(test)]
pub(crate) mod tests;
