//! The engine computes what the interpreter computes: every operator, random networks and the
//! zoo's, on every instruction set that this machine has, with the same bits for one thread and two.
//!
//! The tolerances are those that the crate's front page states.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;

use bunjae_engine::{CompileOptions, IsaSet, Model, Session};
use bunjae_interp::run;
use bunjae_ir::examples::examples;
use bunjae_ir::op::Binary;
use bunjae_ir::{Bindings, Graph, GraphError, Op, TensorType};
use bunjae_passes::sample_inputs;
use bunjae_tensor::{Random, Tensor, Tolerance, compare};
use bunjae_testkit::fill;
use bunjae_testkit::random_graph::{block_names, random_graph};
use bunjae_zoo::{Head, Options, Width};

/// The bound for one operator, as a share of the largest element of the result.
const OPERATOR: f64 = 4e-6;

/// The bound for a network, as a share of the largest element of the result.
const NETWORK: f64 = 1e-4;

/// Compiles and runs on every instruction set, with one thread and two, and returns the kernels
/// used.
fn check(
    graph: &Graph,
    inputs: &[Tensor],
    options: &CompileOptions,
    bound: f64,
    context: &str,
) -> BTreeSet<String> {
    let expected = run(graph, inputs).unwrap_or_else(|error| panic!("{context}: {error}"));
    let mut kernels = BTreeSet::new();
    for isa in IsaSet::available().iter() {
        let options = CompileOptions { isa: Some(isa), ..options.clone() };
        let model = Model::compile(graph, &options)
            .unwrap_or_else(|error| panic!("{context} on {isa}: {error}\n{graph}"));
        kernels.extend(model.explain().steps.into_iter().map(|step| step.kernel));
        let model = Arc::new(model);
        let mut results = Vec::new();
        for threads in [1, 2] {
            let mut session = Session::with_threads(model.clone(), threads).unwrap();
            // The second run finds the memory as the first left it.
            for _ in 0..2 {
                let outputs = session.run_tensors(inputs);
                results.push(outputs.unwrap_or_else(|error| panic!("{context} on {isa}: {error}")));
            }
        }
        for other in &results[1..] {
            assert!(other == &results[0], "{context} on {isa}: runs or threads differ");
        }
        for ((value, expected), port) in results[0].iter().zip(&expected).zip(model.outputs()) {
            let scale = expected.to_f64_vec().into_iter().filter(|x| x.is_finite());
            let scale = scale.fold(0f64, |largest, x| largest.max(x.abs()));
            let absolute = if expected.dtype().is_float() { bound * scale } else { 0.0 };
            let difference =
                compare(value, expected, Tolerance { absolute, relative: 0.0 }).unwrap();
            assert!(
                difference.is_within() && value.dtype() == expected.dtype(),
                "{context} on {isa}, {}: {difference:?}\n{}",
                port.name,
                model.explain()
            );
        }
    }
    kernels
}

/// Numbers that suit an operand: positive where a variance or a scale is wanted, no integer 0 where
/// something is divided by it.
fn operand(op: &Op, at: usize, ty: &TensorType, random: &mut Random) -> Result<Tensor, GraphError> {
    match (op, at, ty.dtype.is_float()) {
        (Op::BatchNorm(_) | Op::BatchNormGrad(_), 4, _) => fill::uniform(ty, 0.5, 2.0, random),
        (Op::Quantize(_) | Op::Dequantize(_), 1, _) => fill::uniform(ty, 0.02, 0.1, random),
        (Op::Binary(Binary::Div | Binary::Pow), _, false) => fill::whole(ty, 1, 5, random),
        (_, _, true) => fill::uniform(ty, -3.0, 3.0, random),
        (_, _, false) => fill::whole(ty, -100, 100, random),
    }
}

