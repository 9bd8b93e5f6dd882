//! Boxes between two detections, and which box is whose.
//!
//! A track has an id that never changes and is never used again. Where the detector has run, its
//! boxes are given to the tracks that they overlap most (pairs are taken in the order of their
//! overlap, so that nobody's best box is taken by somebody's second best); what is left over begins
//! new tracks, and a track without a box is lost after some such detections in a row. On the
//! pictures between, every box is carried on by [`Motion`].

use bunjae_data::{Channels, Filter, Picture, resize};

use crate::detection::{DetectError, Detection, Detector, Point, Rect};

/// How a box is carried over a picture on which nothing was detected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Motion {
    /// It goes on with the speed that the last detections showed.
    Velocity,
    /// What was inside when it was last detected is looked for around the place where it should be
    /// by its speed: normalised correlation of brightness, to a fraction of a pixel. Where nothing
    /// is alike, the speed decides.
    #[default]
    Template,
}

/// How boxes are followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackSettings {
    /// The detector runs on every k-th picture: 1 on all of them. 0 counts as 1.
    pub every: usize,
    /// The least overlap (IoU, 0 to 1) at which a detection continues a track.
    pub overlap: f32,
    /// How many detections in a row may miss a track before it is lost; 0 ends it at the first.
    pub patience: usize,
    /// What happens between detections.
    pub motion: Motion,
}

impl Default for TrackSettings {
    fn default() -> Self {
        TrackSettings { every: 1, overlap: 0.3, patience: 2, motion: Motion::default() }
    }
}

/// Something that is followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Track {
    /// From 1, and never given twice by one tracker.
    pub id: u64,
    /// Where it is now. Score, class and the shape of the landmarks are those of the last detection.
    pub detection: Detection,
    /// Whether it was detected on this very picture.
    pub fresh: bool,
    /// How many detections in a row have missed it.
    pub missed: usize,
}

/// The side of a template, in samples. Its area is searched at this scale, so that a search costs
/// the same for every box.
const SIDE: usize = 24;

/// How far from the expected place is searched, in samples of a template: half of the box.
const REACH: usize = SIDE / 2;

/// The least correlation that is taken for the same thing.
const ALIKE: f32 = 0.6;

/// The share of a new speed that is believed at once.
const TRUST: f32 = 0.5;

/// How a box moves from picture to picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Speed {
    x: f32,
    y: f32,
}

struct Followed {
    track: Track,
    speed: Speed,
    /// The box at the last detection that found it, and how many pictures ago that was.
    seen: Rect,
    age: usize,
    template: Option<Template>,
}

/// Carries boxes from picture to picture.
pub struct Tracker {
    settings: TrackSettings,
    last_id: u64,
    followed: Vec<Followed>,
}

impl Tracker {
    /// A tracker that follows nothing yet.
    pub fn new(settings: TrackSettings) -> Tracker {
        Tracker { settings, last_id: 0, followed: Vec::new() }
    }

    /// How it follows.
    pub fn settings(&self) -> &TrackSettings {
        &self.settings
    }

    /// What is followed on the next picture, the oldest track first. `detections` is what was
    /// detected on it, or `None` where the detector did not run.
    ///
    /// Tracks that have left the picture are lost.
    pub fn update(&mut self, picture: &Picture, detections: Option<&[Detection]>) -> Vec<Track> {
        let (width, height) = (picture.width(), picture.height());
        for followed in &mut self.followed {
            followed.advance(picture, detections.is_none());
        }
        if let Some(detections) = detections {
            self.assign(picture, detections);
        }
        let patience = self.settings.patience;
        self.followed.retain(|followed| {
            let inside = followed.track.detection.area.region(width, height).is_some();
            inside && followed.track.missed <= patience
        });
        self.followed.iter().map(|followed| followed.track).collect()
    }

