//! Networks of the zoo are trained as the interpreter trains them: the loss, the statistics and all
//! gradients, on every instruction set that this machine has, with the same bits for one thread and
//! two.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use bunjae_engine::{CompileOptions, Input, IsaSet, Output, Segment, TrainingSession};
use bunjae_interp::run;
use bunjae_ir::{Bindings, Dim, Graph, TensorType};
use bunjae_passes::losses::cross_entropy;
use bunjae_passes::{differentiate, for_training, sample_inputs, trainable_weights};
use bunjae_tensor::{Random, Tensor};
use bunjae_zoo::{Options, Width};

/// The bound for a tensor's error, as a share of its norm. A value within a rounding of a kink (of a
/// ReLU, of the two largest in a pooling window) may fall to either side, which moves single elements
/// of the gradients by far more than the rounding; so the norm is what is bounded.
const SHARE: f64 = 2e-2;

/// A deep network multiplies the rounding of every layer on the way there and back: how much, the
/// interpreter shows on pictures that differ by this relative size. It stands for the rounding of
/// every layer, and the first convolution averages most of it away.
const ROUNDING: f64 = 4e-6;

/// How many such differences a tensor may be off.
const ROUNDINGS: f64 = 4.0;

/// A network with a loss and the gradients of all its weights.
fn training_graph(name: &str, options: &Options) -> Graph {
    let graph = bunjae_zoo::build(name, options).unwrap();
    let mut graph = for_training(&graph, |_| false).unwrap().graph;
    let logits = graph.outputs()[0].tensor;
    let classes = graph.ty(logits).dims[1].clone();
    let ty = TensorType { dims: vec![Dim::symbol("N"), classes], ..graph.ty(logits).clone() };
    let targets = graph.input("targets", ty).unwrap();
    let loss = cross_entropy(&mut graph, "loss", logits, targets, None).unwrap();
    graph.output("loss", loss).unwrap();
    let weights = trainable_weights(&graph, loss);
    differentiate(&graph, loss, &weights).unwrap()
}

/// Pictures, targets of one class each, and masks of dropout that keep everything.
fn inputs_of(graph: &Graph, bindings: &Bindings, seed: u64) -> Vec<Tensor> {
    let mut inputs = sample_inputs(graph, bindings, seed).unwrap();
    for (at, &id) in graph.inputs().iter().enumerate() {
        let name = graph.label(id);
        let shape = inputs[at].shape().to_vec();
        let mut values = vec![0f32; inputs[at].len()];
        if name == "targets" {
            for (row, values) in values.chunks_exact_mut(shape[1]).enumerate() {
                values[(row * 7 + seed as usize) % shape[1]] = 1.0;
            }
        } else if name.starts_with("mask.") {
            values.iter_mut().enumerate().for_each(|(i, v)| *v = (i % 3) as f32);
        } else {
            continue;
        }
        inputs[at] = Tensor::from_slice(&shape, &values).unwrap();
    }
    inputs
}

/// The same picture but for roundings.
fn rounded_picture(picture: &Tensor) -> Tensor {
    let mut random = Random::new(1);
    let mut round = |x: f64| (x * (1.0 + random.uniform(-ROUNDING, ROUNDING))) as f32;
    let values: Vec<f32> = picture.to_f64_vec().into_iter().map(&mut round).collect();
    Tensor::from_slice(picture.shape(), &values).unwrap()
}