#[test]
fn every_operator() {
    let mut seen = BTreeSet::new();
    for (number, example) in examples().into_iter().enumerate() {
        let mut random = Random::new(number as u64);
        let graph = example.graph(|at, ty| operand(&example.op, at, ty, &mut random)).unwrap();
        let mut inputs = Vec::new();
        for (at, (ty, weight)) in example.inputs.iter().zip(&example.weights).enumerate() {
            if !weight {
                inputs.push(operand(&example.op, at, ty, &mut random).unwrap());
            }
        }
        let context = format!("example {number}, {}", example.op.name());
        check(&graph, &inputs, &CompileOptions::default(), OPERATOR, &context);
        seen.insert(example.op.name());
    }
    let missing: Vec<&str> = Op::names().filter(|name| !seen.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_operator_with_computed_operands() {
    // What is a weight in the example is an input here, and what comes in is a transposed view.
    for (number, mut example) in examples().into_iter().enumerate() {
        let mut random = Random::new(number as u64);
        example.weights.fill(false);
        let graph = example.graph(|at, ty| operand(&example.op, at, ty, &mut random)).unwrap();
        let types = example.inputs.iter().enumerate();
        let inputs = types.map(|(at, ty)| operand(&example.op, at, ty, &mut random).unwrap());
        let inputs: Vec<Tensor> = inputs.collect();
        let context = format!("example {number}, {}", example.op.name());
        check(&graph, &inputs, &CompileOptions::default(), OPERATOR, &context);
    }
}

#[test]
fn random_networks() {
    let mut kinds = BTreeSet::new();
    let mut kernels = BTreeSet::new();
    for seed in 0..120 {
        let network = random_graph(seed).unwrap();
        let batch = if seed % 3 == 0 { 3 } else { 1 };
        let bindings = Bindings::from([("N".to_string(), batch)]);
        let inputs = sample_inputs(&network.graph, &bindings, seed).unwrap();
        let context = format!("random network {seed}");
        // Half of them with borders that are cleared at each run.
        let compact = seed % 2 == 1;
        let options = CompileOptions { sizes: bindings, compact, ..CompileOptions::default() };
        kernels.extend(check(&network.graph, &inputs, &options, NETWORK, &context));
        kinds.extend(network.kinds);
    }
    for block in block_names() {
        assert!(kinds.contains(block), "no network had the block `{block}`");
    }
    assert!(kernels.len() > 30, "{kernels:#?}");
}

fn zoo(name: &str, options: &Options, batch: usize) {
    zoo_with(name, options, &CompileOptions::batch(batch));
}

fn zoo_with(name: &str, options: &Options, compile: &CompileOptions) {
    let graph = bunjae_zoo::build(name, options).unwrap();
    let inputs = sample_inputs(&graph, &compile.sizes, 7).unwrap();
    check(&graph, &inputs, compile, NETWORK, &format!("{name} {options:?}"));
}

fn size(input: [usize; 3]) -> Options {
    Options { input: Some(input), classes: Some(5), ..Options::default() }
}

#[test]
fn mask_networks_of_odd_widths_and_sizes() {
    for name in ["mask-base", "mask-medium", "mask-small"] {
        zoo(name, &size([3, 40, 40]), 1);
    }
    zoo("mask-small", &size([3, 45, 39]), 3);
    let odd = Options { width: Width::Stages(vec![7, 22, 45]), ..size([3, 33, 40]) };
    zoo("mask-base", &odd, 1);
    zoo("mask-small", &Options { head: Head::Probabilities, ..size([3, 32, 32]) }, 2);
}

#[test]
fn partial_discharge_networks() {
    let tuned = CompileOptions { tune: true, ..CompileOptions::batch(1) };
    zoo_with("pd-light", &size([1, 20, 30]), &tuned);
    zoo("pd", &size([1, 60, 60]), 1);
    zoo("pd-light", &size([1, 40, 60]), 1);
    zoo("pd-light", &size([1, 37, 41]), 3);
}

#[test]
fn residual_networks() {
    zoo("resnet20", &size([3, 32, 32]), 1);
    zoo("resnet20", &size([3, 17, 21]), 3);
    zoo("resnet18", &size([3, 40, 40]), 1);
    zoo("resnet18d", &size([3, 64, 40]), 1);
    zoo("resnet50", &size([3, 33, 33]), 1);
}

#[test]
fn mobile_networks() {
    zoo("mobilenet-v1", &size([3, 48, 48]), 1);
    zoo("mobilenet-v2", &size([3, 48, 64]), 1);
    let compact = CompileOptions { compact: true, ..CompileOptions::batch(1) };
    zoo_with("mobilenet-v2", &size([3, 32, 40]), &compact);
    zoo("mobilenet-v3-small", &size([3, 64, 64]), 2);
}

#[test]
fn networks_that_join_and_split() {
    zoo("squeezenet1.1", &size([3, 64, 64]), 1);
    zoo("shufflenet-v2", &size([3, 64, 64]), 1);
    zoo("densenet-tiny", &size([3, 32, 32]), 2);
}
