//! `bunjae diff`.

use safetensors::{Dtype, View};

use crate::support::{Folder, TINY, snapshot};

/// A tensor for a file.
struct Values {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Values {
    /// A ramp from 0 in steps of 1/100.
    fn ramp(shape: &[usize]) -> Values {
        let count: usize = shape.iter().product();
        let bytes = (0..count).flat_map(|at| (at as f32 / 100.0).to_le_bytes()).collect();
        Values { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }
}

impl View for &Values {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.as_slice().into()
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn safetensors(tensors: &[(&str, Values)]) -> Vec<u8> {
    let tensors = tensors.iter().map(|(name, values)| (*name, values));
    safetensors::serialize(tensors, None).unwrap()
}

#[test]
fn a_model_equals_itself() {
    let folder = Folder::with_tiny();
    snapshot!(
        "diff_same",
        folder.session(&["diff tiny.onnx tiny.onnx", "diff tiny.onnx tiny.onnx --structure"])
    );
}

#[test]
fn differences_in_structure_and_outputs_are_named() {
    let folder = Folder::with_tiny();
    let other = TINY
        .replace(
            "w    @c2.w: f32[4,4,3,3] = rand(seed=3)",
            "w    @c2.w: f32[4,4,3,3] = rand(seed=9)",
        )
        .replace("%2 = relu %1 : f32[N,4,8,8] ; \"relu\"", "%2 = tanh %1 : f32[N,4,8,8] ; \"act\"");
    folder.model("other.onnx", &other);
    snapshot!(
        "diff_different",
        folder.session(&[
            "diff tiny.onnx other.onnx --batch 4",
            "diff tiny.onnx other.onnx --structure --format json",
            "diff tiny.onnx other.onnx --format json",
        ])
    );
}

#[test]
fn long_lists_are_cut_short_unless_asked() {
    let folder = Folder::new();
    folder.done("new mask-base -o a.onnx");
    folder.done("prune a.onnx -o b.onnx --ratio 0.5");
    let short = folder.run("diff a.onnx b.onnx --structure");
    assert_eq!(short.status.code(), Some(1));
    let short = String::from_utf8(short.stdout).unwrap();
    let all = String::from_utf8(folder.run("diff a.onnx b.onnx --structure --all").stdout).unwrap();
    assert!(short.contains("which --all shows") && !all.contains("which --all shows"));
    assert!(!short.contains("features.11: ") && all.contains("features.11: "), "{all}");
}

#[test]
fn the_tolerance_decides() {
    let folder = Folder::with_tiny();
    let near = TINY.replace("@fc.w", "@head.w");
    folder.model("renamed.onnx", &near);
    // Another name for a weight changes the structure and no output.
    assert_eq!(folder.run("diff tiny.onnx renamed.onnx --tolerance 0").status.code(), Some(0));
    assert_eq!(folder.run("diff tiny.onnx renamed.onnx --structure").status.code(), Some(1));
    folder.model("other.onnx", &TINY.replace("seed=4", "seed=5"));
    assert_eq!(folder.run("diff tiny.onnx other.onnx --tolerance 100").status.code(), Some(0));
    assert_eq!(folder.run("diff tiny.onnx other.onnx").status.code(), Some(1));
}

#[test]
fn other_names_are_matched_by_place() {
    let folder = Folder::with_tiny();
    folder.model("renamed.onnx", &TINY.replace("%x", "%picture").replace("scores", "logits"));
    let report = folder.json("diff tiny.onnx renamed.onnx");
    assert_eq!(report["computed"]["matched_by_name"], false);
    assert_eq!(report["computed"]["outputs"][0]["largest_difference"], 0.0);
    assert_eq!(report["same"], true);
}

#[test]
fn a_size_left_open_in_one_model_differs_at_its_ends_alone() {
    let folder = Folder::with_tiny();
    folder.model("fixed.onnx", &TINY.replace("[N,", "[2,"));
    let report = folder.json("diff tiny.onnx fixed.onnx --batch 2");
    let changed = |what: &str| report["structure"][what]["changed"].as_array().unwrap().len();
    assert_eq!(["inputs", "outputs", "nodes", "weights"].map(changed), [1, 1, 0, 0]);
    assert_eq!(report["same"], true);
}

#[test]
fn outputs_of_other_shapes_differ() {
    let folder = Folder::with_tiny();
    let wide = TINY.replace("f32[3,4]", "f32[5,4]").replace("f32[N,3]", "f32[N,5]");
    folder.model("wide.onnx", &wide);
    snapshot!("diff_shapes", folder.session(&["diff tiny.onnx wide.onnx"]));
}

#[test]
fn input_can_come_from_a_file() {
    let folder = Folder::with_tiny();
    folder.model("other.onnx", &TINY.replace("seed=3", "seed=9"));
    folder.write("input.safetensors", safetensors(&[("x", Values::ramp(&[2, 3, 8, 8]))]));
    folder.write("named.safetensors", safetensors(&[("input", Values::ramp(&[2, 3, 8, 8]))]));
    folder.write("shape.safetensors", safetensors(&[("x", Values::ramp(&[2, 3, 8, 9]))]));
    let half = Values { dtype: Dtype::F16, bytes: vec![0; 2], shape: vec![1] };
    folder.write("half.safetensors", safetensors(&[("x", half)]));
    let whole = Values { dtype: Dtype::I64, bytes: vec![0; 8 * 192], shape: vec![1, 3, 8, 8] };
    folder.write("whole.safetensors", safetensors(&[("x", whole)]));
    folder.write("text.safetensors", "x = 1, 2, 3");
    snapshot!(
        "diff_input",
        folder.session(&[
            "diff tiny.onnx other.onnx --input input.safetensors",
            "diff tiny.onnx other.onnx --input named.safetensors",
            "diff tiny.onnx other.onnx --input shape.safetensors",
            "diff tiny.onnx other.onnx --input whole.safetensors",
            "diff tiny.onnx other.onnx --input half.safetensors",
            "diff tiny.onnx other.onnx --input text.safetensors",
            "diff tiny.onnx other.onnx --input nowhere.safetensors",
        ])
    );
}

#[test]
fn models_with_other_numbers_of_inputs_are_not_run() {
    let folder = Folder::with_tiny();
    folder.model(
        "two.onnx",
        "graph @two
         in   %x: f32[N,3]
         in   %y: f32[N,3]
         %1 = add %x, %y : f32[N,3] ; \"add\"
         out  %1 ; \"scores\"",
    );
    snapshot!(
        "diff_inputs",
        folder.session(&["diff tiny.onnx two.onnx", "diff tiny.onnx two.onnx --structure"])
    );
}
