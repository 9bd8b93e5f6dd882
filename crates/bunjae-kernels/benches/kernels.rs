//! Throughput of the kernels on the layers of the networks this project is measured by.
//!
//! `cargo bench -p bunjae-kernels -- [FILTER] [--isa NAME]` prints, per kernel and layer, the best
//! of several medians in microseconds, the rate in GMAC/s (for kernels without products, in
//! billions of elements read and written per second), and the share of the peak that this core
//! reaches with all operands in registers. The filter is a part of the kernel's or layer's name.
//! With `--widths` it prints tables of convolutions of many widths instead, with `--forms` the forms of
//! each convolution beside each other.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a command-line program")]

mod blocks;
mod forms;
mod training;
mod widths;

use std::time::{Duration, Instant};

use bunjae_kernels::{
    Activation, AlignedVec, Binary, BinaryOp, Conv, ConvForm, ConvInputs, ConvSpec, Coordinates,
    GlobalPool, Halo, Isa, IsaSet, Kernel, Linear, LinearSpec, Map, Planar, Pool, PoolKind,
    PoolSpec, Resize, Rounding, Sampling, Softmax, Tail, multiply_add_peak,
};

/// A convolution: channels in and out, input rows and columns, kernel, stride, groups, tail.
type Layer = (&'static str, [usize; 2], [usize; 2], usize, usize, usize, Tail);

/// One group, so that every direct form applies. M0 to M5 are the mask classifier, its small
/// version, its version pruned to half, the person detector, ResNet-18 and MobileNetV2.
const LAYERS: &[Layer] = &[
    ("M0 conv1", [3, 32], [128, 128], 3, 1, 1, Tail::MaxPool2),
    ("M0 conv2", [32, 64], [64, 64], 3, 1, 1, Tail::MaxPool2),
    ("M0 conv3", [64, 128], [32, 32], 3, 1, 1, Tail::GlobalAverage),
    ("M0 conv2 stored", [32, 64], [64, 64], 3, 1, 1, Tail::Store),
    ("M0 conv3 stored", [64, 128], [32, 32], 3, 1, 1, Tail::Store),
    ("M1 conv1", [3, 8], [128, 128], 3, 1, 1, Tail::MaxPool2),
    ("M1 conv2", [8, 16], [64, 64], 3, 1, 1, Tail::MaxPool2),
    ("M1 conv3", [16, 32], [32, 32], 3, 1, 1, Tail::GlobalAverage),
    ("M2 conv1", [3, 16], [128, 128], 3, 1, 1, Tail::MaxPool2),
    ("M2 conv2", [16, 32], [64, 64], 3, 1, 1, Tail::MaxPool2),
    ("M2 conv3", [32, 64], [32, 32], 3, 1, 1, Tail::GlobalAverage),
    ("pruned conv1 3-22", [3, 22], [128, 128], 3, 1, 1, Tail::MaxPool2),
    ("pruned conv2 22-44", [22, 44], [64, 64], 3, 1, 1, Tail::MaxPool2),
    ("pruned conv3 44-89", [44, 89], [32, 32], 3, 1, 1, Tail::GlobalAverage),
    ("pruned 11-8", [11, 8], [64, 64], 3, 1, 1, Tail::Store),
    ("pruned 8-4", [8, 4], [64, 64], 3, 1, 1, Tail::Store),
    ("M3 stem", [1, 32], [60, 120], 3, 2, 1, Tail::Store),
    ("M3 16-96", [16, 96], [30, 60], 1, 1, 1, Tail::Store),
    ("M3 96-24", [96, 24], [15, 30], 1, 1, 1, Tail::Store),
    ("M3 144-32", [144, 32], [8, 15], 1, 1, 1, Tail::Store),
    ("M3 192-64", [192, 64], [4, 8], 1, 1, 1, Tail::Store),
    ("M3 64-384", [64, 384], [4, 8], 1, 1, 1, Tail::Store),
    ("M4 stem 7x7/2", [3, 64], [224, 224], 7, 2, 1, Tail::Store),
    ("M4 layer1", [64, 64], [56, 56], 3, 1, 1, Tail::Store),
    ("M4 layer2 /2", [64, 128], [56, 56], 3, 2, 1, Tail::Store),
    ("M4 layer2", [128, 128], [28, 28], 3, 1, 1, Tail::Store),
    ("M4 layer2 1x1/2", [64, 128], [56, 56], 1, 2, 1, Tail::Store),
    ("M4 layer3", [256, 256], [14, 14], 3, 1, 1, Tail::Store),
    ("M4 layer4", [512, 512], [7, 7], 3, 1, 1, Tail::Store),
    ("M5 stem", [3, 32], [224, 224], 3, 2, 1, Tail::Store),
    ("M5 32-16", [32, 16], [112, 112], 1, 1, 1, Tail::Store),
    ("M5 16-96", [16, 96], [112, 112], 1, 1, 1, Tail::Store),
    ("M5 24-144", [24, 144], [56, 56], 1, 1, 1, Tail::Store),
    ("M5 144-24", [144, 24], [56, 56], 1, 1, 1, Tail::Store),
    ("M5 192-32", [192, 32], [28, 28], 1, 1, 1, Tail::Store),
    ("M5 384-64", [384, 64], [14, 14], 1, 1, 1, Tail::Store),
    ("M5 32-192", [32, 192], [28, 28], 1, 1, 1, Tail::Store),
    ("M5 64-384", [64, 384], [14, 14], 1, 1, 1, Tail::Store),
    ("M5 576-96", [576, 96], [14, 14], 1, 1, 1, Tail::Store),
    ("M5 160-960", [160, 960], [7, 7], 1, 1, 1, Tail::Store),
    ("M5 960-160", [960, 160], [7, 7], 1, 1, 1, Tail::Store),
    ("M5 960-320", [960, 320], [7, 7], 1, 1, 1, Tail::Store),
    ("M5 320-1280", [320, 1280], [7, 7], 1, 1, 1, Tail::GlobalAverage),
];

/// As many groups as channels.
const DEPTHWISE: &[Layer] = &[
    ("M3 dw 30x60", [32, 32], [30, 60], 3, 1, 32, Tail::Store),
    ("M3 dw 30x60/2", [96, 96], [30, 60], 3, 2, 96, Tail::Store),
    ("M3 dw 15x30", [144, 144], [15, 30], 3, 1, 144, Tail::Store),
    ("M3 dw 8x15", [192, 192], [8, 15], 3, 1, 192, Tail::Store),
    ("M3 dw 4x8", [384, 384], [4, 8], 3, 1, 384, Tail::Store),
    ("M5 dw 112", [32, 32], [112, 112], 3, 1, 32, Tail::Store),
    ("M5 dw 112/2", [96, 96], [112, 112], 3, 2, 96, Tail::Store),
    ("M5 dw 56", [144, 144], [56, 56], 3, 1, 144, Tail::Store),
    ("M5 dw 56/2", [144, 144], [56, 56], 3, 2, 144, Tail::Store),
    ("M5 dw 28", [192, 192], [28, 28], 3, 1, 192, Tail::Store),
    ("M5 dw 14", [384, 384], [14, 14], 3, 1, 384, Tail::Store),
    ("M5 dw 14/2", [576, 576], [14, 14], 3, 2, 576, Tail::Store),
    ("M5 dw 7", [960, 960], [7, 7], 3, 1, 960, Tail::Store),
    ("dw 17", [96, 96], [17, 17], 3, 1, 96, Tail::Store),
    ("dw 4", [960, 960], [4, 4], 3, 1, 960, Tail::Store),
    ("dw 2", [960, 960], [2, 2], 3, 1, 960, Tail::Store),
    ("5x5 dw 28", [120, 120], [28, 28], 5, 1, 120, Tail::Store),
    ("5x5 dw 14/2", [240, 240], [14, 14], 5, 2, 240, Tail::Store),
];

/// Best of five medians of at least 50 runs each, in seconds.
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

/// What is measured where.
struct Bench {
    filter: String,
    isa: Isa,
    peak: f64,
}

impl Bench {
    fn wants(&self, kernel: Kernel, name: &str) -> bool {
        kernel.name().contains(&self.filter) || name.contains(&self.filter)
    }

    fn report(&self, kernel: Kernel, name: &str, seconds: f64, work: f64, note: &str) {
        println!(
            "{:<9} {:<16} {name:<20} {:>9.1} us {:>7.1} G/s {:>6.1} % {note}",
            self.isa.name(),
            kernel.name(),
            seconds * 1e6,
            work / seconds / 1e9,
            100.0 * work / seconds / self.peak,
        );
    }

    fn convolutions(&self, kernel: Kernel, form: ConvForm, layers: &[Layer]) {
        for layer in layers.iter().filter(|layer| self.wants(kernel, layer.0)) {
            self.convolution(kernel, form, layer);
        }
    }

    fn convolution(&self, kernel: Kernel, form: ConvForm, layer: &Layer) {
        let spec = self.spec(layer, Some(form));
        let forms = Conv::forms(&spec, self.isa).unwrap();
        if !forms.contains(&form) {
            return;
        }
        let note = if forms[0] == form { "chosen" } else { "" };
        self.report(kernel, layer.0, self.seconds(&spec), spec.macs() as f64, note);
    }

    /// As an engine lays it out: strided convolutions copy their input unless depthwise.
    fn spec(&self, layer: &Layer, form: Option<ConvForm>) -> ConvSpec {
        let &(_, [ic, oc], [h, w], k, stride, groups, tail) = layer;
        let copied = stride > 1 && groups == 1;
        let halo = Halo::uniform(if copied { 0 } else { k / 2 });
        let input = Planar::new(1, ic, h, w, halo);
        let size = [h, w].map(|x| (x - 1) / stride + 1);
        let output = match tail {
            Tail::Store => Planar::new(1, oc, size[0], size[1], halo),
            Tail::MaxPool2 => Planar::new(1, oc, size[0] / 2, size[1] / 2, halo),
            Tail::GlobalAverage => Planar::new(1, oc, 1, 1, Halo::default()),
        };
        ConvSpec {
            size,
            stride: [stride, stride],
            padding: [k / 2, k / 2],
            groups,
            activation: Activation::Relu,
            tail,
            form,
            ..ConvSpec::new(input, output, [k, k])
        }
    }

    fn seconds(&self, spec: &ConvSpec) -> f64 {
        let conv = Conv::new(*spec, self.isa).unwrap();
        let (ic, oc) = (spec.input.channels, spec.output.channels);
        let products = ic / spec.groups * spec.kernel[0] * spec.kernel[1];
        let packed = conv.pack(&values(oc * products)).unwrap();
        let weights = AlignedVec::from(packed.as_slice());
        let mut x = values(spec.input.len());
        spec.input.clear_halo(&mut x).unwrap();
        let bias = values(oc);
        let mut out = AlignedVec::zeroed(spec.output.len());
        let mut workspace = AlignedVec::zeroed(conv.workspace_len());
        let mut scratch = AlignedVec::zeroed(conv.scratch_len());
        let inputs = ConvInputs {
            input: &x,
            weights: &weights,
            bias: Some(&bias),
            slopes: None,
            residual: None,
        };
        measure(|| conv.run(&inputs, &mut out, &mut workspace, &mut scratch).unwrap())
    }

    fn linear(&self, kernel: Kernel, sizes: &[(&str, usize, usize, usize)]) {
        for &(name, batch, inputs, outputs) in sizes.iter().filter(|s| self.wants(kernel, s.0)) {
            let spec = LinearSpec::dense(batch, inputs, outputs);
            let linear = Linear::new(spec, self.isa).unwrap();
            let weights = linear.pack(&values(inputs * outputs)).unwrap();
            let (x, mut out) = (values(batch * inputs), values(batch * outputs));
            let mut scratch = values(linear.scratch_len());
            let seconds =
                measure(|| linear.run(&x, &weights, None, &mut out, &mut scratch).unwrap());
            self.report(kernel, name, seconds, (batch * inputs * outputs) as f64, "");
        }
    }

    /// A kernel that moves a tensor of 64 x 56 x 56 to one of `to` rows and columns.
    fn moving(&self, kernel: Kernel, name: &str, to: usize, run: impl FnMut(&[f32], &mut [f32])) {
        if !self.wants(kernel, name) {
            return;
        }
        let (x, mut out) = (values(moved(56).len()), values(moved(to).len()));
        let mut run = run;
        let seconds = measure(|| run(&x, &mut out));
        self.report(
            kernel,
            name,
            seconds,
            (moved(56).elements() + moved(to).elements()) as f64,
            "",
        );
    }

    fn kernel(&self, kernel: Kernel) {
        let isa = self.isa;
        match kernel {
            Kernel::ConvPixel => self.convolutions(kernel, ConvForm::Pixel, LAYERS),
            Kernel::ConvChannel => self.convolutions(kernel, ConvForm::Channel, LAYERS),
            Kernel::ConvGemm => self.convolutions(kernel, ConvForm::Gemm, LAYERS),
            Kernel::ConvWinograd => self.convolutions(kernel, ConvForm::Winograd, LAYERS),
            Kernel::ConvDepthwise => self.convolutions(kernel, ConvForm::Depthwise, DEPTHWISE),
            Kernel::ConvBlock => self.blocks(kernel),
            Kernel::LinearDot => {
                self.linear(kernel, &[("M0 fc", 1, 128, 2), ("1280-1000", 1, 1280, 1000)]);
            }
            Kernel::LinearPanels => {
                self.linear(
                    kernel,
                    &[("32 x 512-6", 32, 512, 6), ("32 x 1280-1000", 32, 1280, 1000)],
                );
            }
            Kernel::Pool => {
                for (name, k, stride, to) in
                    [("2x2/2", 2, 2, 28), ("3x3/2", 3, 2, 28), ("3x3", 3, 1, 56)]
                {
                    let begin = [(k - 1) / 2; 2];
                    let spec = PoolSpec {
                        input: moved(56),
                        output: moved(to),
                        kind: PoolKind::Max,
                        kernel: [k, k],
                        stride: [stride, stride],
                        dilation: [1, 1],
                        padding_begin: begin,
                        padding_end: begin,
                    };
                    let pool = Pool::new(spec, isa).unwrap();
                    let mut scratch = values(pool.scratch_len());
                    self.moving(kernel, name, to, |x, out| pool.run(x, out, &mut scratch).unwrap());
                }
            }
            Kernel::GlobalPool => {
                let pool = GlobalPool::new(moved(56), PoolKind::Average, isa).unwrap();
                self.moving(kernel, "mean", 1, |x, out| pool.run(x, out).unwrap());
            }
            Kernel::Map => {
                for activation in [Activation::Relu, Activation::Silu, Activation::Gelu] {
                    let map = Map::new(moved(56), moved(56), activation, isa).unwrap();
                    let name = format!("{activation:?}");
                    self.moving(kernel, &name, 56, |x, out| map.run(x, None, out).unwrap());
                }
            }
            Kernel::Binary => {
                let (p, identity) = (moved(56), Activation::Identity);
                let add = Binary::new(p, p, p, BinaryOp::Add, identity, isa).unwrap();
                self.moving(kernel, "add", 56, |x, out| add.run(x, x, out).unwrap());
                let scale = Binary::new(p, moved(1), p, BinaryOp::Mul, identity, isa).unwrap();
                self.moving(kernel, "scale channels", 56, |x, out| scale.run(x, x, out).unwrap());
            }
            Kernel::ConvInputGrad
            | Kernel::ConvWeightGrad
            | Kernel::BatchNormTrain
            | Kernel::BatchNormGrad
            | Kernel::MapGrad
            | Kernel::MaxPoolGrad
            | Kernel::ChannelSum
            | Kernel::FlatMath => self.training(kernel),
            Kernel::Softmax => {
                let softmax = Softmax::new(196, 1024, false, isa).unwrap();
                self.moving(kernel, "196 x 1024", 56, |x, out| softmax.run(x, out).unwrap());
            }
            Kernel::ResizeNearest => {
                self.resize(kernel, Sampling::Nearest(Rounding::Floor), Coordinates::Asymmetric);
            }
            Kernel::ResizeBilinear => {
                self.resize(kernel, Sampling::Bilinear, Coordinates::HalfPixel);
            }
        }
    }

    fn resize(&self, kernel: Kernel, sampling: Sampling, coordinates: Coordinates) {
        let resize = Resize::new(moved(56), moved(112), sampling, coordinates, self.isa).unwrap();
        let mut scratch = values(resize.scratch_len());
        self.moving(kernel, "56 to 112", 112, |x, out| resize.run(x, out, &mut scratch).unwrap());
    }
}

/// The tensor of [`Bench::moving`], with `size` rows and columns.
fn moved(size: usize) -> Planar {
    Planar::new(1, 64, size, size, Halo::uniform(1))
}

fn main() {
    let mut filter = String::new();
    let mut only = None;
    let (mut widths, mut forms) = (false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--widths" => widths = true,
            "--forms" => forms = true,
            "--isa" => only = arguments.next().and_then(|name| Isa::from_name(&name)),
            other => filter = other.to_owned(),
        }
    }
    for isa in IsaSet::available().iter().filter(|isa| only.is_none_or(|only| only == *isa)) {
        let peak = multiply_add_peak(isa, Duration::from_millis(200)).unwrap();
        println!("{:<9} peak {:.1} GMAC/s", isa.name(), peak / 1e9);
        let bench = Bench { filter: filter.clone(), isa, peak };
        if widths {
            bench.widths();
            continue;
        }
        if forms {
            bench.forms();
            continue;
        }
        for kernel in Kernel::ALL {
            bench.kernel(*kernel);
        }
    }
}
