//! The kernels of training against their formulas in f64.

use super::*;
use crate::Activation;
use crate::conv::Tail;
use crate::elementwise::ACTIVATIONS;
use crate::isa::Isa;
use crate::output::Output;
use crate::planar::Halo;
use crate::pool::{PoolKind, PoolSpec};
use crate::reference::{self, Dense, Guarded, Random};

const TAILS: [Tail; 3] = [Tail::Store, Tail::MaxPool2, Tail::GlobalAverage];

const FUSED: [Activation; 4] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Clip { lo: -0.5, hi: 0.75 },
    Activation::LeakyRelu { slope: 0.2 },
];

/// A batch normalisation with its numbers.
struct Norm {
    x: Dense,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    eps: f32,
    activation: Activation,
    tail: Tail,
    halos: [Halo; 3],
    misalignment: usize,
}

fn halo(r: &mut Random) -> Halo {
    r.pick(&[
        Halo::default(),
        Halo::uniform(1),
        Halo::uniform(2),
        Halo { top: 1, bottom: 0, left: 0, right: 3 },
    ])
}

impl Norm {
    fn random(r: &mut Random) -> Norm {
        let size = [1, 2, 3, 5, 7, 8, 15, 16, 17, 33, 65, 127];
        let shape =
            [r.pick(&[1, 2, 5]), r.pick(&[1, 3, 18, 70]), r.pick(&size[..8]), r.pick(&size)];
        let mut x = Dense::random(shape, r);
        // Large means, and coarse values, so that some windows have several maxima.
        let (offset, coarse) = (r.pick(&[0.0, 0.0, 100.0]), r.below(3) == 0);
        for v in &mut x.data {
            *v = if coarse { (*v * 4.0).round() / 4.0 } else { *v };
            *v = f64::from((*v + offset) as f32);
        }
        let channels = shape[1];
        let mut tail = r.pick(&TAILS);
        if tail == Tail::MaxPool2 && (shape[2] < 2 || shape[3] < 2) {
            tail = Tail::Store;
        }
        let mut gamma = r.values(channels);
        gamma.iter_mut().for_each(|v| *v += v.signum() * 0.5);
        Norm {
            gamma,
            beta: r.values(channels),
            eps: r.pick(&[1e-5, 1e-3]),
            activation: r.pick(&FUSED),
            tail,
            halos: [halo(r), halo(r), halo(r)],
            misalignment: r.pick(&[0, 1, 7]),
            x,
        }
    }

    /// Mean and variance of each channel.
    fn statistics(&self) -> Vec<[f64; 2]> {
        let [images, channels, h, w] = self.x.shape;
        let count = (images * h * w) as f64;
        let mut statistics = vec![[0.0; 2]; channels];
        self.x.positions(|i, [_, c, ..]| statistics[c][0] += self.x.data[i] / count);
        self.x.positions(|i, [_, c, ..]| {
            let deviation = self.x.data[i] - statistics[c][0];
            statistics[c][1] += deviation * deviation / count;
        });
        statistics
    }

    fn normal(&self) -> Dense {
        let statistics = self.statistics();
        self.x.map(|[_, c, ..], v| {
            let [mean, variance] = statistics[c];
            let deviation = (variance + f64::from(self.eps)).sqrt();
            (v - mean) / deviation * f64::from(self.gamma[c]) + f64::from(self.beta[c])
        })
    }

    fn result(&self, residual: Option<&Dense>) -> Dense {
        let normal = self.normal();
        let value = normal.map(|[n, c, y, x], v| {
            let added = residual.map_or(0.0, |r| r.get(n, c, y, x));
            reference::activate(self.activation, 0.0, v + added)
        });
        match self.tail {
            Tail::Store => value,
            Tail::MaxPool2 => reference::max_pool2(&value),
            Tail::GlobalAverage => reference::global_average(&value),
        }
    }

    fn spec(&self, output: &Dense) -> BatchNormSpec {
        BatchNormSpec {
            input: self.x.planar(self.halos[0]),
            output: output.planar(self.halos[1]),
            eps: self.eps,
            activation: self.activation,
            residual: None,
            tail: self.tail,
        }
    }

