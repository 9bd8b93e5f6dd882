//! Convolution and transposed convolution.

use std::ops::Range;

use bunjae_ir::op::{Conv2d, ConvTranspose2d, Groups};
use bunjae_tensor::Tensor;

use crate::error::EvalError;
use crate::eval::{fill, sizes};
use crate::number::Real;
use crate::window::Window;

/// How many output channels are summed at once, so that reading the taps costs little.
const FILTERS: usize = 16;

/// About how many positions are summed at once, so that the sums stay in the nearest cache.
const POSITIONS: usize = 128;

pub(crate) fn group_count(groups: Groups, channels: usize) -> usize {
    match groups {
        Groups::Dense => 1,
        Groups::Grouped(count) => count,
        Groups::Depthwise => channels,
    }
}

/// `y[n, o, p] = sum over c, t of weight[o, c, t] x[n, c, p stride + t dilation - pad], + bias[o]`
/// with zeros around the picture, in each group of channels.
pub(crate) fn conv2d<T: Real>(
    op: &Conv2d,
    inputs: &[&Tensor],
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let x = inputs[0].elements::<T>()?;
    let bias = inputs.get(2).map(|bias| bias.elements::<T>()).transpose()?;
    let [_, channels, height, width] = sizes(inputs[0])?;
    let [filters, group_channels, kernel_height, kernel_width] = sizes(inputs[1])?;
    let group_filters = filters / group_count(op.groups, channels);
    let ([down, right], [top, left, ..]) = (op.stride, op.pad);
    let [dilation_down, dilation_right] = op.dilation;
    let filter_bank = FilterBank {
        weights: inputs[1].elements::<T>()?,
        channels: group_channels,
        kernel: [kernel_height, kernel_width],
        vertical: Window { size: height, stride: down, dilation: dilation_down, before: top },
        horizontal: Window { size: width, stride: right, dilation: dilation_right, before: left },
    };

    fill::<T>(shape, |result| {
        let (out_height, out_width) = (shape[2], shape[3]);
        let tile = (POSITIONS / out_width).clamp(1, out_height);
        let mut taps = vec![0.0; tile * out_width];
        let mut sums = vec![0.0; FILTERS.min(group_filters) * tile * out_width];
        let picture = filters * out_height * out_width;
        for (n, result) in result.chunks_exact_mut(picture).enumerate() {
            for first in block_starts(filters, group_filters) {
                let group = first / group_filters;
                let count = FILTERS.min((group + 1) * group_filters - first);
                let seen = n * channels + group * group_channels;
                let planes = &x[seen * height * width..][..group_channels * height * width];
                for top in (0..out_height).step_by(tile) {
                    let rows = top..out_height.min(top + tile);
                    let positions = rows.len() * out_width;
                    let (taps, sums) = (&mut taps[..positions], &mut sums[..count * positions]);
                    filter_bank.sum(planes, first, rows, taps, sums);
                    for (o, sums) in (first..).zip(sums.chunks_exact(positions)) {
                        let bias = bias.map_or(0.0, |bias| bias[o].to_f64());
                        let start = (o * out_height + top) * out_width;
                        for (y, sum) in result[start..].iter_mut().zip(sums) {
                            *y = T::from_f64(sum + bias);
                        }
                    }
                }
            }
        }
    })
}

/// The first filter of each block of filters that are summed at once: no block reaches over the
/// border of a group.
fn block_starts(filters: usize, group_filters: usize) -> impl Iterator<Item = usize> {
    let groups = (0..filters).step_by(group_filters);
    groups.flat_map(move |group| (group..group + group_filters).step_by(FILTERS))
}

/// The weights of a convolution, and how they slide over the picture.
struct FilterBank<'a, T> {
    /// `[filter, channel, row, column]`.
    weights: &'a [T],
    /// The channels that each filter sees.
    channels: usize,
    kernel: [usize; 2],
    vertical: Window,
    horizontal: Window,
}

