//! One network for all batch sizes: every architecture of the zoo against the interpreter, and
//! stored and loaded again, with the same bits.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bunjae_engine::{CompileOptions, Isa, IsaSet, LoadOptions, Model, Network, Session};
use bunjae_ir::{Bindings, Graph};
use bunjae_passes::sample_inputs;
use bunjae_tensor::{Tensor, Tolerance, compare};
use bunjae_zoo::{ARCHITECTURES, Options, Width};

/// The bound for a network, as a share of the largest element of the result; see the crate's page.
const NETWORK: f64 = 1e-4;

/// The largest batch.
const BATCH: usize = 5;

/// A small graph of each architecture.
fn zoo() -> impl Iterator<Item = Graph> {
    ARCHITECTURES.iter().map(|architecture| {
        let [channels, ..] = architecture.input;
        // Small pictures; the wide networks narrow as well.
        let narrow = matches!(architecture.name, "vgg16" | "resnet50" | "resnet34" | "resnet18d");
        let options = Options {
            input: Some([channels, 32, 40]),
            classes: Some(5),
            width: if narrow { Width::Scaled(0.125) } else { Width::Standard },
            ..Options::default()
        };
        bunjae_zoo::build(architecture.name, &options).unwrap()
    })
}

fn inputs(graph: &Graph, batch: usize) -> Vec<Tensor> {
    sample_inputs(graph, &Bindings::from([("N".into(), batch)]), 3).unwrap()
}

/// The first elements of the batch.
fn head(tensor: &Tensor, batch: usize) -> Tensor {
    tensor.select(0, &(0..batch).collect::<Vec<_>>())
}

fn run(model: Arc<Model>, inputs: &[Tensor]) -> Vec<Tensor> {
    Session::new(model).unwrap().run_tensors(inputs).unwrap()
}

fn load(bytes: &[u8], isa: Option<Isa>) -> Network {
    Network::from_bytes(bytes.to_vec(), &LoadOptions { isa, threads: None }).unwrap()
}

#[test]
fn networks_of_the_zoo_compute_what_the_interpreter_does_in_any_batch_and_after_storing() {
    for graph in zoo() {
        let inputs = inputs(&graph, BATCH);
        let expected = bunjae_interp::run(&graph, &inputs).unwrap();
        let network = Network::compile(&graph, &CompileOptions::default()).unwrap();
        let bytes = network.to_bytes();
        let loaded = load(&bytes, None);
        for batch in 1..=BATCH {
            let inputs: Vec<Tensor> = inputs.iter().map(|input| head(input, batch)).collect();
            let found = run(network.model(batch).unwrap(), &inputs);
            for (found, expected) in found.iter().zip(&expected) {
                let expected = head(expected, batch);
                let scale = expected.to_f64_vec().into_iter().fold(0f64, |m, x| m.max(x.abs()));
                let tolerance = Tolerance { absolute: NETWORK * scale, relative: 0.0 };
                let difference = compare(found, &expected, tolerance).unwrap();
                assert!(difference.is_within(), "{} x {batch}: {difference:?}", graph.name);
            }
            let again = run(loaded.model(batch).unwrap(), &inputs);
            assert!(again == found, "{} x {batch}: stored, it computes otherwise", graph.name);
        }
        // Planning larger batches adds what they want packed, and loading takes it over.
        assert_eq!(loaded.packed_bytes(), network.packed_bytes(), "{}", graph.name);
        assert_eq!(load(&network.to_bytes(), None).to_bytes(), network.to_bytes());
        assert_eq!(loaded.graph(), network.graph());
    }
}

#[test]
fn a_network_stored_for_one_instruction_set_loads_for_another_as_if_compiled_for_it() {
    for name in ["mask-small", "mobilenet-v2", "densenet-tiny"] {
        let options = Options { input: Some([3, 32, 40]), ..Options::default() };
        let graph = bunjae_zoo::build(name, &options).unwrap();
        let inputs = inputs(&graph, 2);
        for isa in IsaSet::available().iter() {
            let compiled = |isa| {
                let options = CompileOptions { isa: Some(isa), ..CompileOptions::default() };
                Network::compile(&graph, &options).unwrap()
            };
            let bytes = compiled(isa).to_bytes();
            for other in IsaSet::available().iter() {
                let loaded = load(&bytes, Some(other));
                assert_eq!(loaded.isa(), other);
                let expected = run(compiled(other).model(2).unwrap(), &inputs);
                let found = run(loaded.model(2).unwrap(), &inputs);
                assert!(found == expected, "{name}: {isa} loaded for {other}");
            }
        }
    }
}

#[test]
fn measured_choices_are_stored_and_so_are_options() {
    let options = Options { input: Some([1, 20, 30]), ..Options::default() };
    let graph = bunjae_zoo::build("pd-light", &options).unwrap();
    let options =
        CompileOptions { tune: true, threads: 2, compact: true, ..CompileOptions::default() };
    let network = Network::compile(&graph, &options).unwrap();
    let loaded = load(&network.to_bytes(), None);
    assert_eq!(loaded.threads(), 2);
    for batch in [1, 3] {
        let (model, again) = (network.model(batch).unwrap(), loaded.model(batch).unwrap());
        assert_eq!(again.explain(), model.explain());
    }
    let one = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    assert_eq!(Network::from_bytes(network.to_bytes(), &one).unwrap().threads(), 1);
}

#[test]
fn sessions_on_several_threads_share_a_network() {
    let options = Options { input: Some([3, 32, 32]), ..Options::default() };
    let graph = bunjae_zoo::build("mobilenet-v3-small", &options).unwrap();
    let network = Arc::new(Network::compile(&graph, &CompileOptions::default()).unwrap());
    let expected: Vec<Vec<Tensor>> =
        (1..=3).map(|batch| run(network.model(batch).unwrap(), &inputs(&graph, batch))).collect();
    let (graph, expected) = (&graph, &expected);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let network = network.clone();
            scope.spawn(move || {
                for round in 0..6 {
                    let batch = 1 + (worker + round) % 3;
                    let model = network.model(batch).unwrap();
                    let mut session = Session::with_threads(model, 1 + worker % 2).unwrap();
                    let found = session.run_tensors(&inputs(graph, batch)).unwrap();
                    assert!(found == expected[batch - 1], "worker {worker}, batch {batch}");
                }
            });
        }
    });
}
