//! Sessions and models as a user meets them: what is refused, what is shared, what is shown.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bunjae_engine::{CompileError, CompileOptions, Input, Model, Output, RunError, Session};
use bunjae_ir::{Bindings, Graph};
use bunjae_passes::sample_inputs;
use bunjae_zoo::Options;

const TWO_INPUTS: &str = "graph @two
in   %a: f32[N,3]
in   %b: f32[N,3]
w    @c: f32[2] = [5, 7]
%1 = add %a, %b : f32[N,3] ; \"sum\"
out  %1 ; \"sum\"
out  @c ; \"constant\"
out  %b ; \"same\"
";

fn two() -> Arc<Model> {
    let graph = Graph::parse(TWO_INPUTS).unwrap();
    Arc::new(Model::compile(&graph, &CompileOptions::batch(2)).unwrap())
}

#[test]
fn outputs_may_be_results_weights_and_inputs() {
    let mut session = Session::new(two()).unwrap();
    let (a, b) = ([1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [0.5f32, 0.0, 0.0, 0.0, 0.0, -6.0]);
    let (mut sum, mut constant, mut same) = ([0f32; 6], [0f32; 2], [0f32; 6]);
    let inputs = [Input::from(&a[..]), Input::from(&b[..])];
    let mut outputs = [&mut sum[..], &mut constant[..], &mut same[..]].map(Output::from);
    session.run(&inputs, &mut outputs).unwrap();
    assert_eq!(sum, [1.5, 2.0, 3.0, 4.0, 5.0, 0.0]);
    assert_eq!((constant, same), ([5.0, 7.0], b));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut session = Session::new(two()).unwrap();
    let (a, short, wrong) = ([0f32; 6], [0f32; 5], [0f64; 6]);
    let mut run = |inputs: &[Input<'_>], outputs: &mut [Output<'_>]| {
        session.run(inputs, outputs).unwrap_err().to_string()
    };
    let (x, short, wrong) = (Input::from(&a[..]), Input::from(&short[..]), Input::from(&wrong[..]));
    assert_eq!(run(&[x], &mut []), "the model has 2 inputs, but 1 were given");
    assert_eq!(run(&[x, short], &mut []), "input b should be [2, 3], 6 elements, but 5 were given");
    assert_eq!(run(&[x, wrong], &mut []), "input b should be f32, but is f64");
    assert_eq!(run(&[x, x], &mut []), "the model has 3 outputs, but 0 were given");
    let (mut sum, mut constant, mut same) = ([0f32; 6], [0f32; 3], [0f32; 6]);
    let mut outputs = [&mut sum[..], &mut constant[..], &mut same[..]].map(Output::from);
    assert_eq!(
        run(&[x, x], &mut outputs),
        "output constant should be [2], 2 elements, but 3 were given"
    );
}

#[test]
fn an_unknown_size_and_an_empty_batch_are_refused() {
    let graph = Graph::parse(TWO_INPUTS).unwrap();
    let error = Model::compile(&graph, &CompileOptions::default()).unwrap_err();
    assert!(matches!(&error, CompileError::UnknownSize { symbol, .. } if symbol == "N"), "{error}");
    assert_eq!(
        error.to_string(),
        "input a is f32[N,3], and `N` has no value; hint: give it one in the options"
    );
    let error = Model::compile(&graph, &CompileOptions::batch(0)).unwrap_err();
    assert_eq!(error.to_string(), "a: a tensor of shape [0, 3] has no elements");
}

#[test]
fn a_division_by_zero_names_the_node() {
    let text = "graph @g
in   %a: i32[2]
in   %b: i32[2]
%1 = div %a, %b : i32[2] ; \"head.ratio\"
out  %1
";
    let graph = Graph::parse(text).unwrap();
    let model = Model::compile(&graph, &CompileOptions::default()).unwrap();
    let mut session = Session::new(Arc::new(model)).unwrap();
    let mut result = [0i32; 2];
    let mut run = |b: [i32; 2]| {
        let a = [7i32, -7];
        let inputs = [Input::from(&a[..]), Input::from(&b[..])];
        let done = session.run(&inputs, &mut [Output::from(&mut result[..])]);
        done.map(|()| result)
    };
    let error = run([1, 0]).unwrap_err();
    assert!(matches!(&error, RunError::Step { step, .. } if step == "head.ratio"), "{error}");
    // A failed run leaves the session usable.
    assert_eq!(run([2, 2]).unwrap(), [3, -3]);
}

#[test]
fn sessions_on_several_threads_share_a_model() {
    let options = Options { input: Some([3, 32, 32]), ..Options::default() };
    let graph = bunjae_zoo::build("resnet20", &options).unwrap();
    let bindings = Bindings::from([("N".to_string(), 1)]);
    let model = Arc::new(Model::compile(&graph, &CompileOptions::batch(1)).unwrap());
    let results: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..3u64)
            .map(|seed| {
                let inputs = sample_inputs(&graph, &bindings, seed % 2).unwrap();
                let model = model.clone();
                scope.spawn(move || {
                    let mut session = Session::with_threads(model, 2).unwrap();
                    let first = session.run_tensors(&inputs).unwrap();
                    for _ in 0..20 {
                        assert!(session.run_tensors(&inputs).unwrap() == first);
                    }
                    first
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert!(results[0] == results[2] && results[0] != results[1]);
}

#[test]
fn a_plan_is_explained_step_by_step() {
    let options = Options { input: Some([3, 32, 32]), ..Options::default() };
    let graph = bunjae_zoo::build("mask-small", &options).unwrap();
    let model = Model::compile(&graph, &CompileOptions::batch(1)).unwrap();
    let plan = model.explain();
    let macs: u64 = plan.steps.iter().map(|step| step.macs).sum();
    let bindings = Bindings::from([("N".to_string(), 1)]);
    let cost = graph.cost(&bindings, bunjae_ir::Convention::Exact).unwrap();
    assert_eq!(macs, cost.macs);
    // Three convolutions with all that follows them, and the linear layer.
    assert_eq!(plan.steps.len(), 4, "{plan}");
    assert!(plan.steps[0].kernel.ends_with("3x3 +relu +pool"), "{plan}");
    assert!(plan.steps[2].kernel.ends_with("3x3 +relu +average"), "{plan}");
    assert!(plan.arena_bytes > 0 && plan.weight_bytes > 0);

    let inputs = sample_inputs(&graph, &bindings, 1).unwrap();
    let inputs: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
    let mut session = Session::new(Arc::new(model)).unwrap();
    let profile = session.profile(&inputs, 3).unwrap();
    assert_eq!(profile.medians.len(), 4);
    assert!(profile.total() > std::time::Duration::ZERO && profile.share(0).is_some());
    assert_eq!(profile.to_string().lines().count(), 5, "{profile}");
}
