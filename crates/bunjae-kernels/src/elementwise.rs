//! Element by element: activations, binary operations with broadcasting, copies between layouts.
//!
//! All three walk the rows of the output. If no layout has gaps, the planes are walked as one row.

use std::ops::Range;

use crate::activation::{self, Activation};
use crate::error::{KernelError, require, require_len};
use crate::isa::Isa;
use crate::output::{Output, part};
use crate::planar::Planar;
use crate::simd::{Body, Entry, Simd, entry};

/// Joins rows, and then planes, that follow each other without gaps in all of `layouts`.
pub(crate) fn join_rows<const N: usize>(layouts: [Planar; N]) -> [Planar; N] {
    let mut out = layouts;
    if out.iter().all(|p| p.row_stride == p.width || p.height == 1) {
        for p in &mut out {
            p.width *= p.height;
            p.height = 1;
            p.row_stride = p.width;
        }
    }
    out
}

/// Planes and how many tasks they are worth.
pub(crate) fn plane_tasks(p: &Planar) -> usize {
    (p.elements() >> 13).clamp(1, 16).min(p.images * p.channels)
}

pub(crate) fn same_shape(kernel: &'static str, a: &Planar, b: &Planar) -> Result<(), KernelError> {
    let shape = |p: &Planar| [p.images, p.channels, p.height, p.width];
    require(kernel, shape(a) == shape(b), || format!("{:?} against {:?}", shape(a), shape(b)))
}

/// An activation from one tensor to another of the same shape (or the same memory).
pub struct Map {
    input: Planar,
    output: Planar,
    activation: Activation,
    entry: Entry<MapArgs>,
    tasks: usize,
}

struct MapArgs {
    input: *const f32,
    input_row: usize,
    out: *mut f32,
    out_row: usize,
    rows: usize,
    width: usize,
    activation: Activation,
    slope: f32,
}

struct MapRows;

impl Body<MapArgs> for MapRows {
    #[inline(always)]
    unsafe fn run<S: Simd>(a: &MapArgs) {
        for y in 0..a.rows {
            // SAFETY: each row has `width` elements in both tensors.
            unsafe {
                let (x, out) = (a.input.add(y * a.input_row), a.out.add(y * a.out_row));
                activation::map::<S>(x, out, a.width, a.activation, a.slope);
            }
        }
    }
}

