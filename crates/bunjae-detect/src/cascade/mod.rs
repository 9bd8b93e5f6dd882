//! OpenCV's cascades: boosted trees over differences of brightness, in windows of every size.
//!
//! A [`Cascade`] is what a file says; a [`CascadeDetector`] looks with it through pictures. It tries
//! the same windows as OpenCV's `CascadeClassifier::detectMultiScale` and comes to the same boxes:
//! sizes grow by a factor, the picture is shrunk instead of the window enlarged, windows lie two
//! pixels of the shrunk picture apart up to a factor of 2 and one pixel from there, and a window
//! whose left neighbour failed in the first stage is left out. What is left is grouped by
//! [`group`].
//!
//! What is different is how it is computed. The first stages, in which nearly all windows fail, are
//! evaluated for a whole row of windows at a time, one corner of one rectangle being a run of
//! neighbouring numbers in the integral image; the few windows that remain go on one by one.

mod evaluate;
mod group;
mod integral;
mod model;
mod plan;
mod pyramid;
mod read;

use bunjae_data::{Channels, Picture};

use crate::detection::{DetectError, Detection, Detector, Rect, sort};
pub use group::{Group, Window, group};
pub use model::Cascade;
pub use read::{CascadeError, CascadeProblem};

use evaluate::Search;

/// The most windows that may pass before they are grouped. Where a cascade lets more through, it is
/// not one for such pictures, and grouping would take as long as it likes.
const MAX_PASSED: usize = 50_000;

/// Windows of equal meaning are no further apart than this share of their sides.
const LIKENESS: f64 = 0.2;

/// How a cascade looks through a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CascadeSettings {
    /// From one size of windows to the next; above 1. Nearer to 1 finds more and takes longer.
    pub scale_factor: f64,
    /// A box is made of more windows than this, each like another of them. With 0 every window that
    /// passes is a box.
    pub min_neighbours: usize,
    /// The smallest windows, width and height in pixels; 0 for the cascade's own size.
    pub min_size: [usize; 2],
    /// The largest windows, width and height in pixels; 0 for those of the picture's size.
    pub max_size: [usize; 2],
}

impl Default for CascadeSettings {
    /// OpenCV's: sizes 1.1 apart, more than 3 neighbours, any size.
    fn default() -> Self {
        let (min_size, max_size) = ([0; 2], [0; 2]);
        CascadeSettings { scale_factor: 1.1, min_neighbours: 3, min_size, max_size }
    }
}

/// Looks for faces, or whatever the cascade was trained on, with a [`Cascade`].
pub struct CascadeDetector {
    settings: CascadeSettings,
    search: Search,
}

impl CascadeDetector {
    /// A detector with its memory, which grows with the pictures it is shown.
    ///
    /// # Errors
    /// [`CascadeProblem::ScaleFactor`] where sizes would not grow by at least a thousandth.
    pub fn new(
        cascade: Cascade,
        settings: CascadeSettings,
    ) -> Result<CascadeDetector, CascadeProblem> {
        let factor = settings.scale_factor;
        if !(1.001..=1e6).contains(&factor) {
            return Err(CascadeProblem::ScaleFactor(factor));
        }
        Ok(CascadeDetector { settings, search: Search::new(cascade) })
    }

    /// The cascade.
    pub fn cascade(&self) -> &Cascade {
        self.search.cascade()
    }

    /// How it looks.
    pub fn settings(&self) -> &CascadeSettings {
        &self.settings
    }

    /// Every window that passes all stages, from the smallest size to the largest, in the order of
    /// rows and columns.
    ///
    /// # Errors
    /// [`DetectError::TooMany`].
    pub fn windows(&mut self, grey: &Picture) -> Result<Vec<Window>, DetectError> {
        let scales = pyramid::scales(
            self.search.cascade().window(),
            [grey.width(), grey.height()],
            &self.settings,
        );
        self.search.windows(grey, &scales, MAX_PASSED)
    }
}

impl Detector for CascadeDetector {
    fn detect(&mut self, picture: &Picture) -> Result<Vec<Detection>, DetectError> {
        let windows = match picture.channels() {
            Channels::Grey => self.windows(picture)?,
            Channels::Rgb => self.windows(&picture.clone().into_channels(Channels::Grey))?,
        };
        let groups = group(&windows, self.settings.min_neighbours, LIKENESS);
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        let detection = |group: Group| {
            let Window { left, top, width: columns, height: rows } = group.window;
            let (left, top) = (left as f32, top as f32);
            // Rounding may put a window over the edge by a pixel.
            let area = Rect {
                left: left.max(0.0),
                top: top.max(0.0),
                width: (left + columns as f32).min(width) - left.max(0.0),
                height: (top + rows as f32).min(height) - top.max(0.0),
            };
            Detection { area, score: group.count as f32, class: 0, landmarks: None }
        };
        let mut found: Vec<Detection> = groups.into_iter().map(detection).collect();
        found.retain(|found| found.area.area() > 0.0);
        sort(&mut found);
        Ok(found)
    }

    fn name(&self) -> String {
        let cascade = self.search.cascade();
        let [width, height] = cascade.window();
        let stages = cascade.stages();
        let plural = if stages == 1 { "" } else { "s" };
        format!("{} cascade, {stages} stage{plural}, windows of {width} x {height}", cascade.kind())
    }
}
