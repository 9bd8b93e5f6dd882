//! The kernels of training, on batches of four pictures.

use bunjae_kernels::{
    Activation, Adam, AlignedVec, BatchNormGrad, BatchNormGradInputs, BatchNormGradOutputs,
    BatchNormInputs, BatchNormSpec, BatchNormTrain, ChannelSum, ConvInputGrad, ConvSpec,
    ConvWeightGrad, FlatMath, Halo, InputGradInputs, Kernel, MapGrad, MaxPoolGrad, Output, Planar,
    PoolKind, PoolSpec, Tail, WeightGradInputs,
};

use crate::{Bench, measure, values};

const BATCH: usize = 4;

/// A convolution: channels in and out, input rows and columns, kernel, stride, groups.
type Layer = (&'static str, [usize; 2], [usize; 2], usize, usize, usize);

/// The mask classifier M0 and its small version M1 at 128 x 128, the partial discharge classifier
/// M3 at 60 x 120, ResNet-18 (M4) and MobileNetV2 (M5) at 128 x 128.
const LAYERS: &[Layer] = &[
    ("M0 conv1", [3, 32], [128, 128], 3, 1, 1),
    ("M0 conv2", [32, 64], [64, 64], 3, 1, 1),
    ("M0 conv3", [64, 128], [32, 32], 3, 1, 1),
    ("M1 conv1", [3, 8], [128, 128], 3, 1, 1),
    ("M1 conv2", [8, 16], [64, 64], 3, 1, 1),
    ("M1 conv3", [16, 32], [32, 32], 3, 1, 1),
    ("M3 stem", [1, 32], [60, 120], 3, 2, 1),
    ("M3 16-96", [16, 96], [30, 60], 1, 1, 1),
    ("M3 96-24", [96, 24], [15, 30], 1, 1, 1),
    ("M3 192-32", [192, 32], [8, 15], 1, 1, 1),
    ("M3 64-384", [64, 384], [4, 8], 1, 1, 1),
    ("M3 dw 30x60/2", [96, 96], [30, 60], 3, 2, 96),
    ("M3 dw 15x30", [144, 144], [15, 30], 3, 1, 144),
    ("M3 dw 4x8", [384, 384], [4, 8], 3, 1, 384),
    ("M4 stem 7x7/2", [3, 64], [128, 128], 7, 2, 1),
    ("M4 layer1", [64, 64], [32, 32], 3, 1, 1),
    ("M4 layer2 /2", [64, 128], [32, 32], 3, 2, 1),
    ("M4 layer2", [128, 128], [16, 16], 3, 1, 1),
    ("M4 layer3", [256, 256], [8, 8], 3, 1, 1),
    ("M4 layer4", [512, 512], [4, 4], 3, 1, 1),
    ("M4 down 1x1/2", [256, 512], [8, 8], 1, 2, 1),
    ("M5 32-16", [32, 16], [64, 64], 1, 1, 1),
    ("M5 16-96", [16, 96], [64, 64], 1, 1, 1),
    ("M5 dw 64/2", [96, 96], [64, 64], 3, 2, 96),
    ("M5 dw 32", [144, 144], [32, 32], 3, 1, 144),
    ("M5 24-144", [24, 144], [32, 32], 1, 1, 1),
    ("M5 384-64", [384, 64], [8, 8], 1, 1, 1),
    ("M5 160-960", [160, 960], [4, 4], 1, 1, 1),
    ("M5 dw 4", [960, 960], [4, 4], 3, 1, 960),
];

fn spec(layer: &Layer) -> ConvSpec {
    let &(_, [ic, oc], [h, w], k, stride, groups) = layer;
    let size = [h, w].map(|x| (x - 1) / stride + 1);
    let halo = Halo::uniform(k / 2);
    let input = Planar::new(BATCH, ic, h, w, halo);
    let output = Planar::new(BATCH, oc, size[0], size[1], halo);
    ConvSpec {
        size,
        stride: [stride; 2],
        padding: [k / 2; 2],
        groups,
        ..ConvSpec::new(input, output, [k, k])
    }
}

/// A tensor with a border of zeros.
fn tensor(planar: &Planar) -> AlignedVec {
    let mut tensor = values(planar.len());
    planar.clear_halo(&mut tensor).unwrap();
    tensor
}

impl Bench {
    pub(crate) fn training(&self, kernel: Kernel) {
        match kernel {
            Kernel::ConvWeightGrad => self.each_layer(kernel, |spec| {
                let grad = ConvWeightGrad::new(*spec, self.isa).unwrap();
                let (x, dy) = (tensor(&spec.input), tensor(&spec.output));
                let mut dw = values(grad.weights_len());
                let mut workspace = values(grad.workspace_len());
                let mut scratch = values(grad.scratch_len());
                let inputs = WeightGradInputs { input: &x, gradient: &dy, numbers: None };
                measure(|| grad.run(&inputs, &mut dw, &mut workspace, &mut scratch).unwrap())
            }),
            Kernel::ConvInputGrad => self.each_layer(kernel, |spec| {
                let grad = ConvInputGrad::new(*spec, None, self.isa).unwrap();
                let (mut dx, dy) = (tensor(&spec.input), tensor(&spec.output));
                let weights = values(
                    spec.output.channels * spec.input.channels / spec.groups
                        * spec.kernel[0]
                        * spec.kernel[1],
                );
                let mut packed = values(grad.packed_len());
                grad.pack_into(&weights, &mut packed).unwrap();
                let inputs =
                    InputGradInputs { gradient: &dy, weights: &packed, bias: None, added: None };
                let mut workspace = values(grad.workspace_len());
                let mut scratch = values(grad.scratch_len());
                measure(|| grad.run(&inputs, &mut dx, &mut workspace, &mut scratch).unwrap())
            }),
            Kernel::BatchNormTrain | Kernel::BatchNormGrad => self.norms(kernel),
            Kernel::MapGrad => {
                let p = Planar::new(BATCH, 64, 32, 32, Halo::uniform(1));
                let (x, dy, mut dx) = (tensor(&p), tensor(&p), tensor(&p));
                let map = MapGrad::new(p, p, p, Activation::Relu, self.isa).unwrap();
                self.moved(kernel, "relu", 3 * p.elements(), || {
                    map.run(&x, &dy, &mut dx).unwrap();
                });
            }
            Kernel::MaxPoolGrad => {
                let x = Planar::new(BATCH, 64, 64, 64, Halo::uniform(1));
                let y = Planar::new(BATCH, 64, 32, 32, Halo::uniform(1));
                let spec = PoolSpec {
                    input: x,
                    output: y,
                    kind: PoolKind::Max,
                    kernel: [3, 3],
                    stride: [2, 2],
                    dilation: [1, 1],
                    padding_begin: [1, 1],
                    padding_end: [1, 1],
                };
                let pool = MaxPoolGrad::new(spec, x, self.isa).unwrap();
                let (a, b, mut c) = (tensor(&x), tensor(&y), tensor(&x));
                let mut scratch = values(pool.scratch_len());
                self.moved(kernel, "3x3/2", 2 * x.elements() + y.elements(), || {
                    pool.run(&a, &b, &mut c, &mut scratch).unwrap();
                });
            }
            Kernel::ChannelSum => {
                let p = Planar::new(BATCH, 64, 32, 32, Halo::uniform(1));
                let sum = ChannelSum::new(p, self.isa).unwrap();
                let (x, mut out) = (tensor(&p), values(64));
                self.moved(kernel, "64 of 32 x 32", p.elements(), || {
                    sum.run(&x, &mut out).unwrap();
                });
            }
            Kernel::FlatMath => {
                let len = 1 << 20;
                let math = FlatMath::new(self.isa).unwrap();
                let (mut p, g) = (values(len), values(len));
                let (mut first, mut second) = (AlignedVec::zeroed(len), AlignedVec::zeroed(len));
                let adam = Adam {
                    rate: 1e-3,
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    decay: 0.0,
                    decoupled: false,
                    scale: 1.0,
                    step: 1,
                };
                self.moved(kernel, "adam", 7 * len, || {
                    math.adam(&adam, &mut p, &g, &mut first, &mut second).unwrap();
                });
                self.moved(kernel, "sum of squares", len, || {
                    std::hint::black_box(math.sum_of_squares(&g));
                });
            }
            other => unreachable!("{other} is measured elsewhere"),
        }
    }

    fn each_layer(&self, kernel: Kernel, run: impl Fn(&ConvSpec) -> f64) {
        for layer in LAYERS.iter().filter(|layer| self.wants(kernel, layer.0)) {
            let spec = spec(layer);
            self.report(kernel, layer.0, run(&spec), spec.macs() as f64, "");
        }
    }

    /// A kernel that reads and writes so many elements.
    fn moved(&self, kernel: Kernel, name: &str, elements: usize, run: impl FnMut()) {
        if self.wants(kernel, name) {
            self.report(kernel, name, measure(run), elements as f64, "");
        }
    }

    fn norms(&self, kernel: Kernel) {
        for (name, channels, size, tail) in [
            ("relu", 32, 64, Tail::Store),
            ("relu, pool", 32, 64, Tail::MaxPool2),
            ("relu, 4 x 4", 960, 4, Tail::Store),
        ] {
            let x = Planar::new(BATCH, channels, size, size, Halo::uniform(1));
            let stored = if tail == Tail::MaxPool2 { size / 2 } else { size };
            let y = Planar::new(BATCH, channels, stored, stored, Halo::uniform(1));
            let spec = BatchNormSpec {
                input: x,
                output: y,
                eps: 1e-5,
                activation: Activation::Relu,
                residual: None,
                tail,
            };
            let (input, mut dx, mut output) = (tensor(&x), tensor(&x), tensor(&y));
            let of_channels = || values(channels);
            let (gamma, mut mean, mut variance) = (of_channels(), of_channels(), of_channels());
            let (mut dgamma, mut dbeta) = (of_channels(), of_channels());
            if kernel == Kernel::BatchNormTrain {
                let norm = BatchNormTrain::new(spec, self.isa).unwrap();
                let inputs =
                    BatchNormInputs { input: &input, gamma: &gamma, beta: &gamma, residual: None };
                let elements = 2 * x.elements() + y.elements();
                let mut scratch = vec![0.0; norm.scratch_len()];
                self.moved(kernel, name, elements, || {
                    norm.run(&inputs, &mut output, &mut mean, &mut variance, &mut scratch).unwrap();
                });
                continue;
            }
            let grad = BatchNormGrad::new(spec, y, x, self.isa).unwrap();
            variance.fill(1.0);
            let inputs = BatchNormGradInputs {
                input: &input,
                gradient: &output,
                gamma: &gamma,
                beta: &gamma,
                mean: &mean,
                variance: &variance,
            };
            let mut outputs = BatchNormGradOutputs {
                input: Output::new(&mut dx),
                gamma: Output::new(&mut dgamma),
                beta: Output::new(&mut dbeta),
                bias: None,
            };
            let elements = 3 * x.elements() + 2 * y.elements();
            let mut scratch = vec![0.0; grad.scratch_len()];
            self.moved(kernel, name, elements, || {
                grad.run(&inputs, &mut outputs, &mut scratch).unwrap();
            });
        }
    }
}
