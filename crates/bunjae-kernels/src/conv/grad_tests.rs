//! Gradients of convolutions against the plainest loops, on awkward sizes.

use super::weight_grad::WeightGradForm;
use super::*;
use crate::BatchNormNumbers;
use crate::planar::Halo;
use crate::reference::{self, ConvShape, Dense, Guarded, Random};

/// A convolution and the borders that its tensors have.
#[derive(Clone, Debug)]
struct Case {
    images: usize,
    channels: [usize; 2],
    input: [usize; 2],
    shape: ConvShape,
    input_halo: Halo,
    gradient_halo: Halo,
    misalignment: usize,
}

impl Case {
    fn new(images: usize, channels: [usize; 2], input: [usize; 2], kernel: usize) -> Case {
        Case {
            images,
            channels,
            input,
            shape: ConvShape {
                kernel: [kernel; 2],
                stride: [1, 1],
                dilation: [1, 1],
                padding: [kernel / 2; 2],
                groups: 1,
                size: [0, 0],
            },
            input_halo: Halo::uniform(kernel / 2),
            gradient_halo: Halo::uniform(kernel / 2),
            misalignment: 0,
        }
    }

    /// With the size of the result, for as many zeros at the end as at the beginning and `more`;
    /// `None` where there is no result.
    fn sized(mut self, more: [usize; 2]) -> Option<Case> {
        for i in 0..2 {
            let padded = self.input[i] + 2 * self.shape.padding[i] + more[i];
            let reach = (self.shape.kernel[i] - 1) * self.shape.dilation[i] + 1;
            self.shape.size[i] = padded.checked_sub(reach)? / self.shape.stride[i] + 1;
        }
        Some(self)
    }

    /// Visits every product: index of the result's element, of the weight, and position in the
    /// input.
    fn products(&self, mut visit: impl FnMut([usize; 4], usize, [usize; 4])) {
        let s = &self.shape;
        let [ic, oc] = self.channels.map(|c| c / s.groups);
        let [h, w] = self.input;
        let result = Dense::zeros([self.images, self.channels[1], s.size[0], s.size[1]]);
        result.positions(|_, [n, o, y, x]| {
            for i in 0..ic {
                for ky in 0..s.kernel[0] {
                    for kx in 0..s.kernel[1] {
                        let iy = (y * s.stride[0] + ky * s.dilation[0]).wrapping_sub(s.padding[0]);
                        let ix = (x * s.stride[1] + kx * s.dilation[1]).wrapping_sub(s.padding[1]);
                        if iy < h && ix < w {
                            let weight = ((o * ic + i) * s.kernel[0] + ky) * s.kernel[1] + kx;
                            visit([n, o, y, x], weight, [n, o / oc * ic + i, iy, ix]);
                        }
                    }
                }
            }
        });
    }

    fn spec(&self, input: Planar, output: Planar) -> ConvSpec {
        ConvSpec {
            size: self.shape.size,
            stride: self.shape.stride,
            dilation: self.shape.dilation,
            padding: self.shape.padding,
            groups: self.shape.groups,
            ..ConvSpec::new(input, output, self.shape.kernel)
        }
    }

    fn weights_len(&self) -> usize {
        let [rows, columns] = self.shape.kernel;
        self.channels[1] * self.channels[0] / self.shape.groups * rows * columns
    }

    fn tensors(&self, random: &mut Random) -> [Dense; 2] {
        let [h, w] = self.input;
        let [oh, ow] = self.shape.size;
        let x = Dense::random([self.images, self.channels[0], h, w], random);
        [x, Dense::random([self.images, self.channels[1], oh, ow], random)]
    }

    /// Whether the case is small enough to be tested here.
    fn fits(&self) -> bool {
        let [height, width] = self.shape.size;
        reference::fits(self.images * height * width * self.weights_len())
    }

    fn check_weight(&self, isa: Isa, seed: u64) {
        let mut random = Random::new(seed);
        let [x, dy] = self.tensors(&mut random);
        let input = Guarded::input(x.planar(self.input_halo), &x, self.misalignment);
        let gradient = Guarded::input(dy.planar(self.gradient_halo), &dy, self.misalignment);
        let spec = self.spec(input.planar, gradient.planar);
        for form in WeightGradForm::all(&spec, isa) {
            let grad = ConvWeightGrad::with_form(spec, form, isa);
            let (input, gradient) = (input.slice(), gradient.slice());
            let inputs = WeightGradInputs { input, gradient, numbers: None };
            self.check_weight_grad(&grad, &inputs, &x, &dy, isa);
        }
    }

