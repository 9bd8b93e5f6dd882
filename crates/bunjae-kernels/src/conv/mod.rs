//! Convolution: any kernel, stride, dilation, padding, groups and channel count.
//!
//! A [`Conv`] is prepared once from a [`ConvSpec`]: it chooses a form, computes tables of offsets
//! and divides the work into tasks. Running it needs the weights as packed by [`Conv::pack`].
//!
//! | form | vectors over | for |
//! |---|---|---|
//! | [`ConvForm::Pixel`] | neighbouring pixels | wide pictures, few or odd channel counts |
//! | [`ConvForm::Channel`] | output channels | small pictures, strides, many channels |
//! | [`ConvForm::Depthwise`] | neighbouring pixels | one input channel per group |
//!
//! Every output element is one chain of multiply-adds over the products in a fixed order, whatever
//! the tile or task that computes it, so results do not depend on the number of threads.

mod channel;
mod depthwise;
mod epilogue;
mod pixel;
mod source;

use std::ops::Range;

pub use epilogue::ResidualAt;

pub(crate) use channel::{ChannelArgs, K_BLOCK, MAX_PX, channel_tile, max_nv};

use crate::activation::Activation;
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::{Planar, TAIL};
use crate::simd::{Entry, MAX_LANES, entry};
use channel::{ChannelStoreArgs, channel_store};
use depthwise::{DepthwiseArgs, depthwise_rows};
use epilogue::Epilogue;
use pixel::{MAX_MR, MAX_TILE, PixelArgs, Sink, max_nr, max_pool_mr, pixel_tile, pool_tile};
use source::{CopyArgs, CopyPlane, Source};

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
    /// One plane at a time; needs as many groups as input channels.
    Depthwise,
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
    offsets: Vec<isize>,
    epilogue: Epilogue,
    /// `mask[p]` is all ones for positions inside a row of the output, zero in the gap.
    mask: Vec<f32>,
    zeros: Vec<f32>,
    plan: Plan,
}

enum Plan {
    Pixel(PixelPlan),
    Channel(ChannelPlan),
    Depthwise(DepthwisePlan),
}

/// Division of the pixel form.
struct PixelPlan {
    /// Output channels of one group as tiles: first channel and count.
    blocks: Vec<Range<usize>>,
    /// Whether pixels run over whole planes, gaps included, or row by row.
    flat: bool,
    bands: usize,
    chunks: usize,
}

/// Division of the channel form.
struct ChannelPlan {
    /// Output channels of one group as panels: first channel, existing and vectors.
    panels: Vec<(usize, usize, usize)>,
    pixel_offsets: Vec<isize>,
    bands: usize,
    store: Entry<ChannelStoreArgs>,
}

/// Division of the depthwise form: a task is some input planes with all their outputs.
struct DepthwisePlan {
    tasks: usize,
    flat: bool,
    /// For the kernels that have a body of their own.
    rows: Option<Entry<DepthwiseArgs>>,
}

/// Tasks are made no smaller than this many multiply-accumulates (a few microseconds).
const TASK_MACS: u64 = 1 << 18;

/// And no more numerous than this per kernel.
const MAX_TASKS: usize = 16;

