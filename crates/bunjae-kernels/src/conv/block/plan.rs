//! Whether a block can be computed in one go, and its division into tasks.

use super::tile::{Finish, band_pixel, depthwise_tile};
use super::{BlockSpec, ConvBlock, NAME};
use crate::activation::Activation;
use crate::conv::channel::{max_nv, widest_panel};
use crate::conv::plan::{MAX_TASKS, Plan, TASK_MACS, even_tiles, task_target};
use crate::conv::source::Source;
use crate::conv::{Conv, ConvForm, ConvSpec, Tail};
use crate::error::{KernelError, require};
use crate::isa::Isa;
use crate::packing::Packing;
use crate::planar::Planar;

/// Some vectors of the channels between the convolutions.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    /// The first channel.
    pub(super) first: usize,
    pub(super) vectors: usize,
}

/// What is computed of the first convolution at a time: rows of one panel, with the zeros that the
/// depthwise convolution wants around them.
pub(super) struct Band {
    /// Rows of the depthwise result that it serves.
    pub(super) out_rows: usize,
    /// Places for rows, at most [`MAX_ROWS`]: row `r` is in place `r % rows`.
    pub(super) rows: usize,
    /// Elements of a row.
    pub(super) row: usize,
    /// Where the pixels of its rows are read from, relative to the first, and where they go to.
    pub(super) pixel_offsets: Vec<isize>,
    pub(super) out_offsets: Vec<isize>,
}

impl Band {
    /// Elements of one panel.
    pub(super) fn len(&self) -> usize {
        self.rows * self.row
    }
}

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Division {
    /// Some rows of one image.
    Rows { bands: usize },
    /// Some panels of one image; the last convolution is divided as it is by itself.
    Channels { parts: usize },
}

/// Elements that a thread's bands and what follows from them may have: most of a second-level cache of
/// 512 KiB.
const ROWS_LEN: usize = 96 * 1024;

/// Elements of a band of one panel: a tenth of such a cache, so that the input stays in it too.
const BAND_LEN: usize = 12 * 1024;

/// Most rows of a band.
pub(super) const MAX_ROWS: usize = 32;

/// Rows of results from which on a picture is divided by rows: what lies between the convolutions is more
/// than the caches hold.
const LARGE: usize = 32;

/// The least rows of a task, so that what two tasks both compute stays a small share.
const LEAST_ROWS: usize = 14;

/// Elements of scratch memory that are not worth it.
const MOST_SCRATCH: usize = 1024 * 1024;

/// Products of a first convolution that is not pointwise: with more, other forms are faster.
const FEW_PRODUCTS: usize = 64;

impl ConvBlock {
    /// Prepares a block for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the specs contradict
    /// themselves or each other, or are none that a block can compute: then each convolution has to be
    /// computed by itself.
    pub fn new(spec: BlockSpec, isa: Isa) -> Result<ConvBlock, KernelError> {
        ConvBlock::divided(spec, isa, None)
    }

    /// As [`ConvBlock::new`], with a given division and number of rows at a time, or the best.
    pub(super) fn divided(
        spec: BlockSpec,
        isa: Isa,
        division: Option<(Division, usize)>,
    ) -> Result<ConvBlock, KernelError> {
        isa.require()?;
        let BlockSpec { expand, depthwise, project } = spec;
        for part in [&expand, &depthwise, &project] {
            part.check()?;
        }
        let source = Source::new(&expand, false, 0);
        let finish = check(&spec, &source)?;
        let kernel = depthwise.kernel[0];
        let tile = depthwise_tile(isa, kernel, depthwise.stride[1], depthwise.size[1]);
        let depthwise_tile = tile.ok_or_else(|| refused(&spec))?;

        let channels = expand.output.channels;
        let lanes = isa.lanes();
        let mut panels = Vec::new();
        for (vectors, count) in even_tiles(channels.div_ceil(lanes), max_nv(isa)) {
            for _ in 0..count {
                let first = panels.last().map_or(0, |p: &Panel| p.first + p.vectors * lanes);
                panels.push(Panel { first, vectors });
            }
        }
        let width = channels.next_multiple_of(lanes);
        let (division, out_rows) = match division {
            Some((division, rows)) => (division, rows.min(most_rows(&depthwise))),
            None => divide(&spec, isa, panels.len(), width)?,
        };
        let widths = || panels.iter().map(|panel| panel.vectors * lanes);
        let project = interleaved(project, isa, width)?;
        Ok(ConvBlock {
            packings: [
                Packing::panels(1, expand.k(), channels, widths()),
                Packing::panels(1, kernel * kernel, channels, widths()),
                project.packing.clone(),
            ],
            offsets: source.offsets(expand.input.channels),
            band: Band::new(&spec, isa, &source, out_rows),
            source,
            finish,
            depthwise_tile,
            panels,
            division,
            project,
            spec,
            isa,
        })
    }
}

fn refused(spec: &BlockSpec) -> KernelError {
    KernelError::Geometry { kernel: NAME, reason: format!("not a block: {spec:?}") }
}

