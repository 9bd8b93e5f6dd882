//! Packing weights that lie in any order, into memory that is there.
//!
//! Inference packs once; training packs at every step, so this allocates nothing and is divided into
//! tasks. The weights are read through strides: the convolution that computes an input gradient
//! reads the same weights with inputs and outputs exchanged and the taps backwards.

use std::ops::Range;

use super::{Order, Packing, Panel};
use crate::conv::{ConvSpec, POSITIONS, transform_kernel};
use crate::error::{KernelError, require, require_len};
use crate::output::{Output, part};

const NAME: &str = "packing";

/// Most tasks.
const MAX_TASKS: usize = 16;

/// Where weights lie: how many there are along each axis, and the distance between neighbours in
/// elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightLayout {
    /// Index of the weight of the first group, output, input, row and column.
    pub first: usize,
    /// Groups.
    pub groups: Axis,
    /// Outputs of a group.
    pub outputs: Axis,
    /// Inputs of a group.
    pub inputs: Axis,
    /// Rows of a kernel.
    pub rows: Axis,
    /// Columns of a kernel.
    pub columns: Axis,
}

/// An axis of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// How many there are.
    pub count: usize,
    /// Elements from one to the next.
    pub stride: isize,
}

impl WeightLayout {
    /// Axes of these extents without gaps, the last one the innermost.
    fn dense([groups, outputs, inputs, rows, columns]: [usize; 5]) -> WeightLayout {
        let axis = |count: usize, stride: usize| Axis { count, stride: stride as isize };
        let kernel = rows * columns;
        WeightLayout {
            first: 0,
            groups: axis(groups, outputs * inputs * kernel),
            outputs: axis(outputs, inputs * kernel),
            inputs: axis(inputs, kernel),
            rows: axis(rows, columns),
            columns: axis(columns, 1),
        }
    }

    /// `[output channels][input channels / groups][rows][columns]`, as the convolution of `spec`
    /// uses them.
    pub fn forward(spec: &ConvSpec) -> WeightLayout {
        let [rows, columns] = spec.kernel;
        let outputs = spec.output.channels / spec.groups;
        let inputs = spec.input.channels / spec.groups;
        WeightLayout::dense([spec.groups, outputs, inputs, rows, columns])
    }

    /// The same weights as [`WeightLayout::forward`], as the convolution from the gradient of the
    /// result of `spec` to that of its input uses them: channels exchanged, taps backwards.
    pub fn input_gradient(spec: &ConvSpec) -> WeightLayout {
        let own = WeightLayout::forward(spec);
        let backwards = |axis: Axis| Axis { stride: -axis.stride, ..axis };
        WeightLayout {
            first: own.rows.count * own.columns.count - 1,
            outputs: own.inputs,
            inputs: own.outputs,
            rows: backwards(own.rows),
            columns: backwards(own.columns),
            ..own
        }
    }

    /// A matrix of a layer, with the distances from the weights of an output to those of the next, and
    /// from the weight of an input to that of the next.
    pub fn matrix([outputs, inputs]: [usize; 2], strides: [usize; 2]) -> WeightLayout {
        let axis = |count: usize, stride: usize| Axis { count, stride: stride as isize };
        WeightLayout {
            outputs: axis(outputs, strides[0]),
            inputs: axis(inputs, strides[1]),
            ..WeightLayout::dense([1; 5])
        }
    }

    /// Whether the weights lie without gaps: groups, outputs, inputs, rows and columns, the last one
    /// the innermost.
    pub fn is_dense(&self) -> bool {
        let axes =
            |own: &WeightLayout| [own.groups, own.outputs, own.inputs, own.rows, own.columns];
        let dense = WeightLayout::dense(axes(self).map(|axis| axis.count));
        let same = |(own, dense): (Axis, Axis)| own.count == 1 || own == dense;
        self.first == 0 && axes(self).into_iter().zip(axes(&dense)).all(same)
    }

