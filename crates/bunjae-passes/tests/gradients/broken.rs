//! A comparison that accepts everything would show nothing.

use bunjae_ir::examples::{Example, examples};
use bunjae_ir::op::{BatchNorm, Binary, Conv2d, Groups, L2Norm, Softmax};
use bunjae_ir::{Graph, GraphError, NodeId, Op, TensorType};
use bunjae_passes::differentiate;
use bunjae_tensor::{DType, Tensor};

use super::differences::compare_gradients;
use super::operators::use_of;

/// The graph in which the first result of one node is another: half of it, less 0.4.
fn broken(graph: &Graph, which: NodeId) -> Graph {
    let mut result: Result<Graph, GraphError> = graph.map(
        |_, tensor| tensor.clone(),
        |new, id, inputs| {
            let node = graph.node(id);
            let mut results = new.push_multi(&node.name, node.op.clone(), inputs)?;
            if id == which {
                let number = |value: f64| Tensor::scalar(value);
                let half = new.constant("half", number(0.5))?;
                let shift = new.constant("shift", number(0.4))?;
                let halved = new.push("", Binary::Mul, &[results[0], half])?;
                results[0] = new.push("", Binary::Sub, &[halved, shift])?;
            }
            Ok(results)
        },
    );
    result.as_mut().unwrap().clone()
}

/// Every single node of the gradients matters: whichever of them computes something else, the
/// differences find it.
#[test]
fn a_wrong_node_in_any_gradient_is_found() {
    let (mut found, mut missed) = (0, Vec::new());
    for (at, example) in examples().iter().enumerate() {
        if example.inputs.iter().any(|ty| ty.dtype != DType::F32) {
            continue;
        }
        let (graph, loss, floats, inputs) = use_of(example, at as u64);
        let Ok(training) = differentiate(&graph, loss, &floats) else { continue };
        for (id, _) in training.node_ids().skip(graph.nodes().len()) {
            let wrong = broken(&training, id);
            let outcome = compare_gradients(&graph, &wrong, &floats, &inputs, 40, "broken");
            match outcome.wrong.is_empty() {
                false => found += 1,
                true => {
                    missed.push(format!("{} in {}", training.node_label(id), example.op.name()))
                }
            }
        }
    }
    // What only says whether a norm is above its least is the same at half of it.
    missed.retain(|node| !node.ends_with("in l2_norm"));
    assert_eq!(missed, [""; 0]);
    assert!(found > 300, "{found}");
}

/// Rules that look right: each has the right shapes, and is a mistake that could have been made.
#[test]
fn plausible_mistakes_are_found() {
    let x = |dims: &[usize]| TensorType::new(DType::F32, dims.to_vec());
    let conv = |pad, groups| Op::Conv2d(Conv2d { pad, groups, ..Conv2d::default() });
    let four = || x(&[4]);
    type Mistake = fn(&Op) -> Option<Op>;
    let cases: Vec<(Op, Vec<TensorType>, Mistake)> =
        vec![
            // Padding of the wrong side.
            (conv([1, 0, 0, 0], Groups::Dense), vec![x(&[1, 2, 5, 5]), x(&[3, 2, 2, 3])], |op| {
                match op {
                    Op::Conv2dWeightGrad(op) => {
                        let [top, left, bottom, right] = op.pad;
                        let pad = [bottom, left, top, right];
                        Some(Op::Conv2dWeightGrad(bunjae_ir::op::Conv2dWeightGrad {
                            pad,
                            ..op.clone()
                        }))
                    }
                    _ => None,
                }
            }),
            // The other direction.
            (Op::Softmax(Softmax { axis: 1 }), vec![x(&[3, 4])], |op| match op {
                Op::Binary(Binary::Sub) => Some(Op::Binary(Binary::Add)),
                _ => None,
            }),
            (Op::L2Norm(L2Norm::default()), vec![x(&[3, 4])], |op| match op {
                Op::Binary(Binary::Div) => Some(Op::Binary(Binary::Mul)),
                _ => None,
            }),
            // The variance in place of the deviation.
            (
                Op::BatchNorm(BatchNorm::default()),
                vec![x(&[2, 4, 3]), four(), four(), four(), four()],
                |op| match op {
                    Op::Unary(bunjae_ir::op::Unary::Sqrt) => {
                        Some(Op::Unary(bunjae_ir::op::Unary::Identity))
                    }
                    _ => None,
                },
            ),
        ];
    for (at, (op, inputs, mistake)) in cases.into_iter().enumerate() {
        let weights = vec![false; inputs.len()];
        let example = Example { op, inputs, weights };
        let (graph, loss, floats, inputs) = use_of(&example, at as u64);
        let training = differentiate(&graph, loss, &floats).unwrap();
        let forward = graph.nodes().len();
        let mut mistaken = 0;
        let wrong = training.map::<GraphError>(
            |_, tensor| tensor.clone(),
            |new, id, inputs| {
                let node = training.node(id);
                let changed = Some(&node.op).filter(|_| id.index() >= forward).and_then(mistake);
                mistaken += usize::from(changed.is_some());
                new.push_multi(&node.name, changed.unwrap_or(node.op.clone()), inputs)
            },
        );
        let name = example.op.name();
        assert!(mistaken > 0, "{name}");
        let right = compare_gradients(&graph, &training, &floats, &inputs, 60, name);
        assert_eq!(right.wrong, [""; 0]);
        let found = compare_gradients(&graph, &wrong.unwrap(), &floats, &inputs, 60, name);
        assert!(!found.wrong.is_empty(), "{name}");
    }
}
