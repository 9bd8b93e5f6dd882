//! `bunjae profile`.

use bunjae_onnx::{ExportOptions, WeightStorage};

use crate::support::{ANY_SIZE, Folder, snapshot};

#[test]
fn costs_are_counted_for_each_layer() {
    let folder = Folder::with_tiny();
    snapshot!(
        "profile",
        folder.session(&["profile tiny.onnx", "profile tiny.onnx --batch 2 --format json"])
    );
}

#[test]
fn conventions_count_as_the_tools_they_are_named_for() {
    let folder = Folder::new();
    folder.done("new mask-base -o m.onnx");
    // The figures of the face-mask system: exact by formula, thop measured.
    for (rule, macs) in [("exact", 165_150_976u64), ("thop", 168_952_192)] {
        let report = folder.json(&format!("profile m.onnx --convention {rule}"));
        assert_eq!(report["macs"], macs, "{rule}");
        assert_eq!(report["flops"], 2 * macs, "{rule}");
        assert_eq!(report["convention"], rule);
    }
}

#[test]
fn open_sizes_are_asked_for_and_taken() {
    let folder = Folder::new();
    folder.model("any.onnx", ANY_SIZE);
    snapshot!(
        "profile_sizes",
        folder.session(&[
            "profile any.onnx",
            "profile any.onnx --size height=8",
            "profile any.onnx --size height=8 --size width=16 --batch 2",
            "profile any.onnx --size hight=8",
            "profile any.onnx --size depth=8",
        ])
    );
}

#[test]
fn weights_beside_the_model_count_as_bytes_on_disk() {
    let folder = Folder::new();
    let graph = bunjae_zoo::build("mask-small", &bunjae_zoo::Options::default()).unwrap();
    let beside = ExportOptions { weights: WeightStorage::Beside, ..ExportOptions::default() };
    bunjae_onnx::save(&folder.path("m.onnx"), &graph, &beside).unwrap();
    assert_eq!(folder.files(), ["m.onnx", "m.onnx.data"]);
    let sizes = folder.files().iter().map(|name| folder.read(name).len()).sum::<usize>();
    assert_eq!(folder.json("profile m.onnx")["file_bytes"], sizes);
}

#[test]
fn macs_grow_with_the_picture_and_the_batch() {
    let folder = Folder::new();
    folder.model("any.onnx", ANY_SIZE);
    let macs = |sizes: &str| folder.json(&format!("profile any.onnx {sizes}"))["macs"].as_u64();
    let one = macs("--size height=10 --size width=10");
    assert_eq!(one, Some(100 * (4 * 3 * 9 + 2 * 4)));
    assert_eq!(macs("--size height=10 --size width=20 --batch 3"), one.map(|macs| 6 * macs));
    assert_eq!(macs("--size height=10 --size width=20 --size N=3"), one.map(|macs| 6 * macs));
}
