//! The gradient of a convolution's input, which is the transposed convolution.
//!
//! At stride 1 it is the convolution of the gradient with the weights turned round: inputs and
//! outputs exchanged, taps backwards. At stride `s`, the pixels of the result whose position is `r`
//! modulo `s` see only every `s`-th tap, so each of the `s x s` phases is a convolution of stride 1
//! with some of the taps. The phases are computed one by one into planes of their own, which are
//! then interleaved. Depthwise convolutions of the common kind have a body that does both at once.

use std::ops::Range;

use super::{Conv, ConvInputs, ConvSpec, MAX_TASKS, ResidualAt};
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::packing::{Axis, WeightLayout};
use crate::planar::{Halo, Planar};
use crate::simd::{Body, Entry, Simd, entry};

const NAME: &str = "conv input gradient";

/// A prepared input gradient.
pub struct ConvInputGrad {
    spec: ConvSpec,
    added: Option<Planar>,
    kind: Kind,
}

enum Kind {
    Direct(Box<Conv>),
    Depthwise(Depthwise),
    Phases(Phases),
}

/// The numbers of one run.
#[derive(Clone, Copy, Debug)]
pub struct InputGradInputs<'a> {
    /// The gradient of the convolution's result.
    pub gradient: &'a [f32],
    /// Weights as packed by [`ConvInputGrad::pack_into`].
    pub weights: &'a [f32],
    /// One number per channel of the convolution's input, added to the result. A transposed
    /// convolution has it; a gradient does not.
    pub bias: Option<&'a [f32]>,
    /// A tensor of the result's shape to be added, if it was prepared for one.
    pub added: Option<&'a [f32]>,
}

/// Depthwise convolution of a square kernel at stride 2.
struct Depthwise {
    tasks: usize,
    entry: Entry<DepthwiseArgs>,
}

/// All phases of a strided convolution.
struct Phases {
    /// By row and column of the phase; `None` where it sees no tap.
    phases: Vec<Option<Phase>>,
    /// The planes of each phase in the workspace, from [`Phase::planes`] on.
    layout: Planar,
    workspace: usize,
    packed: usize,
    scratch: usize,
    tasks: usize,
    entry: Entry<InterleaveArgs>,
}

struct Phase {
    conv: Conv,
    layout: WeightLayout,
    /// Where its packed weights, its copies and its result start.
    packed: usize,
    copies: usize,
    planes: usize,
}

/// The taps of one axis that a phase sees.
struct Taps {
    count: usize,
    /// The tap with the smallest shift, and the distance to the next.
    last: usize,
    step: usize,
    /// The smallest shift, and the distance to the next.
    shift: isize,
    dilation: usize,
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Taps {
    /// Position `i` of the input is reached from position `(i + padding - tap * dilation) / stride`
    /// of the result through the taps for which that is whole. For `i = stride * y + phase` that is
    /// `y` plus a shift.
    fn new(kernel: usize, stride: usize, dilation: usize, padding: usize, phase: usize) -> Taps {
        let shift = |tap: usize| (phase + padding) as isize - (tap * dilation) as isize;
        let whole = |tap: &usize| shift(*tap) % stride as isize == 0;
        let divisor = gcd(stride, dilation);
        let last = (0..kernel).rev().find(whole);
        Taps {
            count: (0..kernel).filter(whole).count(),
            last: last.unwrap_or(0),
            step: stride / divisor,
            shift: last.map_or(0, |tap| shift(tap) / stride as isize),
            dilation: dilation / divisor,
        }
    }
}

impl Taps {
    /// The taps that the phase sees, from the last of them on, of an axis of weights.
    fn backwards(&self, axis: Axis) -> Axis {
        Axis { count: self.count, stride: -axis.stride * self.step as isize }
    }
}

impl ConvInputGrad {
    /// Prepares the input gradient of the convolution `spec`, in which `input` is the layout of the
    /// gradient to be computed and `output` that of the gradient of the convolution's result.
    /// Activation, residual and tail must be the plain ones of [`ConvSpec::new`]; a form is asked of
    /// the convolution that computes a gradient of stride 1. A tensor of layout `added` is added to
    /// the result.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts
    /// itself.
    pub fn new(
        spec: ConvSpec,
        added: Option<Planar>,
        isa: Isa,
    ) -> Result<ConvInputGrad, KernelError> {
        isa.require()?;
        spec.check()?;
        spec.require_plain(NAME)?;
        if let Some(added) = &added {
            added.check(NAME, "the added tensor")?;
            let shape = |p: &Planar| [p.images, p.channels, p.height, p.width];
            require(NAME, shape(added) == shape(&spec.input), || {
                format!("{:?} added to {:?}", shape(added), shape(&spec.input))
            })?;
        }
        let kind = match ConvInputGrad::direct(&spec, added) {
            Some(direct) => Kind::Direct(Box::new(Conv::new(direct, isa)?)),
            None => match Depthwise::new(&spec, isa) {
                Some(depthwise) => Kind::Depthwise(depthwise),
                None => Kind::Phases(Phases::new(&spec, isa)?),
            },
        };
        Ok(ConvInputGrad { spec, added, kind })
    }

