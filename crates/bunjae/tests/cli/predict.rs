//! `bunjae predict` and `bunjae annotate`.

use bunjae_testkit::data_dir;

use crate::support::{Folder, argument, snapshot};

/// Which of red, green and blue is strongest, from the mean of each.
pub(crate) const STRONGEST: &str = "graph @strongest
in   %x: f32[N,3,4,4]
%1 = global_pool %x {kind=mean} : f32[N,3,1,1] ; \"pool\"
%2 = flatten %1 {axis=1} : f32[N,3] ; \"flatten\"
out  %2 ; \"scores\"
";

/// A bitmap of one colour: a header of 54 bytes, then rows of blue, green, red.
pub(crate) fn bitmap([red, green, blue]: [u8; 3]) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    bytes.extend(u32::to_le_bytes(54 + 48));
    bytes.extend([0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend([blue, green, red].repeat(16));
    bytes
}

/// A folder with the model, its labels, and pictures, one of them broken.
pub(crate) fn folder() -> Folder {
    let folder = Folder::new();
    folder.model("colour.onnx", STRONGEST);
    folder.write("colours.txt", "red\ngreen, as grass\nblue\n");
    std::fs::create_dir_all(folder.path("pictures/b")).unwrap();
    folder.write("pictures/b/sky.bmp", bitmap([0, 51, 255]));
    folder.write("pictures/a.bmp", bitmap([255, 0, 51]));
    folder.write("pictures/c.bmp", bitmap([51, 255, 0]));
    folder
}

const TO_PROBABILITIES: &str = "--preprocess unit --scores probabilities";

#[test]
fn pictures_are_named_in_text_json_and_csv() {
    let folder = folder();
    let how = format!("--labels colours.txt {TO_PROBABILITIES}");
    snapshot!(
        "predict",
        folder.session(&[
            &format!("predict colour.onnx pictures {how}"),
            &format!("predict colour.onnx pictures/c.bmp pictures/a.bmp {how} --top 1 --csv"),
            &format!("predict colour.onnx pictures/a.bmp {how} -k 2 --format json"),
            &format!("predict colour.onnx pictures/a.bmp {TO_PROBABILITIES}"),
            "predict colour.onnx pictures/a.bmp --preprocess unit --labels colours.txt",
        ])
    );
}

#[test]
fn broken_pictures_are_named_and_the_others_classified() {
    let folder = folder();
    folder.write("pictures/b/half.bmp", &bitmap([1, 2, 3])[..60]);
    folder.write("pictures/notes.txt", "no picture");
    folder.write("pictures/d.jpg", "no picture either");
    let how = format!("--labels colours.txt {TO_PROBABILITIES} -k 1");
    snapshot!(
        "predict_broken",
        folder.session(&[
            &format!("predict colour.onnx pictures {how}"),
            &format!("predict colour.onnx pictures/a.bmp nowhere.png {how} --format json --quiet"),
        ])
    );
}

#[test]
fn answers_do_not_depend_on_batch_and_threads() {
    let folder = folder();
    let how = format!("predict colour.onnx pictures --labels colours.txt {TO_PROBABILITIES} --csv");
    let expected = folder.done(&format!("{how} --batch 1 --threads 1"));
    for other in ["--batch 2 --threads 2", "--batch 7 --threads 3", ""] {
        assert_eq!(folder.done(&format!("{how} {other}")), expected, "{other}");
    }
}

#[test]
fn annotations_travel_with_the_model() {
    let folder = folder();
    snapshot!(
        "annotate",
        folder.session(&[
            "annotate colour.onnx",
            "annotate colour.onnx -o named.onnx --labels colours.txt --preprocess unit",
            "annotate named.onnx -o sure.onnx --scores probabilities --mean -0.5 --format json",
            "annotate sure.onnx",
            "predict named.onnx pictures/a.bmp",
            "predict sure.onnx pictures/a.bmp --mean 0",
            "inspect sure.onnx",
        ])
    );
}

#[test]
fn what_does_not_suit_the_model_is_refused_with_a_way_out() {
    let folder = folder();
    folder.model("any.onnx", &STRONGEST.replace("4,4]", "height,width]"));
    folder.write("two.txt", "warm\ncold\n");
    folder.write("gap.txt", "red\n\nblue\n");
    folder.model(
        "two.onnx",
        "graph @two
         in   %a: f32[N,3,4,4]
         in   %b: f32[N,3,4,4]
         %1 = add %a, %b : f32[N,3,4,4] ; \"sum\"
         out  %1 ; \"y\"",
    );
    let files = folder.files();
    let session = folder.session(&[
        "predict colour.onnx pictures/a.bmp",
        "predict colour.onnx pictures/a.bmp --preprocess imagenet --picture 8x8",
        "predict colour.onnx pictures/a.bmp --preprocess unit --labels two.txt",
        "predict colour.onnx pictures/a.bmp --preprocess unit --labels gap.txt",
        "predict colour.onnx pictures/a.bmp --preprocess unit --labels none.txt",
        "predict colour.onnx pictures/a.bmp --preprocess unit --mean 1,2",
        "predict colour.onnx pictures/a.bmp --preprocess unit --isa sse",
        "predict any.onnx pictures/a.bmp --preprocess unit",
        "predict two.onnx pictures/a.bmp --preprocess unit",
        "predict colour.onnx nowhere/ --preprocess unit --format json",
        "predict colour.onnx",
        "annotate colour.onnx -o named.onnx",
        "annotate colour.onnx --labels colours.txt",
        "annotate colour.onnx -o named.onnx --labels two.txt",
        "annotate colour.onnx -o colour.onnx --labels colours.txt",
    ]);
    assert_eq!(folder.files(), files);
    snapshot!("predict_refused", session);
    let any = "predict any.onnx pictures/a.bmp --preprocess unit --picture 4x4";
    assert!(folder.done(any).contains("class 0"), "an open size is that of the preprocessing");
}

#[test]
fn models_that_take_no_pictures_are_refused_by_what_asks_for_one() {
    let folder = folder();
    let model = |name: &str, lines: [&str; 3]| {
        folder.model(name, &format!("graph @other\n{}\nout  %1 ; \"y\"\n", lines.join("\n")));
    };
    model(
        "vector.onnx",
        [
            "in   %x: f32[N,3]",
            "w    @head.fc.w: f32[4,3] = rand(seed=1)",
            "%1 = linear %x, @head.fc.w : f32[N,4] ; \"head.fc\"",
        ],
    );
    model(
        "whole.onnx",
        [
            "in   %x: i32[N,3,4,4]",
            "%0 = cast %x {to=f32} : f32[N,3,4,4] ; \"cast\"",
            "%1 = flatten %0 {axis=1} : f32[N,48] ; \"flatten\"",
        ],
    );
    model("map.onnx", ["in   %x: f32[N,3,4,4]", "", "%1 = relu %x : f32[N,3,4,4] ; \"act\""]);
    let mut lines = Vec::new();
    for model in ["vector", "whole", "map"] {
        // They are measured and compiled like any other.
        folder.done(&format!("bench {model}.onnx --runs 1 --seconds 0"));
        folder.done(&format!("compile {model}.onnx -o {model}.bunjae"));
        lines.push(format!("predict {model}.onnx pictures/a.bmp"));
        lines
            .push(format!("predict {model}.bunjae pictures/a.bmp --preprocess unit --picture 4x4"));
        lines.push(format!(
            "compile {model}.onnx -o {model} --emit exe --preprocess unit --picture 4x4"
        ));
        lines
            .push(format!("evaluate {model}.onnx --data pictures --preprocess unit --picture 4x4"));
    }
    let files = folder.files();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let session = folder.session(&lines);
    assert_eq!(session.matches("[exit code 2]").count(), lines.len(), "{session}");
    assert_eq!(folder.files(), files);
    snapshot!("predict_no_pictures", session);
}

#[test]
fn mobilenet_names_what_is_on_the_samples() {
    let Some(data) = data_dir("mobilenet_names_what_is_on_the_samples") else { return };
    let folder = Folder::new();
    let model = argument(&data.join("models/mobilenet_v2_imagenet.onnx"));
    let samples = data.join("imagenet_samples");
    // The file's number is the class; with these the model is right, as ONNX Runtime says as well.
    let mut files: Vec<_> =
        std::fs::read_dir(&samples).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "jpg"));
    files.sort();
    let pictures: Vec<String> = files.iter().take(24).map(|path| argument(path)).collect();
    let csv = folder.done(&format!(
        "predict {model} {} --preprocess imagenet --top 1 --csv --quiet",
        pictures.join(" ")
    ));
    let right = csv.lines().skip(1).filter(|line| {
        let name = line.rsplit('/').next().unwrap();
        let class: usize = line.split(',').nth(2).unwrap().parse().unwrap();
        name.starts_with(&format!("{class:04}_"))
    });
    assert_eq!((csv.lines().count(), right.count()), (25, RIGHT));
}

/// Of the first 24 pictures.
const RIGHT: usize = 19;
