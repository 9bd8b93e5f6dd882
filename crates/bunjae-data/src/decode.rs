//! From the bytes of a picture file to a [`Picture`].
//!
//! JPEG, PNG, WebP, BMP and GIF are told apart by their first bytes, never by the file's name. Of an
//! animation the first frame counts. EXIF orientation is applied. 16-bit samples are rounded to 8.
//! What is transparent is laid on white, as a viewer shows it: dropping the alpha channel would
//! bring out whatever colour lies hidden beneath. CMYK JPEG files are converted without a colour
//! profile; profiles are ignored everywhere.
//!
//! A file with missing data is an error, not a picture with a grey rest, so that a training set
//! does not fill with half pictures unnoticed.
//!
//! The same file gives the same bits on every processor: `zune-jpeg` decodes JPEG in integers, and
//! its AVX2 form equals its portable one (tested here); its NEON form is left out of the build.

use std::any::Any;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader};
use thiserror::Error;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::picture::{Channels, Picture};

/// What a picture may cost, checked against its header before memory is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest file, in bytes.
    pub file_bytes: u64,
    /// The most pixels, width times height.
    pub pixels: u64,
}

impl Default for Limits {
    /// 256 MiB and 64 Mi pixels (8192 x 8192): at most half a gibibyte while decoding 16-bit RGBA.
    fn default() -> Self {
        Limits { file_bytes: 256 << 20, pixels: 64 << 20 }
    }
}

/// Why a file is no picture that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The file cannot be read at all.
    #[error("{0}")]
    Read(String),
    /// The first bytes belong to no known format.
    #[error("neither JPEG, PNG, WebP, BMP nor GIF")]
    UnknownFormat,
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file is larger than the limit.
    #[error("{bytes} bytes, the limit is {limit}")]
    LargeFile {
        /// The file's size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The picture has more pixels than the limit.
    #[error("{width} x {height} pixels, the limit is {limit} in all")]
    LargePicture {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// The limit for their product.
        limit: u64,
    },
    /// The file does not keep to its format, or ends too early.
    #[error("not a valid {format} file: {reason}")]
    Corrupt {
        /// The format that its first bytes announce.
        format: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// A record of a file of many that does not exist.
    #[error("there is no record {index}, only {count}")]
    NoRecord {
        /// The record asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

/// The formats that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// JPEG, baseline and progressive.
    Jpeg,
    /// PNG; of an animated one the default picture.
    Png,
    /// WebP, lossy and lossless.
    WebP,
    /// Windows bitmap.
    Bmp,
    /// GIF, the first frame.
    Gif,
}

impl Format {
    /// The format's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
            Format::Bmp => "BMP",
            Format::Gif => "GIF",
        }
    }

    /// The format that the first bytes of a file announce.
    pub fn of(bytes: &[u8]) -> Option<Format> {
        let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
        match bytes {
            _ if webp => Some(Format::WebP),
            [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
            [b'B', b'M', ..] => Some(Format::Bmp),
            [b'G', b'I', b'F', b'8', ..] => Some(Format::Gif),
            _ => None,
        }
    }

    fn corrupt(self, reason: impl ToString) -> DecodeError {
        DecodeError::Corrupt { format: self.name(), reason: reason.to_string() }
    }
}

/// Decodes a file to the samples asked for.
///
/// # Errors
/// [`DecodeError`], never a panic: where a decoder panics, that too is an error.
pub fn decode(bytes: &[u8], channels: Channels, limits: Limits) -> Result<Picture, DecodeError> {
    Ok(decode_native(bytes, limits)?.into_channels(channels))
}

/// Decodes a file to grey or colour as it is stored, upright.
///
/// # Errors
/// As [`decode`].
pub fn decode_native(bytes: &[u8], limits: Limits) -> Result<Picture, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let size = bytes.len() as u64;
    if size > limits.file_bytes {
        return Err(DecodeError::LargeFile { bytes: size, limit: limits.file_bytes });
    }
    let format = Format::of(bytes).ok_or(DecodeError::UnknownFormat)?;
    // The decoders are pure functions of the bytes, so nothing is left half done by a panic.
    let decoded = catch_unwind(AssertUnwindSafe(|| match format {
        Format::Jpeg => jpeg(bytes, limits, true),
        _ => other(bytes, format, limits),
    }));
    let (picture, orientation) =
        decoded.unwrap_or_else(|panic| Err(format.corrupt(panic_text(panic.as_ref()))))?;
    Ok(upright(picture, orientation))
}

/// The words of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the decoder panicked".to_owned())
}

pub(crate) fn check_pixels(width: u64, height: u64, limits: Limits) -> Result<(), DecodeError> {
    match width.checked_mul(height) {
        Some(pixels) if pixels <= limits.pixels => Ok(()),
        _ => Err(DecodeError::LargePicture { width, height, limit: limits.pixels }),
    }
}

