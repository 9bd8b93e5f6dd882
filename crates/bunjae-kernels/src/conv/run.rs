//! Running the tasks of a prepared convolution.

use std::ops::Range;

use super::channel::{ChannelArgs, ChannelStoreArgs, K_BLOCK, PanelWeights, channel_tile, max_px};
use super::depthwise::DepthwiseArgs;
use super::pixel::{PixelArgs, ProductArgs, Sink, max_nr, pixel_tile, pool_tile, product_tile};
use super::plan::{ChannelPlan, DepthwisePlan, PixelPlan, WinogradPlan, even_tiles};
use super::source::ClearArgs;
use super::winograd::{InputArgs, OutputArgs, POSITIONS, TILE, TileSink, buffer_len};
use super::{Conv, ConvInputs, Tail};
use crate::output::{Output, part};
use crate::simd::MAX_LANES;

/// Most channels whose sums are taken at once.
const MAX_SUMS: usize = 64;

/// Weights of the blocks that one call of a tile computes: half of a first-level cache of 32 KiB, where
/// they stay while the pixels pass by.
const RUN_WEIGHTS: usize = 4096;

impl Conv {
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

    /// Input channel `channel` as seen by output pixel (0, 0) and tap offset 0.
    fn input_pointer(&self, view: &RunView<'_>, image: usize, channel: usize) -> *const f32 {
        let index = self.source.first
            + image * self.source.image_stride
            + channel * self.source.channel_stride;
        view.source.as_ptr().wrapping_add(index)
    }

    /// Which part of the work a task is, of so many bands and chunks per image and group. Tasks of the
    /// same band follow one another: of what the step before has computed, a thread that runs them needs
    /// what it has probably computed itself.
    pub(super) fn share(&self, task: usize, bands: usize, chunks: usize) -> Share {
        let (outer, inner) = (task / (bands * chunks), task % (bands * chunks));
        Share {
            image: outer / self.spec.groups,
            group: outer % self.spec.groups,
            chunk: inner % chunks,
            band: inner / chunks,
        }
    }

    /// # Safety
    /// Lengths are checked; no other thread runs this task.
    pub(super) unsafe fn pixel_task(&self, plan: &PixelPlan, task: usize, view: &RunView<'_>) {
        let share = self.share(task, plan.bands, plan.chunks);
        let blocks = &plan.blocks[part(plan.blocks.len(), plan.chunks, share.chunk)];
        let input = self.input_pointer(view, share.image, share.group * self.spec.group_inputs());
        let units = part(plan.units, plan.bands, share.band);
        for strip in units.clone().step_by(plan.strip) {
            let strip = strip..(strip + plan.strip).min(units.end);
            let ends = [strip.start == 0, strip.end == plan.units];
            // SAFETY: passed on.
            unsafe {
                self.over_blocks(blocks, plan.flat, &share, input, ends, view, |args, mr, to| {
                    self.pixel_strip(plan, strip.clone(), mr, to, args);
                });
            }
        }
    }

