//! What is found on a picture, and who finds it.

use bunjae_data::{Picture, Region};
use thiserror::Error;

use crate::network::NetworkError;

/// A place on a picture, in pixels from its top left corner; pixel (0, 0) covers 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Down.
    pub y: f32,
}

/// A rectangle on a picture, in pixels from its top left corner. Parts of it may lie outside.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// The left side.
    pub left: f32,
    /// The upper side.
    pub top: f32,
    /// From the left side to the right one.
    pub width: f32,
    /// From the upper side to the lower one.
    pub height: f32,
}

impl Rect {
    /// The right side.
    pub fn right(&self) -> f32 {
        self.left + self.width
    }

    /// The lower side.
    pub fn bottom(&self) -> f32 {
        self.top + self.height
    }

    /// The middle.
    pub fn centre(&self) -> Point {
        Point { x: self.left + self.width / 2.0, y: self.top + self.height / 2.0 }
    }

    /// Square pixels; 0 where a side is negative or no number.
    pub fn area(&self) -> f32 {
        self.width.max(0.0) * self.height.max(0.0)
    }

    /// The area that both cover.
    pub fn common(&self, other: &Rect) -> f32 {
        let width = self.right().min(other.right()) - self.left.max(other.left);
        let height = self.bottom().min(other.bottom()) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }

    /// Whether all sides are numbers, and no infinite ones.
    pub fn is_finite(&self) -> bool {
        [self.left, self.top, self.width, self.height].iter().all(|side| side.is_finite())
    }

    /// The area that both cover, as a share of what either covers (IoU): 0 to 1, and 0 where both
    /// are empty or one is no rectangle of numbers.
    pub fn overlap(&self, other: &Rect) -> f32 {
        // The smaller of a number and what is none would be the number.
        if !(self.is_finite() && other.is_finite()) {
            return 0.0;
        }
        let common = self.common(other);
        let either = self.area() + other.area() - common;
        if either > 0.0 { (common / either).min(1.0) } else { 0.0 }
    }

    /// The same middle, and a `margin` on every side: a share of that side's length. Negative
    /// margins make it smaller.
    pub fn grown(&self, margin: f32) -> Rect {
        let (x, y) = (self.width * margin, self.height * margin);
        Rect {
            left: self.left - x,
            top: self.top - y,
            width: self.width + 2.0 * x,
            height: self.height + 2.0 * y,
        }
    }

    /// The whole pixels that it touches by at least half of their width, inside a picture of this
    /// size; `None` where that is none.
    pub fn region(&self, width: usize, height: usize) -> Option<Region> {
        // Conversion cuts off, stops at both ends, and makes 0 of what is no number.
        let bound = |value: f32, limit: usize| (value.round().max(0.0) as usize).min(limit);
        let (left, right) = (bound(self.left, width), bound(self.right(), width));
        let (top, bottom) = (bound(self.top, height), bound(self.bottom(), height));
        let some = left < right && top < bottom;
        some.then(|| Region { left, top, width: right - left, height: bottom - top })
    }
}

/// The part of a picture inside a rectangle with a margin (see [`Rect::grown`]), cut off where the
/// picture ends; `None` where nothing of it lies on the picture.
///
/// This is what a classifier of faces is given.
pub fn crop(picture: &Picture, area: &Rect, margin: f32) -> Option<Picture> {
    let region = area.grown(margin).region(picture.width(), picture.height())?;
    Some(picture.cropped(region))
}

/// Something found on a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Where it is.
    pub area: Rect,
    /// How sure the detector is; more is surer. Networks give 0 to 1, cascades the number of
    /// windows that were found and merged.
    pub score: f32,
    /// Which of [`Detector::classes`] it is.
    pub class: usize,
    /// The right eye, the left eye, the tip of the nose, the right and the left corner of the
    /// mouth, left and right as the person has them; where the detector tells.
    pub landmarks: Option<[Point; 5]>,
}

/// Why a picture could not be searched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DetectError {
    /// A cascade lets nearly everything through.
    #[error("more than {limit} windows pass the cascade; it is not one for such pictures")]
    TooMany {
        /// The number at which it stopped.
        limit: usize,
    },
    /// A network cannot be run on a picture of this size.
    #[error(transparent)]
    Network(Box<NetworkError>),
}