/// Refuses what a block cannot compute; returns what follows the first two convolutions.
fn check(spec: &BlockSpec, source: &Source) -> Result<[Finish; 2], KernelError> {
    let BlockSpec { expand, depthwise, project } = spec;
    let shape = |p: &Planar| [p.images, p.channels, p.height, p.width];
    let joined = shape(&expand.output) == shape(&depthwise.input)
        && shape(&depthwise.output) == shape(&project.input);
    require(NAME, joined, || format!("the convolutions do not follow one another: {spec:?}"))?;
    let plain = |part: &ConvSpec| part.residual.is_none() && part.tail == Tail::Store;
    let pointwise = |part: &ConvSpec| {
        (part.kernel, part.stride, part.padding) == ([1, 1], [1, 1], [0, 0])
            && part.size == [part.input.height, part.input.width]
    };
    let [side, columns] = depthwise.kernel;
    let able = plain(expand)
        && expand.groups == 1
        && (pointwise(expand) || expand.k() <= FEW_PRODUCTS)
        && source.copy.is_none()
        && plain(depthwise)
        && depthwise.is_depthwise()
        && depthwise.output.channels == depthwise.input.channels
        && side == columns
        && depthwise.dilation == [1, 1]
        && depthwise.stride[0] <= side
        && depthwise.padding.iter().chain(&depthwise.padding_end()).all(|zeros| *zeros < side)
        && pointwise(project)
        && project.groups == 1
        && project.tail == Tail::Store
        && project.activation != Activation::Prelu;
    require(NAME, able, || format!("not a block: {spec:?}"))?;
    let finish =
        |part: &ConvSpec| Finish::new(part.activation.fused()).ok_or_else(|| refused(spec));
    Ok([finish(expand)?, finish(depthwise)?])
}

/// Rows of the first convolution that so many rows of the depthwise one read.
fn rows_read(depthwise: &ConvSpec, out_rows: usize) -> usize {
    (out_rows - 1) * depthwise.stride[0] + depthwise.kernel[0]
}

/// The most rows of the depthwise result that a band serves.
fn most_rows(depthwise: &ConvSpec) -> usize {
    let [kernel, stride] = [depthwise.kernel[0], depthwise.stride[0]];
    depthwise.size[0].min((MAX_ROWS - kernel) / stride + 1)
}

/// Elements of a row of a band.
fn band_row(depthwise: &ConvSpec, isa: Isa) -> usize {
    let read = (depthwise.size[1] - 1) * depthwise.stride[1] + depthwise.kernel[1];
    read.max(depthwise.padding[1] + depthwise.input.width) * band_pixel(isa)
}

/// The division of a block, and the rows of the depthwise result that are computed at a time.
fn divide(
    spec: &BlockSpec,
    isa: Isa,
    panels: usize,
    width: usize,
) -> Result<(Division, usize), KernelError> {
    let depthwise = &spec.depthwise;
    let [height, columns] = depthwise.size;
    let row = band_row(depthwise, isa);
    let most = |len: usize, of: &dyn Fn(usize) -> usize| {
        (1..=most_rows(depthwise)).take_while(|rows| of(*rows) <= len).last().unwrap_or(1)
    };
    let band = |rows: usize| rows_read(depthwise, rows) * row;
    let all = |rows: usize| panels * band(rows) + rows * columns * (width + widest_panel(isa));
    if height >= LARGE && all(1) <= MOST_SCRATCH {
        let target = ((spec.macs() / spec.expand.input.images as u64) / TASK_MACS)
            .clamp(1, MAX_TASKS as u64) as usize;
        let bands = target.min((height / LEAST_ROWS).max(1));
        return Ok((Division::Rows { bands }, most(ROWS_LEN, &all)));
    }
    require(NAME, band(1) <= MOST_SCRATCH, || format!("rows are too long: {spec:?}"))?;
    let parts = task_target(&spec.expand).min(panels);
    Ok((Division::Channels { parts }, most(BAND_LEN, &band)))
}

impl Band {
    fn new(spec: &BlockSpec, isa: Isa, source: &Source, out_rows: usize) -> Band {
        let rows = rows_read(&spec.depthwise, out_rows);
        let row = band_row(&spec.depthwise, isa);
        let width = spec.expand.size[1];
        let pixels = rows.min(spec.expand.size[0]) * width;
        let offsets = |row: usize, column: usize| {
            (0..pixels).map(|p| (p / width * row + p % width * column) as isize).collect()
        };
        Band {
            out_rows,
            rows,
            row,
            pixel_offsets: offsets(source.pixel_row, source.pixel_column),
            out_offsets: offsets(row, band_pixel(isa)),
        }
    }
}

/// A pointwise convolution in the channel form, over pixels whose channels lie next to each other, in
/// steps of `pixel` elements.
fn interleaved(spec: ConvSpec, isa: Isa, pixel: usize) -> Result<Conv, KernelError> {
    let mut conv = Conv::new(ConvSpec { form: Some(ConvForm::Channel), ..spec }, isa)?;
    let pixels = spec.size[0] * spec.size[1];
    conv.offsets = (0..spec.k() as isize).collect();
    if let Plan::Channel(plan) = &mut conv.plan {
        plan.pixel_offsets = (0..pixels).map(|p| (p * pixel) as isize).collect();
    }
    conv.source.first = 0;
    conv.source.image_stride = pixels * pixel;
    Ok(conv)
}