    /// How far a normalised value may be off: the rounding of `x` before the mean is taken off
    /// counts, as it does in any order of computing.
    fn tolerance(&self) -> f64 {
        let largest = self.x.data.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        let statistics = self.statistics();
        let narrowest = statistics.iter().map(|s| (s[1] + f64::from(self.eps)).sqrt());
        3e-7 * (8.0 + largest / narrowest.fold(f64::INFINITY, f64::min))
    }
}

pub(crate) fn batch_norm(isa: Isa) {
    let mut random = Random::new(3);
    for seed in 0..150 {
        let norm = Norm::random(&mut random);
        let added = (norm.tail == Tail::Store && seed % 2 == 0)
            .then(|| Dense::random(norm.x.shape, &mut random));
        let want = norm.result(added.as_ref());
        let input = Guarded::input(norm.x.planar(norm.halos[0]), &norm.x, norm.misalignment);
        let residual = added.as_ref().map(|r| Guarded::input(r.planar(norm.halos[2]), r, 1));
        let spec =
            BatchNormSpec { residual: residual.as_ref().map(|r| r.planar), ..norm.spec(&want) };
        let kernel = BatchNormTrain::new(spec, isa).unwrap();
        let inputs = BatchNormInputs {
            input: input.slice(),
            gamma: &norm.gamma,
            beta: &norm.beta,
            residual: residual.as_ref().map(Guarded::slice),
        };
        let mut output = Guarded::output(spec.output, norm.misalignment);
        let (mut mean, mut variance) = (norm.gamma.clone(), norm.gamma.clone());
        let mut scratch = vec![f32::NAN; kernel.scratch_len()];
        kernel.run(&inputs, output.slice_mut(), &mut mean, &mut variance, &mut scratch).unwrap();
        let context = format!("{isa} {spec:?}");
        let tolerance = norm.tolerance();
        output.check(&want, |_| tolerance, &context);
        for (c, [m, v]) in norm.statistics().into_iter().enumerate() {
            let near = |got: f32, want: f64| (f64::from(got) - want).abs() <= 2e-6 * want.abs();
            let absolute = (f64::from(mean[c]) - m).abs() < 1e-6;
            assert!(near(mean[c], m) || absolute, "{context}: mean {} for {m}", mean[c]);
            let rounded = (f64::from(variance[c]) - v).abs() < 1e-12 * m * m + 1e-12;
            assert!(near(variance[c], v) || rounded, "{context}: variance {} for {v}", variance[c]);
        }
        let mut again = Guarded::output(spec.output, norm.misalignment);
        let outputs = BatchNormOutputs {
            output: Output::new(again.slice_mut()),
            mean: Output::new(&mut mean),
            variance: Output::new(&mut variance),
        };
        for task in (0..kernel.tasks()).rev() {
            // SAFETY: one task at a time.
            unsafe { kernel.run_tasks(task..task + 1, &inputs, &outputs, &mut scratch).unwrap() };
        }
        assert_eq!(output.bits(), again.bits(), "{context}");
        if norm.tail == Tail::Store {
            let kernel = BatchNormAgain::new(spec, isa).unwrap();
            let BatchNormInputs { input, gamma, beta, residual } = inputs;
            let numbers =
                BatchNormNumbers { gamma, beta, mean: &mean[..], variance: &variance[..] };
            let inputs = BatchNormAgainInputs { input, numbers, residual };
            let mut given = Guarded::output(spec.output, norm.misalignment);
            let mut scratch = vec![f32::NAN; kernel.scratch_len()];
            for task in (0..kernel.tasks()).rev() {
                let out = Output::new(given.slice_mut());
                // SAFETY: one task at a time.
                unsafe { kernel.run_tasks(task..task + 1, &inputs, out, &mut scratch).unwrap() };
            }
            assert_eq!(output.bits(), given.bits(), "{context}, again");
        }
    }
}

