//! Both forms, every path present, against the reference on awkward sizes.

use super::*;
use crate::elementwise::ACTIVATIONS;
use crate::planar::Halo;
use crate::reference::{self, ConvShape, Dense, Guarded, Random};

/// One convolution to be tested on every path.
#[derive(Clone, Debug)]
struct Case {
    images: usize,
    channels: [usize; 2],
    input: [usize; 2],
    shape: ConvShape,
    /// Zeros below and right.
    padding_end: [usize; 2],
    input_halo: Halo,
    output_halo: Halo,
    activation: Activation,
    residual: Option<(ResidualAt, Halo)>,
    tail: Tail,
    misalignment: usize,
}

impl Case {
    fn new(channels: [usize; 2], input: [usize; 2], kernel: [usize; 2]) -> Case {
        let shape = ConvShape {
            kernel,
            stride: [1, 1],
            dilation: [1, 1],
            padding: [kernel[0] / 2, kernel[1] / 2],
            groups: 1,
            size: [0, 0],
        };
        Case {
            images: 1,
            channels,
            input,
            padding_end: shape.padding,
            shape,
            input_halo: Halo::uniform(kernel[0].max(kernel[1]) / 2),
            output_halo: Halo::uniform(1),
            activation: Activation::Relu,
            residual: None,
            tail: Tail::Store,
            misalignment: 0,
        }
    }

    fn stride(mut self, stride: [usize; 2]) -> Case {
        self.shape.stride = stride;
        self
    }

    fn tail(mut self, tail: Tail) -> Case {
        self.tail = tail;
        self
    }

    /// Rows and columns of the result; zero or less means the case is impossible.
    fn size(&self) -> Option<[usize; 2]> {
        let mut size = [0; 2];
        for i in 0..2 {
            let padded = self.input[i] + self.shape.padding[i] + self.padding_end[i];
            let reach = (self.shape.kernel[i] - 1) * self.shape.dilation[i] + 1;
            size[i] = padded.checked_sub(reach)? / self.shape.stride[i] + 1;
        }
        Some(size)
    }

    /// Compares one form on one path with the reference, if the form can do it.
    fn check(mut self, on: On, seed: u64) {
        let Some(size) = self.size() else { return };
        self.shape.size = size;
        if self.tail == Tail::MaxPool2 && (size[0] < 2 || size[1] < 2) {
            return;
        }
        let [ic, oc] = self.channels;
        let k = ic / self.shape.groups * self.shape.kernel[0] * self.shape.kernel[1];
        if !reference::fits(self.images * oc * size[0] * size[1] * k) {
            return;
        }
        let mut random = Random::new(seed);
        let x = Dense::random([self.images, ic, self.input[0], self.input[1]], &mut random);
        let weights = random.values(oc * k);
        let bias = random.values(oc);
        let slopes = random.values(oc);
        let (sum, magnitude) = reference::conv(&x, &weights, &bias, &self.shape);
        let added = Dense::random(sum.shape, &mut random);
        let act = |c: usize, v: f64| reference::activate(self.activation, f64::from(slopes[c]), v);
        let result = sum.map(|[n, c, y, x], v| match self.residual {
            None => act(c, v),
            Some((ResidualAt::BeforeActivation, _)) => act(c, v + added.get(n, c, y, x)),
            Some((ResidualAt::AfterActivation, _)) => act(c, v) + added.get(n, c, y, x),
        });
        let want = match self.tail {
            Tail::Store => result,
            Tail::MaxPool2 => reference::max_pool2(&result),
            Tail::GlobalAverage => reference::global_average(&result),
        };
        // Rounding of a sum of k products, with room for the epilogue.
        let largest = magnitude.iter().copied().fold(0.0, f64::max) + 2.0;
        let tolerance = largest * 6e-8 * (8.0 + (k as f64).sqrt());

        let planar = x.planar(self.input_halo);
        let input = Guarded::input(planar, &x, self.misalignment);
        let residual = self.residual.map(|(at, halo)| {
            let planar = added.planar(halo);
            (Guarded::input(planar, &added, self.misalignment), at)
        });
        let spec = ConvSpec {
            size,
            stride: self.shape.stride,
            dilation: self.shape.dilation,
            padding: self.shape.padding,
            groups: self.shape.groups,
            activation: self.activation,
            residual: residual.as_ref().map(|(r, at)| (r.planar, *at)),
            tail: self.tail,
            ..ConvSpec::new(planar, want.planar(self.output_halo), self.shape.kernel)
        };
        let On { form, isa } = on;
        if !Conv::forms(&spec, isa).unwrap().contains(&form) {
            return;
        }
        let conv = Conv::new(ConvSpec { form: Some(form), ..spec }, isa).unwrap();
        assert_eq!(conv.form(), form);
        let packed = conv.pack(&weights).unwrap();
        assert_eq!(packed.len(), conv.packed_len());
        let inputs = ConvInputs {
            input: input.slice(),
            weights: &packed,
            bias: Some(&bias),
            slopes: Some(&slopes),
            residual: residual.as_ref().map(|(r, _)| r.slice()),
        };
        let mut output = Guarded::output(spec.output, self.misalignment);
        let mut workspace = vec![f32::NAN; conv.workspace_len()];
        let mut scratch = vec![f32::NAN; conv.scratch_len()];
        let run = conv.run(&inputs, output.slice_mut(), &mut workspace, &mut scratch);
        run.unwrap();
        let context = format!("{isa} {form:?} {self:?}");
        let tolerance = match form {
            // The transforms add and subtract values several times the size of the
            // result; measured, errors are below this.
            ConvForm::Winograd => 16.0 * tolerance,
            _ => tolerance,
        };
        output.check(&want, |i| tolerance * want.data[i].abs().max(1.0), &context);

        // Tasks one by one and backwards must give the same bits.
        let mut again = Guarded::output(spec.output, self.misalignment);
        let out = Output::new(again.slice_mut());
        let work = Output::new(&mut workspace);
        for (stage, tasks) in conv.stages().into_iter().enumerate() {
            for task in (0..tasks).rev() {
                let range = task..task + 1;
                // SAFETY: one task at a time, stages in order.
                let run = unsafe { conv.run_tasks(stage, range, &inputs, out, work, &mut scratch) };
                run.unwrap();
            }
        }
        assert_eq!(output.bits(), again.bits(), "{context}");
    }
}