    /// The least number of weights that holds every element; `None` where one would lie before the
    /// first.
    fn reach(&self) -> Option<usize> {
        let mut low = isize::try_from(self.first).ok()?;
        let mut high = low;
        for axis in [self.groups, self.outputs, self.inputs, self.rows, self.columns] {
            let steps = isize::try_from(axis.count.checked_sub(1)?).ok()?;
            let reach = axis.stride.checked_mul(steps)?;
            if reach < 0 {
                low = low.checked_add(reach)?;
            } else {
                high = high.checked_add(reach)?;
            }
        }
        (low >= 0).then_some(high as usize + 1)
    }

    /// Index of the weight of an output (counted over all groups) with the first input and tap.
    fn output(&self, output: usize) -> isize {
        let (group, own) = (output / self.outputs.count, output % self.outputs.count);
        self.first as isize
            + group as isize * self.groups.stride
            + own as isize * self.outputs.stride
    }

    /// Calls with each product's distance from that of the first input and tap: input by input, row
    /// by row, column by column.
    fn products(&self, mut visit: impl FnMut(usize, isize)) {
        let mut index = 0;
        for i in 0..self.inputs.count as isize {
            for y in 0..self.rows.count as isize {
                for x in 0..self.columns.count as isize {
                    let distance =
                        i * self.inputs.stride + y * self.rows.stride + x * self.columns.stride;
                    visit(index, distance);
                    index += 1;
                }
            }
        }
    }
}

impl Packing {
    /// Packs weights given as `[outputs][products]`.
    ///
    /// # Errors
    /// [`KernelError::Length`] if there are not exactly [`Packing::weights_len`].
    pub fn pack(&self, weights: &[f32]) -> Result<Vec<f32>, KernelError> {
        let (expected, found) = (self.weights_len(), weights.len());
        if expected != found {
            return Err(KernelError::Length { kernel: NAME, what: "weights", expected, found });
        }
        let outputs = expected / self.products / self.groups;
        let layout = match self.order {
            Order::Winograd(_) => {
                WeightLayout::dense([self.groups, outputs, self.products / 9, 3, 3])
            }
            _ => WeightLayout::dense([self.groups, outputs, self.products, 1, 1]),
        };
        let mut packed = vec![0.0; self.packed_len()];
        self.pack_into(weights, &layout, &mut packed)?;
        Ok(packed)
    }

    /// Packs weights that lie as `layout` says. Allocates nothing.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short, [`KernelError::Geometry`] if the extents of
    /// the layout are not those of the packing.
    pub fn pack_into(
        &self,
        weights: &[f32],
        layout: &WeightLayout,
        packed: &mut [f32],
    ) -> Result<(), KernelError> {
        // SAFETY: all tasks on one thread.
        unsafe { self.pack_tasks(0..self.tasks(), weights, layout, Output::new(packed)) }
    }

    /// Number of tasks of [`Packing::pack_tasks`].
    pub fn tasks(&self) -> usize {
        // A task is worth a few microseconds.
        (self.packed_len() >> 13).clamp(1, MAX_TASKS).min(self.units())
    }

    /// The parts of the packed weights that are filled independently of each other.
    fn units(&self) -> usize {
        match &self.order {
            Order::Plain(outputs) => self.groups * outputs,
            Order::Blocks(blocks) | Order::Winograd(blocks) => self.groups * blocks.len(),
            Order::Panels(panels) => self.groups * panels.len(),
        }
    }

