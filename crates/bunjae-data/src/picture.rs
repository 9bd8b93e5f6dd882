//! Decoded pictures.

use serde::{Deserialize, Serialize};

/// What the samples of a pixel mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// One sample: brightness.
    Grey,
    /// Three samples: red, green, blue.
    Rgb,
}

impl Channels {
    /// Samples per pixel.
    pub const fn count(self) -> usize {
        match self {
            Channels::Grey => 1,
            Channels::Rgb => 3,
        }
    }
}

/// A picture of 8-bit samples: rows from the top, pixels from the left, samples of a pixel together.
///
/// No side is ever 0.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    channels: Channels,
    samples: Vec<u8>,
}

/// A rectangle of whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first column.
    pub left: usize,
    /// The first row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// The brightness of a colour by ITU-R BT.601, in 16-bit fixed point, rounded to the nearest.
pub(crate) fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + 0x8000) >> 16) as u8
}

impl Picture {
    /// A picture from its samples; `None` where their number does not fit the sides, or a side
    /// is 0.
    pub fn new(width: usize, height: usize, channels: Channels, samples: Vec<u8>) -> Option<Self> {
        let count = width.checked_mul(height)?.checked_mul(channels.count())?;
        let fits = count > 0 && count == samples.len();
        fits.then_some(Picture { width, height, channels, samples })
    }

    /// A picture of one colour; of a grey one the first sample counts. Sides of 0 become 1.
    pub fn filled(width: usize, height: usize, channels: Channels, colour: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let pixel = &colour[..channels.count()];
        let samples = pixel.repeat(width * height);
        Picture { width, height, channels, samples }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// What the samples mean.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// All samples: `height * width * channels`.
    pub fn samples(&self) -> &[u8] {
        &self.samples
    }

    /// All samples, for writing.
    pub fn samples_mut(&mut self) -> &mut [u8] {
        &mut self.samples
    }

    /// Makes this a picture of other sides in the memory that it has, and returns the samples to be
    /// written; what they are until then is left open. `None`, and no change, where a side is 0 or
    /// the number of samples is none.
    pub fn reshape(
        &mut self,
        width: usize,
        height: usize,
        channels: Channels,
    ) -> Option<&mut [u8]> {
        let count = width.checked_mul(height)?.checked_mul(channels.count())?;
        if count == 0 {
            return None;
        }
        self.samples.resize(count, 0);
        (self.width, self.height, self.channels) = (width, height, channels);
        Some(&mut self.samples)
    }

    /// Samples in a row.
    pub fn stride(&self) -> usize {
        self.width * self.channels.count()
    }

    /// The rows from the top.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, u8> {
        self.samples.chunks_exact(self.stride())
    }

    /// The whole picture as a region.
    pub fn region(&self) -> Region {
        Region { left: 0, top: 0, width: self.width, height: self.height }
    }

    /// The picture with other samples: brightness by BT.601, or three equal samples.
    pub fn into_channels(self, channels: Channels) -> Picture {
        let samples = match (self.channels, channels) {
            (Channels::Rgb, Channels::Grey) => {
                let (pixels, _) = self.samples.as_chunks::<3>();
                pixels.iter().map(|&[red, green, blue]| luma(red, green, blue)).collect()
            }
            (Channels::Grey, Channels::Rgb) => {
                self.samples.iter().flat_map(|&grey| [grey; 3]).collect()
            }
            _ => self.samples,
        };
        Picture { channels, samples, ..self }
    }

    /// True where no pixel has a colour, however it is stored.
    pub fn is_grey(&self) -> bool {
        match self.channels {
            Channels::Grey => true,
            Channels::Rgb => {
                let (pixels, _) = self.samples.as_chunks::<3>();
                pixels.iter().all(|&[red, green, blue]| red == green && green == blue)
            }
        }
    }

    /// The part of the picture inside `region`, which is first moved and cut to lie within.
    pub fn cropped(&self, region: Region) -> Picture {
        let left = region.left.min(self.width - 1);
        let top = region.top.min(self.height - 1);
        let width = region.width.clamp(1, self.width - left);
        let height = region.height.clamp(1, self.height - top);
        let count = self.channels.count();
        let mut samples = Vec::with_capacity(width * height * count);
        for row in self.rows().skip(top).take(height) {
            samples.extend_from_slice(&row[left * count..(left + width) * count]);
        }
        Picture { width, height, channels: self.channels, samples }
    }

    /// The picture with rows and columns exchanged, mirrored left to right, mirrored top to bottom,
    /// in this order, each where asked.
    pub(crate) fn turned(self, exchange: bool, mirror: bool, flip: bool) -> Picture {
        if !(exchange || mirror || flip) {
            return self;
        }
        let (width, height) =
            if exchange { (self.height, self.width) } else { (self.width, self.height) };
        let old = |x: usize, y: usize| {
            let x = if mirror { width - 1 - x } else { x };
            let y = if flip { height - 1 - y } else { y };
            if exchange { (y, x) } else { (x, y) }
        };
        match self.channels {
            Channels::Grey => self.gathered::<1>(width, height, old),
            Channels::Rgb => self.gathered::<3>(width, height, old),
        }
    }