    /// The convolution that computes the gradient by itself, for those at stride 1.
    pub fn direct(spec: &ConvSpec, added: Option<Planar>) -> Option<ConvSpec> {
        let reach = |i: usize| (spec.kernel[i].checked_sub(1)?).checked_mul(spec.dilation[i]);
        let padding = |i: usize| reach(i)?.checked_sub(spec.padding[i]);
        if spec.stride != [1, 1] {
            return None;
        }
        Some(ConvSpec {
            input: spec.output,
            output: spec.input,
            size: [spec.input.height, spec.input.width],
            padding: [padding(0)?, padding(1)?],
            residual: added.map(|planar| (planar, ResidualAt::AfterActivation)),
            ..*spec
        })
    }

    /// The border of the gradient of the convolution's result that saves a padded copy of it.
    pub fn wanted_halo(spec: &ConvSpec) -> Halo {
        if let Some(direct) = ConvInputGrad::direct(spec, None) {
            let [top, left] = direct.padding;
            let after = |i: usize, size: usize, own: usize| {
                let last = direct.size[i] - 1 + (direct.kernel[i] - 1) * direct.dilation[i];
                (last + 1).saturating_sub(own + size)
            };
            let [height, width] = spec.size;
            return Halo { top, left, bottom: after(0, height, top), right: after(1, width, left) };
        }
        let mut halo = Halo::default();
        for phase in 0..spec.stride[0] * spec.stride[1] {
            let at = [phase / spec.stride[1], phase % spec.stride[1]];
            let [[top, bottom], [left, right]] = [0, 1].map(|i| {
                let taps = phase_taps(spec, i, at[i]);
                let before = (-taps.shift).max(0) as usize;
                let size = [spec.input.height, spec.input.width][i];
                // All phases are computed as large as the first.
                let count = size.div_ceil(spec.stride[i]);
                let last = count as isize - 1
                    + taps.shift
                    + (taps.count.saturating_sub(1) * taps.dilation) as isize;
                [before, (last + 1 - spec.size[i] as isize).max(0) as usize]
            });
            halo = halo.union(Halo { top, bottom, left, right });
        }
        halo
    }

    /// The convolution whose input's gradient this is.
    pub fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// What people call the way it is computed.
    pub fn form(&self) -> String {
        match &self.kind {
            Kind::Direct(conv) => format!("{:?}", conv.form()).to_lowercase(),
            Kind::Depthwise(_) => "depthwise".to_owned(),
            Kind::Phases(_) => "phases".to_owned(),
        }
    }

