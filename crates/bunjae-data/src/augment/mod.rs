//! Changes to training pictures that leave their class alone.
//!
//! The operations are those of torchvision on Pillow pictures, bit for bit (`colour`, `geometry`);
//! the choices are drawn from a generator that the caller makes for (seed, epoch, picture) with
//! [`random_for`], so that they do not depend on who draws when.

pub mod colour;
pub mod geometry;
pub mod mix;
mod rand_augment;

pub use mix::Mix;
pub use rand_augment::{Op, RandAugment};

use bunjae_tensor::Random;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::picture::{Picture, Region};
use crate::preprocess::Preprocess;
use crate::resize::resize;

/// The random numbers of one picture (or batch) in one epoch.
pub fn random_for(seed: u64, epoch: u64, index: u64) -> Random {
    // SplitMix64's mixing between the parts, so that neighbours have nothing in common.
    let mix = |state: u64, part: u64| {
        let mut bits = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    Random::new(mix(mix(mix(0, seed), epoch), index))
}

/// A random part of the picture, resized to the input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomCrop {
    /// The part's share of the area: least, most.
    pub scale: [f64; 2],
    /// Its width over its height: least, most; drawn evenly in the logarithm.
    pub ratio: [f64; 2],
}

impl Default for RandomCrop {
    /// 8 to 100 % of the area, 3:4 to 4:3.
    fn default() -> Self {
        RandomCrop { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
}

impl RandomCrop {
    /// The part to cut out of a picture of the given sides: ten tries, then the largest part in
    /// the middle whose proportions are allowed.
    pub fn region(&self, width: usize, height: usize, random: &mut Random) -> Region {
        let area = (width * height) as f64;
        for _ in 0..10 {
            let (w, h) = random_sides(area, self.scale, self.ratio, random);
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = random.below(height - h + 1);
                let left = random.below(width - w + 1);
                return Region { left, top, width: w, height: h };
            }
        }
        let ratio = width as f64 / height as f64;
        let (w, h) = if ratio < self.ratio[0] {
            (width, (width as f64 / self.ratio[0]).round() as usize)
        } else if ratio > self.ratio[1] {
            ((height as f64 * self.ratio[1]).round() as usize, height)
        } else {
            (width, height)
        };
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        Region { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }
}

/// The sides of a rectangle with a random share of `area` and a random ratio of width to height.
fn random_sides(
    area: f64,
    scale: [f64; 2],
    ratio: [f64; 2],
    random: &mut Random,
) -> (usize, usize) {
    let area = area * random.uniform(scale[0], scale[1]);
    let ratio = libm::exp(random.uniform(libm::log(ratio[0]), libm::log(ratio[1])));
    ((area * ratio).sqrt().round() as usize, (area / ratio).sqrt().round() as usize)
}

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Mirrored left to right.
    Flip {
        /// How often, 0 to 1.
        p: f64,
    },
    /// Moved by up to these shares of the sides; the edge is repeated.
    Shift {
        /// Of the width.
        x: f64,
        /// Of the height.
        y: f64,
    },
    /// Brightness, contrast and saturation times a random 1 - a to 1 + a, hue turned by up to `hue`
    /// of the circle (at most 0.5), in a random order.
    ColourJitter {
        /// For brightness.
        brightness: f64,
        /// For contrast.
        contrast: f64,
        /// For saturation.
        saturation: f64,
        /// For hue.
        hue: f64,
    },
    /// A number of random operations of one magnitude.
    RandAugment(RandAugment),
    /// A rectangle filled with the mean colour (random erasing).
    Erase {
        /// How often, 0 to 1.
        p: f64,
        /// The rectangle's share of the area: least, most.
        scale: [f64; 2],
        /// Its width over its height: least, most.
        ratio: [f64; 2],
    },
    /// A square of this share of the shorter side around a random centre, filled with the mean
    /// colour; it may stick out.
    Cutout {
        /// 0 to 1.
        side: f64,
    },
}

/// What is done to every training picture: perhaps a crop, then steps in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Cut out before the picture is brought to the size of the input.
    #[serde(default)]
    pub crop: Option<RandomCrop>,
    /// Done in the size of the input.
    #[serde(default)]
    pub steps: Vec<Step>,
}

