//! Networks that find faces: ONNX Runtime as the outside judge, and the pictures of the data folder.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bunjae_data::decode::{Limits, decode};
use bunjae_data::{Channels, Picture};
use bunjae_detect::truth::{Fit, Protocol, read_voc};
use bunjae_detect::{Detection, Detector, NetworkDetector, NetworkSettings, Rect};
use bunjae_engine::{CompileOptions, Network};
use bunjae_ir::Graph;
use bunjae_testkit::{data_dir, python};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judge/faces.py");

/// Detectors of the data folder, and how the judge calls their kind. The judge knows nothing of
/// boxes that are not decoded.
const MODELS: [(&str, &str); 6] = [
    ("yunet_n_dynamic.onnx", "yunet"),
    ("yunet_n_320_320.onnx", "yunet"),
    ("yunet_s_320_320.onnx", "yunet"),
    ("ultraface_version-RFB-320.onnx", "ultraface"),
    ("ultraface_version-slim-320.onnx", "ultraface"),
    ("ultraface_RFB-640-masked_face-v2.onnx", "ultraface"),
];

fn network(path: &Path) -> Arc<Network> {
    let imported = bunjae_onnx::import(path, &bunjae_onnx::Limits::default()).unwrap();
    Arc::new(Network::compile(&imported.graph, &CompileOptions::default()).unwrap())
}

/// Pictures of the data folder with the stems of their names, so many of them, spread over all.
fn pictures(data: &Path, count: usize) -> Vec<(String, Picture)> {
    let all = picture_paths(data);
    let every = (all.len() / count).max(1);
    all.iter().step_by(every).take(count).map(|path| picture(path)).collect()
}

fn picture(path: &Path) -> (String, Picture) {
    let bytes = std::fs::read(path).unwrap();
    let picture = decode(&bytes, Channels::Rgb, Limits::default()).unwrap();
    (path.file_stem().unwrap().to_string_lossy().into_owned(), picture)
}