    /// Has `run` compute some pixels of all blocks of output channels, given its arguments at the plane's
    /// first pixel and the number of channels in a block, and does what follows: means, if that is the
    /// tail, and the zeros around the planes whose `ends` have been computed. Blocks of the same size
    /// run `together` if `run` can do that.
    ///
    /// # Safety
    /// Lengths are checked; no other thread computes these pixels; `run` writes nothing else.
    #[expect(clippy::too_many_arguments, reason = "what the two forms have in common")]
    pub(super) unsafe fn over_blocks(
        &self,
        mut blocks: &[Range<usize>],
        together: bool,
        share: &Share,
        input: *const f32,
        ends: [bool; 2],
        view: &RunView<'_>,
        mut run: impl FnMut(&mut PixelArgs, usize, &Addresses),
    ) {
        let k = self.spec.k();
        let average = self.spec.tail == Tail::GlobalAverage;
        // Memory that is touched only where it is needed: this is called for a few microseconds of work.
        let mut sums = if average { Some([0.0f32; MAX_SUMS * MAX_LANES]) } else { None };
        while let Some(block) = blocks.first() {
            let mr = block.len();
            let most = if together { (RUN_WEIGHTS / (k * mr)).clamp(1, MAX_SUMS / mr) } else { 1 };
            let count = blocks.iter().take(most).take_while(|block| block.len() == mr).count();
            let first = share.group * self.spec.group_outputs() + block.start;
            let channels = first..first + count * mr;
            blocks = &blocks[count..];
            let to = self.addresses(view, share.image, first);
            let (out, sink) = match &mut sums {
                Some(sums) => {
                    sums[..channels.len() * MAX_LANES].fill(0.0);
                    (sums.as_mut_ptr(), Sink::Sum)
                }
                None => (to.out, Sink::Store),
            };
            let mut args = PixelArgs {
                blocks: count,
                input,
                offsets: self.offsets.as_ptr(),
                k,
                weights: view.weights(first * k),
                bias: to.bias,
                slopes: to.slopes,
                pixels: [0; 2],
                again: 0,
                out,
                out_channel: self.spec.output.channel_stride,
                residual: to.residual,
                residual_channel: to.residual_channel,
                mask: self.mask.as_ptr(),
                row: self.row,
                asks: matches!(sink, Sink::Store),
                sink,
                epilogue: self.epilogue,
                input_row: self.source.pixel_row,
            };
            run(&mut args, mr, &to);
            if let Some(sums) = &sums {
                self.store_means(sums, channels.len(), &to);
            }
            // SAFETY: passed on.
            unsafe { self.clear_around(share.image, channels, ends, view) };
        }
    }

