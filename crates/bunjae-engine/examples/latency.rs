//! The latency of networks of the zoo, batch 1: medians over many runs, with one thread and two.
//!
//! ```text
//! cargo run --release -p bunjae-engine --example latency -- [--profile] [--tune] [--threads N] NAME[:SIZE]...
//! ```
//!
//! `NAME:CxHxW` gives the size of a picture; with `--profile`, the time of each step is shown.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "this is a program")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bunjae_engine::{CompileOptions, Input, Model, Output, Session};
use bunjae_ir::Bindings;
use bunjae_passes::sample_inputs;
use bunjae_zoo::{Options, Width};

/// Time spent on measuring each network and number of threads, and how often.
const BUDGET: Duration = Duration::from_millis(600);
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut profile, mut tune) = (false, false);
    let mut threads = vec![1, 2];
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--profile" => profile = true,
            "--tune" => tune = true,
            "--threads" => threads = vec![arguments.next().ok_or("a number of threads")?.parse()?],
            _ => names.push(argument),
        }
    }
    for name in &names {
        measure(name, &threads, profile, tune)?;
    }
    Ok(())
}

/// `name`, `name:3x224x224` or `name@16-32-64` (widths).
fn measure(text: &str, threads: &[usize], profile: bool, tune: bool) -> Result<(), Box<dyn Error>> {
    let (rest, size) = match text.split_once(':') {
        Some((name, size)) => (name, Some(size)),
        None => (text, None),
    };
    let (name, widths) = match rest.split_once('@') {
        Some((name, widths)) => (name, Some(widths)),
        None => (rest, None),
    };
    let mut options = Options::default();
    if let Some(size) = size {
        let parts: Vec<usize> = size.split('x').map(str::parse).collect::<Result<_, _>>()?;
        options.input = Some(parts.try_into().map_err(|_| "a size is CxHxW")?);
    }
    if let Some(widths) = widths {
        let widths = widths.split('-').map(str::parse).collect::<Result<_, _>>()?;
        options.width = Width::Stages(widths);
    }
    let graph = bunjae_zoo::build(name, &options)?;
    let bindings = Bindings::from([("N".to_string(), 1)]);
    let inputs = sample_inputs(&graph, &bindings, 1)?;
    let options = CompileOptions { tune, ..CompileOptions::batch(1) };
    let model = Arc::new(Model::compile(&graph, &options)?);
    let inputs: Vec<Input<'_>> = inputs.iter().map(Input::from).collect();
    for &threads in threads {
        let mut session = Session::with_threads(model.clone(), threads)?;
        let mut results: Vec<Vec<f32>> =
            model.outputs().iter().map(|port| vec![0.0; port.elements()]).collect();
        let mut outputs: Vec<Output<'_>> =
            results.iter_mut().map(|result| Output::from(result.as_mut_slice())).collect();
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            let mut times = Vec::new();
            while begin.elapsed() < BUDGET / ROUNDS as u32 || times.len() < 5 {
                let start = Instant::now();
                session.run(&inputs, &mut outputs)?;
                times.push(start.elapsed().as_secs_f64());
            }
            times.sort_by(f64::total_cmp);
            best = best.min(times[times.len() / 2]);
        }
        println!("{text:<28} {threads} threads  {:>9.4} ms", 1e3 * best);
        if profile {
            println!("{}", session.profile(&inputs, 50)?);
        }
    }
    Ok(())
}
