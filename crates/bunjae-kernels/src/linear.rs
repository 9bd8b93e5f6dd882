//! Fully connected layers: `out[b][o] = activation(sum_i x[b][i] * w[o][i] + bias[o])`.
//!
//! The result is dense; the input may lie in any order, so that the gradient of the weights, a product
//! with the transposed gradient of the result, is such a layer too.
//!
//! A small batch is one dot product per output over the rows of the weights as they are, limited
//! by the speed at which those arrive from memory. A larger batch is a matrix product through the
//! tiles of the convolution's channel form, which use every weight for six rows of the batch.

use std::ops::Range;

use crate::activation::{Activation, RunArgs, RunInPlace};
use crate::conv::{ChannelArgs, K_BLOCK, PanelWeights, channel_tile, even_tiles, max_nv, max_px};
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::packing::Packing;
use crate::simd::{Body, Entry, Simd, entry};

const NAME: &str = "linear";

/// Batches below this use dot products, if the elements of a row are neighbours.
const PANEL_BATCH: usize = 4;

/// Rows of the batch that one task of the matrix product handles at a time.
const BATCH_BLOCK: usize = 96;

/// Multiply-accumulates below which a task is not worth it.
const TASK_MACS: usize = 1 << 16;

/// Everything about a fully connected layer except its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearSpec {
    /// Rows of input and output.
    pub batch: usize,
    /// Elements of an input row.
    pub inputs: usize,
    /// Elements of an output row.
    pub outputs: usize,
    /// The distance from an input row to the next, and from an element of a row to the next.
    pub strides: [usize; 2],
    /// Applied after the bias; [`Activation::Prelu`] is refused, there are no channels.
    pub activation: Activation,
}

impl LinearSpec {
    /// A layer of a dense input, without activation.
    pub fn dense(batch: usize, inputs: usize, outputs: usize) -> LinearSpec {
        let (strides, activation) = ([inputs, 1], Activation::Identity);
        LinearSpec { batch, inputs, outputs, strides, activation }
    }

    /// Elements from the first of the input to the last.
    fn input_len(&self) -> usize {
        (self.batch - 1) * self.strides[0] + (self.inputs - 1) * self.strides[1] + 1
    }
}

/// A prepared fully connected layer.
pub struct Linear {
    spec: LinearSpec,
    isa: Isa,
    dot: Entry<DotArgs>,
    run_in_place: Entry<RunArgs>,
    /// Vectors per panel of outputs; empty for the dot form.
    panels: Vec<usize>,
    rows: Vec<isize>,
    columns: Vec<isize>,
    zeros: Vec<f32>,
    tasks: usize,
    packing: Packing,
}

struct DotArgs {
    x: *const f32,
    weights: *const f32,
    inputs: usize,
    outputs: usize,
    bias: *const f32,
    out: *mut f32,
}

/// Dot products of one input row with consecutive rows of weights.
struct Dot;

/// `R` outputs at once, each in two interleaved sums.
///
/// # Safety
/// As [`Body::run`] of [`Dot`], for outputs `o..o + R`.
#[inline(always)]
unsafe fn dot<S: Simd, const R: usize>(a: &DotArgs, o: usize) {
    let l = S::LANES;
    // SAFETY: all reads lie within `inputs` elements of `x` and of each row of weights.
    unsafe {
        let mut acc = [[S::zero(); 2]; R];
        let row = |r: usize| a.weights.add((o + r) * a.inputs);
        let mut i = 0;
        while i + 2 * l <= a.inputs {
            let x = [S::load(a.x.add(i)), S::load(a.x.add(i + l))];
            for r in 0..R {
                acc[r][0] = S::fma(x[0], S::load(row(r).add(i)), acc[r][0]);
                acc[r][1] = S::fma(x[1], S::load(row(r).add(i + l)), acc[r][1]);
            }
            i += 2 * l;
        }
        while i < a.inputs {
            let n = (a.inputs - i).min(l);
            let x = S::load_n(a.x.add(i), n);
            for r in 0..R {
                acc[r][0] = S::fma(x, S::load_n(row(r).add(i), n), acc[r][0]);
            }
            i += n;
        }
        for r in 0..R {
            let sum = S::sum(S::add(acc[r][0], acc[r][1]));
            *a.out.add(o + r) = sum + *a.bias.add(o + r);
        }
    }
}

