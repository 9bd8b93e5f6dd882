//! Convolution: any kernel, stride, dilation, padding, groups and channel count.
//!
//! A [`Conv`] is prepared once from a [`ConvSpec`]: it chooses a form, computes tables of offsets
//! and divides the work into tasks. Running it needs the weights as packed by [`Conv::pack`].
//!
//! | form | vectors over | for |
//! |---|---|---|
//! | [`ConvForm::Pixel`] | neighbouring pixels | wide pictures, few or odd channel counts |
//! | [`ConvForm::Channel`] | output channels | small pictures, strides, many channels |
//! | [`ConvForm::Gemm`] | neighbouring pixels, packed | pointwise, many channels |
//! | [`ConvForm::Winograd`] | tiles of 4 x 4 pixels | 3 x 3 at stride 1, a quarter of the products |
//! | [`ConvForm::Depthwise`] | neighbouring pixels | one input channel per group |
//!
//! Every output element is one chain of multiply-adds over the products in a fixed order, whatever
//! the tile or task that computes it, so results do not depend on the number of threads.

pub(crate) mod block;
mod channel;
mod depthwise;
mod epilogue;
mod gemm;
mod input_grad;
mod pixel;
mod plan;
mod run;
mod source;
mod weight_grad;
mod winograd;

use std::ops::Range;

pub use block::{BlockInputs, BlockNumbers, BlockSpec, ConvBlock};
pub use epilogue::ResidualAt;
pub use input_grad::{ConvInputGrad, InputGradInputs};
pub use weight_grad::{ConvWeightGrad, WeightGradInputs};

pub(crate) use channel::{ChannelArgs, K_BLOCK, PanelWeights, channel_tile, max_nv, max_px};
pub(crate) use pixel::pooled;
pub(crate) use plan::even_tiles;
pub(crate) use winograd::{POSITIONS, transform_kernel};

use crate::activation::Activation;
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::Output;
use crate::packing::Packing;
use crate::planar::{Halo, Planar, TAIL};
use crate::simd::{Entry, entry};
use epilogue::Epilogue;
use gemm::{GemmPlan, gemm_row};
use pixel::MAX_TILE;
use plan::{
    ChannelPlan, DepthwisePlan, MAX_TASKS, PixelPlan, Plan, WinogradPlan, estimates, row_of,
    wants_phases,
};
use run::RunView;
use source::{ClearArgs, ClearGaps, CopyArgs, CopyPlane, Source};

const NAME: &str = "conv";

/// What becomes of the convolution's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tail {
    /// It is stored.
    #[default]
    Store,
    /// Its maximum over 2 x 2 pixels, stride 2, is stored; an odd last row or column is dropped.
    MaxPool2,
    /// Its mean over all pixels is stored.
    GlobalAverage,
}

/// The algorithm of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvForm {
    /// Direct, vectors over pixels.
    Pixel,
    /// Direct, vectors over output channels.
    Channel,
    /// A product of matrices, vectors over pixels that are packed first; pointwise only.
    Gemm,
    /// Winograd's F(4 x 4, 3 x 3), for 3 x 3 kernels with neither stride, dilation nor groups.
    /// Rounding errors are larger than those of the direct forms (see the crate's notes), and a
    /// NaN or infinity spreads over its tile.
    Winograd,
    /// One plane at a time; needs as many groups as input channels.
    Depthwise,
}

impl ConvForm {
    /// Every form there is.
    pub const ALL: [ConvForm; 5] = [
        ConvForm::Pixel,
        ConvForm::Channel,
        ConvForm::Gemm,
        ConvForm::Winograd,
        ConvForm::Depthwise,
    ];

    /// The name used in reports and files.
    pub fn name(self) -> &'static str {
        match self {
            ConvForm::Pixel => "pixel",
            ConvForm::Channel => "channel",
            ConvForm::Gemm => "gemm",
            ConvForm::Winograd => "winograd",
            ConvForm::Depthwise => "depthwise",
        }
    }

    /// The form with this name.
    pub fn from_name(name: &str) -> Option<ConvForm> {
        ConvForm::ALL.into_iter().find(|form| form.name() == name)
    }
}

