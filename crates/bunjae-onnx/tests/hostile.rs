//! Models made to harm: each is refused with a message that says what is wrong where, at once and
//! without asking for memory.
//!
//! One test alone, because the memory measured is the process's.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use bunjae_onnx::external::ExternalData;
use bunjae_onnx::import::import_model;
use bunjae_onnx::proto::*;
use bunjae_onnx::tensor_data::DataType;
use support::{attribute, graph, info, int, ints, list, model, node, with, zeros};

const MIB: usize = 1 << 20;

/// `count` nodes, each of which takes the last one's result twice.
fn doubling(op: &str, count: usize, attributes: &[AttributeProto], first: &str) -> Vec<NodeProto> {
    let name = |at: usize| match at {
        0 => first.to_owned(),
        at if at == count => "y".to_owned(),
        at => format!("v{at}"),
    };
    let twice = |at: usize| [name(at), name(at)];
    let each = |at: usize| {
        let inputs = twice(at);
        node(op, &[&inputs[0], &inputs[1]], &[&name(at + 1)], attributes.to_vec())
    };
    (0..count).map(each).collect()
}

fn relu() -> Vec<NodeProto> {
    vec![node("Relu", &["x"], &["y"], vec![])]
}

/// What is wrong, the model, and what the message has to hold.
#[expect(clippy::too_many_lines, reason = "a list")]
fn hostile() -> Vec<(ModelProto, &'static str)> {
    let huge = 1i64 << 40;
    let one = |op: &str, attributes| vec![node(op, &["x"], &["y"], attributes)];
    let two = |op: &str, weight: &str| vec![node(op, &["x", weight], &["y"], vec![])];
    let constant = |op: &str, weight: &str| {
        vec![node(op, &[weight], &["c"], vec![]), node("Add", &["x", "c"], &["y"], vec![])]
    };
    vec![
        // The graph
        (
            model(
                vec![
                    node("Add", &["x", "c"], &["a"], vec![]),
                    node("Relu", &["a"], &["b"], vec![]),
                    node("Relu", &["b"], &["c"], vec![]),
                    node("Relu", &["c"], &["y"], vec![]),
                ],
                vec![],
            ),
            "in a circle through `",
        ),
        (model(vec![node("Relu", &["y"], &["y"], vec![])], vec![]), "in a circle through `y`"),
        (
            model(vec![node("Add", &["x", "nobody"], &["y"], vec![])], vec![]),
            "node 0 (Add): uses `nobody`, which nothing defines",
        ),
        (
            model(vec![node("Relu", &["x"], &["z"], vec![])], vec![]),
            "output `y`: uses `y`, which nothing defines",
        ),
        (model([relu(), relu()].concat(), vec![]), "node 1 (Relu): the name `y` is defined twice"),
        (
            model(relu(), vec![zeros("w", &[1]), zeros("w", &[1])]),
            "weight `w`: the name `w` is defined twice",
        ),
        (
            with(model(relu(), vec![]), |m| graph(m).node[0].output[0] = "x".to_owned()),
            "the name `x` is defined twice",
        ),
        (with(model(relu(), vec![]), |m| graph(m).output.clear()), "the graph has no outputs"),
        (with(model(relu(), vec![]), |m| m.graph = None), "it holds no graph"),
        (with(model(relu(), vec![]), |m| m.opset_import.clear()), "does not say which version"),
        (
            with(model(relu(), vec![]), |m| m.opset_import[0].version = 27),
            "operator set 27 is not supported; export it again with a set from 9 to 26",
        ),
        (
            with(model(relu(), vec![]), |m| m.ir_version = 99),
            "file format version 99 is not supported, only 3 to 13",
        ),
        (
            with(model(relu(), vec![]), |m| graph(m).node[0].op_type = "\x1b[31m".repeat(999)),
            "node 0 (\\u{1b}[31m",
        ),
        // Control flow and functions
        (
            with(model(one("If", vec![]), vec![]), |m| {
                let mut inner = GraphProto::default();
                for _ in 0..20 {
                    let mut body = attribute("then_branch", AttributeType::Graph);
                    body.g = Some(Box::new(std::mem::take(&mut inner)));
                    inner.node = vec![node("If", &["x"], &["y"], vec![body])];
                }
                let mut body = attribute("then_branch", AttributeType::Graph);
                body.g = Some(Box::new(inner));
                graph(m).node[0].attribute = vec![body];
            }),
            "node 0 (If): control flow is not supported",
        ),
        (
            with(model(one("Eternal", vec![]), vec![]), |m| {
                graph(m).node[0].domain = "own".to_owned();
                let mut call = node("Eternal", &["x"], &["y"], vec![]);
                call.domain = "own".to_owned();
                m.functions = vec![FunctionProto {
                    name: "Eternal".to_owned(),
                    domain: "own".to_owned(),
                    input: vec!["x".to_owned()],
                    output: vec!["y".to_owned()],
                    node: vec![call],
                    ..FunctionProto::default()
                }];
            }),
            "node 0 (Eternal): calls a function of the model; inline the functions first",
        ),
        // Sizes
        (
            with(model(relu(), vec![]), |m| {
                graph(m).input[0] = info("x", DataType::Float, &[huge, huge]);
            }),
            "input `x`: its size passes any memory",
        ),
        (
            with(model(relu(), vec![]), |m| {
                graph(m).input[0] = info("x", DataType::Float, &vec![1; 100_000]);
            }),
            "input `x`: 100000 dimensions are too many",
        ),
        (
            with(model(two("Add", "w"), vec![zeros("w", &[2])]), |m| {
                graph(m).initializer[0].dims = vec![huge, huge, huge];
            }),
            "weight `w`: dimensions [1099511627776, 1099511627776, 1099511627776] are too large",
        ),
        (
            with(model(two("Add", "w"), vec![zeros("w", &[2])]), |m| {
                graph(m).initializer[0].dims = vec![huge];
            }),
            "but raw_data holds 8",
        ),
        (
            model(constant("ConstantOfShape", "s"), vec![list("s", &[huge, huge])]),
            "node 0 (ConstantOfShape): asks for too much computing on constants",
        ),
        (
            model(constant("ConstantOfShape", "s"), vec![list("s", &[0, huge, huge])]),
            "node 0 (ConstantOfShape): asks for too much computing on constants",
        ),
        (
            model(
                vec![
                    node("Range", &["a", "b", "c"], &["r"], vec![]),
                    node("Add", &["x", "r"], &["y"], vec![]),
                ],
                [("a", 0), ("b", i64::MAX), ("c", 1)]
                    .map(|(name, value)| TensorProto { dims: vec![], ..list(name, &[value]) })
                    .to_vec(),
            ),
            "node 0 (Range): asks for too much computing on constants",
        ),
        (
            model(two("Expand", "s"), vec![list("s", &[huge, huge, 4, 8, 8])]),
            "node 0 (Expand): asks for too much computing on constants",
        ),
        (
            model(two("Pad", "p"), vec![list("p", &[0, 0, 0, 0, huge, huge, 0, 0])]),
            "node 0 (Pad): the result f32[1099511627777,1099511627780,8,8] is larger than any memory",
        ),
        (
            model(two("Unsqueeze", "a"), vec![list("a", &(0..1000).collect::<Vec<_>>())]),
            "node 0 (Unsqueeze): 1004 dimensions are too many",
        ),
        (
            model(two("Reshape", "s"), vec![list("s", &[1; 1000])]),
            "node 0 (Reshape): 1000 dimensions are too many",
        ),
        (
            model(one("MaxPool", vec![ints("kernel_shape", &[i64::MAX, i64::MAX])]), vec![]),
            "node 0 (MaxPool): 9223372036854775806 is too large",
        ),
        (model(doubling("Concat", 60, &[int("axis", 1)], "x"), vec![]), "larger than any memory"),
        (
            model(
                [
                    doubling("Concat", 60, &[int("axis", 0)], "w"),
                    vec![node("Add", &["x", "y"], &["z"], vec![])],
                ]
                .concat(),
                vec![zeros("w", &[64])],
            ),
            "(Concat): asks for too much computing on constants",
        ),
        (
            with(model(doubling("Add", 100, &[], "n"), vec![]), |m| {
                let nodes = &mut graph(m).node;
                nodes.insert(0, node("Size", &["x"], &["n"], vec![]));
                let dim = |name: &str| Dimension {
                    value: Some(DimensionValue::DimParam(name.to_owned())),
                };
                let shape = TensorShapeProto { dim: vec![dim("N"), dim("M")] };
                let tensor = TensorType { elem_type: 1, shape: Some(shape) };
                let value = Some(TypeValue::Tensor(tensor));
                graph(m).input[0].r#type = Some(TypeProto { value });
            }),
            "node 5 (Add): a size is too long an expression",
        ),
        // Types and attributes
        (
            with(model(relu(), vec![]), |m| {
                graph(m).input[0] = info("x", DataType::String, &[1]);
            }),
            "input `x`: elements of type STRING are not supported",
        ),
        (
            model(two("Conv", "w"), vec![list("w", &[1])]),
            "node 0 (Conv): its input has 4 dimensions and its weight 1; only convolutions over \
             pictures",
        ),
        (
            with(model(two("Add", "w"), vec![zeros("w", &[2])]), |m| {
                graph(m).initializer[0].data_type = DataType::Complex64.code();
            }),
            "weight `w`: element type COMPLEX64 is not supported",
        ),
        (
            model(one("LeakyRelu", vec![int("alpha", 1)]), vec![]),
            "node 0 (LeakyRelu): its attribute `alpha` should be a number",
        ),
        (
            model(one("Relu", vec![int("strength", 1)]), vec![]),
            "node 0 (Relu): has an attribute `strength` that is not known for this operator",
        ),
        (
            model(one("Flatten", vec![int("axis", 1), int("axis", 2)]), vec![]),
            "node 0 (Flatten): its attribute `axis` is given twice",
        ),
        (
            model(one("Transpose", vec![ints("perm", &[0, 1, 1, 3])]), vec![]),
            "node 0 (Transpose): its `perm` is [0, 1, 1, 3], which is no order of 4 axes",
        ),
        (
            model(one("Softmax", vec![int("axis", i64::MIN)]), vec![]),
            "node 0 (Softmax): axis -9223372036854775808 is out of range for 4 dimensions",
        ),
        (
            model(vec![node("Conv", &["x"], &["y"], vec![])], vec![]),
            "node 0 (Conv): its weight is missing",
        ),
        (
            model(vec![node("Relu", &["x", "x"], &["y"], vec![])], vec![]),
            "node 0 (Relu): takes at most 1 operands, but has 2",
        ),
        (
            model(vec![node("Relu", &["x"], &["a", "y"], vec![])], vec![]),
            "node 0 (Relu): has no result 1, but it is used",
        ),
        (model(two("Reshape", "x"), vec![]), "its shape has to be a constant"),
        (
            model(two("Div", "w"), vec![list("w", &[0])]),
            "node 0 (Div): right operand should hold f32, but holds i64",
        ),
        (
            model(
                vec![
                    node("Div", &["w", "z"], &["d"], vec![]),
                    node("Reshape", &["x", "d"], &["y"], vec![]),
                ],
                vec![list("w", &[8]), list("z", &[0])],
            ),
            "node 0 (Div): cannot compute 8 / 0",
        ),
    ]
}