    /// Elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        match &self.kind {
            Kind::Direct(conv) => conv.packed_len(),
            Kind::Depthwise(_) => self.spec.output.channels * self.spec.k(),
            Kind::Phases(phases) => phases.packed,
        }
    }

    /// Elements of workspace shared by all tasks of a run.
    pub fn workspace_len(&self) -> usize {
        match &self.kind {
            Kind::Direct(conv) => conv.workspace_len(),
            Kind::Depthwise(_) => 0,
            Kind::Phases(phases) => phases.workspace,
        }
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        match &self.kind {
            Kind::Direct(conv) => conv.scratch_len(),
            Kind::Depthwise(_) => 0,
            Kind::Phases(phases) => phases.scratch,
        }
    }

    /// Number of tasks of [`ConvInputGrad::pack_tasks`].
    pub fn packing_tasks(&self) -> usize {
        match &self.kind {
            Kind::Direct(conv) => conv.packing().tasks(),
            Kind::Depthwise(_) => 1,
            Kind::Phases(phases) => phases.phases.len(),
        }
    }

    /// Packs the weights of the convolution, given as
    /// `[output channels][input channels / groups][rows][columns]`. Allocates nothing.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn pack_into(&self, weights: &[f32], packed: &mut [f32]) -> Result<(), KernelError> {
        // SAFETY: all tasks on one thread.
        unsafe { self.pack_tasks(0..self.packing_tasks(), weights, Output::new(packed)) }
    }

    /// Runs some tasks of packing.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same `packed` name disjoint tasks; `packed` does
    /// not overlap the weights.
    pub unsafe fn pack_tasks(
        &self,
        tasks: Range<usize>,
        weights: &[f32],
        packed: Output<'_>,
    ) -> Result<(), KernelError> {
        let count = self.packing_tasks();
        require(NAME, tasks.end <= count, || format!("packing tasks {tasks:?} of {count}"))?;
        require_len(NAME, "the packed weights", self.packed_len(), packed.len())?;
        match &self.kind {
            Kind::Direct(conv) => {
                let layout = WeightLayout::input_gradient(&self.spec);
                // SAFETY: passed on.
                unsafe { conv.packing().pack_tasks(tasks, weights, &layout, packed) }
            }
            Kind::Depthwise(_) => {
                require_len(NAME, "the weights", self.packed_len(), weights.len())?;
                // SAFETY: there is one task, which alone writes the packed weights.
                let to = unsafe { std::slice::from_raw_parts_mut(packed.ptr(), self.packed_len()) };
                to.copy_from_slice(&weights[..self.packed_len()]);
                Ok(())
            }
            Kind::Phases(phases) => {
                for phase in phases.phases[tasks].iter().flatten() {
                    // SAFETY: the phases' weights are disjoint parts of the packed ones, and this
                    // task alone writes this one's.
                    let to = unsafe {
                        let len = phase.conv.packed_len();
                        std::slice::from_raw_parts_mut(packed.ptr().add(phase.packed), len)
                    };
                    phase.conv.packing().pack_into(weights, &phase.layout, to)?;
                }
                Ok(())
            }
        }
    }

    /// Number of tasks of each stage; all tasks of a stage must be done before the next stage.
    pub fn stages(&self) -> [usize; 3] {
        match &self.kind {
            Kind::Direct(conv) => conv.stages(),
            Kind::Depthwise(depthwise) => [depthwise.tasks, 0, 0],
            Kind::Phases(phases) => {
                let tasks = |stage: usize| {
                    phases.phases.iter().flatten().map(|phase| phase.conv.stages()[stage]).sum()
                };
                [tasks(0), tasks(1), phases.tasks]
            }
        }
    }

    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(
        &self,
        inputs: &InputGradInputs<'_>,
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

    /// Runs some tasks of a stage (see [`ConvInputGrad::stages`]).
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same `output` or `workspace` name the same stage,
    /// disjoint tasks and different `scratch`; the tasks of a stage are complete before those of
    /// the next start; `output` and `workspace` overlap no other argument.
    pub unsafe fn run_tasks(
        &self,
        stage: usize,
        tasks: Range<usize>,
        inputs: &InputGradInputs<'_>,
        output: Output<'_>,
        workspace: Output<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let count = self.stages().get(stage).copied().unwrap_or(0);
        require(NAME, tasks.end <= count, || {
            format!("tasks {tasks:?} of stage {stage}, which has {count}")
        })?;
        let gradient = match &self.kind {
            Kind::Depthwise(_) => self.spec.output.len(),
            Kind::Direct(_) | Kind::Phases(_) => self.spec.output.end(),
        };
        require_len(NAME, "the gradient", gradient, inputs.gradient.len())?;
        require_len(NAME, "the packed weights", self.packed_len(), inputs.weights.len())?;
        require_len(NAME, "the result", self.spec.input.end(), output.len())?;
        require_len(NAME, "the workspace", self.workspace_len(), workspace.len())?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        if let Some(bias) = inputs.bias {
            require_len(NAME, "the bias", self.spec.input.channels, bias.len())?;
        }
        if let Some(added) = &self.added {
            let found = inputs.added.map_or(0, <[f32]>::len);
            require_len(NAME, "the added tensor", added.end(), found)?;
        }
        match &self.kind {
            Kind::Direct(conv) => {
                let inputs = ConvInputs {
                    input: inputs.gradient,
                    weights: inputs.weights,
                    bias: inputs.bias,
                    slopes: None,
                    residual: inputs.added,
                };
                // SAFETY: passed on.
                unsafe { conv.run_tasks(stage, tasks, &inputs, output, workspace, scratch) }
            }
            Kind::Depthwise(depthwise) => {
                for task in tasks {
                    // SAFETY: lengths are checked; this task alone writes its planes.
                    unsafe { self.depthwise_task(depthwise, task, inputs, output) };
                }
                Ok(())
            }
            Kind::Phases(phases) if stage < 2 => {
                for task in tasks {
                    // SAFETY: lengths are checked; the phases' parts of the workspace are disjoint,
                    // and within one the tasks keep the convolution's rules.
                    unsafe { phases.conv_task(stage, task, inputs, workspace, scratch)? };
                }
                Ok(())
            }
            Kind::Phases(phases) => {
                for task in tasks {
                    // SAFETY: lengths are checked; all phases are complete; this task alone writes
                    // its planes.
                    unsafe { self.interleave_task(phases, task, inputs, output, workspace) };
                }
                Ok(())
            }
        }
    }

    /// Address of an added tensor's plane; null without one.
    fn added_plane(&self, inputs: &InputGradInputs<'_>, image: usize, channel: usize) -> Added {
        match (&self.added, inputs.added) {
            (Some(planar), Some(added)) => Added {
                at: added.as_ptr().wrapping_add(planar.index(image, channel, 0, 0)),
                row: planar.row_stride,
            },
            _ => Added { at: std::ptr::null(), row: 0 },
        }
    }

    /// # Safety
    /// Lengths are checked; no other thread runs this task.
    unsafe fn depthwise_task(
        &self,
        depthwise: &Depthwise,
        task: usize,
        inputs: &InputGradInputs<'_>,
        output: Output<'_>,
    ) {
        let (dx, dy) = (&self.spec.input, &self.spec.output);
        for plane in part(dx.images * dx.channels, depthwise.tasks, task) {
            let (image, channel) = (plane / dx.channels, plane % dx.channels);
            let args = DepthwiseArgs {
                gradient: inputs.gradient.as_ptr().wrapping_add(dy.index(image, channel, 0, 0)),
                gradient_row: dy.row_stride,
                weights: inputs.weights[channel * self.spec.k()..].as_ptr(),
                bias: inputs.bias.map_or(0.0, |bias| bias[channel]),
                added: self.added_plane(inputs, image, channel),
                height: dx.height,
                width: dx.width,
                out: output.ptr().wrapping_add(dx.index(image, channel, 0, 0)),
                out_row: dx.row_stride,
            };
            // SAFETY: the plane and its border lie within the gradient.
            unsafe { (depthwise.entry)(&args) };
        }
    }

    /// # Safety
    /// Lengths are checked; all phases are complete; no other thread runs this task.
    unsafe fn interleave_task(
        &self,
        phases: &Phases,
        task: usize,
        inputs: &InputGradInputs<'_>,
        output: Output<'_>,
        workspace: Output<'_>,
    ) {
        let dx = &self.spec.input;
        let [sy, sx] = self.spec.stride;
        for plane in part(dx.images * dx.channels, phases.tasks, task) {
            let (image, channel) = (plane / dx.channels, plane % dx.channels);
            let added = self.added_plane(inputs, image, channel);
            let index = phases.layout.index(image, channel, 0, 0);
            for y in 0..dx.height {
                for rx in 0..sx.min(dx.width) {
                    let row = |rx: usize| match &phases.phases[y % sy * sx + rx] {
                        Some(phase) => workspace
                            .ptr()
                            .wrapping_add(phase.planes + index + y / sy * phases.layout.row_stride)
                            .cast_const(),
                        None => std::ptr::null(),
                    };
                    // Two phases at once, where there are two.
                    let pair = sx == 2 && dx.width > 1;
                    if pair && rx == 1 {
                        continue;
                    }
                    let args = InterleaveArgs {
                        rows: [row(rx), if pair { row(1) } else { std::ptr::null() }],
                        pair,
                        missing: inputs.bias.map_or(0.0, |bias| bias[channel]),
                        added: added.at.wrapping_add(y * added.row),
                        first: rx,
                        step: sx,
                        width: dx.width,
                        out: output.ptr().wrapping_add(dx.index(image, channel, y, 0)),
                    };
                    // SAFETY: the row exists in the result, and half of it or all of it in the
                    // phases' planes.
                    unsafe { (phases.entry)(&args) };
                }
            }
        }
    }
}

