//! OpenCV as the outside judge of cascades: the same files, the same pictures, the same boxes.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bunjae_data::decode::{Limits, decode};
use bunjae_data::{Channels, Picture};
use bunjae_detect::cascade::Window;
use bunjae_detect::{Cascade, CascadeDetector, CascadeSettings, Detector};
use bunjae_tensor::Random;
use bunjae_testkit::{data_dir, python};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judge/opencv.py");

/// A picture to look through with a cascade.
struct Job {
    cascade: PathBuf,
    picture: PathBuf,
    settings: CascadeSettings,
}

/// A box and how many windows made it.
type Found = [i32; 5];

/// What OpenCV finds, job by job.
fn judged(python: &Path, folder: &Path, jobs: &[Job]) -> Vec<Vec<Found>> {
    let mut list = String::new();
    for Job { cascade, picture, settings } in jobs {
        let CascadeSettings { scale_factor, min_neighbours, min_size, max_size } = settings;
        let [cascade, picture] = [cascade, picture].map(|path| path.display());
        let ([w, h], [mw, mh]) = (min_size, max_size);
        let _ = writeln!(
            list,
            "{cascade}\t{picture}\t{scale_factor}\t{min_neighbours}\t{w}\t{h}\t{mw}\t{mh}"
        );
    }
    std::fs::write(folder.join("jobs.txt"), list).unwrap();
    let output = Command::new(python).arg(SCRIPT).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(folder.join("out.txt")).unwrap();
    let line = |line: &str| {
        let numbers: Vec<i32> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        numbers.as_chunks::<5>().0.to_vec()
    };
    let found: Vec<Vec<Found>> = text.lines().map(line).collect();
    assert_eq!(found.len(), jobs.len());
    found
}

fn write_pgm(path: &Path, grey: &Picture) {
    let mut bytes = format!("P5 {} {} 255\n", grey.width(), grey.height()).into_bytes();
    bytes.extend_from_slice(grey.samples());
    std::fs::write(path, bytes).unwrap();
}

/// The windows that pass, as OpenCV gives them without grouping.
fn windows(detector: &mut CascadeDetector, grey: &Picture) -> Vec<Found> {
    let found = detector.windows(grey).unwrap();
    let mut found: Vec<Found> = found
        .into_iter()
        .map(|Window { left, top, width, height }| {
            // OpenCV cuts off what is over the edge by rounding.
            let (right, bottom) = (grey.width() as i32, grey.height() as i32);
            [left, top, width.min(right - left), height.min(bottom - top), 1]
        })
        .collect();
    found.sort_unstable();
    found
}

/// A cascade made of dice: features anywhere, trees of any form, thresholds that let some through.
fn random_cascade(random: &mut Random) -> String {
    let mut integer = |low: i64, high: i64| random.integer(low, high);
    let lbp = integer(0, 3) == 0;
    let (width, height) = (integer(12, 30), integer(12, 24));
    let mut features = String::new();
    let count = 40;
    for _ in 0..count {
        if lbp {
            let (w, h) = (integer(1, width / 3), integer(1, height / 3));
            let (x, y) = (integer(0, width - 3 * w), integer(0, height - 3 * h));
            let _ = write!(features, "<_><rect>{x} {y} {w} {h}</rect></_>");
            continue;
        }
        let tilted = integer(0, 4) == 0;
        features += "<_><rects>";
        for part in 0..integer(2, 3) {
            let weight = if part == 0 { -1.0 } else { integer(2, 8) as f64 / 2.0 };
            let (x, y, w, h) = if tilted {
                let (w, h) = (integer(1, 6), integer(1, 6));
                (integer(h, width - w), integer(0, height - w - h), w, h)
            } else {
                let (w, h) = (integer(1, width / 2), integer(1, height / 2));
                (integer(0, width - w), integer(0, height - h), w, h)
            };
            let _ = write!(features, "<_>{x} {y} {w} {h} {weight}</_>");
        }
        features += if tilted { "</rects><tilted>1</tilted></_>" } else { "</rects></_>" };
    }
    let deep = integer(0, 2) == 0;
    let mut stages = String::new();
    for _ in 0..integer(2, 7) {
        let trees = integer(2, 9);
        let _ = write!(
            stages,
            "<_><stageThreshold>{}</stageThreshold><weakClassifiers>",
            -0.3 * trees as f64 / 4.0
        );
        for _ in 0..trees {
            let nodes = if deep { integer(1, 4) } else { 1 };
            let (mut leaves, mut internal) = (0, String::new());
            for node in 0..nodes {
                for _ in 0..2 {
                    // Every node but the root is somebody's child once.
                    if node + 1 < nodes && internal.matches(&format!(" c{}", node + 1)).count() == 0
                    {
                        let _ = write!(internal, " c{}", node + 1);
                    } else {
                        let _ = write!(internal, " {}", -leaves);
                        leaves += 1;
                    }
                }
                let _ = write!(internal, " {}", integer(0, count - 1));
                if lbp {
                    for _ in 0..8 {
                        let _ = write!(
                            internal,
                            " {}",
                            integer(i64::from(i32::MIN), i64::from(i32::MAX))
                        );
                    }
                } else {
                    let _ = write!(internal, " {}", integer(-100, 100) as f64 / 997.0);
                }
            }
            let leaves: String =
                (0..leaves).map(|_| format!(" {}", integer(-1000, 1000) as f64 / 1013.0)).collect();
            let internal = internal.replace(" c", " ");
            let _ = write!(
                stages,
                "<_><internalNodes>{internal}</internalNodes><leafValues>{leaves}</leafValues></_>"
            );
        }
        stages += "</weakClassifiers></_>";
    }
    let (kind, categories) = if lbp { ("LBP", 256) } else { ("HAAR", 0) };
    format!(
        "<?xml version=\"1.0\"?><opencv_storage><cascade type_id=\"opencv-cascade-classifier\">\
         <stageType>BOOST</stageType><featureType>{kind}</featureType><height>{height}</height>\
         <width>{width}</width><stageParams><maxWeakCount>9</maxWeakCount></stageParams>\
         <featureParams><maxCatCount>{categories}</maxCatCount></featureParams>\
         <stageNum>6</stageNum><stages>{stages}</stages><features>{features}</features></cascade>\
         </opencv_storage>"
    )
}