/// The gradient of what is normalised and scaled, for that of what is stored. `normal` is as the
/// kernel computes it, so that both find the same maxima.
fn before_the_tail(norm: &Norm, normal: &Dense, dy: &Dense) -> Dense {
    let value = normal.map(|_, v| reference::activate(norm.activation, 0.0, v));
    let [_, _, h, w] = normal.shape;
    let bent = |t: f64| match norm.activation {
        Activation::Relu => f64::from(u8::from(t > 0.0)),
        Activation::Clip { lo, hi } => f64::from(u8::from(t > f64::from(lo) && t < f64::from(hi))),
        Activation::LeakyRelu { slope } => {
            if t > 0.0 {
                1.0
            } else {
                f64::from(slope)
            }
        }
        _ => 1.0,
    };
    normal.map(|[n, c, y, x], t| {
        let own = match norm.tail {
            Tail::Store => dy.get(n, c, y, x),
            Tail::GlobalAverage => dy.get(n, c, 0, 0) / (h * w) as f64,
            Tail::MaxPool2 if y / 2 < h / 2 && x / 2 < w / 2 => {
                let four = [(0, 0), (0, 1), (1, 0), (1, 1)]
                    .map(|(a, b)| value.get(n, c, y / 2 * 2 + a, x / 2 * 2 + b));
                let largest = four.into_iter().fold(f64::NEG_INFINITY, f64::max);
                let first = four.iter().position(|v| *v == largest).unwrap();
                if first == y % 2 * 2 + x % 2 { dy.get(n, c, y / 2, x / 2) } else { 0.0 }
            }
            Tail::MaxPool2 => 0.0,
        };
        own * bent(t)
    })
}

pub(crate) fn batch_norm_grad(isa: Isa) {
    let mut random = Random::new(4);
    let mut ties = 0;
    for seed in 0..150 {
        let norm = Norm::random(&mut random);
        let result = norm.result(None);
        let dy = Dense::random(result.shape, &mut random);
        let spec = norm.spec(&result);
        let statistics = norm.statistics();
        let rounded = |i: usize| -> Vec<f32> { statistics.iter().map(|s| s[i] as f32).collect() };
        let (mean, variance) = (rounded(0), rounded(1));
        // As the kernels compute it, in f32.
        let normal = norm.x.map(|[_, c, ..], v| {
            let affine = spec.affine(norm.gamma[c], norm.beta[c], mean[c], variance[c]);
            if isa == Isa::Portable {
                f64::from(v as f32 * affine.scale + affine.shift)
            } else {
                f64::from((v as f32).mul_add(affine.scale, affine.shift))
            }
        });
        let g = before_the_tail(&norm, &normal, &dy);
        let [images, channels, h, w] = norm.x.shape;
        let count = (images * h * w) as f64;
        let mut sums = vec![[0.0f64; 2]; channels];
        let mut sizes = vec![[0.0f64; 2]; channels];
        norm.x.positions(|i, [_, c, ..]| {
            let product = g.data[i] * (norm.x.data[i] - f64::from(mean[c]));
            sums[c] = [sums[c][0] + g.data[i], sums[c][1] + product];
            sizes[c] = [sizes[c][0] + g.data[i].abs(), sizes[c][1] + product.abs()];
        });
        let inverse = |c: usize| 1.0 / (f64::from(variance[c]) + f64::from(norm.eps)).sqrt();
        let want = norm.x.map(|[n, c, y, x], v| {
            let deviation = v - f64::from(mean[c]);
            let rest = sums[c][0] + deviation * inverse(c).powi(2) * sums[c][1];
            f64::from(norm.gamma[c]) * inverse(c) * (g.get(n, c, y, x) - rest / count)
        });

        let input = Guarded::input(spec.input, &norm.x, norm.misalignment);
        let gradient = Guarded::input(spec.output, &dy, norm.misalignment);
        let mut output = Guarded::output(norm.x.planar(norm.halos[2]), norm.misalignment);
        let kernel = BatchNormGrad::new(spec, gradient.planar, output.planar, isa).unwrap();
        let inputs = BatchNormGradInputs {
            input: input.slice(),
            gradient: gradient.slice(),
            gamma: &norm.gamma,
            beta: &norm.beta,
            mean: &mean,
            variance: &variance,
        };
        let run = |backwards: bool, output: &mut Guarded| {
            let (mut gamma, mut beta, mut bias) =
                (vec![9.0; channels], vec![9.0; channels], vec![9.0; channels]);
            let outputs = BatchNormGradOutputs {
                input: Output::new(output.slice_mut()),
                gamma: Output::new(&mut gamma),
                beta: Output::new(&mut beta),
                bias: (seed % 2 == 0).then(|| Output::new(&mut bias)),
            };
            let mut scratch = vec![f32::NAN; kernel.scratch_len()];
            for task in 0..kernel.tasks() {
                let task = if backwards { kernel.tasks() - 1 - task } else { task };
                // SAFETY: one task at a time.
                unsafe {
                    kernel.run_tasks(task..task + 1, &inputs, &outputs, &mut scratch).unwrap();
                }
            }
            [gamma, beta, bias]
        };
        let [gamma, beta, bias] = run(false, &mut output);
        let context = format!("{isa} {spec:?}");
        let scale = |c: usize| f64::from(norm.gamma[c]).abs() * inverse(c);
        let tolerance = |c: usize| {
            let mean_size = sizes[c][0] + inverse(c).powi(2) * sizes[c][1];
            scale(c) * (1e-6 + 3e-6 * (1.0 + mean_size / count) * norm.tolerance() / 3e-7 / 8.0)
        };
        let worst = (0..channels).map(tolerance).fold(0.0, f64::max);
        output.check(&want, |_| worst, &context);
        for c in 0..channels {
            let near = |got: f32, want: f64, size: f64, what: &str| {
                let error = (f64::from(got) - want).abs();
                assert!(error <= 1e-5 * size + 1e-7, "{context}: {what} {got} for {want}");
            };
            near(gamma[c], sums[c][1] * inverse(c), sizes[c][1] * inverse(c), "dgamma");
            near(beta[c], sums[c][0], sizes[c][0], "dbeta");
            if seed % 2 == 0 {
                assert!(f64::from(bias[c].abs()) <= 2.0 * count * worst, "{context}: {}", bias[c]);
            }
        }
        let mut again = Guarded::output(output.planar, norm.misalignment);
        assert_eq!(run(true, &mut again), [gamma, beta, bias], "{context}");
        assert_eq!(output.bits(), again.bits(), "{context}");
        let value = normal.map(|_, v| reference::activate(norm.activation, 0.0, v));
        if norm.tail == Tail::MaxPool2 {
            let largest = reference::max_pool2(&value);
            let mut found = vec![0; largest.data.len()];
            value.positions(|i, [n, c, y, x]| {
                if y / 2 < h / 2 && x / 2 < w / 2 {
                    let at = largest.index(n, c, y / 2, x / 2);
                    found[at] += usize::from(value.data[i] == largest.data[at]);
                }
            });
            ties += found.iter().filter(|count| **count > 1).count();
        }
    }
    assert!(ties > 100, "{ties}");
}

