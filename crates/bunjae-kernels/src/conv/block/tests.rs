//! Blocks on every path, in both divisions, against the reference.

use super::plan::Division;
use super::*;
use crate::activation::Activation;
use crate::conv::ResidualAt;
use crate::output::Output;
use crate::planar::{Halo, Planar};
use crate::reference::{self, ConvShape, Dense, Guarded, Random};

/// One block to be tested.
#[derive(Clone, Debug)]
struct Case {
    images: usize,
    /// Into the block, between its convolutions and out of it.
    channels: [usize; 3],
    input: [usize; 2],
    /// Side, stride and padding of the first convolution.
    first: [usize; 3],
    side: usize,
    stride: [usize; 2],
    padding: [usize; 2],
    /// Zeros below and right of what the depthwise convolution reads.
    padding_end: [usize; 2],
    activations: [Activation; 3],
    residual: Option<ResidualAt>,
}

impl Case {
    fn new(channels: [usize; 3], input: [usize; 2]) -> Case {
        Case {
            images: 1,
            channels,
            input,
            first: [1, 1, 0],
            side: 3,
            stride: [1, 1],
            padding: [1, 1],
            padding_end: [1, 1],
            activations: [
                Activation::Clip { lo: 0.0, hi: 6.0 },
                Activation::LeakyRelu { slope: 0.1 },
                Activation::Identity,
            ],
            residual: None,
        }
    }

    /// What the three convolutions compute, if the sizes allow it.
    fn shapes(&self) -> Option<[ConvShape; 3]> {
        let of = |size: [usize; 2],
                  side: usize,
                  stride: [usize; 2],
                  padding: [usize; 2],
                  end: [usize; 2],
                  groups: usize| {
            let mut found = [0; 2];
            for i in 0..2 {
                found[i] = (size[i] + padding[i] + end[i]).checked_sub(side)? / stride[i] + 1;
            }
            Some(ConvShape {
                kernel: [side; 2],
                stride,
                dilation: [1, 1],
                padding,
                groups,
                size: found,
            })
        };
        let [side, stride, padding] = self.first;
        let first = of(self.input, side, [stride; 2], [padding; 2], [padding; 2], 1)?;
        let middle = of(
            first.size,
            self.side,
            self.stride,
            self.padding,
            self.padding_end,
            self.channels[1],
        )?;
        let last = of(middle.size, 1, [1, 1], [0, 0], [0, 0], 1)?;
        Some([first, middle, last])
    }

    fn spec(&self, residual: Option<(Planar, ResidualAt)>) -> Option<BlockSpec> {
        let shapes = self.shapes()?;
        let planar = |channels: usize, [height, width]: [usize; 2], halo: usize| {
            Planar::new(self.images, channels, height, width, Halo::uniform(halo))
        };
        let [i, m, o] = self.channels;
        let part = |at: usize, input: Planar, output: Planar| ConvSpec {
            size: shapes[at].size,
            stride: shapes[at].stride,
            padding: shapes[at].padding,
            groups: shapes[at].groups,
            activation: self.activations[at],
            ..ConvSpec::new(input, output, shapes[at].kernel)
        };
        let wide = planar(m, shapes[0].size, 0);
        let narrow = planar(m, shapes[1].size, 0);
        Some(BlockSpec {
            expand: part(0, planar(i, self.input, self.first[0] / 2), wide),
            depthwise: part(1, wide, narrow),
            project: ConvSpec { residual, ..part(2, narrow, planar(o, shapes[2].size, 1)) },
        })
    }

