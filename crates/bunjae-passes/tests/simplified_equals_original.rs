//! What the simplifications promise, on random networks and on those of the zoo: the exact ones
//! change no bit, folding batch normalisation keeps to its tolerance, and all of them leave a graph
//! that verifies and in which there is nothing more to do.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bunjae_ir::{Bindings, Graph, Op};
use bunjae_passes::{
    PassError, drop_identities, fold_batch_norm, fold_constants, fold_padding, output_difference,
    sample_inputs, simplify,
};
use bunjae_tensor::{Tensor, Tolerance};
use bunjae_testkit::random_graph::random_graph;
use bunjae_zoo::Options;

/// Each folded weight is rounded once, so a sum of products of any length is off by one unit in the
/// last place of the sum of the products' sizes; through the layers of these small networks it
/// stays below a hundred units of the largest output.
const FOLDED: f64 = 100.0 * f32::EPSILON as f64;

type Pass = fn(&Graph) -> Result<Option<Graph>, PassError>;

const EXACT: [(&str, Pass); 3] = [
    ("drop_identities", drop_identities),
    ("fold_constants", fold_constants),
    ("fold_padding", fold_padding),
];

fn largest(graph: &Graph, inputs: &[Tensor]) -> f64 {
    let outputs = bunjae_interp::run(graph, inputs).unwrap();
    outputs.iter().flat_map(Tensor::to_f64_vec).fold(1e-30, |largest, x| largest.max(x.abs()))
}

/// True where the pass changed the graph.
fn check(graph: &Graph, name: &str, pass: Pass, bound: f64, batch: usize, context: &str) -> bool {
    let Some(changed) = pass(graph).unwrap_or_else(|error| panic!("{context}, {name}: {error}"))
    else {
        return false;
    };
    changed.verify().unwrap_or_else(|error| panic!("{context}, {name}: {error:?}"));
    let bindings = Bindings::from([("N".to_string(), batch)]);
    let inputs = sample_inputs(graph, &bindings, 3).unwrap();
    let absolute = bound * if bound > 0.0 { largest(graph, &inputs) } else { 0.0 };
    let tolerance = Tolerance { absolute, relative: 0.0 };
    for (output, difference) in output_difference(&changed, graph, &inputs, tolerance).unwrap() {
        assert!(difference.is_within(), "{context}, {name}, {output}: {difference:?}");
    }
    let again = pass(&changed).unwrap();
    assert!(again.is_none(), "{context}, {name} changes its own result:\n{changed}");
    true
}

#[test]
fn random_networks_keep_their_meaning() {
    let mut changed = [0; 5];
    for seed in 0..300 {
        let network = random_graph(seed).unwrap();
        let context = format!("seed {seed}");
        for (at, (name, pass)) in EXACT.into_iter().enumerate() {
            changed[at] += usize::from(check(&network.graph, name, pass, 0.0, 2, &context));
        }
        for (at, (name, pass)) in
            [("fold_batch_norm", fold_batch_norm as Pass), ("simplify", simplify)]
                .into_iter()
                .enumerate()
        {
            let graph = &network.graph;
            changed[3 + at] += usize::from(check(graph, name, pass, FOLDED, 2, &context));
        }
    }
    assert!(changed[3] > 50 && changed[4] > 50, "hardly anything to do: {changed:?}");
}

#[test]
fn no_batch_normalisation_is_left_behind_a_convolution() {
    let options = Options { input: Some([3, 33, 33]), classes: Some(4), ..Options::default() };
    for name in ["resnet20", "mobilenet-v2", "shufflenet-v2"] {
        let graph = bunjae_zoo::build(name, &options).unwrap();
        assert!(check(&graph, "simplify", simplify, FOLDED, 1, name));
        let simple = simplify(&graph).unwrap().unwrap();
        let norms = simple.nodes().iter().filter(|node| matches!(node.op, Op::BatchNorm(_)));
        assert_eq!(norms.count(), 0, "{name}");
    }
}

#[test]
fn transposed_convolutions_and_linear_layers_take_in_normalisations_too() {
    let parameters = "w    @gamma: f32[4] = [1, 2, 0.5, -1]
w    @beta: f32[4] = rand(seed=2)
w    @mean: f32[4] frozen = rand(seed=3)
w    @variance: f32[4] frozen = [1, 4, 0.25, 2]
";
    for (x, weight, layer, result) in [
        ("f32[N,6,3,3]", "f32[6,4,2,2]", "conv_transpose2d %x, @w {stride=[2,2]}", "f32[N,4,6,6]"),
        (
            "f32[N,6,3,3]",
            "f32[6,2,2,2]",
            "conv_transpose2d %x, @w {groups=2, stride=[2,2]}",
            "f32[N,4,6,6]",
        ),
        (
            "f32[N,4,3,3]",
            "f32[4,1,2,2]",
            "conv_transpose2d %x, @w {groups=depthwise}",
            "f32[N,4,4,4]",
        ),
        ("f32[N,6,3,3]", "f32[4,3,2,2]", "conv2d %x, @w {groups=2}", "f32[N,4,2,2]"),
        ("f32[N,6]", "f32[4,6]", "linear %x, @w", "f32[N,4]"),
    ] {
        let text = format!(
            "graph @g
in   %x: {x}
w    @w: {weight} = rand(seed=1)
{parameters}%1 = {layer} : {result}
%2 = batch_norm %1, @gamma, @beta, @mean, @variance : {result}
out  %2
"
        );
        let graph = Graph::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        assert!(check(&graph, "fold_batch_norm", fold_batch_norm, FOLDED, 2, layer));
        let folded = fold_batch_norm(&graph).unwrap().unwrap();
        assert_eq!(folded.nodes().len(), 1, "{folded}");
    }
}

#[test]
fn a_result_that_others_read_is_not_folded_away() {
    let text = "graph @g
in   %x: f32[N,2,3,3]
w    @w: f32[2,2,1,1] = rand(seed=1)
w    @p: f32[2] = [1, 2]
%1 = conv2d %x, @w : f32[N,2,3,3]
%2 = batch_norm %1, @p, @p, @p, @p : f32[N,2,3,3]
%3 = add %1, %2 : f32[N,2,3,3]
out  %3
";
    assert!(fold_batch_norm(&Graph::parse(text).unwrap()).unwrap().is_none());
}

#[test]
fn layers_that_share_weights_are_folded_apart() {
    let text = "graph @g
in   %x: f32[N,2,3,3]
w    @w: f32[2,2,1,1] = rand(seed=1)
w    @b: f32[2] = rand(seed=2)
w    @p: f32[2] = [1, 2]
w    @q: f32[2] = [4, 3]
%1 = conv2d %x, @w, @b : f32[N,2,3,3]
%2 = batch_norm %1, @p, @p, @p, @p : f32[N,2,3,3]
%3 = conv2d %2, @w, @b : f32[N,2,3,3]
%4 = batch_norm %3, @q, @q, @q, @q : f32[N,2,3,3]
out  %4
";
    let graph = Graph::parse(text).unwrap();
    assert!(check(&graph, "fold_batch_norm", fold_batch_norm, FOLDED, 2, "shared"));
}