/// Everything about a convolution except its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvSpec {
    /// Layout of the input. If its halo holds the padding and the stride is 1 it is read in place,
    /// otherwise through a padded copy in the workspace.
    pub input: Planar,
    /// Layout of what is stored.
    pub output: Planar,
    /// Rows and columns of the convolution's result, before the tail.
    pub size: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Zeros above and left of the input; those below and right follow from `size`.
    pub padding: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Applied after the bias.
    pub activation: Activation,
    /// A tensor of the result's shape to be added, and where.
    pub residual: Option<(Planar, ResidualAt)>,
    /// What is done with the result.
    pub tail: Tail,
    /// The form to use; `None` lets the cost model choose.
    pub form: Option<ConvForm>,
}

impl ConvSpec {
    /// A convolution without padding, stride, dilation, groups or epilogue, to be adjusted with
    /// struct update syntax.
    pub fn new(input: Planar, output: Planar, kernel: [usize; 2]) -> ConvSpec {
        ConvSpec {
            input,
            output,
            size: [output.height, output.width],
            kernel,
            stride: [1, 1],
            dilation: [1, 1],
            padding: [0, 0],
            groups: 1,
            activation: Activation::Identity,
            residual: None,
            tail: Tail::Store,
            form: None,
        }
    }

    /// Multiply-accumulates of one run.
    pub fn macs(&self) -> u64 {
        let pixels = self.input.images * self.size[0] * self.size[1];
        let products = self.input.channels / self.groups * self.kernel[0] * self.kernel[1];
        (pixels * self.output.channels) as u64 * products as u64
    }

    /// Whether each input channel is a group of its own.
    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input.channels
    }

    /// Whether the Winograd form can compute this.
    fn suits_winograd(&self) -> bool {
        self.kernel == [3, 3]
            && self.stride == [1, 1]
            && self.dilation == [1, 1]
            && self.groups == 1
    }

    fn group_inputs(&self) -> usize {
        self.input.channels / self.groups
    }

    fn group_outputs(&self) -> usize {
        self.output.channels / self.groups
    }

    /// Products per output element.
    fn k(&self) -> usize {
        self.group_inputs() * self.kernel[0] * self.kernel[1]
    }
}

/// The numbers of one run.
#[derive(Clone, Copy, Debug)]
pub struct ConvInputs<'a> {
    /// The input tensor, at least [`Conv::input_len`] elements.
    pub input: &'a [f32],
    /// Weights as packed by [`Conv::pack`].
    pub weights: &'a [f32],
    /// One bias per output channel.
    pub bias: Option<&'a [f32]>,
    /// One slope per output channel, for [`Activation::Prelu`].
    pub slopes: Option<&'a [f32]>,
    /// The residual, if the spec has one.
    pub residual: Option<&'a [f32]>,
}

/// A prepared convolution.
pub struct Conv {
    spec: ConvSpec,
    isa: Isa,
    source: Source,
    copy_plane: Entry<CopyArgs>,
    clear_gaps: Entry<ClearArgs>,
    offsets: Vec<isize>,
    epilogue: Epilogue,
    /// `mask[p]` is all ones for positions inside a row of the output, zero in the gap.
    mask: Vec<f32>,
    /// Positions of a row, gap included, where the form counts pixels through.
    row: usize,
    zeros: Vec<f32>,
    plan: Plan,
    packing: Packing,
    /// The output with the zeros that the tasks also write, if they do.
    cleared: Option<Planar>,
}

