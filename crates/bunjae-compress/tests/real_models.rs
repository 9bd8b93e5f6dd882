//! Pretrained models cut to size: what is written computes what the masked original computes, in the
//! interpreter to the bit and in ONNX Runtime within rounding.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use bunjae_compress::{Settings, Sizes, Target, prune};
use bunjae_ir::{Bindings, Graph};
use bunjae_onnx::{ExportOptions, Limits, import, save};
use bunjae_passes::{output_difference, sample_inputs};
use bunjae_tensor::{Tensor, Tolerance, compare};
use bunjae_testkit::onnx_runtime::{Job, run};
use bunjae_testkit::{data_dir, python};

const RATIOS: [f64; 3] = [0.3, 0.5, 0.7];

/// Path below the data folder, sizes of the symbols, and how many parameters are left at each ratio.
struct Model {
    path: &'static str,
    sizes: &'static [(&'static str, usize)],
}

const MODELS: &[Model] = &[
    Model { path: "models/resnet56_cifar10.onnx", sizes: &[("N", 2)] },
    Model { path: "models/mobilenet_v2_imagenet.onnx", sizes: &[("N", 1)] },
    Model { path: "face_models/yunet_n_320_320.onnx", sizes: &[] },
    Model {
        path: "face_models/yunet_n_dynamic.onnx",
        sizes: &[("batch", 2), ("height", 96), ("width", 160)],
    },
];

fn load(data: &Path, model: &Model) -> (Graph, Bindings) {
    let path = data.join(model.path);
    let imported = import(&path, &Limits::default());
    let graph = imported.unwrap_or_else(|error| panic!("{error}")).graph;
    let sizes = model.sizes.iter().map(|(name, size)| ((*name).to_string(), *size));
    (graph, sizes.collect())
}

fn named(graph: &Graph, tensors: &[Tensor]) -> Vec<(String, Tensor)> {
    let names = graph.inputs().iter().map(|&id| graph.label(id));
    names.zip(tensors.iter().cloned()).collect()
}

#[test]
fn pruned_models_equal_their_masked_originals() {
    let Some(data) = data_dir("pruned_models_equal_their_masked_originals") else { return };
    for model in MODELS {
        let (graph, bindings) = load(&data, model);
        let inputs = sample_inputs(&graph, &bindings, 11).unwrap();
        for ratio in RATIOS {
            let bindings = bindings.clone();
            let settings = Settings { bindings, ..Settings::new(Target::Ratio(ratio)) };
            let pruned = prune(&graph, &settings).unwrap();
            pruned.graph.verify().unwrap();
            let found = output_difference(&pruned.graph, &pruned.masked, &inputs, Tolerance::EXACT);
            for (output, difference) in found.unwrap() {
                let place = format!("{} at {ratio}: {output}", model.path);
                assert!(difference.is_within(), "{place}: {difference:?}");
            }
            let Sizes { parameters, macs, .. } = pruned.before;
            // Removing a share p of the channels removes about 1 - (1-p)^2 of a chain of layers;
            // the first and the last layer and what is pinned lose less.
            let bound = 1.0 - ratio * 0.5;
            assert!((pruned.after.parameters as f64) < parameters as f64 * bound, "{}", model.path);
            assert!((pruned.after.macs as f64) < macs as f64 * bound, "{}", model.path);
        }
    }
}

#[test]
fn pruned_models_run_in_onnx_runtime() {
    let test = "pruned_models_run_in_onnx_runtime";
    let (Some(data), Some(python)) = (data_dir(test), python(test)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut jobs = Vec::new();
    let mut expected = Vec::new();
    for (at, model) in MODELS.iter().enumerate() {
        let (graph, bindings) = load(&data, model);
        let inputs = sample_inputs(&graph, &bindings, 12).unwrap();
        for ratio in RATIOS {
            let bindings = bindings.clone();
            let settings = Settings { bindings, ..Settings::new(Target::Ratio(ratio)) };
            let pruned = prune(&graph, &settings).unwrap();
            for (kind, graph) in [("pruned", &pruned.graph), ("masked", &pruned.masked)] {
                let model = folder.path().join(format!("{at}-{ratio}-{kind}.onnx"));
                save(&model, graph, &ExportOptions::default()).unwrap();
                jobs.push(Job { model, inputs: named(graph, &inputs) });
            }
            let place = format!("{} at {ratio}", model.path);
            expected.push((place, bunjae_interp::run(&pruned.graph, &inputs).unwrap()));
        }
    }
    let results = run(&python, folder.path(), &jobs).unwrap_or_else(|error| panic!("{error}"));
    // f32 sums of thousands of terms in another order, through dozens of layers.
    let tolerance = Tolerance { absolute: 2e-4, relative: 2e-4 };
    for ((place, own), pair) in expected.iter().zip(results.chunks(2)) {
        assert_eq!(own.len(), pair[0].len(), "{place}");
        for (own, (pruned, masked)) in own.iter().zip(pair[0].iter().zip(&pair[1])) {
            let name = &pruned.0;
            assert_eq!(name, &masked.0);
            for (what, reference) in [("masked", &masked.1), ("interpreted", own)] {
                let difference = compare(&pruned.1, reference, tolerance).unwrap();
                assert!(difference.is_within(), "{place}, {name}, {what}: {difference:?}");
            }
        }
    }
}