impl Body<DotArgs> for Dot {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &DotArgs) {
        // SAFETY: the blocks cover the outputs that exist.
        unsafe {
            let mut o = 0;
            while o + 4 <= a.outputs {
                dot::<S, 4>(a, o);
                o += 4;
            }
            while o < a.outputs {
                dot::<S, 1>(a, o);
                o += 1;
            }
        }
    }
}

impl Linear {
    /// Prepares a layer for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] for empty extents.
    pub fn new(spec: LinearSpec, isa: Isa) -> Result<Linear, KernelError> {
        isa.require()?;
        let LinearSpec { batch, inputs, outputs, strides, activation } = spec;
        let limit = isize::MAX as u128 / 64;
        let size = (batch as u128 + outputs as u128) * (inputs as u128 + outputs as u128);
        let reach = [batch, inputs].into_iter().zip(strides);
        let reach = reach.fold(size, |sum, (count, stride)| {
            sum.saturating_add((count as u128).saturating_mul(stride as u128))
        });
        require(NAME, batch > 0 && inputs > 0 && outputs > 0 && reach < limit, || {
            format!("impossible extents: {spec:?}")
        })?;
        require(NAME, activation != Activation::Prelu, || "no slopes per channel".to_owned())?;
        let mut panels = Vec::new();
        if batch >= PANEL_BATCH || strides[1] != 1 {
            for (nv, count) in even_tiles(outputs.div_ceil(isa.lanes()), max_nv(isa)) {
                panels.extend(std::iter::repeat_n(nv, count));
            }
        }
        let packing = if panels.is_empty() {
            Packing::plain(outputs, inputs)
        } else {
            let widths = panels.iter().map(|vectors| vectors * isa.lanes());
            Packing::panels(1, inputs, outputs, widths)
        };
        let most = if panels.is_empty() { outputs.div_ceil(16) } else { panels.len() };
        Ok(Linear {
            spec,
            isa,
            dot: entry::<Dot, DotArgs>(isa),
            run_in_place: entry::<RunInPlace, RunArgs>(isa),
            rows: (0..batch).map(|b| (b * strides[0]) as isize).collect(),
            columns: (0..inputs).map(|i| (i * strides[1]) as isize).collect(),
            zeros: vec![0.0; outputs],
            tasks: (batch * inputs * outputs / TASK_MACS).clamp(1, most.min(16)),
            panels,
            packing,
        })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        let widest = self.panels.iter().max().copied().unwrap_or(0);
        self.spec.batch.min(BATCH_BLOCK) * widest * self.isa.lanes()
    }

    /// The order of the packed weights.
    pub fn packing(&self) -> &Packing {
        &self.packing
    }