impl Conv {
    /// Prepares a convolution for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts
    /// itself or the forced form cannot do it.
    pub fn new(spec: ConvSpec, isa: Isa) -> Result<Conv, KernelError> {
        isa.require()?;
        spec.check()?;
        let form = match spec.form {
            Some(form) => {
                let able = estimates(&spec, isa).iter().any(|(able, _)| *able == form);
                require(NAME, able, || format!("the form {form:?} cannot do {spec:?}"))?;
                form
            }
            None => Conv::forms(&spec, isa)?[0],
        };
        let wanted_row = match spec.tail {
            Tail::Store => spec.output.row_stride,
            Tail::MaxPool2 | Tail::GlobalAverage => 0,
        };
        let source = Source::new(&spec, wants_phases(&spec, isa, form), wanted_row);
        let plan = match form {
            ConvForm::Pixel => Plan::Pixel(PixelPlan::new(&spec, isa, &source)),
            ConvForm::Channel => Plan::Channel(ChannelPlan::new(&spec, isa, &source)),
            ConvForm::Gemm => Plan::Gemm(GemmPlan::new(&spec, isa)),
            ConvForm::Depthwise => Plan::Depthwise(DepthwisePlan::new(&spec, isa, &source)),
            ConvForm::Winograd => Plan::Winograd(WinogradPlan::new(&spec, isa)),
        };
        let residual = spec.residual.map(|(_, at)| at);
        let row = match &plan {
            Plan::Gemm(_) => gemm_row(&spec),
            _ => row_of(&spec, &source),
        };
        let inside = f32::from_bits(u32::MAX);
        let mask = (0..row + MAX_TILE)
            .map(|p| if p % row < spec.size[1] { inside } else { 0.0 })
            .collect();
        Ok(Conv {
            copy_plane: entry::<CopyPlane, CopyArgs>(isa),
            clear_gaps: entry::<ClearGaps, ClearArgs>(isa),
            offsets: source.offsets(spec.group_inputs()),
            epilogue: Epilogue::new(spec.activation.fused(), residual, isa),
            mask,
            row,
            zeros: vec![0.0; spec.output.channels],
            packing: plan.packing(&spec, isa),
            cleared: None,
            plan,
            source,
            spec,
            isa,
        })
    }

    /// Lets the tasks write the zeros of this halo around the output's planes as well, where the form
    /// runs over whole planes and so has their memory at hand; otherwise a run leaves what is around
    /// them as it is. Returns whether it does. Nobody else may use that memory during a run then, and
    /// the output slice has to hold it.
    pub fn clear_halo(&mut self, halo: Halo) -> bool {
        let able = self.spec.tail == Tail::Store
            && match &self.plan {
                Plan::Gemm(_) => true,
                Plan::Pixel(plan) => plan.flat,
                _ => false,
            };
        self.cleared = able.then_some(Planar { halo, ..self.spec.output });
        able
    }

    /// The forms that can compute `spec`, the one estimated fastest first.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if the spec contradicts itself.
    pub fn forms(spec: &ConvSpec, isa: Isa) -> Result<Vec<ConvForm>, KernelError> {
        spec.check()?;
        Ok(estimates(spec, isa).into_iter().map(|(form, _)| form).collect())
    }

    /// The spec this was prepared from.
    pub fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// The form in use.
    pub fn form(&self) -> ConvForm {
        match self.plan {
            Plan::Pixel(_) => ConvForm::Pixel,
            Plan::Channel(_) => ConvForm::Channel,
            Plan::Gemm(_) => ConvForm::Gemm,
            Plan::Depthwise(_) => ConvForm::Depthwise,
            Plan::Winograd(_) => ConvForm::Winograd,
        }
    }

    /// Elements that the input slice must have.
    pub fn input_len(&self) -> usize {
        match &self.source.copy {
            None => self.source.len,
            Some(_) => self.spec.input.end(),
        }
    }

    /// Elements of workspace shared by all tasks of a run: the padded copy, if there is one, and
    /// sums that span tasks.
    pub fn workspace_len(&self) -> usize {
        self.copy_len() + if self.sums_bands() { self.stages()[1] * self.zeros.len() } else { 0 }
    }

