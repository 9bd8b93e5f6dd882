//! Synthetic pictures without labels, grown from real ones.
//!
//! MUNGE (Bucila, Caruana, Niculescu-Mizil, "Model Compression", KDD 2006) makes examples from which a
//! small model learns what a large one says where data is scarce: an example and its nearest neighbour
//! exchange attributes, each with probability `p`, a continuous attribute `a` becoming a draw from a
//! normal distribution around the neighbour's `a'` with the deviation `|a - a'| / s`.
//!
//! The paper has tables, where an attribute is a column. The samples of a picture hang together with
//! those around them, and exchanged one by one they would be noise; so here an attribute is a square
//! patch, for which one number is drawn: each of its samples has the paper's distribution, and the patch
//! stays a picture. With patches of one pixel this is the algorithm to the letter, but for the draw that
//! the channels of a pixel have in common. Two more choices: a new picture is made from a real one and
//! its neighbour as they are, not as earlier exchanges left them, and the neighbour's half of the
//! exchange is its own turn; and distances are those of small copies of the pictures.

use serde::{Deserialize, Serialize};

use crate::augment::random_for;
use crate::dataset::Records;
use crate::error::DataError;
use crate::parallel;
use crate::picture::Picture;
use crate::pictures::Pictures;
use crate::preprocess::Layout;
use crate::resize::{Filter, resize};

/// The side of the copies between which distances are measured.
const COPY: usize = 16;

/// The most bytes of synthetic pictures, as they are kept in memory.
const MAX_BYTES: usize = 8 << 30;

/// What keeps these random numbers apart from all others of the same seed.
const MUNGE: u64 = 0x006d_756e_6765;

/// How pictures are grown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Munge {
    /// Synthetic pictures for each real one.
    pub times: usize,
    /// How often a patch is exchanged, 0 to 1.
    pub p: f64,
    /// How near a patch is to the neighbour's: the deviation is the difference divided by this.
    pub s: f64,
    /// The side of a patch, in pixels of the network's input; 0 for an eighth of the shorter side.
    pub patch: usize,
}

impl Default for Munge {
    /// One for each, a fifth of the patches, half the difference.
    fn default() -> Self {
        Munge { times: 1, p: 0.2, s: 2.0, patch: 0 }
    }
}

impl Munge {
    /// Checks every number.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        if self.times == 0 {
            return Err(DataError::setting("munge", "no pictures for each real one"));
        }
        if !(0.0..=1.0).contains(&self.p) {
            return Err(DataError::setting("munge", format!("{} is not within 0 and 1", self.p)));
        }
        if !(self.s.is_finite() && self.s > 0.0) {
            return Err(DataError::setting("munge", format!("{} is not over 0", self.s)));
        }
        Ok(())
    }

    /// Grows pictures of the size of the input from all pictures, labelled or not: those for the first
    /// real one, the second, and so on. They are the same on any number of threads.
    ///
    /// # Errors
    /// [`DataError::Setting`] for numbers without meaning and more than 8 GiB of pictures;
    /// [`DataError::Decode`].
    pub fn grow(
        &self,
        pictures: &Pictures,
        seed: u64,
        threads: usize,
    ) -> Result<Records, DataError> {
        self.check()?;
        let preprocess = &pictures.reading().preprocess;
        if preprocess.layout != Layout::Chw {
            return Err(DataError::setting("layout", "pictures are grown plane by plane"));
        }
        let (width, height) = (preprocess.width, preprocess.height);
        let channels = preprocess.colour.channels();
        let count = pictures.dataset().items.len();
        let bytes = (width * height * channels.count()).checked_mul(count);
        let bytes = bytes.and_then(|bytes| bytes.checked_mul(self.times));
        if bytes.is_none_or(|bytes| bytes > MAX_BYTES) {
            let what = format!("{} pictures for each of {count} are over 8 GiB", self.times);
            return Err(DataError::setting("munge", what));
        }
        let fitted = |index: usize| -> Result<Picture, DataError> {
            let picture = pictures.get(index)?.into_channels(channels);
            let is_fitted = (picture.width(), picture.height()) == (width, height);
            Ok(if is_fitted { picture } else { preprocess.fitted(picture) })
        };
        let silent = |_: usize| {};
        let copies = parallel::map(count, threads, &silent, |index| {
            fitted(index).map(|picture| resize(&picture, COPY, COPY, Filter::Box))
        });
        let copies = copies.into_iter().collect::<Result<Vec<_>, _>>()?;
        let grown = parallel::map(count, threads, &silent, |index| {
            let picture = fitted(index)?;
            let Some(neighbour) = nearest(&copies, index) else { return Ok(Vec::new()) };
            let neighbour = fitted(neighbour)?;
            let mut samples = Vec::with_capacity(picture.samples().len() * self.times);
            for time in 0..self.times {
                let number = (index * self.times + time) as u64;
                let mut random = random_for(seed ^ MUNGE, 0, number);
                samples.extend(self.exchanged(&picture, &neighbour, &mut random));
            }
            Ok::<_, DataError>(samples)
        });
        let mut samples = Vec::new();
        for grown in grown {
            samples.extend(grown?);
        }
        Ok(Records { origin: "munged".to_owned(), width, height, channels, samples })
    }

    /// The samples of a picture of which some patches come from near those of its neighbour, which has
    /// the same size.
    fn exchanged(
        &self,
        picture: &Picture,
        neighbour: &Picture,
        random: &mut bunjae_tensor::Random,
    ) -> Vec<u8> {
        let (width, height) = (picture.width(), picture.height());
        let side = if self.patch == 0 { (width.min(height) / 8).max(1) } else { self.patch };
        let (stride, count) = (picture.stride(), picture.channels().count());
        let mut samples = picture.samples().to_vec();
        for top in (0..height).step_by(side) {
            for left in (0..width).step_by(side) {
                if random.unit() >= self.p {
                    continue;
                }
                // A normal number times |a - a'| has the distribution of one times (a - a').
                let share = random.normal() / self.s;
                for y in top..(top + side).min(height) {
                    let row =
                        y * stride + left * count..y * stride + (left + side).min(width) * count;
                    let theirs = &neighbour.samples()[row.clone()];
                    for (sample, &other) in samples[row].iter_mut().zip(theirs) {
                        let (own, other) = (f64::from(*sample), f64::from(other));
                        *sample = (other + share * (own - other)).round().clamp(0.0, 255.0) as u8;
                    }
                }
            }
        }
        samples
    }
}

