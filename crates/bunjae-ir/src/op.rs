//! The operators: a closed list of plain data.
//!
//! Weights and activations are operands, never settings, and no setting repeats what a weight's
//! shape says (the output channels of a convolution are its weight's first dimension), so that
//! channel surgery edits tensors and the shapes are inferred again.
//!
//! Pictures are `[batch, channels, height, width]`. A channel is axis 1.

use bunjae_tensor::DType;

use crate::attr::{Attr, AttrError, AttrMap, settings, words};
use crate::reshape::Factors;

/// How the channels of a convolution are split into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Groups {
    /// Every output channel sees every input channel.
    Dense,
    /// So many groups (two or more) that do not see each other.
    Grouped(usize),
    /// Every input channel is a group of its own, whatever their number.
    Depthwise,
}

impl crate::attr::AttrValue for Groups {
    fn expected() -> String {
        "`dense`, `depthwise` or a number of groups over 1".into()
    }
    fn to_attr(&self) -> Attr {
        match self {
            Groups::Dense => Attr::Word("dense".into()),
            Groups::Depthwise => Attr::Word("depthwise".into()),
            Groups::Grouped(count) => Attr::Int(i64::try_from(*count).unwrap_or(i64::MAX)),
        }
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Word(word) if word == "dense" => Some(Groups::Dense),
            Attr::Word(word) if word == "depthwise" => Some(Groups::Depthwise),
            Attr::Int(count) if *count > 1 => Some(Groups::Grouped(usize::try_from(*count).ok()?)),
            _ => None,
        }
    }
}

words! {
    /// What a window or a reduction does with its elements.
    Reduction {
        /// The arithmetic mean.
        Mean = "mean",
        /// The sum.
        Sum = "sum",
        /// The largest.
        Max = "max",
        /// The smallest.
        Min = "min",
        /// The square root of the sum of squares.
        L2 = "l2",
    }
}

words! {
    /// Where padding takes its values from.
    PadMode {
        /// One constant.
        Constant = "constant",
        /// The picture mirrored at its border, the border itself not repeated.
        Reflect = "reflect",
        /// The nearest element of the border.
        Edge = "edge",
    }
}

words! {
    /// How a resized picture is sampled.
    ResizeMode {
        /// The nearest source element.
        Nearest = "nearest",
        /// Linear interpolation between the two nearest rows and columns.
        Linear = "linear",
    }
}

words! {
    /// Which source coordinate a target coordinate `x` stands for (names of ONNX's Resize).
    Coordinates {
        /// `(x + 0.5) / scale - 0.5`.
        HalfPixel = "half_pixel",
        /// As half pixel, but 0 where the target has one element.
        PytorchHalfPixel = "pytorch_half_pixel",
        /// `x * (source - 1) / (target - 1)`.
        AlignCorners = "align_corners",
        /// `x / scale`.
        Asymmetric = "asymmetric",
    }
}

words! {
    /// How a source coordinate is rounded for the nearest element (names of ONNX's Resize).
    Rounding {
        /// Down.
        Floor = "floor",
        /// Up.
        Ceil = "ceil",
        /// To the nearest, halves down.
        RoundPreferFloor = "round_prefer_floor",
        /// To the nearest, halves up.
        RoundPreferCeil = "round_prefer_ceil",
    }
}

words! {
    /// In which order a channel's index holds the position inside a block.
    DepthOrder {
        /// Position, then channel (TensorFlow).
        DepthColumnRow = "dcr",
        /// Channel, then position (PyTorch's pixel shuffle).
        ColumnRowDepth = "crd",
    }
}

settings! {
    /// Two-dimensional convolution (cross-correlation).
    ///
    /// Operands: x `[N, Ci, H, W]`, weight `[Co, Ci / groups, kh, kw]` (depthwise: `[Ci * m, 1,
    /// kh, kw]`), and optionally a bias `[Co]`.
    Conv2d {
        /// Step of the window, vertical and horizontal.
        stride: [usize; 2] = [1, 1],
        /// Distance between taps.
        dilation: [usize; 2] = [1, 1],
        /// Zeros around the picture: top, left, bottom, right.
        pad: [usize; 4] = [0; 4],
        /// Groups of channels.
        groups: Groups = Groups::Dense,
    }
}

