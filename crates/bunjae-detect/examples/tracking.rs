//! How well boxes are carried over the pictures between two detections:
//!
//! ```sh
//! cargo run --release -p bunjae-detect --example tracking -- yunet_n_dynamic.onnx FRAMES...
//! ```
//!
//! FRAMES are folders of pictures in the order of names. The detector runs on every picture for the
//! truth; then on every k-th, and on the pictures between, each face of the truth is compared with
//! the track that overlaps it most: the mean overlap (IoU), and the share of 0.5 and more.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made ends here")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bunjae_data::decode::{Limits, decode};
use bunjae_data::{Channels, Picture};
use bunjae_detect::{
    Detection, Detector, Motion, NetworkDetector, NetworkSettings, TrackSettings, Tracker,
};
use bunjae_engine::{CompileOptions, Network};

fn frames(folder: &Path) -> Vec<Picture> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let picture = |path: &PathBuf| {
        decode(&std::fs::read(path).unwrap(), Channels::Rgb, Limits::default()).unwrap()
    };
    paths.iter().map(picture).collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let model = PathBuf::from(arguments.next().unwrap());
    let imported = bunjae_onnx::import(&model, &bunjae_onnx::Limits::default()).unwrap();
    let network = Network::compile(&imported.graph, &CompileOptions::default()).unwrap();
    let mut detector =
        NetworkDetector::new(Arc::new(network), NetworkSettings::default(), 1).unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "frames, every, motion, faces, mean overlap, 0.5 and more, ms a picture")
        .unwrap();
    for folder in arguments.map(PathBuf::from) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let pictures = frames(&folder);
        let truth: Vec<Vec<Detection>> =
            pictures.iter().map(|picture| detector.detect(picture).unwrap()).collect();
        for every in [2, 5, 10] {
            for motion in [Motion::Velocity, Motion::Template] {
                let settings = TrackSettings { every, motion, ..TrackSettings::default() };
                let mut tracker = Tracker::new(settings);
                let (mut faces, mut sum, mut good, mut seconds, mut between) = (0, 0.0, 0, 0.0, 0);
                for (at, (picture, found)) in pictures.iter().zip(&truth).enumerate() {
                    let due = at % every == 0;
                    let start = Instant::now();
                    let tracks = tracker.update(picture, due.then_some(found));
                    if due {
                        continue;
                    }
                    seconds += start.elapsed().as_secs_f64();
                    between += 1;
                    for face in found {
                        let best = tracks
                            .iter()
                            .map(|track| track.detection.area.overlap(&face.area))
                            .fold(0.0, f32::max);
                        faces += 1;
                        sum += f64::from(best);
                        good += usize::from(best >= 0.5);
                    }
                }
                let mean = sum / f64::from(faces);
                let share = good as f64 / f64::from(faces);
                let ms = 1e3 * seconds / f64::from(between.max(1));
                writeln!(
                    out,
                    "{name}, {every}, {motion:?}, {faces}, {mean:.3}, {share:.3}, {ms:.3}"
                )
                .unwrap();
            }
        }
    }
}