    /// Compares both divisions on one path with the reference.
    fn check(&self, isa: Isa, seed: u64) {
        let Some(shapes) = self.shapes() else { return };
        let [i, m, o] = self.channels;
        let mut random = Random::new(seed);
        let x = Dense::random([self.images, i, self.input[0], self.input[1]], &mut random);
        let products = [i * shapes[0].kernel[0].pow(2), self.side * self.side, m];
        let outputs = [m, m, o];
        let work: usize = (0..3)
            .map(|at| outputs[at] * products[at] * shapes[at].size[0] * shapes[at].size[1])
            .sum();
        if !reference::fits(self.images * work) {
            return;
        }
        let weights = [0, 1, 2].map(|at| random.values(outputs[at] * products[at]));
        let bias = [0, 1, 2].map(|at| random.values(outputs[at]));
        let mut want = x.clone();
        let mut tolerance = 0.0;
        for at in 0..3 {
            let (sum, magnitude) = reference::conv(&want, &weights[at], &bias[at], &shapes[at]);
            // Errors of the step before, and the rounding of this one.
            let gain = products[at] as f64;
            let largest = magnitude.iter().copied().fold(0.0, f64::max);
            tolerance = tolerance * gain.sqrt() + largest * 6e-8 * (8.0 + gain.sqrt());
            want = sum.map(|_, v| reference::activate(self.activations[at], 0.0, v));
        }
        let added = Dense::random(want.shape, &mut random);
        let residual =
            self.residual.map(|at| (Guarded::input(added.planar(Halo::uniform(1)), &added, 0), at));
        if self.residual.is_some() {
            want = want.map(|[n, c, y, x], v| v + added.get(n, c, y, x));
        }
        let layout = residual.as_ref().map(|(guarded, at)| (guarded.planar, *at));
        let Some(spec) = self.spec(layout) else { return };
        let input = Guarded::input(spec.expand.input, &x, 0);
        let mut found: Option<Vec<u32>> = None;
        let shares = [
            (Division::Rows { bands: 1 }, 1),
            (Division::Rows { bands: 3.min(shapes[1].size[0]) }, 2),
            (Division::Channels { parts: 1 }, shapes[1].size[0]),
            (Division::Channels { parts: 2.min(m.div_ceil(64)) }, 2),
        ];
        for (division, rows) in shares {
            let rows = rows.min(shapes[1].size[0]);
            let block = ConvBlock::divided(spec, isa, Some((division, rows))).unwrap();
            let numbers = BlockNumbers {
                weights: [0, 1, 2].map(|at| weights[at].as_slice()),
                bias: [0, 1, 2].map(|at| Some(bias[at].as_slice())),
            };
            let packed = block.pack(&numbers).unwrap();
            assert_eq!(packed.len(), block.packed_len());
            let inputs = BlockInputs {
                input: input.slice(),
                packed: &packed,
                residual: residual.as_ref().map(|(guarded, _)| guarded.slice()),
            };
            let context = format!("{isa} {division:?} {rows} {self:?}");
            let mut output = Guarded::output(spec.project.output, 0);
            let mut workspace = vec![f32::NAN; block.workspace_len()];
            let mut scratch = vec![f32::NAN; block.scratch_len()];
            block.run(&inputs, output.slice_mut(), &mut workspace, &mut scratch).unwrap();
            output.check(&want, |i| tolerance * want.data[i].abs().max(1.0), &context);
            let bits = found.get_or_insert_with(|| output.bits());
            assert_eq!(*bits, output.bits(), "{context}");

            // Tasks one by one and backwards must give the same bits.
            let mut again = Guarded::output(spec.project.output, 0);
            let out = Output::new(again.slice_mut());
            let work = Output::new(&mut workspace);
            for (stage, tasks) in block.stages().into_iter().enumerate() {
                for task in (0..tasks).rev() {
                    let range = task..task + 1;
                    // SAFETY: one task at a time, stages in order.
                    let run =
                        unsafe { block.run_tasks(stage, range, &inputs, out, work, &mut scratch) };
                    run.unwrap();
                }
            }
            assert_eq!(*bits, again.bits(), "{context}");
        }
    }
}

pub(crate) fn block(isa: Isa) {
    let mut seed = 0;
    let mut check = |case: Case| {
        seed += 1;
        case.check(isa, seed);
    };
    for channels in [[1, 2, 1], [3, 17, 5], [16, 96, 24], [24, 144, 32], [8, 200, 89]] {
        for size in [[1, 1], [2, 3], [4, 8], [7, 7], [8, 15], [14, 13], [21, 30]] {
            check(Case::new(channels, size));
            check(Case { stride: [2, 2], ..Case::new(channels, size) });
        }
    }
    let case = Case::new([5, 40, 12], [9, 11]);
    for side in [3, 5] {
        for stride in [[1, 1], [2, 2], [1, 2], [2, 1], [3, 2]] {
            for (padding, padding_end) in [([0, 0], [0, 0]), ([2, 1], [0, 1]), ([0, 2], [2, 2])] {
                let residual = Some(ResidualAt::AfterActivation).filter(|_| side == 3);
                check(Case {
                    side,
                    stride,
                    padding,
                    padding_end,
                    images: 2,
                    residual,
                    ..case.clone()
                });
            }
        }
    }
    // First layers.
    for first in [[3, 2, 1], [3, 1, 1], [4, 3, 2]] {
        check(Case { first, images: 2, ..Case::new([3, 32, 16], [20, 17]) });
        check(Case { first, stride: [2, 2], ..Case::new([1, 33, 7], [60, 31]) });
    }
    what_is_no_block_is_refused(isa);
}

fn what_is_no_block_is_refused(isa: Isa) {
    let case = Case::new([4, 24, 8], [9, 9]);
    let spec = case.spec(None).unwrap();
    let refused = |spec: BlockSpec| {
        assert!(matches!(ConvBlock::new(spec, isa), Err(KernelError::Geometry { .. })), "{spec:?}");
    };
    let BlockSpec { expand, depthwise, project } = spec;
    refused(BlockSpec { expand: ConvSpec { activation: Activation::HardSwish, ..expand }, ..spec });
    refused(BlockSpec { expand: ConvSpec { groups: 4, ..expand }, ..spec });
    refused(BlockSpec { depthwise: ConvSpec { groups: 1, ..depthwise }, ..spec });
    refused(BlockSpec { project: ConvSpec { activation: Activation::Prelu, ..project }, ..spec });
    let other = Planar { channels: 23, ..depthwise.input };
    refused(BlockSpec { depthwise: ConvSpec { input: other, ..depthwise }, ..spec });
    let halo = Planar::new(1, 3, 9, 9, Halo::default());
    let first = Case { first: [3, 1, 1], ..case };
    let first = first.spec(None).unwrap();
    refused(BlockSpec { expand: ConvSpec { input: halo, ..first.expand }, ..first });
    let block = ConvBlock::new(spec, isa).unwrap();
    let short = BlockNumbers { weights: [&[0.0; 3]; 3], bias: [None; 3] };
    assert!(matches!(block.pack(&short), Err(KernelError::Length { .. })));
    let inputs = BlockInputs { input: &[0.0; 4], packed: &[], residual: None };
    let run = block.run(&inputs, &mut [], &mut [], &mut []);
    assert!(matches!(run, Err(KernelError::Length { .. })));
}
