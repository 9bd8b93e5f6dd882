//! What is exported and imported again is the same graph, or one that computes the same.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::collections::{BTreeMap, BTreeSet};

use bunjae_interp::run;
use bunjae_ir::examples::{Example, examples};
use bunjae_ir::op::Unary;
use bunjae_ir::{Bindings, Graph, GraphError, Op, TensorType, Weights};
use bunjae_onnx::export::{ExportError, ExportOptions, export};
use bunjae_onnx::external::ExternalData;
use bunjae_onnx::import::import_model;
use bunjae_onnx::metadata;
use bunjae_onnx::opset::{NEWEST, OLDEST};
use bunjae_tensor::{Random, Tensor, Tolerance, compare};
use bunjae_testkit::fill::uniform;
use bunjae_testkit::random_graph::random_graph;
use bunjae_zoo::{ARCHITECTURES, Options, Width};

/// Operators that are taken apart round more often than the whole: how far results may be from each
/// other, in proportion to the largest.
const CLOSE: f64 = 1e-5;

fn round_trip(graph: &Graph, opset: Option<i64>) -> Result<Graph, ExportError> {
    let model = export(graph, &ExportOptions { opset, ..ExportOptions::default() })?;
    let imported = import_model(&model, &mut ExternalData::none(0));
    let imported = imported.unwrap_or_else(|problems| panic!("{}: {problems}", graph.name));
    imported.graph.verify().unwrap_or_else(|errors| panic!("{errors:?}"));
    Ok(imported.graph)
}

/// The graph in the order in which import builds it, without what import adds.
fn normal(graph: &Graph) -> Graph {
    let mut graph = graph.retyped().unwrap();
    for key in metadata::FIELDS {
        graph.metadata.remove(key);
    }
    graph
}

#[track_caller]
fn assert_same_graph(what: &str, graph: &Graph, other: &Graph) {
    let (graph, other) = (normal(graph), normal(other));
    if graph != other {
        // The first line in which they differ says more than two whole graphs.
        let (text, found) = (graph.to_text(Weights::Elided), other.to_text(Weights::Elided));
        let mut lines = text.lines().zip(found.lines());
        panic!("{what}: {:#?}", lines.find(|(line, found)| line != found));
    }
}

fn random_inputs(graph: &Graph, random: &mut Random) -> Vec<Tensor> {
    let sizes = Bindings::from([("N".to_owned(), 2)]);
    let types = graph.inputs().iter().map(|&id| graph.ty(id).bind(&sizes).unwrap());
    types.map(|ty| uniform(&ty, -2.0, 2.0, random).unwrap()).collect()
}

#[track_caller]
fn assert_same_results(what: &str, graph: &Graph, other: &Graph, random: &mut Random) {
    let inputs = random_inputs(graph, random);
    let expected = run(graph, &inputs).unwrap();
    let found = run(other, &inputs).unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.dtype(), expected.dtype(), "{what}");
        let difference = compare(found, expected, Tolerance::EXACT).unwrap();
        assert!(difference.largest_relative <= CLOSE, "{what}: {difference:?}");
    }
}

/// A number of the domain where every operator is defined.
fn example_graph(example: &Example, random: &mut Random) -> Graph {
    let values = |at: usize, ty: &TensorType| {
        // Variances are positive.
        let low = if at == 4 { 0.5 } else { -2.0 };
        uniform(ty, low, 2.0, random)
    };
    example.graph::<GraphError>(values).unwrap()
}

#[test]
fn every_operator_survives_in_every_operator_set() {
    let mut random = Random::new(1);
    // For each operator, the operator sets that lack something one of its examples needs.
    let mut refused: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    let (mut survived, mut trains) = (BTreeSet::new(), BTreeSet::new());
    for example in examples() {
        let graph = example_graph(&example, &mut random);
        for opset in OLDEST..=NEWEST {
            let what = format!("{:?} of {:?} in set {opset}", example.op, example.inputs);
            match round_trip(&graph, Some(opset)) {
                Ok(other) => {
                    assert_same_results(&what, &graph, &other, &mut random);
                    survived.insert(example.op.name());
                }
                Err(ExportError::NeedsOpset { needed, .. }) if needed > opset => {
                    refused.entry(example.op.name()).or_default().insert(opset);
                }
                Err(ExportError::Training { op, .. }) if example.op.is_training() => {
                    trains.insert(op);
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
    // Training graphs are not exported.
    assert!(trains.contains("batch_norm_train") && trains.contains("relu_grad"));
    assert!(survived.is_disjoint(&trains));
    survived.extend(trains);
    assert_eq!(survived, Op::names().collect::<BTreeSet<&str>>());
    let refused: Vec<String> =
        refused.iter().map(|(op, sets)| format!("{op} up to {}", sets.last().unwrap())).collect();
    assert_eq!(
        refused,
        [
            "average_pool up to 9",
            "depth_to_space up to 10",
            "dequantize up to 12",
            "max_pool up to 9",
            "quantize up to 12",
            "resize up to 10",
            "slice up to 9",
        ]
    );
}

/// Whether the newest operator set has an operator for each node, so that the same nodes come back.
fn is_normal(graph: &Graph) -> bool {
    graph.nodes().iter().all(|node| {
        let computed = node.inputs.iter().any(|&id| graph.weight_tensor(id).is_none());
        let rank = graph.ty(node.inputs[0]).rank();
        computed
            && match &node.op {
                Op::L2Norm(_) | Op::Unary(Unary::Silu) => false,
                Op::Linear => rank == 2,
                Op::Pad(op) => op.pads.iter().all(|pad| pad[1..] != [0, 0]),
                Op::Unary(op) => *op != Unary::Identity || !node.name.is_empty(),
                _ => true,
            }
    })
}

#[test]
fn architectures_come_back_as_they_were() {
    for architecture in ARCHITECTURES {
        // Narrow, to be quick about it, where the architecture can be.
        let narrow = Options { width: Width::Scaled(0.25), ..Options::default() };
        let graph = architecture.build(&narrow);
        let graph = graph.or_else(|_| architecture.build(&Options::default())).unwrap();
        assert!(is_normal(&graph), "{}", architecture.name);
        let other = round_trip(&graph, Some(NEWEST)).unwrap();
        assert_same_graph(architecture.name, &graph, &other);
    }
}

#[test]
fn random_networks_come_back_as_they_were() {
    let mut random = Random::new(2);
    let (mut same, mut others) = (0, 0);
    for seed in 0..300 {
        let graph = random_graph(seed).unwrap().graph;
        let opset = OLDEST + i64::try_from(random.below(18)).unwrap();
        let other = match round_trip(&graph, Some(opset)) {
            Ok(other) => other,
            Err(ExportError::NeedsOpset { .. }) => round_trip(&graph, None).unwrap(),
            Err(error) => panic!("{seed}: {error}"),
        };
        assert_same_results(&format!("seed {seed} in set {opset}"), &graph, &other, &mut random);
        if is_normal(&graph) {
            let other = round_trip(&graph, Some(NEWEST)).unwrap();
            assert_same_graph(&format!("seed {seed}"), &graph, &other);
            same += 1;
        } else {
            others += 1;
        }
    }
    assert!(same > 100 && others > 10, "{same} {others}");
}