    /// The gradient where the input is the result of a normalisation that is not stored; whether
    /// there is a kernel for it.
    fn check_normalising(&self, isa: Isa, seed: u64) -> bool {
        let mut random = Random::new(seed);
        let [x, dy] = self.tensors(&mut random);
        let input = Guarded::input(x.planar(self.gradient_halo), &x, self.misalignment);
        let gradient = Guarded::input(dy.planar(self.gradient_halo), &dy, self.misalignment);
        let spec = self.spec(input.planar, gradient.planar);
        let activation = random.pick(&[
            Activation::Identity,
            Activation::Relu,
            Activation::Clip { lo: 0.0, hi: 1.0 },
            Activation::LeakyRelu { slope: 0.1 },
        ]);
        let eps = 1e-3;
        let grad = ConvWeightGrad::normalising(spec, eps, activation, isa).unwrap();
        let Some(grad) = grad else { return false };
        let [gamma, beta, mean] = [0; 3].map(|_| random.values(self.channels[0]));
        let variance: Vec<f32> =
            random.values(self.channels[0]).iter().map(|v| 0.5 + v * v).collect();
        let normalised = x.map(|[_, c, _, _], value| {
            let of = |numbers: &[f32]| f64::from(numbers[c]);
            let deviation = (of(&variance) + f64::from(eps)).sqrt();
            let value = (value - of(&mean)) / deviation * of(&gamma) + of(&beta);
            reference::activate(activation, 0.0, value)
        });
        let (gamma, beta, mean) = (&gamma[..], &beta[..], &mean[..]);
        let numbers = Some(BatchNormNumbers { gamma, beta, mean, variance: &variance[..] });
        let inputs = WeightGradInputs { input: input.slice(), gradient: gradient.slice(), numbers };
        self.check_weight_grad(&grad, &inputs, &normalised, &dy, isa);
        true
    }

    /// The gradient of the weights against that of the input `x` and the gradient `dy` in f64.
    fn check_weight_grad(
        &self,
        grad: &ConvWeightGrad,
        inputs: &WeightGradInputs<'_>,
        x: &Dense,
        dy: &Dense,
        isa: Isa,
    ) {
        let mut want = vec![0.0f64; self.weights_len()];
        let mut terms = vec![0usize; want.len()];
        self.products(|[n, o, y, x0], weight, [_, c, iy, ix]| {
            want[weight] += dy.get(n, o, y, x0) * x.get(n, c, iy, ix);
            terms[weight] += 1;
        });
        // A normalised input is larger than others are, and rounded.
        let mut size = if inputs.numbers.is_some() { 8.0 } else { 1.0 };
        // The transforms add and subtract, and every tap's sum enters every other's.
        if grad.form() == "winograd" {
            size *= 16.0;
            let most = terms.iter().copied().max().unwrap_or(0);
            terms.fill(most);
        }
        let mut workspace = vec![f32::NAN; grad.workspace_len()];
        let mut scratch = vec![f32::NAN; grad.scratch_len()];
        let mut got = vec![-7.0; want.len() + 3];
        grad.run(inputs, &mut got, &mut workspace, &mut scratch).unwrap();
        let context = format!("{isa} {} {self:?}", grad.form());
        for (i, want) in want.iter().enumerate() {
            let tolerance =
                6e-8 * (8.0 + (terms[i] as f64).sqrt()) * (terms[i] as f64).sqrt() + 1e-9;
            let error = (f64::from(got[i]) - want).abs() / size;
            assert!(error <= tolerance, "{context}: weight {i}: {} for {want}", got[i]);
        }
        assert_eq!(got[want.len()..], [-7.0; 3], "{context}: written outside");

        let mut again = vec![-7.0; got.len()];
        let out = Output::new(&mut again);
        workspace.fill(f32::NAN);
        let work = Output::new(&mut workspace);
        for (stage, tasks) in grad.stages().into_iter().enumerate() {
            for task in (0..tasks).rev() {
                // SAFETY: one task at a time, stages in order.
                let run = unsafe {
                    grad.run_tasks(stage, task..task + 1, inputs, out, work, &mut scratch)
                };
                run.unwrap();
            }
        }
        assert_eq!(again, got, "{context}");
    }