settings! {
    /// Transposed two-dimensional convolution.
    ///
    /// Operands: x `[N, Ci, H, W]`, weight `[Ci, Co / groups, kh, kw]`, optionally a bias `[Co]`.
    ConvTranspose2d {
        /// Step between the windows in the output.
        stride: [usize; 2] = [1, 1],
        /// Distance between taps.
        dilation: [usize; 2] = [1, 1],
        /// Rows and columns cut from the output: top, left, bottom, right.
        pad: [usize; 4] = [0; 4],
        /// Rows and columns added at the bottom and right of the output.
        output_pad: [usize; 2] = [0, 0],
        /// Groups of channels.
        groups: Groups = Groups::Dense,
    }
}

settings! {
    /// Batch normalisation with fixed statistics over axis 1:
    /// `(x - mean) / sqrt(variance + eps) * gamma + beta`.
    ///
    /// Operands: x, gamma, beta, mean, variance, the last four `[C]`.
    BatchNorm {
        /// Added to the variance.
        eps: f32 = 1e-5,
    }
}

settings! {
    /// Normalisation over all axes from `axis` on (biased variance), then scale and shift.
    ///
    /// Operands: x, gamma and optionally beta, of the shape of the normalised axes.
    LayerNorm {
        /// The first normalised axis.
        axis: usize = 1,
        /// Added to the variance.
        eps: f32 = 1e-5,
    }
}

settings! {
    /// Division by the Euclidean norm over one axis: `x / max(|x|, eps)`.
    L2Norm {
        /// The axis.
        axis: usize = 1,
        /// The smallest norm divided by.
        eps: f32 = 1e-12,
    }
}

settings! {
    /// `exp(x) / sum(exp(x))` over one axis.
    Softmax {
        /// The axis.
        axis: usize = 1,
    }
}

settings! {
    /// `x - ln(sum(exp(x)))` over one axis, in a form in which nothing overflows.
    LogSoftmax {
        /// The axis.
        axis: usize = 1,
    }
}

settings! {
    /// Batch normalisation by the statistics of the batch itself, over all axes but axis 1:
    /// `(x - mean(x)) / sqrt(variance(x) + eps) * gamma + beta` with the biased variance.
    ///
    /// Operands: x, gamma, beta, the last two `[C]`. Results: y of the shape of x, and the mean and
    /// the biased variance, both `[C]`, from which a trainer updates running statistics.
    BatchNormTrain {
        /// Added to the variance.
        eps: f32 = 1e-5,
    }
}

settings! {
    /// The gradient of [`BatchNormTrain`].
    ///
    /// Operands: x, the gradient dy of y, gamma, and the mean and biased variance of x. Results: the
    /// gradients dx, dgamma and dbeta.
    BatchNormGrad {
        /// Added to the variance.
        eps: f32 = 1e-5,
    }
}

settings! {
    /// The gradient of the weight of a [`Conv2d`]:
    /// `dw[o, c, t] = sum over n, p of dy[n, o, p] x[n, c, p stride + t dilation - pad]`.
    ///
    /// Operands: x `[N, Ci, H, W]`, dy `[N, Co, H', W']`. Result: of the shape of the weight. The size
    /// of the kernel does not follow from those of x and dy where a stride drops rows.
    Conv2dWeightGrad {
        /// Height and width of the weight.
        kernel: [usize; 2] = [3, 3],
        /// Step of the window, vertical and horizontal.
        stride: [usize; 2] = [1, 1],
        /// Distance between taps.
        dilation: [usize; 2] = [1, 1],
        /// Zeros around the picture: top, left, bottom, right.
        pad: [usize; 4] = [0; 4],
        /// Groups of channels.
        groups: Groups = Groups::Dense,
    }
}

settings! {
    /// Joins its operands along one axis.
    Concat {
        /// The axis.
        axis: usize = 1,
    }
}

settings! {
    /// Cuts its operand into parts along one axis; one result per part.
    Split {
        /// The axis.
        axis: usize = 1,
        /// The length of each part; their sum is the length of the axis.
        sizes: Vec<usize> = Vec::new(),
    }
}

/// A range of one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The axis.
    pub axis: usize,
    /// The first index; counted from the end where negative.
    pub start: i64,
    /// One past the last index in the direction of the step; counted from the end where negative;
    /// [`Range::OPEN`] for everything to the end.
    pub end: i64,
    /// The step, not 0; negative steps go backwards.
    pub step: i64,
}

impl Range {
    /// The end of a range that reaches as far as the axis does.
    pub const OPEN: i64 = i64::MAX;
}

