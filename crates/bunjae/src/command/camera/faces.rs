//! Which faces a camera sees: the detector that was asked for, and who is followed.

use std::path::PathBuf;
use std::sync::Arc;

use bunjae_camera::{Finder, Found};
use bunjae_data::Picture;
use bunjae_detect::{
    Cascade, CascadeDetector, CascadeSettings, Detector, NetworkDetector, NetworkSettings,
    TrackSettings, TrackingDetector,
};
use bunjae_ir::Bindings;
use clap::Args;

use crate::args::{positive, share};
use crate::failure::{Failure, Fallible};
use crate::output::Output;
use crate::runnable::{Compiling, Runnable};

/// Where faces are looked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Faces")]
pub(super) struct Faces {
    /// Find faces first: with a cascade of OpenCV (.xml), or YuNet or UltraFace as ONNX. Without
    /// one, the models see the whole frame
    #[arg(long, value_name = "FILE")]
    detector: Option<PathBuf>,
    /// Run the detector on every K-th frame, and follow faces on those between
    #[arg(long, value_name = "K", value_parser = positive, default_value = "1", requires = "detector")]
    every: std::num::NonZeroUsize,
    /// How much around a face the models see, on each side, as a share of its width and height
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0", requires = "detector")]
    margin: f64,
    /// The least score of a face, of networks [default: 0.5]
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "detector")]
    score: Option<f64>,
}

impl Faces {
    /// The detector, where one is asked for.
    pub(super) fn finder(
        &self,
        compiling: &Compiling,
        threads: usize,
        output: &Output,
    ) -> Fallible<Option<Box<dyn Finder>>> {
        let Some(path) = &self.detector else { return Ok(None) };
        let shown = path.display();
        let is_cascade = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("xml"));
        let detector: Box<dyn Detector> = if is_cascade {
            if self.score.is_some() {
                let what = format!("`--score` means nothing here: {shown} is a cascade");
                return Err(Failure::new(what));
            }
            let cascade = Cascade::read(path).map_err(Failure::new)?;
            let detector = CascadeDetector::new(cascade, CascadeSettings::default());
            Box::new(detector.map_err(|error| Failure::new(format!("{shown}: {error}")))?)
        } else {
            let runnable = Runnable::open(path, compiling, output)?;
            let network = Arc::new(runnable.into_network(compiling, threads, Bindings::new())?);
            let threads = match threads {
                0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
                threads => threads,
            };
            let mut settings = NetworkSettings::default();
            if let Some(score) = self.score {
                settings.score = score as f32;
            }
            let detector = NetworkDetector::new(network, settings, threads);
            Box::new(detector.map_err(|error| Failure::new(format!("{shown}: {error}")))?)
        };
        let settings = TrackSettings { every: self.every.get(), ..TrackSettings::default() };
        let margin = self.margin as f32;
        let detector = TrackingDetector::new(detector, settings);
        Ok(Some(Box::new(Followed { detector, margin })))
    }
}

/// Faces that are followed from frame to frame.
struct Followed {
    detector: TrackingDetector,
    margin: f32,
}

impl Finder for Followed {
    fn name(&self) -> String {
        self.detector.detector().name()
    }

    fn find(&mut self, picture: &Picture) -> Result<Vec<Found>, String> {
        let tracks = self.detector.next(picture).map_err(|error| error.to_string())?;
        let (width, height) = (picture.width(), picture.height());
        let found = |track: &bunjae_detect::Track| {
            let detection = &track.detection;
            Some(Found {
                area: detection.area.region(width, height)?,
                crop: detection.area.grown(self.margin).region(width, height)?,
                score: Some(detection.score),
                track: Some(track.id),
            })
        };
        Ok(tracks.iter().filter(|track| track.missed == 0).filter_map(found).collect())
    }
}