    fn check_input(&self, isa: Isa, seed: u64) {
        let mut random = Random::new(seed);
        let [x, dy] = self.tensors(&mut random);
        let weights = random.values(self.weights_len());
        let with_bias = seed.is_multiple_of(3);
        let bias = random.values(self.channels[0]);
        let added = seed.is_multiple_of(2).then(|| {
            let halo = Halo::uniform(seed as usize % 3);
            (Guarded::input(x.planar(halo), &x, self.misalignment), &x)
        });
        let mut want = Dense::zeros(x.shape).map(|[n, c, y, x0], _| {
            let added = added.as_ref().map_or(0.0, |(_, added)| added.get(n, c, y, x0));
            added + if with_bias { f64::from(bias[c]) } else { 0.0 }
        });
        let mut terms = vec![4.0f64; want.data.len()];
        self.products(|[n, o, y, x0], weight, [_, c, iy, ix]| {
            let at = want.index(n, c, iy, ix);
            want.data[at] += dy.get(n, o, y, x0) * f64::from(weights[weight]);
            terms[at] += 1.0;
        });
        let gradient = Guarded::input(dy.planar(self.gradient_halo), &dy, self.misalignment);
        let mut output = Guarded::output(x.planar(self.input_halo), self.misalignment);
        let spec = self.spec(output.planar, gradient.planar);
        let layout = added.as_ref().map(|(guarded, _)| guarded.planar);
        let mut kinds = vec![None];
        if let Some(direct) = ConvInputGrad::direct(&spec, layout) {
            kinds.extend(Conv::forms(&direct, isa).unwrap().into_iter().map(Some));
        }
        for form in kinds {
            let grad = ConvInputGrad::new(ConvSpec { form, ..spec }, layout, isa).unwrap();
            let mut packed = vec![f32::NAN; grad.packed_len()];
            grad.pack_into(&weights, &mut packed).unwrap();
            let inputs = InputGradInputs {
                gradient: gradient.slice(),
                weights: &packed,
                bias: with_bias.then_some(&bias),
                added: added.as_ref().map(|(guarded, _)| guarded.slice()),
            };
            let mut workspace = vec![f32::NAN; grad.workspace_len()];
            let mut scratch = vec![f32::NAN; grad.scratch_len()];
            let run = grad.run(&inputs, output.slice_mut(), &mut workspace, &mut scratch);
            run.unwrap();
            let context = format!("{isa} {} {self:?}", grad.form());
            let tolerance = |i: usize| {
                let unit = 6e-8 * (8.0 + terms[i].sqrt());
                // As in the tests of the forward convolution.
                if grad.form() == "winograd" {
                    16.0 * unit * terms[i]
                } else {
                    unit * terms[i].sqrt()
                }
            };
            output.check(&want, tolerance, &context);

            let mut again = Guarded::output(output.planar, self.misalignment);
            let out = Output::new(again.slice_mut());
            let work = Output::new(&mut workspace);
            let mut repacked = vec![f32::NAN; packed.len()];
            let to = Output::new(&mut repacked);
            for task in (0..grad.packing_tasks()).rev() {
                // SAFETY: one task at a time.
                unsafe { grad.pack_tasks(task..task + 1, &weights, to).unwrap() };
            }
            let inputs = InputGradInputs { weights: &repacked, ..inputs };
            for (stage, tasks) in grad.stages().into_iter().enumerate() {
                for task in (0..tasks).rev() {
                    let range = task..task + 1;
                    // SAFETY: one task at a time, stages in order.
                    let run =
                        unsafe { grad.run_tasks(stage, range, &inputs, out, work, &mut scratch) };
                    run.unwrap();
                }
            }
            assert_eq!(output.bits(), again.bits(), "{context}");
        }
    }
}

/// Around the sizes of tiles and vectors, and the odd ones.
const SIZES: [usize; 11] = [1, 2, 3, 5, 7, 8, 13, 16, 17, 33, 49];

