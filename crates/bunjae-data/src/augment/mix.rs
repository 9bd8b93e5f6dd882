//! Changes that mix the pictures of a batch, and their targets with them.
//!
//! Mixup: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization",
//! arXiv:1710.09412. CutMix: Yun, Han, Oh, Chun, Choe, Yoo, "CutMix: Regularization Strategy to
//! Train Strong Classifiers with Localizable Features", arXiv:1905.04899.

use bunjae_tensor::Random;
use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// Which mixing, how often and how strong. Where both are asked for, each batch draws one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// The share of batches that are mixed, 0 to 1.
    pub p: f64,
    /// Whole pictures are laid over each other; the share is drawn from Beta(a, a). 0: never.
    #[serde(default)]
    pub mixup: f64,
    /// A rectangle is taken from another picture; its area is drawn from Beta(a, a). 0: never.
    #[serde(default)]
    pub cutmix: f64,
}

impl Mix {
    /// Checks every number.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let Mix { p, mixup, cutmix } = *self;
        let is_alpha = |alpha: f64| alpha.is_finite() && alpha >= 0.0;
        if (0.0..=1.0).contains(&p) && is_alpha(mixup) && is_alpha(cutmix) {
            Ok(())
        } else {
            let what = format!("p {p}, mixup {mixup}, cutmix {cutmix}");
            Err(DataError::setting("mix", what))
        }
    }

    /// Mixes a batch in place.
    ///
    /// `inputs` holds pictures of `shape` (channels, height, width) one after the other, `targets`
    /// as many rows of `classes` shares.
    pub fn apply(
        &self,
        inputs: &mut [f32],
        shape: [usize; 3],
        targets: &mut [f32],
        classes: usize,
        random: &mut Random,
    ) {
        let size: usize = shape.iter().product();
        let count = inputs.len().checked_div(size).unwrap_or(0);
        if random.unit() >= self.p || count < 2 || self.mixup + self.cutmix <= 0.0 {
            return;
        }
        let both = self.mixup > 0.0 && self.cutmix > 0.0;
        let cut = if both { random.below(2) == 1 } else { self.cutmix > 0.0 };
        let alpha = if cut { self.cutmix } else { self.mixup };
        let share = beta(alpha, random);
        let mut partners: Vec<usize> = (0..count).collect();
        random.shuffle(&mut partners);
        let share = if cut {
            cut_in(inputs, shape, &partners, share, random)
        } else {
            lay_over(inputs, size, &partners, share as f32);
            share
        };
        if classes > 0 {
            lay_over(targets, classes, &partners, share as f32);
        }
    }
}

/// Row `i` becomes `share * row[i] + (1 - share) * row[partners[i]]`.
fn lay_over(rows: &mut [f32], size: usize, partners: &[usize], share: f32) {
    let original = rows.to_vec();
    for (row, &partner) in rows.chunks_exact_mut(size).zip(partners) {
        let Some(other) = original.chunks_exact(size).nth(partner) else { continue };
        for (value, &other) in row.iter_mut().zip(other) {
            *value = share * *value + (1.0 - share) * other;
        }
    }
}

/// A rectangle of about `1 - share` of the area comes from the partner; returns the exact share of
/// what stayed.
fn cut_in(
    inputs: &mut [f32],
    [channels, height, width]: [usize; 3],
    partners: &[usize],
    share: f64,
    random: &mut Random,
) -> f64 {
    let side = 0.5 * (1.0 - share).max(0.0).sqrt();
    let mut span = |size: usize| {
        let middle = random.below(size) as i64;
        let half = (side * size as f64) as i64;
        let inside = |place: i64| place.clamp(0, size as i64) as usize;
        (inside(middle - half), inside(middle + half))
    };
    let (left, right) = span(width);
    let (top, bottom) = span(height);
    let original = inputs.to_vec();
    let size = channels * height * width;
    for (input, &partner) in inputs.chunks_exact_mut(size).zip(partners) {
        let Some(other) = original.chunks_exact(size).nth(partner) else { continue };
        for channel in 0..channels {
            for y in top..bottom {
                let row = (channel * height + y) * width;
                input[row + left..row + right].copy_from_slice(&other[row + left..row + right]);
            }
        }
    }
    1.0 - ((right - left) * (bottom - top)) as f64 / (width * height) as f64
}

/// Beta(alpha, alpha) as the share of one gamma variable in two.
fn beta(alpha: f64, random: &mut Random) -> f64 {
    let (a, b) = (gamma(alpha, random), gamma(alpha, random));
    if a + b > 0.0 { a / (a + b) } else { 0.5 }
}

/// Gamma(shape, 1): Marsaglia and Tsang, "A simple method for generating gamma variables", ACM
/// Transactions on Mathematical Software 26 (2000); shapes below 1 by their boost with a power of a
/// uniform variable.
fn gamma(shape: f64, random: &mut Random) -> f64 {
    if shape < 1.0 {
        let boost = libm::pow(1.0 - random.unit(), 1.0 / shape);
        return gamma(shape + 1.0, random) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = random.normal();
        let v = 1.0 + c * x;
        let v = v * v * v;
        let u = 1.0 - random.unit();
        if v > 0.0 && libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return d * v;
        }
    }
}