impl Augment {
    /// Mirrored every other time.
    pub fn flip() -> Augment {
        Augment { crop: None, steps: vec![Step::Flip { p: 0.5 }] }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let share = |setting: &'static str, value: f64| match value {
            0.0..=1.0 => Ok(()),
            _ => Err(DataError::setting(setting, format!("{value} is not within 0 and 1"))),
        };
        let area_and_ratio = |setting: &'static str, scale: [f64; 2], ratio: [f64; 2]| {
            let scale_is_right = 0.0 < scale[0] && scale[0] <= scale[1] && scale[1] <= 1.0;
            let ratio_is_right = 0.0 < ratio[0] && ratio[0] <= ratio[1] && ratio[1].is_finite();
            if scale_is_right && ratio_is_right {
                Ok(())
            } else {
                let what = format!("scale {scale:?}, ratio {ratio:?}");
                Err(DataError::setting(setting, what))
            }
        };
        if let Some(crop) = &self.crop {
            area_and_ratio("crop", crop.scale, crop.ratio)?;
        }
        for step in &self.steps {
            match step {
                Step::Flip { p } => share("flip", *p)?,
                Step::Shift { x, y } => {
                    share("shift", *x)?;
                    share("shift", *y)?;
                }
                Step::ColourJitter { brightness, contrast, saturation, hue } => {
                    for value in [brightness, contrast, saturation] {
                        share("colour_jitter", *value)?;
                    }
                    share("colour_jitter", *hue * 2.0)?;
                }
                Step::RandAugment(settings) => settings.check()?,
                Step::Erase { p, scale, ratio } => {
                    share("erase", *p)?;
                    area_and_ratio("erase", *scale, *ratio)?;
                }
                Step::Cutout { side } => share("cutout", *side)?,
            }
        }
        Ok(())
    }

    /// The training form of a picture: cut, brought to the size of the input, changed. Without a
    /// crop, a picture that has the size of the input is taken to be fitted already.
    pub fn apply(&self, picture: Picture, preprocess: &Preprocess, random: &mut Random) -> Picture {
        let is_fitted =
            (picture.width(), picture.height()) == (preprocess.width, preprocess.height);
        let mut picture = match &self.crop {
            Some(crop) => {
                let region = crop.region(picture.width(), picture.height(), random);
                let picture = picture.into_channels(preprocess.colour.channels());
                let (width, height) = (preprocess.width, preprocess.height);
                resize(&picture.cropped(region), width, height, preprocess.filter)
            }
            None if is_fitted => picture,
            None => preprocess.fitted(picture),
        };
        for step in &self.steps {
            picture = step.apply(picture, preprocess, random);
        }
        picture
    }
}

impl Step {
    fn apply(&self, mut picture: Picture, preprocess: &Preprocess, random: &mut Random) -> Picture {
        let (width, height) = (picture.width(), picture.height());
        match self {
            Step::Flip { p } => {
                if random.unit() < *p {
                    picture = picture.mirrored();
                }
                picture
            }
            Step::Shift { x, y } => {
                let (most_x, most_y) = ((x * width as f64) as i64, (y * height as f64) as i64);
                let right = random.integer(-most_x, most_x);
                let down = random.integer(-most_y, most_y);
                geometry::shift(&picture, right as isize, down as isize)
            }
            Step::ColourJitter { brightness, contrast, saturation, hue } => {
                let mut order = [0, 1, 2, 3];
                random.shuffle(&mut order);
                // All four are drawn in any case, so that a setting of 0 moves no other draw.
                let [b, c, s] = [brightness, contrast, saturation]
                    .map(|&most| random.uniform(1.0 - most, 1.0 + most) as f32);
                let turn = random.uniform(-hue, *hue);
                for part in order {
                    match part {
                        0 if *brightness > 0.0 => colour::brightness(&mut picture, b),
                        1 if *contrast > 0.0 => colour::contrast(&mut picture, c),
                        2 if *saturation > 0.0 => colour::saturation(&mut picture, s),
                        3 if *hue > 0.0 => colour::hue(&mut picture, turn),
                        _ => {}
                    }
                }
                picture
            }
            Step::RandAugment(settings) => settings.apply(picture, random),
            Step::Erase { p, scale, ratio } => {
                if random.unit() >= *p {
                    return picture;
                }
                for _ in 0..10 {
                    let area = (width * height) as f64;
                    let (w, h) = random_sides(area, *scale, *ratio, random);
                    if w < width && h < height {
                        let top = random.below(height - h + 1);
                        let left = random.below(width - w + 1);
                        let region = Region { left, top, width: w, height: h };
                        picture.fill(region, preprocess.mean_colour());
                        break;
                    }
                }
                picture
            }
            Step::Cutout { side } => {
                let side = (side * width.min(height) as f64).round() as usize;
                let (x, y) = (random.below(width), random.below(height));
                let (left, top) = (x.saturating_sub(side / 2), y.saturating_sub(side / 2));
                let (right, bottom) = (x + side - side / 2, y + side - side / 2);
                let region = Region { left, top, width: right - left, height: bottom - top };
                picture.fill(region, preprocess.mean_colour());
                picture
            }
        }
    }
}