fn phase_taps(spec: &ConvSpec, axis: usize, phase: usize) -> Taps {
    Taps::new(spec.kernel[axis], spec.stride[axis], spec.dilation[axis], spec.padding[axis], phase)
}

impl Phases {
    fn new(spec: &ConvSpec, isa: Isa) -> Result<Phases, KernelError> {
        let (dx, dy) = (&spec.input, &spec.output);
        let [sy, sx] = spec.stride;
        let size = [dx.height.div_ceil(sy), dx.width.div_ceil(sx)];
        // Rows as far apart as the gradient's, so that a phase may run over whole planes.
        let gap = dy.row_stride.saturating_sub(size[1]);
        let halo = Halo { right: gap, ..Halo::default() };
        let layout = Planar::new(dx.images, dx.channels, size[0], size[1], halo);
        let (mut workspace, mut packed, mut scratch) = (0, 0, 0);
        let mut phases = Vec::new();
        for index in 0..sy * sx {
            let at = [index / sx, index % sx];
            let taps = [0, 1].map(|axis| phase_taps(spec, axis, at[axis]));
            let [rows, columns] = &taps;
            // Where all taps lie beyond the gradient, its rows or columns are skipped.
            let skip = taps.each_ref().map(|taps| taps.shift.max(0) as usize);
            let seen = rows.count > 0
                && columns.count > 0
                && at[0] < dx.height
                && at[1] < dx.width
                && skip[0] < dy.height
                && skip[1] < dy.width;
            if !seen {
                phases.push(None);
                continue;
            }
            let input = Planar {
                height: dy.height - skip[0],
                width: dy.width - skip[1],
                origin: dy.origin + skip[0] * dy.row_stride + skip[1],
                halo: Halo {
                    top: if skip[0] == 0 { dy.halo.top } else { 0 },
                    left: if skip[1] == 0 { dy.halo.left } else { 0 },
                    ..dy.halo
                },
                ..*dy
            };
            let conv = ConvSpec {
                input,
                output: layout,
                size,
                kernel: [rows.count, columns.count],
                stride: [1, 1],
                dilation: [rows.dilation, columns.dilation],
                padding: taps.each_ref().map(|taps| (-taps.shift).max(0) as usize),
                groups: spec.groups,
                form: None,
                ..*spec
            };
            let own = WeightLayout::forward(spec);
            let weights = WeightLayout {
                first: rows.last * spec.kernel[1] + columns.last,
                outputs: own.inputs,
                inputs: own.outputs,
                rows: rows.backwards(own.rows),
                columns: columns.backwards(own.columns),
                ..own
            };
            let conv = Conv::new(conv, isa)?;
            let copies = workspace;
            let planes = copies + conv.workspace_len().next_multiple_of(16);
            workspace = planes + layout.len().next_multiple_of(16);
            scratch = scratch.max(conv.scratch_len());
            let len = conv.packed_len();
            phases.push(Some(Phase { conv, layout: weights, packed, copies, planes }));
            packed += len;
        }
        let planes = dx.images * dx.channels;
        Ok(Phases {
            phases,
            layout,
            workspace,
            packed,
            scratch,
            tasks: (dx.elements() >> 13).clamp(1, MAX_TASKS).min(planes),
            entry: entry::<Interleave, InterleaveArgs>(isa),
        })
    }