impl Conv {
    /// Prepares a convolution for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts
    /// itself or the forced form cannot do it.
    pub fn new(spec: ConvSpec, isa: Isa) -> Result<Conv, KernelError> {
        isa.require()?;
        spec.check()?;
        let form = spec.form.unwrap_or_else(|| choose_form(&spec, isa));
        let wanted_row = match spec.tail {
            Tail::Store => spec.output.row_stride,
            Tail::MaxPool2 | Tail::GlobalAverage => 0,
        };
        let phases = match form {
            ConvForm::Pixel => true,
            ConvForm::Channel => false,
            // The bodies for blocks of rows take any input that needs no padding copy.
            ConvForm::Depthwise => {
                depthwise_rows(isa, spec.kernel, spec.stride).is_none() || spec.dilation != [1, 1]
            }
        };
        let source = Source::new(&spec, phases, wanted_row);
        let plan = match form {
            ConvForm::Depthwise => {
                require(NAME, spec.groups == spec.input.channels, || {
                    format!("{} groups of {} channels", spec.groups, spec.input.channels)
                })?;
                require(NAME, spec.tail == Tail::Store, || {
                    "the depthwise form only stores".to_owned()
                })?;
                Plan::Depthwise(DepthwisePlan::new(&spec, isa, &source))
            }
            ConvForm::Pixel => Plan::Pixel(PixelPlan::new(&spec, isa, &source)),
            ConvForm::Channel => {
                require(NAME, spec.tail != Tail::MaxPool2, || {
                    "the channel form does not pool".to_owned()
                })?;
                Plan::Channel(ChannelPlan::new(&spec, isa, &source))
            }
        };
        let residual = spec.residual.map(|(_, at)| at);
        let row = row_of(&spec, &source);
        let inside = f32::from_bits(u32::MAX);
        let mask = (0..row + MAX_TILE)
            .map(|p| if p % row < spec.size[1] { inside } else { 0.0 })
            .collect();
        Ok(Conv {
            copy_plane: entry::<CopyPlane, CopyArgs>(isa),
            offsets: source.offsets(spec.group_inputs()),
            epilogue: Epilogue::new(spec.activation.fused(), residual, isa),
            mask,
            zeros: vec![0.0; spec.output.channels],
            plan,
            source,
            spec,
            isa,
        })
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
            Plan::Depthwise(_) => ConvForm::Depthwise,
        }
    }

    /// Elements that the input slice must have.
    pub fn input_len(&self) -> usize {
        match &self.source.copy {
            None => self.source.len,
            Some(_) => self.spec.input.end(),
        }
    }

    /// Elements of workspace shared by all tasks of a run: the padded copy, if there is one.
    pub fn workspace_len(&self) -> usize {
        if self.copies_first() { self.source.len } else { 0 }
    }

    /// Whether stage 0 copies the input; the depthwise form copies plane by plane instead.
    fn copies_first(&self) -> bool {
        self.source.copy.is_some() && !matches!(self.plan, Plan::Depthwise(_))
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        match &self.plan {
            Plan::Pixel(_) => 0,
            Plan::Channel(plan) => {
                let rows = self.spec.size[0].div_ceil(plan.bands);
                rows * self.spec.size[1] * max_nv(self.isa) * self.isa.lanes()
            }
            Plan::Depthwise(_) => {
                self.source.copy.as_ref().map_or(0, |_| self.source.channel_stride + TAIL)
            }
        }
    }

    /// Number of tasks of each stage; all tasks of a stage must be done before the next stage.
    pub fn stages(&self) -> [usize; 2] {
        let copies = match &self.source.copy {
            Some(copy) if self.copies_first() => copy.planes().min(MAX_TASKS),
            _ => 0,
        };
        let outer = self.spec.input.images * self.spec.groups;
        let tasks = match &self.plan {
            Plan::Pixel(plan) => outer * plan.bands * plan.chunks,
            Plan::Channel(plan) => outer * plan.bands * plan.panels.len(),
            Plan::Depthwise(plan) => plan.tasks,
        };
        [copies, tasks]
    }

    /// Elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        let k = self.spec.k();
        match &self.plan {
            Plan::Pixel(_) | Plan::Depthwise(_) => self.spec.output.channels * k,
            Plan::Channel(plan) => {
                let vectors: usize = plan.panels.iter().map(|(_, _, nv)| nv).sum();
                self.spec.groups * vectors * self.isa.lanes() * k
            }
        }
    }

    /// Packs weights given as `[output channels][input channels / groups][rows][columns]`.
    ///
    /// # Errors
    /// [`KernelError::Length`] if there are not exactly as many as the spec says.
    pub fn pack(&self, weights: &[f32]) -> Result<Vec<f32>, KernelError> {
        let k = self.spec.k();
        let expected = self.spec.output.channels * k;
        if weights.len() != expected {
            let found = weights.len();
            return Err(KernelError::Length { kernel: NAME, what: "weights", expected, found });
        }
        let mut packed = Vec::with_capacity(self.packed_len());
        for group in weights.chunks_exact(self.spec.group_outputs() * k) {
            match &self.plan {
                Plan::Depthwise(_) => packed.extend(group),
                Plan::Pixel(plan) => {
                    for block in &plan.blocks {
                        for i in 0..k {
                            packed.extend(block.clone().map(|channel| group[channel * k + i]));
                        }
                    }
                }
                Plan::Channel(plan) => {
                    for &(first, count, vectors) in &plan.panels {
                        for i in 0..k {
                            packed.extend((first..first + count).map(|c| group[c * k + i]));
                            let padding = vectors * self.isa.lanes() - count;
                            packed.extend(std::iter::repeat_n(0.0, padding));
                        }
                    }
                }
            }
        }
        Ok(packed)
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
        require_len(NAME, "the output", self.spec.output.end(), output.len())?;
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
        match (&self.source.copy, stage) {
            (None, 0) => {}
            (Some(copy), 0) => {
                for task in tasks {
                    for plane in part(copy.planes(), stages[0], task) {
                        let out = workspace.ptr().wrapping_add(plane * copy.plane_len());
                        let args = copy.args(plane, inputs.input.as_ptr(), out);
                        // SAFETY: the slices are long enough (checked) and this task alone writes
                        // its planes (the caller's promise).
                        unsafe { (self.copy_plane)(&args) };
                    }
                }
            }
            _ => {
                let source = if self.copies_first() {
                    // SAFETY: stage 0 is complete; no task of this stage writes the workspace.
                    unsafe { workspace.as_slice() }
                } else {
                    inputs.input
                };
                let view = RunView { source, inputs, output };
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
                        Plan::Depthwise(plan) => unsafe {
                            self.depthwise_task(plan, task, &view, scratch);
                        },
                    }
                }
            }
        }
        Ok(())
    }

    /// Pointers to the parameters of output channel `channel` (over all groups) and to the
    /// residual and output at (image, channel, row 0).
    fn addresses(&self, view: &RunView<'_>, image: usize, channel: usize) -> Addresses {
        let at = |slice: Option<&[f32]>, index: usize| {
            slice.map_or(std::ptr::null(), |s| s.as_ptr().wrapping_add(index))
        };
        let residual = self.spec.residual.map(|(planar, _)| planar);
        Addresses {
            bias: view.inputs.bias.unwrap_or(&self.zeros).as_ptr().wrapping_add(channel),
            slopes: at(view.inputs.slopes, channel),
            residual: residual.map_or(std::ptr::null(), |planar| {
                at(view.inputs.residual, planar.index(image, channel, 0, 0))
            }),
            residual_channel: residual.map_or(0, |planar| planar.channel_stride),
            residual_row: residual.map_or(0, |planar| planar.row_stride),
            out: view.output.ptr().wrapping_add(self.spec.output.index(image, channel, 0, 0)),
        }
    }

    /// Input of a group as seen by output pixel (0, 0) and tap offset 0.
    fn input_pointer(&self, view: &RunView<'_>, image: usize, group: usize) -> *const f32 {
        let channel = group * self.spec.group_inputs();
        let index = self.source.first
            + image * self.source.image_stride
            + channel * self.source.channel_stride;
        view.source.as_ptr().wrapping_add(index)
    }

    /// # Safety
    /// Lengths are checked; no other thread runs this task.
    unsafe fn pixel_task(&self, plan: &PixelPlan, task: usize, view: &RunView<'_>) {
        let (outer, inner) = (task / (plan.bands * plan.chunks), task % (plan.bands * plan.chunks));
        let (image, group) = (outer / self.spec.groups, outer % self.spec.groups);
        let (chunk, band) = (inner / plan.bands, inner % plan.bands);
        let [oh, ow] = self.spec.size;
        let (k, lanes) = (self.spec.k(), self.isa.lanes());
        let outputs = self.spec.group_outputs();
        let input = self.input_pointer(view, image, group);
        let pool = self.spec.tail == Tail::MaxPool2;
        for block in &plan.blocks[part(plan.blocks.len(), plan.chunks, chunk)] {
            let mr = block.len();
            let to = self.addresses(view, image, group * outputs + block.start);
            let mut sums = [0.0f32; MAX_MR * MAX_LANES];
            let average = self.spec.tail == Tail::GlobalAverage;
            let mut args = PixelArgs {
                input,
                offsets: self.offsets.as_ptr(),
                k,
                weights: view.weights((group * outputs + block.start) * k),
                bias: to.bias,
                slopes: to.slopes,
                pixels: 0..0,
                out: if average { sums.as_mut_ptr() } else { to.out },
                out_channel: self.spec.output.channel_stride,
                residual: to.residual,
                residual_channel: to.residual_channel,
                mask: self.mask.as_ptr(),
                row: row_of(&self.spec, &self.source),
                sink: if average { Sink::Sum } else { Sink::Store },
                epilogue: self.epilogue,
                input_row: self.source.pixel_row,
            };
            let nr = max_nr(self.isa, mr);
            if pool {
                let tile = pool_tile(self.isa, mr);
                for y in part(oh / 2, plan.bands, band) {
                    args.input = input.wrapping_add(2 * y * self.source.pixel_row);
                    args.out = to.out.wrapping_add(y * self.spec.output.row_stride);
                    args.pixels = 0..ow / 2 * 2;
                    // SAFETY: rows 2y and 2y + 1 exist in the result, row y in the output.
                    unsafe { tile(&args) };
                }
            } else if plan.flat {
                let span = (oh - 1) * self.source.pixel_row + ow;
                let vectors = part(span.div_ceil(lanes), plan.bands, band);
                // SAFETY: the span lies within source, output and residual, which share the row
                // distance.
                unsafe { self.pixel_run(&mut args, mr, nr, vectors, span) };
            } else {
                for y in part(oh, plan.bands, band) {
                    args.input = input.wrapping_add(y * self.source.pixel_row);
                    if !average {
                        args.out = to.out.wrapping_add(y * self.spec.output.row_stride);
                    }
                    args.residual = to.residual.wrapping_add(y * to.residual_row);
                    // SAFETY: row y exists in source, output and residual.
                    unsafe { self.pixel_run(&mut args, mr, nr, 0..ow.div_ceil(lanes), ow) };
                }
            }
            if average {
                for (m, sums) in sums.chunks_exact(lanes).take(mr).enumerate() {
                    let mean = pairwise_sum(sums) / (oh * ow) as f32;
                    // SAFETY: the channel's single element, which this task alone writes.
                    unsafe { *to.out.add(m * self.spec.output.channel_stride) = mean };
                }
            }
        }
    }

    /// Covers `vectors` of a segment of `len` pixels with tiles of nearly equal size.
    ///
    /// # Safety
    /// `args` describe a segment of `len` pixels.
    unsafe fn pixel_run(
        &self,
        args: &mut PixelArgs,
        mr: usize,
        nr: usize,
        vectors: Range<usize>,
        len: usize,
    ) {
        let lanes = self.isa.lanes();
        let mut next = vectors.start;
        for (size, tiles) in even_tiles(vectors.len(), nr) {
            let end = next + size * tiles;
            args.pixels = next * lanes..(end * lanes).min(len);
            // SAFETY: passed on.
            unsafe { pixel_tile(self.isa, mr, size)(args) };
            next = end;
        }
    }

    /// # Safety
    /// Lengths are checked; no other thread runs this task.
    unsafe fn channel_task(
        &self,
        plan: &ChannelPlan,
        task: usize,
        view: &RunView<'_>,
        scratch: &mut [f32],
    ) {
        let per_group = plan.bands * plan.panels.len();
        let (outer, inner) = (task / per_group, task % per_group);
        let (image, group) = (outer / self.spec.groups, outer % self.spec.groups);
        let (panel, band) = (inner / plan.bands, inner % plan.bands);
        let (k, lanes) = (self.spec.k(), self.isa.lanes());
        let [oh, ow] = self.spec.size;
        let rows = part(oh, plan.bands, band);
        if rows.is_empty() {
            return;
        }
        let (first, channels, nv) = plan.panels[panel];
        let vectors_before: usize = plan.panels[..panel].iter().map(|(_, _, nv)| nv).sum();
        let vectors: usize = plan.panels.iter().map(|(_, _, nv)| nv).sum();
        let weights = (group * vectors + vectors_before) * lanes * k;
        let to = self.addresses(view, image, group * self.spec.group_outputs() + first);
        let pixels = rows.start * ow..rows.end * ow;
        for k0 in (0..k).step_by(K_BLOCK) {
            let mut next = pixels.start;
            for (px, tiles) in even_tiles(pixels.len(), MAX_PX) {
                let args = ChannelArgs {
                    input: self.input_pointer(view, image, group),
                    pixel_offsets: plan.pixel_offsets[next..].as_ptr(),
                    pixels: px * tiles,
                    offsets: self.offsets[k0..].as_ptr(),
                    k: K_BLOCK.min(k - k0),
                    weights: view.weights(weights + k0 * nv * lanes),
                    bias: to.bias,
                    channels,
                    first: k0 == 0,
                    acc: scratch[(next - pixels.start) * nv * lanes..].as_mut_ptr(),
                };
                // SAFETY: all offsets were checked with the source; scratch holds the band.
                unsafe { channel_tile(self.isa, px, nv)(&args) };
                next += px * tiles;
            }
        }
        let average = self.spec.tail == Tail::GlobalAverage;
        let mut sums = [0.0f32; 4 * MAX_LANES * MAX_LANES];
        let args = ChannelStoreArgs {
            acc: scratch.as_ptr(),
            panel: nv * lanes,
            channels,
            rows: rows.len(),
            width: ow,
            out: if average {
                sums.as_mut_ptr()
            } else {
                to.out.wrapping_add(rows.start * self.spec.output.row_stride)
            },
            out_channel: self.spec.output.channel_stride,
            out_row: self.spec.output.row_stride,
            residual: to.residual.wrapping_add(rows.start * to.residual_row),
            residual_channel: to.residual_channel,
            residual_row: to.residual_row,
            slopes: to.slopes,
            sink: if average { Sink::Sum } else { Sink::Store },
            epilogue: self.epilogue,
        };
        // SAFETY: the rows exist in output and residual; this task alone writes them.
        unsafe { (plan.store)(&args) };
        if average {
            for (c, sums) in sums.chunks_exact(lanes).take(channels).enumerate() {
                let mean = pairwise_sum(sums) / (oh * ow) as f32;
                // SAFETY: the channel's single element, which this task alone writes.
                unsafe { *to.out.add(c * self.spec.output.channel_stride) = mean };
            }
        }
    }
}

