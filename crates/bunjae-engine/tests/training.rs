//! Training sessions: parameters that stay and change, and what is refused.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bunjae_engine::{CompileError, CompileOptions, Input, Output, TrainingSession};
use bunjae_ir::Graph;

/// The gradients are an operator's result, a view, an input, a constant, and the same tensor twice.
const TEXT: &str = "graph @odd
in   %x: f32[2,3]
in   %y: f32[3]
w    @a: f32[2,3] = [1, 2, 3, 4, 5, 6]
w    @b: f32[3,2] = rand(seed=1)
w    @c: f32[3] = [7, 8, 9]
w    @d: f32[2] = [0, 0]
w    @e: f32[2,3] = [1, 1, 1, 1, 1, 1]
w    @k: f32[2] = [5, 6]
%1 = add %x, @a : f32[2,3]
%2 = transpose %1 {perm=[1,0]} : f32[3,2]
out  %1 ; \"sum\"
out  @b ; \"b\"
out  @c ; \"c\"
out  @d ; \"d\"
out  @e ; \"e\"
out  %1 ; \"grad.a\"
out  %2 ; \"grad.b\"
out  %y ; \"grad.c\"
out  @k ; \"grad.d\"
out  %1 ; \"grad.e\"
";

fn session() -> (Graph, TrainingSession) {
    let graph = Graph::parse(TEXT).unwrap();
    let session = TrainingSession::new(&graph, &CompileOptions::default()).unwrap();
    (graph, session)
}

#[test]
fn gradients_reach_their_segments_whatever_they_are() {
    let (graph, mut session) = session();
    let names: Vec<&str> = session.segments().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert_eq!(session.parameters().len(), 5 * 16);
    let names: Vec<&str> = session.outputs().iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["sum", "b", "c", "d", "e"]);
    let (x, y) = ([10f32, 20.0, 30.0, 40.0, 50.0, 60.0], [1f32, 2.0, 3.0]);
    let (mut sum, mut b, mut c, mut d, mut e) =
        ([0f32; 6], [0f32; 6], [0f32; 3], [0f32; 2], [0f32; 6]);
    for round in 0..3 {
        let inputs = [Input::from(&x[..]), Input::from(&y[..])];
        let mut outputs = [&mut sum[..], &mut b, &mut c, &mut d, &mut e].map(Output::from);
        session.run(&inputs, &mut outputs).unwrap();
        assert_eq!(c, [7.0, 8.0, 9.0]);
        let a = 1.0 + round as f32;
        assert_eq!(sum, [10.0 + a, 22.0, 33.0, 44.0, 55.0, 66.0]);
        let of = |at: usize| {
            let segment = &session.segments()[at];
            session.gradients()[segment.start..segment.start + segment.len].to_vec()
        };
        assert_eq!(of(0), sum);
        assert_eq!(of(1), [10.0 + a, 44.0, 22.0, 55.0, 33.0, 66.0]);
        assert_eq!((of(2), of(3), of(4)), (y.to_vec(), vec![5.0, 6.0], sum.to_vec()));
        session.parameters_mut()[0] += 1.0;
    }
    let stored = session.store(&graph).unwrap();
    let weight = |graph: &Graph, name: &str| {
        let tensor = graph.weight_tensor(graph.find_weight(name).unwrap()).unwrap();
        tensor.elements::<f32>().unwrap().to_vec()
    };
    assert_eq!(weight(&stored, "a"), [4.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(weight(&stored, "b"), weight(&graph, "b"));
    session.load(&graph).unwrap();
    assert_eq!(session.parameters()[..6], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let padding = session.parameters()[6..16].iter().all(|value| *value == 0.0);
    assert!(padding, "what lies between segments is zero");
}

#[test]
fn graphs_without_gradients_and_other_shapes_are_refused() {
    let text =
        "graph @g\nin   %x: f32[2]\nw    @a: f32[2] = [1, 2]\n%1 = add %x, @a : f32[2]\nout  %1\n";
    let graph = Graph::parse(text).unwrap();
    let error = TrainingSession::new(&graph, &CompileOptions::default()).unwrap_err();
    assert!(matches!(error, CompileError::NoGradients), "{error}");
    let double = text.replace("f32", "f64").replace("out  %1", "out  %1 ; \"grad.a\"");
    let graph = Graph::parse(&double).unwrap();
    let error = TrainingSession::new(&graph, &CompileOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "a is f64; only f32 can be trained\nhint: freeze it");
    let (_, mut session) = session();
    let other =
        "graph @g\nin   %x: f32[2]\nw    @d: f32[1] = [1]\n%1 = add %x, @d : f32[2]\nout  %1\n";
    let error = session.load(&Graph::parse(other).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "d should be [2], but is [1]");
}
