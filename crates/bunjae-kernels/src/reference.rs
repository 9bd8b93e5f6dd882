//! The plainest loops, in f64, on dense tensors: what every kernel is tested against; and the
//! buffers with guards that the tests hand to the kernels.

use crate::planar::{Halo, Planar};

/// A generator of test values; the same seed gives the same values everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In -1..1.
    pub(crate) fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Whether a case of so many multiply-adds is tested here. Miri needs some microseconds for each, and
/// has small cases enough.
pub(crate) fn fits(work: usize) -> bool {
    !cfg!(miri) || work <= 500
}

/// The seeds of so many random cases, or of the first of them under Miri.
pub(crate) fn seeds(many: usize) -> std::ops::Range<usize> {
    0..if cfg!(miri) { many.min(40) } else { many }
}

/// A dense NCHW tensor in f64.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    pub(crate) shape: [usize; 4],
    pub(crate) data: Vec<f64>,
}

impl Dense {
    pub(crate) fn zeros(shape: [usize; 4]) -> Dense {
        Dense { shape, data: vec![0.0; shape.iter().product()] }
    }

    pub(crate) fn random(shape: [usize; 4], random: &mut Random) -> Dense {
        let values = random.values(shape.iter().product());
        Dense { shape, data: values.into_iter().map(f64::from).collect() }
    }

    pub(crate) fn index(&self, n: usize, c: usize, y: usize, x: usize) -> usize {
        let [_, channels, h, w] = self.shape;
        ((n * channels + c) * h + y) * w + x
    }

    pub(crate) fn get(&self, n: usize, c: usize, y: usize, x: usize) -> f64 {
        self.data[self.index(n, c, y, x)]
    }

    /// Zero outside the picture.
    pub(crate) fn padded(&self, n: usize, c: usize, y: isize, x: isize) -> f64 {
        let [_, _, h, w] = self.shape;
        if y < 0 || x < 0 || y >= h as isize || x >= w as isize {
            0.0
        } else {
            self.get(n, c, y as usize, x as usize)
        }
    }

    pub(crate) fn map(&self, f: impl Fn([usize; 4], f64) -> f64) -> Dense {
        let mut out = self.clone();
        self.positions(|i, at| out.data[i] = f(at, self.data[i]));
        out
    }

    /// Visits every element's index and position.
    pub(crate) fn positions(&self, mut f: impl FnMut(usize, [usize; 4])) {
        let [images, channels, h, w] = self.shape;
        let mut i = 0;
        for n in 0..images {
            for c in 0..channels {
                for y in 0..h {
                    for x in 0..w {
                        f(i, [n, c, y, x]);
                        i += 1;
                    }
                }
            }
        }
    }

    pub(crate) fn planar(&self, halo: Halo) -> Planar {
        let [n, c, h, w] = self.shape;
        Planar::new(n, c, h, w, halo)
    }
}

/// Value of the memory that a kernel must not write.
const GUARD: f32 = -12345.0;

/// Planar storage with guards around it.
pub(crate) struct Guarded {
    pub(crate) planar: Planar,
    /// Starts `misalignment` elements into the allocation.
    data: Vec<f32>,
    misalignment: usize,
}

impl Guarded {
    /// An input: elements as given, halo zero, NaN everywhere else, so that any influence of
    /// memory that does not belong to the tensor shows.
    pub(crate) fn input(planar: Planar, values: &Dense, misalignment: usize) -> Guarded {
        let mut buffer =
            Guarded { planar, data: vec![f32::NAN; planar.len() + misalignment], misalignment };
        planar.clear_halo(buffer.slice_mut()).unwrap();
        values.positions(|i, [n, c, y, x]| {
            let at = planar.index(n, c, y, x);
            buffer.slice_mut()[at] = values.data[i] as f32;
        });
        buffer
    }

    /// An output: halo zero, guards everywhere else.
    pub(crate) fn output(planar: Planar, misalignment: usize) -> Guarded {
        let data = vec![GUARD; planar.len() + misalignment];
        let mut buffer = Guarded { planar, data, misalignment };
        planar.clear_halo(buffer.slice_mut()).unwrap();
        buffer
    }

    pub(crate) fn slice(&self) -> &[f32] {
        &self.data[self.misalignment..]
    }