    /// Gives the detections to the tracks.
    fn assign(&mut self, picture: &Picture, detections: &[Detection]) {
        let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
        for (track, followed) in self.followed.iter().enumerate() {
            let area = followed.track.detection.area;
            for (index, found) in detections.iter().enumerate() {
                let overlap = area.overlap(&found.area);
                if overlap >= self.settings.overlap.max(f32::MIN_POSITIVE) {
                    pairs.push((overlap, track, index));
                }
            }
        }
        // The largest overlap first; of equals the older track, then the better detection.
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut given = vec![None; self.followed.len()];
        let mut taken = vec![false; detections.len()];
        for (_, track, index) in pairs {
            if given[track].is_none() && !taken[index] {
                given[track] = Some(index);
                taken[index] = true;
            }
        }
        let template = |area: &Rect| match self.settings.motion {
            Motion::Template => Template::new(picture, area),
            Motion::Velocity => None,
        };
        for (followed, given) in self.followed.iter_mut().zip(given) {
            match given {
                Some(index) => {
                    let found = detections[index];
                    followed.found(found, template(&found.area));
                }
                None => followed.track.missed += 1,
            }
        }
        for (found, _) in detections.iter().zip(taken).filter(|(_, taken)| !taken) {
            self.last_id += 1;
            let track = Track { id: self.last_id, detection: *found, fresh: true, missed: 0 };
            let template = template(&found.area);
            let speed = Speed::default();
            self.followed.push(Followed { track, speed, seen: found.area, age: 0, template });
        }
    }
}

impl Followed {
    /// Moves it to where it should be on the next picture. A search is for pictures without a
    /// detection; the others need no more than a place to be found at.
    fn advance(&mut self, picture: &Picture, search: bool) {
        self.track.fresh = false;
        self.age += 1;
        let mut step = self.speed;
        if search && let Some(template) = &self.template {
            let area = shifted(&self.track.detection.area, step);
            if let Some(found) = template.find(picture, &area) {
                step = Speed { x: step.x + found.x, y: step.y + found.y };
                // What was seen to move goes on so.
                self.speed = self.speed.towards(step);
            }
        }
        let detection = &mut self.track.detection;
        detection.area = shifted(&detection.area, step);
        for mark in detection.landmarks.iter_mut().flatten() {
            mark.x += step.x;
            mark.y += step.y;
        }
    }

    /// It was detected.
    fn found(&mut self, detection: Detection, template: Option<Template>) {
        let pictures = self.age.max(1) as f32;
        let (old, new) = (self.seen.centre(), detection.area.centre());
        let seen = Speed { x: (new.x - old.x) / pictures, y: (new.y - old.y) / pictures };
        self.speed = self.speed.towards(seen);
        self.track = Track { detection, fresh: true, missed: 0, ..self.track };
        self.seen = detection.area;
        self.age = 0;
        self.template = template;
    }
}

impl Speed {
    fn towards(self, seen: Speed) -> Speed {
        Speed { x: self.x + TRUST * (seen.x - self.x), y: self.y + TRUST * (seen.y - self.y) }
    }
}

fn shifted(area: &Rect, step: Speed) -> Rect {
    Rect { left: area.left + step.x, top: area.top + step.y, ..*area }
}

/// What a box held: `SIDE` x `SIDE` samples of brightness, less their mean.
struct Template {
    samples: Vec<f32>,
    /// The square root of the sum of their squares.
    norm: f32,
}

impl Template {
    /// `None` where the box leaves the picture or holds nothing that could be recognised.
    fn new(picture: &Picture, area: &Rect) -> Option<Template> {
        let region = area.region(picture.width(), picture.height())?;
        let cut =
            (region.width as f32) < 0.8 * area.width || (region.height as f32) < 0.8 * area.height;
        if cut {
            return None;
        }
        let part = resize(&picture.cropped(region), SIDE, SIDE, Filter::Box);
        let grey = part.into_channels(Channels::Grey);
        let mean = mean(grey.samples().iter().copied());
        let samples: Vec<f32> = grey.samples().iter().map(|&s| f32::from(s) - mean).collect();
        let norm = samples.iter().map(|s| s * s).sum::<f32>().sqrt();
        // A contrast of one step on average.
        (norm >= SIDE as f32).then_some(Template { samples, norm })
    }

