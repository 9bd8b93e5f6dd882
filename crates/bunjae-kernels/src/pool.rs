//! Maximum and mean over windows, and over whole planes.
//!
//! A window is reduced in two steps: the rows it spans are combined element by element into one
//! row, with the neutral element where there is padding, and that row is then combined at the
//! distances of the window's columns. Both steps run over vectors of neighbouring pixels.

use std::ops::Range;

use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::Planar;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

const NAME: &str = "pool";

/// What a window is reduced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// The largest element; NaN if there is one.
    Max,
    /// The mean of the elements inside the picture.
    Average,
    /// The sum of the elements inside the picture divided by the number of positions inside the
    /// picture and its padding.
    AveragePadded,
}

/// A pooling over windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Layout of the input; its halo is not read.
    pub input: Planar,
    /// Layout of the output.
    pub output: Planar,
    /// How windows are reduced.
    pub kind: PoolKind,
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Padding above and left.
    pub padding_begin: [usize; 2],
    /// Padding below and right; windows may extend past it, at no effect.
    pub padding_end: [usize; 2],
}

/// A prepared pooling.
pub struct Pool {
    spec: PoolSpec,
    entry: Entry<PoolArgs>,
    /// One divisor's reciprocal per output row and column.
    scale: [Vec<f32>; 2],
    row_len: usize,
    tasks: usize,
}

struct PoolArgs {
    spec: PoolSpec,
    input: *const f32,
    out: *mut f32,
    /// `row_len` elements.
    row: *mut f32,
    row_len: usize,
    scale_y: *const f32,
    scale_x: *const f32,
}

/// One plane.
struct PoolPlane;

impl Body<PoolArgs> for PoolPlane {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &PoolArgs) {
        let s = &a.spec;
        let (h, w) = (s.input.height, s.input.width);
        let max = s.kind == PoolKind::Max;
        let neutral = if max { f32::NEG_INFINITY } else { 0.0 };
        let left = s.padding_begin[1];
        // SAFETY: input rows below `h` have `w` elements; the row buffer holds the padded width
        // and whole vectors past the last window; output rows have `width` elements.
        unsafe {
            for i in 0..a.row_len {
                *a.row.add(i) = neutral;
            }
            let middle = a.row.add(left);
            for y in 0..s.output.height {
                let mut first = true;
                for ky in 0..s.kernel[0] {
                    let source =
                        (y * s.stride[0] + ky * s.dilation[0]).wrapping_sub(s.padding_begin[0]);
                    if source >= h {
                        continue;
                    }
                    let from = a.input.add(source * s.input.row_stride);
                    combine::<S>(middle, from, w, first, max);
                    first = false;
                }
                if first {
                    for x in 0..w {
                        *middle.add(x) = neutral;
                    }
                }
                let out = a.out.add(y * s.output.row_stride);
                let scale_y = S::splat(*a.scale_y.add(y));
                for x in (0..s.output.width).step_by(S::LANES) {
                    let n = (s.output.width - x).min(S::LANES);
                    let mut acc = S::splat(neutral);
                    for kx in 0..s.kernel[1] {
                        let from = a.row.add(x * s.stride[1] + kx * s.dilation[1]);
                        let v = strided::<S>(from, s.stride[1], n);
                        acc = if max { S::max_nan(acc, v) } else { S::add(acc, v) };
                    }
                    if !max {
                        let scale = S::mul(scale_y, S::load_n(a.scale_x.add(x), n));
                        acc = S::mul(acc, scale);
                    }
                    S::store_n(out.add(x), acc, n);
                }
            }
        }
    }
}

/// Combines a row of `w` elements into `to`.
///
/// # Safety
/// `w` elements are valid at both addresses; the instruction set is present.
#[inline(always)]
unsafe fn combine<S: Simd>(to: *mut f32, from: *const f32, w: usize, first: bool, max: bool) {
    for x in (0..w).step_by(S::LANES) {
        let n = (w - x).min(S::LANES);
        // SAFETY: `n` elements from `x` are within `w`.
        unsafe {
            let v = S::load_n(from.add(x), n);
            let v = if first {
                v
            } else if max {
                S::max_nan(S::load_n(to.add(x), n), v)
            } else {
                S::add(S::load_n(to.add(x), n), v)
            };
            S::store_n(to.add(x), v, n);
        }
    }
}

/// `n` elements at distance `stride`.
///
/// # Safety
/// For strides 1 and 2, whole vectors are readable; otherwise the elements named.
#[inline(always)]
pub(crate) unsafe fn strided<S: Simd>(from: *const f32, stride: usize, n: usize) -> S::V {
    // SAFETY: the caller vouches for the elements.
    unsafe {
        match stride {
            1 => S::load(from),
            2 => S::deinterleave(S::load(from), S::load(from.add(S::LANES))).0,
            _ => {
                let mut lanes = [0.0f32; MAX_LANES];
                for (i, lane) in lanes.iter_mut().enumerate().take(n) {
                    *lane = *from.add(i * stride);
                }
                S::load(lanes.as_ptr())
            }
        }
    }
}