impl Conv {
    /// # Safety
    /// Lengths are checked; no other thread runs this task.
    unsafe fn depthwise_task(
        &self,
        plan: &DepthwisePlan,
        task: usize,
        view: &RunView<'_>,
        scratch: &mut [f32],
    ) {
        let [oh, ow] = self.spec.size;
        let channels = self.spec.input.channels;
        let multiplier = self.spec.group_outputs();
        let k = self.spec.k();
        for plane in part(self.spec.input.images * channels, plan.tasks, task) {
            let (image, channel) = (plane / channels, plane % channels);
            let input = match &self.source.copy {
                None => self.input_pointer(view, image, channel),
                Some(copy) => {
                    let args = copy.args(plane, view.source.as_ptr(), scratch.as_mut_ptr());
                    // SAFETY: scratch holds one channel's planes.
                    unsafe { (self.copy_plane)(&args) };
                    scratch.as_ptr()
                }
            };
            for o in channel * multiplier..(channel + 1) * multiplier {
                let to = self.addresses(view, image, o);
                if let Some(rows) = plan.rows {
                    let args = DepthwiseArgs {
                        input,
                        input_row: self.source.pixel_row / self.spec.stride[0],
                        weights: view.weights(o * k),
                        bias: view.inputs.bias.map_or(0.0, |bias| bias[o]),
                        slope: to.slopes,
                        rows: oh,
                        width: ow,
                        out: to.out,
                        out_row: self.spec.output.row_stride,
                        residual: to.residual,
                        residual_row: to.residual_row,
                        epilogue: self.epilogue,
                    };
                    // SAFETY: the plane lies within source, output and residual.
                    unsafe { rows(&args) };
                    continue;
                }
                let mut args = PixelArgs {
                    input,
                    offsets: self.offsets.as_ptr(),
                    k,
                    weights: view.weights(o * k),
                    bias: to.bias,
                    slopes: to.slopes,
                    pixels: 0..0,
                    out: to.out,
                    out_channel: 0,
                    residual: to.residual,
                    residual_channel: 0,
                    mask: self.mask.as_ptr(),
                    row: row_of(&self.spec, &self.source),
                    sink: Sink::Store,
                    epilogue: self.epilogue,
                    input_row: self.source.pixel_row,
                };
                let (segments, len) =
                    if plan.flat { (1, (oh - 1) * self.source.pixel_row + ow) } else { (oh, ow) };
                for y in 0..segments {
                    args.input = input.wrapping_add(y * self.source.pixel_row);
                    args.out = to.out.wrapping_add(y * self.spec.output.row_stride);
                    args.residual = to.residual.wrapping_add(y * to.residual_row);
                    let vectors = 0..len.div_ceil(self.isa.lanes());
                    // SAFETY: the segment lies within source, output and residual.
                    unsafe { self.pixel_run(&mut args, 1, max_nr(self.isa, 1), vectors, len) };
                }
            }
        }
    }
}