/// Noise over slopes and blocks, so that all scales have something to see.
fn random_picture(random: &mut Random, width: usize, height: usize) -> Picture {
    let cells: Vec<i64> = (0..64).map(|_| random.integer(0, 200)).collect();
    let mut samples = Vec::with_capacity(width * height);
    for y in 0..height {
        for x in 0..width {
            let cell = cells[x * 8 / width + y * 8 / height * 8];
            let slope = (x * 3 + y * 2) as i64 % 64;
            samples.push((cell + slope + random.integer(-30, 30)).clamp(0, 255) as u8);
        }
    }
    Picture::new(width, height, Channels::Grey, samples).unwrap()
}

#[test]
fn cascades_made_of_dice_pass_the_same_windows() {
    let Some(python) = python("cascades_made_of_dice_pass_the_same_windows") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(7);
    let sizes = [(160, 120), (121, 97), (30, 24), (333, 40), (64, 250), (2900, 40)];
    let mut jobs = Vec::new();
    let mut ours = Vec::new();
    for round in 0..48 {
        let cascade = folder.path().join(format!("{round}.xml"));
        std::fs::write(&cascade, random_cascade(&mut random)).unwrap();
        let (width, height) = sizes[round % sizes.len()];
        let grey = random_picture(&mut random, width, height);
        let picture = folder.path().join(format!("{round}.pgm"));
        write_pgm(&picture, &grey);
        let settings = CascadeSettings {
            scale_factor: [1.1, 1.25, 1.07][round % 3],
            min_neighbours: 0,
            min_size: if round % 5 == 0 { [25, 25] } else { [0, 0] },
            max_size: if round % 7 == 0 { [70, 90] } else { [0, 0] },
        };
        let read = Cascade::read(&cascade).unwrap();
        let mut detector = CascadeDetector::new(read, settings).unwrap();
        ours.push(windows(&mut detector, &grey));
        jobs.push(Job { cascade, picture, settings });
    }
    let theirs = judged(&python, folder.path(), &jobs);
    let mut some = 0;
    for (round, (ours, mut theirs)) in ours.iter().zip(theirs).enumerate() {
        theirs.sort_unstable();
        let odd = ours.iter().find(|found| !theirs.contains(found));
        assert_eq!(*ours, theirs, "round {round}: {} and {}, {odd:?}", ours.len(), theirs.len());
        some += usize::from(!ours.is_empty());
    }
    assert!(some >= 16, "only {some} of the cascades let anything through");
}