impl crate::attr::AttrValue for Range {
    fn expected() -> String {
        "[axis, start, end, step]".into()
    }
    fn to_attr(&self) -> Attr {
        let Range { axis, start, end, step } = *self;
        let end = if end == Range::OPEN { Attr::Word("end".into()) } else { Attr::Int(end) };
        Attr::List(vec![axis.to_attr(), Attr::Int(start), end, Attr::Int(step)])
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        let Attr::List(parts) = attr else { return None };
        let [axis, start, end, step] = parts.as_slice() else { return None };
        let end = match end {
            Attr::Word(word) if word == "end" => Range::OPEN,
            other => i64::from_attr(other)?,
        };
        Some(Range {
            axis: usize::from_attr(axis)?,
            start: i64::from_attr(start)?,
            end,
            step: i64::from_attr(step)?,
        })
    }
}

settings! {
    /// Takes a range of some axes.
    Slice {
        /// The ranges, at most one an axis; axes not named are kept whole.
        ranges: Vec<Range> = Vec::new(),
    }
}

settings! {
    /// Adds elements around its operand.
    Pad {
        /// For each padded axis: axis, elements before, elements after.
        pads: Vec<[usize; 3]> = Vec::new(),
        /// Where the values come from.
        mode: PadMode = PadMode::Constant,
        /// The constant of [`PadMode::Constant`].
        value: f32 = 0.0,
    }
}

settings! {
    /// Maximum over a window; padding never wins. Where a window with dilation misses the picture, the
    /// lowest value of the type, which for floats is minus infinity.
    MaxPool {
        /// Height and width of the window.
        kernel: [usize; 2] = [2, 2],
        /// Step of the window.
        stride: [usize; 2] = [2, 2],
        /// Distance between taps.
        dilation: [usize; 2] = [1, 1],
        /// Padding: top, left, bottom, right.
        pad: [usize; 4] = [0; 4],
        /// Whether a last, partly filled window counts. A window that would start in the padding
        /// after the picture is left out.
        ceil: bool = false,
    }
}

settings! {
    /// Mean over a window; 0 where a window with dilation misses the picture.
    AveragePool {
        /// Height and width of the window.
        kernel: [usize; 2] = [2, 2],
        /// Step of the window.
        stride: [usize; 2] = [2, 2],
        /// Distance between taps.
        dilation: [usize; 2] = [1, 1],
        /// Padding: top, left, bottom, right.
        pad: [usize; 4] = [0; 4],
        /// Whether a last, partly filled window counts, as in [`MaxPool`].
        ceil: bool = false,
        /// Whether the padding counts in the divisor; what a window reaches beyond it never does.
        count_pad: bool = false,
    }
}

settings! {
    /// Mean or maximum over height and width, which become 1.
    GlobalPool {
        /// [`Reduction::Mean`] or [`Reduction::Max`].
        kind: Reduction = Reduction::Mean,
    }
}

settings! {
    /// Reduction over some axes.
    Reduce {
        /// What is computed.
        kind: Reduction = Reduction::Mean,
        /// The reduced axes, ascending.
        axes: Vec<usize> = Vec::new(),
        /// Whether they stay as axes of length 1.
        keep: bool = true,
    }
}

settings! {
    /// Regroups the axes in row-major order; see [`Factors`] for how it is written down.
    Reshape {
        /// What becomes of each run of axes.
        map: Factors = Factors::default(),
    }
}

settings! {
    /// Merges the axes before `axis` into one and those from `axis` on into another.
    Flatten {
        /// The first axis of the second part.
        axis: usize = 1,
    }
}

settings! {
    /// Reorders the axes: result axis `i` is operand axis `perm[i]`.
    Transpose {
        /// The permutation.
        perm: Vec<usize> = Vec::new(),
    }
}

settings! {
    /// Drops axes of length 1.
    Squeeze {
        /// The axes, ascending.
        axes: Vec<usize> = Vec::new(),
    }
}

settings! {
    /// Inserts axes of length 1.
    Unsqueeze {
        /// Their places in the result, ascending.
        axes: Vec<usize> = Vec::new(),
    }
}

/// The size that a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResizeTo {
    /// Times a factor, rounded down: height and width.
    Scale([f32; 2]),
    /// A fixed height and width.
    Size([usize; 2]),
}