/// The slices of one run, with the source resolved.
struct RunView<'a> {
    source: &'a [f32],
    inputs: &'a ConvInputs<'a>,
    output: Output<'a>,
}

impl RunView<'_> {
    fn weights(&self, index: usize) -> *const f32 {
        self.inputs.weights.as_ptr().wrapping_add(index)
    }
}

struct Addresses {
    bias: *const f32,
    slopes: *const f32,
    residual: *const f32,
    residual_channel: usize,
    residual_row: usize,
    out: *mut f32,
}

/// Row distance of pixel positions: the source's when it is read as whole planes.
fn row_of(spec: &ConvSpec, source: &Source) -> usize {
    source.pixel_row.max(spec.size[1])
}

/// Divides `count` vectors (or pixels) into tiles of at most `max`, all nearly the same size:
/// `(size, tiles)`, the larger ones first.
pub(crate) fn even_tiles(count: usize, max: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = count.div_ceil(max).max(1);
    let (size, larger) = (count / tiles, count % tiles);
    [(size + 1, larger), (size, tiles - larger)]
        .into_iter()
        .filter(|(size, tiles)| *size > 0 && *tiles > 0)
}

/// Sum in a fixed pairwise order.
fn pairwise_sum(values: &[f32]) -> f32 {
    match values {
        [] => 0.0,
        [x] => *x,
        _ => {
            let (a, b) = values.split_at(values.len() / 2);
            pairwise_sum(a) + pairwise_sum(b)
        }
    }
}

