//! Running the tasks of a prepared block.

use std::ops::Range;

use super::plan::{Division, MAX_ROWS, Panel};
use super::tile::{DepthwiseArgs, ExpandArgs, band_pixel, expand_tile};
use super::{BlockInputs, ConvBlock, NAME};
use crate::conv::ConvInputs;
use crate::conv::channel::{PanelWeights, max_px};
use crate::conv::plan::{Plan, even_tiles};
use crate::conv::run::{RunView, Share};
use crate::error::{KernelError, require, require_len};
use crate::output::{Output, part};

/// The packed numbers of the first two convolutions for one panel.
struct PanelNumbers {
    expand: *const f32,
    expand_bias: *const f32,
    depthwise: *const f32,
    depthwise_bias: *const f32,
}

impl ConvBlock {
    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(
        &self,
        inputs: &BlockInputs<'_>,
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

    /// Runs some tasks of a stage (see [`ConvBlock::stages`]).
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// As [`Conv::run_tasks`](crate::Conv::run_tasks).
    pub unsafe fn run_tasks(
        &self,
        stage: usize,
        tasks: Range<usize>,
        inputs: &BlockInputs<'_>,
        output: Output<'_>,
        workspace: Output<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        require_len(NAME, "the input", self.input_len(), inputs.input.len())?;
        require_len(NAME, "the packed numbers", self.packed_len(), inputs.packed.len())?;
        if let Some((residual, _)) = &self.spec.project.residual {
            let found = inputs.residual.map_or(0, <[f32]>::len);
            require_len(NAME, "the residual", residual.end(), found)?;
        }
        require_len(NAME, "the output", self.spec.project.output.end(), output.len())?;
        require_len(NAME, "the workspace", self.workspace_len(), workspace.len())?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        let count = self.stages().get(stage).copied().unwrap_or(0);
        require(NAME, tasks.end <= count, || {
            format!("tasks {tasks:?} of stage {stage}, which has {count}")
        })?;
        let starts = self.sections();
        let project = ConvInputs {
            input: &[],
            weights: &inputs.packed[starts[4]..starts[5]],
            bias: Some(&inputs.packed[starts[5]..]),
            slopes: None,
            residual: inputs.residual,
        };
        let mut view = RunView {
            source: &[],
            packed: std::ptr::null(),
            inputs: &project,
            output,
            alone: tasks.len() == count,
            sums: std::ptr::null_mut(),
        };
        match self.division {
            Division::Rows { bands } => {
                let mut next = tasks.start;
                while next < tasks.end {
                    // Neighbouring tasks of an image at once: nothing is computed twice between them.
                    let (image, first) = (next / bands, next % bands);
                    let last = bands.min(first + tasks.end - next) - 1;
                    let band = |index: usize| part(self.spec.depthwise.size[0], bands, index);
                    let rows = band(first).start..band(last).end;
                    // SAFETY: lengths are checked; these rows belong to these tasks.
                    unsafe { self.all_rows(image, rows, inputs, &view, scratch) };
                    next += last + 1 - first;
                }
            }
            Division::Channels { parts } if stage == 0 => {
                for task in tasks {
                    let (image, index) = (task / parts, task % parts);
                    let panels = &self.panels[part(self.panels.len(), parts, index)];
                    let out = workspace.ptr().wrapping_add(image * self.middle_len());
                    // SAFETY: as above, for these channels.
                    unsafe { self.all_channels(image, panels, inputs, out, scratch) };
                }
            }
            Division::Channels { .. } => {
                // SAFETY: stage 0 is complete, and no task of this stage writes the workspace.
                view.source = unsafe { workspace.as_slice() };
                let Plan::Channel(plan) = &self.project.plan else { return Ok(()) };
                for task in tasks {
                    // SAFETY: lengths are checked, and the workspace holds the pixels.
                    unsafe { self.project.channel_task(plan, task, &view, scratch) };
                }
            }
        }
        Ok(())
    }

    /// Some rows of the result of all three convolutions.
    ///
    /// # Safety
    /// Lengths are checked; no other thread computes these rows.
    unsafe fn all_rows(
        &self,
        image: usize,
        rows: Range<usize>,
        inputs: &BlockInputs<'_>,
        view: &RunView<'_>,
        scratch: &mut [f32],
    ) {
        let Plan::Channel(plan) = &self.project.plan else { return };
        let (columns, width) = (self.spec.depthwise.size[1], self.width());
        let band_len = self.band.len();
        let (bands, rest) = scratch.split_at_mut(self.panels.len() * band_len);
        let (middle, sums) = rest.split_at_mut(self.band.out_rows * columns * width);
        for band in bands.chunks_exact_mut(band_len) {
            self.clear_columns(band);
        }
        for first in rows.clone().step_by(self.band.out_rows) {
            let some = first..(first + self.band.out_rows).min(rows.end);
            for (panel, band) in self.panels.iter().zip(bands.chunks_exact_mut(band_len)) {
                let out = middle[panel.first..].as_mut_ptr();
                let going_on = first > rows.start;
                // SAFETY: the rows are within the image; `middle` holds them.
                unsafe { self.middle_rows(image, panel, &some, going_on, inputs, band, out) };
            }
            for chunk in 0..plan.panels.len() {
                let share = Share { image, group: 0, chunk, band: 0 };
                let pixels = (middle.as_ptr(), plan.pixel_offsets.as_slice());
                // SAFETY: `middle` holds these rows, and `sums` the widest panel of them.
                unsafe {
                    self.project.channel_rows(plan, &share, some.clone(), pixels, view, sums)
                };
            }
        }
    }

    /// All rows of the first two convolutions for some panels, to be stored at `out`.
    ///
    /// # Safety
    /// Lengths are checked; no other thread computes these panels.
    unsafe fn all_channels(
        &self,
        image: usize,
        panels: &[Panel],
        inputs: &BlockInputs<'_>,
        out: *mut f32,
        scratch: &mut [f32],
    ) {
        let [height, columns] = self.spec.depthwise.size;
        let band = &mut scratch[..self.band.len()];
        self.clear_columns(band);
        for panel in panels {
            for first in (0..height).step_by(self.band.out_rows) {
                let some = first..(first + self.band.out_rows).min(height);
                let out = out.wrapping_add(first * columns * self.width() + panel.first);
                // SAFETY: as in `all_rows`, with the workspace in place of `middle`.
                unsafe { self.middle_rows(image, panel, &some, first > 0, inputs, band, out) };
            }
        }
    }

    /// Clears the zeros left and right of a band's rows.
    fn clear_columns(&self, band: &mut [f32]) {
        let pixel = band_pixel(self.isa);
        let left = self.spec.depthwise.padding[1] * pixel;
        let right = left + self.spec.expand.size[1] * pixel;
        for row in band.chunks_exact_mut(self.band.row) {
            row[..left].fill(0.0);
            row[right..].fill(0.0);
        }
    }

    /// Rows of the depthwise result of one panel, by way of its band. When `going_on`, the band holds
    /// what the rows before these have read.
    ///
    /// # Safety
    /// The image, the panel and the rows exist, and may be written from `out` on, which is where the
    /// first pixel's channels go.
    #[expect(clippy::too_many_arguments, reason = "what the two divisions have in common")]
    unsafe fn middle_rows(
        &self,
        image: usize,
        panel: &Panel,
        rows: &Range<usize>,
        going_on: bool,
        inputs: &BlockInputs<'_>,
        band: &mut [f32],
        out: *mut f32,
    ) {
        let spec = &self.spec.depthwise;
        let [kernel, stride] = [spec.kernel[0], spec.stride[0]];
        let numbers = self.numbers(panel, inputs.packed);
        // Rows of the first convolution, of which the zeros above are the first ones. A row keeps its
        // place in the band until the last that reads it.
        let read = rows.start * stride..(rows.end - 1) * stride + kernel;
        let kept = if going_on { kernel - stride } else { 0 };
        // SAFETY: the band has as many rows as the rows of the result read.
        unsafe {
            let fresh = read.start + kept..read.end;
            self.expand(image, panel, fresh, inputs, &numbers, band);
        }
        let mut places = [std::ptr::null(); MAX_ROWS];
        for (place, row) in places.iter_mut().zip(read) {
            *place = band[row % self.band.rows * self.band.row..].as_ptr();
        }
        let args = DepthwiseArgs {
            vectors: panel.vectors,
            rows_read: places.as_ptr(),
            row_step: stride,
            rows: rows.len(),
            width: spec.size[1],
            weights: numbers.depthwise,
            weights_tap: panel.vectors * self.isa.lanes(),
            bias: numbers.depthwise_bias,
            out,
            out_row: spec.size[1] * self.width(),
            out_pixel: self.width(),
            finish: self.finish[1],
        };
        // SAFETY: as above; the caller vouches for what is written.
        unsafe { (self.depthwise_tile)(&args) };
    }

    /// Rows of the first convolution of one panel to their places in a band; `rows` count the zeros above
    /// the picture.
    ///
    /// # Safety
    /// As [`ConvBlock::middle_rows`].
    unsafe fn expand(
        &self,
        image: usize,
        panel: &Panel,
        rows: Range<usize>,
        inputs: &BlockInputs<'_>,
        numbers: &PanelNumbers,
        band: &mut [f32],
    ) {
        let [height, width] = self.spec.expand.size;
        let [top, left] = self.spec.depthwise.padding;
        let source = self.source.first + image * self.source.image_stride;
        let mut next = rows.start;
        while next < rows.end {
            // As many as follow one another in picture and band.
            let place = next % self.band.rows;
            let run = (next + self.band.rows - place).min(rows.end);
            let own = &mut band[place * self.band.row..];
            let run = match next {
                _ if next < top => next..run.min(top),
                _ if next < top + height => next..run.min(top + height),
                _ => next..run,
            };
            next = run.end;
            if run.start < top || run.start >= top + height {
                own[..run.len() * self.band.row].fill(0.0);
                continue;
            }
            let input = source + (run.start - top) * self.source.pixel_row;
            let mut pixel = 0;
            for (px, tiles) in even_tiles(run.len() * width, max_px(self.isa, panel.vectors)) {
                let args = ExpandArgs {
                    input: inputs.input.as_ptr().wrapping_add(input),
                    pixel_offsets: self.band.pixel_offsets[pixel..].as_ptr(),
                    pixels: px * tiles,
                    panel: PanelWeights {
                        offsets: self.offsets.as_ptr(),
                        k: self.offsets.len(),
                        weights: numbers.expand,
                    },
                    bias: numbers.expand_bias,
                    out: own.as_mut_ptr().wrapping_add(left * band_pixel(self.isa)),
                    out_offsets: self.band.out_offsets[pixel..].as_ptr(),
                    finish: self.finish[0],
                };
                // SAFETY: the source was checked to hold all products of all pixels; the band holds
                // the rows.
                unsafe { expand_tile(self.isa, px, panel.vectors)(&args) };
                pixel += px * tiles;
            }
        }
    }

    /// The numbers of a panel.
    fn numbers(&self, panel: &Panel, packed: &[f32]) -> PanelNumbers {
        let starts = self.sections();
        let kernel = self.spec.depthwise.kernel[0];
        let at = |index: usize| packed[index..].as_ptr();
        PanelNumbers {
            expand: at(starts[0] + panel.first * self.offsets.len()),
            expand_bias: at(starts[1] + panel.first),
            depthwise: at(starts[2] + panel.first * kernel * kernel),
            depthwise_bias: at(starts[3] + panel.first),
        }
    }
}