fn picture_paths(data: &Path) -> Vec<PathBuf> {
    let folder = data.join("facemask_det/images");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A box, its score and what landmarks it has, in one row.
fn numbers(found: &Detection) -> Vec<f32> {
    let area = found.area;
    let marks = found.landmarks.iter().flatten().flat_map(|mark| [mark.x, mark.y]);
    [area.left, area.top, area.width, area.height, found.score].into_iter().chain(marks).collect()
}

#[test]
fn boxes_are_those_of_onnx_runtime() {
    let name = "boxes_are_those_of_onnx_runtime";
    let (Some(python), Some(data)) = (python(name), data_dir(name)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = NetworkSettings::default();
    let mut jobs = String::new();
    let mut ours = Vec::new();
    for (file, kind) in MODELS {
        let model = data.join("face_models").join(file);
        let mut detector = NetworkDetector::new(network(&model), settings, 1).unwrap();
        for (stem, picture) in pictures(&data, 12) {
            let raw = detector.raw(&picture).unwrap();
            let input = folder.path().join(format!("{file}.{stem}"));
            let bytes: Vec<u8> = raw.input.iter().flat_map(|value| value.to_le_bytes()).collect();
            std::fs::write(&input, bytes).unwrap();
            let [_, _, height, width] = raw.shape;
            let NetworkSettings { score, overlap, .. } = settings;
            let (model, input) = (model.display(), input.display());
            let _ =
                writeln!(jobs, "{kind}\t{model}\t{input}\t{height}\t{width}\t{score}\t{overlap}");
            // How much smaller the picture is in the input.
            let scale = match kind {
                "yunet" => {
                    let long = if file.contains("dynamic") { settings.longer_side } else { width };
                    let side = picture.width().max(picture.height());
                    let fitted = |side: usize, long_side: usize| {
                        (side as f64 * long as f64 / long_side as f64).round() as f32
                    };
                    [picture.width(), picture.height()].map(|own| fitted(own, side) / own as f32)
                }
                _ => {
                    [width as f32 / picture.width() as f32, height as f32 / picture.height() as f32]
                }
            };
            let found = detector.detect(&picture).unwrap();
            ours.push((format!("{file} on {stem}"), scale, found));
        }
    }
    std::fs::write(folder.path().join("jobs.txt"), jobs).unwrap();
    let output = Command::new(python).arg(SCRIPT).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(folder.path().join("out.txt")).unwrap();
    let mut boxes = 0;
    assert_eq!(text.lines().count(), ours.len());
    for ((what, scale, found), line) in ours.iter().zip(text.lines()) {
        let theirs: Vec<f32> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let length = found.first().map_or(5, |found| numbers(found).len());
        assert_eq!(theirs.len(), found.len() * length, "{what}: another number of boxes");
        let mut theirs: Vec<&[f32]> = theirs.chunks_exact(length).collect();
        for one in found {
            let mut own = numbers(one);
            // Back to pixels of the input, but for the score.
            for (at, value) in own.iter_mut().enumerate().filter(|(at, _)| *at != 4) {
                *value *= scale[if at < 4 { at % 2 } else { (at + 1) % 2 }];
            }
            let off = |other: &[f32]| {
                own.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            };
            // The nearest, as equal scores may come in another order.
            let nearest =
                (0..theirs.len()).min_by(|&a, &b| off(theirs[a]).total_cmp(&off(theirs[b])));
            let other = theirs.swap_remove(nearest.unwrap());
            // Twentieth of a pixel: f32 in another order, through an exponential.
            assert!(off(other) < 0.05, "{what}: {own:?} and {other:?}");
            boxes += 1;
        }
    }
    assert!(boxes > 150, "only {boxes} boxes were compared");
}

#[test]
fn boxes_that_are_left_to_decode_are_those_of_the_whole_graph() {
    let Some(data) = data_dir("boxes_that_are_left_to_decode_are_those_of_the_whole_graph") else {
        return;
    };
    let models = data.join("face_models");
    let found = ["ultraface_version-RFB-320.onnx", "ultraface_version-RFB-320_simplified.onnx"]
        .map(|file| {
            let network = network(&models.join(file));
            let mut detector =
                NetworkDetector::new(network, NetworkSettings::default(), 1).unwrap();
            pictures(&data, 20)
                .iter()
                .map(|(_, picture)| detector.detect(picture).unwrap())
                .collect::<Vec<_>>()
        });
    let mut boxes = 0;
    for (whole, decoded) in found[0].iter().zip(&found[1]) {
        assert_eq!(whole.len(), decoded.len());
        for (a, b) in whole.iter().zip(decoded) {
            assert!(a.area.overlap(&b.area) > 0.99, "{a:?} and {b:?}");
            boxes += 1;
        }
    }
    assert!(boxes > 15, "only {boxes} boxes");
}

#[test]
fn yunet_finds_masked_and_bare_faces() {
    let Some(data) = data_dir("yunet_finds_masked_and_bare_faces") else { return };
    let network = network(&data.join("face_models/yunet_n_dynamic.onnx"));
    // As the data folder's figures were measured: 150 pictures, scores above 0.6.
    let settings = NetworkSettings { score: 0.6, ..NetworkSettings::default() };
    let mut detector = NetworkDetector::new(network, settings, 1).unwrap();
    let mut fit = Fit::new(Protocol { overlap: 0.4, least_side: 24.0 });
    for (stem, picture) in picture_paths(&data).iter().take(150).map(|path| picture(path)) {
        let marked = read_voc(&data.join(format!("facemask_det/annotations/{stem}.xml"))).unwrap();
        fit.add(&detector.detect(&picture).unwrap(), &marked);
    }
    let [masked, bare] =
        ["with_mask", "without_mask"].map(|label| fit.recall(label).unwrap_or_default());
    println!(
        "masked {masked:.4}, bare {bare:.4}, precision {:?}; {:?}",
        fit.precision(),
        fit.labels
    );
    assert!(masked >= 0.94 && bare >= 0.95, "masked {masked:.4}, bare {bare:.4}");
}

#[test]
fn unknown_networks_are_refused_by_their_ports() {
    let compiled = |text: &str| {
        let graph = Graph::parse(text).unwrap();
        Arc::new(Network::compile(&graph, &CompileOptions::default()).unwrap())
    };
    let refused = |network| match NetworkDetector::new(network, NetworkSettings::default(), 1) {
        Err(error) => error.to_string(),
        Ok(detector) => panic!("{} was taken", detector.name()),
    };
    let classifier = "graph @c
in   %x: f32[N,3,8,8]
%1 = relu %x : f32[N,3,8,8]
out  %1 ; \"logits\"
";
    assert_eq!(
        refused(compiled(classifier)),
        "not a known detector: inputs x, outputs logits; known are YuNet (cls_8 to kps_32) and \
         UltraFace (scores, boxes)"
    );
    let odd = "graph @u
in   %x: f32[1,3,8,8]
%1 = flatten %x : f32[1,192]
%2 = reshape %1 {map=[[1,_],[1,48,_]]} : f32[1,48,4]
out  %2 ; \"scores\"
out  %2 ; \"boxes\"
";
    let expected = "UltraFace: scores is f32[1, 48, 4], where two or three scores for each of 48 \
                    boxes are read";
    assert_eq!(refused(compiled(odd)), expected);
    let large = odd.replace("[1,3,8,8]", "[1,3,1,64]").replace("x: f32[1", "x: f32[2");
    let large = large.replace("[1,192]", "[2,192]").replace("[1,48,4]", "[2,48,4]");
    let message = refused(compiled(&large));
    assert!(message.starts_with("UltraFace: x is f32[2,3,1,64], where f32[1, 3,"), "{message}");
}

/// Two boxes, the scores of which are those of two greys.
const TWO_BOXES: &str = "graph @two
in   %x: f32[1,3,8,8]
w    @s: f32[4,3] = [0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0, -0.5, 0]
w    @sb: f32[4] = [0, 0.4, 0, 0.4]
w    @b: f32[8,3] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
w    @bb: f32[8] = [0.25, 0.5, 0.75, 1, 0.5, 0.25, 1, 0.5]
%1 = global_pool %x : f32[1,3,1,1]
%2 = flatten %1 : f32[1,3]
%3 = linear %2, @s, @sb : f32[1,4]
%4 = reshape %3 {map=[[1,_],[1,2,_]]} : f32[1,2,2]
%5 = linear %2, @b, @bb : f32[1,8]
%6 = log %5 : f32[1,8]
%7 = exp %6 : f32[1,8]
%8 = reshape %7 {map=[[1,_],[1,2,_]]} : f32[1,2,4]
out  %4 ; \"scores\"
out  %8 ; \"boxes\"
";

#[test]
fn a_network_made_by_hand_finds_what_it_says() {
    let graph = Graph::parse(TWO_BOXES).unwrap();
    let network = Network::compile(&graph, &CompileOptions::default()).unwrap();
    let settings = NetworkSettings { score: 0.5, ..NetworkSettings::default() };
    let mut detector = NetworkDetector::new(Arc::new(network), settings, 1).unwrap();
    assert_eq!(detector.name(), "UltraFace, pictures of 8 x 8");
    let mut found = |grey| {
        let picture = Picture::filled(200, 100, Channels::Rgb, [grey; 3]);
        let found = detector.detect(&picture).unwrap();
        found.iter().map(|one| (one.area, one.score)).collect::<Vec<_>>()
    };
    // White is 1 and black -127 / 128; the scores are 0.4 and half of that, or less half of it.
    let white = found(255);
    assert_eq!(white.len(), 1);
    let Rect { left, top, width, height } = white[0].0;
    let off = [left - 50.0, top - 50.0, width - 100.0, height - 50.0, white[0].1 - 0.9];
    assert!(off.iter().all(|off| off.abs() < 1e-3), "{white:?}");
    let black = found(0);
    assert!(black.len() == 1 && (black[0].0.left - 100.0).abs() < 1e-3, "{black:?}");
    assert_eq!(found(127), []);
}

#[test]
fn settings_without_meaning_are_refused() {
    let graph = Graph::parse(TWO_BOXES).unwrap();
    let network = Arc::new(Network::compile(&graph, &CompileOptions::default()).unwrap());
    let usual = NetworkSettings::default();
    for settings in [
        NetworkSettings { score: f32::NAN, ..usual },
        NetworkSettings { overlap: 1.5, ..usual },
        NetworkSettings { longer_side: 0, ..usual },
        NetworkSettings { longer_side: 100_000, ..usual },
    ] {
        assert!(NetworkDetector::new(network.clone(), settings, 1).is_err(), "{settings:?}");
    }
}
