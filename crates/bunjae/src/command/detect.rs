//! `bunjae detect`: pictures in, boxes out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bunjae_data::decode::Limits;
use bunjae_data::{Channels, Picture, Region, Source};
use bunjae_detect::truth::{Fit, Protocol, read_voc};
use bunjae_detect::{Detection, Detector, Rect};
use clap::Args;
use serde::Serialize;

use crate::args::{positive, share};
use crate::command::Outcome;
use crate::command::predict::outcome;
use crate::detector::Detecting;
use crate::failure::{Failure, Fallible};
use crate::interrupt::uninterrupted;
use crate::number::{percent, thousands};
use crate::output::{Output, Report, SCHEMA_VERSION};
use crate::page::{Align, Page, Table, printable};
use crate::runnable::Compiling;

/// Find the faces on pictures
///
/// The detector is a cascade of OpenCV (Haar or LBP, XML), a network (YuNet or UltraFace: an ONNX
/// file, or what `bunjae compile` made of one), or the word `none` for the whole frame. Pictures are
/// JPEG, PNG, WebP, BMP or GIF files, or folders of them, which are walked in the order of names.
///
/// One line for each face: where it is, in pixels, and how sure the detector is (networks give 0 to
/// 1, cascades the number of windows). As JSON, one document for each picture, on a line. A picture
/// that cannot be decoded is named on stderr and left out, and the exit code is then 1.
///
/// With --against, the boxes are not listed but compared with those that somebody has drawn.
#[derive(Debug, Args)]
#[command(after_help = "Examples: bunjae detect yunet.onnx party.jpg --draw found\n  \
    bunjae detect haarcascade_frontalface_default.xml album/ --format json\n  \
    bunjae detect yunet.onnx images/ --against annotations/ --least-side 24")]
pub(crate) struct Detect {
    /// The detector: a cascade (XML), a network (ONNX or compiled), or `none`
    detector: PathBuf,
    /// Pictures, and folders of pictures
    #[arg(required = true, value_name = "PICTURE|FOLDER")]
    pictures: Vec<PathBuf>,
    /// Write each picture with its boxes into this folder, as PNG
    #[arg(long, value_name = "DIR")]
    draw: Option<PathBuf>,
    #[command(flatten)]
    scoring: Scoring,
    #[command(flatten)]
    detecting: Detecting,
    /// The threads that compute [default: all of the machine]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Engine")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    compiling: Compiling,
}

/// Comparison with what people have marked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scoring")]
struct Scoring {
    /// The folder with the marked boxes: for each picture a file of its name in the XML of Pascal VOC
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// How much a box has to overlap with a marked one (IoU) to count as the same
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.5", requires = "against")]
    match_overlap: f64,
    /// What is marked with a shorter side below this many pixels need not be found
    #[arg(long, value_name = "PIXELS", default_value = "0", requires = "against")]
    least_side: u32,
    /// Fail with exit code 1 where a lower share of what is marked is found
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "against")]
    min_recall: Option<f64>,
}

