//! One engine, one model, one process: loads, answers once, and then measures when it is told to.
//!
//! ```text
//! latency-peers ENGINE MODEL.onnx INPUT.f32 1x3x128x128 THREADS
//! latency-peers peak MILLISECONDS
//! latency-peers widths MILLISECONDS
//! ```
//!
//! The input is little-endian f32 in row-major order. The first line of the output is a JSON object
//! with the elements of the result, the load time in milliseconds and, by that time, the resident
//! memory. Then each line of the input, a number of milliseconds, is answered with the median time of
//! a run over about so long. `../workers.py` speaks the same way for engines that come with Python.
#![forbid(unsafe_code)]

mod engines;
mod widths;

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// A loaded model: each call is a run, which fills the elements of the first result.
type Run = Box<dyn FnMut(&mut Vec<f32>) -> Result<(), Box<dyn Error>>>;

/// What an engine is asked to load.
struct Job<'a> {
    model: &'a Path,
    input: Vec<f32>,
    shape: Vec<usize>,
    threads: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["peak", budget] => widths::peak(Duration::from_millis(budget.parse()?)),
        ["widths", budget] => widths::sweep(Duration::from_millis(budget.parse()?)),
        [engine, model, input, shape, threads] => {
            let bytes = std::fs::read(input)?;
            let values =
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let job = Job {
                model: Path::new(model),
                input: values.collect(),
                shape: shape.split('x').map(str::parse).collect::<Result<_, _>>()?,
                threads: threads.parse()?,
            };
            serve(engine, job)
        }
        _ => Err("usage: latency-peers ENGINE MODEL INPUT SHAPE THREADS".into()),
    }
}

/// Loads, answers once, and measures for every line of stdin.
fn serve(engine: &str, job: Job<'_>) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now();
    let mut run = engines::load(engine, job)?;
    let mut result = Vec::new();
    run(&mut result)?;
    let load = 1e3 * begin.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    let memory = resident()?;
    writeln!(out, "{{\"load_ms\": {load}, \"rss_kib\": {memory}, \"output\": {result:?}}}")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let budget = Duration::from_millis(line?.trim().parse()?);
        let times = times(budget, || run(&mut result))?;
        let [median, runs] = [times[times.len() / 2], times.len() as f64];
        writeln!(out, "{{\"median_ms\": {}, \"runs\": {runs}}}", 1e3 * median)?;
        out.flush()?;
    }
    Ok(())
}

/// Seconds of each run, sorted: at least five, and as many as fit into the budget.
fn times(
    budget: Duration,
    mut run: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < budget || times.len() < 5 {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Resident memory of this process in KiB.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS in /proc/self/status")?.parse()?)
}