impl crate::attr::AttrValue for ResizeTo {
    fn expected() -> String {
        "[scale, factor, factor] or [size, height, width]".into()
    }
    fn to_attr(&self) -> Attr {
        let (word, [a, b]) = match self {
            ResizeTo::Scale([h, w]) => ("scale", [h.to_attr(), w.to_attr()]),
            ResizeTo::Size([h, w]) => ("size", [h.to_attr(), w.to_attr()]),
        };
        Attr::List(vec![Attr::Word(word.into()), a, b])
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        let Attr::List(parts) = attr else { return None };
        let [Attr::Word(word), a, b] = parts.as_slice() else { return None };
        match word.as_str() {
            "scale" => Some(ResizeTo::Scale([f32::from_attr(a)?, f32::from_attr(b)?])),
            "size" => Some(ResizeTo::Size([usize::from_attr(a)?, usize::from_attr(b)?])),
            _ => None,
        }
    }
}

settings! {
    /// Samples a picture at another height and width (ONNX's Resize without antialiasing).
    Resize {
        /// The new size.
        to: ResizeTo = ResizeTo::Scale([2.0, 2.0]),
        /// How it is sampled.
        mode: ResizeMode = ResizeMode::Nearest,
        /// Which source coordinate stands for a target coordinate.
        coordinates: Coordinates = Coordinates::HalfPixel,
        /// How it is rounded for [`ResizeMode::Nearest`].
        rounding: Rounding = Rounding::RoundPreferFloor,
    }
}

settings! {
    /// Moves blocks of channels into height and width.
    DepthToSpace {
        /// The side of a block.
        block: usize = 2,
        /// The order of the channels.
        order: DepthOrder = DepthOrder::DepthColumnRow,
    }
}

settings! {
    /// Sets elements to zero at random in training; passes its operand on in inference.
    Dropout {
        /// The share of elements that is dropped.
        ratio: f32 = 0.5,
    }
}

settings! {
    /// Converts to another element type: floats to integers by truncation, saturating, NaN to 0;
    /// integers to narrower ones by wrapping around.
    Cast {
        /// The new type.
        to: DType = DType::F32,
    }
}

settings! {
    /// `saturate(round_half_even(x / scale) + zero_point)`, of the zero point's type; the quotient is
    /// that of x's type. NaN becomes the lowest value.
    ///
    /// Operands: x, scale, zero point: both scalars, or both of the length of `axis`.
    Quantize {
        /// The axis of a scale per channel; without meaning for a scalar scale.
        axis: usize = 1,
    }
}

settings! {
    /// `(x - zero_point) * scale`, as f32. Operands as in [`Quantize`].
    Dequantize {
        /// The axis of a scale per channel; without meaning for a scalar scale.
        axis: usize = 1,
    }
}

impl Conv2dWeightGrad {
    /// The convolution whose weight this is the gradient of.
    pub fn forward(&self) -> Conv2d {
        let Conv2dWeightGrad { stride, dilation, pad, groups, .. } = *self;
        Conv2d { stride, dilation, pad, groups }
    }
}

/// Defines an enum of operators that have the same shape rule: names, settings, text form.
macro_rules! family {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$vmeta:meta])* $variant:ident $({ $($(#[$fmeta:meta])* $field:ident : $ty:ty = $default:expr),* })? = $word:literal),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name { $($(#[$vmeta])* $variant $({ $($(#[$fmeta])* $field: $ty),* })?),* }

        impl $name {
            /// The names of the text form.
            pub const NAMES: &'static [&'static str] = &[$($word),*];

            /// The names of the gradients in the text form.
            #[allow(dead_code, reason = "only functions of one element have gradients of their own")]
            const GRAD_NAMES: &'static [&'static str] = &[$(concat!($word, "_grad")),*];

            /// The name in the text form.
            pub fn name(&self) -> &'static str {
                match self { $($name::$variant { .. } => $word),* }
            }

            /// The name of the gradient in the text form.
            #[allow(dead_code, reason = "only functions of one element have gradients of their own")]
            fn grad_name(&self) -> &'static str {
                match self { $($name::$variant { .. } => concat!($word, "_grad")),* }
            }

            #[allow(unused_mut, reason = "some have no settings")]
            fn attrs(&self) -> Vec<(&'static str, Attr)> {
                match self {
                    $($name::$variant $({ $($field),* })? => {
                        let mut attrs: Vec<(&'static str, Attr)> = Vec::new();
                        $($(if *$field != $default {
                            attrs.push((stringify!($field), crate::attr::AttrValue::to_attr($field)));
                        })*)?
                        attrs.sort_by_key(|(name, _)| *name);
                        attrs
                    })*
                }
            }

            #[allow(unused_variables, reason = "some have no settings")]
            fn from_attrs(name: &str, map: &mut AttrMap) -> Result<Option<Self>, AttrError> {
                Ok(match name {
                    $($word => Some($name::$variant $({ $($field: map.take(stringify!($field), $default)?),* })?),)*
                    _ => None,
                })
            }
        }
    };
}

