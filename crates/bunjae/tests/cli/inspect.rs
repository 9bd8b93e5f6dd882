//! `bunjae inspect`.

use bunjae_ir::Graph;

use crate::support::{ANY_SIZE, Folder, TINY, snapshot};

#[test]
fn a_model_is_summed_up() {
    let folder = Folder::with_tiny();
    snapshot!("inspect", folder.session(&["inspect tiny.onnx", "inspect tiny.onnx --format json"]));
}

#[test]
fn layers_and_groups_are_listed() {
    let folder = Folder::with_tiny();
    snapshot!(
        "inspect_lists",
        folder.session(&[
            "inspect tiny.onnx --layers",
            "inspect tiny.onnx --groups",
            "inspect tiny.onnx --groups --layers --format json",
        ])
    );
}

#[test]
fn a_dump_with_weights_parses_back_and_one_without_is_short() {
    let folder = Folder::with_tiny();
    snapshot!("inspect_dump", folder.session(&["inspect tiny.onnx --dump"]));
    let dump = folder.done("inspect tiny.onnx --dump --weights");
    let (dumped, tiny) = (Graph::parse(&dump).unwrap(), Graph::parse(TINY).unwrap());
    assert_eq!(dumped.nodes().len(), tiny.nodes().len());
    let weight = |graph: &Graph| graph.weight_tensor(graph.find_weight("c2.w").unwrap()).cloned();
    assert_eq!(weight(&dumped), weight(&tiny));
}

#[test]
fn open_sizes_are_shown_as_they_are_and_hide_no_count() {
    let folder = Folder::new();
    folder.model("any.onnx", ANY_SIZE);
    let report = folder.json("inspect any.onnx");
    assert_eq!(report["inputs"][0]["type"], "f32[N,3,height,width]");
    assert_eq!(report["parameters"]["total"], 4 * 3 * 9 + 2 * 4);
}

#[test]
fn a_models_history_is_shown() {
    let folder = Folder::new();
    folder.done("new mask-small -o a.onnx");
    folder.done("prune a.onnx -o b.onnx --ratio 0.5");
    folder.done("prune b.onnx -o c.onnx --ratio 0.5 --criterion l1 --seed 9");
    snapshot!("inspect_history", folder.session(&["inspect c.onnx"]));
}

#[test]
fn names_from_a_file_cannot_control_the_terminal() {
    let folder = Folder::new();
    let evil = TINY.replace("\"relu\"", "\"re\\u{1b}[2Jlu\"");
    folder.model("evil.onnx", &evil);
    for line in ["inspect evil.onnx --layers", "inspect evil.onnx --dump", "profile evil.onnx"] {
        let text = folder.done(&format!("{line} --color always"));
        assert!(!text.contains("\u{1b}[2J"), "{line}");
        assert!(text.contains("\\u{1b}[2J"), "{line}");
    }
}