impl Detect {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let pictures = self.sources(output)?;
        let threads = match self.threads {
            Some(threads) => threads.get(),
            None => thread::available_parallelism().map_or(1, NonZeroUsize::get),
        };
        let mut detector = self.detecting.open(&self.detector, &self.compiling, threads, output)?;
        if let Some(folder) = &self.draw {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
        }
        match &self.scoring.against {
            Some(marked) => self.score(&mut *detector, &pictures, marked, output),
            None => self.list(&mut *detector, &pictures, output),
        }
    }

    /// The pictures in the order given, those of a folder in the order of their names.
    fn sources(&self, output: &Output) -> Fallible<Vec<PathBuf>> {
        let mut pictures = Vec::new();
        for path in &self.pictures {
            if !path.is_dir() {
                pictures.push(path.clone());
                continue;
            }
            let found = bunjae_data::layout::unlabelled(path).map_err(Failure::new)?;
            for skipped in &found.skipped {
                output.note(&format!("note: {}: {}", skipped.path.display(), skipped.why));
            }
            pictures.extend(found.items.into_iter().filter_map(|item| match item.source {
                Source::File(path) => Some(path),
                Source::Record { .. } => None,
            }));
        }
        Ok(pictures)
    }

    /// Prints the boxes as they are found.
    fn list(
        &self,
        detector: &mut dyn Detector,
        pictures: &[PathBuf],
        output: &Output,
    ) -> Fallible<Outcome> {
        let mut drawn = Drawn::new(self.draw.as_deref());
        let mut broken = 0;
        for path in pictures {
            let shown = path.display().to_string();
            let picture = match decoded(path) {
                Ok(picture) => picture,
                Err(why) => {
                    broken += 1;
                    output.failure(&Failure::new(format!("{shown}: {why}")));
                    if output.is_json() && !output.stream(&Line::broken(&shown, why).json()?)? {
                        return Ok(Outcome::Done);
                    }
                    continue;
                }
            };
            let found = detect(detector, &picture, &shown)?;
            drawn.write(path, &picture, &found)?;
            let text = match output.is_json() {
                true => Line::found(&shown, &picture, &found, detector).json()?,
                false => lines(&shown, &found, detector),
            };
            if !output.stream(&text)? {
                return Ok(Outcome::Done);
            }
        }
        Ok(outcome(broken, pictures.len(), output))
    }

    /// Compares the boxes with those that are marked.
    fn score(
        &self,
        detector: &mut dyn Detector,
        pictures: &[PathBuf],
        marked: &Path,
        output: &Output,
    ) -> Fallible<Outcome> {
        let Scoring { match_overlap, least_side, .. } = self.scoring;
        let protocol = Protocol { overlap: match_overlap as f32, least_side: least_side as f32 };
        let mut fit = Fit::new(protocol);
        let mut drawn = Drawn::new(self.draw.as_deref());
        let mut spent = Duration::ZERO;
        let bar = output.bar(pictures.len(), "pictures");
        for path in pictures {
            let shown = path.display().to_string();
            let picture = decoded(path).map_err(|why| Failure::new(format!("{shown}: {why}")))?;
            let mut name = path.file_stem().unwrap_or_default().to_owned();
            name.push(".xml");
            let file = marked.join(name);
            let marked = read_voc(&file).map_err(|error| {
                Failure::new(error)
                    .hint(format!("`--against` takes what is marked on {shown} from it"))
            })?;
            let before = Instant::now();
            let found = detect(detector, &picture, &shown)?;
            spent += before.elapsed();
            fit.add(&found, &marked);
            drawn.write(path, &picture, &found)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        let scored = Scored::new(self, detector, pictures.len(), &fit, spent);
        let passed = scored.passed;
        output.report(&scored)?;
        Ok(if passed { Outcome::Done } else { Outcome::CheckFailed })
    }
}

fn decoded(path: &Path) -> Result<Picture, String> {
    let source = Source::File(path.to_owned());
    source.picture(Channels::Rgb, Limits::default()).map_err(|error| error.to_string())
}

fn detect(detector: &mut dyn Detector, picture: &Picture, shown: &str) -> Fallible<Vec<Detection>> {
    detector.detect(picture).map_err(|error| Failure::new(format!("{shown}: {error}")))
}

/// The name of what was found.
fn class(found: &Detection, detector: &dyn Detector) -> &'static str {
    detector.classes().get(found.class).copied().unwrap_or("face")
}

/// What is said about one picture: a line for each box.
fn lines(picture: &str, found: &[Detection], detector: &dyn Detector) -> String {
    let picture = printable(picture);
    if found.is_empty() {
        return format!("{picture}: nothing\n");
    }
    let mut text = String::new();
    for one in found {
        let Rect { left, top, width, height } = one.area;
        // Cascades count windows; networks give shares.
        let score = match one.score {
            score if score.fract() == 0.0 && score > 1.0 => format!("{score}"),
            score => format!("{score:.3}"),
        };
        let class = class(one, detector);
        let _ = writeln!(
            text,
            "{picture}: {class} {score} at {left:.0}, {top:.0}, {width:.0} x {height:.0}"
        );
    }
    text
}