    /// Runs some tasks of packing.
    ///
    /// # Errors
    /// As [`Packing::pack_into`].
    ///
    /// # Safety
    /// Calls that run at the same time with the same `packed` name disjoint tasks; `packed` does
    /// not overlap the weights.
    pub unsafe fn pack_tasks(
        &self,
        tasks: Range<usize>,
        weights: &[f32],
        layout: &WeightLayout,
        packed: Output<'_>,
    ) -> Result<(), KernelError> {
        let products = layout.inputs.count * layout.rows.count * layout.columns.count;
        let outputs = layout.groups.count * layout.outputs.count;
        let fits = products == self.products
            && outputs * products == self.weights_len()
            && (matches!(self.order, Order::Plain(_)) || self.groups == layout.groups.count);
        let three = layout.rows.count == 3 && layout.columns.count == 3;
        let fits = fits && (three || !matches!(self.order, Order::Winograd(_)));
        require(NAME, fits, || format!("{layout:?} for {self}"))?;
        let reach = layout.reach().ok_or_else(|| KernelError::Geometry {
            kernel: NAME,
            reason: format!("weights that begin before their memory: {layout:?}"),
        })?;
        require_len(NAME, "the weights", reach, weights.len())?;
        require_len(NAME, "the packed weights", self.packed_len(), packed.len())?;
        let count = self.tasks();
        require(NAME, tasks.end <= count, || format!("tasks {tasks:?} of {count}"))?;
        for task in tasks {
            for unit in part(self.units(), count, task) {
                let unit = self.unit(unit);
                let len = unit.len * self.products;
                // SAFETY: the units are disjoint parts of the packed weights, whose length is
                // checked, and this task alone writes this one (the caller's promise).
                let to =
                    unsafe { std::slice::from_raw_parts_mut(packed.ptr().add(unit.start), len) };
                match self.order {
                    Order::Winograd(_) => transform(weights, layout, &unit.outputs, to),
                    _ => interleave(weights, layout, &unit.outputs, to),
                }
            }
        }
        Ok(())
    }

    fn unit(&self, unit: usize) -> Unit {
        let widths: &dyn Fn(usize) -> Panel = match &self.order {
            Order::Plain(_) => {
                let start = unit * self.products;
                return Unit { outputs: unit..unit + 1, start, len: 1 };
            }
            Order::Blocks(blocks) => &|at| Panel { outputs: blocks[at], width: blocks[at] },
            // Transformed kernels are longer.
            Order::Winograd(blocks) => {
                &|at| Panel { outputs: blocks[at], width: blocks[at] * POSITIONS / 9 }
            }
            Order::Panels(panels) => &|at| panels[at],
        };
        let per_group = self.units() / self.groups;
        let (group, index) = (unit / per_group, unit % per_group);
        let all = (0..per_group).map(widths);
        let (outputs, width) = all.fold((0, 0), |sum, p| (sum.0 + p.outputs, sum.1 + p.width));
        let before = (0..index).map(widths);
        let (first, skipped) = before.fold((0, 0), |sum, p| (sum.0 + p.outputs, sum.1 + p.width));
        let own = widths(index);
        let first = group * outputs + first;
        Unit {
            outputs: first..first + own.outputs,
            start: (group * width + skipped) * self.products,
            len: own.width,
        }
    }
}

/// A part of the packed weights: its outputs, counted over all groups, where it starts, and how many
/// times all products it is long.
struct Unit {
    outputs: Range<usize>,
    start: usize,
    len: usize,
}

/// Product by product, the weights of all outputs, and zeros up to the width that `to` is long
/// enough for.
fn interleave(weights: &[f32], layout: &WeightLayout, outputs: &Range<usize>, to: &mut [f32]) {
    let products = layout.inputs.count * layout.rows.count * layout.columns.count;
    let width = to.len() / products;
    let first = layout.output(outputs.start);
    layout.products(|product, distance| {
        let to = &mut to[product * width..][..width];
        let (to, padding) = to.split_at_mut(outputs.len());
        let mut from = first + distance;
        if layout.outputs.stride == 1 {
            to.copy_from_slice(&weights[from as usize..][..to.len()]);
        } else {
            for to in to {
                *to = weights[from as usize];
                from += layout.outputs.stride;
            }
        }
        padding.fill(0.0);
    });
}

/// Transformed kernels: position by position, input by input, the weights of all outputs.
fn transform(weights: &[f32], layout: &WeightLayout, outputs: &Range<usize>, to: &mut [f32]) {
    let inputs = layout.inputs.count;
    for (o, output) in outputs.clone().enumerate() {
        for i in 0..inputs {
            let first = layout.output(output) + i as isize * layout.inputs.stride;
            let mut kernel = [0.0; 9];
            for (tap, value) in kernel.iter_mut().enumerate() {
                let (y, x) = ((tap / 3) as isize, (tap % 3) as isize);
                let from = first + y * layout.rows.stride + x * layout.columns.stride;
                *value = weights[from as usize];
            }
            for (position, value) in transform_kernel(&kernel).into_iter().enumerate() {
                to[(position * inputs + i) * outputs.len() + o] = value;
            }
        }
    }
}