    /// How far from `area` the template is found, in pixels; `None` where nothing is alike.
    fn find(&self, picture: &Picture, area: &Rect) -> Option<Point> {
        let wide = SIDE + 2 * REACH;
        // What lies outside of the picture is black, and matches nothing but black.
        let around = area.grown(REACH as f32 / SIDE as f32);
        let ground = whole(picture, &around, wide)?;
        let score = |x: usize, y: usize| self.alike(&ground, wide, x, y);
        let mut best = (f32::NEG_INFINITY, REACH, REACH);
        for y in 0..=2 * REACH {
            for x in 0..=2 * REACH {
                let found = score(x, y);
                if found > best.0 {
                    best = (found, x, y);
                }
            }
        }
        let (alike, x, y) = best;
        if alike < ALIKE {
            return None;
        }
        let at = |dx: usize, dy: usize| {
            // One step back and on from the best place.
            let (x, y) = ((x + dx).checked_sub(1)?, (y + dy).checked_sub(1)?);
            (x <= 2 * REACH && y <= 2 * REACH).then(|| score(x, y))
        };
        let fine_x = vertex(at(0, 1), alike, at(2, 1));
        let fine_y = vertex(at(1, 0), alike, at(1, 2));
        Some(Point {
            x: (x as f32 + fine_x - REACH as f32) * area.width / SIDE as f32,
            y: (y as f32 + fine_y - REACH as f32) * area.height / SIDE as f32,
        })
    }

    /// The correlation with the part of `ground` (`wide` samples in a row) that begins at (x, y).
    fn alike(&self, ground: &[f32], wide: usize, x: usize, y: usize) -> f32 {
        let (mut product, mut sum, mut squares) = ([0f32; 8], [0f32; 8], [0f32; 8]);
        for (row, template) in self.samples.chunks_exact(SIDE).enumerate() {
            let start = (y + row) * wide + x;
            let ground = &ground[start..start + SIDE];
            let (ground, _) = ground.as_chunks::<8>();
            let (template, _) = template.as_chunks::<8>();
            for (ground, template) in ground.iter().zip(template) {
                for lane in 0..8 {
                    product[lane] += ground[lane] * template[lane];
                    sum[lane] += ground[lane];
                    squares[lane] += ground[lane] * ground[lane];
                }
            }
        }
        let [product, sum, squares] = [product, sum, squares].map(|all| all.iter().sum::<f32>());
        let spread = squares - sum * sum / (SIDE * SIDE) as f32;
        // The template's mean is 0, so that of the ground drops out of the product.
        if spread > 1.0 { product / (spread.sqrt() * self.norm) } else { 0.0 }
    }
}

/// A square of `side` samples of brightness that covers `area`, black outside of the picture; `None`
/// where it touches the picture nowhere.
fn whole(picture: &Picture, area: &Rect, side: usize) -> Option<Vec<f32>> {
    let region = area.region(picture.width(), picture.height())?;
    let scale = [side as f32 / area.width, side as f32 / area.height];
    let place = |value: f32, scale: f32| ((value * scale).round().max(0.0) as usize).min(side);
    let left = place(region.left as f32 - area.left, scale[0]);
    let top = place(region.top as f32 - area.top, scale[1]);
    let right = place((region.left + region.width) as f32 - area.left, scale[0]);
    let bottom = place((region.top + region.height) as f32 - area.top, scale[1]);
    if left >= right || top >= bottom {
        return None;
    }
    let part = resize(&picture.cropped(region), right - left, bottom - top, Filter::Box);
    let part = part.into_channels(Channels::Grey);
    let mut ground = vec![0.0; side * side];
    for (row, source) in ground.chunks_exact_mut(side).skip(top).zip(part.rows()) {
        for (sample, &source) in row[left..right].iter_mut().zip(source) {
            *sample = f32::from(source);
        }
    }
    Some(ground)
}

fn mean(samples: impl ExactSizeIterator<Item = u8>) -> f32 {
    let count = samples.len().max(1);
    samples.map(u32::from).sum::<u32>() as f32 / count as f32
}

/// Where a parabola through three neighbouring values has its top, from -0.5 to 0.5 of the middle.
fn vertex(before: Option<f32>, middle: f32, after: Option<f32>) -> f32 {
    let (Some(before), Some(after)) = (before, after) else { return 0.0 };
    let bend = before - 2.0 * middle + after;
    if bend < 0.0 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 }
}