/// Finds things on pictures.
pub trait Detector: Send {
    /// What is on a picture, the highest score first, in pixels of this picture.
    ///
    /// # Errors
    /// [`DetectError`].
    fn detect(&mut self, picture: &Picture) -> Result<Vec<Detection>, DetectError>;

    /// The detector in a few words, for people.
    fn name(&self) -> String;

    /// What is told apart; most detectors know one thing.
    fn classes(&self) -> &'static [&'static str] {
        &["face"]
    }
}

/// The highest score first; of equals the upper one, then the left one.
pub(crate) fn sort(detections: &mut [Detection]) {
    detections.sort_by(|a, b| {
        let place = a.area.top.total_cmp(&b.area.top).then(a.area.left.total_cmp(&b.area.left));
        b.score.total_cmp(&a.score).then(place)
    });
}

#[cfg(test)]
mod tests {
    use bunjae_data::Channels;

    use super::*;

    fn rect(left: f32, top: f32, width: f32, height: f32) -> Rect {
        Rect { left, top, width, height }
    }

    #[test]
    fn overlap_is_the_common_share() {
        let a = rect(0.0, 0.0, 10.0, 10.0);
        assert_eq!(a.overlap(&a), 1.0);
        // 5 x 10 of 150.
        assert_eq!(a.overlap(&rect(5.0, 0.0, 10.0, 10.0)), 50.0 / 150.0);
        assert_eq!(a.overlap(&rect(10.0, 0.0, 10.0, 10.0)), 0.0);
        assert_eq!(a.overlap(&rect(2.0, 2.0, -5.0, 3.0)), 0.0);
        assert_eq!(rect(1.0, 1.0, 0.0, 0.0).overlap(&rect(1.0, 1.0, 0.0, 0.0)), 0.0);
        assert_eq!(a.overlap(&rect(f32::NAN, 0.0, 10.0, 10.0)), 0.0);
    }

    #[test]
    fn a_region_lies_inside_and_is_never_empty() {
        let region = |left, top, width, height| rect(left, top, width, height).region(20, 10);
        let inside = |left, top, width, height| Some(Region { left, top, width, height });
        assert_eq!(region(2.4, 3.6, 4.2, 2.0), inside(2, 4, 5, 2));
        assert_eq!(region(-5.0, -5.0, 100.0, 100.0), inside(0, 0, 20, 10));
        assert_eq!(region(-5.0, 1.0, 5.2, 3.0), None);
        assert_eq!(region(20.0, 1.0, 5.0, 3.0), None);
        assert_eq!(region(3.0, 3.0, -2.0, 3.0), None);
        assert_eq!(region(f32::NAN, 1.0, 5.0, 3.0), None);
        assert_eq!(region(0.0, 0.0, f32::INFINITY, 3.0), inside(0, 0, 20, 3));
    }

    #[test]
    fn a_crop_has_a_margin_and_ends_with_the_picture() {
        let samples = (0..100).collect();
        let picture = Picture::new(10, 10, Channels::Grey, samples).unwrap();
        let part = crop(&picture, &rect(2.0, 3.0, 2.0, 4.0), 0.5).unwrap();
        assert_eq!((part.width(), part.height(), part.samples()[0]), (4, 8, 11));
        let corner = crop(&picture, &rect(8.0, 8.0, 4.0, 4.0), 0.25).unwrap();
        assert_eq!((corner.width(), corner.height(), corner.samples()[0]), (3, 3, 77));
        assert!(crop(&picture, &rect(30.0, 0.0, 5.0, 5.0), 0.5).is_none());
    }

    #[test]
    fn sorting_is_by_score_then_by_place() {
        let found = |score, top, left| Detection {
            area: rect(left, top, 1.0, 1.0),
            score,
            class: 0,
            landmarks: None,
        };
        let mut all = [found(0.5, 2.0, 0.0), found(0.5, 1.0, 3.0), found(0.9, 7.0, 7.0)];
        sort(&mut all);
        assert_eq!(all.map(|found| found.area.top), [7.0, 1.0, 2.0]);
    }
}
