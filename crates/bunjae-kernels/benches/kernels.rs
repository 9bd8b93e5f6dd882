//! Throughput of the kernels on the layers of the networks this project is measured by.
//!
//! `cargo bench -p bunjae-kernels -- [FILTER] [--isa NAME]` prints, per layer and form, the best
//! of several medians in microseconds, the rate in GMAC/s, and its share of the peak that this
//! core reaches with all operands in registers.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a command-line program")]

use std::time::{Duration, Instant};

use bunjae_kernels::{
    Activation, AlignedVec, Conv, ConvForm, ConvInputs, ConvSpec, Halo, Isa, IsaSet, Planar, Tail,
    multiply_add_peak,
};

/// (name, input channels, output channels, input rows, columns, kernel, stride, tail)
type Layer = (&'static str, usize, usize, usize, usize, usize, usize, Tail);

const LAYERS: &[Layer] = &[
    ("M0 conv1 pool", 3, 32, 128, 128, 3, 1, Tail::MaxPool2),
    ("M0 conv2 pool", 32, 64, 64, 64, 3, 1, Tail::MaxPool2),
    ("M0 conv3 gap", 64, 128, 32, 32, 3, 1, Tail::GlobalAverage),
    ("M0 conv2", 32, 64, 64, 64, 3, 1, Tail::Store),
    ("M0 conv3", 64, 128, 32, 32, 3, 1, Tail::Store),
    ("M1 conv1 pool", 3, 8, 128, 128, 3, 1, Tail::MaxPool2),
    ("M1 conv2 pool", 8, 16, 64, 64, 3, 1, Tail::MaxPool2),
    ("M1 conv3 gap", 16, 32, 32, 32, 3, 1, Tail::GlobalAverage),
    ("M2 conv2 pool", 16, 32, 64, 64, 3, 1, Tail::MaxPool2),
    ("M2 conv3 gap", 32, 64, 32, 32, 3, 1, Tail::GlobalAverage),
    ("pruned conv2 pool", 22, 44, 64, 64, 3, 1, Tail::MaxPool2),
    ("pruned conv3 gap", 44, 89, 32, 32, 3, 1, Tail::GlobalAverage),
    ("pruned 11-8-4", 11, 8, 64, 64, 3, 1, Tail::Store),
    ("M3 stem", 1, 32, 60, 120, 3, 2, Tail::Store),
    ("M3 16-96 pw", 16, 96, 30, 60, 1, 1, Tail::Store),
    ("M3 96-24 pw", 96, 24, 15, 30, 1, 1, Tail::Store),
    ("M3 144-32 pw", 144, 32, 8, 15, 1, 1, Tail::Store),
    ("M3 192-64 pw", 192, 64, 4, 8, 1, 1, Tail::Store),
    ("M3 64-384 pw", 64, 384, 4, 8, 1, 1, Tail::Store),
    ("M4 stem 7x7 s2", 3, 64, 224, 224, 7, 2, Tail::Store),
    ("M4 layer1", 64, 64, 56, 56, 3, 1, Tail::Store),
    ("M4 layer2 s2", 64, 128, 56, 56, 3, 2, Tail::Store),
    ("M4 layer2", 128, 128, 28, 28, 3, 1, Tail::Store),
    ("M4 layer2 1x1 s2", 64, 128, 56, 56, 1, 2, Tail::Store),
    ("M4 layer3", 256, 256, 14, 14, 3, 1, Tail::Store),
    ("M4 layer4", 512, 512, 7, 7, 3, 1, Tail::Store),
    ("M5 stem", 3, 32, 224, 224, 3, 2, Tail::Store),
    ("M5 32-16 pw", 32, 16, 112, 112, 1, 1, Tail::Store),
    ("M5 16-96 pw", 16, 96, 112, 112, 1, 1, Tail::Store),
    ("M5 24-144 pw", 24, 144, 56, 56, 1, 1, Tail::Store),
    ("M5 144-24 pw", 144, 24, 56, 56, 1, 1, Tail::Store),
    ("M5 32-192 pw", 32, 192, 28, 28, 1, 1, Tail::Store),
    ("M5 64-384 pw", 64, 384, 14, 14, 1, 1, Tail::Store),
    ("M5 576-96 pw", 576, 96, 14, 14, 1, 1, Tail::Store),
    ("M5 160-960 pw", 160, 960, 7, 7, 1, 1, Tail::Store),
    ("M5 320-1280 gap", 320, 1280, 7, 7, 1, 1, Tail::GlobalAverage),
];

/// (name, channels, input rows, columns, kernel, stride)
const DEPTHWISE: &[(&str, usize, usize, usize, usize, usize)] = &[
    ("M3 dw 30x60", 32, 30, 60, 3, 1),
    ("M3 dw 30x60 s2", 96, 30, 60, 3, 2),
    ("M3 dw 15x30", 144, 15, 30, 3, 1),
    ("M3 dw 8x15", 192, 8, 15, 3, 1),
    ("M3 dw 4x8", 384, 4, 8, 3, 1),
    ("M5 dw 112", 32, 112, 112, 3, 1),
    ("M5 dw 112 s2", 96, 112, 112, 3, 2),
    ("M5 dw 56", 144, 56, 56, 3, 1),
    ("M5 dw 56 s2", 144, 56, 56, 3, 2),
    ("M5 dw 28", 192, 28, 28, 3, 1),
    ("M5 dw 14", 384, 14, 14, 3, 1),
    ("M5 dw 14 s2", 576, 14, 14, 3, 2),
    ("M5 dw 7", 960, 7, 7, 3, 1),
    ("dw 5x5 28", 120, 28, 28, 5, 1),
    ("dw 5x5 14 s2", 240, 14, 14, 5, 2),
];

/// Best of `rounds` medians of at least 50 runs each, in seconds.
fn measure(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        run();
        let mut times = Vec::new();
        let begin = Instant::now();
        while times.len() < 50 || begin.elapsed() < Duration::from_millis(5) {
            let start = Instant::now();
            run();
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        best = best.min(times[times.len() / 2]);
    }
    best
}

fn values(n: usize) -> AlignedVec {
    let mut v = AlignedVec::zeroed(n);
    for (i, x) in v.iter_mut().enumerate() {
        *x = (i * 7919 % 1000) as f32 / 1000.0 - 0.5;
    }
    v
}

fn conv(layer: &Layer, groups: usize, form: ConvForm, isa: Isa, peak: f64) {
    let &(name, ic, oc, h, w, kernel, stride, tail) = layer;
    // As the engine lays it out: strided convolutions copy their input unless they are depthwise.
    let copied = stride > 1 && groups == 1;
    let halo = Halo::uniform(if copied { 0 } else { kernel / 2 });
    let input = Planar::new(1, ic, h, w, halo);
    let size = [h, w].map(|x| (x - 1) / stride + 1);
    let output = match tail {
        Tail::Store => Planar::new(1, oc, size[0], size[1], halo),
        Tail::MaxPool2 => Planar::new(1, oc, size[0] / 2, size[1] / 2, halo),
        Tail::GlobalAverage => Planar::new(1, oc, 1, 1, Halo::default()),
    };
    let spec = ConvSpec {
        size,
        stride: [stride, stride],
        padding: [kernel / 2, kernel / 2],
        activation: Activation::Relu,
        tail,
        groups,
        form: Some(form),
        ..ConvSpec::new(input, output, [kernel, kernel])
    };
    let Ok(conv) = Conv::new(spec, isa) else { return };
    let chosen = Conv::new(ConvSpec { form: None, ..spec }, isa).unwrap().form() == form;
    let weights = AlignedVec::from(
        conv.pack(&values(oc * ic / groups * kernel * kernel)).unwrap().as_slice(),
    );
    let mut x = values(input.len());
    input.clear_halo(&mut x).unwrap();
    let bias = values(oc);
    let mut out = AlignedVec::zeroed(output.len());
    let mut workspace = AlignedVec::zeroed(conv.workspace_len());
    let mut scratch = AlignedVec::zeroed(conv.scratch_len());
    let inputs = ConvInputs {
        input: &x,
        weights: &weights,
        bias: Some(&bias),
        slopes: None,
        residual: None,
    };
    let seconds = measure(|| conv.run(&inputs, &mut out, &mut workspace, &mut scratch).unwrap());
    let rate = spec.macs() as f64 / seconds;
    println!(
        "{:<9} {name:<20} {:<9} {:>9.1} us {:>7.1} GMAC/s {:>6.1} % {}",
        isa.name(),
        format!("{form:?}"),
        seconds * 1e6,
        rate / 1e9,
        100.0 * rate / peak,
        if chosen { "*" } else { "" },
    );
}

fn main() {
    let mut filter = String::new();
    let mut only = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--isa" => only = arguments.next().and_then(|name| Isa::from_name(&name)),
            other => filter = other.to_owned(),
        }
    }
    for isa in IsaSet::available().iter().filter(|isa| only.is_none_or(|only| only == *isa)) {
        let peak = multiply_add_peak(isa, Duration::from_millis(200)).unwrap();
        println!(
            "{:<9} peak {:.1} GMAC/s (* = the form chosen by the cost model)",
            isa.name(),
            peak / 1e9
        );
        for layer in LAYERS.iter().filter(|layer| layer.0.contains(&filter)) {
            for form in [ConvForm::Pixel, ConvForm::Channel, ConvForm::Winograd] {
                conv(layer, 1, form, isa, peak);
            }
        }
        for &(name, c, h, w, k, stride) in DEPTHWISE.iter().filter(|l| l.0.contains(&filter)) {
            conv(&(name, c, c, h, w, k, stride, Tail::Store), c, ConvForm::Depthwise, isa, peak);
        }
    }
}