/// The largest amount of memory the process has held so far, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[cfg(not(target_os = "linux"))]
fn peak() -> usize {
    0
}

#[test]
fn models_made_to_harm_are_refused_with_a_reason() {
    let cases = hostile();
    let before = peak();
    for (model, expected) in &cases {
        let start = Instant::now();
        let problems = import_model(model, &mut ExternalData::none(0)).unwrap_err();
        let message = problems.to_string();
        assert!(message.contains(expected), "{message}\nlacks\n{expected}");
        assert!(message.len() < 1000 && !message.contains('\x1b'), "{message}");
        assert!(start.elapsed() < Duration::from_secs(5), "{expected}: {:?}", start.elapsed());
        let used = peak() - before;
        assert!(used < 64 * MIB, "{expected}: {} MiB", used / MIB);
    }

    // A tensor that claims to lie in a file that is none of the model's.
    let folder = tempfile::tempdir().unwrap();
    let mut elsewhere =
        model(vec![node("Add", &["x", "w"], &["y"], vec![])], vec![zeros("w", &[2])]);
    let tensor = &mut graph(&mut elsewhere).initializer[0];
    tensor.raw_data = None;
    tensor.data_location = DATA_LOCATION_EXTERNAL;
    tensor.external_data = vec![StringStringEntryProto {
        key: "location".to_owned(),
        value: "../../etc/passwd".to_owned(),
    }];
    let mut external = ExternalData::in_folder(folder.path(), 1 << 20);
    let problems = import_model(&elsewhere, &mut external).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "cannot import the model: weight `w`: external data file `../../etc/passwd` leads out \
         of the model's folder"
    );

    // A small file of many nodes that are alike takes time and memory in proportion to it.
    let start = Instant::now();
    let mut nodes = vec![node("Relu", &["x"], &["v0"], vec![])];
    for at in 0..20_000 {
        let mut next = node("Relu", &[&format!("v{at}")], &[&format!("v{}", at + 1)], vec![]);
        next.name = "same".to_owned();
        nodes.push(next);
    }
    nodes.push(node("Relu", &["v20000"], &["y"], vec![]));
    nodes.reverse();
    let imported = import_model(&model(nodes, vec![]), &mut ExternalData::none(0)).unwrap();
    assert_eq!(imported.graph.nodes().len(), 20_002);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(peak() - before < 256 * MIB, "{} MiB", (peak() - before) / MIB);

    // All problems are counted, and as many listed as anybody reads.
    let mut nodes: Vec<NodeProto> = (0..60)
        .map(|at| {
            let output = if at == 59 { "y".to_owned() } else { format!("v{at}") };
            let input = if at == 0 { "x".to_owned() } else { format!("v{}", at - 1) };
            node("NonZero", &[&input], &[&output], vec![])
        })
        .collect();
    nodes[1].domain = "com.microsoft".to_owned();
    nodes[2] = node("Loop", &["v1"], &["v2"], vec![]);
    nodes[3].name = "last layer".to_owned();
    nodes[4] = node("Gelu", &["v3"], &["v4"], vec![]);
    let problems = import_model(&model(nodes, vec![]), &mut ExternalData::none(0)).unwrap_err();
    let message = problems.to_string();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 52);
    assert_eq!(
        lines[..6],
        [
            "cannot import the model: 60 problems",
            "  node 0 (NonZero): the operator is not supported",
            "  node 1 (NonZero): operators of the domain `com.microsoft` are not supported, only \
             the standard ones",
            "  node 2 (Loop): control flow is not supported; export the model without branches \
             and loops",
            "  node `last layer` (NonZero): the operator is not supported",
            "  node 4 (Gelu): the operator comes with operator set 20, the model uses 17",
        ]
    );
    assert_eq!(lines[51], "  and 10 more");
}