/// The derivative by its textbook formula, or where that has a corner by its rule.
fn derivative(activation: Activation, x: f64) -> f64 {
    let one = |condition: bool| f64::from(u8::from(condition));
    match activation {
        Activation::Relu => one(x > 0.0),
        Activation::Clip { lo, hi } => one(x > f64::from(lo) && x < f64::from(hi)),
        Activation::LeakyRelu { slope } if x <= 0.0 => f64::from(slope),
        Activation::LeakyRelu { .. } | Activation::Identity => 1.0,
        Activation::Elu { alpha } if x <= 0.0 => f64::from(alpha) * x.exp(),
        Activation::Elu { .. } => 1.0,
        Activation::HardSigmoid { alpha, beta } => {
            let inner = f64::from(alpha) * x + f64::from(beta);
            f64::from(alpha) * one(inner > 0.0 && inner < 1.0)
        }
        Activation::HardSwish if x <= -3.0 => 0.0,
        Activation::HardSwish if x >= 3.0 => 1.0,
        Activation::HardSwish => x / 3.0 + 0.5,
        Activation::Gelu if x == 0.0 => 0.5,
        Activation::Gelu => {
            // The normal distribution is the function over x.
            let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
            reference::activate(activation, 0.0, x) / x + x * density
        }
        smooth => {
            // Central differences of the fourth order.
            let h = 1e-3;
            let f = |x: f64| reference::activate(smooth, 0.0, x);
            (8.0 * (f(x + h) - f(x - h)) - (f(x + 2.0 * h) - f(x - 2.0 * h))) / (12.0 * h)
        }
    }
}

