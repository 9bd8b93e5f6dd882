//! `bunjae new`.

use crate::support::{Folder, snapshot};

#[test]
fn the_zoo_is_listed() {
    let folder = Folder::new();
    snapshot!("new_list", folder.session(&["new --list"]));
    let zoo = folder.json("new --list");
    let names: Vec<&str> = zoo["architectures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 17);
    assert!(folder.files().is_empty());
}

#[test]
fn a_network_is_made_as_asked() {
    let folder = Folder::new();
    snapshot!(
        "new",
        folder.session(&[
            "new mask-small -o m.onnx",
            "new mask-small -o n.onnx --classes 3 --input 1x64x96 --width 0.5 --head probabilities \
             --seed 7 --format json",
            "inspect n.onnx",
        ])
    );
}

#[test]
fn one_command_gives_one_file_and_another_seed_another() {
    let folder = Folder::new();
    folder.done("new mask-small -o a.onnx --seed 3");
    folder.done("new mask-small -o b.onnx --seed 3");
    folder.done("new mask-small -o c.onnx --seed 4");
    assert!(folder.read("a.onnx") == folder.read("b.onnx"));
    assert!(folder.read("a.onnx") != folder.read("c.onnx"));
}

#[test]
fn every_architecture_survives_the_file() {
    let folder = Folder::new();
    let zoo = folder.json("new --list");
    for entry in zoo["architectures"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        // As small as the poolings allow; vgg16 is mostly its linear layers, whatever the picture.
        let small = if name == "vgg16" { " --width 0.05" } else { "" };
        let made = folder.json(&format!("new {name} -o {name}.onnx{small}"));
        let read = folder.json(&format!("profile {name}.onnx"));
        assert_eq!(made["parameters"], read["parameters"]["total"], "{name}");
        assert!(read["macs"].as_u64() > Some(0), "{name}");
    }
}
