//! Blocks of three convolutions, beside the three by themselves, each in the form estimated fastest.

use bunjae_kernels::{
    Activation, AlignedVec, BlockInputs, BlockNumbers, BlockSpec, ConvBlock, ConvSpec, Halo,
    Kernel, Planar,
};

use crate::{Bench, measure, values};

/// A block: channels in, between and out, input rows and columns, side and stride of the first
/// convolution, side and stride of the depthwise one.
type Block = (&'static str, [usize; 3], [usize; 2], [usize; 2], [usize; 2]);

const BLOCKS: &[Block] = &[
    ("M3 first", [1, 32, 16], [60, 120], [3, 2], [3, 1]),
    ("M3 30x60/2", [16, 96, 24], [30, 60], [1, 1], [3, 2]),
    ("M3 15x30", [24, 144, 24], [15, 30], [1, 1], [3, 1]),
    ("M3 8x15", [32, 192, 32], [8, 15], [1, 1], [3, 1]),
    ("M3 4x8", [64, 384, 64], [4, 8], [1, 1], [3, 1]),
    ("M5 first", [3, 32, 16], [224, 224], [3, 2], [3, 1]),
    ("M5 112/2", [16, 96, 24], [112, 112], [1, 1], [3, 2]),
    ("M5 56", [24, 144, 24], [56, 56], [1, 1], [3, 1]),
    ("M5 28", [32, 192, 32], [28, 28], [1, 1], [3, 1]),
    ("M5 14", [64, 384, 64], [14, 14], [1, 1], [3, 1]),
    ("M5 14/2", [96, 576, 160], [14, 14], [1, 1], [3, 2]),
    ("M5 7", [160, 960, 160], [7, 7], [1, 1], [3, 1]),
    ("5x5 28", [40, 120, 40], [28, 28], [1, 1], [5, 1]),
    ("5x5 14/2", [112, 672, 192], [14, 14], [1, 1], [5, 2]),
    ("pruned 14", [45, 269, 45], [14, 14], [1, 1], [3, 1]),
    ("pruned 56", [19, 29, 19], [56, 56], [1, 1], [3, 1]),
    ("pruned 28", [25, 60, 29], [28, 28], [1, 1], [3, 1]),
    ("little wider 14", [64, 96, 64], [14, 14], [1, 1], [3, 1]),
    ("no wider 56", [64, 128, 128], [56, 56], [1, 1], [3, 1]),
    ("no wider 14", [256, 256, 512], [14, 14], [1, 1], [3, 1]),
];

impl Bench {
    pub(crate) fn blocks(&self, kernel: Kernel) {
        for block in BLOCKS.iter().filter(|block| self.wants(kernel, block.0)) {
            self.block(kernel, block);
        }
    }

    fn block(&self, kernel: Kernel, &(name, channels, size, first, second): &Block) {
        let [input, wide, out] = channels;
        let sizes = [first, second].into_iter().scan(size, |size, [_, stride]| {
            *size = size.map(|x| (x - 1) / stride + 1);
            Some(*size)
        });
        let sizes: Vec<[usize; 2]> = sizes.collect();
        let planar = |channels: usize, [h, w]: [usize; 2], side: usize| {
            Planar::new(1, channels, h, w, Halo::uniform(side / 2))
        };
        let part =
            |input: Planar, output: Planar, [side, stride]: [usize; 2], groups: usize| ConvSpec {
                stride: [stride, stride],
                padding: [side / 2, side / 2],
                groups,
                activation: Activation::Relu,
                ..ConvSpec::new(input, output, [side, side])
            };
        let expanded = planar(wide, sizes[0], second[0]);
        let narrow = planar(wide, sizes[1], 1);
        let spec = BlockSpec {
            expand: part(planar(input, size, first[0]), expanded, first, 1),
            depthwise: part(expanded, narrow, second, wide),
            project: part(narrow, planar(out, sizes[1], 1), [1, 1], 1),
        };
        let alone = [spec.expand, spec.depthwise, spec.project];
        let alone: f64 = alone.iter().map(|spec| self.seconds(spec)).sum();
        let block = ConvBlock::new(spec, self.isa).unwrap();
        let weights = [
            values(wide * input * first[0] * first[0]),
            values(wide * second[0] * second[0]),
            values(out * wide),
        ];
        let numbers = BlockNumbers { weights: [0, 1, 2].map(|at| &*weights[at]), bias: [None; 3] };
        let packed = AlignedVec::from(block.pack(&numbers).unwrap().as_slice());
        let mut x = values(spec.expand.input.len());
        spec.expand.input.clear_halo(&mut x).unwrap();
        let mut output = AlignedVec::zeroed(spec.project.output.len());
        let mut workspace = AlignedVec::zeroed(block.workspace_len());
        let mut scratch = AlignedVec::zeroed(block.scratch_len());
        let inputs = BlockInputs { input: &x, packed: &packed, residual: None };
        let seconds =
            measure(|| block.run(&inputs, &mut output, &mut workspace, &mut scratch).unwrap());
        let note = format!("{:.2} of the three by themselves", seconds / alone);
        self.report(kernel, name, seconds, spec.macs() as f64, &note);
    }
}