pub(crate) fn map_grad(isa: Isa) {
    let mut random = Random::new(9);
    for activation in ACTIVATIONS.into_iter().filter(|a| *a != Activation::Prelu) {
        for (width, span) in [(127, 4.0), (64, 20.0), (33, 0.01), (1, 1.0), (9, 4.0)] {
            let mut x = Dense::random([2, 3, 2, width], &mut random);
            x.data.iter_mut().for_each(|v| *v = f64::from((*v * span) as f32));
            // The corners.
            for (i, v) in [0.0, 3.0, -3.0, -0.25, 0.75].into_iter().enumerate() {
                x.data[i] = v;
            }
            let g = Dense::random(x.shape, &mut random);
            let want = x.map(|[n, c, y, w], v| derivative(activation, v) * g.get(n, c, y, w));
            let halos = [halo(&mut random), halo(&mut random), halo(&mut random)];
            let input = Guarded::input(x.planar(halos[0]), &x, 0);
            let gradient = Guarded::input(g.planar(halos[1]), &g, 1);
            let mut output = Guarded::output(x.planar(halos[2]), 3);
            let (a, b, c) = (input.planar, gradient.planar, output.planar);
            let kernel = MapGrad::new(a, b, c, activation, isa).unwrap();
            kernel.run(input.slice(), gradient.slice(), output.slice_mut()).unwrap();
            let tolerance = |i: usize| match activation {
                Activation::Exp => 1e-6 * want.data[i].abs() + 1e-9,
                _ => 1.5e-6,
            };
            output.check(&want, tolerance, &format!("{isa} {activation:?} {span}"));
        }
    }
}

pub(crate) fn max_pool_grad(isa: Isa) {
    let mut random = Random::new(10);
    for seed in 0..150 {
        let r = &mut random;
        let size = [r.pick(&[1, 2, 5, 8, 17]), r.pick(&[1, 2, 7, 16, 33, 66])];
        let kernel = [r.pick(&[1, 2, 3, 5]), r.pick(&[1, 2, 3])];
        let stride = [r.pick(&[1, 2, 3]), r.pick(&[1, 2, 2, 3])];
        let dilation = [r.pick(&[1, 1, 2]), r.pick(&[1, 1, 2])];
        let padding = kernel.map(|k| r.below(k));
        let mut out = [0; 2];
        for i in 0..2 {
            let padded = size[i] + 2 * padding[i];
            let reach = (kernel[i] - 1) * dilation[i] + 1;
            out[i] = if padded < reach { 0 } else { (padded - reach) / stride[i] + 1 };
        }
        if out.contains(&0) {
            continue;
        }
        let shape = [r.pick(&[1, 2]), r.pick(&[1, 3]), size[0], size[1]];
        let mut x = Dense::random(shape, r);
        if seed % 2 == 0 {
            x.data.iter_mut().for_each(|v| *v = (*v * 2.0).round());
        }
        let dy = Dense::random([shape[0], shape[1], out[0], out[1]], r);
        let mut want = Dense::zeros(shape);
        dy.positions(|i, [n, c, y, x0]| {
            let mut first: Option<(f64, usize)> = None;
            for ky in 0..kernel[0] {
                for kx in 0..kernel[1] {
                    let iy = (y * stride[0] + ky * dilation[0]).wrapping_sub(padding[0]);
                    let ix = (x0 * stride[1] + kx * dilation[1]).wrapping_sub(padding[1]);
                    if iy < size[0] && ix < size[1] {
                        let at = x.index(n, c, iy, ix);
                        if first.is_none_or(|(largest, _)| x.data[at] > largest) {
                            first = Some((x.data[at], at));
                        }
                    }
                }
            }
            if let Some((_, at)) = first {
                want.data[at] += dy.data[i];
            }
        });
        let halos = [halo(r), halo(r), halo(r)];
        let input = Guarded::input(x.planar(halos[0]), &x, 0);
        let gradient = Guarded::input(dy.planar(halos[1]), &dy, 1);
        let mut output = Guarded::output(x.planar(halos[2]), 3);
        let spec = PoolSpec {
            input: input.planar,
            output: gradient.planar,
            kind: PoolKind::Max,
            kernel,
            stride,
            dilation,
            padding_begin: padding,
            padding_end: padding,
        };
        let pool = MaxPoolGrad::new(spec, output.planar, isa).unwrap();
        let mut scratch = vec![f32::NAN; pool.scratch_len()];
        pool.run(input.slice(), gradient.slice(), output.slice_mut(), &mut scratch).unwrap();
        output.check(&want, |_| 1e-6, &format!("{isa} {spec:?}"));
    }
}

