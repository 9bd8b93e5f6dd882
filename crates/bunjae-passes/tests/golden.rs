//! Passes on small graphs, as text.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use bunjae_ir::{Graph, Weights};
use bunjae_passes::{differentiate, trainable_weights};
use bunjae_testkit::golden::{Command, check};

/// The gradients of the last output, by the inputs and weights of the given names or all that can be
/// trained; a refusal is printed.
fn gradients(graph: &Graph, names: &[&str]) -> Result<String, String> {
    let loss = graph.outputs().last().ok_or("no output")?.tensor;
    let find = |name: &&str| {
        let tensors = graph.inputs().iter().chain(graph.weights());
        tensors.copied().find(|id| graph.label(*id) == *name).ok_or(format!("no tensor {name}"))
    };
    let asked = match names {
        [] => trainable_weights(graph, loss),
        names => names.iter().map(find).collect::<Result<_, _>>()?,
    };
    Ok(match differentiate(graph, loss, &asked) {
        Ok(training) => {
            training.verify().map_err(|errors| format!("{errors:?}"))?;
            training.to_text(Weights::Elided)
        }
        Err(error) => format!("{error}\n"),
    })
}

#[test]
fn golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    assert!(check(&folder, &[("differentiate", Command::Graph(gradients))]) > 5);
}