    fn copy_len(&self) -> usize {
        match &self.plan {
            Plan::Gemm(plan) if plan.packs_first() => {
                self.spec.input.images * self.spec.groups * self.packed_input_len(plan)
            }
            _ if self.copies_first() => self.source.len,
            _ => 0,
        }
    }

    /// Elements of the strips of one image and group.
    fn packed_input_len(&self, plan: &GemmPlan) -> usize {
        plan.vectors() * self.isa.lanes() * self.spec.k()
    }

    /// Whether stage 2 adds up what the tasks of stage 1 have averaged in parts.
    fn sums_bands(&self) -> bool {
        matches!(self.plan, Plan::Winograd(_)) && self.spec.tail == Tail::GlobalAverage
    }

    /// Whether stage 0 copies the input; the depthwise form copies plane by plane instead.
    fn copies_first(&self) -> bool {
        self.source.copy.is_some() && !matches!(self.plan, Plan::Depthwise(_))
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        match &self.plan {
            Plan::Pixel(_) => 0,
            Plan::Gemm(plan) if plan.packs_first() => 0,
            Plan::Gemm(plan) => {
                let vectors = plan.groups.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
                vectors * self.isa.lanes() * self.spec.k()
            }
            Plan::Channel(plan) => {
                let rows = self.spec.size[0].div_ceil(plan.bands);
                let widest = plan.panels.iter().map(|(_, _, nv)| *nv).max().unwrap_or(0);
                rows * self.spec.size[1] * widest * self.isa.lanes()
            }
            Plan::Depthwise(_) => {
                self.source.copy.as_ref().map_or(0, |_| self.source.channel_stride + TAIL)
            }
            Plan::Winograd(plan) => plan.scratch_len(self.spec.input.channels),
        }
    }

    /// Number of tasks of each stage; all tasks of a stage must be done before the next stage.
    pub fn stages(&self) -> [usize; 3] {
        let outer = self.spec.input.images * self.spec.groups;
        let copies = match (&self.source.copy, &self.plan) {
            (_, Plan::Gemm(plan)) if plan.packs_first() => outer * self.pack_parts(),
            (Some(copy), _) if self.copies_first() => copy.tasks(),
            _ => 0,
        };
        let tasks = match &self.plan {
            Plan::Pixel(plan) => outer * plan.bands * plan.chunks,
            Plan::Channel(plan) => outer * plan.bands * plan.panels.len(),
            Plan::Gemm(plan) => outer * plan.bands * plan.chunks,
            Plan::Depthwise(plan) => plan.bands * plan.chunks,
            Plan::Winograd(plan) => outer * plan.tasks(),
        };
        [copies, tasks, usize::from(self.sums_bands())]
    }

    /// The order of the packed weights.
    pub fn packing(&self) -> &Packing {
        &self.packing
    }

