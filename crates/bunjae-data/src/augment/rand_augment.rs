//! RandAugment (Cubuk, Zoph, Shlens, Le: "RandAugment: Practical automated data augmentation with a
//! reduced search space", arXiv:1909.13719) with torchvision's operations and magnitudes.

use bunjae_tensor::Random;
use serde::{Deserialize, Serialize};

use super::colour;
use super::geometry::Affine;
use crate::error::DataError;
use crate::picture::Picture;

/// One of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Nothing.
    Identity,
    /// Rows moved in proportion to their place.
    ShearX,
    /// Columns moved in proportion to their place.
    ShearY,
    /// Moved sideways.
    TranslateX,
    /// Moved up or down.
    TranslateY,
    /// Turned.
    Rotate,
    /// Darker or brighter.
    Brightness,
    /// Less or more colourful.
    Color,
    /// Less or more contrast.
    Contrast,
    /// Blurred or sharpened.
    Sharpness,
    /// Fewer levels.
    Posterize,
    /// Bright samples inverted.
    Solarize,
    /// Each channel stretched to the full range.
    AutoContrast,
    /// Each channel's levels made equally frequent.
    Equalize,
}

impl Op {
    /// Every operation, in torchvision's order.
    pub const ALL: [Op; 14] = [
        Op::Identity,
        Op::ShearX,
        Op::ShearY,
        Op::TranslateX,
        Op::TranslateY,
        Op::Rotate,
        Op::Brightness,
        Op::Color,
        Op::Contrast,
        Op::Sharpness,
        Op::Posterize,
        Op::Solarize,
        Op::AutoContrast,
        Op::Equalize,
    ];

    /// What magnitude `level` of `0..bins` means: a factor, pixels, degrees, bits or a threshold.
    pub fn magnitude(self, level: usize, bins: usize, width: usize, height: usize) -> f64 {
        let last = bins.saturating_sub(1).max(1) as f64;
        let part = level as f64 / last;
        match self {
            Op::Identity | Op::AutoContrast | Op::Equalize => 0.0,
            Op::ShearX | Op::ShearY => 0.3 * part,
            Op::TranslateX => 150.0 / 331.0 * width as f64 * part,
            Op::TranslateY => 150.0 / 331.0 * height as f64 * part,
            Op::Rotate => 30.0 * part,
            Op::Brightness | Op::Color | Op::Contrast | Op::Sharpness => 0.9 * part,
            Op::Posterize => 8.0 - (level as f64 / (last / 4.0)).round_ties_even(),
            Op::Solarize => 255.0 - 255.0 * part,
        }
    }

    /// True where the sign of the magnitude is drawn.
    pub const fn is_signed(self) -> bool {
        !matches!(
            self,
            Op::Identity | Op::Posterize | Op::Solarize | Op::AutoContrast | Op::Equalize
        )
    }

    /// Does it, with a magnitude as [`Op::magnitude`] has it, perhaps negative.
    pub fn apply(self, mut picture: Picture, magnitude: f64) -> Picture {
        let factor = (1.0 + magnitude) as f32;
        match self {
            Op::Identity => {}
            Op::ShearX => return Affine::shear_x(magnitude).apply(&picture),
            Op::ShearY => return Affine::shear_y(magnitude).apply(&picture),
            Op::TranslateX => return Affine::translation(magnitude as i64, 0).apply(&picture),
            Op::TranslateY => return Affine::translation(0, magnitude as i64).apply(&picture),
            Op::Rotate => {
                let (width, height) = (picture.width(), picture.height());
                return Affine::rotation(magnitude, width, height).apply(&picture);
            }
            Op::Brightness => colour::brightness(&mut picture, factor),
            Op::Color => colour::saturation(&mut picture, factor),
            Op::Contrast => colour::contrast(&mut picture, factor),
            Op::Sharpness => colour::sharpness(&mut picture, factor),
            Op::Posterize => colour::posterize(&mut picture, magnitude as u32),
            Op::Solarize => colour::solarize(&mut picture, magnitude),
            Op::AutoContrast => colour::autocontrast(&mut picture),
            Op::Equalize => colour::equalize(&mut picture),
        }
        picture
    }
}

/// Some random operations, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandAugment {
    /// How many.
    pub ops: usize,
    /// How strong, from 0 to `bins - 1`.
    pub magnitude: usize,
    /// How many strengths there are.
    pub bins: usize,
}

impl Default for RandAugment {
    /// Two of strength 9 out of 31.
    fn default() -> Self {
        RandAugment { ops: 2, magnitude: 9, bins: 31 }
    }
}

impl RandAugment {
    pub(super) fn check(&self) -> Result<(), DataError> {
        if self.bins < 2 || self.magnitude >= self.bins {
            let what = format!("magnitude {} of {} bins", self.magnitude, self.bins);
            return Err(DataError::setting("rand_augment", what));
        }
        Ok(())
    }

    /// Draws the operations and does them.
    pub fn apply(&self, mut picture: Picture, random: &mut Random) -> Picture {
        for _ in 0..self.ops {
            let op = Op::ALL[random.below(Op::ALL.len())];
            let negative = random.below(2) == 1;
            let (width, height) = (picture.width(), picture.height());
            let magnitude = op.magnitude(self.magnitude, self.bins, width, height);
            let negative = negative && op.is_signed();
            picture = op.apply(picture, if negative { -magnitude } else { magnitude });
        }
        picture
    }
}
