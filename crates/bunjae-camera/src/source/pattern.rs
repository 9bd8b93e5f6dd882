//! A pattern that moves, for trying things out where there is no camera.

use std::thread;
use std::time::{Duration, Instant};

use bunjae_data::{Channels, Picture};

use super::{Read, Source, SourceError};

/// Colour bars that stand, a square that moves a step with every frame, and the number of the frame
/// in binary along the lower edge, so that a picture says which frame it is.
pub(crate) struct Pattern {
    width: usize,
    height: usize,
    interval: Duration,
    number: u64,
    due: Option<Instant>,
    /// The bars, drawn once.
    ground: Picture,
}

/// Bits of the number along the lower edge.
const BITS: usize = 16;

/// White, yellow, cyan, green, magenta, red, blue at three quarters, as television has them.
const BARS: [[u8; 3]; 7] = [
    [191, 191, 191],
    [191, 191, 0],
    [0, 191, 191],
    [0, 191, 0],
    [191, 0, 191],
    [191, 0, 0],
    [0, 0, 191],
];

impl Pattern {
    pub(crate) fn new(width: usize, height: usize, rate: f64) -> Pattern {
        let mut ground = Picture::filled(width, height, Channels::Rgb, [0; 3]);
        let (width, height) = (ground.width(), ground.height());
        for row in ground.samples_mut().chunks_exact_mut(width * 3) {
            for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                *pixel = BARS[x * BARS.len() / width];
            }
        }
        let interval = Duration::from_secs_f64(1.0 / rate);
        Pattern { width, height, interval, number: 0, due: None, ground }
    }

    /// The side of the square and of a bit.
    fn square(&self) -> usize {
        (self.height / 5).clamp(1, self.width)
    }

    fn fill(&self, samples: &mut [u8], area: [usize; 4], colour: [u8; 3]) {
        let [left, top, width, height] = area;
        for row in samples.chunks_exact_mut(self.width * 3).skip(top).take(height) {
            let (pixels, _) = row.as_chunks_mut::<3>();
            for pixel in pixels.iter_mut().skip(left).take(width) {
                *pixel = colour;
            }
        }
    }

    fn draw(&self, samples: &mut [u8]) {
        samples.copy_from_slice(self.ground.samples());
        let side = self.square();
        let step = usize::try_from(self.number).unwrap_or(0).wrapping_mul(4);
        let (right, below) = (self.width - side, self.height - side);
        let (x, y) = (bounced(step, right), bounced(step / 2, below));
        self.fill(samples, [x, y, side, side], [255, 255, 255]);
        let bit = (self.width / BITS).max(1);
        let top = self.height.saturating_sub(bit);
        for place in 0..BITS {
            let on = self.number >> (BITS - 1 - place) & 1 == 1;
            let colour = if on { [255; 3] } else { [0; 3] };
            self.fill(samples, [place * bit, top, bit, bit], colour);
        }
    }
}

/// There and back again between 0 and `end`.
fn bounced(step: usize, end: usize) -> usize {
    if end == 0 {
        return 0;
    }
    let place = step % (2 * end);
    if place <= end { place } else { 2 * end - place }
}

impl Source for Pattern {
    fn describe(&self) -> String {
        let rate = 1.0 / self.interval.as_secs_f64();
        format!("test pattern, {} x {} at {rate:.4} frames per second", self.width, self.height)
            .replace(".0000 ", " ")
    }

    /// Like a camera, it has its own beat: whoever comes late misses frames, whose numbers are
    /// skipped.
    fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError> {
        let now = Instant::now();
        let due = *self.due.get_or_insert(now);
        let captured = if due > now {
            thread::sleep(due - now);
            due
        } else {
            let late = (now - due).as_nanos() / self.interval.as_nanos().max(1);
            let missed = u32::try_from(late).unwrap_or(u32::MAX);
            self.number += u64::from(missed);
            due + self.interval.saturating_mul(missed)
        };
        if let Some(samples) = picture.reshape(self.width, self.height, Channels::Rgb) {
            self.draw(samples);
        }
        self.number += 1;
        self.due = Some(captured + self.interval);
        Ok(Read::Live { captured })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_differ_and_carry_their_number() {
        let mut pattern = Pattern::new(160, 120, 1000.0);
        let mut pictures = Vec::new();
        for _ in 0..3 {
            let mut picture = Picture::filled(1, 1, Channels::Grey, [0; 3]);
            pattern.read(&mut picture).unwrap();
            assert_eq!((picture.width(), picture.height()), (160, 120));
            // Reading is faster than this rate only sometimes; the number says what was missed.
            let bit = |place: usize| {
                u64::from(picture.samples()[(119 * 160 + place * 10 + 5) * 3] == 255)
            };
            let number = (0..BITS).fold(0, |number, place| number << 1 | bit(place));
            assert_eq!(number + 1, pattern.number);
            pictures.push(picture);
        }
        assert_ne!(pictures[0], pictures[1]);
    }

    #[test]
    fn any_size_can_be_drawn() {
        for (width, height) in [(1, 1), (1, 50), (50, 1), (3, 2), (17, 16)] {
            let mut pattern = Pattern::new(width, height, 10_000.0);
            let mut picture = Picture::filled(1, 1, Channels::Grey, [0; 3]);
            for _ in 0..20 {
                pattern.read(&mut picture).unwrap();
            }
        }
    }

    #[test]
    fn who_comes_late_misses_frames() {
        let mut pattern = Pattern::new(8, 8, 1000.0);
        let mut picture = Picture::filled(1, 1, Channels::Grey, [0; 3]);
        pattern.read(&mut picture).unwrap();
        thread::sleep(Duration::from_millis(20));
        let asked = Instant::now();
        let Ok(Read::Live { captured }) = pattern.read(&mut picture) else { panic!() };
        assert!(pattern.number >= 20, "{}", pattern.number);
        // The newest frame, however long reading it took.
        assert!(captured + Duration::from_millis(1) >= asked);
    }
}
