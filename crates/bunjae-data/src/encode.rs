//! From a [`Picture`] to the bytes of a file.

use std::io::{self, Write};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::picture::{Channels, Picture};

/// Writes the picture as PNG, compressed quickly rather than well.
///
/// # Errors
/// What the writer returns.
pub fn png(picture: &Picture, writer: impl Write) -> io::Result<()> {
    let colour = match picture.channels() {
        Channels::Grey => ExtendedColorType::L8,
        Channels::Rgb => ExtendedColorType::Rgb8,
    };
    // `Picture` counts in usize what came from files that count in u32.
    let [width, height] = [picture.width(), picture.height()].map(|side| side as u32);
    PngEncoder::new_with_quality(writer, CompressionType::Fast, FilterType::Adaptive)
        .write_image(picture.samples(), width, height, colour)
        .map_err(inner)
}

/// The writer's own error, where it is one.
fn inner(error: image::ImageError) -> io::Error {
    match error {
        image::ImageError::IoError(error) => error,
        error => io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Limits, decode_native};

    #[test]
    fn png_gives_every_sample_back() {
        for channels in [Channels::Grey, Channels::Rgb] {
            let count = 5 * 3 * channels.count();
            let samples = (0..count).map(|at| (at * 37 % 256) as u8).collect();
            let picture = Picture::new(5, 3, channels, samples).unwrap();
            let mut bytes = Vec::new();
            png(&picture, &mut bytes).unwrap();
            assert_eq!(decode_native(&bytes, Limits::default()), Ok(picture));
        }
    }
}