fn cases() -> Vec<Case> {
    let mut random = Random::new(11);
    let r = &mut random;
    let mut cases = Vec::new();
    let halo = |r: &mut Random| {
        r.pick(&[
            Halo::default(),
            Halo::uniform(1),
            Halo::uniform(3),
            Halo { top: 2, bottom: 0, left: 1, right: 2 },
        ])
    };
    for _ in 0..160 {
        let groups = r.pick(&[1, 1, 1, 2, 3]);
        let channels = [groups * r.pick(&[1, 2, 3, 7, 11]), groups * r.pick(&[1, 2, 4, 9, 17])];
        let size = [r.pick(&SIZES), r.pick(&SIZES)];
        let mut case = Case::new(r.pick(&[1, 1, 2, 3, 19]), channels, size, 1);
        case.shape.groups = groups;
        case.shape.kernel = [r.pick(&[1, 2, 3, 3, 5, 7]), r.pick(&[1, 2, 3, 3, 5, 7])];
        case.shape.stride = [r.pick(&[1, 1, 2, 3]), r.pick(&[1, 1, 2, 3])];
        case.shape.dilation = [r.pick(&[1, 1, 2, 3]), r.pick(&[1, 1, 2])];
        // Once in a while more padding than the kernel can see past.
        let kernel = case.shape.kernel;
        case.shape.padding = [r.below(kernel[0] + 1), r.below(kernel[1] + 2)];
        case.input_halo = halo(r);
        case.gradient_halo = halo(r);
        case.misalignment = r.pick(&[0, 1, 7]);
        cases.extend(case.sized([r.below(2), r.below(2)]));
    }
    // Depthwise.
    for _ in 0..80 {
        let channels = r.pick(&[1, 2, 5, 33]);
        let kernel = r.pick(&[1, 3, 3, 3, 5, 5, 7]);
        let size = [r.pick(&SIZES), r.pick(&SIZES)];
        let multiplier = r.pick(&[1, 1, 1, 2]);
        let mut case = Case::new(r.pick(&[1, 3]), [channels, channels * multiplier], size, kernel);
        case.shape.groups = channels;
        case.shape.stride = [r.pick(&[1, 2, 2]); 2];
        case.misalignment = r.pick(&[0, 3]);
        if r.below(4) == 0 {
            case.gradient_halo = halo(r);
        }
        cases.extend(case.sized([0, 0]));
    }
    for size in [[1, 1], [4, 4], [8, 3], [5, 12], [9, 9]] {
        let mut case = Case::new(r.pick(&[1, 2, 19]), [r.below(20) + 1, r.below(30) + 1], size, 3);
        case.input_halo = halo(r);
        case.gradient_halo = halo(r);
        cases.extend(case.sized([0, 0]));
    }
    // Several chunks, blocks of channels and blocks of images.
    let mut long = vec![
        Case::new(2, [70, 9], [9, 40], 1),
        Case::new(3, [5, 6], [40, 61], 3),
        Case::new(33, [6, 5], [7, 7], 3),
        Case::new(2, [130, 20], [33, 33], 3),
        Case::new(3, [70, 24], [33, 33], 1),
        Case::new(2, [65, 16], [3, 200], 1),
        Case::new(19, [66, 15], [5, 5], 1),
        // Several panels of output channels and parts of them, several images at once.
        Case::new(5, [20, 150], [10, 9], 3),
        Case::new(2, [9, 260], [6, 13], 3),
        Case::new(40, [17, 40], [4, 4], 3),
    ];
    for stride in [1, 2] {
        let mut depthwise = Case::new(2, [3, 3], [40, 61], 3);
        (depthwise.shape.groups, depthwise.shape.stride) = (3, [stride; 2]);
        long.push(depthwise);
    }
    let mut rows = Case::new(2, [3, 5], [40, 61], 3);
    rows.gradient_halo = Halo::default();
    long.push(rows);
    cases.extend(long.into_iter().filter_map(|case| case.sized([0, 0])));
    cases
}

pub(crate) fn weight(isa: Isa) {
    let mut made = 0;
    for (seed, case) in cases().iter().enumerate().filter(|(_, case)| case.fits()) {
        case.check_weight(isa, seed as u64);
        made += usize::from(case.check_normalising(isa, seed as u64));
    }
    assert!(made > 10, "{isa}: hardly any input is made on the way");
}

pub(crate) fn input(isa: Isa) {
    for (seed, case) in cases().iter().enumerate().filter(|(_, case)| case.fits()) {
        case.check_input(isa, seed as u64);
    }
}