    /// Elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.packing.packed_len()
    }

    /// Packs weights given as `[outputs][inputs]`.
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
        input: &[f32],
        weights: &[f32],
        bias: Option<&[f32]>,
        output: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let output = Output::new(output);
        // SAFETY: all tasks on one thread.
        unsafe { self.run_tasks(0..self.tasks, input, weights, bias, output, scratch) }
    }

    /// Runs some tasks.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same `output` name disjoint tasks and different
    /// `scratch`; `output` overlaps no other argument.
    pub unsafe fn run_tasks(
        &self,
        tasks: Range<usize>,
        input: &[f32],
        weights: &[f32],
        bias: Option<&[f32]>,
        output: Output<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let LinearSpec { batch, outputs, .. } = self.spec;
        require_len(NAME, "the input", self.spec.input_len(), input.len())?;
        require_len(NAME, "the packed weights", self.packed_len(), weights.len())?;
        require_len(NAME, "the output", batch * outputs, output.len())?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        if let Some(bias) = bias {
            require_len(NAME, "the bias", outputs, bias.len())?;
        }
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        let bias = bias.unwrap_or(&self.zeros);
        for task in tasks {
            if self.panels.is_empty() {
                let range = part(outputs, self.tasks, task);
                // SAFETY: the slices are long enough; this task alone writes these outputs.
                unsafe { self.dots(range, input, weights, bias, output) };
            } else {
                for panel in part(self.panels.len(), self.tasks, task) {
                    // SAFETY: as above.
                    unsafe { self.panel(panel, input, weights, bias, output, scratch) };
                }
            }
        }
        Ok(())
    }

    /// # Safety
    /// Lengths are checked; no other thread writes these outputs.
    unsafe fn dots(
        &self,
        range: Range<usize>,
        input: &[f32],
        weights: &[f32],
        bias: &[f32],
        output: Output<'_>,
    ) {
        let LinearSpec { batch, inputs, outputs, strides, activation } = self.spec;
        for b in 0..batch {
            let args = DotArgs {
                x: input[b * strides[0]..].as_ptr(),
                weights: weights[range.start * inputs..].as_ptr(),
                inputs,
                outputs: range.len(),
                bias: bias[range.start..].as_ptr(),
                out: output.ptr().wrapping_add(b * outputs + range.start),
            };
            // SAFETY: passed on.
            unsafe {
                (self.dot)(&args);
                (self.run_in_place)(&RunArgs { data: args.out, len: range.len(), activation });
            }
        }
    }

    /// # Safety
    /// Lengths are checked; no other thread writes this panel's outputs.
    unsafe fn panel(
        &self,
        panel: usize,
        input: &[f32],
        weights: &[f32],
        bias: &[f32],
        output: Output<'_>,
        scratch: &mut [f32],
    ) {
        let LinearSpec { batch, inputs, outputs, activation, .. } = self.spec;
        let lanes = self.isa.lanes();
        let nv = self.panels[panel];
        let first = self.panels[..panel].iter().sum::<usize>() * lanes;
        let width = nv * lanes;
        let columns = (outputs - first).min(width);
        for block in (0..batch).step_by(BATCH_BLOCK) {
            let rows = (batch - block).min(BATCH_BLOCK);
            for k0 in (0..inputs).step_by(K_BLOCK) {
                let mut next = 0;
                for (px, tiles) in even_tiles(rows, max_px(self.isa, nv)) {
                    let args = ChannelArgs {
                        input: input.as_ptr(),
                        pixel_offsets: self.rows[block + next..].as_ptr(),
                        pixels: px * tiles,
                        panel: PanelWeights {
                            offsets: self.columns[k0..].as_ptr(),
                            k: K_BLOCK.min(inputs - k0),
                            weights: weights[first * inputs + k0 * width..].as_ptr(),
                        },
                        bias: bias[first..].as_ptr(),
                        channels: columns,
                        first: k0 == 0,
                        acc: scratch[next * width..].as_mut_ptr(),
                    };
                    // SAFETY: rows and columns lie within the input; scratch holds the block.
                    unsafe { channel_tile(self.isa, px, nv)(&args) };
                    next += px * tiles;
                }
            }
            for row in 0..rows {
                let from = &scratch[row * width..row * width + columns];
                let out = output.ptr().wrapping_add((block + row) * outputs + first);
                // SAFETY: the columns exist in the output; this task alone writes them.
                unsafe {
                    std::ptr::copy_nonoverlapping(from.as_ptr(), out, columns);
                    (self.run_in_place)(&RunArgs { data: out, len: columns, activation });
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::reference::{self, ConvShape, Dense, Random};

    fn check(batch: usize, inputs: usize, outputs: usize, isa: Isa) {
        if !reference::fits(batch * inputs * outputs) {
            return;
        }
        let mut random = Random::new((batch * 31 + inputs * 7 + outputs) as u64);
        let x = Dense::random([batch, inputs, 1, 1], &mut random);
        let weights = random.values(inputs * outputs);
        let bias = random.values(outputs);
        let one = [1, 1];
        let shape = ConvShape {
            kernel: one,
            stride: one,
            dilation: one,
            padding: [0, 0],
            groups: 1,
            size: one,
        };
        let (sum, magnitude) = reference::conv(&x, &weights, &bias, &shape);
        let activation = Activation::Silu;
        let want = sum.map(|_, v| reference::activate(activation, 0.0, v));
        let spec = LinearSpec { activation, ..LinearSpec::dense(batch, inputs, outputs) };
        let linear = Linear::new(spec, isa).unwrap();
        let packed = linear.pack(&weights).unwrap();
        assert_eq!(packed.len(), linear.packed_len());
        let input: Vec<f32> = x.data.iter().map(|v| *v as f32).collect();
        let mut scratch = vec![f32::NAN; linear.scratch_len()];
        let mut out = vec![-7.0; batch * outputs + 5];
        linear.run(&input, &packed, Some(&bias), &mut out, &mut scratch).unwrap();
        for (i, got) in out[..batch * outputs].iter().enumerate() {
            let tolerance = (magnitude[i] + 1.0) * 6e-8 * (8.0 + (inputs as f64).sqrt());
            let error = (f64::from(*got) - want.data[i]).abs();
            assert!(error <= tolerance, "{isa} {batch}x{inputs}x{outputs} at {i}: {error}");
        }
        assert_eq!(out[batch * outputs..], [-7.0; 5], "written outside");

        let mut again = vec![-7.0; out.len()];
        let shared = Output::new(&mut again);
        for task in (0..linear.tasks()).rev() {
            // SAFETY: one task at a time.
            let run = unsafe {
                let bias = Some(bias.as_slice());
                linear.run_tasks(task..task + 1, &input, &packed, bias, shared, &mut scratch)
            };
            run.unwrap();
        }
        assert_eq!(again, out);

        // Rows with gaps, and rows that are columns.
        for strides in [[inputs + 3, 1], [1, batch], [2, 2 * batch + 1]] {
            let linear = Linear::new(LinearSpec { strides, ..spec }, isa).unwrap();
            let mut strided = vec![f32::NAN; linear.spec.input_len()];
            for (at, value) in input.iter().enumerate() {
                strided[at / inputs * strides[0] + at % inputs * strides[1]] = *value;
            }
            let packed = linear.pack(&weights).unwrap();
            let mut scratch = vec![f32::NAN; linear.scratch_len()];
            let mut found = vec![-7.0; out.len()];
            linear.run(&strided, &packed, Some(&bias), &mut found, &mut scratch).unwrap();
            for (at, (found, out)) in found.iter().zip(&out).enumerate() {
                // The dot form adds in another order.
                let error = (found - out).abs();
                assert!(error <= 1e-5 * (1.0 + magnitude.get(at).map_or(0.0, |m| *m as f32)));
            }
        }
    }

    pub(crate) fn dot(isa: Isa) {
        for batch in 1..PANEL_BATCH {
            for inputs in [1, 2, 7, 13, 16, 31, 32, 127, 300] {
                for outputs in [1, 2, 3, 4, 5, 6, 17, 33] {
                    check(batch, inputs, outputs, isa);
                }
            }
        }
        check(1, 1280, 100, isa);
    }

    pub(crate) fn panels(isa: Isa) {
        for batch in [4, 5, 6, 7, 13, 97] {
            for inputs in [1, 13, 127, 300] {
                for outputs in [1, 6, 15, 16, 17, 63, 65, 127] {
                    check(batch, inputs, outputs, isa);
                }
            }
        }
    }

    #[test]
    fn wrong_extents_and_lengths_are_errors() {
        let spec = LinearSpec { activation: Activation::Relu, ..LinearSpec::dense(1, 3, 2) };
        assert!(Linear::new(LinearSpec { outputs: 0, ..spec }, Isa::Portable).is_err());
        assert!(
            Linear::new(LinearSpec { strides: [1, usize::MAX], ..spec }, Isa::Portable).is_err()
        );
        let prelu = LinearSpec { activation: Activation::Prelu, ..spec };
        assert!(Linear::new(prelu, Isa::Portable).is_err());
        let linear = Linear::new(spec, Isa::Portable).unwrap();
        assert!(linear.pack(&[0.0; 5]).is_err());
        let w = [0.0; 6];
        let mut out = [0.0; 2];
        assert!(linear.run(&[0.0; 3], &w, None, &mut out, &mut []).is_ok());
        assert!(linear.run(&[0.0; 2], &w, None, &mut out, &mut []).is_err());
        assert!(linear.run(&[0.0; 3], &w, Some(&[0.0]), &mut out, &mut []).is_err());
        assert!(linear.run(&[0.0; 3], &w, None, &mut out[1..], &mut []).is_err());
    }
}