/// What a battery of cases is run on.
#[derive(Clone, Copy)]
struct On {
    form: ConvForm,
    isa: Isa,
}

/// All direct-form cases.
fn battery(form: ConvForm, isa: Isa) {
    let on = On { form, isa };
    every_channel_count_3x3(on);
    pointwise_and_strided_pointwise(on);
    long_sums_and_wide_rows(on);
    pooled(on);
    averaged(on);
    every_activation_fused(on);
    random_geometries(on);
    nan_stays_where_it_belongs(on);
}

pub(crate) fn pixel(isa: Isa) {
    battery(ConvForm::Pixel, isa);
    nan_passes_a_pooling(On { form: ConvForm::Pixel, isa });
}

pub(crate) fn channel(isa: Isa) {
    battery(ConvForm::Channel, isa);
}

pub(crate) fn gemm(isa: Isa) {
    let on = On { form: ConvForm::Gemm, isa };
    pointwise_and_strided_pointwise(on);
    averaged(on);
    every_activation_fused(on);
    random_geometries(on);
    for (i, [ic, oc]) in [[3, 5], [16, 96], [89, 44], [33, 7], [130, 65]].into_iter().enumerate() {
        for (j, size) in [[1, 1], [7, 7], [5, 31], [14, 14], [40, 37]].into_iter().enumerate() {
            for stride in [1, 2, 3] {
                let mut case = Case::new([ic, oc], size, [1, 1]).stride([stride, stride]);
                // Rows with and without gaps on either side.
                let (before, after) = ((i + j) % 2, (i + j + stride) % 3 % 2);
                case.input_halo = Halo::uniform(before);
                case.output_halo = Halo::uniform(after);
                case.images = 1 + (i + stride) % 2;
                if stride == 1 && j % 2 == 0 {
                    case.residual = Some((ResidualAt::AfterActivation, case.output_halo));
                }
                let seed = (i * 25 + j * 5 + stride) as u64;
                case.clone().check(on, seed);
                case.tail(Tail::GlobalAverage).check(on, seed);
            }
        }
    }
    let mut grouped = Case::new([12, 18], [9, 11], [1, 1]);
    grouped.shape.groups = 3;
    grouped.check(on, 1);
}