impl Pool {
    /// Prepares a pooling for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the spec contradicts
    /// itself.
    pub fn new(spec: PoolSpec, isa: Isa) -> Result<Pool, KernelError> {
        isa.require()?;
        spec.input.check(NAME, "the input")?;
        spec.output.check(NAME, "the output")?;
        let outer = |p: &Planar| [p.images, p.channels];
        require(NAME, outer(&spec.input) == outer(&spec.output), || {
            format!("images and channels differ: {spec:?}")
        })?;
        let extents = spec.kernel.iter().chain(&spec.stride).chain(&spec.dilation);
        let paddings = spec.padding_begin.iter().chain(&spec.padding_end);
        let limit = 1 << 24;
        let sane =
            extents.clone().all(|x| *x > 0 && *x < limit) && paddings.clone().all(|x| *x < limit);
        require(NAME, sane, || format!("impossible window: {spec:?}"))?;
        let input = [spec.input.height, spec.input.width];
        let output = [spec.output.height, spec.output.width];
        let scale = [0, 1].map(|i| {
            let padded = spec.padding_begin[i] + input[i];
            let (low, high) = match spec.kind {
                PoolKind::Max | PoolKind::Average => (spec.padding_begin[i], padded),
                PoolKind::AveragePadded => (0, padded + spec.padding_end[i]),
            };
            let count = |o: usize| {
                let at = |k: usize| o * spec.stride[i] + k * spec.dilation[i];
                (0..spec.kernel[i]).filter(|k| (low..high).contains(&at(*k))).count()
            };
            (0..output[i]).map(|o| 1.0 / count(o).max(1) as f32).collect()
        });
        let reach = (output[1] + MAX_LANES) * spec.stride[1]
            + spec.kernel[1] * spec.dilation[1]
            + 2 * MAX_LANES;
        let planes = spec.input.images * spec.input.channels;
        let work = planes * spec.input.height * spec.input.width;
        Ok(Pool {
            entry: entry::<PoolPlane, PoolArgs>(isa),
            scale,
            row_len: reach.max(spec.padding_begin[1] + spec.input.width),
            tasks: (work >> 13).clamp(1, 16).min(planes),
            spec,
        })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        self.row_len
    }

    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(
        &self,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        // SAFETY: all tasks on one thread.
        unsafe { self.run_tasks(0..self.tasks, input, Output::new(output), scratch) }
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
        output: Output<'_>,
        scratch: &mut [f32],
    ) -> Result<(), KernelError> {
        let s = &self.spec;
        require_len(NAME, "the input", s.input.end(), input.len())?;
        require_len(NAME, "the output", s.output.end(), output.len())?;
        require_len(NAME, "the scratch memory", self.row_len, scratch.len())?;
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        for task in tasks {
            for plane in part(s.input.images * s.input.channels, self.tasks, task) {
                let (image, channel) = (plane / s.input.channels, plane % s.input.channels);
                let args = PoolArgs {
                    spec: *s,
                    input: input[s.input.index(image, channel, 0, 0)..].as_ptr(),
                    out: output.ptr().wrapping_add(s.output.index(image, channel, 0, 0)),
                    row: scratch.as_mut_ptr(),
                    row_len: self.row_len,
                    scale_y: self.scale[0].as_ptr(),
                    scale_x: self.scale[1].as_ptr(),
                };
                // SAFETY: lengths are checked; this task alone writes its planes.
                unsafe { (self.entry)(&args) };
            }
        }
        Ok(())
    }
}

/// The mean or maximum of each plane: output `[images][channels]`, dense.
pub struct GlobalPool {
    input: Planar,
    entry: Entry<GlobalArgs>,
    max: bool,
    tasks: usize,
}

struct GlobalArgs {
    input: *const f32,
    rows: usize,
    width: usize,
    row_stride: usize,
    max: bool,
    out: *mut f32,
}

struct GlobalPlane;