/// What is said about one picture, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    command: &'static str,
    picture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detections: Option<Vec<Found>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct Found {
    class: &'static str,
    score: f32,
    left: f32,
    top: f32,
    width: f32,
    height: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    landmarks: Option<Vec<[f32; 2]>>,
}

impl<'a> Line<'a> {
    fn new(picture: &'a str) -> Line<'a> {
        Line {
            schema_version: SCHEMA_VERSION,
            command: "detect",
            picture,
            width: None,
            height: None,
            detections: None,
            error: None,
        }
    }

    fn found(
        shown: &'a str,
        picture: &Picture,
        found: &[Detection],
        detector: &dyn Detector,
    ) -> Line<'a> {
        let one = |found: &Detection| {
            let Rect { left, top, width, height } = found.area;
            let marks = found.landmarks.map(|marks| marks.map(|mark| [mark.x, mark.y]).to_vec());
            let class = class(found, detector);
            Found { class, score: found.score, left, top, width, height, landmarks: marks }
        };
        Line {
            width: Some(picture.width()),
            height: Some(picture.height()),
            detections: Some(found.iter().map(one).collect()),
            ..Line::new(shown)
        }
    }

    fn broken(shown: &'a str, error: String) -> Line<'a> {
        Line { error: Some(error), ..Line::new(shown) }
    }

    fn json(&self) -> Fallible<String> {
        serde_json::to_string(self).map(|text| text + "\n").map_err(Failure::new)
    }
}

/// How the boxes fit what is marked.
#[derive(Serialize)]
struct Scored {
    detector: String,
    kind: String,
    pictures: usize,
    match_overlap: f64,
    least_side: u32,
    labels: Vec<Label>,
    /// Of everything that is marked and large enough.
    recall: Option<f64>,
    right: usize,
    wrong: usize,
    precision: Option<f64>,
    /// For a picture, decoding aside.
    mean_ms: f64,
    min_recall: Option<f64>,
    passed: bool,
}

#[derive(Serialize)]
struct Label {
    label: String,
    marked: usize,
    found: usize,
    recall: Option<f64>,
}

impl Scored {
    fn new(
        asked: &Detect,
        detector: &dyn Detector,
        pictures: usize,
        fit: &Fit,
        spent: Duration,
    ) -> Scored {
        let labels: Vec<Label> = fit
            .labels
            .iter()
            .map(|(label, found)| Label {
                label: label.clone(),
                marked: found.marked,
                found: found.found,
                recall: fit.recall(label),
            })
            .collect();
        let [marked, found] = [0, 1]
            .map(|at| labels.iter().map(|label| [label.marked, label.found][at]).sum::<usize>());
        let recall = (marked > 0).then(|| found as f64 / marked as f64);
        let min_recall = asked.scoring.min_recall;
        Scored {
            detector: asked.detector.display().to_string(),
            kind: detector.name(),
            pictures,
            match_overlap: asked.scoring.match_overlap,
            least_side: asked.scoring.least_side,
            labels,
            recall,
            right: fit.right,
            wrong: fit.wrong,
            precision: fit.precision(),
            mean_ms: 1e3 * spent.as_secs_f64() / pictures.max(1) as f64,
            min_recall,
            // Where nothing is marked, nothing was missed.
            passed: min_recall.is_none_or(|least| recall.is_none_or(|recall| recall >= least)),
        }
    }
}

impl Report for Scored {
    const COMMAND: &'static str = "detect";

