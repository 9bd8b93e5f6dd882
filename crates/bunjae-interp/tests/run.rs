//! Whole graphs: inputs, symbols, lifetimes, and errors that say where.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use bunjae_interp::{EvalError, RunError, run, run_with};
use bunjae_ir::op::{Binary, Concat, Dropout, Flatten, Range, Slice, Split, Transpose, Unary};
use bunjae_ir::{Dim, Graph, Op, TensorType};
use bunjae_tensor::{MAX_BYTES, Tensor};

fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(shape, values).unwrap()
}

fn ty(text: &str) -> TensorType {
    TensorType::parse(text).unwrap()
}

/// Two inputs of the same width, their sum and the maximum of the sum and a weight.
fn two_inputs() -> Graph {
    let mut graph = Graph::new("two");
    let a = graph.input("a", ty("f32[N,2]")).unwrap();
    let b = graph.input("b", ty("f32[N,2]")).unwrap();
    let weight = graph.weight("w", tensor(&[2], &[4.0, 4.0])).unwrap();
    let sum = graph.push("sum", Binary::Add, &[a, b]).unwrap();
    let most = graph.push("most", Binary::Max, &[sum, weight]).unwrap();
    graph.output("most", most).unwrap();
    graph.output("sum", sum).unwrap();
    graph.output("a", a).unwrap();
    graph.output("w", weight).unwrap();
    graph
}

#[test]
fn outputs_come_in_the_order_of_the_graph() {
    let (a, b) = (tensor(&[1, 2], &[1.0, 2.0]), tensor(&[1, 2], &[5.0, -5.0]));
    let outputs = run(&two_inputs(), &[a.clone(), b]).unwrap();
    let (most, sum) = (tensor(&[1, 2], &[6.0, 4.0]), tensor(&[1, 2], &[6.0, -3.0]));
    assert_eq!(outputs, [most, sum, a, tensor(&[2], &[4.0, 4.0])]);
}

#[test]
fn every_nodes_results_are_shown_in_order() {
    let mut graph = Graph::new("split");
    let x = graph.input("x", ty("f32[3]")).unwrap();
    let split = Op::Split(Split { axis: 0, sizes: vec![1, 2] });
    let parts = graph.push_multi("split", split, &[x]).unwrap();
    let unused = graph.push("unused", Unary::Neg, &[parts[0]]).unwrap();
    let joined = graph.push("join", Op::Concat(Concat { axis: 0 }), &[parts[1], parts[0]]).unwrap();
    graph.output("y", joined).unwrap();
    assert_ne!(unused, joined);
    let mut seen = Vec::new();
    let outputs = run_with(&graph, &[tensor(&[3], &[1.0, 2.0, 3.0])], |node, results| {
        seen.push((graph.node_label(node), results.to_vec()));
    });
    let join = tensor(&[3], &[2.0, 3.0, 1.0]);
    assert_eq!(outputs, Ok(vec![join.clone()]));
    let expected = [
        ("split", vec![tensor(&[1], &[1.0]), tensor(&[2], &[2.0, 3.0])]),
        ("unused", vec![tensor(&[1], &[-1.0])]),
        ("join", vec![join]),
    ];
    assert_eq!(seen, expected.map(|(name, results)| (name.to_string(), results)));
}

#[test]
fn inputs_are_compared_with_their_types() {
    let graph = two_inputs();
    let good = tensor(&[1, 2], &[1.0, 2.0]);
    let found = run(&graph, std::slice::from_ref(&good));
    assert_eq!(found, Err(RunError::InputCount { expected: 2, found: 1 }));
    for bad in [
        tensor(&[2], &[1.0, 2.0]),
        tensor(&[1, 3], &[0.0; 3]),
        Tensor::from_slice(&[1, 2], &[1.0f64, 2.0]).unwrap(),
    ] {
        let found = run(&graph, &[good.clone(), bad.clone()]).unwrap_err();
        let given = TensorType::new(bad.dtype(), bad.shape().to_vec());
        let expected = ty("f32[N,2]");
        assert_eq!(found, RunError::Input { name: "b".into(), expected, found: given.clone() });
        assert_eq!(found.to_string(), format!("input b should be f32[N,2], but is {given}"));
    }
}

#[test]
fn a_symbol_has_one_value() {
    let (one, two) = (tensor(&[1, 2], &[0.0; 2]), tensor(&[2, 2], &[0.0; 4]));
    let found = run(&two_inputs(), &[one, two]).unwrap_err();
    assert_eq!(found.to_string(), "N is 1 in input a, but 2 in input b");
    assert!(matches!(found, RunError::Symbol { first: 1, second: 2, .. }));
}