pub(crate) fn winograd(isa: Isa) {
    let on = On { form: ConvForm::Winograd, isa };
    every_channel_count_3x3(on);
    long_sums_and_wide_rows(on);
    pooled(on);
    averaged(on);
    every_activation_fused(on);
    random_geometries(on);
    nan_passes_a_pooling(on);
    // Several bands, and one band divided by channels.
    Case::new([96, 9], [50, 30], [3, 3]).check(on, 5);
    Case::new([32, 64], [15, 61], [3, 3]).tail(Tail::GlobalAverage).check(on, 6);
}

pub(crate) fn depthwise(isa: Isa) {
    let on = On { form: ConvForm::Depthwise, isa };
    depthwise_geometries(on);
    random_geometries(on);
}

/// Around the tile sizes of every path, and the odd ones.
const CHANNELS: [usize; 14] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 22, 33, 65];
const SIZES: [usize; 13] = [1, 2, 3, 5, 7, 8, 13, 15, 16, 17, 31, 33, 49];

fn every_channel_count_3x3(on: On) {
    for (i, oc) in CHANNELS.into_iter().enumerate() {
        let ic = CHANNELS[(i * 5 + 3) % CHANNELS.len()];
        for (j, w) in SIZES.into_iter().enumerate() {
            Case::new([ic, oc], [SIZES[(j * 3 + i) % 8], w], [3, 3])
                .check(on, (i * 100 + j) as u64);
        }
    }
}

fn pointwise_and_strided_pointwise(on: On) {
    for (i, oc) in CHANNELS.into_iter().enumerate() {
        for (j, w) in SIZES.into_iter().enumerate() {
            let case = Case::new([CHANNELS[(i + j) % 14], oc], [SIZES[(i + j) % 9], w], [1, 1]);
            case.clone().check(on, i as u64);
            case.stride([2, 2]).check(on, j as u64);
        }
    }
}

fn long_sums_and_wide_rows(on: On) {
    Case::new([300, 5], [4, 127], [1, 1]).check(on, 1);
    Case::new([127, 13], [7, 7], [3, 3]).check(on, 2);
    Case::new([89, 44], [9, 30], [3, 3]).check(on, 3);
    Case::new([3, 22], [20, 127], [3, 3]).check(on, 4);
}

fn pooled(on: On) {
    for (i, oc) in CHANNELS.into_iter().enumerate() {
        for w in [2, 3, 8, 15, 16, 31, 32, 33, 64, 65, 127] {
            let case = Case::new([3, oc], [2 + i, w], [3, 3]).tail(Tail::MaxPool2);
            case.check(on, (i * 1000 + w) as u64);
        }
    }
    let mut leaky = Case::new([4, 9], [11, 40], [3, 3]).tail(Tail::MaxPool2);
    leaky.activation = Activation::LeakyRelu { slope: -0.5 };
    leaky.check(on, 9);
}

fn averaged(on: On) {
    for (i, oc) in CHANNELS.into_iter().enumerate() {
        let mut case = Case::new([5, oc], [1 + i, 14], [3, 3]).tail(Tail::GlobalAverage);
        case.clone().check(on, i as u64);
        case.residual = Some((ResidualAt::BeforeActivation, Halo::uniform(1)));
        case.check(on, i as u64);
    }
}

fn every_activation_fused(on: On) {
    for activation in ACTIVATIONS {
        let mut case = Case::new([6, 11], [5, 19], [3, 3]);
        case.activation = activation;
        case.clone().check(on, 1);
        case.input = [6, 7];
        case.residual = Some((ResidualAt::AfterActivation, Halo::uniform(2)));
        case.check(on, 2);
    }
}