impl Body<GlobalArgs> for GlobalPlane {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &GlobalArgs) {
        let neutral = if a.max { f32::NEG_INFINITY } else { 0.0 };
        // SAFETY: rows have `width` elements; the output is one element.
        unsafe {
            let mut acc = S::splat(neutral);
            let mut rest = [neutral; MAX_LANES];
            for y in 0..a.rows {
                let row = a.input.add(y * a.row_stride);
                for x in (0..a.width).step_by(S::LANES) {
                    let n = (a.width - x).min(S::LANES);
                    let v = if n == S::LANES {
                        S::load(row.add(x))
                    } else {
                        rest = [neutral; MAX_LANES];
                        S::store_partial(rest.as_mut_ptr(), S::load_partial(row.add(x), n), n);
                        S::load(rest.as_ptr())
                    };
                    acc = if a.max { S::max_nan(acc, v) } else { S::add(acc, v) };
                }
            }
            *a.out = if a.max {
                S::store(rest.as_mut_ptr(), acc);
                let lanes = &rest[..S::LANES];
                lanes
                    .iter()
                    .copied()
                    .fold(f32::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b })
            } else {
                S::sum(acc) / (a.rows * a.width) as f32
            };
        }
    }
}

impl GlobalPool {
    /// Prepares the mean ([`PoolKind::Average`]) or maximum of planes laid out as `input`.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`] or [`KernelError::Geometry`].
    pub fn new(input: Planar, kind: PoolKind, isa: Isa) -> Result<GlobalPool, KernelError> {
        isa.require()?;
        input.check(NAME, "the input")?;
        let planes = input.images * input.channels;
        let tasks = (input.elements() >> 13).clamp(1, 16).min(planes);
        let max = kind == PoolKind::Max;
        Ok(GlobalPool { input, entry: entry::<GlobalPlane, GlobalArgs>(isa), max, tasks })
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
        let p = &self.input;
        let planes = p.images * p.channels;
        require_len(NAME, "the input", p.end(), input.len())?;
        require_len(NAME, "the output", planes, output.len())?;
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        for task in tasks {
            for plane in part(planes, self.tasks, task) {
                let args = GlobalArgs {
                    input: input[p.index(plane / p.channels, plane % p.channels, 0, 0)..].as_ptr(),
                    rows: p.height,
                    width: p.width,
                    row_stride: p.row_stride,
                    max: self.max,
                    out: output.ptr().wrapping_add(plane),
                };
                // SAFETY: lengths are checked; this task alone writes its planes.
                unsafe { (self.entry)(&args) };
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::planar::Halo;
    use crate::reference::{self, Dense, Guarded, Random};

    fn reference_pool(x: &Dense, s: &PoolSpec) -> Dense {
        let [images, channels, h, w] = x.shape;
        let mut out = Dense::zeros([images, channels, s.output.height, s.output.width]);
        let shape = out.clone();
        shape.positions(|i, [n, c, oy, ox]| {
            let (mut sum, mut best, mut inside, mut padded) = (0.0, f64::NEG_INFINITY, 0, 0);
            for ky in 0..s.kernel[0] {
                for kx in 0..s.kernel[1] {
                    let y = oy * s.stride[0] + ky * s.dilation[0];
                    let x0 = ox * s.stride[1] + kx * s.dilation[1];
                    let [top, left] = s.padding_begin;
                    let [bottom, right] = s.padding_end;
                    if y < top + h + bottom && x0 < left + w + right {
                        padded += 1;
                    }
                    if (top..top + h).contains(&y) && (left..left + w).contains(&x0) {
                        let v = x.get(n, c, y - top, x0 - left);
                        inside += 1;
                        sum += v;
                        best = f64::max(best, v);
                    }
                }
            }
            out.data[i] = match s.kind {
                PoolKind::Max => best,
                PoolKind::Average => sum / f64::from(inside.max(1)),
                PoolKind::AveragePadded => sum / f64::from(padded.max(1)),
            };
        });
        out
    }

    pub(crate) fn windows(isa: Isa) {
        let mut random = Random::new(3);
        for seed in reference::seeds(300) {
            let r = &mut random;
            let size = [r.pick(&[1, 2, 7, 8, 13, 16]), r.pick(&[1, 3, 8, 15, 16, 17, 33, 127])];
            let x = Dense::random([r.pick(&[1, 2]), r.pick(&[1, 3, 9]), size[0], size[1]], r);
            let kernel = [r.pick(&[1, 2, 3, 5]), r.pick(&[1, 2, 2, 3, 5])];
            let stride = [r.pick(&[1, 2, 3]), r.pick(&[1, 2, 3])];
            let dilation = [r.pick(&[1, 1, 2]), r.pick(&[1, 1, 2])];
            let padding_begin = [r.below(kernel[0]), r.below(kernel[1])];
            let padding_end = [r.below(kernel[0]), r.below(kernel[1])];
            // Half the time as with `ceil_mode`, where a window may hang over the padding.
            let ceil = r.below(2) * (stride[0].min(stride[1]) - 1);
            let mut out = [0; 2];
            for i in 0..2 {
                let padded = size[i] + padding_begin[i] + padding_end[i];
                let reach = (kernel[i] - 1) * dilation[i] + 1;
                out[i] = (padded + ceil).saturating_sub(reach) / stride[i] + 1;
            }
            if !reference::fits(8 * x.data.len()) {
                continue;
            }
            let halo = Halo::uniform(r.pick(&[0, 1]));
            let spec = PoolSpec {
                input: x.planar(halo),
                output: Planar::new(x.shape[0], x.shape[1], out[0], out[1], halo),
                kind: r.pick(&[PoolKind::Max, PoolKind::Average, PoolKind::AveragePadded]),
                kernel,
                stride,
                dilation,
                padding_begin,
                padding_end,
            };
            let want = reference_pool(&x, &spec);
            let input = Guarded::input(spec.input, &x, seed % 3);
            let mut output = Guarded::output(spec.output, seed % 5);
            let pool = Pool::new(spec, isa).unwrap();
            let mut scratch = vec![f32::NAN; pool.scratch_len()];
            pool.run(input.slice(), output.slice_mut(), &mut scratch).unwrap();
            output.check(&want, |_| 1e-6, &format!("{isa} {spec:?}"));
        }
    }

    pub(crate) fn global(isa: Isa) {
        let mut random = Random::new(4);
        for size in [[1, 1], [1, 15], [7, 7], [3, 17], [13, 127]] {
            let x = Dense::random([2, 5, size[0], size[1]], &mut random);
            let planar = x.planar(Halo::uniform(1));
            let input = Guarded::input(planar, &x, 1);
            let mean = reference::global_average(&x);
            let mut out = vec![-7.0; 11];
            let pool = GlobalPool::new(planar, PoolKind::Average, isa).unwrap();
            pool.run(input.slice(), &mut out).unwrap();
            for (got, want) in out.iter().zip(&mean.data) {
                assert!((f64::from(*got) - want).abs() < 1e-6, "{isa} {size:?}");
            }
            assert_eq!(out[10], -7.0);
            let pool = GlobalPool::new(planar, PoolKind::Max, isa).unwrap();
            pool.run(input.slice(), &mut out).unwrap();
            for (plane, got) in x.data.chunks(size[0] * size[1]).zip(&out) {
                let want = plane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                assert_eq!(f64::from(*got), want, "{isa} {size:?}");
            }
        }
    }

    #[test]
    fn nan_is_the_maximum_of_its_windows() {
        for isa in crate::IsaSet::available().iter() {
            let mut x = Dense::zeros([1, 1, 4, 40]);
            x.data[45] = f64::NAN;
            let spec = PoolSpec {
                input: x.planar(Halo::default()),
                output: Planar::new(1, 1, 2, 20, Halo::default()),
                kind: PoolKind::Max,
                kernel: [2, 2],
                stride: [2, 2],
                dilation: [1, 1],
                padding_begin: [0, 0],
                padding_end: [0, 0],
            };
            let input = Guarded::input(spec.input, &x, 0);
            let mut output = Guarded::output(spec.output, 0);
            let pool = Pool::new(spec, isa).unwrap();
            let mut scratch = vec![0.0; pool.scratch_len()];
            pool.run(input.slice(), output.slice_mut(), &mut scratch).unwrap();
            let want = Dense::zeros([1, 1, 2, 20])
                .map(|[_, _, y, x], _| if (y, x) == (0, 2) { f64::NAN } else { 0.0 });
            output.check(&want, |_| 1e-9, isa.name());
            let mut top = [0.0];
            let global = GlobalPool::new(spec.input, PoolKind::Max, isa).unwrap();
            global.run(input.slice(), &mut top).unwrap();
            assert!(top[0].is_nan(), "{isa}");
        }
    }

    #[test]
    fn wrong_specs_and_lengths_are_errors() {
        let p = Planar::new(1, 2, 4, 4, Halo::default());
        let spec = PoolSpec {
            input: p,
            output: Planar::new(1, 2, 2, 2, Halo::default()),
            kind: PoolKind::Max,
            kernel: [2, 2],
            stride: [2, 2],
            dilation: [1, 1],
            padding_begin: [0, 0],
            padding_end: [0, 0],
        };
        let isa = Isa::Portable;
        assert!(Pool::new(PoolSpec { kernel: [0, 2], ..spec }, isa).is_err());
        assert!(Pool::new(PoolSpec { output: Planar { channels: 3, ..p }, ..spec }, isa).is_err());
        let pool = Pool::new(spec, isa).unwrap();
        let mut scratch = vec![0.0; pool.scratch_len()];
        let mut out = vec![0.0; spec.output.end()];
        assert!(pool.run(&vec![0.0; p.end()], &mut out, &mut scratch).is_ok());
        assert!(pool.run(&vec![0.0; p.end() - 1], &mut out, &mut scratch).is_err());
        assert!(pool.run(&vec![0.0; p.end()], &mut out[1..], &mut scratch).is_err());
        assert!(pool.run(&vec![0.0; p.end()], &mut out, &mut scratch[1..]).is_err());
    }
}