    /// The picture whose pixel at (x, y) is that of this one at `old(x, y)`, which lies inside.
    /// `C` is the number of samples in a pixel.
    fn gathered<const C: usize>(
        &self,
        width: usize,
        height: usize,
        old: impl Fn(usize, usize) -> (usize, usize),
    ) -> Picture {
        let (pixels, _) = self.samples.as_chunks::<C>();
        let mut samples = Vec::with_capacity(width * height * C);
        for y in 0..height {
            samples.extend((0..width).flat_map(|x| {
                let (x, y) = old(x, y);
                pixels[y * self.width + x]
            }));
        }
        Picture { width, height, channels: self.channels, samples }
    }

    /// The picture mirrored left to right.
    pub fn mirrored(mut self) -> Picture {
        let stride = self.stride();
        for row in self.samples.chunks_exact_mut(stride) {
            match self.channels {
                Channels::Grey => row.reverse(),
                Channels::Rgb => row.as_chunks_mut::<3>().0.reverse(),
            }
        }
        self
    }

    /// The pixel at a place inside the picture.
    pub(crate) fn pixel(&self, x: usize, y: usize) -> &[u8] {
        let count = self.channels.count();
        let start = (y * self.width + x) * count;
        &self.samples[start..start + count]
    }

    /// Fills a region with a colour; what sticks out is left out.
    pub(crate) fn fill(&mut self, region: Region, colour: [u8; 3]) {
        let count = self.channels.count();
        let stride = self.stride();
        let (left, right) =
            (region.left.min(self.width), (region.left + region.width).min(self.width));
        for row in self.samples.chunks_exact_mut(stride).skip(region.top).take(region.height) {
            for pixel in row[left * count..right * count].chunks_exact_mut(count) {
                pixel.copy_from_slice(&colour[..count]);
            }
        }
    }

    /// Copies `other` to a place where it fits.
    pub(crate) fn paste(&mut self, other: &Picture, left: usize, top: usize) {
        let count = self.channels.count();
        let stride = self.stride();
        let rows = self.samples.chunks_exact_mut(stride).skip(top);
        for (row, source) in rows.zip(other.rows()) {
            row[left * count..left * count + source.len()].copy_from_slice(source);
        }
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = (self.width, self.height);
        write!(f, "Picture({width}x{height} {:?})", self.channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 x 2 pixels, numbered from the top left.
    fn numbered() -> Picture {
        Picture::new(3, 2, Channels::Grey, vec![0, 1, 2, 3, 4, 5]).unwrap()
    }

    #[test]
    fn samples_have_to_fit_the_sides() {
        assert!(Picture::new(3, 2, Channels::Rgb, vec![0; 6]).is_none());
        assert!(Picture::new(0, 2, Channels::Grey, vec![]).is_none());
        assert!(Picture::new(usize::MAX, 2, Channels::Rgb, vec![0; 6]).is_none());
    }

    #[test]
    fn a_picture_of_other_sides_stays_in_its_memory() {
        let mut picture = Picture::filled(8, 4, Channels::Rgb, [1, 2, 3]);
        let place = picture.samples().as_ptr();
        assert_eq!(picture.reshape(4, 2, Channels::Grey).map(|samples| samples.len()), Some(8));
        assert_eq!((picture.width(), picture.height(), picture.stride()), (4, 2, 4));
        assert_eq!(picture.samples().as_ptr(), place);
        assert!(picture.reshape(0, 2, Channels::Grey).is_none());
        assert!(picture.reshape(usize::MAX, 2, Channels::Rgb).is_none());
        assert_eq!((picture.width(), picture.samples().len()), (4, 8));
    }

    #[test]
    fn turning_exchanges_then_mirrors_then_flips() {
        let samples = |exchange, mirror, flip| {
            let picture = numbered().turned(exchange, mirror, flip);
            (picture.width(), picture.samples().to_vec())
        };
        assert_eq!(samples(false, true, false), (3, vec![2, 1, 0, 5, 4, 3]));
        assert_eq!(samples(false, false, true), (3, vec![3, 4, 5, 0, 1, 2]));
        assert_eq!(samples(true, false, false), (2, vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(samples(true, true, false), (2, vec![3, 0, 4, 1, 5, 2]));
    }

    #[test]
    fn a_crop_stays_inside() {
        let crop = numbered().cropped(Region { left: 1, top: 1, width: 9, height: 9 });
        assert_eq!((crop.width(), crop.samples()), (2, &[4, 5][..]));
        let crop = numbered().cropped(Region { left: 7, top: 7, width: 0, height: 0 });
        assert_eq!((crop.width(), crop.samples()), (1, &[5][..]));
    }

    #[test]
    fn grey_is_brightness() {
        let picture =
            Picture::new(4, 1, Channels::Rgb, vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9]);
        let grey = picture.unwrap().into_channels(Channels::Grey);
        // 0.299, 0.587 and 0.114 of 255.
        assert_eq!(grey.samples(), [76, 150, 29, 9]);
        assert_eq!(grey.into_channels(Channels::Rgb).samples()[..4], [76, 76, 76, 150]);
    }
}