    pub(crate) fn slice_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.misalignment..]
    }

    /// The elements as bits, to compare runs.
    pub(crate) fn bits(&self) -> Vec<u32> {
        self.data.iter().map(|x| x.to_bits()).collect()
    }

    /// Asserts that the elements are within `tolerance(index)` of `want`, that halo and gaps are
    /// zero and that the guards are untouched.
    pub(crate) fn check(&self, want: &Dense, tolerance: impl Fn(usize) -> f64, context: &str) {
        let expected = Guarded::output(self.planar, self.misalignment);
        let mut element = vec![false; self.data.len()];
        let mut worst = (0.0f64, [0; 4], 0.0, 0.0);
        want.positions(|i, at| {
            let index = self.misalignment + self.planar.index(at[0], at[1], at[2], at[3]);
            element[index] = true;
            let (got, want) = (f64::from(self.data[index]), want.data[i]);
            let same = got == want || (got.is_nan() && want.is_nan());
            let excess = if same { 0.0 } else { (got - want).abs() / tolerance(i) };
            if excess > worst.0 || excess.is_nan() {
                worst = (if excess.is_nan() { f64::INFINITY } else { excess }, at, got, want);
            }
        });
        let (excess, at, got, want) = worst;
        assert!(
            excess <= 1.0,
            "{context}: at {at:?} got {got}, want {want} ({excess} x tolerance)"
        );
        for (i, (got, want)) in self.data.iter().zip(&expected.data).enumerate() {
            assert!(element[i] || got == want, "{context}: {got} written outside, at {i}");
        }
    }
}

/// Geometry of a convolution as the reference sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvShape {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) groups: usize,
    pub(crate) size: [usize; 2],
}

/// The convolution, and for each element the sum of the magnitudes added, which bounds rounding.
pub(crate) fn conv(x: &Dense, w: &[f32], bias: &[f32], s: &ConvShape) -> (Dense, Vec<f64>) {
    let oc = bias.len();
    let ic = x.shape[1] / s.groups;
    let mut out = Dense::zeros([x.shape[0], oc, s.size[0], s.size[1]]);
    let mut magnitude = vec![0.0; out.data.len()];
    let shape = out.clone();
    shape.positions(|i, [n, o, y, x0]| {
        let group = o / (oc / s.groups);
        let (mut sum, mut size) = (f64::from(bias[o]), f64::from(bias[o]).abs());
        for c in 0..ic {
            for ky in 0..s.kernel[0] {
                for kx in 0..s.kernel[1] {
                    let iy =
                        (y * s.stride[0] + ky * s.dilation[0]) as isize - s.padding[0] as isize;
                    let ix =
                        (x0 * s.stride[1] + kx * s.dilation[1]) as isize - s.padding[1] as isize;
                    let weight = w[((o * ic + c) * s.kernel[0] + ky) * s.kernel[1] + kx];
                    let product = x.padded(n, group * ic + c, iy, ix) * f64::from(weight);
                    sum += product;
                    size += product.abs();
                }
            }
        }
        out.data[i] = sum;
        magnitude[i] = size;
    });
    (out, magnitude)
}

/// Maximum over 2 x 2 pixels.
pub(crate) fn max_pool2(x: &Dense) -> Dense {
    let [n, c, h, w] = x.shape;
    let mut out = Dense::zeros([n, c, h / 2, w / 2]);
    let shape = out.clone();
    shape.positions(|i, [n, c, y, x0]| {
        let four =
            [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b)| x.get(n, c, 2 * y + a, 2 * x0 + b));
        out.data[i] = four.into_iter().fold(f64::NEG_INFINITY, f64::max);
    });
    out
}

/// Mean over all pixels.
pub(crate) fn global_average(x: &Dense) -> Dense {
    let [n, c, h, w] = x.shape;
    let mut out = Dense::zeros([n, c, 1, 1]);
    x.positions(|i, [n, ch, _, _]| out.data[n * c + ch] += x.data[i] / (h * w) as f64);
    out
}

/// The activation by its textbook formula.
pub(crate) fn activate(activation: crate::Activation, slope: f64, x: f64) -> f64 {
    use crate::Activation as A;
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        A::Identity => x,
        A::Relu => {
            if x.is_nan() {
                x
            } else {
                x.max(0.0)
            }
        }
        A::Clip { lo, hi } => x.clamp(f64::from(lo), f64::from(hi)),
        A::LeakyRelu { slope } => {
            if x < 0.0 {
                f64::from(slope) * x
            } else {
                x
            }
        }
        A::Prelu => {
            if x < 0.0 {
                slope * x
            } else {
                x
            }
        }
        A::Elu { alpha } => {
            if x < 0.0 {
                f64::from(alpha) * x.exp_m1()
            } else {
                x
            }
        }
        A::Sigmoid => sigmoid(x),
        A::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
        A::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        A::Silu => x * sigmoid(x),
        A::Tanh => x.tanh(),
        A::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        A::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        A::Exp => x.exp(),
    }
}

/// The error function: its Maclaurin series, or beyond 5 its limit (which is within 2e-12).
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}
