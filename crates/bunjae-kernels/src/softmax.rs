//! Softmax over the last axis of dense rows.

use std::ops::Range;

use crate::activation;
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

const NAME: &str = "softmax";

/// `exp(x_i - m) / sum_j exp(x_j - m)` with `m` the row's maximum, or its logarithm.
pub struct Softmax {
    rows: usize,
    width: usize,
    log: bool,
    entry: Entry<SoftmaxArgs>,
    tasks: usize,
}

struct SoftmaxArgs {
    input: *const f32,
    out: *mut f32,
    rows: usize,
    width: usize,
    log: bool,
}

struct SoftmaxRows;

impl Body<SoftmaxArgs> for SoftmaxRows {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &SoftmaxArgs) {
        let l = S::LANES;
        for row in 0..a.rows {
            // SAFETY: each row has `width` elements in both tensors.
            unsafe {
                let (x, out) = (a.input.add(row * a.width), a.out.add(row * a.width));
                let mut lanes = [f32::NEG_INFINITY; MAX_LANES];
                let mut top = S::splat(f32::NEG_INFINITY);
                for i in (0..a.width).step_by(l) {
                    let n = (a.width - i).min(l);
                    S::store_n(lanes.as_mut_ptr(), S::load_n(x.add(i), n), n);
                    top = S::max_nan(top, S::load(lanes.as_ptr()));
                }
                S::store(lanes.as_mut_ptr(), top);
                let max = lanes[..l]
                    .iter()
                    .copied()
                    .fold(f32::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b });
                let shift = S::splat(max);
                let mut sum = S::zero();
                for i in (0..a.width).step_by(l) {
                    let n = (a.width - i).min(l);
                    let e = activation::exp::<S>(S::sub(S::load_n(x.add(i), n), shift));
                    let mut kept = [0.0f32; MAX_LANES];
                    S::store_n(kept.as_mut_ptr(), e, n);
                    sum = S::add(sum, S::load(kept.as_ptr()));
                    if !a.log {
                        S::store_n(out.add(i), e, n);
                    }
                }
                let sum = S::sum(sum);
                let shift = S::splat(max + sum.ln());
                let scale = S::splat(1.0 / sum);
                for i in (0..a.width).step_by(l) {
                    let n = (a.width - i).min(l);
                    let v = if a.log {
                        S::sub(S::load_n(x.add(i), n), shift)
                    } else {
                        S::mul(S::load_n(out.add(i), n), scale)
                    };
                    S::store_n(out.add(i), v, n);
                }
            }
        }
    }
}

impl Softmax {
    /// Prepares the softmax (or, with `log`, its logarithm) of `rows` rows of `width` elements.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] for empty extents.
    pub fn new(rows: usize, width: usize, log: bool, isa: Isa) -> Result<Softmax, KernelError> {
        isa.require()?;
        let sane = rows > 0 && width > 0 && rows.checked_mul(width).is_some();
        require(NAME, sane, || format!("impossible extents {rows} x {width}"))?;
        let tasks = ((rows * width) >> 13).clamp(1, 16).min(rows);
        Ok(Softmax { rows, width, log, entry: entry::<SoftmaxRows, SoftmaxArgs>(isa), tasks })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(&self, input: &[f32], output: &mut [f32]) -> Result<(), KernelError> {
        // SAFETY: all tasks on one thread.
        unsafe { self.run_tasks(0..self.tasks, input, Output::new(output)) }
    }

    /// Runs some tasks.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// Calls that run at the same time with the same `output` name disjoint tasks; `output`
    /// overlaps no other argument.
    pub unsafe fn run_tasks(
        &self,
        tasks: Range<usize>,
        input: &[f32],
        output: Output<'_>,
    ) -> Result<(), KernelError> {
        let len = self.rows * self.width;
        require_len(NAME, "the input", len, input.len())?;
        require_len(NAME, "the output", len, output.len())?;
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        for task in tasks {
            let rows = part(self.rows, self.tasks, task);
            let args = SoftmaxArgs {
                input: input[rows.start * self.width..].as_ptr(),
                out: output.ptr().wrapping_add(rows.start * self.width),
                rows: rows.len(),
                width: self.width,
                log: self.log,
            };
            // SAFETY: lengths are checked; this task alone writes its rows.
            unsafe { (self.entry)(&args) };
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::reference::{self, Random};

    pub(crate) fn softmax(isa: Isa) {
        let mut random = Random::new(8);
        for rows in [1, 3] {
            for width in [1, 2, 6, 7, 8, 13, 16, 17, 127, 1000] {
                if !reference::fits(8 * width) {
                    continue;
                }
                for (scale, offset) in [(1.0, 0.0), (30.0, 200.0)] {
                    let x: Vec<f32> =
                        (0..rows * width).map(|_| random.value() * scale + offset).collect();
                    for log in [false, true] {
                        let kernel = Softmax::new(rows, width, log, isa).unwrap();
                        let mut out = vec![-7.0; x.len() + 3];
                        kernel.run(&x, &mut out).unwrap();
                        for (row, got) in x.chunks(width).zip(out.chunks(width)) {
                            check_row(row, got, log, isa);
                        }
                        assert_eq!(out[x.len()..], [-7.0; 3]);
                    }
                }
            }
        }
        let kernel = Softmax::new(1, 3, false, isa).unwrap();
        let mut out = [0.0; 3];
        kernel.run(&[0.0, f32::NAN, 1.0], &mut out).unwrap();
        assert!(out.iter().all(|x| x.is_nan()), "{isa}: {out:?}");
        kernel.run(&[f32::NEG_INFINITY, 0.0, 0.0], &mut out).unwrap();
        assert_eq!(out, [0.0, 0.5, 0.5], "{isa}");
    }

    fn check_row(row: &[f32], got: &[f32], log: bool, isa: Isa) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f64> = row.iter().map(|x| f64::from(x - max).exp()).collect();
        let sum: f64 = exp.iter().sum();
        for (i, got) in got.iter().enumerate().take(row.len()) {
            let want = if log { (exp[i] / sum).ln() } else { exp[i] / sum };
            let size = if log { f64::from(row[i].abs()).max(1.0) } else { want };
            let error = (f64::from(*got) - want).abs();
            assert!(error <= 2e-6 * size + 1e-37, "{isa}: {got} for {want}");
        }
    }

    #[test]
    fn wrong_extents_and_lengths_are_errors() {
        assert!(Softmax::new(0, 3, false, Isa::Portable).is_err());
        assert!(Softmax::new(usize::MAX, 3, false, Isa::Portable).is_err());
        let kernel = Softmax::new(2, 3, false, Isa::Portable).unwrap();
        assert!(kernel.run(&[0.0; 5], &mut [0.0; 6]).is_err());
        assert!(kernel.run(&[0.0; 6], &mut [0.0; 5]).is_err());
    }
}