    /// One task of a stage of one of the phases' convolutions.
    ///
    /// # Safety
    /// As [`ConvInputGrad::run_tasks`].
    unsafe fn conv_task(
        &self,
        stage: usize,
        mut task: usize,
        inputs: &InputGradInputs<'_>,
        workspace: Output<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        for phase in self.phases.iter().flatten() {
            let count = phase.conv.stages()[stage];
            if task >= count {
                task -= count;
                continue;
            }
            let weights = &inputs.weights[phase.packed..];
            let inputs = ConvInputs {
                input: inputs.gradient,
                weights,
                bias: inputs.bias,
                slopes: None,
                residual: None,
            };
            let from = |start: usize, len: usize| workspace.range(start, len);
            let copies = from(phase.copies, phase.conv.workspace_len());
            let planes = from(phase.planes, self.layout.len());
            // SAFETY: passed on; copies and planes are disjoint parts of the workspace.
            return unsafe {
                phase.conv.run_tasks(stage, task..task + 1, &inputs, planes, copies, scratch)
            };
        }
        Ok(())
    }
}

/// A plane of a tensor to be added; a null address without one.
#[derive(Clone, Copy)]
struct Added {
    at: *const f32,
    row: usize,
}

/// Arguments of [`Interleave`]: one row of the result.
struct InterleaveArgs {
    /// The row of one phase, or of both; null where a phase sees no tap.
    rows: [*const f32; 2],
    pair: bool,
    /// What a phase without taps holds.
    missing: f32,
    added: *const f32,
    /// The first column of a single phase, and the distance to the next.
    first: usize,
    step: usize,
    width: usize,
    out: *mut f32,
}

