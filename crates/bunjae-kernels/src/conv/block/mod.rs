//! Blocks: a convolution, a depthwise convolution and a pointwise convolution in one go, as networks
//! for small devices are made of (MobileNetV2's inverted residuals, the first layers of most of them).
//!
//! What lies between the three is several times as wide as what goes in and comes out, so that by
//! themselves they mostly move memory. Here a task computes a few rows of all three, or all rows of
//! a few channels of the first two, in memory of its own that stays in the caches. As nobody else sees
//! that memory, its channels lie next to each other: see [`tile`].
//!
//! | division | a task computes | for |
//! |---|---|---|
//! | [`Division::Rows`] | some rows of the block's result; what it needs of the first convolution beyond its rows, again | large pictures |
//! | [`Division::Channels`] | the first two for some channels; then, in a stage of its own, a part of the third | small ones |

mod plan;
mod run;
#[cfg(test)]
pub(crate) mod tests;
mod tile;

use super::channel::widest_panel;
use super::{Conv, ConvSpec};
use crate::error::KernelError;
use crate::isa::Isa;
use crate::packing::Packing;
use crate::simd::Entry;
use plan::{Band, Division, Panel};
use tile::{DepthwiseArgs, Finish};

use super::source::Source;

const NAME: &str = "conv/block";

/// Everything about a block except its numbers.
///
/// Of the layouts in between (`expand.output`, `depthwise.input` and `.output`, `project.input`) only
/// the extents count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockSpec {
    /// The first convolution: pointwise, or of few products; without groups. It reads its input in
    /// place, so that the halo has to hold the padding.
    pub expand: ConvSpec,
    /// The depthwise convolution: a square kernel of side 3 or 5, at most two columns apart.
    pub depthwise: ConvSpec,
    /// The pointwise convolution, with a residual if there is one.
    pub project: ConvSpec,
}

impl BlockSpec {
    /// Multiply-accumulates of one run, apart from those that are done again.
    pub fn macs(&self) -> u64 {
        self.expand.macs() + self.depthwise.macs() + self.project.macs()
    }

    /// Whether a block is likely to be faster than the three convolutions by themselves: where it is
    /// wider inside than outside, with vectors (see the crate's notes).
    pub fn is_worth(&self, isa: Isa) -> bool {
        let outside = self.expand.input.channels.max(self.project.output.channels);
        isa != Isa::Portable && self.expand.output.channels > outside
    }
}

/// The weights and biases of the three convolutions, in order, as for [`Conv::pack`].
#[derive(Clone, Copy, Debug)]
pub struct BlockNumbers<'a> {
    /// `[output channels][input channels / groups][rows][columns]` each.
    pub weights: [&'a [f32]; 3],
    /// One per output channel.
    pub bias: [Option<&'a [f32]>; 3],
}

/// What a run reads.
#[derive(Clone, Copy, Debug)]
pub struct BlockInputs<'a> {
    /// The input tensor, at least [`ConvBlock::input_len`] elements.
    pub input: &'a [f32],
    /// Weights and biases as packed by [`ConvBlock::pack`].
    pub packed: &'a [f32],
    /// The residual, if the spec has one.
    pub residual: Option<&'a [f32]>,
}

/// A prepared block.
pub struct ConvBlock {
    spec: BlockSpec,
    isa: Isa,
    source: Source,
    /// Offsets of the first convolution's products.
    offsets: Vec<isize>,
    /// What follows the first two convolutions.
    finish: [Finish; 2],
    depthwise_tile: Entry<DepthwiseArgs>,
    /// The channels between the convolutions.
    panels: Vec<Panel>,
    band: Band,
    division: Division,
    /// The last convolution, over pixels whose channels lie next to each other.
    project: Conv,
    packings: [Packing; 3],
}

impl ConvBlock {
    /// The spec this was prepared from.
    pub fn spec(&self) -> &BlockSpec {
        &self.spec
    }

    /// Elements that the input slice must have.
    pub fn input_len(&self) -> usize {
        self.source.len
    }

    /// The channels between the convolutions, in whole vectors.
    fn width(&self) -> usize {
        self.panels.iter().map(|panel| panel.vectors * self.isa.lanes()).sum()
    }

    /// Elements of an image between the depthwise and the last convolution.
    fn middle_len(&self) -> usize {
        let [height, width] = self.spec.depthwise.size;
        height * width * self.width()
    }

    /// Elements of workspace shared by all tasks of a run.
    pub fn workspace_len(&self) -> usize {
        match self.division {
            Division::Rows { .. } => 0,
            Division::Channels { .. } => self.spec.expand.input.images * self.middle_len(),
        }
    }

    /// Elements of scratch memory that each thread needs.
    pub fn scratch_len(&self) -> usize {
        match self.division {
            Division::Rows { .. } => {
                let pixels = self.band.out_rows * self.spec.depthwise.size[1];
                self.panels.len() * self.band.len()
                    + pixels * (self.width() + widest_panel(self.isa))
            }
            Division::Channels { .. } => self.band.len().max(self.project.scratch_len()),
        }
    }

    /// Number of tasks of each stage; all tasks of a stage must be done before the next stage.
    pub fn stages(&self) -> [usize; 3] {
        let images = self.spec.expand.input.images;
        match self.division {
            Division::Rows { bands } => [images * bands, 0, 0],
            Division::Channels { parts } => [images * parts, self.project.stages()[1], 0],
        }
    }

    /// Elements of the packed weights and biases.
    pub fn packed_len(&self) -> usize {
        self.sections()[6]
    }

    /// Where the weights and biases of each convolution begin, and their end.
    fn sections(&self) -> [usize; 7] {
        let lanes = self.isa.lanes();
        let mut starts = [0; 7];
        for (i, packing) in self.packings.iter().enumerate() {
            starts[2 * i + 1] = starts[2 * i] + packing.packed_len();
            let biases = match i {
                2 => self.spec.project.output.channels.next_multiple_of(lanes),
                _ => self.width(),
            };
            starts[2 * i + 2] = starts[2 * i + 1] + biases;
        }
        starts
    }

    /// A line that tells the orders of packed numbers apart: equal text, equal order.
    pub fn packing_name(&self) -> String {
        let [expand, depthwise, project] = &self.packings;
        format!("block of {expand}, {depthwise}, {project}")
    }

    /// Packs weights and biases.
    ///
    /// # Errors
    /// [`KernelError::Length`] if there are not exactly as many as the spec says.
    pub fn pack(&self, numbers: &BlockNumbers<'_>) -> Result<Vec<f32>, KernelError> {
        let starts = self.sections();
        let mut packed = vec![0.0; self.packed_len()];
        let specs = [&self.spec.expand, &self.spec.depthwise, &self.spec.project];
        for (i, (packing, spec)) in self.packings.iter().zip(specs).enumerate() {
            let weights = packing.pack(numbers.weights[i])?;
            packed[starts[2 * i]..starts[2 * i + 1]].copy_from_slice(&weights);
            if let Some(bias) = numbers.bias[i] {
                let (expected, found) = (spec.output.channels, bias.len());
                if expected != found {
                    let what = "the bias";
                    return Err(KernelError::Length { kernel: NAME, what, expected, found });
                }
                packed[starts[2 * i + 1]..][..found].copy_from_slice(bias);
            }
        }
        Ok(packed)
    }
}
