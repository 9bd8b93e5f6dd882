//! The form of a graph that is trained.

use bunjae_interp::run;
use bunjae_ir::op::{BatchNorm, Dropout};
use bunjae_ir::{Graph, Op, TensorType};
use bunjae_passes::{for_training, prune_dead};
use bunjae_tensor::Tensor;

/// Two batch normalisations and two dropouts.
fn graph() -> Graph {
    let mut graph = Graph::new("net");
    let mut x = graph.input("x", TensorType::image(2, 1, 2)).unwrap();
    for layer in ["a", "b"] {
        let vector = |values: [f32; 2]| Tensor::from_slice(&[2], &values).unwrap();
        let operands = [
            x,
            graph.weight(&format!("{layer}.gamma"), vector([1.0, 2.0])).unwrap(),
            graph.weight(&format!("{layer}.beta"), vector([0.0, 1.0])).unwrap(),
            graph.constant(&format!("{layer}.mean"), vector([0.0, 0.0])).unwrap(),
            graph.constant(&format!("{layer}.variance"), vector([1.0, 1.0])).unwrap(),
        ];
        let norm = Op::BatchNorm(BatchNorm { eps: 4.0 });
        let y = graph.push(layer, norm, &operands).unwrap();
        let ratio = if layer == "a" { 0.25 } else { 0.0 };
        let dropout = Op::Dropout(Dropout { ratio });
        x = graph.push(&format!("{layer}.drop"), dropout, &[y]).unwrap();
    }
    graph.output("y", x).unwrap();
    graph
}

#[test]
fn batch_norm_and_dropout_become_what_they_are_in_training() {
    let form = for_training(&graph(), |_| false).unwrap();
    assert_eq!(form.graph.verify(), Ok(()));
    let names: Vec<&str> = form.graph.outputs().iter().map(|o| o.name.as_str()).collect();
    assert_eq!(
        names,
        ["y", "batch.a.mean", "batch.a.variance", "batch.b.mean", "batch.b.variance"]
    );
    let [a, b] = form.statistics.as_slice() else { panic!("{form:?}") };
    assert_eq!((a.node.as_str(), a.running_variance.as_str()), ("a", "a.variance"));
    assert_eq!((b.mean.as_str(), b.variance.as_str()), ("batch.b.mean", "batch.b.variance"));
    // A ratio of 0 drops nothing, and needs no mask.
    assert_eq!(form.masks.len(), 1);
    assert_eq!((form.masks[0].input.as_str(), form.masks[0].ratio), ("mask.a.drop", 0.25));
    // Running statistics are no part of it, and nothing is left over.
    assert_eq!(form.graph.find_weight("a.mean"), None);
    assert_eq!(prune_dead(&form.graph).unwrap(), None);
    // The mean of 1, 3, 5, 7 is 4 and their variance 5; of 2, 2, 2, 2 it is 0.
    let x = [1f32, 3.0, 2.0, 2.0, 5.0, 7.0, 2.0, 2.0];
    let x = Tensor::from_slice(&[2, 2, 1, 2], &x).unwrap();
    let mask = Tensor::from_slice(&[2, 2, 1, 2], &[1f32; 8]).unwrap();
    let outputs = run(&form.graph, &[x, mask]).unwrap();
    let vector = |values: [f32; 2]| Tensor::from_slice(&[2], &values).unwrap();
    assert_eq!(outputs[1..3], [vector([4.0, 2.0]), vector([5.0, 0.0])]);
}

#[test]
fn what_is_frozen_keeps_its_statistics() {
    let graph = graph();
    let form = for_training(&graph, |node| node.name == "a").unwrap();
    assert_eq!(form.statistics.len(), 1);
    assert_eq!(form.statistics[0].node, "b");
    assert!(form.graph.find_weight("a.mean").is_some());
    let ops: Vec<&str> = form.graph.nodes().iter().map(|node| node.op.name()).collect();
    assert_eq!(ops, ["batch_norm", "mul", "batch_norm_train", "dropout"]);
    let frozen = for_training(&graph, |_| true).unwrap();
    assert_eq!(frozen.statistics, []);
}

#[test]
fn shared_statistics_have_an_output_each() {
    let mut graph = graph();
    let x = graph.input("x2", TensorType::image(2, 1, 2)).unwrap();
    let mut operands = vec![x];
    for name in ["a.gamma", "a.beta", "a.mean", "a.variance"] {
        operands.push(graph.find_weight(name).unwrap());
    }
    let y = graph.push("a2", Op::BatchNorm(BatchNorm::default()), &operands).unwrap();
    graph.output("y2", y).unwrap();
    let form = for_training(&graph, |_| false).unwrap();
    assert_eq!(form.statistics[2].mean, "batch.a.mean.1");
    assert_eq!(form.statistics[2].running_mean, "a.mean");
    // What each normalises, by its id in the new graph.
    assert_eq!(form.graph.label(form.statistics[2].input), "x2");
    assert_eq!(form.graph.label(form.statistics[1].input), "a.drop");
    assert_eq!(form.graph.verify(), Ok(()));
}
