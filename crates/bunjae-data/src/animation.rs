//! The frames of a GIF animation, one at a time.

use std::io::{BufRead, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, ImageDecoder, ImageError};

use crate::decode::{DecodeError, Format, Limits, check_pixels, on_white, panic_text};
use crate::picture::{Channels, Picture};

/// Shorter delays were a way to say "as fast as can be"; browsers take them for this.
const SHORT: Duration = Duration::from_millis(20);

/// How long a frame with a shorter delay is shown.
const UNSAID: Duration = Duration::from_millis(100);

/// A frame of an animation, whole: laid over those before it, and on white where it is transparent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What is seen.
    pub picture: Picture,
    /// For how long.
    pub lasts: Duration,
}

/// An animation that is decoded frame after frame.
pub struct Animation<'a> {
    frames: image::Frames<'a>,
    over: bool,
}

impl<'a> Animation<'a> {
    /// Reads the header of a GIF file.
    ///
    /// # Errors
    /// [`DecodeError`] where it is none, or too large.
    pub fn gif(
        reader: impl BufRead + Seek + 'a,
        limits: Limits,
    ) -> Result<Animation<'a>, DecodeError> {
        let opened = catch_unwind(AssertUnwindSafe(|| -> Result<_, DecodeError> {
            let mut decoder = GifDecoder::new(reader).map_err(corrupt)?;
            let (width, height) = decoder.dimensions();
            check_pixels(u64::from(width), u64::from(height), limits)?;
            let mut allowed = image::Limits::no_limits();
            // The canvas and a frame over it, four bytes a pixel each.
            allowed.max_alloc = Some(limits.pixels.saturating_mul(16).saturating_add(1 << 20));
            decoder.set_limits(allowed).map_err(corrupt)?;
            Ok(decoder.into_frames())
        }));
        let frames = opened.unwrap_or_else(|panic| Err(broken(panic_text(panic.as_ref()))))?;
        Ok(Animation { frames, over: false })
    }
}

fn broken(reason: String) -> DecodeError {
    DecodeError::Corrupt { format: Format::Gif.name(), reason }
}

fn corrupt(error: ImageError) -> DecodeError {
    broken(error.to_string())
}

impl Iterator for Animation<'_> {
    type Item = Result<Frame, DecodeError>;

    /// The next frame. After an error there is none: what follows would be laid over what is missing.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        // After a panic the decoder is not asked again.
        let next = catch_unwind(AssertUnwindSafe(|| self.frames.next()));
        let frame = match next {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => {
                self.over = true;
                return None;
            }
            Ok(Some(Err(error))) => {
                self.over = true;
                return Some(Err(corrupt(error)));
            }
            Err(panic) => {
                self.over = true;
                return Some(Err(broken(panic_text(panic.as_ref()))));
            }
        };
        let lasts = Duration::from(frame.delay());
        let lasts = if lasts < SHORT { UNSAID } else { lasts };
        let buffer = frame.into_buffer();
        let (width, height) = (buffer.width() as usize, buffer.height() as usize);
        let samples = on_white::<4>(buffer.as_raw());
        let picture = Picture::new(width, height, Channels::Rgb, samples);
        let picture = picture.ok_or_else(|| broken(format!("{width} x {height} pixels")));
        Some(picture.map(|picture| Frame { picture, lasts }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::encode::GifWriter;

    fn plain(colour: [u8; 3]) -> Picture {
        Picture::filled(20, 10, Channels::Rgb, colour)
    }

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = GifWriter::new(&mut bytes);
        for (colour, milliseconds) in [([255, 0, 0], 70), ([0, 0, 255], 10)] {
            writer.write(&plain(colour), Duration::from_millis(milliseconds)).unwrap();
        }
        drop(writer);
        bytes
    }

    #[test]
    fn frames_come_back_with_their_delays() {
        let bytes = written();
        let frames: Vec<Frame> = Animation::gif(Cursor::new(&bytes), Limits::default())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let delays: Vec<u128> = frames.iter().map(|frame| frame.lasts.as_millis()).collect();
        // 10 ms is what no browser keeps to.
        assert_eq!(delays, [70, 100]);
        assert_eq!(frames[0].picture, plain([255, 0, 0]));
        assert_eq!(frames[1].picture, plain([0, 0, 255]));
    }

    #[test]
    fn a_file_cut_anywhere_ends_with_an_error_or_early() {
        let bytes = written();
        let mut whole = 0;
        for end in 0..bytes.len() {
            let Ok(frames) = Animation::gif(Cursor::new(&bytes[..end]), Limits::default()) else {
                continue;
            };
            let frames: Vec<_> = frames.collect();
            let good = frames.iter().filter(|frame| frame.is_ok()).count();
            assert!(good <= 2 && frames.len() <= good + 1, "{end}");
            whole += good;
        }
        assert!(whole > 0);
    }

    #[test]
    fn a_canvas_over_the_limit_is_refused_before_a_frame_is_made() {
        let limits = Limits { pixels: 199, ..Limits::default() };
        let error = Animation::gif(Cursor::new(written()), limits).err();
        assert_eq!(error, Some(DecodeError::LargePicture { width: 20, height: 10, limit: 199 }));
    }
}