/// The picture nearest to one, other than itself; of equals the first.
fn nearest(copies: &[Picture], index: usize) -> Option<usize> {
    let own = copies.get(index)?.samples();
    let distance = |other: &Picture| -> u64 {
        let squares = own.iter().zip(other.samples()).map(|(&a, &b)| {
            let difference = i32::from(a) - i32::from(b);
            (difference * difference) as u32
        });
        // At most 16 * 16 * 3 * 255^2, far below the limit.
        u64::from(squares.sum::<u32>())
    };
    let others = copies.iter().enumerate().filter(|(other, _)| *other != index);
    others.min_by_key(|(_, other)| distance(other)).map(|(other, _)| other)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dataset::{Dataset, Item, Source};
    use crate::picture::Channels;
    use crate::pictures::Reading;
    use crate::preprocess::{Colour, Preprocess};

    /// Pictures of 8 x 8, each of one grey.
    fn pictures(greys: &[u8]) -> Pictures {
        let records = Arc::new(Records {
            origin: "greys".to_owned(),
            width: 8,
            height: 8,
            channels: Channels::Grey,
            samples: greys.iter().flat_map(|&grey| [grey; 64]).collect(),
        });
        let items = (0..greys.len()).map(|index| Item {
            source: Source::Record { records: Arc::clone(&records), index },
            label: Some(0),
            split: None,
            group: None,
        });
        let dataset =
            Dataset { classes: vec!["a".to_owned()], items: items.collect(), skipped: Vec::new() };
        Pictures::new(dataset, Reading::new(Preprocess::plain(8, 8, Colour::Grey))).unwrap()
    }

    #[test]
    fn patches_come_from_near_those_of_the_nearest_neighbour() {
        let pictures = pictures(&[10, 100, 120, 255]);
        let munge = Munge { times: 2, p: 1.0, s: 1e9, patch: 4 };
        // Without any deviation they are the neighbour's: of 10 that is 100, of 100 and 255 it is 120.
        let grown = munge.grow(&pictures, 1, 2).unwrap();
        let greys: Vec<u8> = grown.samples.chunks_exact(64).map(|samples| samples[0]).collect();
        assert_eq!(greys, [100, 100, 120, 120, 100, 100, 120, 120]);
        let never = Munge { p: 0.0, ..munge }.grow(&pictures, 1, 1).unwrap();
        assert_eq!(never.samples[..64], [10; 64]);
    }

    #[test]
    fn a_patch_is_exchanged_as_one_with_the_deviation_of_the_paper() {
        let pictures = pictures(&[100, 140]);
        let munge = Munge { times: 500, p: 0.5, s: 4.0, patch: 4 };
        let grown = munge.grow(&pictures, 7, 2).unwrap();
        assert_eq!(grown, munge.grow(&pictures, 7, 1).unwrap());
        assert_ne!(grown, munge.grow(&pictures, 8, 1).unwrap());
        let mut exchanged = Vec::new();
        for samples in grown.samples[..500 * 64].chunks_exact(64) {
            for (top, left) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
                let grey = samples[top * 8 + left];
                let patch = (0..16).map(|place| samples[(top + place / 4) * 8 + left + place % 4]);
                assert!(patch.into_iter().all(|sample| sample == grey));
                if grey != 100 {
                    exchanged.push(f64::from(grey));
                }
            }
        }
        // Half of 2,000 patches, normal around 140 with the deviation 40 / 4.
        let count = exchanged.len() as f64;
        assert!((900.0..1100.0).contains(&count), "{count}");
        let mean = exchanged.iter().sum::<f64>() / count;
        let deviation = (exchanged.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
        assert!((mean - 140.0).abs() < 1.5, "{mean}");
        assert!((deviation - 10.0).abs() < 1.0, "{deviation}");
    }

    #[test]
    fn settings_without_meaning_are_refused() {
        let pictures = pictures(&[1, 2]);
        let usual = Munge::default();
        for wrong in [
            Munge { times: 0, ..usual },
            Munge { times: usize::MAX / 2, ..usual },
            Munge { p: 1.5, ..usual },
            Munge { s: 0.0, ..usual },
        ] {
            assert!(wrong.grow(&pictures, 0, 1).is_err(), "{wrong:?}");
        }
        assert_eq!(usual.grow(&pictures, 0, 1).unwrap().len(), 2);
    }
}
