//! Running a session allocates nothing, not even the first time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bunjae_engine::{CompileOptions, Input, Model, Output, Session};
use bunjae_ir::{Bindings, Graph};
use bunjae_passes::sample_inputs;
use bunjae_tensor::Tensor;
use bunjae_zoo::Options;

/// Counts the calls to the system's allocator, of all threads.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls are passed on to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of a first and of a second run.
fn allocations(graph: &Graph, threads: usize) -> [usize; 2] {
    let bindings = Bindings::from([("N".to_string(), 2)]);
    let inputs = sample_inputs(graph, &bindings, 1).unwrap();
    let model = Model::compile(graph, &CompileOptions::batch(2)).unwrap();
    let mut outputs: Vec<Tensor> = model
        .outputs()
        .iter()
        .map(|port| Tensor::zeros(port.dtype, &port.shape).unwrap())
        .collect();
    let mut session = Session::with_threads(Arc::new(model), threads).unwrap();
    // A helper allocates its scratch memory when it starts, which is before the first run only if it
    // is given the time.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let inputs: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
    let mut outputs: Vec<Output<'_>> = outputs.iter_mut().map(Output::from).collect();
    [(); 2].map(|()| {
        let before = CALLS.load(Ordering::Relaxed);
        session.run(&inputs, &mut outputs).unwrap();
        CALLS.load(Ordering::Relaxed) - before
    })
}

/// Generic kernels of every kind, which no network of the zoo uses.
const GENERIC: &str = r#"graph @generic
in   %x: f32[N,4,6,6]
w    @w: f32[4,2,2,2] = rand(seed=1)
w    @scale: f32[] = [0.1]
w    @zero: u8[] = [3]
w    @gamma: f32[6] = rand(seed=2)
w    @m: f32[6,5] = rand(seed=3)
%1 = mish %x : f32[N,4,6,6]
%2 = pad %1 {mode=reflect, pads=[[2,1,1],[3,1,1]]} : f32[N,4,8,8]
%3 = resize %2 {mode=linear, to=[size,6,6]} : f32[N,4,6,6]
%4 = quantize %3, @scale, @zero : u8[N,4,6,6]
%5 = dequantize %4, @scale, @zero : f32[N,4,6,6]
%6 = layer_norm %5, @gamma {axis=3} : f32[N,4,6,6]
%7 = softmax %6 {axis=1} : f32[N,4,6,6]
%8 = transpose %7 {perm=[0,3,2,1]} : f32[N,6,6,4]
%9 = reshape %8 {map=[[1,_],[1,_],[2,_]]} : f32[N,6,24]
%10 = reduce %9 {axes=[1], kind=l2} : f32[N,1,24]
%11 = matmul %7, @m : f32[N,4,6,5]
%12 = conv_transpose2d %7, @w {stride=[2,2]} : f32[N,2,12,12]
%13 = cast %12 {to=f64} : f64[N,2,12,12]
%14 = pow %13, %13 : f64[N,2,12,12]
out  %10 ; "a"
out  %11 ; "b"
out  %14 ; "c"
"#;

#[test]
fn no_run_allocates() {
    let options = Options { input: Some([3, 64, 64]), ..Options::default() };
    let mut graphs = vec![Graph::parse(GENERIC).unwrap()];
    for name in ["mask-base", "mobilenet-v3-small", "shufflenet-v2"] {
        graphs.push(bunjae_zoo::build(name, &options).unwrap());
    }
    for graph in &graphs {
        for threads in [1, 2] {
            let counts = allocations(graph, threads);
            assert_eq!(counts, [0, 0], "{} with {threads} threads", graph.name);
        }
    }
    let before = CALLS.load(Ordering::Relaxed);
    drop(vec![1u8]);
    assert!(CALLS.load(Ordering::Relaxed) > before, "the allocator does not count");
}