    fn write(&self, page: &mut Page) {
        let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
        let mut marked = format!("boxes that overlap by {} count", percent(self.match_overlap));
        if self.least_side > 0 {
            let _ = write!(marked, "; sides of {} pixels and more", self.least_side);
        }
        page.fields([
            ("detector", format!("{}: {}", self.detector, self.kind)),
            ("pictures", thousands(self.pictures as u64)),
            ("compared", marked),
            ("recall", share(self.recall)),
            ("precision", share(self.precision)),
            ("time", format!("{:.2} ms a picture", self.mean_ms)),
        ]);
        page.gap();
        let mut table = Table::new([
            ("marked as", Align::Left),
            ("boxes", Align::Right),
            ("found", Align::Right),
            ("recall", Align::Right),
        ]);
        for label in &self.labels {
            let counts = [label.marked, label.found].map(|count| thousands(count as u64));
            let [marked, found] = counts;
            table.row([label.label.clone(), marked, found, share(label.recall)]);
        }
        page.table(&table);
    }
}

/// Pictures with boxes, in a folder.
struct Drawn<'a> {
    folder: Option<&'a Path>,
    /// How often each name was used: pictures of several folders may be called the same.
    names: BTreeMap<String, usize>,
}

impl<'a> Drawn<'a> {
    fn new(folder: Option<&'a Path>) -> Drawn<'a> {
        Drawn { folder, names: BTreeMap::new() }
    }

    fn write(&mut self, path: &Path, picture: &Picture, found: &[Detection]) -> Fallible<()> {
        let Some(folder) = self.folder else { return Ok(()) };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let count = self.names.entry(stem.clone()).or_default();
        *count += 1;
        let name = match *count {
            1 => format!("{stem}.png"),
            count => format!("{stem}-{count}.png"),
        };
        let target = folder.join(name);
        let mut bytes = Vec::new();
        bunjae_data::encode::png(&drawn(picture, found), &mut bytes)
            .map_err(|error| Failure::new(format!("{}: {error}", target.display())))?;
        uninterrupted(|| bunjae_files::write(&target, &bytes)).map_err(Failure::new)
    }
}

/// The picture with a frame around each box, and its landmarks.
fn drawn(picture: &Picture, found: &[Detection]) -> Picture {
    const FRAME: [u8; 3] = [0, 220, 90];
    const MARK: [u8; 3] = [250, 60, 60];
    let mut drawn = picture.clone().into_channels(Channels::Rgb);
    let thick = (picture.width().max(picture.height()) / 300).clamp(1, 6) as f32;
    for one in found {
        let Rect { left, top, width, height } = one.area;
        let side = |left, top, width, height| Rect { left, top, width, height };
        for line in [
            side(left, top, width, thick),
            side(left, one.area.bottom() - thick, width, thick),
            side(left, top, thick, height),
            side(one.area.right() - thick, top, thick, height),
        ] {
            fill(&mut drawn, &line, FRAME);
        }
        for mark in one.landmarks.iter().flatten() {
            let dot = side(mark.x - thick, mark.y - thick, 2.0 * thick, 2.0 * thick);
            fill(&mut drawn, &dot, MARK);
        }
    }
    drawn
}

fn fill(picture: &mut Picture, area: &Rect, colour: [u8; 3]) {
    let Some(region) = area.region(picture.width(), picture.height()) else { return };
    let Region { left, top, width, height } = region;
    let stride = picture.stride();
    for row in picture.samples_mut().chunks_exact_mut(stride).skip(top).take(height) {
        let (pixels, _) = row.as_chunks_mut::<3>();
        pixels[left..left + width].fill(colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_drawn_and_cut_off_at_the_edge() {
        let picture = Picture::filled(12, 8, Channels::Grey, [0; 3]);
        let area = Rect { left: 2.0, top: 1.0, width: 5.0, height: 20.0 };
        let found = Detection { area, score: 1.0, class: 0, landmarks: None };
        let drawn = drawn(&picture, &[found]);
        let bright = |x: usize, y: usize| drawn.samples()[y * 36 + 3 * x + 1] > 0;
        assert!(bright(2, 1) && bright(6, 1) && bright(2, 7) && bright(4, 1));
        assert!(!bright(4, 3) && !bright(7, 1) && !bright(1, 1) && !bright(4, 7));
    }
}
