//! Nearest and bilinear resampling of planes.
//!
//! Where an output pixel falls in the input depends on its row or column alone, so both axes are
//! tables made at preparation. A bilinear row is blended from two input rows over vectors, then
//! sampled.

use std::ops::Range;

use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::Planar;
use crate::simd::{Body, Entry, MAX_LANES, Simd, entry};

const NAME: &str = "resize";

/// How an output index becomes a position in the input; `scale` is output over input extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// `(i + 1/2) / scale - 1/2`
    HalfPixel,
    /// As `HalfPixel`, but 0 where the output extent is 1.
    PytorchHalfPixel,
    /// `i (input - 1) / (output - 1)`, 0 where the output extent is 1.
    AlignCorners,
    /// `i / scale`
    Asymmetric,
}

/// How a position becomes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To the nearest, halves down.
    PreferFloor,
    /// To the nearest, halves up.
    PreferCeil,
    /// Down.
    Floor,
    /// Up.
    Ceil,
}

/// What is read at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// One element.
    Nearest(Rounding),
    /// The four around it, weighted by their closeness; outside, the border repeats.
    Bilinear,
}

/// A prepared resampling.
pub struct Resize {
    input: Planar,
    output: Planar,
    entry: Entry<ResizeArgs>,
    rows: Axis,
    columns: Axis,
    tasks: usize,
}

/// Per output index: two input indices and the weight of the second.
struct Axis {
    low: Vec<usize>,
    high: Vec<usize>,
    weight: Vec<f32>,
}

impl Axis {
    fn new(input: usize, output: usize, coordinates: Coordinates, sampling: Sampling) -> Axis {
        let (n, m) = (input as f64, output as f64);
        let position = |i: usize| {
            let i = i as f64;
            match coordinates {
                Coordinates::PytorchHalfPixel | Coordinates::AlignCorners if output == 1 => 0.0,
                Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (i + 0.5) * n / m - 0.5,
                Coordinates::AlignCorners => i * (n - 1.0) / (m - 1.0),
                Coordinates::Asymmetric => i * n / m,
            }
        };
        let clamp = |x: f64| x.clamp(0.0, n - 1.0) as usize;
        let mut axis = Axis { low: Vec::new(), high: Vec::new(), weight: Vec::new() };
        for x in (0..output).map(position) {
            let (low, high, weight) = match sampling {
                Sampling::Nearest(rounding) => {
                    let i = clamp(match rounding {
                        Rounding::PreferFloor => (x - 0.5).ceil(),
                        Rounding::PreferCeil => (x + 0.5).floor(),
                        Rounding::Floor => x.floor(),
                        Rounding::Ceil => x.ceil(),
                    });
                    (i, i, 0.0)
                }
                Sampling::Bilinear => {
                    let x = x.clamp(0.0, n - 1.0);
                    (clamp(x.floor()), clamp(x.floor() + 1.0), (x - x.floor()) as f32)
                }
            };
            axis.low.push(low);
            axis.high.push(high);
            axis.weight.push(weight);
        }
        axis
    }
}

struct ResizeArgs {
    input: *const f32,
    input_row: usize,
    input_width: usize,
    out: *mut f32,
    out_row: usize,
    height: usize,
    width: usize,
    /// `height` entries each.
    y: [*const usize; 2],
    y_weight: *const f32,
    /// `width` entries each.
    x: [*const usize; 2],
    x_weight: *const f32,
    /// `input_width` elements.
    row: *mut f32,
}

struct ResizePlane;

impl Body<ResizeArgs> for ResizePlane {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &ResizeArgs) {
        // SAFETY: the tables hold indices of existing rows and columns, one entry per row and
        // column of the output.
        unsafe {
            for y in 0..a.height {
                let top = a.input.add(*a.y[0].add(y) * a.input_row);
                let bottom = a.input.add(*a.y[1].add(y) * a.input_row);
                let weight = *a.y_weight.add(y);
                let mut row = top;
                if weight != 0.0 {
                    blend::<S>(top, bottom, weight, a.row, a.input_width);
                    row = a.row;
                }
                let out = a.out.add(y * a.out_row);
                for x in (0..a.width).step_by(S::LANES) {
                    let n = (a.width - x).min(S::LANES);
                    let (mut low, mut high) = ([0.0f32; MAX_LANES], [0.0f32; MAX_LANES]);
                    for i in 0..n {
                        low[i] = *row.add(*a.x[0].add(x + i));
                        high[i] = *row.add(*a.x[1].add(x + i));
                    }
                    let (low, high) = (S::load(low.as_ptr()), S::load(high.as_ptr()));
                    let weight = S::load_n(a.x_weight.add(x), n);
                    let blended = S::fma(S::sub(high, low), weight, low);
                    // A weight of zero takes the element as it is, infinities included.
                    let some = S::lt(S::zero(), weight);
                    S::store_n(out.add(x), S::select(some, blended, low), n);
                }
            }
        }
    }
}

