//! What happens to an accumulator before it is stored: residual, activation, clearing of gaps.

use crate::activation::{Fused, RunArgs, RunInPlace, leaky, leaky_max};
use crate::isa::Isa;
use crate::simd::{Entry, MAX_LANES, Simd, entry};

/// Where a residual enters, relative to the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResidualAt {
    /// `activation(conv + residual)`, as in ResNet.
    BeforeActivation,
    /// `activation(conv) + residual`, as in MobileNetV2.
    AfterActivation,
}

/// The epilogue of a convolution, as the tile bodies see it.
#[derive(Clone, Copy)]
pub(super) struct Epilogue {
    pub(super) fused: Fused,
    pub(super) residual: Option<ResidualAt>,
    /// For activations that are not worth inlining.
    pub(super) run_in_place: Entry<RunArgs>,
}

impl Epilogue {
    pub(super) fn new(fused: Fused, residual: Option<ResidualAt>, isa: Isa) -> Epilogue {
        Epilogue { fused, residual, run_in_place: entry::<RunInPlace, RunArgs>(isa) }
    }

    /// Whether the fused function is monotone, so that a maximum may be taken before it.
    pub(super) fn is_clamp(&self) -> bool {
        matches!(self.fused, Fused::Clamp { .. })
    }

    /// Whether the fused function is computed in registers.
    pub(super) fn is_inline(&self) -> bool {
        !matches!(self.fused, Fused::Other(_))
    }

    /// Applies residual and activation to a vector of each of `LANES` channels, whose residuals are
    /// `residual_channel` elements apart. The function is inline ([`Epilogue::is_inline`]).
    ///
    /// # Safety
    /// As [`Epilogue::apply`], with whole vectors.
    #[inline(always)]
    pub(super) unsafe fn apply_to_channels<S: Simd>(
        &self,
        acc: &mut [S::V; MAX_LANES],
        residual: *const f32,
        residual_channel: usize,
        slopes: *const f32,
    ) {
        // SAFETY: memory is accessed as the caller vouches for.
        unsafe {
            if self.residual == Some(ResidualAt::BeforeActivation) {
                add_channels::<S>(acc, residual, residual_channel);
            }
            match self.fused {
                Fused::Clamp { lo, hi } => {
                    let (lo, hi) = (S::splat(lo), S::splat(hi));
                    for c in 0..S::LANES {
                        acc[c] = S::clamp(acc[c], lo, hi);
                    }
                }
                Fused::Leaky { slope } => {
                    let slope = S::splat(slope);
                    for c in 0..S::LANES {
                        acc[c] = leaky_max::<S>(acc[c], slope);
                    }
                }
                Fused::Prelu => {
                    for c in 0..S::LANES {
                        acc[c] = leaky::<S>(acc[c], S::splat(*slopes.add(c)));
                    }
                }
                Fused::Other(_) => {}
            }
            if self.residual == Some(ResidualAt::AfterActivation) {
                add_channels::<S>(acc, residual, residual_channel);
            }
        }
    }

    /// Applies residual and activation to the `N` vectors of one channel.
    ///
    /// # Safety
    /// The instruction set is present; if there is a residual, `lanes(j)` elements are readable at
    /// `residual + j * LANES` for each vector `j`; `slope` is readable when the activation has one
    /// slope per channel.
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd, const N: usize>(
        &self,
        acc: &mut [S::V; N],
        residual: *const f32,
        lanes: impl Fn(usize) -> usize,
        slope: *const f32,
    ) {
        // SAFETY: memory is accessed as the caller vouches for, and in a local buffer.
        unsafe {
            if self.residual == Some(ResidualAt::BeforeActivation) {
                for j in 0..N {
                    if lanes(j) > 0 {
                        let r = S::load_n(residual.add(j * S::LANES), lanes(j));
                        acc[j] = S::add(acc[j], r);
                    }
                }
            }
            match self.fused {
                Fused::Clamp { lo, hi } => {
                    let (lo, hi) = (S::splat(lo), S::splat(hi));
                    for v in acc.iter_mut() {
                        *v = S::clamp(*v, lo, hi);
                    }
                }
                Fused::Leaky { slope } => {
                    let slope = S::splat(slope);
                    for v in acc.iter_mut() {
                        *v = leaky_max::<S>(*v, slope);
                    }
                }
                Fused::Prelu => {
                    let slope = S::splat(*slope);
                    for v in acc.iter_mut() {
                        *v = leaky::<S>(*v, slope);
                    }
                }
                Fused::Other(activation) => {
                    for v in acc.iter_mut() {
                        let mut lanes = [0.0f32; MAX_LANES];
                        S::store(lanes.as_mut_ptr(), *v);
                        let data = lanes.as_mut_ptr();
                        (self.run_in_place)(&RunArgs { data, len: S::LANES, activation });
                        *v = S::load(lanes.as_ptr());
                    }
                }
            }
            if self.residual == Some(ResidualAt::AfterActivation) {
                for j in 0..N {
                    if lanes(j) > 0 {
                        let r = S::load_n(residual.add(j * S::LANES), lanes(j));
                        acc[j] = S::add(acc[j], r);
                    }
                }
            }
        }
    }
}

/// Adds a vector of each of `LANES` channels.
///
/// # Safety
/// The instruction set is present, and the vectors, `channel` elements apart, are readable.
#[inline(always)]
unsafe fn add_channels<S: Simd>(acc: &mut [S::V; MAX_LANES], from: *const f32, channel: usize) {
    let mut from = from;
    for c in 0..S::LANES {
        // SAFETY: the caller's promise.
        acc[c] = unsafe { S::add(acc[c], S::load(from)) };
        from = from.wrapping_add(channel);
    }
}