#[test]
fn the_wanted_border_spares_a_copy_of_the_gradient() {
    let mut strided = 0;
    for case in cases() {
        let [h, w] = case.input;
        let [oh, ow] = case.shape.size;
        let input = Planar::new(case.images, case.channels[0], h, w, Halo::default());
        let output = |halo| Planar::new(case.images, case.channels[1], oh, ow, halo);
        let halo = ConvInputGrad::wanted_halo(&case.spec(input, output(Halo::default())));
        let spec = case.spec(input, output(halo));
        let grad = ConvInputGrad::new(spec, None, Isa::Portable).unwrap();
        assert_eq!(grad.stages()[0] * usize::from(grad.stages()[1] > 0), 0, "{case:?}");
        strided += usize::from(case.shape.stride != [1, 1]);
    }
    assert!(strided > 50);
}

#[test]
fn epilogues_and_short_slices_are_errors() {
    let x = Planar::new(2, 4, 8, 8, Halo::uniform(1));
    let dy = Planar::new(2, 7, 8, 8, Halo::uniform(1));
    let spec = ConvSpec { padding: [1, 1], ..ConvSpec::new(x, dy, [3, 3]) };
    let isa = Isa::Portable;
    let relu = ConvSpec { activation: Activation::Relu, ..spec };
    assert!(ConvWeightGrad::new(relu, isa).is_err());
    assert!(ConvInputGrad::new(relu, None, isa).is_err());
    assert!(ConvInputGrad::new(spec, Some(dy), isa).is_err());
    let grad = ConvWeightGrad::new(spec, isa).unwrap();
    let (a, b) = (vec![0.0; x.len()], vec![0.0; dy.len()]);
    let mut dw = vec![0.0; grad.weights_len()];
    let mut work = vec![0.0; grad.workspace_len()];
    let mut own = vec![0.0; grad.scratch_len()];
    let inputs = WeightGradInputs { input: &a, gradient: &b, numbers: None };
    assert!(grad.run(&inputs, &mut dw, &mut work, &mut own).is_ok());
    let short = WeightGradInputs { input: &a[..500], ..inputs };
    assert!(grad.run(&short, &mut dw, &mut work, &mut own).is_err());
    let short = WeightGradInputs { gradient: &b[..500], ..inputs };
    assert!(grad.run(&short, &mut dw, &mut work, &mut own).is_err());
    assert!(grad.run(&inputs, &mut dw[1..], &mut work, &mut own).is_err());
    assert!(grad.run(&inputs, &mut dw, &mut work[1..], &mut own).is_err());
    assert!(grad.run(&inputs, &mut dw, &mut work, &mut own[1..]).is_err());
    let numbers = &[1.0; 4][..];
    let [gamma, beta, mean, variance] = [numbers; 4];
    let numbers = BatchNormNumbers { gamma, beta, mean, variance };
    let normalised = WeightGradInputs { numbers: Some(numbers), ..inputs };
    assert!(grad.run(&normalised, &mut dw, &mut work, &mut own).is_err());
    let depthwise = ConvSpec { output: x, groups: 4, ..spec };
    let made = ConvWeightGrad::normalising(depthwise, 1e-5, Activation::Relu, isa);
    let made = made.unwrap().unwrap();
    // Zeros behind the input, which pointwise convolutions do not make.
    let [x, dy] = [[5, 5], [6, 5]].map(|[h, w]| Planar::dense(2, 8, h, w));
    let beyond =
        ConvWeightGrad::normalising(ConvSpec::new(x, dy, [1, 1]), 1e-5, relu.activation, isa);
    assert!(beyond.unwrap().is_none());
    let inside =
        ConvWeightGrad::normalising(ConvSpec::new(x, x, [1, 1]), 1e-5, relu.activation, isa);
    assert!(inside.unwrap().is_some());
    let (mut work, mut own) = (vec![0.0; made.workspace_len()], vec![0.0; made.scratch_len()]);
    assert!(made.run(&normalised, &mut dw, &mut work, &mut own).is_ok());
    assert!(made.run(&inputs, &mut dw, &mut work, &mut own).is_err());
    let short = BatchNormNumbers { variance: &variance[1..], ..numbers };
    let short = WeightGradInputs { numbers: Some(short), ..inputs };
    assert!(made.run(&short, &mut dw, &mut work, &mut own).is_err());
    assert!(made.run(&normalised, &mut dw, &mut work, &mut own[1..]).is_err());
    let grad = ConvInputGrad::new(spec, None, isa).unwrap();
    let mut packed = vec![0.0; grad.packed_len()];
    assert!(grad.pack_into(&dw, &mut packed).is_ok());
    assert!(grad.pack_into(&dw[1..], &mut packed).is_err());
    assert!(grad.pack_into(&dw, &mut packed[1..]).is_err());
}