impl<T: Real> FilterBank<'_, T> {
    /// Convolves the planes of one group with the filters from `first` on, as many as `sums` has
    /// room for, at the given rows of the result. `taps` is room for one element per position.
    fn sum(
        &self,
        planes: &[T],
        first: usize,
        rows: Range<usize>,
        taps: &mut [f64],
        sums: &mut [f64],
    ) {
        let [kernel_height, kernel_width] = self.kernel;
        let plane = self.vertical.size * self.horizontal.size;
        let width = taps.len() / rows.len();
        sums.fill(0.0);
        for channel in 0..self.channels {
            let plane = &planes[channel * plane..][..plane];
            for ky in 0..kernel_height {
                for kx in 0..kernel_width {
                    for (y, row) in rows.clone().zip(taps.chunks_exact_mut(width)) {
                        let y = self.vertical.index(y, ky);
                        read_row(plane, y, &self.horizontal, kx, row);
                    }
                    for (o, sums) in (first..).zip(sums.chunks_exact_mut(taps.len())) {
                        let place = (o * self.channels + channel) * kernel_height + ky;
                        let weight = self.weights[place * kernel_width + kx].to_f64();
                        for (sum, value) in sums.iter_mut().zip(&*taps) {
                            *sum += weight * value;
                        }
                    }
                }
            }
        }
    }
}

/// Reads what one tap of the kernel sees along a row of the result: row `y` of the picture with
/// zeros around it, or only zeros above and below the picture.
fn read_row<T: Real>(plane: &[T], y: Option<usize>, across: &Window, tap: usize, row: &mut [f64]) {
    let inside = across.positions(tap, row.len());
    let (Some(y), false) = (y, inside.is_empty()) else { return row.fill(0.0) };
    row[..inside.start].fill(0.0);
    row[inside.end..].fill(0.0);
    let first = inside.start * across.stride + tap * across.dilation - across.before;
    let source = &plane[y * across.size..(y + 1) * across.size][first..];
    let row = &mut row[inside];
    if across.stride == 1 {
        // The same as below, in a form that the compiler turns into vector loads.
        row.iter_mut().zip(source).for_each(|(value, x)| *value = x.to_f64());
    } else {
        let source = source.iter().step_by(across.stride);
        row.iter_mut().zip(source).for_each(|(value, x)| *value = x.to_f64());
    }
}

/// The transpose of [`conv2d`] as a linear map: each element of x spreads its kernel over the
/// result, of which `pad` is cut off.
pub(crate) fn conv_transpose2d<T: Real>(
    op: &ConvTranspose2d,
    inputs: &[&Tensor],
    shape: &[usize],
) -> Result<Tensor, EvalError> {
    let (x, weights) = (inputs[0].elements::<T>()?, inputs[1].elements::<T>()?);
    let bias = inputs.get(2).map(|bias| bias.elements::<T>()).transpose()?;
    let [_, channels, height, width] = sizes(inputs[0])?;
    let [_, group_filters, kernel_height, kernel_width] = sizes(inputs[1])?;
    let ([down, right], [top, left, ..]) = (op.stride, op.pad);
    let [dilation_down, dilation_right] = op.dilation;

    fill::<T>(shape, |result| {
        let (filters, out_height, out_width) = (shape[1], shape[2], shape[3]);
        let group_channels = channels / group_count(op.groups, channels);
        let vertical =
            Window { size: out_height, stride: down, dilation: dilation_down, before: top };
        let horizontal =
            Window { size: out_width, stride: right, dilation: dilation_right, before: left };
        let mut sums = vec![0.0; out_height * out_width];
        for (place, result) in result.chunks_exact_mut(out_height * out_width).enumerate() {
            let (n, o) = (place / filters, place % filters);
            let (group, filter) = (o / group_filters, o % group_filters);
            sums.fill(0.0);
            for channel in group * group_channels..(group + 1) * group_channels {
                let plane = &x[(n * channels + channel) * height * width..][..height * width];
                for ky in 0..kernel_height {
                    for kx in 0..kernel_width {
                        let place = (channel * group_filters + filter) * kernel_height + ky;
                        let weight = weights[place * kernel_width + kx].to_f64();
                        let inside = horizontal.positions(kx, width);
                        for y in vertical.positions(ky, height) {
                            let to = [vertical.index(y, ky), horizontal.index(inside.start, kx)];
                            let [Some(row), Some(column)] = to else { continue };
                            let sums = &mut sums[row * out_width..(row + 1) * out_width][column..];
                            let source = &plane[y * width..(y + 1) * width][inside.clone()];
                            for (sum, value) in sums.iter_mut().step_by(right).zip(source) {
                                *sum += weight * value.to_f64();
                            }
                        }
                    }
                }
            }
            let bias = bias.map_or(0.0, |bias| bias[o].to_f64());
            result.iter_mut().zip(&sums).for_each(|(y, sum)| *y = T::from_f64(sum + bias));
        }
    })
}
