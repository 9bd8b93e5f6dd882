//! How a picture becomes the input of a network: one record, used alike in training, evaluation
//! and on the camera.

use bunjae_tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::picture::{Channels, Picture, Region};
use crate::resize::{Filter, resize};

/// The largest side of a network's input.
const MAX_SIDE: usize = 16_384;

/// The order of the channels in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// One channel: brightness by ITU-R BT.601.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red, as OpenCV has it.
    Bgr,
}

impl Colour {
    /// What has to be decoded.
    pub const fn channels(self) -> Channels {
        match self {
            Colour::Grey => Channels::Grey,
            Colour::Rgb | Colour::Bgr => Channels::Rgb,
        }
    }
}

/// The order of the axes in the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels, height, width: plane after plane.
    #[default]
    Chw,
    /// Height, width, channels: pixel after pixel, as TensorFlow has it.
    Hwc,
}

impl Layout {
    /// True for the order that goes without saying.
    fn is_default(&self) -> bool {
        *self == Layout::default()
    }
}

/// How a picture of any shape fills the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fit {
    /// Both sides are resized on their own; proportions are lost.
    Stretch,
    /// The shorter side is resized to `shorter`, the longer in proportion (cut off to a whole
    /// number), and the middle cut out, as torchvision's `Resize` and `CenterCrop` do.
    CentreCrop {
        /// At least as large as both sides of the input.
        shorter: usize,
    },
    /// The whole picture in proportion, in the middle of a ground of one colour.
    Letterbox {
        /// The colour of the ground, red, green, blue; of grey pictures the first number counts.
        ground: [u8; 3],
    },
}

/// The way from a picture to the input of a network.
///
/// A sample `s` of 0 to 255 becomes `(low + (high - low) * s / 255 - mean) / std`, computed in f64
/// and rounded once to f32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Columns of the input.
    pub width: usize,
    /// Rows of the input.
    pub height: usize,
    /// The order of the channels.
    pub colour: Colour,
    /// The order of the axes.
    #[serde(default, skip_serializing_if = "Layout::is_default")]
    pub layout: Layout,
    /// How the picture fills the input.
    pub fit: Fit,
    /// How it is resized.
    pub filter: Filter,
    /// What the samples 0 and 255 stand for before the mean is taken off: low, high.
    pub range: [f32; 2],
    /// Taken off each channel, in the order of `colour`.
    pub mean: Vec<f32>,
    /// What each channel is divided by.
    pub std: Vec<f32>,
}

impl Preprocess {
    /// Stretched, bilinear, 0 to 1, neither mean nor deviation.
    pub fn plain(width: usize, height: usize, colour: Colour) -> Preprocess {
        let channels = colour.channels().count();
        Preprocess {
            width,
            height,
            colour,
            layout: Layout::Chw,
            fit: Fit::Stretch,
            filter: Filter::Bilinear,
            range: [0.0, 1.0],
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
        }
    }

    /// [`Preprocess::plain`] in RGB with the mean and deviation of ImageNet.
    pub fn imagenet(width: usize, height: usize) -> Preprocess {
        Preprocess {
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            ..Preprocess::plain(width, height, Colour::Rgb)
        }
    }