family! {
    /// Functions of one element.
    Unary {
        /// `x`.
        Identity = "identity",
        /// `max(x, 0)`.
        Relu = "relu",
        /// `x` where positive, else `alpha x`.
        LeakyRelu {
            /// The slope below 0.
            alpha: f32 = 0.01
        } = "leaky_relu",
        /// `min(max(x, min), max)`; ReLU6 is the default.
        Clip {
            /// The lower bound.
            min: f32 = 0.0,
            /// The upper bound.
            max: f32 = 6.0
        } = "clip",
        /// `1 / (1 + exp(-x))`.
        Sigmoid = "sigmoid",
        /// `min(max(alpha x + beta, 0), 1)`; the default is PyTorch's (1/6, 1/2).
        HardSigmoid {
            /// The slope.
            alpha: f32 = 1.0 / 6.0,
            /// The value at 0.
            beta: f32 = 0.5
        } = "hard_sigmoid",
        /// `x min(max(x / 6 + 1/2, 0), 1)`.
        HardSwish = "hard_swish",
        /// `x sigmoid(x)`.
        Silu = "silu",
        /// The hyperbolic tangent.
        Tanh = "tanh",
        /// `x` times the normal distribution function of `x`.
        Gelu {
            /// Whether by the approximation
            /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
            tanh: bool = false
        } = "gelu",
        /// `x` where positive, else `alpha (exp(x) - 1)`.
        Elu {
            /// The scale below 0.
            alpha: f32 = 1.0
        } = "elu",
        /// `ln(1 + exp(x))`.
        Softplus = "softplus",
        /// `x tanh(softplus(x))`.
        Mish = "mish",
        /// The exponential function.
        Exp = "exp",
        /// The natural logarithm.
        Log = "log",
        /// The square root.
        Sqrt = "sqrt",
        /// `-x`.
        Neg = "neg",
        /// The absolute value.
        Abs = "abs",
        /// `1 / x`.
        Reciprocal = "reciprocal",
        /// The error function.
        Erf = "erf",
    }
}

family! {
    /// Functions of two elements, with NumPy's broadcasting. Integers wrap around and divide towards 0.
    Binary {
        /// `a + b`.
        Add = "add",
        /// `a - b`.
        Sub = "sub",
        /// `a b`.
        Mul = "mul",
        /// `a / b`.
        Div = "div",
        /// The larger.
        Max = "max",
        /// The smaller.
        Min = "min",
        /// `a` to the power of `b`.
        Pow = "pow",
    }
}