/// The root of the sum of squares.
fn norm(tensor: &Tensor) -> f64 {
    tensor.to_f64_vec().into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The norm of a difference.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let pairs = a.to_f64_vec().into_iter().zip(b.to_f64_vec());
    pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// Compares a network with the interpreter, and returns the kernels used.
fn check(name: &str, options: &Options, batch: usize) -> BTreeSet<String> {
    let graph = training_graph(name, options);
    let bindings = Bindings::from([("N".to_string(), batch)]);
    let inputs = inputs_of(&graph, &bindings, 3);
    let bound = graph.bind(&bindings).unwrap();
    let expected = run(&bound, &inputs).unwrap();
    let mut rounded = inputs.clone();
    rounded[0] = rounded_picture(&inputs[0]);
    let rounded = run(&bound, &rounded).unwrap();
    let output = |name: &str| graph.outputs().iter().position(|out| out.name == name).unwrap();
    let expected = |name: &str| &expected[output(name)];
    let sensitivity = |name: &str| distance(&rounded[output(name)], expected(name));
    let mut kernels = BTreeSet::new();
    for isa in IsaSet::available().iter() {
        let mut all = Vec::new();
        for threads in [1, 2] {
            let options = CompileOptions {
                isa: Some(isa),
                threads,
                compact: threads == 2,
                ..CompileOptions::batch(batch)
            };
            let mut session = TrainingSession::new(&graph, &options).unwrap();
            kernels.extend(session.model().explain().steps.into_iter().map(|step| step.kernel));
            let ports = session.outputs().to_vec();
            let mut results: Vec<Tensor> =
                ports.iter().map(|port| Tensor::zeros(port.dtype, &port.shape).unwrap()).collect();
            // The second run finds the memory as the first left it.
            for _ in 0..2 {
                let inputs: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
                let mut outputs: Vec<Output<'_>> = results.iter_mut().map(Output::from).collect();
                session.run(&inputs, &mut outputs).unwrap();
                let mut between = session.gradients().to_vec();
                for Segment { start, len, .. } in session.segments() {
                    between[*start..start + len].fill(0.0);
                }
                assert!(between.iter().all(|value| *value == 0.0), "{}, {isa}", graph.name);
                let mut named: Vec<(String, Tensor)> = Vec::new();
                for Segment { name, shape, start, len } in session.segments() {
                    let gradient = &session.gradients()[*start..start + len];
                    let gradient = Tensor::from_slice(shape, gradient).unwrap();
                    named.push((format!("grad.{name}"), gradient));
                }
                let names = ports.iter().map(|port| port.name.clone());
                named.extend(names.zip(results.iter().cloned()));
                all.push(named);
            }
        }
        for other in &all[1..] {
            for ((name, a), (_, b)) in all[0].iter().zip(other) {
                assert!(a == b, "{} on {isa}: {name} differs between runs", graph.name);
            }
        }
        let gradients = all[0].iter().filter(|(name, _)| name.starts_with("grad."));
        let typical = gradients.clone().map(|(name, _)| norm(expected(name)));
        let typical = typical.sum::<f64>() / gradients.count() as f64;
        for (name, value) in &all[0] {
            // What is zero but for rounding, the gradient of a bias before a normalisation, is
            // measured by the others.
            let scale = norm(expected(name)).max(1e-2 * typical);
            let allowed = SHARE * scale + ROUNDINGS * sensitivity(name);
            let error = distance(value, expected(name));
            assert!(
                error <= allowed,
                "{} on {isa}, {name}: off by {error:e}, allowed {allowed:e}, norm {scale:e}",
                graph.name
            );
        }
    }
    kernels
}

fn size(input: [usize; 3]) -> Options {
    Options { input: Some(input), classes: Some(5), ..Options::default() }
}

#[test]
fn mask_networks() {
    let kernels = check("mask-small", &size([3, 32, 32]), 4);
    for wanted in [
        "batch norm train +relu +pool",
        "batch norm train +relu +average",
        "batch norm grad +relu +pool +bias",
        "batch norm grad +relu +average +bias",
        "conv weight grad 3x3",
        "pack",
    ] {
        assert!(kernels.contains(wanted), "{wanted}: {kernels:#?}");
    }
    let generic = ["plain conv", "transposed conv", "pool", "pool grad"];
    assert!(!generic.iter().any(|name| kernels.contains(*name)), "{kernels:#?}");
    let odd = Options { width: Width::Stages(vec![7, 22, 45]), ..size([3, 33, 41]) };
    check("mask-base", &odd, 3);
}

#[test]
fn partial_discharge_networks() {
    let kernels = check("pd-light", &size([1, 20, 36]), 4);
    for wanted in [
        "batch norm train +leakyrelu",
        "batch norm grad +leakyrelu",
        "conv grad/depthwise 3x3",
        "batch norm train +residual",
    ] {
        assert!(kernels.contains(wanted), "{wanted}: {kernels:#?}");
    }
}

#[test]
fn residual_networks() {
    let kernels = check("resnet20", &size([3, 16, 16]), 4);
    for wanted in [
        "batch norm train +residual +relu",
        "batch norm again +relu",
        "batch norm again +residual +relu",
        "map grad +relu",
        "conv grad/phases 3x3 +add",
    ] {
        assert!(kernels.contains(wanted), "{wanted}: {kernels:#?}");
    }
    assert!(kernels.iter().any(|name| name.ends_with("3x3 +add")), "{kernels:#?}");
    let thin = Options { width: Width::Stages(vec![8, 12, 16, 20]), ..size([3, 40, 33]) };
    check("resnet18", &thin, 2);
}

#[test]
fn mobile_networks() {
    check("mobilenet-v2", &size([3, 96, 88]), 4);
    check("mobilenet-v3-small", &size([3, 96, 96]), 3);
}

#[test]
fn networks_that_join_and_split() {
    check("shufflenet-v2", &size([3, 96, 96]), 3);
    check("densenet-tiny", &size([3, 32, 32]), 3);
    check("squeezenet1.1", &size([3, 48, 48]), 2);
}