/// The pictures of faces, every so many of them, decoded to grey.
fn faces(data: &Path, count: usize) -> Vec<(String, Picture)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(data.join("facemask_det/images"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let every = paths.len() / count;
    let grey = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        let picture = decode(&bytes, Channels::Grey, Limits::default()).unwrap();
        (path.file_stem().unwrap().to_string_lossy().into_owned(), picture)
    };
    paths.iter().step_by(every).take(count).map(grey).collect()
}

fn opencv_cascades(python: &Path) -> PathBuf {
    let output = Command::new(python).args([SCRIPT, "--cascades"]).output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// Every file of the folder with this ending, sorted.
fn cascades_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "xml")).collect();
    paths.sort();
    paths
}

#[test]
fn every_cascade_of_opencv_passes_the_same_windows() {
    let name = "every_cascade_of_opencv_passes_the_same_windows";
    let (Some(python), Some(data)) = (python(name), data_dir(name)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cascades = cascades_in(&opencv_cascades(&python));
    cascades.extend(cascades_in(&data.join("face_models")));
    assert!(cascades.len() >= 18, "{cascades:?}");
    let mut jobs = Vec::new();
    let mut ours = Vec::new();
    for (stem, grey) in faces(&data, 4) {
        let picture = folder.path().join(format!("{stem}.pgm"));
        write_pgm(&picture, &grey);
        for cascade in &cascades {
            let settings = CascadeSettings { min_neighbours: 0, ..CascadeSettings::default() };
            let read = Cascade::read(cascade).unwrap_or_else(|error| panic!("{error}"));
            let mut detector = CascadeDetector::new(read, settings).unwrap();
            ours.push(windows(&mut detector, &grey));
            jobs.push(Job { cascade: cascade.clone(), picture: picture.clone(), settings });
        }
    }
    let theirs = judged(&python, folder.path(), &jobs);
    let mut some = 0;
    for ((ours, mut theirs), job) in ours.iter().zip(theirs).zip(&jobs) {
        theirs.sort_unstable();
        some += usize::from(!ours.is_empty());
        assert_eq!(*ours, theirs, "{} on {}", job.cascade.display(), job.picture.display());
    }
    assert!(some >= 20, "only {some} of {} jobs found anything", jobs.len());
}

#[test]
fn faces_are_found_where_opencv_finds_them() {
    let name = "faces_are_found_where_opencv_finds_them";
    let (Some(python), Some(data)) = (python(name), data_dir(name)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let opencv = opencv_cascades(&python);
    let models = data.join("face_models");
    let cascades = [
        opencv.join("haarcascade_frontalface_default.xml"),
        opencv.join("haarcascade_frontalface_alt2.xml"),
        models.join("lbpcascade_frontalface.xml"),
        models.join("lbpcascade_frontalface_improved.xml"),
    ];
    let pictures = faces(&data, 100);
    let settings = CascadeSettings::default();
    let mut jobs = Vec::new();
    let mut ours = Vec::new();
    for cascade in &cascades {
        let mut detector = CascadeDetector::new(Cascade::read(cascade).unwrap(), settings).unwrap();
        for (stem, grey) in &pictures {
            let picture = folder.path().join(format!("{stem}.pgm"));
            write_pgm(&picture, grey);
            let found = detector.detect(grey).unwrap().into_iter().map(|found| {
                let area = found.area;
                [area.left, area.top, area.width, area.height, found.score].map(|side| side as i32)
            });
            ours.push(found.collect::<Vec<Found>>());
            jobs.push(Job { cascade: cascade.clone(), picture, settings });
        }
    }
    let theirs = judged(&python, folder.path(), &jobs);
    for (at, cascade) in cascades.iter().enumerate() {
        let part = at * pictures.len()..(at + 1) * pictures.len();
        let (mut all, mut same, mut equal) = (0, 0, 0);
        for (ours, theirs) in ours[part.clone()].iter().zip(&theirs[part]) {
            // Counted from both sides, so that neither may have more.
            for (some, others) in [(ours, theirs), (theirs, ours)] {
                for one in some {
                    let off =
                        |other: &Found| (0..4).map(|side| (one[side] - other[side]).abs()).max();
                    all += 1;
                    same += usize::from(others.iter().any(|other| off(other) <= Some(1)));
                    equal += usize::from(others.contains(one));
                }
            }
        }
        let shown = cascade.file_stem().unwrap().to_string_lossy();
        println!("{shown}: {same} of {all} within a pixel, {equal} equal");
        assert!(all > 20 && same * 100 >= all * 95, "{shown}: {same} of {all}");
    }
}
