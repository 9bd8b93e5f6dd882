//! Models that other programs exported, from the data folder.

use bunjae_testkit::data_dir;

use crate::support::{Folder, argument, sizes};

#[test]
fn mobilenet_v2_is_counted_and_cut() {
    let Some(data) = data_dir("mobilenet_v2_is_counted_and_cut") else { return };
    let model = argument(&data.join("models/mobilenet_v2_imagenet.onnx"));
    let folder = Folder::new();
    let report = folder.json(&format!("profile {model}"));
    assert_eq!(report["parameters"]["total"], 3_504_872);
    let report = folder.json(&format!("prune {model} -o small.onnx --ratio 0.3"));
    let ([before, _], [after, _]) = (sizes(&report, "before"), sizes(&report, "after"));
    assert!(after < before * 7 / 10, "{before} to {after}");
    for output in report["check"]["outputs"].as_array().unwrap() {
        assert_eq!(output["largest_difference"], 0.0);
    }
}