impl Map {
    /// Prepares an activation for one instruction set.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if the shapes differ.
    pub fn new(
        input: Planar,
        output: Planar,
        activation: Activation,
        isa: Isa,
    ) -> Result<Map, KernelError> {
        isa.require()?;
        input.check("map", "the input")?;
        output.check("map", "the output")?;
        same_shape("map", &input, &output)?;
        let [input, output] = join_rows([input, output]);
        let tasks = plane_tasks(&output);
        Ok(Map { input, output, activation, entry: entry::<MapRows, MapArgs>(isa), tasks })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Runs all tasks on this thread. `slopes` holds one value per channel for
    /// [`Activation::Prelu`].
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(
        &self,
        input: &[f32],
        slopes: Option<&[f32]>,
        output: &mut [f32],
    ) -> Result<(), KernelError> {
        require_len("map", "the input", self.input.end(), input.len())?;
        // SAFETY: all tasks on one thread; the slices do not overlap.
        unsafe { self.run_tasks(0..self.tasks, input.as_ptr(), slopes, Output::new(output)) }
    }

    /// Runs all tasks on this thread, replacing the input by the output, which must have the same
    /// layout.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short, [`KernelError::Geometry`] if the layouts
    /// differ.
    pub fn run_in_place(
        &self,
        data: &mut [f32],
        slopes: Option<&[f32]>,
    ) -> Result<(), KernelError> {
        require("map", self.input == self.output, || "in place, but layouts differ".to_owned())?;
        let data = Output::new(data);
        // SAFETY: all tasks on one thread; every element is read before it is written.
        unsafe { self.run_tasks(0..self.tasks, data.ptr(), slopes, data) }
    }

    /// Runs some tasks.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    ///
    /// # Safety
    /// The input tensor is readable at `input`. Calls that run at the same time with the same
    /// `output` name disjoint tasks; `output` overlaps no other argument, except that it may be the
    /// input if the layouts are the same.
    pub unsafe fn run_tasks(
        &self,
        tasks: Range<usize>,
        input: *const f32,
        slopes: Option<&[f32]>,
        output: Output<'_>,
    ) -> Result<(), KernelError> {
        require_len("map", "the output", self.output.end(), output.len())?;
        let channels = self.output.channels;
        if self.activation == Activation::Prelu {
            require_len("map", "slopes", channels, slopes.map_or(0, <[f32]>::len))?;
        }
        require("map", tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        for task in tasks {
            for plane in part(self.output.images * channels, self.tasks, task) {
                let (image, channel) = (plane / channels, plane % channels);
                let args = MapArgs {
                    input: input.wrapping_add(self.input.index(image, channel, 0, 0)),
                    input_row: self.input.row_stride,
                    out: output.ptr().wrapping_add(self.output.index(image, channel, 0, 0)),
                    out_row: self.output.row_stride,
                    rows: self.output.height,
                    width: self.output.width,
                    activation: self.activation,
                    slope: slopes.map_or(0.0, |s| s[channel]),
                };
                // SAFETY: lengths are checked; this task alone writes its planes.
                unsafe { (self.entry)(&args) };
            }
        }
        Ok(())
    }
}

/// A binary operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// The smaller of both, NaN if either is.
    Min,
    /// The larger of both, NaN if either is.
    Max,
}

/// `activation(a op b)`, where an extent of 1 in `a` or `b` is repeated to that of the output.
pub struct Binary {
    a: Operand,
    b: Operand,
    output: Planar,
    op: BinaryOp,
    activation: Activation,
    entry: Entry<BinaryArgs>,
    tasks: usize,
}

/// Distances between neighbours along each axis; zero where an operand is repeated.
struct Operand {
    origin: usize,
    strides: [usize; 4],
    end: usize,
}

impl Operand {
    fn new(p: &Planar, out: &Planar) -> Result<Operand, KernelError> {
        let extents = [p.images, p.channels, p.height, p.width];
        let wanted = [out.images, out.channels, out.height, out.width];
        let mut strides = [p.image_stride, p.channel_stride, p.row_stride, 1];
        for i in 0..4 {
            require("binary", extents[i] == wanted[i] || extents[i] == 1, || {
                format!("{extents:?} cannot be repeated to {wanted:?}")
            })?;
            if extents[i] == 1 {
                strides[i] = 0;
            }
        }
        Ok(Operand { origin: p.origin, strides, end: p.end() })
    }
}

struct BinaryArgs {
    a: *const f32,
    b: *const f32,
    /// Whether each operand advances along the row or is one value.
    advance: [bool; 2],
    rows: [usize; 2],
    out: *mut f32,
    out_row: usize,
    height: usize,
    width: usize,
    op: BinaryOp,
    activation: Activation,
}

struct BinaryRows;

/// # Safety
/// As [`BinaryRows`].
#[inline(always)]
unsafe fn binary_rows<S: Simd>(args: &BinaryArgs, f: impl Fn(S::V, S::V) -> S::V) {
    for y in 0..args.height {
        // SAFETY: each row has `width` elements, or one if the operand does not advance.
        unsafe {
            let (a, b) = (args.a.add(y * args.rows[0]), args.b.add(y * args.rows[1]));
            let out = args.out.add(y * args.out_row);
            let read = |p: *const f32, advance: bool, x: usize, n: usize| {
                if advance { S::load_n(p.add(x), n) } else { S::splat(*p) }
            };
            for x in (0..args.width).step_by(S::LANES) {
                let n = (args.width - x).min(S::LANES);
                let v = f(read(a, args.advance[0], x, n), read(b, args.advance[1], x, n));
                S::store_n(out.add(x), v, n);
            }
            if args.activation != Activation::Identity {
                activation::map::<S>(out, out, args.width, args.activation, 0.0);
            }
        }
    }
}

impl Body<BinaryArgs> for BinaryRows {
    #[inline(always)]
    unsafe fn run<S: Simd>(args: &BinaryArgs) {
        // SAFETY: passed on; the closures are pure arithmetic.
        unsafe {
            match args.op {
                BinaryOp::Add => binary_rows::<S>(args, |a, b| S::add(a, b)),
                BinaryOp::Sub => binary_rows::<S>(args, |a, b| S::sub(a, b)),
                BinaryOp::Mul => binary_rows::<S>(args, |a, b| S::mul(a, b)),
                BinaryOp::Div => binary_rows::<S>(args, |a, b| S::div(a, b)),
                BinaryOp::Min => binary_rows::<S>(args, |a, b| S::min_nan(a, b)),
                BinaryOp::Max => binary_rows::<S>(args, |a, b| S::max_nan(a, b)),
            }
        }
    }
}

impl Binary {
    /// Prepares an operation for one instruction set. [`Activation::Prelu`] is refused.
    ///
    /// # Errors
    /// [`KernelError::IsaUnavailable`], or [`KernelError::Geometry`] if an operand cannot be
    /// repeated to the output's shape.
    pub fn new(
        a: Planar,
        b: Planar,
        output: Planar,
        op: BinaryOp,
        activation: Activation,
        isa: Isa,
    ) -> Result<Binary, KernelError> {
        isa.require()?;
        for (what, planar) in [("an operand", &a), ("an operand", &b), ("the output", &output)] {
            planar.check("binary", what)?;
        }
        require("binary", activation != Activation::Prelu, || "no slopes".to_owned())?;
        let shape = |p: &Planar| [p.images, p.channels, p.height, p.width];
        let [a, b, output] = if shape(&a) == shape(&output) && shape(&b) == shape(&output) {
            join_rows([a, b, output])
        } else {
            [a, b, output]
        };
        Ok(Binary {
            a: Operand::new(&a, &output)?,
            b: Operand::new(&b, &output)?,
            tasks: plane_tasks(&output),
            output,
            op,
            activation,
            entry: entry::<BinaryRows, BinaryArgs>(isa),
        })
    }

