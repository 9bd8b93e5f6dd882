//! The arithmetic limit of a core, and the time of a layer at every width.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bunjae_engine::{CompileOptions, Input, Model, Output, Session};
use bunjae_ir::Graph;
use bunjae_kernels::{Isa, multiply_add_peak};

use crate::times;

/// Prints the multiply-adds per second of one core, and the instruction set.
pub(crate) fn peak(budget: Duration) -> Result<(), Box<dyn Error>> {
    let isa = Isa::preferred()?;
    println!("{{\"isa\": \"{isa}\", \"macs_per_second\": {}}}", multiply_add_peak(isa, budget)?);
    Ok(())
}

/// Prints the time of a convolution from w to w channels on a picture of 32 x 32, for widths from 8 to
/// 128 and kernels of 3x3 and 1x1, one thread.
pub(crate) fn sweep(budget: Duration) -> Result<(), Box<dyn Error>> {
    println!("[");
    let widths: Vec<usize> =
        (8..=128).filter(|width| *width <= 32 || width % 2 == 1 || width % 8 == 0).collect();
    for (number, &width) in widths.iter().enumerate() {
        let mut line = format!("{{\"width\": {width}");
        for kernel in [3, 1] {
            let seconds = layer(width, kernel, budget)?;
            let macs = (width * width * kernel * kernel * 32 * 32) as f64;
            write!(
                line,
                ", \"{kernel}x{kernel}\": {{\"ms\": {}, \"ps_per_mac\": {}}}",
                1e3 * seconds,
                1e12 * seconds / macs
            )?;
        }
        println!("{line}}}{}", if number + 1 < widths.len() { "," } else { "" });
    }
    println!("]");
    Ok(())
}

/// The median time of a layer with ReLU, the best of three medians.
fn layer(width: usize, kernel: usize, budget: Duration) -> Result<f64, Box<dyn Error>> {
    let pad = kernel / 2;
    let text = format!(
        "graph @layer\n\
         in   %x: f32[1,{width},32,32]\n\
         w    @w: f32[{width},{width},{kernel},{kernel}] = rand(seed=1)\n\
         w    @b: f32[{width}] = rand(seed=2)\n\
         %1 = conv2d %x, @w, @b {{pad=[{pad},{pad},{pad},{pad}]}} : f32[1,{width},32,32]\n\
         %2 = relu %1 : f32[1,{width},32,32]\n\
         out  %2\n"
    );
    let graph = Graph::parse(&text)?;
    let model = Arc::new(Model::compile(&graph, &CompileOptions::batch(1))?);
    let mut session = Session::with_threads(model, 1)?;
    let input = vec![0.5f32; width * 32 * 32];
    let mut output = vec![0f32; width * 32 * 32];
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let times = times(budget / 3, || {
            session.run(
                &[Input::from(input.as_slice())],
                &mut [Output::from(output.as_mut_slice())],
            )?;
            Ok(())
        })?;
        best = best.min(times[times.len() / 2]);
    }
    Ok(best)
}