/// Defines [`Op`] and all that follows from the list of its variants.
macro_rules! operators {
    ($($(#[$meta:meta])* $variant:ident($settings:ident) = $word:literal),* ;
     $($(#[$bmeta:meta])* $bare:ident = $bword:literal),* $(,)?) => {
        /// An operator.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            /// A function of one element.
            Unary(Unary),
            /// The gradient of a function of one element: its derivative at x, times dy. Operands:
            /// x, dy. Where there is no derivative it is PyTorch's choice: at 0 that of the left
            /// side for `relu`, `leaky_relu` and `elu`, and 0 for `abs`; at the bounds of `clip`
            /// (as of ReLU6) and `hard_sigmoid` 0; of `hard_swish` that of the outer side.
            UnaryGrad(Unary),
            /// A function of two elements, broadcast.
            Binary(Binary),
            $($(#[$meta])* $variant($settings),)*
            $($(#[$bmeta])* $bare,)*
        }

        impl Op {
            /// The names of the text form outside the families.
            const OWN_NAMES: &'static [&'static str] = &[$($word,)* $($bword),*];

            /// The name in the text form.
            pub fn name(&self) -> &'static str {
                match self {
                    Op::Unary(op) => op.name(),
                    Op::UnaryGrad(op) => op.grad_name(),
                    Op::Binary(op) => op.name(),
                    $(Op::$variant(_) => $word,)*
                    $(Op::$bare => $bword,)*
                }
            }

            /// The settings that differ from the defaults, sorted by name.
            pub fn attrs(&self) -> Vec<(&'static str, Attr)> {
                match self {
                    Op::Unary(op) | Op::UnaryGrad(op) => op.attrs(),
                    Op::Binary(op) => op.attrs(),
                    $(Op::$variant(settings) => settings.attrs(),)*
                    $(Op::$bare => Vec::new(),)*
                }
            }

            /// The operator of the given name and settings; defaults for those not given.
            ///
            /// # Errors
            /// [`AttrError`] where the name or a setting is unknown or does not fit.
            pub fn from_attrs(name: &str, mut map: AttrMap) -> Result<Op, AttrError> {
                let op = if let Some(op) = Unary::from_attrs(name, &mut map)? {
                    Op::Unary(op)
                } else if let Some(function) = name.strip_suffix("_grad")
                    && let Some(op) = Unary::from_attrs(function, &mut map)?
                {
                    Op::UnaryGrad(op)
                } else if let Some(op) = Binary::from_attrs(name, &mut map)? {
                    Op::Binary(op)
                } else {
                    match name {
                        $($word => Op::$variant($settings::from_attrs(&mut map)?),)*
                        $($bword => Op::$bare,)*
                        _ => return Err(AttrError::Operator(name.to_string())),
                    }
                };
                map.finish(name)?;
                Ok(op)
            }
        }
    };
}

operators! {
    /// Convolution.
    Conv2d(Conv2d) = "conv2d",
    /// Transposed convolution.
    ConvTranspose2d(ConvTranspose2d) = "conv_transpose2d",
    /// Batch normalisation with fixed statistics.
    BatchNorm(BatchNorm) = "batch_norm",
    /// Layer normalisation.
    LayerNorm(LayerNorm) = "layer_norm",
    /// Normalisation to unit length.
    L2Norm(L2Norm) = "l2_norm",
    /// Softmax.
    Softmax(Softmax) = "softmax",
    /// Logarithm of softmax.
    LogSoftmax(LogSoftmax) = "log_softmax",
    /// Batch normalisation by the statistics of the batch.
    BatchNormTrain(BatchNormTrain) = "batch_norm_train",
    /// Gradient of batch normalisation by the statistics of the batch.
    BatchNormGrad(BatchNormGrad) = "batch_norm_grad",
    /// Gradient of a convolution's weight.
    Conv2dWeightGrad(Conv2dWeightGrad) = "conv2d_weight_grad",
    /// Gradient of a maximum over a window: each element of dy goes to the first of the largest
    /// elements under its window. Operands: x, dy.
    MaxPoolGrad(MaxPool) = "max_pool_grad",
    /// Gradient of a mean over a window. Operands: x, of which only the shape counts, and dy.
    AveragePoolGrad(AveragePool) = "average_pool_grad",
    /// Gradient of a reduction, by which it also repeats dy along the reduced axes. Of several
    /// largest or smallest elements the first has all of it; where a norm is 0, it is 0. Operands:
    /// x, dy.
    ReduceGrad(Reduce) = "reduce_grad",
    /// Gradient of resizing. Operands: x, of which only the shape counts, and dy.
    ResizeGrad(Resize) = "resize_grad",
    /// Gradient of padding. Operands: x, of which only the shape counts, and dy.
    PadGrad(Pad) = "pad_grad",
    /// Gradient of a slice: dy in its place among zeros. Operands: x, of which only the shape
    /// counts, and dy.
    SliceGrad(Slice) = "slice_grad",
    /// Joining along an axis.
    Concat(Concat) = "concat",
    /// Cutting along an axis.
    Split(Split) = "split",
    /// Ranges of axes.
    Slice(Slice) = "slice",
    /// Padding.
    Pad(Pad) = "pad",
    /// Maximum over a window.
    MaxPool(MaxPool) = "max_pool",
    /// Mean over a window.
    AveragePool(AveragePool) = "average_pool",
    /// Mean or maximum over the picture.
    GlobalPool(GlobalPool) = "global_pool",
    /// Reduction over axes.
    Reduce(Reduce) = "reduce",
    /// Regrouping of axes.
    Reshape(Reshape) = "reshape",
    /// Merging of axes into two.
    Flatten(Flatten) = "flatten",
    /// Reordering of axes.
    Transpose(Transpose) = "transpose",
    /// Dropping of axes.
    Squeeze(Squeeze) = "squeeze",
    /// Inserting of axes.
    Unsqueeze(Unsqueeze) = "unsqueeze",
    /// Sampling at another size.
    Resize(Resize) = "resize",
    /// Channels into height and width.
    DepthToSpace(DepthToSpace) = "depth_to_space",
    /// Random zeros in training.
    Dropout(Dropout) = "dropout",
    /// Conversion of the element type.
    Cast(Cast) = "cast",
    /// To integers.
    Quantize(Quantize) = "quantize",
    /// Back to floats.
    Dequantize(Dequantize) = "dequantize";
    /// `x W^T + b`. Operands: x `[.., I]`, weight `[O, I]`, optionally a bias `[O]`.
    Linear = "linear",
    /// The matrix product of the last two axes, the others broadcast.
    MatMul = "matmul",
    /// `x` where positive, else `slope x`. Operands: x, slope (broadcast to x).
    PRelu = "prelu",
}

impl Op {
    /// The names of all operators in the text form.
    pub fn names() -> impl Iterator<Item = &'static str> {
        [Unary::NAMES, Unary::GRAD_NAMES, Binary::NAMES, Op::OWN_NAMES]
            .into_iter()
            .flatten()
            .copied()
    }

    /// The smallest and largest number of operands.
    pub fn arity(&self) -> (usize, usize) {
        match self {
            Op::Unary(_)
            | Op::L2Norm(_)
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::Split(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalPool(_)
            | Op::Reduce(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Transpose(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Resize(_)
            | Op::DepthToSpace(_)
            | Op::Dropout(_)
            | Op::Cast(_) => (1, 1),
            Op::Binary(_)
            | Op::MatMul
            | Op::PRelu
            | Op::UnaryGrad(_)
            | Op::Conv2dWeightGrad(_)
            | Op::MaxPoolGrad(_)
            | Op::AveragePoolGrad(_)
            | Op::ReduceGrad(_)
            | Op::ResizeGrad(_)
            | Op::PadGrad(_)
            | Op::SliceGrad(_) => (2, 2),
            Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::Linear | Op::LayerNorm(_) => (2, 3),
            Op::Quantize(_) | Op::Dequantize(_) | Op::BatchNormTrain(_) => (3, 3),
            Op::BatchNorm(_) | Op::BatchNormGrad(_) => (5, 5),
            Op::Concat(_) => (1, usize::MAX),
        }
    }

    /// True for the operators of training graphs alone: gradients, and batch normalisation by the
    /// statistics of the batch. Such graphs are made from others, by `differentiate` and
    /// `for_training` of the passes; no channels are cut from them, and they are not exported.
    pub fn is_training(&self) -> bool {
        match self {
            Op::BatchNormTrain(_)
            | Op::BatchNormGrad(_)
            | Op::UnaryGrad(_)
            | Op::Conv2dWeightGrad(_)
            | Op::MaxPoolGrad(_)
            | Op::AveragePoolGrad(_)
            | Op::ReduceGrad(_)
            | Op::ResizeGrad(_)
            | Op::PadGrad(_)
            | Op::SliceGrad(_) => true,
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Conv2d(_)
            | Op::ConvTranspose2d(_)
            | Op::Linear
            | Op::MatMul
            | Op::BatchNorm(_)
            | Op::LayerNorm(_)
            | Op::L2Norm(_)
            | Op::PRelu
            | Op::Softmax(_)
            | Op::LogSoftmax(_)
            | Op::Concat(_)
            | Op::Split(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalPool(_)
            | Op::Reduce(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Transpose(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Resize(_)
            | Op::DepthToSpace(_)
            | Op::Dropout(_)
            | Op::Cast(_)
            | Op::Quantize(_)
            | Op::Dequantize(_) => false,
        }
    }

    /// True where the result is the operand's elements in the same order, so that a runner may
    /// let both share memory.
    pub fn is_view(&self) -> bool {
        matches!(
            self,
            Op::Unary(Unary::Identity)
                | Op::Dropout(_)
                | Op::Reshape(_)
                | Op::Flatten(_)
                | Op::Squeeze(_)
                | Op::Unsqueeze(_)
        )
    }
}

impl From<Unary> for Op {
    fn from(op: Unary) -> Self {
        Op::Unary(op)
    }
}

impl From<Binary> for Op {
    fn from(op: Binary) -> Self {
        Op::Binary(op)
    }
}