    /// Elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.packing.packed_len()
    }

    /// Packs weights given as `[output channels][input channels / groups][rows][columns]`.
    ///
    /// # Errors
    /// [`KernelError::Length`] if there are not exactly as many as the spec says.
    pub fn pack(&self, weights: &[f32]) -> Result<Vec<f32>, KernelError> {
        self.packing.pack(weights)
    }

    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(
        &self,
        inputs: &ConvInputs<'_>,
        output: &mut [f32],
        workspace: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let (output, workspace) = (Output::new(output), Output::new(workspace));
        for (stage, tasks) in self.stages().into_iter().enumerate() {
            // SAFETY: one task at a time, stages in order.
            unsafe { self.run_tasks(stage, 0..tasks, inputs, output, workspace, scratch)? };
        }
        Ok(())
    }

    fn check_run(
        &self,
        inputs: &ConvInputs<'_>,
        output: Output<'_>,
        workspace: Output<'_>,
        scratch: &[f32],
    ) -> Result<(), KernelError> {
        let channels = self.spec.output.channels;
        require_len(NAME, "the input", self.input_len(), inputs.input.len())?;
        require_len(NAME, "the packed weights", self.packed_len(), inputs.weights.len())?;
        if let Some(bias) = inputs.bias {
            require_len(NAME, "the bias", channels, bias.len())?;
        }
        if self.spec.activation == Activation::Prelu {
            require_len(NAME, "slopes", channels, inputs.slopes.map_or(0, <[f32]>::len))?;
        }
        if let Some((residual, _)) = &self.spec.residual {
            let found = inputs.residual.map_or(0, <[f32]>::len);
            require_len(NAME, "the residual", residual.end(), found)?;
        }
        let written = self.cleared.map_or(self.spec.output.end(), |planar| planar.end_with_halo());
        require_len(NAME, "the output", written, output.len())?;
        require_len(NAME, "the workspace", self.workspace_len(), workspace.len())?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())
    }

    /// Runs some tasks of a stage (see [`Conv::stages`]).
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same `output` or `workspace` name the same stage,
    /// disjoint tasks and different `scratch`; the tasks of stage 0 are complete before those of
    /// stage 1 start; `output` and `workspace` overlap no other argument.
    pub unsafe fn run_tasks(
        &self,
        stage: usize,
        tasks: Range<usize>,
        inputs: &ConvInputs<'_>,
        output: Output<'_>,
        workspace: Output<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        self.check_run(inputs, output, workspace, scratch)?;
        let stages = self.stages();
        let count = stages.get(stage).copied().unwrap_or(0);
        require(NAME, tasks.end <= count, || {
            format!("tasks {tasks:?} of stage {stage}, which has {count}")
        })?;
        match (stage, &self.source.copy, &self.plan) {
            (0, _, Plan::Gemm(plan)) => {
                for task in tasks {
                    // SAFETY: the slices are long enough (checked) and this task alone packs its
                    // channels (the caller's promise).
                    unsafe { self.pack_task(plan, task, inputs, workspace.ptr()) };
                }
            }
            (0, None, _) => {}
            (0, Some(copy), _) => {
                for task in tasks {
                    let (from, to) = (inputs.input.as_ptr(), workspace.ptr());
                    // SAFETY: the slices are long enough (checked) and this task alone writes its
                    // planes (the caller's promise).
                    unsafe { copy.run_task(self.copy_plane, task, from, to) };
                }
            }
            _ => {
                let source = if self.copies_first() {
                    // SAFETY: stage 0 is complete, and tasks of this stage write only the sums, which
                    // lie behind the copy.
                    unsafe { workspace.range(0, self.copy_len()).as_slice() }
                } else {
                    inputs.input
                };
                let sums = workspace.ptr().wrapping_add(self.copy_len());
                let packed = workspace.ptr().cast_const();
                let alone = tasks.len() == count;
                let view = RunView { source, packed, inputs, output, alone, sums };
                for task in tasks {
                    match &self.plan {
                        // SAFETY: lengths are checked; the tasks of a stage write different
                        // elements.
                        Plan::Pixel(plan) => unsafe { self.pixel_task(plan, task, &view) },
                        // SAFETY: as above.
                        Plan::Channel(plan) => unsafe {
                            self.channel_task(plan, task, &view, scratch);
                        },
                        // SAFETY: as above.
                        Plan::Gemm(plan) => unsafe {
                            self.gemm_task(plan, task, &view, scratch);
                        },
                        // SAFETY: as above; stage 2 runs after stage 1.
                        Plan::Winograd(plan) if stage == 2 => unsafe {
                            self.average_bands(plan, &view);
                        },
                        // SAFETY: as above.
                        Plan::Winograd(plan) => unsafe {
                            self.winograd_task(plan, task, &view, scratch);
                        },
                        // SAFETY: as above.
                        Plan::Depthwise(plan) => unsafe {
                            self.depthwise_task(plan, task, &view, scratch);
                        },
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod grad_tests;
#[cfg(test)]
pub(crate) mod tests;