    /// Some blocks of channels over some units: vectors of the plane, rows, or pairs of rows.
    ///
    /// # Safety
    /// `args` describe the blocks at the plane's first pixel; the units exist.
    unsafe fn pixel_strip(
        &self,
        plan: &PixelPlan,
        units: Range<usize>,
        mr: usize,
        to: &Addresses,
        args: &mut PixelArgs,
    ) {
        let [oh, ow] = self.spec.size;
        let (input, out) = (args.input, args.out);
        let (pixel_row, out_row) = (self.source.pixel_row, self.spec.output.row_stride);
        let nr = max_nr(self.isa, mr);
        if self.spec.tail == Tail::MaxPool2 {
            let tile = pool_tile(self.isa, mr);
            args.pixels = [0, ow / 2 * 2];
            for y in units {
                args.input = input.wrapping_add(2 * y * pixel_row);
                args.out = out.wrapping_add(y * out_row);
                // SAFETY: rows 2y and 2y + 1 exist in the result, row y in the output.
                unsafe { tile(args) };
            }
        } else if plan.flat {
            // SAFETY: the span lies within source, output and residual, which share the row
            // distance.
            unsafe { self.pixel_run(args, mr, nr, units, (oh - 1) * pixel_row + ow) };
        } else {
            for y in units {
                args.input = input.wrapping_add(y * pixel_row);
                if self.spec.tail == Tail::Store {
                    args.out = out.wrapping_add(y * out_row);
                }
                args.residual = to.residual.wrapping_add(y * to.residual_row);
                let vectors = 0..ow.div_ceil(self.isa.lanes());
                // SAFETY: row y exists in source, output and residual.
                unsafe { self.pixel_run(args, mr, nr, vectors, ow) };
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
        args.again = match args.sink {
            Sink::Store => vectors.start * lanes,
            Sink::Sum => len,
        };
        for (size, tiles) in even_tiles(vectors.len(), nr) {
            let end = next + size * tiles;
            args.pixels = [next * lanes, (end * lanes).min(len)];
            // SAFETY: passed on.
            unsafe { pixel_tile(self.isa, mr, size)(args) };
            next = end;
        }
    }

    /// Writes the zeros around some output channels, if that is asked for ([`Conv::clear_halo`]):
    /// with the end of a plane all up to the next one, with the beginning those before the first.
    ///
    /// # Safety
    /// Lengths are checked; no other thread runs the task that has computed these `ends` of the
    /// channels.
    unsafe fn clear_around(
        &self,
        image: usize,
        channels: Range<usize>,
        [begins, ends]: [bool; 2],
        view: &RunView<'_>,
    ) {
        let Some(planar) = &self.cleared else { return };
        let last = planar.channels - 1;
        let between = planar.channel_stride - planar.span();
        let clear = |first: usize, count: usize, len: usize| {
            let out = view.output.ptr().wrapping_add(first);
            let args = ClearArgs { out, distance: planar.channel_stride, count, len };
            // SAFETY: what is between two planes, before the first and after the last, belongs to the
            // output's halo; this task alone writes that of these planes.
            unsafe { (self.clear_gaps)(&args) };
        };
        if begins && image + channels.start == 0 {
            let before = planar.zeros_before();
            clear(planar.index(0, 0, 0, 0) - before, 1, before);
        }
        if ends {
            let end = planar.index(image, channels.start, 0, 0) + planar.span();
            clear(end, channels.end.min(last) - channels.start.min(last), between);
            if channels.contains(&last) {
                let end = planar.index(image, last, 0, 0) + planar.span();
                let next = if image + 1 < planar.images {
                    planar.index(image + 1, 0, 0, 0)
                } else {
                    end + planar.zeros_after()
                };
                clear(end, 1, next - end);
            }
        }
    }

    /// Stores the means of some channels, whose sums are in one vector each.
    fn store_means(&self, sums: &[f32], channels: usize, to: &Addresses) {
        let pixels = (self.spec.size[0] * self.spec.size[1]) as f32;
        for (c, sums) in sums.chunks_exact(self.isa.lanes()).take(channels).enumerate() {
            let mean = pairwise_sum(sums) / pixels;
            // SAFETY: the channel's single element, which the task that asks alone writes.
            unsafe { *to.out.add(c * self.spec.output.channel_stride) = mean };
        }
    }

    /// # Safety
    /// Lengths are checked; no other thread runs this task.
    pub(super) unsafe fn channel_task(
        &self,
        plan: &ChannelPlan,
        task: usize,
        view: &RunView<'_>,
        scratch: &mut [f32],
    ) {
        let Share { image, group, chunk: panel, band } =
            self.share(task, plan.bands, plan.panels.len());
        let [oh, ow] = self.spec.size;
        let rows = part(oh, plan.bands, band);
        if rows.is_empty() {
            return;
        }
        let share = Share { image, group, chunk: panel, band };
        let input = self.input_pointer(view, image, group * self.spec.group_inputs());
        let pixel_offsets = &plan.pixel_offsets[rows.start * ow..];
        // SAFETY: passed on.
        unsafe { self.channel_rows(plan, &share, rows, (input, pixel_offsets), view, scratch) };
    }

    /// Some rows of the panel `share.chunk`, whose pixels lie at offsets from an input.
    ///
    /// # Safety
    /// As [`Conv::channel_task`]; all products of these pixels are readable, and the scratch memory holds
    /// the panel's channels for each of them.
    pub(super) unsafe fn channel_rows(
        &self,
        plan: &ChannelPlan,
        share: &Share,
        rows: Range<usize>,
        (input, pixel_offsets): (*const f32, &[isize]),
        view: &RunView<'_>,
        scratch: &mut [f32],
    ) {
        let &Share { image, group, chunk: panel, .. } = share;
        let (k, lanes) = (self.spec.k(), self.isa.lanes());
        let ow = self.spec.size[1];
        let (first, channels, nv) = plan.panels[panel];
        let vectors_before: usize = plan.panels[..panel].iter().map(|(_, _, nv)| nv).sum();
        let vectors: usize = plan.panels.iter().map(|(_, _, nv)| nv).sum();
        let weights = (group * vectors + vectors_before) * lanes * k;
        let to = self.addresses(view, image, group * self.spec.group_outputs() + first);
        for k0 in (0..k).step_by(K_BLOCK) {
            let mut next = 0;
            for (px, tiles) in even_tiles(rows.len() * ow, max_px(self.isa, nv)) {
                let args = ChannelArgs {
                    input,
                    pixel_offsets: pixel_offsets[next..].as_ptr(),
                    pixels: px * tiles,
                    panel: PanelWeights {
                        offsets: self.offsets[k0..].as_ptr(),
                        k: K_BLOCK.min(k - k0),
                        weights: view.weights(weights + k0 * nv * lanes),
                    },
                    bias: to.bias,
                    channels,
                    first: k0 == 0,
                    acc: scratch[next * nv * lanes..].as_mut_ptr(),
                };
                // SAFETY: all offsets were checked with the source; scratch holds the band.
                unsafe { channel_tile(self.isa, px, nv)(&args) };
                next += px * tiles;
            }
        }
        let average = self.spec.tail == Tail::GlobalAverage;
        // As in `over_blocks`.
        let mut sums = if average { Some([0.0f32; 4 * MAX_LANES * MAX_LANES]) } else { None };
        let (out, sink) = match &mut sums {
            Some(sums) => (sums.as_mut_ptr(), Sink::Sum),
            None => (to.out.wrapping_add(rows.start * self.spec.output.row_stride), Sink::Store),
        };
        let args = ChannelStoreArgs {
            acc: scratch.as_ptr(),
            panel: nv * lanes,
            channels,
            rows: rows.len(),
            width: ow,
            out,
            out_channel: self.spec.output.channel_stride,
            out_row: self.spec.output.row_stride,
            residual: to.residual.wrapping_add(rows.start * to.residual_row),
            residual_channel: to.residual_channel,
            residual_row: to.residual_row,
            slopes: to.slopes,
            sink,
            epilogue: self.epilogue,
        };
        // SAFETY: the rows exist in output and residual; this task alone writes them.
        unsafe { (plan.store)(&args) };
        if let Some(sums) = &sums {
            self.store_means(sums, channels, &to);
        }
    }

    /// # Safety
    /// Lengths are checked; no other thread runs this task.
    pub(super) unsafe fn depthwise_task(
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
        let (band, chunk) = (task / plan.chunks, task % plan.chunks);
        let lines = part(oh, plan.bands, band);
        let planes = part(self.spec.input.images * channels, plan.chunks, chunk);
        let mut next = planes.start;
        while next < planes.end {
            let (image, channel) = (next / channels, next % channels);
            // Planes of one image whose outputs lie as far apart as they do are computed by one call.
            let together = match (&self.source.copy, plan.rows, multiplier) {
                (None, Some(_), 1) => (planes.end - next).min(channels - channel),
                _ => 1,
            };
            let input = match &self.source.copy {
                None => self.input_pointer(view, image, channel),
                Some(copy) => {
                    let args = copy.args(next, view.source.as_ptr(), scratch.as_mut_ptr());
                    // SAFETY: scratch holds one channel's planes.
                    unsafe { (self.copy_plane)(&args) };
                    scratch.as_ptr()
                }
            };
            next += together;
            for o in channel * multiplier..(channel + 1) * multiplier {
                let to = self.addresses(view, image, o);
                if let Some(rows) = plan.rows {
                    let args = DepthwiseArgs {
                        planes: together,
                        input: input.wrapping_add(lines.start * self.source.pixel_row),
                        input_plane: self.source.channel_stride,
                        input_row: self.source.pixel_row / self.spec.stride[0],
                        weights: view.weights(o * k),
                        bias: to.bias,
                        slopes: to.slopes,
                        rows: lines.len(),
                        width: ow,
                        out: to.out.wrapping_add(lines.start * self.spec.output.row_stride),
                        out_plane: self.spec.output.channel_stride,
                        out_row: self.spec.output.row_stride,
                        residual: to.residual.wrapping_add(lines.start * to.residual_row),
                        residual_plane: to.residual_channel,
                        residual_row: to.residual_row,
                        epilogue: self.epilogue,
                    };
                    // SAFETY: the planes lie within source, output and residual.
                    unsafe { rows(&args) };
                    continue;
                }
                let mut args = PixelArgs {
                    blocks: 1,
                    input,
                    offsets: self.offsets.as_ptr(),
                    k,
                    weights: view.weights(o * k),
                    bias: to.bias,
                    slopes: to.slopes,
                    pixels: [0; 2],
                    again: 0,
                    out: to.out,
                    out_channel: 0,
                    residual: to.residual,
                    residual_channel: 0,
                    mask: self.mask.as_ptr(),
                    row: self.row,
                    asks: true,
                    sink: Sink::Store,
                    epilogue: self.epilogue,
                    input_row: self.source.pixel_row,
                };
                let (segments, len) =
                    if plan.flat { (1, (oh - 1) * self.source.pixel_row + ow) } else { (oh, ow) };
                // Only blocks of rows come in bands.
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

    /// # Safety
    /// Lengths are checked; no other thread runs this task.
    pub(super) unsafe fn winograd_task(
        &self,
        plan: &WinogradPlan,
        task: usize,
        view: &RunView<'_>,
        scratch: &mut [f32],
    ) {
        let (image, inner) = (task / plan.tasks(), task % plan.tasks());
        let (band, chunk) = (inner / plan.chunks, inner % plan.chunks);
        let tile_rows = part(plan.down, plan.bands, band);
        let [oh, ow] = self.spec.size;
        let (inputs, lanes) = (self.spec.input.channels, self.isa.lanes());
        let (buffer, rest) = scratch.split_at_mut(buffer_len(plan.across));
        let (patches, products) = rest.split_at_mut(plan.patches_len(inputs));
        let position = plan.position(inputs);
        for channel in 0..inputs {
            let input = self.input_pointer(view, image, channel);
            let y = tile_rows.start * TILE;
            let args = InputArgs {
                input: input.wrapping_add(y * self.source.pixel_row),
                input_row: self.source.pixel_row,
                rows: oh + 2 - y,
                zeros: plan.zeros.as_ptr(),
                columns: ow + 2,
                tile_rows: tile_rows.len(),
                tiles: plan.across,
                buffer: buffer.as_mut_ptr(),
                out: patches[channel * plan.row..].as_mut_ptr(),
                position,
            };
            // SAFETY: `oh + 2` rows of `ow + 2` columns are what a 3 x 3 kernel reads; the patches
            // have room for a vector past the last tile.
            unsafe { (plan.input)(&args) };
        }
        let tiles = (tile_rows.len() * plan.across).next_multiple_of(lanes);
        for block in &plan.blocks[part(plan.blocks.len(), plan.chunks, chunk)] {
            let mr = block.len();
            let product_position = plan.position(mr);
            let mut next = 0;
            for (size, count) in even_tiles(tiles / lanes, max_nr(self.isa, mr)) {
                let args = ProductArgs {
                    products: POSITIONS,
                    input: patches[next * lanes..].as_ptr(),
                    input_product: position,
                    input_row: plan.row,
                    k: inputs,
                    weights: view.weights(block.start * POSITIONS * inputs),
                    out: products[next * lanes..].as_mut_ptr(),
                    out_product: product_position,
                    out_row: plan.row,
                    tiles: count,
                };
                // SAFETY: patches and products hold `row` tiles per channel, `row >= tiles`.
                unsafe { product_tile(self.isa, mr, size)(&args) };
                next += size * count;
            }
            for m in 0..mr {
                let channel = block.start + m;
                let to = self.addresses(view, image, channel);
                let mut sums = [0.0f32; MAX_LANES];
                let sink = TileSink::new(self.spec.tail);
                let y = tile_rows.start * TILE;
                let out_y = if sink == TileSink::MaxPool2 { y / 2 } else { y };
                let args = OutputArgs {
                    products: products[m * plan.row..].as_ptr(),
                    position: product_position,
                    tile_rows: tile_rows.len(),
                    tiles: plan.across,
                    rows: oh - y,
                    columns: ow,
                    bias: view.inputs.bias.map_or(0.0, |bias| bias[channel]),
                    slope: to.slopes,
                    out: if sink == TileSink::Sum {
                        sums.as_mut_ptr()
                    } else {
                        to.out.wrapping_add(out_y * self.spec.output.row_stride)
                    },
                    out_row: self.spec.output.row_stride,
                    residual: to.residual.wrapping_add(y * to.residual_row),
                    residual_row: to.residual_row,
                    sink,
                    epilogue: self.epilogue,
                };
                // SAFETY: the rows exist in output and residual; this task alone writes them.
                unsafe { (plan.output)(&args) };
                if sink == TileSink::Sum {
                    let index = (image * plan.bands + band) * self.spec.output.channels + channel;
                    // SAFETY: the workspace has an element per task and channel, which this task
                    // alone writes.
                    unsafe { *view.sums.add(index) = pairwise_sum(&sums[..lanes]) };
                }
            }
        }
    }

    /// Adds up what the bands left in `sums`, in order.
    ///
    /// # Safety
    /// Lengths are checked; all tasks of the stage before are complete.
    pub(super) unsafe fn average_bands(&self, plan: &WinogradPlan, view: &RunView<'_>) {
        let channels = self.spec.output.channels;
        let pixels = (self.spec.size[0] * self.spec.size[1]) as f32;
        for image in 0..self.spec.input.images {
            for channel in 0..channels {
                let mut sum = 0.0;
                for band in 0..plan.bands {
                    let index = (image * plan.bands + band) * channels + channel;
                    // SAFETY: as where it was written.
                    sum += unsafe { *view.sums.add(index) };
                }
                // SAFETY: the channel's single element.
                unsafe { *self.addresses(view, image, channel).out = sum / pixels };
            }
        }
    }
}

/// The slices of one run, with the source resolved.
pub(super) struct RunView<'a> {
    pub(super) source: &'a [f32],
    /// The strips of [`super::gemm`], if they are packed before all else.
    pub(super) packed: *const f32,
    pub(super) inputs: &'a ConvInputs<'a>,
    pub(super) output: Output<'a>,
    /// Whether these are all tasks: then no other thread runs some of them.
    pub(super) alone: bool,
    /// Means in the making, one per image, band and channel (see [`Conv::stages`]).
    pub(super) sums: *mut f32,
}

impl RunView<'_> {
    fn weights(&self, index: usize) -> *const f32 {
        self.inputs.weights.as_ptr().wrapping_add(index)
    }
}

/// A part of the work on one image and group: of the pixels and of the output channels.
pub(super) struct Share {
    pub(super) image: usize,
    pub(super) group: usize,
    pub(super) chunk: usize,
    pub(super) band: usize,
}

pub(super) struct Addresses {
    bias: *const f32,
    slopes: *const f32,
    residual: *const f32,
    residual_channel: usize,
    residual_row: usize,
    out: *mut f32,
}

/// Sum of up to [`MAX_LANES`] numbers in a fixed pairwise order.
fn pairwise_sum(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; MAX_LANES];
    let mut count = values.len().min(MAX_LANES);
    sums[..count].copy_from_slice(&values[..count]);
    while count > 1 {
        for i in 0..count / 2 {
            sums[i] = sums[2 * i] + sums[2 * i + 1];
        }
        if count % 2 == 1 {
            sums[count / 2] = sums[count - 1];
        }
        count = count.div_ceil(2);
    }
    sums[0]
}