/// `out = a + (b - a) * weight` over a row.
///
/// # Safety
/// `n` elements are valid at all addresses; the instruction set is present.
#[inline(always)]
unsafe fn blend<S: Simd>(a: *const f32, b: *const f32, weight: f32, out: *mut f32, n: usize) {
    for x in (0..n).step_by(S::LANES) {
        let lanes = (n - x).min(S::LANES);
        // SAFETY: `lanes` elements from `x` are within `n`.
        unsafe {
            let (a, b) = (S::load_n(a.add(x), lanes), S::load_n(b.add(x), lanes));
            S::store_n(out.add(x), S::fma(S::sub(b, a), S::splat(weight), a), lanes);
        }
    }
}

impl Resize {
    /// Prepares a resampling from the extent of `input` to that of `output`.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if images or channels differ.
    pub fn new(
        input: Planar,
        output: Planar,
        sampling: Sampling,
        coordinates: Coordinates,
        isa: Isa,
    ) -> Result<Resize, KernelError> {
        isa.require()?;
        input.check(NAME, "the input")?;
        output.check(NAME, "the output")?;
        let outer = |p: &Planar| [p.images, p.channels];
        require(NAME, outer(&input) == outer(&output), || {
            format!("images and channels {:?} against {:?}", outer(&input), outer(&output))
        })?;
        Ok(Resize {
            input,
            output,
            entry: entry::<ResizePlane, ResizeArgs>(isa),
            rows: Axis::new(input.height, output.height, coordinates, sampling),
            columns: Axis::new(input.width, output.width, coordinates, sampling),
            tasks: (output.elements() >> 13).clamp(1, 16).min(output.images * output.channels),
        })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Elements of scratch memory each thread needs.
    pub fn scratch_len(&self) -> usize {
        self.input.width
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
        require_len(NAME, "the input", self.input.end(), input.len())?;
        require_len(NAME, "the output", self.output.end(), output.len())?;
        require_len(NAME, "the scratch memory", self.scratch_len(), scratch.len())?;
        require(NAME, tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        let channels = self.output.channels;
        for task in tasks {
            for plane in part(self.output.images * channels, self.tasks, task) {
                let (image, channel) = (plane / channels, plane % channels);
                let args = ResizeArgs {
                    input: input[self.input.index(image, channel, 0, 0)..].as_ptr(),
                    input_row: self.input.row_stride,
                    input_width: self.input.width,
                    out: output.ptr().wrapping_add(self.output.index(image, channel, 0, 0)),
                    out_row: self.output.row_stride,
                    height: self.output.height,
                    width: self.output.width,
                    y: [self.rows.low.as_ptr(), self.rows.high.as_ptr()],
                    y_weight: self.rows.weight.as_ptr(),
                    x: [self.columns.low.as_ptr(), self.columns.high.as_ptr()],
                    x_weight: self.columns.weight.as_ptr(),
                    row: scratch.as_mut_ptr(),
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

    const COORDINATES: [Coordinates; 4] = [
        Coordinates::HalfPixel,
        Coordinates::PytorchHalfPixel,
        Coordinates::AlignCorners,
        Coordinates::Asymmetric,
    ];

    /// Bilinear by its definition: a sum over all input pixels weighted by a tent function.
    pub(crate) fn bilinear(isa: Isa) {
        let mut random = Random::new(9);
        for seed in reference::seeds(60) {
            let r = &mut random;
            let size = [r.pick(&[1, 2, 5, 8, 13]), r.pick(&[1, 3, 7, 16, 33])];
            let to = [r.pick(&[1, 2, 7, 10, 16]), r.pick(&[1, 5, 13, 32, 66, 127])];
            let coordinates = r.pick(&COORDINATES);
            let x = Dense::random([r.pick(&[1, 2]), 3, size[0], size[1]], r);
            if !reference::fits(x.data.len() * to[0] * to[1]) {
                continue;
            }
            let at = |i: usize, o: usize| -> f64 {
                let (n, m, o) = (size[i] as f64, to[i] as f64, o as f64);
                let p = match coordinates {
                    Coordinates::HalfPixel => (o + 0.5) * n / m - 0.5,
                    Coordinates::PytorchHalfPixel if to[i] == 1 => 0.0,
                    Coordinates::PytorchHalfPixel => (o + 0.5) * n / m - 0.5,
                    Coordinates::AlignCorners if to[i] == 1 => 0.0,
                    Coordinates::AlignCorners => o * (n - 1.0) / (m - 1.0),
                    Coordinates::Asymmetric => o * n / m,
                };
                p.clamp(0.0, n - 1.0)
            };
            let want = Dense::zeros([x.shape[0], 3, to[0], to[1]]).map(|[n, c, oy, ox], _| {
                let mut sum = 0.0;
                for y in 0..size[0] {
                    for x0 in 0..size[1] {
                        let tent = |p: f64, i: usize| (1.0 - (p - i as f64).abs()).max(0.0);
                        sum += tent(at(0, oy), y) * tent(at(1, ox), x0) * x.get(n, c, y, x0);
                    }
                }
                sum
            });
            check(&x, &want, Sampling::Bilinear, coordinates, 1e-6, seed, isa);
        }
    }

    fn check(
        x: &Dense,
        want: &Dense,
        sampling: Sampling,
        coordinates: Coordinates,
        tolerance: f64,
        seed: usize,
        isa: Isa,
    ) {
        let input = Guarded::input(x.planar(Halo::uniform(seed % 2)), x, seed % 3);
        let mut out = Guarded::output(want.planar(Halo::uniform(seed % 3)), seed % 5);
        let kernel = Resize::new(input.planar, out.planar, sampling, coordinates, isa).unwrap();
        let mut scratch = vec![f32::NAN; kernel.scratch_len()];
        kernel.run(input.slice(), out.slice_mut(), &mut scratch).unwrap();
        let context = format!("{isa} {sampling:?} {coordinates:?} {:?}", want.shape);
        out.check(want, |_| tolerance, &context);
    }

    /// Nearest against positions worked out by hand.
    pub(crate) fn nearest(isa: Isa) {
        use Rounding::{Ceil, Floor, PreferCeil, PreferFloor};
        let row = |values: &[f64]| Dense { shape: [1, 1, 1, values.len()], data: values.to_vec() };
        let three = row(&[1.0, 2.0, 3.0]);
        for (coordinates, rounding, want) in [
            // Positions -1/4, 1/4, 3/4, 5/4, 7/4, 9/4.
            (Coordinates::HalfPixel, PreferFloor, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
            (Coordinates::HalfPixel, Ceil, [1.0, 2.0, 2.0, 3.0, 3.0, 3.0]),
            // Positions 0, 1/2, 1, 3/2, 2, 5/2.
            (Coordinates::Asymmetric, Floor, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
            (Coordinates::Asymmetric, PreferFloor, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
            (Coordinates::Asymmetric, PreferCeil, [1.0, 2.0, 2.0, 3.0, 3.0, 3.0]),
            // Positions 0, 2/5, 4/5, 6/5, 8/5, 2.
            (Coordinates::AlignCorners, PreferFloor, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
        ] {
            check(&three, &row(&want), Sampling::Nearest(rounding), coordinates, 1e-9, 1, isa);
        }
        let mut random = Random::new(10);
        for (seed, w) in [1, 7, 16, 33].into_iter().enumerate() {
            let x = Dense::random([2, 3, 5, w], &mut random);
            let want = Dense::zeros([2, 3, 10, 2 * w])
                .map(|[n, c, oy, ox], _| x.get(n, c, oy / 2, ox / 2));
            let sampling = Sampling::Nearest(Floor);
            check(&x, &want, sampling, Coordinates::Asymmetric, 1e-9, seed, isa);
        }
    }

    #[test]
    fn wrong_shapes_and_lengths_are_errors() {
        let (p, q) = (Planar::dense(1, 2, 3, 4), Planar::dense(1, 3, 6, 8));
        let new =
            |a, b| Resize::new(a, b, Sampling::Bilinear, Coordinates::HalfPixel, Isa::Portable);
        assert!(new(p, q).is_err());
        let kernel = new(p, p).unwrap();
        let (x, mut y, mut s) = ([0.0; 24], [0.0; 24], [0.0; 4]);
        assert!(kernel.run(&x, &mut y, &mut s).is_ok());
        assert!(kernel.run(&x[1..], &mut y, &mut s).is_err());
        assert!(kernel.run(&x, &mut y[1..], &mut s).is_err());
        assert!(kernel.run(&x, &mut y, &mut s[1..]).is_err());
    }
}