/// Writes the columns of one phase, or those of two in turn.
struct Interleave;

impl Body<InterleaveArgs> for Interleave {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &InterleaveArgs) {
        let l = S::LANES;
        // SAFETY: the row has `width` elements in the result and the added tensor; a phase's row
        // has as many as columns fall to it.
        unsafe {
            if a.pair {
                for x in (0..a.width).step_by(2 * l) {
                    let n = (a.width - x).min(2 * l);
                    let load = |row: *const f32, count: usize| {
                        if row.is_null() {
                            S::splat(a.missing)
                        } else {
                            S::load_n(row.add(x / 2), count)
                        }
                    };
                    let even = load(a.rows[0], n.div_ceil(2));
                    let odd = if n > 1 { load(a.rows[1], n / 2) } else { S::zero() };
                    let (lo, hi) = S::interleave(even, odd);
                    put::<S>(a.out.add(x), lo, hi, n, a.added.wrapping_add(x), a.added.is_null());
                }
                return;
            }
            let mut x = a.first;
            while x < a.width {
                let own = if a.rows[0].is_null() { a.missing } else { *a.rows[0].add(x / a.step) };
                *a.out.add(x) = if a.added.is_null() { own } else { own + *a.added.add(x) };
                x += a.step;
            }
        }
    }
}

/// Stores `n` of two vectors, after adding what is at `added` unless `alone`.
///
/// # Safety
/// `n` elements are writable at `out` and, unless `alone`, readable at `added`.
#[inline(always)]
unsafe fn put<S: Simd>(
    out: *mut f32,
    lo: S::V,
    hi: S::V,
    n: usize,
    added: *const f32,
    alone: bool,
) {
    let l = S::LANES;
    let first = n.min(l);
    // SAFETY: the caller vouches for `n` elements.
    unsafe {
        let lo = if alone { lo } else { S::add(lo, S::load_n(added, first)) };
        S::store_n(out, lo, first);
        if n > l {
            let hi = if alone { hi } else { S::add(hi, S::load_n(added.add(l), n - l)) };
            S::store_n(out.add(l), hi, n - l);
        }
    }
}

