//! Planes of a batch normalisation's result, made anew from its operand and the statistics that the
//! forward pass has found: by a step of its own, or by the kernel that reads them.

use super::batch_norm::{Affine, NormaliseArgs, store};
use super::slope::{Clamp, Class, Leaky, Straight, with_slope};
use crate::activation::Activation;
use crate::conv::Tail;
use crate::error::{KernelError, require_len};
use crate::isa::Isa;
use crate::simd::{Body, Entry, Simd, entry};

/// What a batch normalisation multiplies by and adds, and the statistics of the batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormNumbers<'a> {
    /// One factor per channel.
    pub gamma: &'a [f32],
    /// One addend per channel.
    pub beta: &'a [f32],
    /// The mean of each channel, as [`BatchNormTrain`](super::BatchNormTrain) wrote it.
    pub mean: &'a [f32],
    /// The biased variance of each channel.
    pub variance: &'a [f32],
}

/// Makes planes of a normalisation's result anew, with the bits of the first time.
pub(crate) struct PlanesAgain {
    eps: f32,
    class: Class,
    run: Entry<PlanesArgs>,
}

/// A plane of each of some images and channels: the first element, and the distances between images,
/// channels and rows.
#[derive(Clone, Copy)]
pub(crate) struct PlaneSet<P> {
    pub(crate) first: P,
    pub(crate) image: usize,
    pub(crate) channel: usize,
    pub(crate) row: usize,
}

struct PlanesArgs {
    /// That of the first channel of the first image.
    first: NormaliseArgs,
    channels: usize,
    /// Distances between channels in input, residual and output.
    channel_strides: [usize; 3],
    /// Factor and addend of each channel.
    affine: *const [f32; 2],
}

struct Planes;

impl Body<PlanesArgs> for Planes {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PlanesArgs) {
        let [input, residual, output] = a.channel_strides;
        // SAFETY: the planes exist in all tensors, and there is a pair of numbers for each channel.
        unsafe {
            with_slope!(S, a.first.class, slope => for channel in 0..a.channels {
                let [scale, shift] = *a.affine.add(channel);
                let plane = NormaliseArgs {
                    input: a.first.input.wrapping_add(channel * input),
                    residual: a.first.residual.wrapping_add(channel * residual),
                    out: a.first.out.wrapping_add(channel * output),
                    scale,
                    shift,
                    ..a.first
                };
                for image in 0..plane.images {
                    store::<S, _>(&plane.at(image), slope);
                }
            });
        }
    }
}

impl PlanesAgain {
    /// `None` for an activation that cannot be fused.
    pub(crate) fn new(eps: f32, activation: Activation, isa: Isa) -> Option<PlanesAgain> {
        let run = entry::<Planes, PlanesArgs>(isa);
        Class::of(activation).map(|class| PlanesAgain { eps, class, run })
    }

    /// Factor and addend of each channel.
    ///
    /// # Errors
    /// [`KernelError::Length`] if there are not numbers for as many channels as `affine` has.
    pub(crate) fn affine(
        &self,
        kernel: &'static str,
        numbers: &BatchNormNumbers<'_>,
        affine: &mut [[f32; 2]],
    ) -> Result<(), KernelError> {
        let BatchNormNumbers { gamma, beta, mean, variance } = *numbers;
        for (name, slice) in
            [("gamma", gamma), ("beta", beta), ("the mean", mean), ("the variance", variance)]
        {
            require_len(kernel, name, affine.len(), slice.len())?;
        }
        for (at, to) in affine.iter_mut().enumerate() {
            let own = Affine::new(self.eps, gamma[at], beta[at], mean[at], variance[at]);
            *to = [own.scale, own.shift];
        }
        Ok(())
    }

    /// Makes planes of so many rows and columns, one for each image and each channel of `affine`. Those of
    /// the channels behind them are asked for.
    ///
    /// # Safety
    /// They exist in all tensors; no other thread writes those of `to`.
    pub(crate) unsafe fn run(
        &self,
        affine: &[[f32; 2]],
        images: usize,
        [height, width]: [usize; 2],
        from: PlaneSet<*const f32>,
        residual: Option<PlaneSet<*const f32>>,
        to: PlaneSet<*mut f32>,
    ) {
        let none = PlaneSet { first: std::ptr::null(), image: 0, channel: 0, row: 0 };
        let residual = residual.unwrap_or(none);
        let first = NormaliseArgs {
            images,
            strides: [from.image, residual.image, to.image],
            ahead: [affine.len() * from.channel, 0],
            input: from.first,
            input_row: from.row,
            height,
            width,
            scale: 1.0,
            shift: 0.0,
            class: self.class,
            residual: residual.first,
            residual_row: residual.row,
            tail: Tail::Store,
            out: to.first,
            out_row: to.row,
        };
        let args = PlanesArgs {
            first,
            channels: affine.len(),
            channel_strides: [from.channel, residual.channel, to.channel],
            affine: affine.as_ptr(),
        };
        // SAFETY: the planes exist in all tensors.
        unsafe { (self.run)(&args) };
    }
}
