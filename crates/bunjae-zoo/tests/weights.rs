//! What the weights start from.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use bunjae_ir::{Graph, Source, TensorId};
use bunjae_tensor::Tensor;
use bunjae_zoo::{ARCHITECTURES, Options, Width, build};

/// The distribution that a weight should have.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    Constant(f64),
    Normal(f64),
    /// Between minus and plus the bound.
    Uniform(f64),
}

/// The law of the parameters that are not part of a normalisation, from the page of the crate.
/// `fan_in` and `fan_out` are those of the layer's weight.
fn law(architecture: &str, conv: bool, bias: bool, fan_in: f64, fan_out: f64) -> Law {
    let default = Law::Uniform(1.0 / fan_in.sqrt());
    match (architecture, conv, bias) {
        ("squeezenet1.1", _, false) => Law::Uniform((6.0 / fan_in).sqrt()),
        ("squeezenet1.1", _, true) => Law::Constant(0.0),
        ("densenet-tiny", true, false) => Law::Normal((2.0 / fan_in).sqrt()),
        ("densenet-tiny", false, true) => Law::Constant(0.0),
        ("vgg16" | "mobilenet-v1" | "mobilenet-v2" | "mobilenet-v3-small", _, true) => {
            Law::Constant(0.0)
        }
        ("vgg16" | "mobilenet-v1" | "mobilenet-v2" | "mobilenet-v3-small", false, false) => {
            Law::Normal(0.01)
        }
        ("vgg16" | "mobilenet-v1" | "mobilenet-v2" | "mobilenet-v3-small", true, false) => {
            Law::Normal((2.0 / fan_out).sqrt())
        }
        ("resnet18" | "resnet18d" | "resnet50" | "resnet20" | "resnet56", true, false) => {
            Law::Normal((2.0 / fan_out).sqrt())
        }
        _ => default,
    }
}

fn assert_law(place: &str, tensor: &Tensor, law: Law) {
    let values = tensor.to_f64_vec();
    let count = values.len() as f64;
    let largest = values.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    // (standard deviation, fourth moment over its fourth power)
    let (deviation, kurtosis) = match law {
        Law::Constant(constant) => {
            assert!(values.iter().all(|&value| value == constant), "{place}: not all {constant}");
            return;
        }
        Law::Normal(deviation) => (deviation, 3.0),
        Law::Uniform(bound) => {
            // Rounding to f32 may reach the bound.
            assert!(largest <= bound * (1.0 + 1e-7), "{place}: {largest} is over {bound}");
            (bound / 3f64.sqrt(), 9.0 / 5.0)
        }
    };
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| value * value).sum::<f64>() / count;
    // Six standard errors: over the few hundred weights here a right one never fails.
    let error = 6.0 / count.sqrt();
    assert!(mean.abs() <= error * deviation, "{place}: mean {mean}, deviation {deviation}");
    let off = (variance / (deviation * deviation) - 1.0).abs();
    let allowed = error * f64::sqrt(kurtosis - 1.0);
    assert!(off <= allowed, "{place}: variance off by {off}, allowed {allowed} of {count}");
    assert!(count < 100.0 || largest > 1.5 * deviation, "{place}: largest {largest}");
}

fn weights(graph: &Graph) -> Vec<(TensorId, String, Tensor)> {
    let weight = |&id: &TensorId| (id, graph.label(id), graph.weight_tensor(id).unwrap().clone());
    graph.weights().iter().map(weight).collect()
}

fn find(graph: &Graph, name: &str) -> Tensor {
    let id = graph.find_weight(name).unwrap_or_else(|| panic!("no weight {name}"));
    graph.weight_tensor(id).unwrap().clone()
}

/// A network small enough to look at every weight.
fn small(name: &str) -> Graph {
    let scalable = ["resnet", "mobilenet", "vgg"].iter().any(|family| name.starts_with(family));
    let width = if scalable { Width::Scaled(0.25) } else { Width::Standard };
    build(name, &Options { width, seed: 3, ..Options::default() }).unwrap()
}

#[test]
fn every_weight_follows_the_law_of_its_reference() {
    for architecture in ARCHITECTURES {
        let name = architecture.name;
        let graph = small(name);
        for (_, weight, tensor) in weights(&graph) {
            let place = format!("{name} {weight}");
            let (path, part) = weight.rsplit_once('.').unwrap();
            let normalised = graph.find_weight(&format!("{path}.running_mean")).is_some();
            let last_gamma = path.starts_with("layer") && path.ends_with("bn2");
            let expected = match part {
                "running_mean" => Law::Constant(0.0),
                "running_var" => Law::Constant(1.0),
                "weight" if normalised && name == "resnet18d" && last_gamma => Law::Constant(0.0),
                "weight" if normalised => Law::Constant(1.0),
                "bias" if normalised => Law::Constant(0.0),
                "weight" if place == "squeezenet1.1 classifier.1.weight" => Law::Normal(0.01),
                part => {
                    let shape = find(&graph, &format!("{path}.weight")).shape().to_vec();
                    let product = |sizes: &[usize]| sizes.iter().product::<usize>() as f64;
                    let (fan_in, taps) = (product(&shape[1..]), product(&shape[2..]));
                    let fan_out = shape[0] as f64 * taps;
                    law(name, shape.len() == 4, part == "bias", fan_in, fan_out)
                }
            };
            assert_law(&place, &tensor, expected);
        }
    }
}

#[test]
fn a_seed_fixes_every_weight_and_another_changes_it() {
    let with_seed = |seed| build("mask-small", &Options { seed, ..Options::default() }).unwrap();
    let (first, again, other) = (with_seed(1), with_seed(1), with_seed(2));
    assert_eq!(first, again);
    for (id, name, tensor) in weights(&first) {
        let place = name.rsplit_once('.').unwrap().0;
        let normalised = first.find_weight(&format!("{place}.running_mean")).is_some();
        assert_eq!(other.weight_tensor(id) == Some(&tensor), normalised, "{name}");
    }
}

/// What seed 0 has always meant: whoever trained from it wants to start from there again. The
/// numbers come from a second implementation of the generator and of both distributions.
#[test]
fn seeds_keep_their_meaning() {
    for (network, name, expected) in [
        ("mask-small", "features.0.weight", [-0.094_173_744_f32, -0.009_055_183, -0.038_183_026]),
        ("resnet20", "conv1.weight", [0.120_854_266, -0.182_975_44, -0.105_705_775]),
    ] {
        let weight = find(&build(network, &Options::default()).unwrap(), name);
        assert_eq!(weight.elements::<f32>().unwrap()[..3], expected, "{network}");
    }
}

#[test]
fn a_layer_does_not_depend_on_the_others() {
    let shallow = build("resnet20", &Options::default()).unwrap();
    let deep = build("resnet56", &Options { classes: Some(7), ..Options::default() }).unwrap();
    for name in ["conv1.weight", "layer1.2.conv2.weight", "layer3.0.downsample.0.weight"] {
        assert_eq!(find(&shallow, name), find(&deep, name), "{name}");
    }
    // Layers of one shape are not copies of one another.
    let other = find(&shallow, "layer1.1.conv2.weight");
    assert_ne!(find(&shallow, "layer1.2.conv2.weight"), other);
}

#[test]
fn running_statistics_are_not_trained() {
    let graph = small("mobilenet-v3-small");
    for (id, name, _) in weights(&graph) {
        let Source::Weight { trainable, .. } = graph.value(id).source else {
            panic!("{name} is no weight");
        };
        let running = name.ends_with("running_mean") || name.ends_with("running_var");
        assert_eq!(trainable, !running, "{name}");
    }
}
