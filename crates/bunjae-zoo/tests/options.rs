//! What can be asked of the zoo, and what it refuses.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::collections::BTreeSet;

use bunjae_ir::{Bindings, Convention, DimError, Graph, GraphError, Op};
use bunjae_zoo::{ARCHITECTURES, Architecture, Head, Options, Width, ZooError, build};

/// Options under which every architecture is quick to build.
fn quick(architecture: &Architecture) -> Options {
    let width = match architecture.name {
        "vgg16" => Width::Scaled(0.125),
        _ => Width::Standard,
    };
    Options { classes: Some(5), width, ..Options::default() }
}

fn output_shape(graph: &Graph, batch: usize) -> Vec<usize> {
    let bindings = Bindings::from([("N".to_string(), batch)]);
    graph.ty(graph.outputs()[0].tensor).shape(&bindings).unwrap()
}

#[test]
fn every_architecture_keeps_the_conventions_of_the_crate() {
    let mut known = BTreeSet::new();
    for architecture in ARCHITECTURES {
        let name = architecture.name;
        assert!(known.insert(name), "{name} is there twice");
        let graph = architecture.build(&quick(architecture)).unwrap();
        assert_eq!(graph.name, name);
        assert_eq!(graph.label(graph.inputs()[0]), "input");
        let [channels, height, width] = architecture.input;
        let input = format!("f32[N,{channels},{height},{width}]");
        assert_eq!(graph.ty(graph.inputs()[0]).to_string(), input);
        assert_eq!(graph.outputs().len(), 1, "{name}");
        assert_eq!(graph.outputs()[0].name, "logits", "{name}");
        assert_eq!(output_shape(&graph, 3), [3, 5], "{name}");

        let labels: BTreeSet<String> =
            graph.node_ids().map(|(id, _)| graph.node_label(id)).collect();
        assert_eq!(labels.len(), graph.nodes().len(), "{name}: a node's name is used twice");
        for node in graph.nodes() {
            assert!(!node.name.is_empty(), "{name}: {:?} has no name", node.op);
            for (at, &operand) in node.inputs.iter().enumerate().skip(1) {
                let parts: &[&str] = match node.op {
                    Op::BatchNorm(_) => &["weight", "bias", "running_mean", "running_var"],
                    Op::Conv2d(_) | Op::Linear => &["weight", "bias"],
                    _ => continue,
                };
                assert_eq!(graph.label(operand), format!("{}.{}", node.name, parts[at - 1]));
            }
        }
        // Whatever the batch, the graph is well typed and a picture costs the same.
        let macs = |batch| {
            let bindings = Bindings::from([("N".to_string(), batch)]);
            graph.cost(&bindings, Convention::Exact).unwrap().macs
        };
        assert_eq!(macs(7), 7 * macs(1), "{name}");
    }
}

#[test]
fn heads_give_logits_or_probabilities() {
    for (name, last) in [("mask-small", "softmax"), ("pd", "sigmoid"), ("pd-light", "softmax")] {
        let options = Options { head: Head::Probabilities, ..Options::default() };
        let graph = build(name, &options).unwrap();
        assert_eq!(graph.outputs()[0].name, "probabilities");
        assert_eq!(graph.nodes().last().unwrap().op.name(), last, "{name}");
        let logits = build(name, &Options::default()).unwrap();
        assert_eq!(logits.nodes(), &graph.nodes()[..logits.nodes().len()], "{name}");
        assert_eq!(graph.nodes().len(), logits.nodes().len() + 1, "{name}");
    }
}

#[test]
fn an_unknown_name_meets_the_list_and_perhaps_a_guess() {
    let message = |name: &str| build(name, &Options::default()).unwrap_err().to_string();
    let guess = message("mobilenet_v2");
    assert!(
        guess
            .starts_with("no architecture is called `mobilenet_v2` (did you mean `mobilenet-v2`?)")
    );
    assert!(ARCHITECTURES.iter().all(|architecture| guess.contains(architecture.name)));
    assert!(message("resnet-18").contains("mean `resnet18`?"));
    assert!(!message("transformer").contains("did you mean"));
    assert!(!message("").contains("did you mean"));
}

#[test]
fn what_makes_no_network_is_refused() {
    let refused = |options: Options| build("mask-base", &options).unwrap_err();
    let options = || Options::default();
    assert_eq!(refused(Options { classes: Some(0), ..options() }), ZooError::NoClasses);
    let empty = Options { input: Some([3, 0, 128]), ..options() };
    assert_eq!(refused(empty), ZooError::EmptyInput([3, 0, 128]));
    // Two pools of 2 leave nothing of three rows.
    let error = refused(Options { input: Some([3, 3, 128]), ..options() });
    assert!(
        matches!(&error, ZooError::Graph(GraphError::Node { node, .. }) if node == "features.7")
    );
    assert_eq!(
        error.to_string(),
        "features.7 (max_pool): a window of 2 does not fit into 1 with padding 0"
    );
}