pub(crate) fn channel_sum(isa: Isa) {
    let mut random = Random::new(12);
    for width in [1, 7, 8, 17, 64, 127] {
        let x = Dense::random([3, 19, 5, width], &mut random);
        let input = Guarded::input(x.planar(Halo::uniform(width % 3)), &x, width % 5);
        let kernel = ChannelSum::new(input.planar, isa).unwrap();
        let mut sums = vec![-7.0; 20];
        kernel.run(input.slice(), &mut sums).unwrap();
        let mut want = [0.0; 19];
        x.positions(|i, [_, c, ..]| want[c] += x.data[i]);
        for (got, want) in sums.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{isa} {width}: {got} for {want}");
        }
        assert_eq!(sums[19], -7.0);
    }
}

pub(crate) fn flat_math(isa: Isa) {
    let math = FlatMath::new(isa).unwrap();
    let mut random = Random::new(13);
    for len in [0, 1, 7, 8, 17, 100, 1500] {
        let (p, g) = (random.values(len), random.values(len));
        for (nesterov, decay, scale) in [(false, 0.0, 1.0), (true, 0.01, 0.5)] {
            let sgd = Sgd { rate: 0.1, momentum: 0.9, nesterov, decay, scale };
            let (mut own, mut velocity) = (p.clone(), vec![0.0; len]);
            let mut want: Vec<[f64; 2]> = p.iter().map(|p| [f64::from(*p), 0.0]).collect();
            for _ in 0..3 {
                math.sgd(&sgd, &mut own, &g, &mut velocity).unwrap();
                for ([p, v], g) in want.iter_mut().zip(&g) {
                    let g = f64::from(scale) * f64::from(*g) + f64::from(decay) * *p;
                    *v = 0.9 * *v + g;
                    *p -= 0.1 * if nesterov { g + 0.9 * *v } else { *v };
                }
            }
            for (got, [want, _]) in own.iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < 1e-6, "{isa} {sgd:?}: {got} for {want}");
            }
        }
        for (decay, decoupled) in [(0.0, false), (0.1, false), (0.1, true)] {
            let (mut own, mut first, mut second) = (p.clone(), vec![0.0; len], vec![0.0; len]);
            let mut want: Vec<[f64; 3]> = p.iter().map(|p| [f64::from(*p), 0.0, 0.0]).collect();
            for step in 1..4u64 {
                let adam = Adam {
                    rate: 0.01,
                    beta1: 0.9,
                    beta2: 0.999,
                    eps: 1e-8,
                    decay,
                    decoupled,
                    scale: 2.0,
                    step,
                };
                // Divided anywhere, with the same bits.
                let (mut halves, mut first2, mut second2) =
                    (own.clone(), first.clone(), second.clone());
                math.adam(&adam, &mut own, &g, &mut first, &mut second).unwrap();
                let cut = len / 3;
                let (a, b) = halves.split_at_mut(cut);
                let (a1, b1) = first2.split_at_mut(cut);
                let (a2, b2) = second2.split_at_mut(cut);
                math.adam(&adam, a, &g[..cut], a1, a2).unwrap();
                math.adam(&adam, b, &g[cut..], b1, b2).unwrap();
                assert_eq!(halves, own, "{isa} {adam:?}");
                for ([p, m, v], g) in want.iter_mut().zip(&g) {
                    let mut g = 2.0 * f64::from(*g);
                    if decoupled {
                        *p -= 0.01 * f64::from(decay) * *p;
                    } else {
                        g += f64::from(decay) * *p;
                    }
                    *m = 0.9 * *m + 0.1 * g;
                    *v = 0.999 * *v + 0.001 * g * g;
                    let power = step as i32;
                    let (m, v) =
                        (*m / (1.0 - 0.9f64.powi(power)), *v / (1.0 - 0.999f64.powi(power)));
                    *p -= 0.01 * m / (v.sqrt() + 1e-8);
                }
            }
            for (got, [want, ..]) in own.iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < 2e-5, "{isa} {decay}: {got} for {want}");
            }
        }
        let squares: f64 = p.iter().map(|p| f64::from(*p).powi(2)).sum();
        assert!((math.sum_of_squares(&p) - squares).abs() <= 1e-6 * squares, "{isa} {len}");
        let mut average = p.clone();
        math.lerp(&mut average, &g, 0.25).unwrap();
        for ((got, p), g) in average.iter().zip(&p).zip(&g) {
            assert!((got - (0.75 * p + 0.25 * g)).abs() < 1e-6, "{isa}");
        }
    }
    let mut short = [0.0; 3];
    assert!(math.lerp(&mut [0.0; 4], &short, 0.5).is_err());
    let sgd = Sgd { rate: 0.1, momentum: 0.0, nesterov: false, decay: 0.0, scale: 1.0 };
    assert!(math.sgd(&sgd, &mut [0.0; 4], &[0.0; 4], &mut short).is_err());
}

