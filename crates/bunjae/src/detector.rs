//! Detectors as the commands name them: a cascade, a network, or none.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bunjae_detect::{
    Cascade, CascadeDetector, CascadeSettings, Detector, NetworkDetector, NetworkError,
    NetworkSettings, WholeFrame,
};
use bunjae_ir::Bindings;
use clap::Args;

use crate::args::share;
use crate::failure::{Failure, Fallible};
use crate::output::Output;
use crate::runnable::{Compiling, Runnable, without_hint};

/// What stands for no detector.
const NONE: &str = "none";

/// How a detector looks; what is not said is as its authors have it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Detector")]
pub(crate) struct Detecting {
    /// Networks: the least score of what counts as found [default: 0.5]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_score: Option<f64>,
    /// Networks: of boxes that overlap by more (IoU) the better one stays [default: 0.3]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    overlap: Option<f64>,
    /// Networks that take any size: the longer side that pictures are brought to, in pixels
    /// [default: 640]
    #[arg(long, value_name = "PIXELS")]
    longer_side: Option<usize>,
    /// Cascades: from one size of windows to the next [default: 1.1]
    #[arg(long, value_name = "FACTOR")]
    scale_factor: Option<f64>,
    /// Cascades: a face is more windows than this beside each other [default: 3]
    #[arg(long, value_name = "N")]
    neighbours: Option<usize>,
    /// Cascades: the smallest faces, in pixels of their sides [default: as small as can be]
    #[arg(long, value_name = "PIXELS")]
    min_face: Option<usize>,
    /// Cascades: the largest faces, in pixels of their sides [default: as the picture]
    #[arg(long, value_name = "PIXELS")]
    max_face: Option<usize>,
}

impl Detecting {
    /// Opens a detector: a cascade of OpenCV (XML), a network (ONNX, or what `bunjae compile`
    /// wrote), or with the word `none` the whole frame.
    pub(crate) fn open(
        &self,
        path: &Path,
        compiling: &Compiling,
        threads: usize,
        output: &Output,
    ) -> Fallible<Box<dyn Detector>> {
        if path.as_os_str() == NONE {
            self.refuse(path, "the whole frame", &self.all())?;
            return Ok(Box::new(WholeFrame));
        }
        if is_xml(path) {
            self.refuse(path, "a cascade", &self.for_networks())?;
            return self.cascade(path);
        }
        self.refuse(path, "a network", &self.for_cascades())?;
        let runnable = Runnable::open(path, compiling, output)?;
        let shown = runnable.path.display().to_string();
        let network = runnable.into_network(compiling, threads, Bindings::new())?;
        let usual = NetworkSettings::default();
        let settings = NetworkSettings {
            score: self.min_score.map_or(usual.score, |score| score as f32),
            overlap: self.overlap.map_or(usual.overlap, |overlap| overlap as f32),
            longer_side: self.longer_side.unwrap_or(usual.longer_side),
            ..usual
        };
        match NetworkDetector::new(Arc::new(network), settings, threads) {
            Ok(detector) => Ok(Box::new(detector)),
            Err(error) => {
                let failure = Failure::new(format!("{shown}: {}", without_hint(&error)));
                Err(match error {
                    NetworkError::Unknown { .. } => failure.hint(
                        "a detector is a cascade of OpenCV (XML), YuNet or UltraFace (ONNX), or \
                         `none` for the whole frame",
                    ),
                    _ => failure,
                })
            }
        }
    }

    fn cascade(&self, path: &Path) -> Fallible<Box<dyn Detector>> {
        let cascade = Cascade::read(path).map_err(Failure::new)?;
        let usual = CascadeSettings::default();
        let settings = CascadeSettings {
            scale_factor: self.scale_factor.unwrap_or(usual.scale_factor),
            min_neighbours: self.neighbours.unwrap_or(usual.min_neighbours),
            min_size: self.min_face.map_or(usual.min_size, |side| [side; 2]),
            max_size: self.max_face.map_or(usual.max_size, |side| [side; 2]),
        };
        let detector = CascadeDetector::new(cascade, settings);
        Ok(Box::new(
            detector.map_err(|problem| Failure::new(format!("--scale-factor: {problem}")))?,
        ))
    }

    fn for_networks(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("--min-score", self.min_score.is_some()),
            ("--overlap", self.overlap.is_some()),
            ("--longer-side", self.longer_side.is_some()),
        ]
    }

    fn for_cascades(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("--scale-factor", self.scale_factor.is_some()),
            ("--neighbours", self.neighbours.is_some()),
            ("--min-face", self.min_face.is_some()),
            ("--max-face", self.max_face.is_some()),
        ]
    }

    fn all(&self) -> Vec<(&'static str, bool)> {
        [self.for_networks(), self.for_cascades()].concat()
    }

    /// An option that would do nothing is a mistake.
    fn refuse(&self, path: &Path, kind: &str, options: &[(&str, bool)]) -> Fallible<()> {
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) => {
                let what = format!("`{option}` means nothing here: {} is {kind}", path.display());
                Err(Failure::new(what))
            }
            None => Ok(()),
        }
    }
}

/// Whether a file is XML, by how it begins. What cannot be read is not, and is reported by whoever
/// reads on.
fn is_xml(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = path.is_file()
        && File::open(path).is_ok_and(|file| file.take(256).read_to_end(&mut start).is_ok());
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
    let named = path.extension().is_some_and(|ending| ending == "xml");
    read && (text.starts_with(b"<") || named)
}
