//! `bunjae evaluate`.

use std::fs;

use crate::support::{Folder, snapshot};

/// Tells dark pictures from light ones by their mean: logits of 0 and 8 (mean - 0.5).
const BRIGHTNESS: &str = r#"graph @brightness
meta "bunjae.labels" = "[\"dark\",\"light\"]"
meta "bunjae.preprocess" = "{\"width\":2,\"height\":2,\"colour\":\"grey\",\"fit\":\"stretch\",\"filter\":\"bilinear\",\"range\":[0.0,1.0],\"mean\":[0.5],\"std\":[1.0]}"
in   %x: f32[N,1,2,2]
%1 = global_pool %x {kind=mean} : f32[N,1,1,1] ; "pool"
%2 = flatten %1 {axis=1} : f32[N,1] ; "flatten"
w    @fc.w: f32[2,1] = [0, 8]
%3 = linear %2, @fc.w : f32[N,2] ; "fc"
out  %3 ; "logits"
"#;

/// A picture of 2 x 2 pixels of one grey, as Windows bitmaps are written: 14 + 40 bytes of headers,
/// then rows filled up to a multiple of four bytes.
fn bitmap(grey: u8) -> Vec<u8> {
    let row = [grey, grey, grey, grey, grey, grey, 0, 0];
    let mut bytes = b"BM".to_vec();
    [70, 0, 54, 40, 2, 2].iter().for_each(|&n: &u32| bytes.extend(n.to_le_bytes()));
    bytes.extend([1, 0, 24, 0]);
    [0, 16, 0, 0, 0, 0].iter().for_each(|&n: &u32| bytes.extend(n.to_le_bytes()));
    bytes.extend(row);
    bytes.extend(row);
    bytes
}

/// A model and a data set with three dark and two light pictures in val, of which it gets one of
/// each wrong, and one light picture in train.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.model("brightness.onnx", BRIGHTNESS);
    let pictures = [
        ("val/dark/a", 10),
        ("val/dark/b", 100),
        ("val/dark/c", 140),
        ("val/light/d", 120),
        ("val/light/e", 250),
        ("train/light/f", 200),
        ("train/dark/g", 0),
    ];
    for (name, grey) in pictures {
        let path = folder.path(&format!("set/{name}.bmp"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bitmap(grey)).unwrap();
    }
    folder
}

#[test]
fn scores_are_counted_over_the_split_asked_for() {
    let folder = folder();
    snapshot!(
        "evaluate",
        folder.session(&[
            "evaluate brightness.onnx --data set --predictions scores.csv --min-accuracy 60%",
            "evaluate brightness.onnx --data set --min-accuracy 61% --min-f1 0.5 -q",
        ])
    );
    let report = folder.json("evaluate brightness.onnx --data set");
    assert_eq!(report["accuracy"], 0.6);
    assert_eq!(report["confusion"], serde_json::json!([[2, 1], [1, 1]]));
    // Pairs of a light and a dark picture: 120 is brighter than two of three, 250 than all.
    assert_eq!(report["roc_auc"], 5.0 / 6.0);
    assert_eq!(folder.json("evaluate brightness.onnx --data set --split train")["accuracy"], 1.0);
    assert_eq!(folder.json("evaluate brightness.onnx --data set --split all")["pictures"], 7);
    let table = String::from_utf8(folder.read("scores.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0], "picture,label,predicted,dark,light");
    let place = lines.iter().position(|line| line.contains("c.bmp,dark,light,")).unwrap();
    let light: f64 = lines[place].rsplit(',').next().unwrap().parse().unwrap();
    // 1 / (1 + exp(-8 (140 / 255 - 0.5)))
    assert!((light - 0.596_802).abs() < 1e-5, "{light}");
}

#[test]
fn figures_do_not_depend_on_threads_or_batches() {
    let folder = folder();
    let reports: Vec<_> = ["--threads 1", "--threads 2", "--batch 1", "--batch 4 --threads 2"]
        .map(|options| folder.json(&format!("evaluate brightness.onnx --data set {options}")))
        .into();
    assert!(reports.iter().all(|report| *report == reports[0]));
}

#[test]
fn classes_are_matched_by_name() {
    let folder = folder();
    folder.model(
        "swapped.onnx",
        &BRIGHTNESS.replace(r#"\"dark\",\"light\""#, r#"\"light\",\"dark\""#),
    );
    assert_eq!(folder.json("evaluate swapped.onnx --data set")["accuracy"], 0.4);
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let folder = folder();
    folder.write("names.txt", "dark\nbright\n");
    folder.write("three.txt", "a\nb\nc\n");
    fs::create_dir(folder.path("empty")).unwrap();
    folder.write("set/val/light/broken.bmp", "BM");
    let plain = BRIGHTNESS.lines().filter(|line| !line.starts_with("meta"));
    folder.model("plain.onnx", &plain.collect::<Vec<_>>().join("\n"));
    let session = folder.session(&[
        "evaluate brightness.onnx --data nowhere",
        "evaluate brightness.onnx --data empty",
        "evaluate brightness.onnx --data set --split test",
        "evaluate brightness.onnx --data set --labels names.txt",
        "evaluate brightness.onnx --data set --labels three.txt",
        "evaluate brightness.onnx --data set",
        "evaluate plain.onnx --data set",
        "evaluate brightness.onnx --data set --predictions nowhere/scores.csv",
    ]);
    assert_eq!(session.matches("[exit code 2]").count(), 8, "{session}");
    snapshot!("evaluate_refused", session);
    // Where it is allowed, a corrupt picture is named and left out.
    let report = folder.json("evaluate brightness.onnx --data set --max-corrupt 20% -q");
    assert_eq!((report["corrupt"].as_u64(), report["pictures"].as_u64()), (Some(1), Some(5)));
}