fn random_geometries(on: On) {
    let mut random = Random::new(42);
    for seed in 0..150 {
        let r = &mut random;
        let groups = r.pick(&[1, 1, 1, 2, 3, 5]);
        let kernel = [r.pick(&[1, 2, 3, 3, 4, 5, 7]), r.pick(&[1, 2, 3, 3, 5, 7])];
        let channels = [groups * r.pick(&[1, 2, 3, 7]), groups * r.pick(&[1, 2, 4, 9, 17])];
        let mut case = Case::new(channels, [r.pick(&SIZES), r.pick(&SIZES)], kernel);
        case.images = r.pick(&[1, 1, 2, 3]);
        case.shape.groups = groups;
        case.shape.stride = [r.pick(&[1, 1, 2, 3]), r.pick(&[1, 1, 2, 3])];
        case.shape.dilation = [r.pick(&[1, 1, 2, 3]), r.pick(&[1, 1, 2])];
        case.shape.padding = [r.below(kernel[0] + 1), r.below(kernel[1] + 1)];
        case.padding_end = [r.below(kernel[0]), r.below(kernel[1])];
        let halo = |r: &mut Random| {
            r.pick(&[
                Halo::default(),
                Halo::uniform(1),
                Halo::uniform(3),
                Halo { top: 2, bottom: 0, left: 1, right: 2 },
            ])
        };
        case.input_halo = halo(r);
        case.output_halo = halo(r);
        case.activation = r.pick(&ACTIVATIONS);
        if case.activation == Activation::Exp {
            case.activation = Activation::Identity;
        }
        case.misalignment = r.pick(&[0, 1, 7]);
        case.tail = r.pick(&[Tail::Store, Tail::Store, Tail::MaxPool2, Tail::GlobalAverage]);
        if case.tail != Tail::MaxPool2 && r.below(2) == 0 {
            let at = [ResidualAt::BeforeActivation, ResidualAt::AfterActivation];
            case.residual = Some((r.pick(&at), halo(r)));
        }
        case.check(on, seed);
    }
}

fn depthwise_geometries(on: On) {
    let mut random = Random::new(7);
    for seed in 0..150 {
        let r = &mut random;
        let k = r.pick(&[1, 2, 3, 3, 3, 5, 5, 7]);
        let channels = r.pick(&[1, 2, 5, 8, 17]);
        let size = [r.pick(&SIZES), r.pick(&SIZES)];
        let mut case = Case::new([channels, channels * r.pick(&[1, 1, 2, 3])], size, [k, k]);
        case.images = r.pick(&[1, 2]);
        case.shape.groups = channels;
        case.shape.stride = [r.pick(&[1, 1, 2, 3]); 2];
        case.shape.dilation = [r.pick(&[1, 1, 1, 2]); 2];
        case.output_halo = Halo::uniform(r.pick(&[0, 1, 2]));
        case.input_halo = Halo::uniform(r.pick(&[0, k / 2, 3]));
        case.misalignment = r.pick(&[0, 3]);
        if r.below(3) == 0 {
            let halo = Halo::uniform(r.pick(&[0, 1]));
            case.residual = Some((ResidualAt::AfterActivation, halo));
        }
        case.activation = r.pick(&[Activation::Silu, Activation::Prelu, Activation::Relu]);
        case.check(on, seed);
    }
}

#[test]
fn a_convolution_that_clears_the_halo_leaves_zeros_all_around() {
    let halo = Halo { top: 1, bottom: 2, left: 1, right: 1 };
    let mut cleared = 0;
    for isa in crate::IsaSet::available().iter() {
        for form in [ConvForm::Pixel, ConvForm::Gemm, ConvForm::Channel] {
            for (images, [ic, oc], [h, w]) in
                [(1, [3, 5], [7, 7]), (2, [17, 13], [14, 14]), (2, [4, 70], [33, 40])]
            {
                let output = Planar::new(images, oc, h, w, halo);
                // Rows as far apart as the output's, so that the pixel form runs over whole planes.
                let input = Planar { halo: Halo::default(), ..Planar::new(images, ic, h, w, halo) };
                let spec = ConvSpec { form: Some(form), ..ConvSpec::new(input, output, [1, 1]) };
                let mut conv = Conv::new(spec, isa).unwrap();
                assert_eq!(conv.clear_halo(halo), form != ConvForm::Channel, "{form:?}");
                if form == ConvForm::Channel {
                    continue;
                }
                let x = vec![1.0; input.len()];
                let packed = conv.pack(&vec![1.0; ic * oc]).unwrap();
                let inputs = ConvInputs {
                    input: &x,
                    weights: &packed,
                    bias: None,
                    slopes: None,
                    residual: None,
                };
                let mut out = vec![f32::NAN; output.len()];
                let mut workspace = vec![f32::NAN; conv.workspace_len()];
                let mut scratch = vec![f32::NAN; conv.scratch_len()];
                conv.run(&inputs, &mut out, &mut workspace, &mut scratch).unwrap();
                let mut want = vec![f32::NAN; output.len()];
                output.clear_halo(&mut want).unwrap();
                // Between the halos of two planes there may be more room, which is nobody's.
                for (at, (found, want)) in out.iter().zip(&want).enumerate() {
                    assert!(*want != 0.0 || *found == 0.0, "{form:?} {isa} at {at}: {found}");
                }
                let pixels = out.iter().filter(|v| **v == ic as f32).count();
                assert_eq!(pixels, images * oc * h * w);
                cleared += 1;
            }
        }
    }
    assert!(cleared > 0);
}