    /// Checks that every field has a meaning.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let channels = self.colour.channels().count();
        for (setting, side) in [("width", self.width), ("height", self.height)] {
            if side == 0 || side > MAX_SIDE {
                return Err(DataError::setting(
                    setting,
                    format!("{side} is not within 1 and {MAX_SIDE}"),
                ));
            }
        }
        for (setting, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != channels {
                let what = format!("{} values for {channels} channels", values.len());
                return Err(DataError::setting(setting, what));
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(DataError::setting(setting, format!("{value} is no number")));
            }
        }
        if let Some(std) = self.std.iter().find(|&&std| std <= 0.0) {
            return Err(DataError::setting("std", format!("{std} is not above 0")));
        }
        let [low, high] = self.range;
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(DataError::setting("range", format!("{low} to {high} is no range")));
        }
        if let Fit::CentreCrop { shorter } = self.fit
            && !(self.width.max(self.height)..=MAX_SIDE).contains(&shorter)
        {
            return Err(DataError::setting(
                "fit",
                format!("shorter = {shorter} does not cover {} x {}", self.width, self.height),
            ));
        }
        Ok(())
    }

    /// The record as one line of JSON, for a model's metadata.
    ///
    /// # Errors
    /// [`DataError::Text`] where a number is not finite.
    pub fn to_text(&self) -> Result<String, DataError> {
        serde_json::to_string(self)
            .map_err(|source| DataError::Text { record: "preprocess", source })
    }

    /// Reads and checks what [`Preprocess::to_text`] wrote.
    ///
    /// # Errors
    /// [`DataError::Text`], [`DataError::Setting`].
    pub fn from_text(text: &str) -> Result<Preprocess, DataError> {
        let record: Preprocess = serde_json::from_str(text)
            .map_err(|source| DataError::Text { record: "preprocess", source })?;
        record.check()?;
        Ok(record)
    }

    /// The shape of one input, in the order of its layout.
    pub fn shape(&self) -> [usize; 3] {
        let channels = self.colour.channels().count();
        match self.layout {
            Layout::Chw => [channels, self.height, self.width],
            Layout::Hwc => [self.height, self.width, channels],
        }
    }

    /// The picture in the size of the input. A picture that has the size already, and is stretched
    /// or letterboxed, stays as it is.
    pub fn fitted(&self, picture: Picture) -> Picture {
        let picture = picture.into_channels(self.colour.channels());
        let (width, height) = (picture.width(), picture.height());
        match self.fit {
            Fit::Stretch if (width, height) == (self.width, self.height) => picture,
            Fit::Stretch => resize(&picture, self.width, self.height, self.filter),
            Fit::CentreCrop { shorter } => {
                // Products of sides below 2^32 and settings below 2^14 fit.
                let (new_width, new_height) = if width <= height {
                    (shorter, shorter * height / width)
                } else {
                    (shorter * width / height, shorter)
                };
                let picture = resize(&picture, new_width, new_height, self.filter);
                picture.cropped(Region {
                    left: half_to_even(new_width.saturating_sub(self.width)),
                    top: half_to_even(new_height.saturating_sub(self.height)),
                    width: self.width,
                    height: self.height,
                })
            }
            Fit::Letterbox { ground } => {
                let (new_width, new_height) = if width * self.height >= height * self.width {
                    (self.width, rounded(height * self.width, width).clamp(1, self.height))
                } else {
                    (rounded(width * self.height, height).clamp(1, self.width), self.height)
                };
                let picture = resize(&picture, new_width, new_height, self.filter);
                if (new_width, new_height) == (self.width, self.height) {
                    return picture;
                }
                let mut whole =
                    Picture::filled(self.width, self.height, picture.channels(), ground);
                let (left, top) = ((self.width - new_width) / 2, (self.height - new_height) / 2);
                whole.paste(&picture, left, top);
                whole
            }
        }
    }

    /// Writes the numbers of a fitted picture in the order of the layout.
    ///
    /// Where the picture or `values` have another size, what is missing stays as it was.
    pub fn write(&self, fitted: &Picture, values: &mut [f32]) {
        let channels = self.colour.channels().count();
        let plane = (self.width * self.height).max(1);
        // Where the numbers of a channel begin and how far apart they are.
        let (apart, step) = match self.layout {
            Layout::Chw => (plane, 1),
            Layout::Hwc => (1, channels),
        };
        for place in 0..channels {
            let table = self.table(place);
            let channel = if self.colour == Colour::Bgr { 2 - place } else { place };
            let samples = fitted.samples().iter().skip(channel).step_by(channels);
            let values = values.iter_mut().skip(place * apart).step_by(step).take(plane);
            for (value, &sample) in values.zip(samples) {
                *value = table[usize::from(sample)];
            }
        }
    }

    /// The input made of one picture: f32 `[1, channels, height, width]`, or the axes in another
    /// layout.
    ///
    /// # Errors
    /// [`DataError::Setting`] where the record itself is wrong, [`DataError::Batch`].
    pub fn apply(&self, picture: Picture) -> Result<Tensor, DataError> {
        self.check()?;
        let [a, b, c] = self.shape();
        let mut tensor = Tensor::zeros(DType::F32, &[1, a, b, c])?;
        self.write(&self.fitted(picture), tensor.elements_mut()?);
        Ok(tensor)
    }

    /// What each sample becomes in a channel of the input.
    fn table(&self, channel: usize) -> [f32; 256] {
        let [low, high] = self.range.map(f64::from);
        let mean = f64::from(self.mean.get(channel).copied().unwrap_or(0.0));
        let std = f64::from(self.std.get(channel).copied().unwrap_or(1.0));
        std::array::from_fn(|sample| {
            ((low + (high - low) * (sample as f64 / 255.0) - mean) / std) as f32
        })
    }

    /// The sample that comes nearest to 0 in the input: the mean colour, in the order red, green,
    /// blue.
    pub fn mean_colour(&self) -> [u8; 3] {
        let [low, high] = self.range.map(f64::from);
        let mut colour = [0; 3];
        for (sample, &mean) in colour.iter_mut().zip(&self.mean) {
            *sample = ((f64::from(mean) - low) / (high - low) * 255.0).round() as u8;
        }
        if self.colour == Colour::Bgr {
            colour.reverse();
        }
        colour
    }
}

/// Half of `number`, and of two equally near whole numbers the even one, as Python's `round` has it.
fn half_to_even(number: usize) -> usize {
    let half = number / 2;
    half + usize::from(number % 2 == 1 && half % 2 == 1)
}

fn rounded(dividend: usize, divisor: usize) -> usize {
    (dividend + divisor / 2) / divisor.max(1)
}
