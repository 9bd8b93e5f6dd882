//! Random networks: whatever can be built can be differentiated, or is refused by name.

use std::collections::BTreeSet;

use bunjae_ir::{Bindings, Source};
use bunjae_passes::{DifferentiateError, differentiate, sample_inputs, trainable_weights};
use bunjae_testkit::random_graph::{block_names, random_graph};

use super::differences::{Outcome, compare, random_loss, widened};

#[test]
fn random_networks_agree_with_finite_differences() {
    let (mut total, mut kinds, mut refused) = (Outcome::default(), BTreeSet::new(), 0);
    // Networks of odd seeds have weights that are no whole numbers, and so hardly any kinks.
    for seed in (1..240).step_by(2) {
        let network = random_graph(seed).unwrap();
        let bindings = Bindings::from([("N".to_string(), 2)]);
        let graph = widened(&network.graph.bind(&bindings).unwrap());
        let (graph, loss) = random_loss(&graph, seed);
        let mut asked = trainable_weights(&graph, loss);
        asked.extend(graph.inputs());
        let inputs = sample_inputs(&graph, &bindings, seed).unwrap();
        let context = format!("seed {seed}");
        match compare(&graph, loss, &asked, &inputs, 3, &context) {
            Ok(outcome) => {
                kinds.extend(network.kinds);
                total.add(outcome);
            }
            Err(DifferentiateError::NoGradient { op, .. }) => {
                assert!(op == "quantize" || op == "dequantize", "{context}: {op}");
                assert!(network.kinds.contains("quantised"), "{context}");
                refused += 1;
            }
            Err(error) => panic!("{context}: {error}\n{graph}"),
        }
    }
    assert_eq!(total.wrong, [""; 0]);
    assert!(total.kinks * 50 < total.compared, "{} of {}", total.kinks, total.compared);
    for block in block_names().filter(|block| *block != "quantised") {
        assert!(kinds.contains(block), "no network had the block `{block}`");
    }
    assert!(refused > 3, "{refused}");
}

/// The batch stays a symbol, and the gradients have the types of what they are gradients of.
#[test]
fn a_symbolic_batch_stays_symbolic() {
    let mut checked = 0;
    for seed in 0..120 {
        let graph = random_graph(seed).unwrap().graph;
        let (graph, loss) = mean_loss(&graph);
        let asked = trainable_weights(&graph, loss);
        let training = match differentiate(&graph, loss, &asked) {
            Ok(training) => training,
            Err(DifferentiateError::NoGradient { op: "quantize" | "dequantize", .. }) => continue,
            Err(error) => panic!("seed {seed}: {error}\n{graph}"),
        };
        assert_eq!(training.verify(), Ok(()), "seed {seed}");
        assert_eq!(training.symbols(), ["N"]);
        let gradients = &training.outputs()[graph.outputs().len()..];
        assert_eq!(gradients.len(), asked.len());
        for (&weight, output) in asked.iter().zip(gradients) {
            assert_eq!(training.ty(output.tensor), graph.ty(weight), "seed {seed}");
            assert_eq!(output.name, format!("grad.{}", graph.label(weight)));
            checked += 1;
        }
        // What it computed before is still there under the same ids.
        assert!(graph.values().zip(training.values()).all(|(old, new)| old == new));
    }
    assert!(checked > 500, "{checked}");
}

/// The mean of the first output as the loss.
fn mean_loss(graph: &bunjae_ir::Graph) -> (bunjae_ir::Graph, bunjae_ir::TensorId) {
    let mut graph = graph.clone();
    let y = graph.outputs()[0].tensor;
    let axes = (0..graph.ty(y).rank()).collect();
    let mean = bunjae_ir::op::Reduce { axes, keep: false, ..Default::default() };
    let loss = graph.push("loss", bunjae_ir::Op::Reduce(mean), &[y]).unwrap();
    graph.output("loss", loss).unwrap();
    (graph, loss)
}

/// Frozen weights cost nothing: with only the last weight to train, no gradient flows further back.
#[test]
fn no_node_is_made_for_what_is_not_asked_for() {
    let mut fewer = 0;
    for seed in 0..60 {
        let (graph, loss) = mean_loss(&random_graph(seed).unwrap().graph);
        let all = trainable_weights(&graph, loss);
        let Ok(whole) = differentiate(&graph, loss, &all) else { continue };
        let last = graph.nodes().iter().rev().find_map(|node| {
            node.inputs.iter().copied().find(|id| {
                matches!(graph.value(*id).source, Source::Weight { .. }) && all.contains(id)
            })
        });
        let last = last.unwrap();
        let part = differentiate(&graph, loss, &[last]).unwrap();
        let count = |graph: &bunjae_ir::Graph| graph.nodes().len();
        assert!(count(&part) <= count(&whole), "seed {seed}");
        assert!(count(&part) > count(&graph), "seed {seed}");
        fewer += usize::from(count(&part) * 2 < count(&whole) + count(&graph));
        // Nothing is dead: every new node leads to an output.
        let pruned = bunjae_passes::prune_dead(&part).unwrap().unwrap_or(part.clone());
        let dead_before = count(&graph)
            - count(&bunjae_passes::prune_dead(&graph).unwrap().unwrap_or(graph.clone()));
        assert!(count(&part) - count(&pruned) <= dead_before, "seed {seed}:\n{part}");
    }
    assert!(fewer > 30, "{fewer}");
}
