//! Writes small stored networks for the fuzzer to begin with, which would not guess one:
//! `cargo run -p bunjae-engine --example fuzz_seeds -- fuzz/corpus/artefact`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;

use bunjae_engine::{CompileOptions, Isa, Network};
use bunjae_ir::Graph;

/// Convolutions of several forms, and what is fused into them.
const CONVOLUTIONS: &str = "graph @net
meta \"k\" = \"v\"
in   %x: f32[N,4,6,6]
w    @c: f32[4,4,3,3] = rand(seed=1)
w    @d: f32[4,1,3,3] = rand(seed=2)
w    @p: f32[1] = [0.25]
w    @l: f32[3,4] = rand(seed=3)
w    @b: f32[3] = rand(seed=4)
%1 = conv2d %x, @c {pad=[1,1,1,1]} : f32[N,4,6,6]
%2 = prelu %1, @p : f32[N,4,6,6]
%3 = add %2, %x : f32[N,4,6,6]
%4 = conv2d %3, @d {groups=depthwise, pad=[1,1,1,1], stride=[2,2]} : f32[N,4,3,3]
%5 = global_pool %4 : f32[N,4,1,1]
%6 = flatten %5 : f32[N,4]
%7 = linear %6, @l, @b : f32[N,3]
%8 = softmax %7 {axis=1} : f32[N,3]
out  %8 ; \"y\"
";

/// A linear layer alone, with a fixed batch: the smallest file with packed weights.
const LINEAR: &str = "graph @l
in   %x: f32[9,2]
w    @w: f32[1,2] = [1, 2]
%1 = linear %x, @w : f32[9,1]
out  %1 ; \"y\"
";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("usage: fuzz_seeds FOLDER")?;
    std::fs::create_dir_all(&folder)?;
    for (name, text) in [("convolutions", CONVOLUTIONS), ("linear", LINEAR)] {
        // The instruction set that the fuzzer runs.
        let options = CompileOptions { isa: Some(Isa::Portable), ..CompileOptions::default() };
        Network::compile(&Graph::parse(text)?, &options)?.save(&folder.join(name))?;
    }
    Ok(())
}