/// Relative time of one product in a tile that streams `streamed` broadcasts and holds `held`
/// vectors: multiply-adds, or loads if there are more of those.
fn tile_cost(held: usize, streamed: usize) -> f64 {
    let fma = (held * streamed) as f64;
    let loads = 1.5 * held as f64 + 0.6 * streamed as f64;
    fma.max(loads) + 1.5
}

/// Relative time of the pixel form with tiles of at most `cap` channels over `segments` of
/// `vectors`.
fn pixel_cost(isa: Isa, channels: usize, cap: usize, vectors: usize, segments: usize) -> f64 {
    let blocks = channels.div_ceil(cap);
    let per_block = |mr: usize| -> f64 {
        even_tiles(vectors, max_nr(isa, mr)).map(|(nr, n)| n as f64 * tile_cost(nr, mr)).sum()
    };
    (0..blocks).map(|b| per_block(part(channels, blocks, b).len())).sum::<f64>() * segments as f64
}

/// Vectors per segment and number of segments of the pixel form.
fn pixel_segments(spec: &ConvSpec, isa: Isa, pixel_row: usize, flat: bool) -> (usize, usize) {
    let [oh, ow] = spec.size;
    if flat {
        (((oh - 1) * pixel_row + ow).div_ceil(isa.lanes()), 1)
    } else {
        (ow.div_ceil(isa.lanes()), oh)
    }
}