#[test]
fn what_cannot_be_fused_and_what_does_not_fit_is_refused() {
    let p = Dense::zeros([2, 3, 4, 5]).planar(Halo::default());
    let spec = BatchNormSpec {
        input: p,
        output: p,
        eps: 1e-5,
        activation: Activation::Relu,
        residual: None,
        tail: Tail::Store,
    };
    let isa = Isa::Portable;
    assert!(BatchNormTrain::new(spec, isa).is_ok());
    for activation in [Activation::Silu, Activation::Prelu, Activation::LeakyRelu { slope: -0.5 }] {
        assert!(!BatchNormSpec::suits(activation));
        assert!(BatchNormTrain::new(BatchNormSpec { activation, ..spec }, isa).is_err());
    }
    assert!(BatchNormTrain::new(BatchNormSpec { tail: Tail::MaxPool2, ..spec }, isa).is_err());
    let residual = Some(p);
    assert!(BatchNormGrad::new(BatchNormSpec { residual, ..spec }, p, p, isa).is_err());
    let kernel = BatchNormTrain::new(spec, isa).unwrap();
    let (x, mut y) = (vec![0.0; p.len()], vec![0.0; p.len()]);
    let channels = [1.0; 3];
    let inputs =
        BatchNormInputs { input: &x, gamma: &channels, beta: &channels[..2], residual: None };
    let mut scratch = vec![0.0; kernel.scratch_len()];
    let mut run = |inputs: &BatchNormInputs<'_>, variances: usize, missing: usize| {
        let (scratch, variance) = (&mut scratch[missing..], &mut vec![0.0; variances]);
        kernel.run(inputs, &mut y, &mut [0.0; 3], variance, scratch)
    };
    assert!(run(&inputs, 3, 0).is_err());
    let inputs = BatchNormInputs { beta: &channels, ..inputs };
    assert!(run(&inputs, 2, 0).is_err());
    assert!(run(&inputs, 3, 1).is_err());
    assert!(run(&inputs, 3, 0).is_ok());
    let BatchNormInputs { input, gamma, beta, residual } = inputs;
    let again = BatchNormAgain::new(spec, isa).unwrap();
    for (means, variances, scratch) in [(2, 3, 6), (3, 2, 6), (3, 3, 5), (3, 3, 6)] {
        let (mean, variance) = (&channels[..means], &channels[..variances]);
        let numbers = BatchNormNumbers { gamma, beta, mean, variance };
        let inputs = BatchNormAgainInputs { input, numbers, residual };
        let (out, mut scratch) = (Output::new(&mut y), vec![0.0; scratch]);
        // SAFETY: all tasks on one thread.
        let done = unsafe { again.run_tasks(0..1, &inputs, out, &mut scratch) };
        assert_eq!(done.is_ok(), means + variances + scratch.len() == 12);
    }
    let pooled = BatchNormSpec { tail: Tail::GlobalAverage, ..spec };
    assert!(BatchNormAgain::new(pooled, isa).is_err());
}
