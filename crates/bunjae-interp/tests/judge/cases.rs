//! What is asked of the judge: every operator under settings at which implementations differ.

use bunjae_ir::op::*;
use bunjae_ir::{Dim, Factors, Op, Target};
use bunjae_tensor::{DType, Element, Random, Tensor};

/// An operator and its operands.
pub(crate) struct Case {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<Tensor>,
}

/// The list under construction.
struct Cases {
    random: Random,
    list: Vec<Case>,
}

/// All cases; the same at each call.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Cases { random: Random::new(20), list: Vec::new() };
    cases.convolutions();
    cases.transposed_convolutions();
    cases.products();
    cases.functions_of_one();
    cases.functions_of_two();
    cases.casts();
    cases.normalisations();
    cases.pools();
    cases.reductions();
    cases.joints_and_cuts();
    cases.slices_and_pads();
    cases.rearrangements();
    cases.resizes();
    cases.quantisations();
    cases.list
}

impl Cases {
    fn push(&mut self, op: impl Into<Op>, inputs: &[&Tensor]) {
        let inputs = inputs.iter().copied().cloned().collect();
        self.list.push(Case { op: op.into(), inputs });
    }

    /// Uniform in `low..high`, of any element type.
    fn range(&mut self, dtype: DType, shape: &[usize], low: f64, high: f64) -> Tensor {
        fn of<T: Element>(shape: &[usize], values: impl Iterator<Item = T>) -> Tensor {
            Tensor::from_slice(shape, &values.collect::<Vec<T>>()).unwrap()
        }
        let count = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|_| self.random.uniform(low, high)).collect();
        let values = values.into_iter();
        match dtype {
            DType::F32 => of(shape, values.map(|value| value as f32)),
            DType::F64 => of(shape, values),
            DType::I8 => of(shape, values.map(|value| value as i8)),
            DType::U8 => of(shape, values.map(|value| value as u8)),
            DType::I32 => of(shape, values.map(|value| value as i32)),
            DType::I64 => of(shape, values.map(|value| value as i64)),
        }
    }

    /// f32, uniform in -1 to 1.
    fn random(&mut self, shape: &[usize]) -> Tensor {
        self.range(DType::F32, shape, -1.0, 1.0)
    }

    fn convolutions(&mut self) {
        use Groups::{Dense, Depthwise, Grouped};
        // x, weight, stride, dilation, pad, groups
        type Row = ([usize; 4], [usize; 4], [usize; 2], [usize; 2], [usize; 4], Groups);
        let table: &[Row] = &[
            ([1, 1, 1, 1], [1, 1, 1, 1], [1, 1], [1, 1], [0; 4], Dense),
            ([1, 3, 8, 8], [4, 3, 1, 1], [1, 1], [1, 1], [0; 4], Dense),
            ([2, 3, 7, 5], [4, 3, 1, 1], [2, 2], [1, 1], [0; 4], Dense),
            ([1, 3, 8, 8], [4, 3, 3, 3], [1, 1], [1, 1], [1; 4], Dense),
            ([2, 5, 9, 7], [3, 5, 3, 3], [2, 2], [1, 1], [1; 4], Dense),
            ([1, 3, 13, 13], [17, 3, 7, 7], [2, 2], [1, 1], [3; 4], Dense),
            ([1, 2, 6, 11], [33, 2, 1, 5], [1, 2], [1, 1], [0, 2, 0, 2], Dense),
            ([1, 2, 11, 6], [3, 2, 5, 1], [2, 1], [1, 1], [2, 0, 2, 0], Dense),
            ([1, 2, 6, 6], [3, 2, 3, 3], [1, 1], [1, 1], [0, 1, 1, 0], Dense),
            ([1, 2, 6, 6], [3, 2, 3, 3], [2, 2], [1, 1], [0, 0, 1, 1], Dense),
            ([1, 2, 5, 5], [3, 2, 2, 2], [1, 1], [1, 1], [2, 0, 1, 3], Dense),
            ([1, 2, 9, 9], [3, 2, 3, 3], [1, 1], [2, 2], [2; 4], Dense),
            ([1, 2, 12, 9], [3, 2, 3, 2], [2, 1], [2, 3], [1, 0, 3, 2], Dense),
            ([1, 2, 10, 10], [3, 2, 3, 3], [3, 3], [3, 3], [3; 4], Dense),
            ([1, 1, 1, 7], [2, 1, 1, 3], [1, 3], [1, 1], [0, 1, 0, 1], Dense),
            ([1, 1, 2, 2], [1, 1, 4, 4], [1, 1], [1, 1], [1; 4], Dense),
            ([1, 1, 3, 3], [1, 1, 3, 3], [5, 5], [1, 1], [1; 4], Dense),
            ([3, 1, 4, 4], [2, 1, 4, 4], [1, 1], [1, 1], [0; 4], Dense),
            ([1, 64, 4, 4], [20, 64, 3, 3], [1, 1], [1, 1], [1; 4], Dense),
            ([1, 4, 6, 6], [6, 2, 3, 3], [1, 1], [1, 1], [1; 4], Grouped(2)),
            ([2, 6, 5, 7], [9, 2, 3, 1], [2, 1], [1, 2], [1, 0, 0, 0], Grouped(3)),
            ([1, 8, 4, 4], [4, 2, 1, 1], [1, 1], [1, 1], [0; 4], Grouped(4)),
            ([1, 40, 3, 3], [40, 20, 3, 3], [1, 1], [1, 1], [1; 4], Grouped(2)),
            ([1, 6, 7, 7], [6, 1, 3, 3], [1, 1], [1, 1], [1; 4], Depthwise),
            ([2, 6, 9, 8], [6, 1, 3, 3], [2, 2], [1, 1], [1; 4], Depthwise),
            ([1, 5, 9, 9], [5, 1, 5, 5], [2, 2], [1, 1], [2; 4], Depthwise),
            ([1, 6, 9, 9], [6, 1, 3, 3], [1, 1], [2, 2], [2; 4], Depthwise),
            ([1, 6, 8, 8], [6, 1, 3, 3], [2, 2], [1, 1], [0, 0, 1, 1], Depthwise),
            ([1, 3, 7, 7], [6, 1, 3, 3], [1, 1], [1, 1], [1; 4], Depthwise),
            ([1, 3, 7, 7], [9, 1, 2, 3], [2, 1], [1, 1], [1, 1, 0, 1], Depthwise),
            ([1, 1, 7, 7], [4, 1, 3, 3], [1, 1], [1, 1], [1; 4], Depthwise),
        ];
        for (at, &(x, weight, stride, dilation, pad, groups)) in table.iter().enumerate() {
            let op = Op::Conv2d(Conv2d { stride, dilation, pad, groups });
            let (x, weight) = (self.random(&x), self.random(&weight));
            let bias = self.random(&weight.shape()[..1]);
            match at % 2 {
                0 => self.push(op, &[&x, &weight, &bias]),
                _ => self.push(op, &[&x, &weight]),
            }
        }
    }

    fn transposed_convolutions(&mut self) {
        use Groups::{Dense, Depthwise, Grouped};
        // x, weight, stride, dilation, pad, output_pad, groups
        type Row = ([usize; 4], [usize; 4], [usize; 2], [usize; 2], [usize; 4], [usize; 2], Groups);
        let table: &[Row] = &[
            ([1, 1, 1, 1], [1, 1, 1, 1], [1, 1], [1, 1], [0; 4], [0, 0], Dense),
            ([1, 3, 4, 5], [3, 2, 2, 2], [2, 2], [1, 1], [0; 4], [0, 0], Dense),
            ([2, 3, 4, 4], [3, 5, 3, 3], [2, 2], [1, 1], [1; 4], [1, 1], Dense),
            ([1, 3, 5, 4], [3, 2, 4, 4], [2, 2], [1, 1], [1; 4], [0, 0], Dense),
            ([1, 2, 5, 4], [2, 2, 3, 3], [1, 1], [1, 1], [1; 4], [0, 0], Dense),
            ([1, 2, 4, 4], [2, 3, 3, 2], [3, 2], [1, 1], [0, 1, 1, 0], [2, 1], Dense),
            ([1, 2, 4, 4], [2, 3, 3, 3], [1, 1], [2, 2], [2; 4], [0, 0], Dense),
            ([1, 2, 3, 4], [2, 3, 2, 3], [2, 3], [2, 3], [1, 0, 2, 3], [1, 2], Dense),
            ([1, 4, 4, 4], [4, 3, 3, 3], [2, 2], [1, 1], [1; 4], [1, 0], Grouped(2)),
            ([1, 6, 3, 3], [6, 1, 2, 2], [2, 2], [1, 1], [0; 4], [0, 0], Grouped(3)),
            ([1, 4, 5, 5], [4, 1, 4, 4], [2, 2], [1, 1], [1; 4], [0, 0], Depthwise),
            ([1, 3, 4, 4], [3, 2, 3, 3], [2, 2], [1, 1], [1; 4], [1, 1], Depthwise),
        ];
        for (at, &(x, weight, stride, dilation, pad, output_pad, groups)) in
            table.iter().enumerate()
        {
            let channels = match groups {
                Dense => weight[1],
                Grouped(count) => weight[1] * count,
                Depthwise => weight[1] * x[1],
            };
            let op = ConvTranspose2d { stride, dilation, pad, output_pad, groups };
            let op = Op::ConvTranspose2d(op);
            let (x, weight) = (self.random(&x), self.random(&weight));
            let bias = self.random(&[channels]);
            match at % 2 {
                0 => self.push(op, &[&x, &weight]),
                _ => self.push(op, &[&x, &weight, &bias]),
            }
        }
    }

    fn products(&mut self) {
        for (x, weight) in [
            (&[1, 1][..], [1, 1]),
            (&[3, 5], [7, 5]),
            (&[1, 200], [19, 200]),
            (&[2, 3, 4], [5, 4]),
            (&[2, 1, 3, 4], [9, 4]),
        ] {
            let (x, weight) = (self.random(x), self.random(&weight));
            let bias = self.random(&weight.shape()[..1]);
            self.push(Op::Linear, &[&x, &weight]);
            self.push(Op::Linear, &[&x, &weight, &bias]);
        }
        let shapes: [(&[usize], &[usize]); 7] = [
            (&[1, 1], &[1, 1]),
            (&[3, 5], &[5, 2]),
            (&[4, 100], &[100, 3]),
            (&[2, 3, 4], &[2, 4, 5]),
            (&[2, 3, 4], &[4, 5]),
            (&[3, 4], &[2, 3, 4, 2]),
            (&[2, 1, 3, 4], &[1, 3, 4, 2]),
        ];
        for (a, b) in shapes {
            for dtype in [DType::F32, DType::F64] {
                let (a, b) = (self.range(dtype, a, -1.0, 1.0), self.range(dtype, b, -1.0, 1.0));
                self.push(Op::MatMul, &[&a, &b]);
            }
        }
    }

    fn functions_of_one(&mut self) {
        let functions = [
            Unary::Identity,
            Unary::Relu,
            Unary::LeakyRelu { alpha: 0.01 },
            Unary::LeakyRelu { alpha: 0.3 },
            Unary::Clip { min: 0.0, max: 6.0 },
            Unary::Clip { min: -1.5, max: 0.25 },
            Unary::Clip { min: 1.0, max: -1.0 },
            Unary::Sigmoid,
            Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
            Unary::HardSwish,
            Unary::Silu,
            Unary::Tanh,
            Unary::Gelu { tanh: false },
            Unary::Gelu { tanh: true },
            Unary::Elu { alpha: 1.0 },
            Unary::Elu { alpha: 0.5 },
            Unary::Softplus,
            Unary::Mish,
            Unary::Exp,
            Unary::Neg,
            Unary::Abs,
            Unary::Reciprocal,
            Unary::Erf,
        ];
        let x = self.range(DType::F32, &[2, 3, 7, 5], -8.0, 8.0);
        for op in functions {
            self.push(op, &[&x]);
        }
        let x = self.range(DType::F32, &[40], 0.001, 8.0);
        self.push(Unary::Log, &[&x]);
        self.push(Unary::Sqrt, &[&x]);
        let double = self.range(DType::F64, &[2, 33], -8.0, 8.0);
        for op in [Unary::Relu, Unary::Sigmoid, Unary::Tanh, Unary::Exp, Unary::Neg] {
            self.push(op, &[&double]);
        }
        // What is said about NaN, infinities and the sign of zero.
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let values = [nan, -0.0, 0.0, inf, -inf, 1.0, -1.0, f32::MIN_POSITIVE, 1e-42, f32::MAX];
        let x = Tensor::from_slice(&[10], &values).unwrap();
        for op in [
            Unary::Relu,
            Unary::LeakyRelu { alpha: 0.5 },
            Unary::Clip { min: 0.0, max: 6.0 },
            Unary::Sigmoid,
            Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Unary::Tanh,
            Unary::Neg,
            Unary::Abs,
            Unary::Sqrt,
        ] {
            self.push(op, &[&x]);
        }
        for op in [Binary::Add, Binary::Mul, Binary::Max, Binary::Min] {
            self.push(op.clone(), &[&x, &Tensor::scalar(0f32)]);
            self.push(op, &[&Tensor::scalar(2f32), &x]);
        }
    }

    fn functions_of_two(&mut self) {
        let shapes: [(&[usize], &[usize]); 8] = [
            (&[2, 3, 4, 5], &[2, 3, 4, 5]),
            (&[2, 3, 4, 5], &[3, 1, 1]),
            (&[1, 3, 1, 1], &[2, 3, 4, 5]),
            (&[2, 3, 4, 5], &[5]),
            (&[2, 3, 4, 5], &[]),
            (&[], &[]),
            (&[4, 1, 3], &[2, 1]),
            (&[1, 1, 1, 1, 7], &[2, 1]),
        ];
        for (at, (a, b)) in shapes.into_iter().enumerate() {
            let (a, b) = (self.random(a), self.random(b));
            let op = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div][at % 4].clone();
            self.push(op, &[&a, &b]);
            let op = [Binary::Max, Binary::Min][at % 2].clone();
            self.push(op, &[&a, &b]);
        }
        let base = self.range(DType::F32, &[3, 7], 0.1, 4.0);
        let power = self.range(DType::F32, &[7], -3.0, 3.0);
        self.push(Binary::Pow, &[&base, &power]);
        self.push(Binary::Pow, &[&base, &Tensor::scalar(2f32)]);
        for dtype in [DType::F64, DType::I32, DType::I64, DType::I8, DType::U8] {
            let low = if dtype == DType::U8 { 1.0 } else { -90.0 };
            let (a, b) = (self.range(dtype, &[2, 9], low, 90.0), self.range(dtype, &[9], 1.0, 9.0));
            for op in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Max, Binary::Min]
            {
                self.push(op, &[&a, &b]);
            }
        }
        let (a, b) =
            (self.range(DType::I64, &[9], -9.0, 9.0), self.range(DType::I64, &[9], 0.0, 5.0));
        self.push(Binary::Pow, &[&a, &b]);
        let a = Tensor::from_slice(&[3], &[i32::MAX, i32::MIN, -7]).unwrap();
        self.push(Binary::Add, &[&a, &Tensor::scalar(1i32)]);
        self.push(Binary::Mul, &[&a, &Tensor::scalar(3i32)]);
        for slope in [&[1][..], &[4, 1, 1], &[5]] {
            let (x, slope) = (self.random(&[2, 4, 3, 5]), self.random(slope));
            self.push(Op::PRelu, &[&x, &slope]);
        }
    }

    fn casts(&mut self) {
        for from in DType::ALL {
            let low = if from == DType::U8 { 0.0 } else { -100.0 };
            let x = self.range(from, &[3, 11], low, 120.0);
            for to in DType::ALL {
                // What becomes of a negative float in an unsigned type is not said by ONNX.
                if !(from.is_float() && to == DType::U8) {
                    self.push(Op::Cast(Cast { to }), &[&x]);
                }
            }
        }
        let x = Tensor::from_slice(&[4], &[70_000i64, -300, 1 << 40, 16_777_217]).unwrap();
        for to in [DType::I8, DType::U8, DType::I32, DType::F32] {
            self.push(Op::Cast(Cast { to }), &[&x]);
        }
    }

    fn normalisations(&mut self) {
        for (shape, dtype, eps) in [
            (&[2, 3, 5, 4][..], DType::F32, 1e-5),
            (&[1, 7, 1, 1], DType::F32, 1e-3),
            (&[3, 4], DType::F32, 1e-5),
            (&[2, 3, 5], DType::F64, 1e-5),
        ] {
            let x = self.range(dtype, shape, -1.0, 1.0);
            let mut channel = |low| self.range(dtype, &[shape[1]], low, 1.0);
            let (gamma, beta, mean) = (channel(-1.0), channel(-1.0), channel(-1.0));
            let variance = channel(0.2);
            let op = Op::BatchNorm(BatchNorm { eps });
            self.push(op, &[&x, &gamma, &beta, &mean, &variance]);
        }
        for (shape, axis, dtype) in [
            (&[2, 3, 5, 4][..], 1, DType::F32),
            (&[2, 3, 16], 2, DType::F32),
            (&[4, 9], 1, DType::F64),
            (&[2, 3, 4], 0, DType::F32),
        ] {
            let x = self.range(dtype, shape, -1.0, 1.0);
            let gamma = self.range(dtype, &shape[axis..], -1.0, 1.0);
            let beta = self.range(dtype, &shape[axis..], -1.0, 1.0);
            let op = Op::LayerNorm(LayerNorm { axis, eps: 1e-5 });
            self.push(op.clone(), &[&x, &gamma]);
            self.push(op, &[&x, &gamma, &beta]);
        }
        for (shape, axis) in [(&[2, 5, 3, 4][..], 1), (&[2, 5, 3, 4], 3), (&[4, 6], 1), (&[7], 0)] {
            let x = self.random(shape);
            self.push(Op::L2Norm(L2Norm { axis, eps: 1e-12 }), &[&x]);
            let x = self.range(DType::F32, shape, -20.0, 20.0);
            self.push(Op::Softmax(Softmax { axis }), &[&x]);
            self.push(Op::LogSoftmax(LogSoftmax { axis }), &[&x]);
            let x = self.range(DType::F64, shape, -20.0, 20.0);
            self.push(Op::Softmax(Softmax { axis }), &[&x]);
            self.push(Op::LogSoftmax(LogSoftmax { axis }), &[&x]);
        }
    }

    fn pools(&mut self) {
        // picture, kernel, stride, dilation, pad, ceil
        type Row = ([usize; 2], [usize; 2], [usize; 2], [usize; 2], [usize; 4], bool);
        let table: &[Row] = &[
            ([8, 8], [2, 2], [2, 2], [1, 1], [0; 4], false),
            ([9, 7], [2, 2], [2, 2], [1, 1], [0; 4], false),
            ([9, 7], [2, 2], [2, 2], [1, 1], [0; 4], true),
            ([8, 8], [3, 3], [2, 2], [1, 1], [1; 4], false),
            ([8, 8], [3, 3], [2, 2], [1, 1], [1; 4], true),
            ([7, 7], [3, 3], [2, 2], [1, 1], [0; 4], true),
            ([7, 9], [3, 2], [1, 3], [1, 1], [1, 0, 0, 1], false),
            ([7, 9], [3, 2], [1, 3], [1, 1], [1, 0, 0, 1], true),
            ([6, 6], [3, 3], [3, 3], [1, 1], [1; 4], true),
            ([5, 5], [5, 5], [1, 1], [1, 1], [2; 4], false),
            ([7, 7], [5, 5], [4, 4], [1, 1], [2; 4], true),
            ([5, 6], [2, 3], [3, 2], [1, 1], [0, 1, 1, 2], true),
            ([4, 4], [2, 2], [3, 3], [1, 1], [0; 4], true),
            ([2, 2], [2, 2], [2, 2], [1, 1], [0, 0, 1, 1], true),
            ([9, 9], [3, 3], [1, 1], [2, 2], [0; 4], false),
            ([9, 8], [3, 2], [2, 2], [2, 3], [2, 1, 1, 1], false),
            ([9, 8], [3, 2], [2, 2], [2, 3], [2, 1, 1, 1], true),
            ([1, 1], [1, 1], [1, 1], [1, 1], [0; 4], false),
            // Windows larger than the padded picture.
            ([2, 2], [3, 3], [2, 2], [1, 1], [0; 4], true),
            ([1, 2], [3, 4], [2, 2], [1, 1], [1, 0, 0, 1], true),
        ];
        for &([height, width], kernel, stride, dilation, pad, ceil) in table {
            let x = self.random(&[2, 3, height, width]);
            self.push(Op::MaxPool(MaxPool { kernel, stride, dilation, pad, ceil }), &[&x]);
            for count_pad in [false, true] {
                let op = AveragePool { kernel, stride, dilation, pad, ceil, count_pad };
                self.push(Op::AveragePool(op), &[&x]);
            }
        }
        for (dtype, low) in [(DType::I8, -100.0), (DType::U8, 0.0), (DType::F64, -1.0)] {
            let x = self.range(dtype, &[1, 2, 5, 6], low, 100.0);
            let op = MaxPool { kernel: [3, 2], pad: [1, 0, 1, 1], ..MaxPool::default() };
            self.push(Op::MaxPool(op), &[&x]);
        }
        for kind in [Reduction::Mean, Reduction::Max] {
            for shape in [&[2, 3, 7, 5][..], &[1, 4, 1, 1], &[2, 3, 6]] {
                let x = self.random(shape);
                self.push(Op::GlobalPool(GlobalPool { kind }), &[&x]);
            }
        }
    }

    fn reductions(&mut self) {
        let kinds =
            [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min, Reduction::L2];
        for kind in kinds {
            for (axes, keep, dtype) in [
                (&[2, 3][..], true, DType::F32),
                (&[2, 3], false, DType::F32),
                (&[1], true, DType::F32),
                (&[0, 2], false, DType::F64),
                (&[0, 1, 2, 3], false, DType::F32),
            ] {
                let x = self.range(dtype, &[2, 3, 4, 5], -1.0, 1.0);
                self.push(Op::Reduce(Reduce { kind, axes: axes.to_vec(), keep }), &[&x]);
            }
        }
    }

    fn joints_and_cuts(&mut self) {
        for dtype in DType::ALL {
            let axis = dtype.size() % 3;
            let mut shape = [2, 3, 4];
            let a = self.range(dtype, &shape, 0.0, 90.0);
            shape[axis] = 5;
            let b = self.range(dtype, &shape, 0.0, 90.0);
            self.push(Op::Concat(Concat { axis }), &[&a, &b, &a]);
            let sizes = vec![1, 3, 1];
            self.push(Op::Split(Split { axis, sizes }), &[&b]);
        }
        let x = self.random(&[2, 6, 3, 3]);
        self.push(Op::Concat(Concat { axis: 1 }), &[&x]);
        self.push(Op::Split(Split { axis: 1, sizes: vec![6] }), &[&x]);
    }

    fn slices_and_pads(&mut self) {
        let open = Range::OPEN;
        let ranges: [&[(usize, i64, i64, i64)]; 10] = [
            &[(1, 1, 3, 1)],
            &[(2, 0, open, 2), (3, 0, open, 2)],
            &[(1, -2, open, 1)],
            &[(3, 0, -1, 1)],
            &[(3, -1, open, -1)],
            &[(2, 4, 0, -2)],
            &[(2, 100, -100, -3)],
            &[(0, 0, 100, 7)],
            &[(3, -5, -2, 1), (1, 3, open, 1), (0, 1, 2, 1)],
            &[(2, -1, -3, -1), (3, 1, open, 3)],
        ];
        for (at, ranges) in ranges.into_iter().enumerate() {
            let dtype = DType::ALL[at % DType::ALL.len()];
            let x = self.range(dtype, &[2, 4, 5, 6], 0.0, 100.0);
            let ranges = ranges
                .iter()
                .map(|&(axis, start, end, step)| Range { axis, start, end, step })
                .collect();
            self.push(Op::Slice(Slice { ranges }), &[&x]);
        }
        let pads: [&[[usize; 3]]; 4] = [
            &[[2, 1, 1], [3, 1, 1]],
            &[[1, 0, 2]],
            &[[0, 1, 0], [3, 2, 3]],
            &[[2, 3, 0], [3, 0, 4]],
        ];
        for (at, pads) in pads.into_iter().enumerate() {
            for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge] {
                let dtype = [DType::F32, DType::I32, DType::F64, DType::U8][at];
                // A mirror is shorter than what it mirrors.
                let x = self.range(dtype, &[2, 3, 4, 5], 0.0, 100.0);
                self.push(Op::Pad(Pad { pads: pads.to_vec(), mode, value: 2.5 }), &[&x]);
            }
        }
    }

    fn rearrangements(&mut self) {
        for (at, perm) in
            [&[1, 0][..], &[0, 2, 3, 1], &[0, 3, 1, 2], &[3, 2, 1, 0], &[0, 2, 1, 3, 4]]
                .into_iter()
                .enumerate()
        {
            let shape = &[3, 2, 5, 4, 2][..perm.len()];
            let x = self.range(DType::ALL[at], shape, 0.0, 100.0);
            self.push(Op::Transpose(Transpose { perm: perm.to_vec() }), &[&x]);
        }
        for order in [DepthOrder::DepthColumnRow, DepthOrder::ColumnRowDepth] {
            for (block, channels) in [(2, 12), (3, 9), (1, 2)] {
                let x = self.random(&[2, channels, 3, 4]);
                self.push(Op::DepthToSpace(DepthToSpace { block, order }), &[&x]);
            }
        }
        let x = self.random(&[2, 6, 1, 4]);
        let dims = x.shape().iter().map(|&dim| Dim::Fixed(dim)).collect::<Vec<_>>();
        for target in [&[2, 24][..], &[2, 3, 2, 4], &[12, 4], &[2, 2, 3, 1, 4]] {
            let sizes = target.iter().map(|&size| Target::Size(Dim::Fixed(size)));
            let map = Factors::between(&dims, &sizes.collect::<Vec<_>>()).unwrap();
            self.push(Op::Reshape(Reshape { map }), &[&x]);
        }
        for axis in 0..=4 {
            self.push(Op::Flatten(Flatten { axis }), &[&x]);
        }
        self.push(Op::Squeeze(Squeeze { axes: vec![2] }), &[&x]);
        self.push(Op::Unsqueeze(Unsqueeze { axes: vec![0, 3] }), &[&x]);
        self.push(Op::Dropout(Dropout { ratio: 0.5 }), &[&x]);
    }

    fn resizes(&mut self) {
        let all_coordinates = [
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
        ];
        let roundings = [
            Rounding::Floor,
            Rounding::Ceil,
            Rounding::RoundPreferFloor,
            Rounding::RoundPreferCeil,
        ];
        let targets = [
            ([3, 4], ResizeTo::Scale([2.0, 2.0])),
            ([6, 7], ResizeTo::Scale([0.5, 0.6])),
            ([6, 20], ResizeTo::Scale([7.0 / 3.0, 1.1])),
            ([5, 3], ResizeTo::Scale([1.7, 3.3])),
            ([4, 5], ResizeTo::Size([7, 9])),
            ([6, 9], ResizeTo::Size([14, 4])),
            ([7, 5], ResizeTo::Size([1, 1])),
            ([1, 3], ResizeTo::Size([4, 6])),
        ];
        for ([height, width], to) in targets {
            for coordinates in all_coordinates {
                let x = self.random(&[1, 2, height, width]);
                let (mode, rounding) = (ResizeMode::Linear, Rounding::Floor);
                self.push(Op::Resize(Resize { to, mode, coordinates, rounding }), &[&x]);
                for rounding in roundings {
                    let mode = ResizeMode::Nearest;
                    self.push(Op::Resize(Resize { to, mode, coordinates, rounding }), &[&x]);
                }
            }
        }
    }

    fn quantisations(&mut self) {
        // Halves, which go to even numbers, and values beyond the range.
        let mut values: Vec<f32> = (-300..300).map(|half| half as f32 / 2.0).collect();
        values.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30]);
        let halves = Tensor::from_slice(&[values.len()], &values).unwrap();
        let x = self.range(DType::F32, &[2, 3, 5], -20.0, 20.0);
        let wide = self.range(DType::I32, &[2, 3, 5], -1e6, 1e6);
        for (zero_i8, zero_u8) in [(0i8, 0u8), (-7, 128)] {
            for (zero, dtype) in
                [(Tensor::scalar(zero_i8), DType::I8), (Tensor::scalar(zero_u8), DType::U8)]
            {
                self.push(
                    Op::Quantize(Quantize::default()),
                    &[&halves, &Tensor::scalar(1f32), &zero],
                );
                self.push(Op::Quantize(Quantize::default()), &[&x, &Tensor::scalar(0.1f32), &zero]);
                let low = if dtype == DType::I8 { -128.0 } else { 0.0 };
                let y = self.range(dtype, &[2, 3, 5], low, low + 255.0);
                self.push(
                    Op::Dequantize(Dequantize::default()),
                    &[&y, &Tensor::scalar(0.37f32), &zero],
                );
            }
        }
        for axis in 0..3 {
            let len = x.shape()[axis];
            let scale = self.range(DType::F32, &[len], 0.05, 0.3);
            let zero = self.range(DType::I8, &[len], -9.0, 9.0);
            self.push(Op::Quantize(Quantize { axis }), &[&x, &scale, &zero]);
            let y = self.range(DType::I8, x.shape(), -128.0, 127.0);
            self.push(Op::Dequantize(Dequantize { axis }), &[&y, &scale, &zero]);
            let zero = Tensor::zeros(DType::I32, &[len]).unwrap();
            self.push(Op::Dequantize(Dequantize { axis }), &[&wide, &scale, &zero]);
        }
    }
}
