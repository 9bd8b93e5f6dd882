//! `bunjae detect`.

use bunjae_testkit::data_dir;

use crate::support::{Folder, argument, snapshot};

/// Finds a bright middle: one local binary pattern over windows of 9 x 9.
pub(crate) const DOTS: &str = "<?xml version=\"1.0\"?>
<opencv_storage><cascade type_id=\"opencv-cascade-classifier\">
<stageType>BOOST</stageType><featureType>LBP</featureType><height>9</height><width>9</width>
<featureParams><maxCatCount>256</maxCatCount></featureParams>
<stages><_><stageThreshold>0.5</stageThreshold><weakClassifiers><_>
<internalNodes>0 -1 0 1 0 0 0 0 0 0 0</internalNodes><leafValues>1. 0.</leafValues>
</_></weakClassifiers></_></stages>
<features><_><rect>0 0 3 3</rect></_></features></cascade></opencv_storage>
";

/// UltraFace with one box, the left half of the picture, as sure as the picture is white.
pub(crate) const LEFT: &str = "graph @left
in   %x: f32[1,3,8,8]
w    @s: f32[2,3] = [0, 0, 0, 0.8, 0, 0]
w    @b: f32[4,3] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
w    @bb: f32[4] = [0.125, 0.25, 0.5, 1]
%1 = global_pool %x {kind=mean} : f32[1,3,1,1]
%2 = flatten %1 {axis=1} : f32[1,3]
%3 = linear %2, @s : f32[1,2]
%4 = reshape %3 {map=[[1,_],[1,1,_]]} : f32[1,1,2]
%5 = linear %2, @b, @bb : f32[1,4]
%6 = log %5 : f32[1,4]
%7 = exp %6 : f32[1,4]
%8 = reshape %7 {map=[[1,_],[1,1,_]]} : f32[1,1,4]
out  %4 ; \"scores\"
out  %8 ; \"boxes\"
";

const MARKED: &str = "<annotation><object><name>dot</name><bndbox><xmin>12</xmin><ymin>12</ymin>
<xmax>21</xmax><ymax>21</ymax></bndbox></object><object><name>other</name><bndbox><xmin>0</xmin>
<ymin>0</ymin><xmax>8</xmax><ymax>8</ymax></bndbox></object></annotation>";

/// A bitmap of 40 x 32 pixels: rows from the lowest up, of blue, green and red.
fn bitmap(grey: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    bytes.extend(u32::to_le_bytes(54 + 40 * 32 * 3));
    bytes.extend([0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0, 0, 32, 0, 0, 0, 1, 0, 24, 0]);
    bytes.extend([0; 24]);
    for y in (0..32).rev() {
        bytes.extend((0..40).flat_map(|x| [grey(x, y); 3]));
    }
    bytes
}

/// A folder with both detectors, and pictures with a dot, without, and broken.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("dots.xml", DOTS);
    folder.model("left.onnx", LEFT);
    std::fs::create_dir_all(folder.path("pictures")).unwrap();
    let dot =
        |x: usize, y: usize| if (15..18).contains(&x) && (15..18).contains(&y) { 250 } else { 20 };
    folder.write("pictures/dot.bmp", bitmap(dot));
    folder.write("pictures/white.bmp", bitmap(|_, _| 255));
    folder
}

#[test]
fn boxes_are_listed_in_text_and_json() {
    let folder = folder();
    let session = folder.session(&[
        "detect dots.xml pictures --neighbours 0 --max-face 9",
        "detect dots.xml pictures/dot.bmp --neighbours 0 --max-face 9 --format json",
        "detect left.onnx pictures",
        "detect left.onnx pictures/white.bmp --format json",
        "detect none pictures/dot.bmp",
    ]);
    snapshot!("detect", session);
}