#[test]
fn sizes_of_inputs_may_be_expressions_over_the_symbols_of_others() {
    let mut graph = Graph::new("expression");
    let mask = graph.input("mask", ty("f32[H*2]")).unwrap();
    let x = graph.input("x", ty("f32[H]")).unwrap();
    graph.output("mask", mask).unwrap();
    graph.output("x", x).unwrap();
    let (three, six) = (tensor(&[3], &[0.0; 3]), tensor(&[6], &[0.0; 6]));
    assert_eq!(run(&graph, &[six.clone(), three.clone()]), Ok(vec![six.clone(), three.clone()]));
    let found = run(&graph, &[three, six]).unwrap_err();
    assert_eq!(found.to_string(), "input mask should be f32[H*2], but is f32[3]");

    let mut graph = Graph::new("unknown");
    graph.input("x", ty("f32[H*2]")).unwrap();
    let found = run(&graph, &[tensor(&[4], &[0.0; 4])]);
    assert!(matches!(found, Err(RunError::InputSize { name, .. }) if name == "x"));
}

#[test]
fn errors_name_the_node() {
    let mut graph = Graph::new("broken");
    let x = graph.input("x", ty("f32[N,2]")).unwrap();
    let y = graph.input("y", ty("f32[M,2]")).unwrap();
    // Whether N and M broadcast is known only now.
    let sum = graph.push("layer1.0.add", Binary::Add, &[x, y]).unwrap();
    graph.output("sum", sum).unwrap();
    let found = run(&graph, &[tensor(&[2, 2], &[0.0; 4]), tensor(&[3, 2], &[0.0; 6])]);
    let found = found.unwrap_err();
    assert!(matches!(&found, RunError::Node { source: EvalError::Shape(_), .. }), "{found:?}");
    let message = "layer1.0.add (add): f32[2,2] and f32[3,2] do not broadcast";
    assert_eq!(found.to_string(), message);

    let mut graph = Graph::new("unnamed");
    let x = graph.input("x", ty("i32[1]")).unwrap();
    let ratio = graph.push("", Binary::Div, &[x, x]).unwrap();
    graph.output("ratio", ratio).unwrap();
    let found = run(&graph, &[Tensor::from_slice(&[1], &[0i32]).unwrap()]).unwrap_err();
    assert_eq!(found.to_string(), "div#0 (div): element 0: an integer divided by 0");
}

/// Inference takes a slice of an unknown size to lie inside it. Shapes further on rest on that, so
/// an input that is shorter is an error rather than another result.
#[test]
fn a_result_of_another_size_than_inferred_is_an_error() {
    let mut graph = Graph::new("slice");
    let x = graph.input("x", ty("f32[N]")).unwrap();
    let ranges = vec![Range { axis: 0, start: 0, end: 4, step: 1 }];
    let head = graph.push("head", Op::Slice(Slice { ranges }), &[x]).unwrap();
    graph.output("head", head).unwrap();
    assert_eq!(graph.ty(head).dims, [Dim::Fixed(4)]);
    assert!(run(&graph, &[tensor(&[5], &[0.0; 5])]).is_ok());
    let found = run(&graph, &[tensor(&[3], &[0.0; 3])]).unwrap_err();
    assert_eq!(found.to_string(), "head (slice): the result should be f32[4], but is f32[3]");
}

/// A symbol can be made so large that a result is refused, although the input is small.
#[test]
fn a_large_result_of_small_inputs_is_refused() {
    let mut graph = Graph::new("outer");
    let x = graph.input("x", ty("f32[N,1]")).unwrap();
    let y = graph.push("t", Op::Transpose(Transpose { perm: vec![1, 0] }), &[x]).unwrap();
    let y = graph.push("product", Binary::Mul, &[x, y]).unwrap();
    let y = graph.push("flat", Op::Flatten(Flatten { axis: 0 }), &[y]).unwrap();
    graph.output("y", y).unwrap();
    let found = run(&graph, &[tensor(&[100_000, 1], &[0.0; 100_000])]).unwrap_err();
    assert_eq!(found, RunError::Memory { node: "product".into(), op: "mul", limit: MAX_BYTES });
}

#[test]
fn one_tensor_may_be_used_often() {
    let mut graph = Graph::new("twice");
    let x = graph.input("x", ty("f32[2]")).unwrap();
    let y = graph.push("y", Op::Dropout(Dropout::default()), &[x]).unwrap();
    let z = graph.push("z", Binary::Mul, &[y, y]).unwrap();
    let z = graph.push("w", Binary::Sub, &[z, y]).unwrap();
    graph.output("z", z).unwrap();
    assert_eq!(run(&graph, &[tensor(&[2], &[3.0, 4.0])]), Ok(vec![tensor(&[2], &[6.0, 12.0])]));
}
