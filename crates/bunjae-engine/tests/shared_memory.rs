//! A network small enough for Miri, whose steps are shared by two threads: fast kernels of several
//! kinds and a generic one, over one arena.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bunjae_engine::{CompileOptions, Isa, Model, Session};
use bunjae_ir::{Bindings, Graph};
use bunjae_passes::sample_inputs;

const NETWORK: &str = "graph @small
in   %x: f32[N,2,12,12]
w    @a: f32[9,2,3,3] = rand(seed=1)
w    @b: f32[9,9,1,1] = rand(seed=2)
w    @d: f32[9,1,3,3] = rand(seed=3)
w    @f: f32[3,9] = rand(seed=4)
%1 = conv2d %x, @a {pad=[1,1,1,1]} : f32[N,9,12,12]
%2 = relu %1 : f32[N,9,12,12]
%3 = conv2d %2, @d {groups=depthwise, pad=[1,1,1,1]} : f32[N,9,12,12]
%4 = conv2d %3, @b : f32[N,9,12,12]
%5 = add %4, %2 : f32[N,9,12,12]
%6 = mish %5 : f32[N,9,12,12]
%7 = reduce %6 {axes=[2,3], keep=false} : f32[N,9]
%8 = linear %7, @f : f32[N,3]
out  %8
";

#[test]
fn two_threads_share_the_steps_of_a_small_network() {
    let graph = Graph::parse(NETWORK).unwrap();
    let options = CompileOptions { isa: Some(Isa::Portable), ..CompileOptions::batch(2) };
    let model = Arc::new(Model::compile(&graph, &options).unwrap());
    let plan = model.explain();
    assert!(plan.steps.iter().any(|step| step.tasks > 1), "nothing is shared: {plan}");
    let bindings = Bindings::from([("N".to_string(), 2)]);
    let inputs = sample_inputs(&graph, &bindings, 1).unwrap();
    let results = [1, 2].map(|threads| {
        let mut session = Session::with_threads(model.clone(), threads).unwrap();
        session.run_tensors(&inputs).unwrap()
    });
    assert!(results[0] == results[1], "one thread and two differ");
}