/// `simd` exists for the test that both forms agree.
fn jpeg(bytes: &[u8], limits: Limits, simd: bool) -> Result<(Picture, Orientation), DecodeError> {
    let corrupt = |error: zune_jpeg::errors::DecodeErrors| Format::Jpeg.corrupt(error);
    // Strict: outside of it a truncated file is filled up with grey and passes.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_use_unsafe(simd)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(corrupt)?;
    let info = decoder.info().ok_or_else(|| Format::Jpeg.corrupt("no header"))?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    check_pixels(width as u64, height as u64, limits)?;
    let (space, channels) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (ColorSpace::Luma, Channels::Grey),
        _ => (ColorSpace::RGB, Channels::Rgb),
    };
    let orientation = decoder
        .exif()
        .and_then(|exif| Orientation::from_exif_chunk(exif))
        .unwrap_or(Orientation::NoTransforms);
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let samples = decoder.decode().map_err(corrupt)?;
    let picture = Picture::new(width, height, channels, samples)
        .ok_or_else(|| Format::Jpeg.corrupt(format!("{width} x {height} pixels do not fit")))?;
    Ok((picture, orientation))
}

/// Everything but JPEG.
fn other(
    bytes: &[u8],
    format: Format,
    limits: Limits,
) -> Result<(Picture, Orientation), DecodeError> {
    let corrupt = |error: ImageError| format.corrupt(error);
    let kind = match format {
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Png => ImageFormat::Png,
        Format::WebP => ImageFormat::WebP,
        Format::Bmp => ImageFormat::Bmp,
        Format::Gif => ImageFormat::Gif,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind);
    let mut allowed = image::Limits::no_limits();
    // 16-bit RGBA takes 8 bytes a pixel, and a decoder may hold the picture twice.
    allowed.max_alloc = Some(limits.pixels.saturating_mul(16).saturating_add(1 << 20));
    reader.limits(allowed);
    let mut decoder = reader.into_decoder().map_err(corrupt)?;
    let (width, height) = decoder.dimensions();
    check_pixels(u64::from(width), u64::from(height), limits)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let colour = decoder.color_type();
    let mut samples = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(0)];
    decoder.read_image(&mut samples).map_err(corrupt)?;
    let samples = match colour {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            let (pairs, _) = samples.as_chunks::<2>();
            pairs.iter().map(|&pair| to_8_bits(u16::from_ne_bytes(pair))).collect()
        }
        _ => samples,
    };
    let (channels, samples) = match colour {
        ColorType::L8 | ColorType::L16 => (Channels::Grey, samples),
        ColorType::Rgb8 | ColorType::Rgb16 => (Channels::Rgb, samples),
        ColorType::La8 | ColorType::La16 => (Channels::Grey, on_white::<2>(&samples)),
        ColorType::Rgba8 | ColorType::Rgba16 => (Channels::Rgb, on_white::<4>(&samples)),
        strange => return Err(format.corrupt(format!("pixels of the kind {strange:?}"))),
    };
    let picture = Picture::new(width as usize, height as usize, channels, samples)
        .ok_or_else(|| format.corrupt(format!("{width} x {height} pixels do not fit")))?;
    Ok((picture, orientation))
}

/// The nearest of 256 steps: 65535 / 255 = 257.
fn to_8_bits(sample: u16) -> u8 {
    ((u32::from(sample) + 128) / 257) as u8
}

/// Lays pixels of `N` samples, the last of them alpha, on white.
pub(crate) fn on_white<const N: usize>(samples: &[u8]) -> Vec<u8> {
    let (pixels, _) = samples.as_chunks::<N>();
    let mut opaque = Vec::with_capacity(pixels.len() * (N - 1));
    for pixel in pixels {
        let alpha = u32::from(pixel[N - 1]);
        let white = 255 * (255 - alpha);
        let laid = |&colour: &u8| ((u32::from(colour) * alpha + white + 127) / 255) as u8;
        opaque.extend(pixel[..N - 1].iter().map(laid));
    }
    opaque
}

fn upright(picture: Picture, orientation: Orientation) -> Picture {
    let (exchange, mirror, flip) = match orientation {
        Orientation::NoTransforms => (false, false, false),
        Orientation::FlipHorizontal => (false, true, false),
        Orientation::Rotate180 => (false, true, true),
        Orientation::FlipVertical => (false, false, true),
        Orientation::Rotate90FlipH => (true, false, false),
        Orientation::Rotate90 => (true, true, false),
        Orientation::Rotate270FlipH => (true, true, true),
        Orientation::Rotate270 => (true, false, true),
    };
    picture.turned(exchange, mirror, flip)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bunjae_testkit::data_dir;

    use super::*;

    #[test]
    fn vector_and_portable_jpeg_decoders_agree() {
        let Some(data) = data_dir("vector_and_portable_jpeg_decoders_agree") else { return };
        let folder = data.join("imagenet_samples");
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "jpg"));
        paths.sort();
        for path in paths.iter().step_by(25) {
            let bytes = std::fs::read(path).unwrap();
            let [fast, portable] = [true, false].map(|simd| {
                let (picture, _) = jpeg(&bytes, Limits::default(), simd).unwrap();
                picture
            });
            assert_eq!(fast.samples(), portable.samples(), "{}", path.display());
        }
    }
}