#[test]
fn boxes_are_drawn_into_a_folder() {
    let folder = folder();
    folder.done("detect left.onnx pictures pictures/white.bmp --draw out/drawn");
    let mut names: Vec<String> = std::fs::read_dir(folder.path("out/drawn"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["dot.png", "white-2.png", "white.png"]);
    let drawn = folder.read("out/drawn/white.png");
    assert_eq!(drawn, folder.read("out/drawn/white-2.png"));
    let limits = bunjae_data::decode::Limits::default();
    let picture = bunjae_data::decode::decode_native(&drawn, limits).unwrap();
    let pixel = |x: usize, y: usize| &picture.samples()[3 * (40 * y + x)..][..3];
    // A frame from (5, 8) to (20, 32), one pixel thick.
    assert_eq!((pixel(5, 8), pixel(6, 9)), (&[0, 220, 90][..], &[255, 255, 255][..]));
    assert_eq!((pixel(19, 31), pixel(20, 31)), (&[0, 220, 90][..], &[255, 255, 255][..]));
}

#[test]
fn boxes_are_compared_with_what_is_marked() {
    let folder = folder();
    std::fs::create_dir_all(folder.path("marked")).unwrap();
    folder.write("marked/dot.xml", MARKED);
    folder.write("marked/white.xml", "<annotation/>");
    let line = "detect dots.xml pictures --neighbours 0 --max-face 9 --against marked";
    let report = folder.json(&format!("{line} --match-overlap 0.9"));
    assert_eq!(report["labels"][0]["recall"], 1.0);
    assert_eq!((&report["labels"][1]["found"], &report["recall"]), (&0.into(), &0.5.into()));
    assert_eq!((&report["right"], &report["wrong"]), (&1.into(), &0.into()));
    assert!(report["mean_ms"].as_f64().unwrap() > 0.0);
    let smaller = folder.json(&format!("{line} --least-side 9 --min-recall 1"));
    assert_eq!((&smaller["recall"], &smaller["passed"]), (&1.0.into(), &true.into()));
    let text = folder.done(line);
    let text = text.lines().filter(|line| !line.starts_with("time")).collect::<Vec<_>>().join("\n");
    snapshot!("detect_against", text);
    let failed = folder.run(&format!("{line} --min-recall 60%"));
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn what_cannot_be_detected_is_refused() {
    let folder = folder();
    folder.model(
        "relu.onnx",
        "graph @r
         in   %x: f32[1,3,8,8]
         %1 = relu %x : f32[1,3,8,8] ; \"relu\"
         out  %1 ; \"map\"",
    );
    folder.write("svg.xml", "<svg/>");
    folder.write("cut.xml", &DOTS[..300]);
    folder.write("odd.xml", DOTS.replace("0 0 3 3", "0 0 4 3"));
    folder.write("pictures/broken.jpg", "no picture");
    let session = folder.session(&[
        "detect",
        "detect nowhere.onnx pictures",
        "detect nowhere.xml pictures",
        "detect relu.onnx pictures",
        "detect svg.xml pictures",
        "detect cut.xml pictures",
        "detect odd.xml pictures",
        "detect dots.xml pictures --min-score 0.5",
        "detect left.onnx pictures --neighbours 2",
        "detect none pictures --overlap 0.5",
        "detect dots.xml pictures --scale-factor 1",
        "detect dots.xml pictures/white.bmp --against nowhere",
        "detect dots.xml pictures/white.bmp --min-recall 0.5",
        "detect dots.xml pictures/broken.jpg pictures/white.bmp",
        "detect dots.xml pictures/broken.jpg --format json",
    ]);
    snapshot!("detect_refused", session);
}

#[test]
fn a_compiled_detector_finds_what_the_onnx_file_finds() {
    let Some(data) = data_dir("a_compiled_detector_finds_what_the_onnx_file_finds") else { return };
    let folder = Folder::new();
    let model = argument(&data.join("face_models/yunet_n_320_320.onnx"));
    let picture = argument(&data.join("facemask_det/images/fm_0000.jpg"));
    folder.done(&format!("compile {model} -o yunet.bunjae"));
    let [onnx, compiled] = [&*model, "yunet.bunjae"]
        .map(|detector| folder.done(&format!("detect {detector} {picture} --threads 2")));
    assert_eq!(onnx, compiled);
    assert!(onnx.lines().count() >= 2 && onnx.contains(": face 0."), "{onnx}");
}