/// The outputs that see a NaN are NaN, and no others.
fn nan_stays_where_it_belongs(on: On) {
    let planar = Planar::new(1, 2, 9, 20, Halo::uniform(1));
    let mut x = Dense::zeros([1, 2, 9, 20]);
    let centre = x.index(0, 1, 4, 19);
    x.data[centre] = f64::NAN;
    let input = Guarded::input(planar, &x, 0);
    let On { form, isa } = on;
    let output = Planar::new(1, 3, 9, 20, Halo::uniform(1));
    let spec = ConvSpec {
        padding: [1, 1],
        activation: Activation::Relu,
        form: Some(form),
        ..ConvSpec::new(planar, output, [3, 3])
    };
    let conv = Conv::new(spec, isa).unwrap();
    let weights = conv.pack(&vec![1.0; 3 * 2 * 9]).unwrap();
    let mut out = Guarded::output(output, 0);
    let inputs = ConvInputs {
        input: input.slice(),
        weights: &weights,
        bias: None,
        slopes: None,
        residual: None,
    };
    let mut scratch = vec![0.0; conv.scratch_len()];
    conv.run(&inputs, out.slice_mut(), &mut [], &mut scratch).unwrap();
    let want = Dense::zeros([1, 3, 9, 20])
        .map(|[_, _, y, x], _| if (3..=5).contains(&y) && x >= 18 { f64::NAN } else { 0.0 });
    out.check(&want, |_| 1e-9, &format!("{isa} {form:?}"));
}

/// Wherever a NaN lies, each maximum of what sees it is one; in the direct forms no other.
fn nan_passes_a_pooling(on: On) {
    let On { form, isa } = on;
    if !reference::fits(16 * 16 * 64 * 9) {
        return;
    }
    let input = Planar::new(1, 1, 16, 64, Halo::uniform(1));
    let output = Planar::new(1, 2, 8, 32, Halo::default());
    let spec = ConvSpec {
        size: [16, 64],
        padding: [1, 1],
        activation: Activation::Relu,
        tail: Tail::MaxPool2,
        form: Some(form),
        ..ConvSpec::new(input, output, [3, 3])
    };
    let conv = Conv::new(spec, isa).unwrap();
    let weights = conv.pack(&[0.5; 2 * 9]).unwrap();
    let mut workspace = vec![0.0; conv.workspace_len()];
    let mut scratch = vec![0.0; conv.scratch_len()];
    let mut x = vec![0.25; input.len()];
    for (row, column) in (0..8).flat_map(|row| (20..36).map(move |column| (row, column))) {
        x.fill(0.25);
        x[input.index(0, 0, row, column)] = f32::NAN;
        let inputs =
            ConvInputs { input: &x, weights: &weights, bias: None, slopes: None, residual: None };
        let mut out = vec![0.0; output.len()];
        conv.run(&inputs, &mut out, &mut workspace, &mut scratch).unwrap();
        for (c, y, x) in (0..2).flat_map(|c| (0..8 * 32).map(move |p| (c, p / 32, p % 32))) {
            // Two pixels and the kernel's reach.
            let sees = |at: usize, first: usize| at + 1 >= 2 * first && at <= 2 * first + 2;
            let found = out[output.index(0, c, y, x)].is_nan();
            let context = format!("{isa} {form:?}: NaN at {row} {column}, maximum {c} {y} {x}");
            if sees(row, y) && sees(column, x) {
                assert!(found, "{context}");
            } else if form != ConvForm::Winograd {
                assert!(!found, "{context}");
            }
        }
    }
}

