//! The time of cascades beside OpenCV's, on one thread and on the same grey pictures:
//!
//! ```sh
//! cargo run --release -p bunjae-detect --example beside_opencv -- \
//!     PYTHON PICTURES COUNT cascade.xml...
//! ```
//!
//! PICTURES is a folder, of which COUNT pictures are taken. Both sides are asked by turns, five times
//! each, and the median of the means over all pictures is printed, in milliseconds a picture.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made ends here")]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use bunjae_data::decode::{Limits, decode};
use bunjae_data::{Channels, Picture};
use bunjae_detect::{Cascade, CascadeDetector, CascadeSettings, Detector};

const ROUNDS: usize = 5;

/// Answers each line on stdin with the seconds that all pictures took, and the boxes found.
const SCRIPT: &str = r#"
import sys, time, cv2
cv2.setNumThreads(1)
cascade = cv2.CascadeClassifier(sys.argv[1])
pictures = [cv2.imread(path, cv2.IMREAD_UNCHANGED) for path in sys.argv[2:]]
for line in sys.stdin:
    start = time.perf_counter()
    boxes = sum(len(cascade.detectMultiScale(picture)) for picture in pictures)
    print(time.perf_counter() - start, boxes, flush=True)
"#;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let python = arguments.next().unwrap();
    let folder = arguments.next().unwrap();
    let count: usize = arguments.next().unwrap().parse().unwrap();
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let every = (paths.len() / count).max(1);
    let scratch = tempfile::tempdir().unwrap();
    let mut pictures: Vec<Picture> = Vec::new();
    let mut files = Vec::new();
    for (at, path) in paths.iter().step_by(every).take(count).enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let grey = decode(&bytes, Channels::Grey, Limits::default()).unwrap();
        let file = scratch.path().join(format!("{at}.pgm"));
        let mut bytes = format!("P5 {} {} 255\n", grey.width(), grey.height()).into_bytes();
        bytes.extend_from_slice(grey.samples());
        std::fs::write(&file, bytes).unwrap();
        files.push(file);
        pictures.push(grey);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "cascade, ours ms, OpenCV ms, ratio, boxes ours, boxes OpenCV").unwrap();
    for path in arguments {
        let cascade = Cascade::read(path.as_ref()).unwrap();
        let mut detector = CascadeDetector::new(cascade, CascadeSettings::default()).unwrap();
        let mut child = Command::new(&python)
            .args(["-c", SCRIPT, &path])
            .args(&files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ask = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut ours, mut theirs, mut boxes, mut their_boxes) = (Vec::new(), Vec::new(), 0, 0);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            boxes = pictures.iter().map(|grey| detector.detect(grey).unwrap().len()).sum();
            ours.push(start.elapsed().as_secs_f64());
            writeln!(ask, "go").unwrap();
            let line = answers.next().unwrap().unwrap();
            let (seconds, found) = line.split_once(' ').unwrap();
            theirs.push(seconds.parse().unwrap());
            their_boxes = found.parse::<usize>().unwrap();
        }
        drop(ask);
        child.wait().unwrap();
        let median = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            1e3 * times[ROUNDS / 2] / pictures.len() as f64
        };
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        let name = PathBuf::from(&path);
        let name = name.file_stem().unwrap().to_string_lossy();
        let ratio = ours / theirs;
        writeln!(out, "{name}, {ours:.2}, {theirs:.2}, {ratio:.2}, {boxes}, {their_boxes}")
            .unwrap();
    }
}