fn runs_flat(spec: &ConvSpec, pixel_row: usize) -> bool {
    let residual_matches = spec.residual.is_none_or(|(r, _)| r.row_stride == pixel_row);
    match spec.tail {
        Tail::Store => spec.output.row_stride == pixel_row && residual_matches,
        Tail::GlobalAverage => residual_matches,
        Tail::MaxPool2 => false,
    }
}

fn best_cap(spec: &ConvSpec, isa: Isa, vectors: usize, segments: usize) -> (usize, f64) {
    let channels = spec.group_outputs();
    (1..=MAX_MR.min(channels))
        .filter(|cap| max_nr(isa, *cap) > 0)
        .map(|cap| (cap, pixel_cost(isa, channels, cap, vectors, segments)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((1, f64::INFINITY))
}

/// Chooses by counting the vector operations of both forms.
fn choose_form(spec: &ConvSpec, isa: Isa) -> ConvForm {
    if spec.groups == spec.input.channels && spec.groups > 1 && spec.tail == Tail::Store {
        return ConvForm::Depthwise;
    }
    if spec.tail == Tail::MaxPool2 {
        return ConvForm::Pixel;
    }
    let source = Source::new(spec, true, spec.output.row_stride);
    let flat = runs_flat(spec, source.pixel_row);
    let (vectors, segments) = pixel_segments(spec, isa, source.pixel_row, flat);
    let products = spec.k() as f64;
    let (_, pixel) = best_cap(spec, isa, vectors, segments);
    let pixels = spec.size[0] * spec.size[1];
    let channel: f64 = even_tiles(spec.group_outputs().div_ceil(isa.lanes()), max_nv(isa))
        .map(|(nv, panels)| {
            let pixels: f64 = even_tiles(pixels, MAX_PX)
                .map(|(px, tiles)| tiles as f64 * tile_cost(nv, px))
                .sum();
            panels as f64 * pixels
        })
        .sum();
    // The transposition: about two operations per vector and round.
    let vectors = pixels * spec.group_outputs().div_ceil(isa.lanes());
    let transpose = 2.0 * vectors as f64 * f64::from(isa.lanes().trailing_zeros() + 2);
    if channel * products + transpose < pixel * products {
        ConvForm::Channel
    } else {
        ConvForm::Pixel
    }
}

/// How many tasks the work of one image and group is worth.
fn task_target(spec: &ConvSpec) -> usize {
    let outer = (spec.input.images * spec.groups) as u64;
    let tasks = (spec.macs() / outer / TASK_MACS).clamp(1, MAX_TASKS as u64) as usize;
    tasks.min(MAX_TASKS.div_ceil(outer as usize).max(1))
}

impl PixelPlan {
    fn new(spec: &ConvSpec, isa: Isa, source: &Source) -> PixelPlan {
        let flat = runs_flat(spec, source.pixel_row);
        let (vectors, segments) = pixel_segments(spec, isa, source.pixel_row, flat);
        let channels = spec.group_outputs();
        let cap = match spec.tail {
            Tail::MaxPool2 => max_pool_mr(isa),
            _ => best_cap(spec, isa, vectors, segments).0,
        };
        let count = channels.div_ceil(cap);
        let blocks: Vec<_> = (0..count).map(|b| part(channels, count, b)).collect();
        let target = task_target(spec);
        // A band holds at least a few tiles, so that the weights of a block, which are read again
        // for each band, are used often enough.
        let most = match spec.tail {
            Tail::GlobalAverage => 1,
            Tail::MaxPool2 => (spec.size[0] / 4).max(1),
            Tail::Store if flat => (vectors / 12).max(1),
            Tail::Store => (segments * vectors / 12).clamp(1, segments),
        };
        let bands = target.min(most);
        let chunks = target.div_ceil(bands).min(blocks.len());
        PixelPlan { blocks, flat, bands, chunks }
    }
}

impl DepthwisePlan {
    fn new(spec: &ConvSpec, isa: Isa, source: &Source) -> DepthwisePlan {
        let [oh, ow] = spec.size;
        let flat = runs_flat(spec, source.pixel_row);
        // Blocks of rows load half as much but waste what a row lacks to a whole vector.
        let row_cost = oh * ow.div_ceil(isa.lanes());
        let (vectors, segments) = pixel_segments(spec, isa, source.pixel_row, flat);
        // A strided input that would have to be copied and split is always worse.
        let strided = spec.stride != [1, 1];
        let rows = depthwise_rows(isa, spec.kernel, spec.stride)
            .filter(|_| spec.dilation == [1, 1])
            .filter(|_| strided || 2 * row_cost <= 3 * vectors * segments);
        // A plane is moved through memory for few operations: tasks by bytes rather than by
        // products, 8 Ki pixels or more each.
        let planes = spec.input.images * spec.input.channels;
        let pixels = planes * spec.group_outputs() * oh * ow;
        let tasks = (pixels >> 13).clamp(1, MAX_TASKS).min(planes);
        DepthwisePlan { tasks, flat, rows }
    }
}

impl ChannelPlan {
    fn new(spec: &ConvSpec, isa: Isa, source: &Source) -> ChannelPlan {
        let [oh, ow] = spec.size;
        let lanes = isa.lanes();
        let channels = spec.group_outputs();
        let mut panels = Vec::new();
        let mut first = 0;
        for (nv, count) in even_tiles(channels.div_ceil(lanes), max_nv(isa)) {
            for _ in 0..count {
                let existing = (channels - first).min(nv * lanes);
                panels.push((first, existing, nv));
                first += existing;
            }
        }
        let pixel_offsets = (0..oh * ow)
            .map(|p| (p / ow * source.pixel_row + p % ow * source.pixel_column) as isize)
            .collect();
        // A band's accumulators should stay in the second-level cache: at most about 256 pixels.
        let bands = match spec.tail {
            Tail::GlobalAverage => 1,
            _ => (oh * ow).div_ceil(256).max(task_target(spec).div_ceil(panels.len())).min(oh),
        };
        ChannelPlan { panels, pixel_offsets, bands, store: channel_store(isa) }
    }
}

#[cfg(test)]
mod tests;