/// A detector that runs on every k-th picture of a sequence, and a tracker for all of them.
pub struct TrackingDetector {
    detector: Box<dyn Detector>,
    tracker: Tracker,
    pictures: usize,
}

impl TrackingDetector {
    /// Follows what `detector` finds.
    pub fn new(detector: Box<dyn Detector>, settings: TrackSettings) -> TrackingDetector {
        TrackingDetector { detector, tracker: Tracker::new(settings), pictures: 0 }
    }

    /// What is on the next picture of the sequence.
    ///
    /// # Errors
    /// [`DetectError`]; the picture then counts as one on which the detector did not run, and it
    /// runs on the next.
    pub fn next(&mut self, picture: &Picture) -> Result<Vec<Track>, DetectError> {
        let every = self.tracker.settings.every.max(1);
        let due = self.pictures.is_multiple_of(every);
        if !due {
            self.pictures += 1;
            return Ok(self.tracker.update(picture, None));
        }
        match self.detector.detect(picture) {
            Ok(found) => {
                self.pictures += 1;
                Ok(self.tracker.update(picture, Some(&found)))
            }
            Err(error) => {
                self.tracker.update(picture, None);
                Err(error)
            }
        }
    }

    /// The detector that runs.
    pub fn detector(&self) -> &dyn Detector {
        &*self.detector
    }