/// Arguments of [`DepthwiseStrided`]: one plane.
struct DepthwiseArgs {
    gradient: *const f32,
    gradient_row: usize,
    /// `K x K` weights.
    weights: *const f32,
    bias: f32,
    added: Added,
    height: usize,
    width: usize,
    out: *mut f32,
    out_row: usize,
}

/// The input gradient of a depthwise convolution of a `K x K` kernel at stride 2 with a padding of
/// `K / 2`.
struct DepthwiseStrided<const K: usize>;

impl<const K: usize> Body<DepthwiseArgs> for DepthwiseStrided<K> {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &DepthwiseArgs) {
        let l = S::LANES;
        // Phase `r` sees tap `k` where `r + K / 2 - k` is even; half of that is the shift.
        let sees = |r: usize, k: usize| (r + K / 2 + k).is_multiple_of(2);
        let shift = |r: usize, k: usize| ((r + K / 2) / 2) as isize - (k / 2) as isize;
        // SAFETY: the gradient's border holds what the taps see beyond its rows and columns (see
        // `Depthwise::new`); whole vectors reach no farther than the tail behind a tensor. Rows of
        // the result have `width` elements.
        unsafe {
            let mut weights = [[0.0f32; K]; K];
            for ky in 0..K {
                for kx in 0..K {
                    weights[ky][kx] = *a.weights.add(ky * K + kx);
                }
            }
            for y in 0..a.height {
                let (row, r) = (y / 2, y % 2);
                let out = a.out.add(y * a.out_row);
                let added = a.added.at.wrapping_add(y * a.added.row);
                for x in (0..a.width).step_by(2 * l) {
                    let mut sums = [S::splat(a.bias); 2];
                    for ky in 0..K {
                        if !sees(r, ky) {
                            continue;
                        }
                        let from = a
                            .gradient
                            .offset((row as isize + shift(r, ky)) * a.gradient_row as isize)
                            .add(x / 2);
                        for kx in 0..K {
                            let c = usize::from(!sees(0, kx));
                            let v = S::load(from.offset(shift(c, kx)));
                            sums[c] = S::fma(v, S::splat(weights[ky][kx]), sums[c]);
                        }
                    }
                    let n = (a.width - x).min(2 * l);
                    let (lo, hi) = S::interleave(sums[0], sums[1]);
                    let added_row = added.wrapping_add(x);
                    put::<S>(out.add(x), lo, hi, n, added_row, a.added.at.is_null());
                }
            }
        }
    }
}

impl Depthwise {
    /// For the kernels, strides and borders that [`DepthwiseStrided`] knows.
    fn new(spec: &ConvSpec, isa: Isa) -> Option<Depthwise> {
        let side = spec.kernel[0];
        let wanted = ConvInputGrad::wanted_halo(spec);
        let common = spec.is_depthwise()
            && spec.group_outputs() == 1
            && spec.kernel == [side, side]
            && spec.stride == [2, 2]
            && spec.dilation == [1, 1]
            && spec.padding == [side / 2, side / 2]
            && spec.output.halo.union(wanted) == spec.output.halo;
        // A row is stored as two interleaved halves.
        let isa = isa.for_rows_of(spec.input.width.div_ceil(2));
        let entry = match side {
            3 => entry::<DepthwiseStrided<3>, DepthwiseArgs>(isa),
            5 => entry::<DepthwiseStrided<5>, DepthwiseArgs>(isa),
            _ => return None,
        };
        let planes = spec.input.images * spec.input.channels;
        let tasks = (spec.input.elements() >> 13).clamp(1, MAX_TASKS).min(planes);
        common.then_some(Depthwise { tasks, entry })
    }
}