#[test]
fn wrong_specs_and_lengths_are_errors() {
    let input = Planar::new(1, 4, 8, 8, Halo::uniform(1));
    let output = Planar::new(1, 6, 8, 8, Halo::default());
    let good = ConvSpec { padding: [1, 1], ..ConvSpec::new(input, output, [3, 3]) };
    let isa = Isa::Portable;
    for bad in [
        ConvSpec { groups: 3, ..good },
        ConvSpec { groups: 0, ..good },
        ConvSpec { stride: [0, 1], ..good },
        ConvSpec { size: [8, 9], ..good },
        ConvSpec { tail: Tail::MaxPool2, ..good },
        ConvSpec { residual: Some((input, ResidualAt::BeforeActivation)), ..good },
        ConvSpec { output: Planar { images: 2, ..output }, ..good },
        ConvSpec { kernel: [usize::MAX / 2, 3], ..good },
    ] {
        let error = Conv::new(bad, isa).map(|_| ()).unwrap_err();
        assert!(matches!(error, KernelError::Geometry { .. }), "{bad:?}: {error}");
    }
    let conv = Conv::new(good, isa).unwrap();
    assert!(conv.pack(&[0.0; 5]).is_err());
    let weights = conv.pack(&[0.0; 6 * 4 * 9]).unwrap();
    let x = vec![0.0; conv.input_len()];
    let inputs =
        ConvInputs { input: &x, weights: &weights, bias: None, slopes: None, residual: None };
    let mut out = vec![0.0; output.len()];
    let mut scratch = vec![0.0; conv.scratch_len()];
    assert!(conv.run(&inputs, &mut out, &mut [], &mut scratch).is_ok());
    for (inputs, len) in [
        (ConvInputs { input: &x[1..], ..inputs }, out.len()),
        (ConvInputs { weights: &weights[1..], ..inputs }, out.len()),
        (ConvInputs { bias: Some(&[0.0; 5]), ..inputs }, out.len()),
        (inputs, output.end() - 1),
    ] {
        let error = conv.run(&inputs, &mut out[..len], &mut [], &mut scratch).unwrap_err();
        assert!(matches!(error, KernelError::Length { .. }), "{error}");
    }
}

/// Root mean square and largest error of a form on a layer, relative to the root mean square of
/// the result.
fn errors(form: ConvForm, isa: Isa, channels: usize) -> (f64, f64) {
    let mut random = Random::new(11);
    let x = Dense::random([1, channels, 16, 16], &mut random);
    let weights = random.values(8 * channels * 9);
    let bias = [0.0; 8];
    let shape = ConvShape {
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [1, 1],
        groups: 1,
        size: [16, 16],
    };
    let (want, _) = reference::conv(&x, &weights, &bias, &shape);
    let input = Guarded::input(x.planar(Halo::uniform(1)), &x, 0);
    let mut output = Guarded::output(want.planar(Halo::default()), 0);
    let spec = ConvSpec {
        padding: [1, 1],
        form: Some(form),
        ..ConvSpec::new(input.planar, output.planar, [3, 3])
    };
    let conv = Conv::new(spec, isa).unwrap();
    let inputs = ConvInputs {
        input: input.slice(),
        weights: &conv.pack(&weights).unwrap(),
        bias: None,
        slopes: None,
        residual: None,
    };
    let mut scratch = vec![0.0; conv.scratch_len()];
    conv.run(&inputs, output.slice_mut(), &mut [], &mut scratch).unwrap();
    let (mut square, mut largest, mut size) = (0.0, 0.0f64, 0.0);
    want.positions(|i, [n, c, y, x]| {
        let got = f64::from(output.slice()[output.planar.index(n, c, y, x)]);
        let error = (got - want.data[i]).abs();
        square += error * error;
        size += want.data[i] * want.data[i];
        largest = largest.max(error);
    });
    let rms = (size / want.data.len() as f64).sqrt();
    ((square / size).sqrt(), largest / rms)
}

#[test]
fn winograd_is_nearly_as_accurate_as_the_direct_form() {
    for isa in crate::IsaSet::available().iter() {
        for channels in [3, 64, 256].into_iter().filter(|c| reference::fits(c * 8 * 9 * 16 * 16)) {
            let direct = errors(ConvForm::Pixel, isa, channels);
            let winograd = errors(ConvForm::Winograd, isa, channels);
            let context = format!("{isa} {channels}: {winograd:?} against {direct:?}");
            assert!(winograd.0 < 6.0 * direct.0 && winograd.1 < 6.0 * direct.1, "{context}");
        }
    }
}