    /// Forgets all tracks, as for another sequence; ids go on.
    pub fn reset(&mut self) {
        self.tracker.followed.clear();
        self.pictures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: [u8; 3] = [90, 90, 90];

    fn found(left: f32, top: f32) -> Detection {
        let area = Rect { left, top, width: 20.0, height: 20.0 };
        Detection { area, score: 0.9, class: 0, landmarks: None }
    }

    fn settings(motion: Motion) -> TrackSettings {
        TrackSettings { every: 1, overlap: 0.3, patience: 1, motion }
    }

    /// A frame of 160 x 120 with a pattern at a place.
    fn frame(left: usize, top: usize) -> Picture {
        let mut picture = Picture::filled(160, 120, Channels::Grey, FLAT);
        let stride = picture.stride();
        for y in 0..20 {
            for x in 0..20 {
                let bright = if (x / 5 + y / 4) % 2 == 0 { 30 + 8 * x } else { 250 - 6 * y };
                picture.samples_mut()[(top + y) * stride + left + x] = bright as u8;
            }
        }
        picture
    }

    fn ids(tracks: &[Track]) -> Vec<u64> {
        tracks.iter().map(|track| track.id).collect()
    }

    #[test]
    fn ids_stay_and_are_never_used_again() {
        let mut tracker = Tracker::new(settings(Motion::Velocity));
        let blank = Picture::filled(160, 120, Channels::Grey, FLAT);
        let mut update = |boxes: &[Detection]| tracker.update(&blank, Some(boxes));
        assert_eq!(ids(&update(&[found(10.0, 10.0), found(80.0, 10.0)])), [1, 2]);
        // The order of the detections does not matter.
        let tracks = update(&[found(83.0, 11.0), found(12.0, 10.0)]);
        assert_eq!(ids(&tracks), [1, 2]);
        assert_eq!(tracks[1].detection.area.left, 83.0);
        // One is missed twice, which is once more than it may be.
        let tracks = update(&[found(14.0, 10.0)]);
        assert_eq!((ids(&tracks), tracks[1].missed, tracks[1].fresh), (vec![1, 2], 1, false));
        assert_eq!(ids(&update(&[found(16.0, 10.0)])), [1]);
        assert_eq!(ids(&update(&[found(16.0, 10.0), found(83.0, 11.0)])), [1, 3]);
    }

    #[test]
    fn the_best_pairs_are_made_first() {
        let mut tracker = Tracker::new(settings(Motion::Velocity));
        let blank = Picture::filled(160, 120, Channels::Grey, FLAT);
        tracker.update(&blank, Some(&[found(10.0, 10.0), found(22.0, 10.0)]));
        // The first box is alike to both tracks, and most to the second.
        let tracks = tracker.update(&blank, Some(&[found(20.0, 10.0), found(10.0, 12.0)]));
        let lefts: Vec<f32> = tracks.iter().map(|track| track.detection.area.left).collect();
        assert_eq!((ids(&tracks), lefts), (vec![1, 2], vec![10.0, 20.0]));
    }

    #[test]
    fn a_speed_is_kept_between_detections() {
        let mut tracker = Tracker::new(settings(Motion::Velocity));
        let blank = Picture::filled(160, 120, Channels::Grey, FLAT);
        for step in 0..12 {
            tracker.update(&blank, Some(&[found(10.0 + 4.0 * step as f32, 30.0)]));
        }
        let left = |tracks: &[Track]| tracks[0].detection.area.left;
        let first = left(&tracker.update(&blank, None));
        let second = left(&tracker.update(&blank, None));
        assert!((first - 58.0).abs() < 0.05 && (second - 62.0).abs() < 0.05, "{first} {second}");
        // And at last it leaves the picture.
        for _ in 0..40 {
            tracker.update(&blank, None);
        }
        assert_eq!(tracker.update(&blank, None), []);
    }

    #[test]
    fn a_template_is_found_where_the_speed_says_nothing() {
        let mut tracker = Tracker::new(settings(Motion::Template));
        let mut seen = found(50.0, 40.0);
        seen.landmarks = Some([Point { x: 55.0, y: 45.0 }; 5]);
        tracker.update(&frame(50, 40), Some(&[seen]));
        for (left, top) in [(53, 38), (57, 35), (58, 41), (52, 44)] {
            let tracks = tracker.update(&frame(left, top), None);
            let area = tracks[0].detection.area;
            let off = (area.left - left as f32).abs().max((area.top - top as f32).abs());
            assert!(off < 0.8, "{area:?} instead of {left}, {top}");
            let mark = tracks[0].detection.landmarks.unwrap()[0];
            assert!(
                (mark.x - area.left - 5.0).abs() < 1e-3 && (mark.y - area.top - 5.0).abs() < 1e-3
            );
            assert!(!tracks[0].fresh);
        }
        // The thing is gone: the box stays near, and nothing is made up.
        let blank = Picture::filled(160, 120, Channels::Grey, FLAT);
        assert_eq!(tracker.update(&blank, None).len(), 1);
    }

    #[test]
    fn a_template_may_leave_the_picture_and_nothing_panics() {
        let mut tracker = Tracker::new(settings(Motion::Template));
        tracker.update(&frame(135, 50), Some(&[found(135.0, 50.0)]));
        for left in [138, 140] {
            tracker.update(&frame(left, 50), None);
        }
        for odd in [f32::NAN, -1e9, 1e30] {
            let area = Rect { left: odd, top: 1.0, width: 20.0, height: odd };
            tracker.update(&frame(140, 50), Some(&[Detection { area, ..found(0.0, 0.0) }]));
            tracker.update(&Picture::filled(1, 1, Channels::Rgb, FLAT), None);
        }
    }

    /// Finds one thing and counts how often it was asked.
    struct Counting(std::sync::Arc<std::sync::atomic::AtomicUsize>);

    impl Detector for Counting {
        fn detect(&mut self, _: &Picture) -> Result<Vec<Detection>, DetectError> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(vec![found(10.0, 10.0)])
        }

        fn name(&self) -> String {
            "counting".to_owned()
        }
    }

    #[test]
    fn the_detector_runs_on_every_kth_picture() {
        let asked = std::sync::Arc::default();
        let counting = Box::new(Counting(std::sync::Arc::clone(&asked)));
        let settings = TrackSettings { every: 3, ..settings(Motion::Velocity) };
        let mut tracking = TrackingDetector::new(counting, settings);
        let blank = Picture::filled(160, 120, Channels::Grey, FLAT);
        let fresh: Vec<bool> = (0..7)
            .map(|_| {
                let tracks = tracking.next(&blank).unwrap();
                assert_eq!(ids(&tracks), [1]);
                tracks[0].fresh
            })
            .collect();
        assert_eq!(fresh, [true, false, false, true, false, false, true]);
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 3);
    }
}