#[test]
fn sizes_beyond_all_memory_are_errors() {
    let huge = usize::MAX;
    for architecture in ARCHITECTURES {
        let inputs = [[huge, 32, 32], [3, huge, huge], [3, 1 << 40, 1 << 40], [1 << 40, 64, 64]];
        for input in inputs {
            let options = Options { input: Some(input), ..quick(architecture) };
            let error = architecture.build(&options);
            assert!(error.is_err(), "{} with pictures of {input:?}", architecture.name);
        }
        let options = Options { classes: Some(huge), ..quick(architecture) };
        let error = architecture.build(&options).unwrap_err();
        assert!(matches!(error, ZooError::Weight { .. }), "{}: {error}", architecture.name);
    }
}

#[test]
fn widths_that_do_not_suit_are_refused() {
    let stages = |widths: &[usize]| Width::Stages(widths.to_vec());
    let refused = [
        ("mask-base", stages(&[8, 16])),
        ("mask-base", stages(&[8, 0, 16])),
        ("mask-base", stages(&[8, 16, usize::MAX])),
        ("resnet50", stages(&[8, 16, 32])),
        ("resnet18", Width::Scaled(f64::NAN)),
        ("resnet18", Width::Scaled(0.0)),
        ("vgg16", Width::Scaled(f64::INFINITY)),
        ("mobilenet-v1", stages(&[8])),
        ("mobilenet-v2", Width::Scaled(-1.0)),
        ("mobilenet-v3-small", Width::Scaled(1e9)),
        ("pd", Width::Scaled(0.5)),
        ("pd-light", stages(&[8])),
        ("squeezenet1.1", Width::Scaled(0.5)),
        ("shufflenet-v2", Width::Scaled(0.5)),
        ("densenet-tiny", Width::Scaled(0.5)),
    ];
    for (name, width) in refused {
        let error = build(name, &Options { width: width.clone(), ..Options::default() });
        assert!(matches!(error, Err(ZooError::Width { .. })), "{name} {width}: {error:?}");
    }
    let options = Options { width: Width::Scaled(0.5), ..Options::default() };
    assert_eq!(
        build("pd", &options).unwrap_err().to_string(),
        "`pd` takes its standard widths, not widths times 0.5"
    );
}

#[test]
fn a_tiny_factor_leaves_at_least_one_channel() {
    let options = Options { width: Width::Scaled(1e-9), ..Options::default() };
    for name in ["mask-base", "resnet20", "resnet18d", "mobilenet-v2"] {
        assert!(build(name, &options).is_ok(), "{name}");
    }
}

#[test]
fn the_first_linear_layer_of_vgg16_follows_the_picture() {
    // Stages of 2 channels, so that the features are 2 x the area that is left.
    let width = Width::Stages(vec![2, 2, 2, 2, 2, 8]);
    for (side, features, pool) in [
        (32, 2, None),
        (64, 2 * 2 * 2, None),
        (224, 2 * 7 * 7, None),
        (256, 2 * 7 * 7, Some([2, 2])),
        (448, 2 * 7 * 7, Some([2, 2])),
        (300, 2 * 7 * 7, Some([3, 3])),
    ] {
        let input = Some([3, side, side]);
        let options = Options { input, width: width.clone(), ..Options::default() };
        let graph = build("vgg16", &options).unwrap();
        let weight = graph.find_weight("classifier.0.weight").unwrap();
        assert_eq!(graph.ty(weight).fixed_shape().unwrap(), [8, features], "{side}");
        let window = graph.nodes().iter().find_map(|node| match &node.op {
            Op::AveragePool(op) => Some(op.kernel),
            _ => None,
        });
        assert_eq!(window, pool, "{side}");
    }
    let options = Options { input: Some([3, 16, 16]), width, ..Options::default() };
    let error = build("vgg16", &options).unwrap_err();
    assert!(error.to_string().starts_with("features.30 (max_pool)"), "{error}");
}

#[test]
fn pictures_of_other_sizes_and_channels_are_taken() {
    for (name, input) in [
        ("mask-small", [1, 37, 53]),
        ("pd", [1, 50, 33]),
        ("pd-light", [3, 17, 9]),
        ("resnet18d", [1, 33, 65]),
        ("resnet20", [3, 45, 64]),
        ("mobilenet-v3-small", [3, 97, 33]),
        ("squeezenet1.1", [3, 29, 40]),
        ("shufflenet-v2", [4, 32, 50]),
        ("densenet-tiny", [3, 20, 30]),
    ] {
        let options = Options { input: Some(input), classes: Some(4), ..Options::default() };
        let graph = build(name, &options).unwrap();
        assert_eq!(output_shape(&graph, 2), [2, 4], "{name}");
    }
}

#[test]
fn the_batch_has_to_be_named_to_count() {
    let graph = build("mask-small", &Options::default()).unwrap();
    let error = graph.cost(&Bindings::new(), Convention::Exact).unwrap_err();
    let unbound = DimError::Unbound("N".to_string());
    assert_eq!(error.to_string(), unbound.to_string());
}