    /// Number of tasks.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Runs all tasks on this thread.
    ///
    /// # Errors
    /// [`KernelError::Length`] if a slice is too short.
    pub fn run(&self, a: &[f32], b: &[f32], output: &mut [f32]) -> Result<(), KernelError> {
        // SAFETY: all tasks on one thread.
        unsafe { self.run_tasks(0..self.tasks, a, b, Output::new(output)) }
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
        a: &[f32],
        b: &[f32],
        output: Output<'_>,
    ) -> Result<(), KernelError> {
        require_len("binary", "the first operand", self.a.end, a.len())?;
        require_len("binary", "the second operand", self.b.end, b.len())?;
        require_len("binary", "the output", self.output.end(), output.len())?;
        require("binary", tasks.end <= self.tasks, || {
            format!("tasks {tasks:?} of {}", self.tasks)
        })?;
        let channels = self.output.channels;
        for task in tasks {
            for plane in part(self.output.images * channels, self.tasks, task) {
                let (image, channel) = (plane / channels, plane % channels);
                let at = |operand: &Operand, slice: &[f32]| {
                    let [images, planes, ..] = operand.strides;
                    slice[operand.origin + image * images + channel * planes..].as_ptr()
                };
                let args = BinaryArgs {
                    a: at(&self.a, a),
                    b: at(&self.b, b),
                    advance: [self.a.strides[3] == 1, self.b.strides[3] == 1],
                    rows: [self.a.strides[2], self.b.strides[2]],
                    out: output.ptr().wrapping_add(self.output.index(image, channel, 0, 0)),
                    out_row: self.output.row_stride,
                    height: self.output.height,
                    width: self.output.width,
                    op: self.op,
                    activation: self.activation,
                };
                // SAFETY: lengths are checked; this task alone writes its planes.
                unsafe { (self.entry)(&args) };
            }
        }
        Ok(())
    }
}

/// Copies a tensor into another layout: in and out of the engine, and to its place in a
/// concatenation (see [`Planar::channel_range`]). This is the same on every instruction set.
pub struct Copy {
    input: Planar,
    output: Planar,
    tasks: usize,
}

impl Copy {
    /// Prepares a copy.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if the shapes differ.
    pub fn new(input: Planar, output: Planar) -> Result<Copy, KernelError> {
        input.check("copy", "the input")?;
        output.check("copy", "the output")?;
        same_shape("copy", &input, &output)?;
        let [input, output] = join_rows([input, output]);
        Ok(Copy { input, output, tasks: plane_tasks(&output) })
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
        require_len("copy", "the input", self.input.end(), input.len())?;
        require_len("copy", "the output", self.output.end(), output.len())?;
        require("copy", tasks.end <= self.tasks, || format!("tasks {tasks:?} of {}", self.tasks))?;
        let channels = self.output.channels;
        for task in tasks {
            for plane in part(self.output.images * channels, self.tasks, task) {
                let (image, channel) = (plane / channels, plane % channels);
                for y in 0..self.output.height {
                    let from = &input[self.input.index(image, channel, y, 0)..][..self.input.width];
                    let to = output.ptr().wrapping_add(self.output.index(image, channel, y, 0));
                    // SAFETY: the row lies within the output (checked), which overlaps nothing;
                    // this task alone writes it.
                    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
                }
            }
        }
        Ok(())
    }
}

/// One of each kind.
#[cfg(test)]
pub(crate) const ACTIVATIONS: [Activation; 14] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Clip { lo: -0.25, hi: 0.75 },
    Activation::LeakyRelu { slope: 0.2 },
    Activation::Prelu,
    Activation::Elu { alpha: 0.7 },
    Activation::Sigmoid,
    Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Activation::HardSwish,
    Activation::Silu,
    Activation::Tanh,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Exp,
];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::planar::Halo;
    use crate::reference::{self, Dense, Guarded, Random};

    /// Every activation over the range where it bends, and far outside, against its formula.
    pub(crate) fn map(isa: Isa) {
        for activation in ACTIVATIONS {
            for (count, span) in [(127, 3.0), (301, 20.0), (64, 100.0), (1, 0.5), (33, 1e-3)] {
                let mut x = Dense::zeros([1, 2, 1, count]);
                for (i, v) in x.data.iter_mut().enumerate() {
                    *v = f64::from((i as f32 / count as f32 - 1.0) * span);
                }
                let slopes = [0.3f32, -0.7];
                let want = x.map(|[_, c, ..], v| {
                    let y = reference::activate(activation, f64::from(slopes[c]), v);
                    // What overflows is infinite.
                    if y > f64::from(f32::MAX) { f64::INFINITY } else { y }
                });
                let planar = x.planar(Halo::uniform(1));
                let input = Guarded::input(planar, &x, 0);
                let mut output = Guarded::output(planar, 1);
                let map = Map::new(planar, planar, activation, isa).unwrap();
                map.run(input.slice(), Some(&slopes), output.slice_mut()).unwrap();
                let tolerance = |i: usize| {
                    let (x, y): (f64, f64) = (x.data[i], want.data[i]);
                    match activation {
                        Activation::Gelu | Activation::GeluTanh => 4e-7 * x.abs().max(1.0),
                        // A sum that cancels near where it is cut off.
                        Activation::HardSigmoid { .. } => 1.2e-7,
                        Activation::HardSwish => 1.2e-7 * x.abs() + 1e-7 * y.abs(),
                        // Flushed to zero below the smallest normal number; infinite above.
                        Activation::Exp => 2.5e-7 * y.abs() + 1.2e-38,
                        _ => 3e-7 * y.abs() + 1.2e-38 * x.abs().max(1.0),
                    }
                };
                output.check(&want, tolerance, &format!("{isa} {activation:?} {span}"));

                let mut in_place = input.slice().to_vec();
                map.run_in_place(&mut in_place, Some(&slopes)).unwrap();
                for i in 0..count {
                    let at = planar.index(0, 1, 0, i);
                    assert_eq!(in_place[at].to_bits(), output.slice()[at].to_bits());
                }
            }
        }
        extremes(isa);
    }

    fn extremes(isa: Isa) {
        let apply = |activation: Activation, x: f32| {
            let p = Planar::dense(1, 1, 1, 1);
            let mut out = [0.0];
            let map = Map::new(p, p, activation, isa).unwrap();
            map.run(&[x], Some(&[0.5]), &mut out).unwrap();
            out[0]
        };
        for activation in ACTIVATIONS {
            assert!(apply(activation, f32::NAN).is_nan(), "{isa} {activation:?}");
        }
        let inf = f32::INFINITY;
        assert_eq!(apply(Activation::Exp, inf), inf);
        assert_eq!(apply(Activation::Exp, 88.8), inf);
        assert!(apply(Activation::Exp, 88.7).is_finite());
        assert_eq!(apply(Activation::Exp, -inf), 0.0);
        assert_eq!(apply(Activation::Sigmoid, inf), 1.0);
        assert_eq!(apply(Activation::Sigmoid, -inf), 0.0);
        assert_eq!(apply(Activation::Tanh, inf), 1.0);
        assert_eq!(apply(Activation::Tanh, -inf), -1.0);
        assert_eq!(apply(Activation::Relu, -inf), 0.0);
        assert_eq!(apply(Activation::Clip { lo: 0.0, hi: 6.0 }, inf), 6.0);
        assert_eq!(apply(Activation::LeakyRelu { slope: 0.25 }, -inf), -inf);
    }

    pub(crate) fn binary(isa: Isa) {
        let mut random = Random::new(5);
        let ops = [
            BinaryOp::Add,
            BinaryOp::Sub,
            BinaryOp::Mul,
            BinaryOp::Div,
            BinaryOp::Min,
            BinaryOp::Max,
        ];
        for seed in reference::seeds(200) {
            let r = &mut random;
            let shape = [
                r.pick(&[1, 2]),
                r.pick(&[1, 3, 5]),
                r.pick(&[1, 4, 7]),
                r.pick(&[1, 7, 13, 16, 33, 127]),
            ];
            let operand = |r: &mut Random| {
                let repeat = r.below(2) == 0;
                let shape = shape.map(|extent| if repeat && r.below(2) == 0 { 1 } else { extent });
                let mut x = Dense::random(shape, r);
                // Away from zero, for the division.
                x.data.iter_mut().for_each(|v| *v += v.signum() * 0.5);
                let halo = Halo::uniform(r.pick(&[0, 0, 1]));
                (Guarded::input(x.planar(halo), &x, 1), x)
            };
            let ((a, da), (b, db)) = (operand(r), operand(r));
            if !reference::fits(8 * shape.iter().product::<usize>()) {
                continue;
            }
            let op = r.pick(&ops);
            let activation = r.pick(&[Activation::Identity, Activation::Relu, Activation::Tanh]);
            let want = Dense::zeros(shape).map(|at, _| {
                let get = |d: &Dense| {
                    let [n, c, y, x] = [0, 1, 2, 3].map(|i| at[i].min(d.shape[i] - 1));
                    d.get(n, c, y, x)
                };
                let (a, b) = (get(&da), get(&db));
                let v = match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div => a / b,
                    BinaryOp::Min => a.min(b),
                    BinaryOp::Max => a.max(b),
                };
                reference::activate(activation, 0.0, v)
            });
            let planar = want.planar(Halo::uniform(r.pick(&[0, 2])));
            let mut out = Guarded::output(planar, seed % 3);
            let kernel = Binary::new(a.planar, b.planar, planar, op, activation, isa).unwrap();
            kernel.run(a.slice(), b.slice(), out.slice_mut()).unwrap();
            out.check(&want, |_| 1e-6, &format!("{isa} {op:?} {:?} {:?}", da.shape, db.shape));
        }
        for op in [BinaryOp::Min, BinaryOp::Max] {
            let p = Planar::dense(1, 1, 1, 2);
            let mut out = [0.0; 2];
            let kernel = Binary::new(p, p, p, op, Activation::Identity, isa).unwrap();
            kernel.run(&[f32::NAN, 1.0], &[1.0, f32::NAN], &mut out).unwrap();
            assert!(out.iter().all(|x| x.is_nan()), "{isa} {op:?}");
        }
    }

    #[test]
    fn copies_between_layouts_and_into_a_concatenation() {
        let mut random = Random::new(6);
        for w in [1, 7, 16, 127].into_iter().filter(|w| reference::fits(2 * 7 * 5 * w)) {
            let a = Dense::random([2, 3, 5, w], &mut random);
            let b = Dense::random([2, 4, 5, w], &mut random);
            let joined = Planar::new(2, 7, 5, w, Halo::uniform(1));
            let mut out = Guarded::output(joined, 1);
            for (first, part) in [(0, &a), (3, &b)] {
                let from = Guarded::input(part.planar(Halo::uniform(w % 3)), part, 0);
                let to = joined.channel_range(first, part.shape[1]).unwrap();
                let copy = Copy::new(from.planar, to).unwrap();
                copy.run(from.slice(), out.slice_mut()).unwrap();
            }
            let want = Dense::zeros([2, 7, 5, w]).map(|[n, c, y, x], _| {
                if c < 3 { a.get(n, c, y, x) } else { b.get(n, c - 3, y, x) }
            });
            out.check(&want, |_| 1e-9, "concatenation");
        }
    }

    #[test]
    fn shapes_and_lengths_that_do_not_fit_are_errors() {
        let p = Planar::dense(1, 2, 3, 4);
        let q = Planar::dense(1, 2, 3, 5);
        let isa = Isa::Portable;
        assert!(Map::new(p, q, Activation::Relu, isa).is_err());
        assert!(Copy::new(p, q).is_err());
        assert!(Binary::new(p, q, p, BinaryOp::Add, Activation::Relu, isa).is_err());
        assert!(Binary::new(p, p, p, BinaryOp::Add, Activation::Prelu, isa).is_err());
        let (x, mut y) = ([0.0; 24], [0.0; 24]);
        let map = Map::new(p, p, Activation::Prelu, isa).unwrap();
        assert!(map.run(&x, Some(&[0.0; 2]), &mut y).is_ok());
        assert!(map.run(&x, Some(&[0.0; 1]), &mut y).is_err());
        assert!(map.run(&x, None, &mut y).is_err());
        assert!(map.run(&x[1..], Some(&[0.0; 2]), &mut y).is_err());
        assert!(map.run_in_place(&mut y[1..], Some(&[0.0; 2])).is_err());
        let copy = Copy::new(p, p).unwrap();
        assert!(copy.run(&x, &mut y[1..]).is_err());
        let add = Binary::new(p, p, p, BinaryOp::Add, Activation::Identity, isa).unwrap();
        assert!(add.run(&x, &x[1..], &mut y).is_err());
    }
}
