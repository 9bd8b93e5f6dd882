//! From a [`Picture`] to the bytes of a file: PNG, JPEG, and GIF animations frame after frame.

use std::io::{self, Write};
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{Delay, ExtendedColorType, ImageEncoder, RgbaImage};
use jpeg_encoder::{ColorType, Encoder, EncodingError};

use crate::picture::{Channels, Picture};

/// The largest side of a JPEG or GIF file.
const MAX_SIDE: usize = 65_535;

/// How much of its effort the search for a GIF frame's 256 colours may take: 1 is the best and 30
/// the fastest. The fastest takes a third of the time of 10, and the eye hardly tells them apart.
const GIF_SPEED: i32 = 30;

fn sides(picture: &Picture, format: &str) -> io::Result<[u16; 2]> {
    let (width, height) = (picture.width(), picture.height());
    match (u16::try_from(width), u16::try_from(height)) {
        (Ok(width), Ok(height)) => Ok([width, height]),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{width} x {height} pixels; the sides of a {format} are at most {MAX_SIDE}"),
        )),
    }
}

/// Appends the picture as JPEG, `quality` from 1 to 100.
///
/// # Errors
/// Where the picture is too large for the format.
pub fn jpeg(picture: &Picture, quality: u8, bytes: &mut Vec<u8>) -> io::Result<()> {
    let [width, height] = sides(picture, "JPEG")?;
    let colour = match picture.channels() {
        Channels::Grey => ColorType::Luma,
        Channels::Rgb => ColorType::Rgb,
    };
    let encoder = Encoder::new(bytes, quality.clamp(1, 100));
    encoder.encode(picture.samples(), width, height, colour).map_err(|error| match error {
        EncodingError::IoError(error) => error,
        error => io::Error::other(error.to_string()),
    })
}

/// Writes the picture as PNG, compressed quickly rather than well.
///
/// # Errors
/// What the writer returns.
pub fn png(picture: &Picture, mut writer: impl Write) -> io::Result<()> {
    let colour = match picture.channels() {
        Channels::Grey => ExtendedColorType::L8,
        Channels::Rgb => ExtendedColorType::Rgb8,
    };
    // `Picture` counts in usize what came from files that count in u32.
    let [width, height] = [picture.width(), picture.height()].map(|side| side as u32);
    // In memory first: the encoder keeps nothing of a writer's error but its text.
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(picture.samples(), width, height, colour)
        .map_err(inner)?;
    writer.write_all(&bytes)
}

/// The writer's own error, where it is one.
fn inner(error: image::ImageError) -> io::Error {
    match error {
        image::ImageError::IoError(error) => error,
        error => io::Error::other(error.to_string()),
    }
}

/// Writes an animation that repeats for ever. It is closed when it is dropped.
pub struct GifWriter<W: Write> {
    encoder: GifEncoder<W>,
    begun: bool,
}

impl<W: Write> GifWriter<W> {
    /// Nothing is written before the first frame.
    pub fn new(writer: W) -> GifWriter<W> {
        GifWriter { encoder: GifEncoder::new_with_speed(writer, GIF_SPEED), begun: false }
    }

    /// Adds a frame that is shown so long, in steps of 10 ms. All frames have the size of the first.
    ///
    /// # Errors
    /// What the writer returns; where the picture is too large for the format.
    pub fn write(&mut self, picture: &Picture, lasts: Duration) -> io::Result<()> {
        let [width, height] = sides(picture, "GIF")?.map(u32::from);
        if !self.begun {
            self.encoder.set_repeat(Repeat::Infinite).map_err(inner)?;
            self.begun = true;
        }
        let samples = match picture.channels() {
            Channels::Grey => picture.samples().iter().flat_map(|&g| [g, g, g, 255]).collect(),
            Channels::Rgb => {
                let (pixels, _) = picture.samples().as_chunks::<3>();
                pixels.iter().flat_map(|&[red, green, blue]| [red, green, blue, 255]).collect()
            }
        };
        let Some(buffer) = RgbaImage::from_raw(width, height, samples) else {
            return Err(io::Error::other("the samples do not fit the sides"));
        };
        let delay = Delay::from_saturating_duration(lasts);
        let frame = image::Frame::from_parts(buffer, 0, 0, delay);
        self.encoder.encode_frame(frame).map_err(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Limits, decode_native};

    /// Smooth colours, which JPEG keeps well.
    fn smooth(channels: Channels) -> Picture {
        let mut samples = Vec::new();
        for y in 0..33 {
            for x in 0..47 {
                let pixel = [(x * 5) as u8, (y * 7) as u8, (x + y) as u8];
                samples.extend(&pixel[..channels.count()]);
            }
        }
        Picture::new(47, 33, channels, samples).unwrap()
    }

    #[test]
    fn what_png_wrote_is_read_to_the_bit() {
        for channels in [Channels::Grey, Channels::Rgb] {
            let mut bytes = Vec::new();
            png(&smooth(channels), &mut bytes).unwrap();
            assert_eq!(decode_native(&bytes, Limits::default()).unwrap(), smooth(channels));
        }
    }

    #[test]
    fn what_jpeg_wrote_is_read_nearly_as_it_was() {
        for channels in [Channels::Grey, Channels::Rgb] {
            let mut bytes = Vec::new();
            jpeg(&smooth(channels), 95, &mut bytes).unwrap();
            let read = decode_native(&bytes, Limits::default()).unwrap();
            assert_eq!((read.width(), read.height(), read.channels()), (47, 33, channels));
            let wide = smooth(channels);
            let apart = read.samples().iter().zip(wide.samples()).map(|(&a, &b)| a.abs_diff(b));
            let sum: u64 = apart.clone().map(u64::from).sum();
            // Blue is stored at half the resolution; the mean says more than the worst pixel.
            let mean = sum as f64 / wide.samples().len() as f64;
            assert!(mean < 3.0, "mean difference {mean}");
        }
    }

    #[test]
    fn a_side_that_the_format_cannot_count_is_an_error() {
        let long = Picture::filled(70_000, 1, Channels::Grey, [0; 3]);
        let error = jpeg(&long, 90, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("70000 x 1") && error.contains("65535"), "{error}");
        assert!(GifWriter::new(Vec::new()).write(&long, Duration::ZERO).is_err());
    }

    #[test]
    fn a_writer_that_is_full_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let picture = smooth(Channels::Rgb);
        assert_eq!(png(&picture, Full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        let mut writer = GifWriter::new(Full);
        assert!(writer.write(&picture, Duration::ZERO).is_err());
    }
}
