//! Training graphs in the engine: random networks, their losses and gradients, compute what the
//! interpreter computes, with the same bits for one thread and two.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;

use bunjae_engine::{CompileOptions, Model, Session};
use bunjae_interp::run;
use bunjae_ir::op::{Binary, Reduce};
use bunjae_ir::{Bindings, Graph, Op, TensorId};
use bunjae_passes::{
    DifferentiateError, differentiate, for_training, sample_inputs, trainable_weights,
};
use bunjae_tensor::{DType, Random, Tensor, Tolerance, compare};
use bunjae_testkit::random_graph::random_graph;

/// The bound for a gradient, as a share of its largest element: a network's and once more as much for
/// the way back.
const GRADIENT: f64 = 2e-4;

/// Where the terms of a gradient cancel each other, this share of the largest of all gradients is
/// what its error is measured by.
const CANCELLED: f64 = 1e-3;

/// How far each element of an input is moved, as a share of it, to see how much of a rounding error
/// the network makes.
const NUDGE: f64 = 1e-6;

/// A gradient may be off by so many times what the nudge moves it, besides its bound: about one for each
/// normalisation over few values, which is what makes rounding errors large.
const NUDGES: f64 = 4.0;

/// The network in training, with the mean square of its outputs as a loss.
fn with_loss(graph: &Graph) -> (Graph, TensorId) {
    let mut graph = for_training(graph, |_| false).unwrap().graph;
    let heads: Vec<TensorId> = graph.outputs().iter().map(|output| output.tensor).collect();
    let mut total: Option<TensorId> = None;
    for head in heads {
        let square = graph.push("", Binary::Mul, &[head, head]).unwrap();
        let axes = (0..graph.ty(square).rank()).collect();
        let mean = Op::Reduce(Reduce { axes, keep: false, ..Reduce::default() });
        let mean = graph.push("", mean, &[square]).unwrap();
        total = Some(match total {
            Some(total) => graph.push("", Binary::Add, &[total, mean]).unwrap(),
            None => mean,
        });
    }
    let loss = total.unwrap();
    graph.output("loss", loss).unwrap();
    (graph, loss)
}

/// The inputs with each float moved up or down by at most [`NUDGE`] of itself.
fn nudged(inputs: &[Tensor], seed: u64) -> Vec<Tensor> {
    let mut random = Random::new(seed);
    let mut inputs = inputs.to_vec();
    for input in inputs.iter_mut().filter(|input| input.dtype() == DType::F32) {
        for value in input.elements_mut::<f32>().unwrap() {
            *value *= 1.0 + random.uniform(-NUDGE, NUDGE) as f32;
        }
    }
    inputs
}

#[test]
fn random_networks_train_as_in_the_interpreter() {
    let (mut compared, mut kernels) = (0, BTreeSet::new());
    for seed in (1..100).step_by(2) {
        let (graph, loss) = with_loss(&random_graph(seed).unwrap().graph);
        let asked = trainable_weights(&graph, loss);
        let training = match differentiate(&graph, loss, &asked) {
            Ok(training) => training,
            Err(DifferentiateError::NoGradient { op: "quantize" | "dequantize", .. }) => continue,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        let bindings = Bindings::from([("N".to_string(), 3)]);
        let inputs = sample_inputs(&training, &bindings, seed).unwrap();
        let expected = run(&training, &inputs).unwrap();
        // A channel of one value, normalised without an epsilon, is 0 / 0.
        if expected.iter().any(|tensor| tensor.to_f64_vec().iter().any(|x| !x.is_finite())) {
            continue;
        }
        let options = CompileOptions { sizes: bindings, ..CompileOptions::default() };
        let model = Arc::new(Model::compile(&training, &options).unwrap());
        kernels.extend(model.explain().steps.into_iter().map(|step| step.kernel));
        let results = [1, 2].map(|threads| {
            let mut session = Session::with_threads(model.clone(), threads).unwrap();
            session.run_tensors(&inputs).unwrap()
        });
        assert!(results[0] == results[1], "seed {seed}: threads differ");
        let nudged = run(&training, &nudged(&inputs, seed)).unwrap();
        let whole = |tensor: &Tensor| {
            tensor.to_f64_vec().into_iter().fold(0f64, |most, x| most.max(x.abs()))
        };
        let most = expected.iter().map(whole).fold(0.0, f64::max);
        let pairs = results[0].iter().zip(expected.iter().zip(&nudged));
        for ((value, (expected, nudged)), port) in pairs.zip(model.outputs()) {
            let bound = GRADIENT * whole(expected).max(CANCELLED * most);
            let moved = compare(nudged, expected, Tolerance::EXACT).unwrap().largest;
            // Capped, since a nudge over the kink of an activation would allow anything.
            let absolute = bound + NUDGES * moved.min(bound);
            let allowed = Tolerance { absolute, relative: 0.0 };
            let difference = compare(value, expected, allowed).unwrap();
            assert!(difference.is_within(), "seed {seed}, {}: {difference:?}", port.name);
            compared += 1;
        }
    }
    assert!(compared > 300, "{compared}");
    assert!(kernels.len() > 20, "{kernels:#?}");
}
