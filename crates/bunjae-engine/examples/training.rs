//! Pictures per second of training steps (forward, backward, Adam), batch 32: the median step.
//!
//! ```text
//! cargo run --release -p bunjae-engine --example training -- [--profile] [--threads N] [--steps N] [--classes N] NAME[:CxHxW]
//! ```
//!
//! Prints one line of JSON; with `--profile`, the time of each step of the plan follows. Measure one
//! network per process: the peak of resident memory is the process's.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::error::Error;
use std::time::Instant;

use bunjae_engine::{Adam, CompileOptions, FlatMath, Input, Output, TrainingSession};
use bunjae_ir::{Bindings, Dim, Graph, TensorType};
use bunjae_passes::losses::cross_entropy;
use bunjae_passes::{differentiate, for_training, sample_inputs, trainable_weights};
use bunjae_tensor::Tensor;
use bunjae_zoo::Options;

const BATCH: usize = 32;

/// Steps before the first that counts.
const WARM_UP: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut profile, mut threads, mut steps, mut classes, mut network) =
        (false, 1, 20, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--profile" => profile = true,
            "--threads" => threads = arguments.next().ok_or("a number of threads")?.parse()?,
            "--steps" => steps = arguments.next().ok_or("a number of steps")?.parse()?,
            "--classes" => classes = Some(arguments.next().ok_or("a number of classes")?.parse()?),
            _ => network = Some(argument),
        }
    }
    let network = network.ok_or("the name of a network")?;
    let graph = training_graph(&network, classes)?;
    let tensors = inputs_of(&graph)?;
    let options = CompileOptions { threads, ..CompileOptions::batch(BATCH) };
    let mut session = TrainingSession::new(&graph, &options)?;
    // The session has the weights; a second copy would count as its memory.
    drop(graph);
    let inputs: Vec<Input<'_>> = tensors.iter().map(Input::from).collect();
    let ports = session.outputs().to_vec();
    let mut results: Vec<Tensor> = ports
        .iter()
        .map(|port| Tensor::zeros(port.dtype, &port.shape))
        .collect::<Result<_, _>>()?;
    let loss = ports.iter().position(|port| port.name == "loss").ok_or("no loss")?;
    let math = FlatMath::new(session.model().isa())?;
    let len = session.parameters().len();
    let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
    let (mut times, mut losses) = (Vec::new(), Vec::new());
    for step in 0..WARM_UP + steps {
        let start = Instant::now();
        let mut outputs: Vec<Output<'_>> = results.iter_mut().map(Output::from).collect();
        session.run(&inputs, &mut outputs)?;
        let (parameters, gradients) = session.arrays_mut();
        let adam = Adam {
            rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            decay: 0.0,
            decoupled: false,
            scale: 1.0,
            step: step as u64 + 1,
        };
        math.adam(&adam, parameters, gradients, &mut first, &mut second)?;
        if step >= WARM_UP {
            times.push(start.elapsed().as_secs_f64());
        }
        losses.push(results[loss].to_f64_vec()[0]);
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!(
        "{{\"network\": {network:?}, \"threads\": {threads}, \"pictures_per_second\": {:.1}, \
         \"ms\": {:.2}, \"arena_mb\": {:.1}, \"peak_resident_mb\": {:.1}, \"losses\": [{:.4}, {:.4}]}}",
        BATCH as f64 / median,
        median * 1e3,
        session.model().arena_bytes() as f64 / 1e6,
        peak_resident_mb().unwrap_or(f64::NAN),
        losses[0],
        losses[losses.len() - 1],
    );
    if profile {
        show(&session.profile(&inputs, 5)?);
    }
    Ok(())
}

/// `name` or `name:3x128x128`, with the cross-entropy of its classes and the gradients of its weights.
fn training_graph(text: &str, classes: Option<usize>) -> Result<Graph, Box<dyn Error>> {
    let (name, size) = text.split_once(':').map_or((text, None), |(n, s)| (n, Some(s)));
    let mut options = Options { classes, ..Options::default() };
    if let Some(size) = size {
        let parts: Vec<usize> = size.split('x').map(str::parse).collect::<Result<_, _>>()?;
        options.input = Some(parts.try_into().map_err(|_| "a size is CxHxW")?);
    }
    let graph = bunjae_zoo::build(name, &options)?;
    let mut graph = for_training(&graph, |_| false)?.graph;
    let logits = graph.outputs().first().ok_or("a network without outputs")?.tensor;
    let mut dims = graph.ty(logits).dims.clone();
    if let Some(first) = dims.first_mut() {
        *first = Dim::symbol("N");
    }
    let targets = TensorType { dims, ..graph.ty(logits).clone() };
    let targets = graph.input("targets", targets)?;
    let loss = cross_entropy(&mut graph, "loss", logits, targets, None)?;
    graph.output("loss", loss)?;
    let weights = trainable_weights(&graph, loss);
    Ok(differentiate(&graph, loss, &weights)?)
}

/// Random pictures, one class each in turn, and masks of dropout that keep everything.
fn inputs_of(graph: &Graph) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let bindings = Bindings::from([("N".to_string(), BATCH)]);
    let mut inputs = sample_inputs(graph, &bindings, 1)?;
    for (input, &id) in inputs.iter_mut().zip(graph.inputs()) {
        let name = graph.label(id);
        let shape = input.shape().to_vec();
        let mut values = vec![1f32; input.len()];
        if name == "targets" {
            let classes = shape[1];
            values.fill(0.0);
            (0..BATCH).for_each(|row| values[row * classes + row % classes] = 1.0);
        } else if !name.starts_with("mask.") {
            continue;
        }
        *input = Tensor::from_slice(&shape, &values)?;
    }
    Ok(inputs)
}

fn show(profile: &bunjae_engine::Profile) {
    let mut steps: Vec<_> = profile.plan.steps.iter().zip(&profile.medians).collect();
    steps.sort_by(|a, b| b.1.cmp(a.1));
    for (step, median) in steps {
        let seconds = median.as_secs_f64();
        println!(
            "{:>9.1} us {:>6.1} GMAC/s  {:<40} {}",
            seconds * 1e6,
            step.macs as f64 / seconds / 1e9,
            step.kernel,
            step.name
        );
    }
}

/// The peak of resident memory of this process, where the system tells.
fn peak_resident_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1e3)
}
