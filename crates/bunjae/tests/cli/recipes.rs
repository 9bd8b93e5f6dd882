//! The recipes that are shipped.

use std::path::Path;

use bunjae_testkit::data_dir;

use crate::support::{Folder, argument};

fn recipe(name: &str) -> String {
    argument(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(name))
}

/// The stages that a dry run names.
fn planned(line: &str) -> Vec<String> {
    let folder = Folder::new();
    let report = folder.json(&format!("run {line} --dry-run"));
    let stages = report["stages"].as_array().unwrap().iter();
    stages.map(|stage| stage["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_demo_needs_nothing_but_itself() {
    let stages = planned(&recipe("demo.toml"));
    for name in ["pulses", "teacher", "student", "pruned-0.5", "ready", "scores-ready", "speed"] {
        assert!(stages.iter().any(|stage| stage == name), "{name} of {stages:?}");
    }
}

#[test]
fn partial_discharge_needs_nothing_but_itself() {
    let stages = planned(&recipe("partial-discharge.toml"));
    for name in ["recorded", "teacher-seed1", "alone-seed2", "scores-distilled-seed3", "speed"] {
        assert!(stages.iter().any(|stage| stage == name), "{name} of {stages:?}");
    }
}

#[test]
fn face_mask_has_the_whole_table() {
    let Some(data) = data_dir("face_mask_has_the_whole_table") else { return };
    let pictures = argument(&data.join("facemask"));
    let stages = planned(&format!("{} --set data={pictures}", recipe("face-mask.toml")));
    for name in [
        "scores-teacher",
        "scores-alone-medium",
        "scores-alone-small",
        "scores-distilled-medium",
        "scores-distilled-small",
        "scores-cut-0.3",
        "scores-pruned-0.3",
        "scores-pruned-0.5",
        "scores-pruned-0.7",
        "speed",
    ] {
        assert!(stages.iter().any(|stage| stage == name), "{name} of {stages:?}");
    }
}

#[test]
fn face_mask_without_pictures_says_how_to_give_them() {
    let folder = Folder::new();
    let line = format!("run {} --set data=nowhere", recipe("face-mask.toml"));
    let output = folder.run(&line);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("there is no folder nowhere"), "{message}");
}
