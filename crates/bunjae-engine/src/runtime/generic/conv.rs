//! Convolution and transposed convolution of any type, with weights that may be computed.

use crate::runtime::memory::StepMemory;
use crate::runtime::number::{Real, by_real};
use crate::runtime::step::StepError;
use crate::runtime::view::View;

use super::operands;
use super::pool::Window;

/// `y[n, o, p] = sum over c, t of weight[o, c, t] x[n, c, p stride + t dilation - pad], + bias[o]`.
#[derive(Debug)]
pub(crate) struct Convolution {
    groups: usize,
    windows: [Window; 2],
    x: View,
    weight: View,
    bias: Option<View>,
    y: View,
}

operands!(Convolution: x, weight, bias -> y);

impl Convolution {
    /// Weights are `[output channels, input channels / groups, rows, columns]`.
    pub(crate) fn new(
        groups: usize,
        windows: [Window; 2],
        [x, weight]: [&View; 2],
        bias: Option<&View>,
        y: &View,
    ) -> Convolution {
        let (x, weight, bias, y) = (x.clone(), weight.clone(), bias.cloned(), y.clone());
        Convolution { groups, windows, x, weight, bias, y }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &Convolution, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, weight) = (memory.read::<T>(&own.x)?, memory.read::<T>(&own.weight)?);
            let bias = own.bias.as_ref().map(|bias| memory.read::<T>(bias)).transpose()?;
            let result = memory.write::<T>(&own.y)?;
            let [vertical, horizontal] = own.windows;
            let group_outputs = own.y.dims[1] / own.groups;
            let group_inputs = own.weight.dims[1];
            for [n, o, py, px] in positions(&own.y) {
                let mut sum = 0.0;
                for c in 0..group_inputs {
                    let channel = o / group_outputs * group_inputs + c;
                    for ty in vertical.inside(py) {
                        for tx in horizontal.inside(px) {
                            let place =
                                [n, channel, vertical.index(py, ty), horizontal.index(px, tx)];
                            let value = x[index(&own.x, place)].to_f64();
                            sum += weight[index(&own.weight, [o, c, ty, tx])].to_f64() * value;
                        }
                    }
                }
                sum += bias_of(&own.bias, bias, o);
                result[index(&own.y, [n, o, py, px])] = T::from_f64(sum);
            }
            Ok(())
        }
        by_real!(self.y.dtype, run(self, memory))
    }
}

/// The transpose of [`Convolution`] as a linear map.
#[derive(Debug)]
pub(crate) struct ConvTransposed {
    groups: usize,
    /// Of the convolution that this transposes: it slides over the result.
    windows: [Window; 2],
    x: View,
    weight: View,
    bias: Option<View>,
    y: View,
}

operands!(ConvTransposed: x, weight, bias -> y);

impl ConvTransposed {
    /// Weights are `[input channels, output channels / groups, rows, columns]`.
    pub(crate) fn new(
        groups: usize,
        windows: [Window; 2],
        [x, weight]: [&View; 2],
        bias: Option<&View>,
        y: &View,
    ) -> ConvTransposed {
        let (x, weight, bias, y) = (x.clone(), weight.clone(), bias.cloned(), y.clone());
        ConvTransposed { groups, windows, x, weight, bias, y }
    }

    pub(super) fn run(&self, memory: &StepMemory<'_>) -> Result<(), StepError> {
        fn run<T: Real>(own: &ConvTransposed, memory: &StepMemory<'_>) -> Result<(), StepError> {
            let (x, weight) = (memory.read::<T>(&own.x)?, memory.read::<T>(&own.weight)?);
            let bias = own.bias.as_ref().map(|bias| memory.read::<T>(bias)).transpose()?;
            let result = memory.write::<T>(&own.y)?;
            let [vertical, horizontal] = own.windows;
            let group_outputs = own.weight.dims[1];
            let group_inputs = own.x.dims[1] / own.groups;
            let [height, width] = [own.x.dims[2], own.x.dims[3]];
            for [n, o, py, px] in positions(&own.y) {
                let (group, filter) = (o / group_outputs, o % group_outputs);
                let mut sum = 0.0;
                for channel in group * group_inputs..(group + 1) * group_inputs {
                    for ty in 0..vertical.taps {
                        let Some(y) = position_of(&vertical, py, ty, height) else { continue };
                        for tx in 0..horizontal.taps {
                            let column = position_of(&horizontal, px, tx, width);
                            let Some(column) = column else { continue };
                            let value = x[index(&own.x, [n, channel, y, column])].to_f64();
                            let weight = weight[index(&own.weight, [channel, filter, ty, tx])];
                            sum += weight.to_f64() * value;
                        }
                    }
                }
                sum += bias_of(&own.bias, bias, o);
                result[index(&own.y, [n, o, py, px])] = T::from_f64(sum);
            }
            Ok(())
        }
        by_real!(self.y.dtype, run(self, memory))
    }
}

/// The position below `count` at which a window's tap lies on the given element, if there is one.
pub(super) fn position_of(
    window: &Window,
    element: usize,
    tap: usize,
    count: usize,
) -> Option<usize> {
    let shifted = (element + window.before).checked_sub(tap * window.dilation)?;
    let position = shifted / window.stride;
    (shifted % window.stride == 0 && position < count).then_some(position)
}

fn bias_of<T: Real>(view: &Option<View>, bias: Option<&[T]>, channel: usize) -> f64 {
    match (view, bias) {
        (Some(view), Some(bias)) => {
            bias[(view.first + channel as isize * view.strides[0]) as usize].to_f64()
        }
        _ => 0.0,
    }
}

/// All places of a picture.
pub(super) fn positions(view: &View) -> impl Iterator<Item = [usize; 4]> {
    let [images, channels, height, width] = [0, 1, 2, 3].map(|axis| view.dims[axis]);
    (0..images * channels * height * width).map(move |index| {
        let (row, x) = (index / width, index % width);
        let (plane, y) = (row / height, row % height);
        [plane / channels, plane % channels, y, x]
    })
}

#[inline]
pub(super) fn index(view: &View, place: [usize; 4]) -> usize {
    let axes = place.iter().zip(&view.strides);
    axes.fold(view.first, |index, (at, stride)| index + *at as isize * stride) as usize
}
