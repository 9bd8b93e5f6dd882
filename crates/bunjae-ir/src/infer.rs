//! Shape inference: the types of an operator's results from those of its operands.

use bunjae_tensor::DType;

use crate::attr::AttrValue;
use crate::dim::Dim;
use crate::error::ShapeError;
use crate::op::{Groups, Op, Range, Reduction, ResizeTo, Unary};
use crate::reshape::Factors;
use crate::types::TensorType;

type Types = Result<Vec<TensorType>, ShapeError>;

impl Op {
    /// The types of the results for operands of the given types.
    ///
    /// # Errors
    /// [`ShapeError`] says which operand or setting does not fit.
    pub fn infer(&self, inputs: &[&TensorType]) -> Types {
        let (min, max) = self.arity();
        if inputs.len() < min || inputs.len() > max {
            return Err(ShapeError::Arity { min, max, found: inputs.len() });
        }
        let x = inputs[0];
        match self {
            Op::Unary(Unary::Identity) => one(x.clone()),
            Op::Unary(_) | Op::Dropout(_) => {
                float("input", x)?;
                one(x.clone())
            }
            Op::UnaryGrad(op) => gradient(&Op::Unary(op.clone()), x, inputs[1]),
            Op::MaxPoolGrad(op) => gradient(&Op::MaxPool(op.clone()), x, inputs[1]),
            Op::AveragePoolGrad(op) => gradient(&Op::AveragePool(op.clone()), x, inputs[1]),
            Op::ReduceGrad(op) => gradient(&Op::Reduce(op.clone()), x, inputs[1]),
            Op::ResizeGrad(op) => gradient(&Op::Resize(op.clone()), x, inputs[1]),
            Op::PadGrad(op) => gradient(&Op::Pad(op.clone()), x, inputs[1]),
            Op::SliceGrad(op) => gradient(&Op::Slice(op.clone()), x, inputs[1]),
            Op::Binary(_) => {
                same_dtype("right operand", x, inputs[1])?;
                one(broadcast(x, inputs[1])?)
            }
            Op::Conv2d(op) => {
                let [height, width] = conv_operands(inputs, "weight")?;
                let weight = &inputs[1].dims;
                conv_channels(op.groups, &x.dims[1], weight)?;
                let pad = op.pad;
                let axes = [(height, 0, [pad[0], pad[2]]), (width, 1, [pad[1], pad[3]])];
                let mut dims = vec![x.dims[0].clone(), weight[0].clone()];
                for (size, axis, pad) in axes {
                    let window = Window {
                        kernel: known(&weight[2 + axis])?,
                        stride: op.stride[axis],
                        dilation: op.dilation[axis],
                        pad,
                    };
                    dims.push(window.output(size, false)?);
                }
                bias(inputs, "output channels", &dims[1])?;
                one(TensorType { dtype: x.dtype, dims })
            }
            Op::ConvTranspose2d(op) => {
                let [height, width] = conv_operands(inputs, "weight")?;
                let weight = &inputs[1].dims;
                equal("input channels", "weight", &weight[0], "input", &x.dims[1])?;
                let groups = match op.groups {
                    Groups::Dense => Dim::Fixed(1),
                    Groups::Grouped(count) => {
                        let channels = known(&x.dims[1])?;
                        if count < 2 || channels % count != 0 {
                            let what = format!(
                                "{channels} input channels do not divide into {count} groups"
                            );
                            return Err(ShapeError::Setting(what));
                        }
                        Dim::Fixed(count)
                    }
                    Groups::Depthwise => x.dims[1].clone(),
                };
                let channels = weight[1].product(&groups)?;
                let mut dims = vec![x.dims[0].clone(), channels];
                let pad = op.pad;
                let axes = [(height, 0, [pad[0], pad[2]]), (width, 1, [pad[1], pad[3]])];
                for (size, axis, pad) in axes {
                    positive("stride", op.stride[axis])?;
                    positive("dilation", op.dilation[axis])?;
                    let kernel = known(&weight[2 + axis])?;
                    positive("kernel", kernel)?;
                    let extent = extent(kernel, op.dilation[axis])?;
                    let rest = int(op.output_pad[axis])? - int(pad[0])? - int(pad[1])?;
                    let spread = size.add(-1)?.product(&Dim::Fixed(op.stride[axis]))?;
                    dims.push(at_least_one(spread.add(extent + rest)?)?);
                }
                bias(inputs, "output channels", &dims[1])?;
                one(TensorType { dtype: x.dtype, dims })
            }
            Op::Linear => {
                let weight = inputs[1];
                rank("input", x, 1)?;
                rank_is("weight", weight, 2)?;
                float("input", x)?;
                same_dtype("weight", x, weight)?;
                let mut dims = x.dims.clone();
                if let Some(last) = dims.last_mut() {
                    equal("input features", "weight", &weight.dims[1], "input", last)?;
                    *last = weight.dims[0].clone();
                }
                bias(inputs, "output features", &weight.dims[0])?;
                one(TensorType { dtype: x.dtype, dims })
            }
            Op::MatMul => {
                let other = inputs[1];
                rank("left operand", x, 2)?;
                rank("right operand", other, 2)?;
                float("left operand", x)?;
                same_dtype("right operand", x, other)?;
                let (lead_a, a) = x.dims.split_at(x.rank() - 2);
                let (lead_b, b) = other.dims.split_at(other.rank() - 2);
                let rows = "each row of the left operand";
                equal("elements", rows, &a[1], "each column of the right one", &b[0])?;
                let lead = |dims: &[Dim]| TensorType { dtype: x.dtype, dims: dims.to_vec() };
                let mut result = broadcast(&lead(lead_a), &lead(lead_b))?;
                result.dims.extend([a[0].clone(), b[1].clone()]);
                one(result)
            }
            Op::BatchNorm(_) => {
                rank("input", x, 2)?;
                float("input", x)?;
                for (name, operand) in
                    ["gamma", "beta", "mean", "variance"].into_iter().zip(&inputs[1..])
                {
                    per_channel(name, operand, x)?;
                }
                one(x.clone())
            }
            Op::BatchNormTrain(_) => {
                rank("input", x, 2)?;
                float("input", x)?;
                for (name, operand) in ["gamma", "beta"].into_iter().zip(&inputs[1..]) {
                    per_channel(name, operand, x)?;
                }
                let statistics = TensorType { dtype: x.dtype, dims: vec![x.dims[1].clone()] };
                Ok(vec![x.clone(), statistics.clone(), statistics])
            }
            Op::BatchNormGrad(_) => {
                rank("input", x, 2)?;
                float("input", x)?;
                same_type("gradient", x, inputs[1])?;
                for (name, operand) in ["gamma", "mean", "variance"].into_iter().zip(&inputs[2..]) {
                    per_channel(name, operand, x)?;
                }
                let parameters = TensorType { dtype: x.dtype, dims: vec![x.dims[1].clone()] };
                Ok(vec![x.clone(), parameters.clone(), parameters])
            }
            Op::Conv2dWeightGrad(op) => {
                let dy = inputs[1];
                rank_is("input", x, 4)?;
                rank_is("gradient", dy, 4)?;
                let seen = match op.groups {
                    Groups::Dense => x.dims[1].clone(),
                    Groups::Grouped(count) => x.dims[1].floor_div(count.max(1))?,
                    Groups::Depthwise => Dim::Fixed(1),
                };
                let mut dims = vec![dy.dims[1].clone(), seen];
                dims.extend(op.kernel.map(Dim::Fixed));
                let weight = TensorType { dtype: x.dtype, dims };
                let conv = Op::Conv2d(op.forward());
                let results = conv.infer(&[x, &weight])?;
                results.iter().try_for_each(|result| same_type("gradient", result, dy))?;
                one(weight)
            }
            Op::LayerNorm(op) => {
                float("input", x)?;
                axis(op.axis, x)?;
                for (name, operand) in ["gamma", "beta"].into_iter().zip(&inputs[1..]) {
                    same_dtype(name, x, operand)?;
                    if operand.dims != x.dims[op.axis..] {
                        let dims = x.dims[op.axis..].to_vec();
                        let normalised = TensorType { dtype: x.dtype, dims };
                        let what = format!(
                            "{name} should be {normalised}, as the normalised axes are, but is {operand}"
                        );
                        return Err(ShapeError::Setting(what));
                    }
                }
                one(x.clone())
            }
            Op::PRelu => {
                let slope = inputs[1];
                float("input", x)?;
                same_dtype("slope", x, slope)?;
                let result = broadcast(x, slope)?;
                if result.dims != x.dims {
                    let what = format!("slope {slope} does not broadcast to the shape of {x}");
                    return Err(ShapeError::Setting(what));
                }
                one(result)
            }
            Op::L2Norm(op) => {
                float("input", x)?;
                axis(op.axis, x)?;
                one(x.clone())
            }
            Op::Softmax(op) => {
                float("input", x)?;
                axis(op.axis, x)?;
                one(x.clone())
            }
            Op::LogSoftmax(op) => {
                float("input", x)?;
                axis(op.axis, x)?;
                one(x.clone())
            }
            Op::Concat(op) => {
                axis(op.axis, x)?;
                let mut result = x.clone();
                for (place, operand) in (1..).zip(&inputs[1..]) {
                    same_dtype("operand", x, operand)?;
                    rank_is("operand", operand, x.rank())?;
                    for (at, dim) in operand.dims.iter().enumerate() {
                        if at == op.axis {
                            result.dims[at] = result.dims[at].sum(dim)?;
                        } else if dim.may_equal(&x.dims[at]) {
                            refine(&mut result.dims[at], dim);
                        } else {
                            let first = &x.dims[at];
                            let what = format!(
                                "operand {place} has {dim} elements along axis {at}, operand 0 has {first}"
                            );
                            return Err(ShapeError::Setting(what));
                        }
                    }
                }
                one(result)
            }
            Op::Split(op) => {
                axis(op.axis, x)?;
                if op.sizes.is_empty() || op.sizes.contains(&0) {
                    let what = "sizes should name at least one part, each of at least 1 element";
                    return Err(ShapeError::Setting(what.into()));
                }
                let total = op.sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size));
                let whole = &x.dims[op.axis];
                if !Dim::Fixed(total).may_equal(whole) {
                    let (sizes, axis) = (&op.sizes, op.axis);
                    let what = format!(
                        "the parts {sizes:?} hold {total} elements, axis {axis} has {whole}"
                    );
                    return Err(ShapeError::Setting(what));
                }
                let part = |&size: &usize| {
                    let mut part = x.clone();
                    part.dims[op.axis] = Dim::Fixed(size);
                    part
                };
                Ok(op.sizes.iter().map(part).collect())
            }
            Op::Slice(op) => {
                let mut result = x.clone();
                let mut seen = vec![false; x.rank()];
                for range in &op.ranges {
                    axis(range.axis, x)?;
                    if std::mem::replace(&mut seen[range.axis], true) {
                        let what = format!("axis {} is sliced twice", range.axis);
                        return Err(ShapeError::Setting(what));
                    }
                    result.dims[range.axis] = slice(range, &x.dims[range.axis])?;
                }
                one(result)
            }
            Op::Pad(op) => {
                let mut result = x.clone();
                for &[at, before, after] in &op.pads {
                    axis(at, x)?;
                    result.dims[at] = result.dims[at].add(int(before)? + int(after)?)?;
                    let limit = x.dims[at].fixed().unwrap_or(usize::MAX);
                    let reflects = op.mode == crate::op::PadMode::Reflect;
                    if reflects && (before >= limit || after >= limit) {
                        let what = format!(
                            "cannot mirror {before} and {after} of {limit} elements, as the border is not repeated"
                        );
                        return Err(ShapeError::Setting(what));
                    }
                }
                one(result)
            }
            Op::MaxPool(op) => {
                pool_rank(x)?;
                let (kernel, stride, pad) = (op.kernel, op.stride, op.pad);
                one(pool(x, kernel, stride, op.dilation, pad, op.ceil)?)
            }
            Op::AveragePool(op) => {
                pool_rank(x)?;
                float("input", x)?;
                let (kernel, stride, pad) = (op.kernel, op.stride, op.pad);
                one(pool(x, kernel, stride, op.dilation, pad, op.ceil)?)
            }
            Op::GlobalPool(op) => {
                rank("input", x, 3)?;
                float("input", x)?;
                if !matches!(op.kind, Reduction::Mean | Reduction::Max) {
                    let what = format!("pools by mean or max, not {}", op.kind.to_attr());
                    return Err(ShapeError::Setting(what));
                }
                let mut result = x.clone();
                result.dims[2..].fill(Dim::Fixed(1));
                one(result)
            }
            Op::Reduce(op) => {
                float("input", x)?;
                ascending(&op.axes, x)?;
                let mut dims = Vec::new();
                for (at, dim) in x.dims.iter().enumerate() {
                    match op.axes.contains(&at) {
                        true if op.keep => dims.push(Dim::Fixed(1)),
                        true => {}
                        false => dims.push(dim.clone()),
                    }
                }
                one(TensorType { dtype: x.dtype, dims })
            }
            Op::Reshape(op) => one(TensorType { dtype: x.dtype, dims: op.map.apply(&x.dims)? }),
            Op::Flatten(op) => {
                if op.axis > x.rank() {
                    return Err(ShapeError::Axis { axis: op.axis, operand: x.clone() });
                }
                let map = Factors::flatten(x.rank(), op.axis);
                one(TensorType { dtype: x.dtype, dims: map.apply(&x.dims)? })
            }
            Op::Transpose(op) => {
                let mut sorted = op.perm.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..x.rank()) {
                    let what = format!("{:?} is no permutation of the axes of {x}", op.perm);
                    return Err(ShapeError::Setting(what));
                }
                let dims = op.perm.iter().map(|&at| x.dims[at].clone()).collect();
                one(TensorType { dtype: x.dtype, dims })
            }
            Op::Squeeze(op) => {
                ascending(&op.axes, x)?;
                for &at in &op.axes {
                    let dim = &x.dims[at];
                    if !dim.may_equal(&Dim::Fixed(1)) {
                        let what = format!("axis {at} has {dim} elements, only one of 1 can go");
                        return Err(ShapeError::Setting(what));
                    }
                }
                let kept = x.dims.iter().enumerate().filter(|(at, _)| !op.axes.contains(at));
                one(TensorType { dtype: x.dtype, dims: kept.map(|(_, dim)| dim.clone()).collect() })
            }
            Op::Unsqueeze(op) => {
                let mut dims = x.dims.clone();
                for &at in &op.axes {
                    if at > dims.len() {
                        return Err(ShapeError::Axis { axis: at, operand: x.clone() });
                    }
                    dims.insert(at, Dim::Fixed(1));
                }
                one(TensorType { dtype: x.dtype, dims })
            }
            Op::Resize(op) => {
                pool_rank(x)?;
                float("input", x)?;
                let mut result = x.clone();
                for at in 0..2 {
                    result.dims[2 + at] = match op.to {
                        ResizeTo::Size(size) => {
                            positive("size", size[at])?;
                            Dim::Fixed(size[at])
                        }
                        ResizeTo::Scale(scale) => scaled(&x.dims[2 + at], scale[at])?,
                    };
                }
                one(result)
            }
            Op::DepthToSpace(op) => {
                pool_rank(x)?;
                positive("block", op.block)?;
                let area = op.block.saturating_mul(op.block);
                let channels = known(&x.dims[1])?;
                if channels % area != 0 {
                    let side = op.block;
                    let what =
                        format!("{channels} channels do not fill blocks of {side} by {side}");
                    return Err(ShapeError::Setting(what));
                }
                let side = Dim::Fixed(op.block);
                let mut dims = vec![x.dims[0].clone(), Dim::Fixed(channels / area)];
                dims.extend([x.dims[2].product(&side)?, x.dims[3].product(&side)?]);
                one(TensorType { dtype: x.dtype, dims })
            }
            Op::Cast(op) => one(TensorType { dtype: op.to, dims: x.dims.clone() }),
            Op::Quantize(op) => {
                float("input", x)?;
                same_dtype("scale", x, inputs[1])?;
                let zero = inputs[2];
                if !matches!(zero.dtype, DType::I8 | DType::U8) {
                    return Err(wrong_dtype("zero point", "i8 or u8", zero));
                }
                quantisation(op.axis, x, inputs[1], zero)?;
                one(TensorType { dtype: zero.dtype, dims: x.dims.clone() })
            }
            Op::Dequantize(op) => {
                if !matches!(x.dtype, DType::I8 | DType::U8 | DType::I32) {
                    return Err(wrong_dtype("input", "i8, u8 or i32", x));
                }
                float("scale", inputs[1])?;
                same_dtype("zero point", x, inputs[2])?;
                quantisation(op.axis, x, inputs[1], inputs[2])?;
                one(TensorType { dtype: inputs[1].dtype, dims: x.dims.clone() })
            }
        }
    }
}

/// The gradient of an operator of one operand: dy has the type of its result.
fn gradient(forward: &Op, x: &TensorType, dy: &TensorType) -> Types {
    float("input", x)?;
    let results = forward.infer(&[x])?;
    results.iter().try_for_each(|result| same_type("gradient", result, dy))?;
    one(x.clone())
}

/// Checks an operand with one element a channel of the input.
fn per_channel(name: &'static str, operand: &TensorType, x: &TensorType) -> Result<(), ShapeError> {
    rank_is(name, operand, 1)?;
    same_dtype(name, x, operand)?;
    equal("channels", name, &operand.dims[0], "input", &x.dims[1])
}

/// Checks an operand of the type of another, or of a result.
fn same_type(
    operand: &'static str,
    reference: &TensorType,
    ty: &TensorType,
) -> Result<(), ShapeError> {
    same_dtype(operand, reference, ty)?;
    let pairs = reference.dims.iter().zip(&ty.dims);
    if reference.rank() == ty.rank() && pairs.into_iter().all(|(a, b)| a.may_equal(b)) {
        return Ok(());
    }
    Err(ShapeError::Setting(format!("{operand} should be {reference}, but is {ty}")))
}

fn one(ty: TensorType) -> Types {
    Ok(vec![ty])
}

fn int(value: usize) -> Result<i64, ShapeError> {
    // Half the range, so that sums of a few of them still fit.
    match i64::try_from(value) {
        Ok(value) if value < i64::MAX / 8 => Ok(value),
        _ => Err(ShapeError::Setting(format!("{value} is too large for a size"))),
    }
}

fn known(dim: &Dim) -> Result<usize, ShapeError> {
    dim.fixed()
        .ok_or_else(|| ShapeError::Setting(format!("the size {dim} has to be a number here")))
}

fn positive(what: &str, value: usize) -> Result<(), ShapeError> {
    match value {
        0 => Err(ShapeError::Setting(format!("{what} should be at least 1, but is 0"))),
        _ => Ok(()),
    }
}

fn at_least_one(dim: Dim) -> Result<Dim, ShapeError> {
    match dim {
        Dim::Fixed(0) => Err(ShapeError::Setting("the result has no elements".into())),
        dim => Ok(dim),
    }
}

fn rank(operand: &'static str, ty: &TensorType, least: usize) -> Result<(), ShapeError> {
    if ty.rank() >= least {
        return Ok(());
    }
    let expected = format!("{least} or more");
    Err(ShapeError::Rank { operand, expected, found: ty.clone() })
}

fn rank_is(operand: &'static str, ty: &TensorType, exact: usize) -> Result<(), ShapeError> {
    if ty.rank() == exact {
        return Ok(());
    }
    Err(ShapeError::Rank { operand, expected: exact.to_string(), found: ty.clone() })
}

fn pool_rank(ty: &TensorType) -> Result<(), ShapeError> {
    rank_is("input", ty, 4)
}

fn wrong_dtype(operand: &'static str, expected: &str, ty: &TensorType) -> ShapeError {
    ShapeError::DType { operand, expected: expected.to_string(), found: ty.dtype }
}

fn float(operand: &'static str, ty: &TensorType) -> Result<(), ShapeError> {
    if ty.dtype.is_float() { Ok(()) } else { Err(wrong_dtype(operand, "f32 or f64", ty)) }
}

fn same_dtype(
    operand: &'static str,
    reference: &TensorType,
    ty: &TensorType,
) -> Result<(), ShapeError> {
    if ty.dtype == reference.dtype {
        Ok(())
    } else {
        Err(wrong_dtype(operand, reference.dtype.name(), ty))
    }
}

fn axis(axis: usize, operand: &TensorType) -> Result<(), ShapeError> {
    if axis < operand.rank() {
        Ok(())
    } else {
        Err(ShapeError::Axis { axis, operand: operand.clone() })
    }
}

fn ascending(axes: &[usize], operand: &TensorType) -> Result<(), ShapeError> {
    axes.iter().try_for_each(|&at| axis(at, operand))?;
    if axes.windows(2).all(|pair| pair[0] < pair[1]) {
        Ok(())
    } else {
        Err(ShapeError::Setting(format!("the axes {axes:?} should ascend")))
    }
}

fn equal(
    what: &'static str,
    left: &'static str,
    left_size: &Dim,
    right: &'static str,
    right_size: &Dim,
) -> Result<(), ShapeError> {
    if left_size.may_equal(right_size) {
        return Ok(());
    }
    let (left_size, right_size) = (left_size.clone(), right_size.clone());
    Err(ShapeError::Mismatch { what, left, left_size, right, right_size })
}

/// Of two dimensions that have to be equal, the known one says more.
fn refine(dim: &mut Dim, other: &Dim) {
    if dim.fixed().is_none() && other.fixed().is_some() {
        *dim = other.clone();
    }
}

/// NumPy's broadcasting: shapes are aligned at their last axes, and an axis of 1 repeats.
fn broadcast(left: &TensorType, right: &TensorType) -> Result<TensorType, ShapeError> {
    let rank = left.rank().max(right.rank());
    let mut dims = Vec::with_capacity(rank);
    for back in (1..=rank).rev() {
        let of = |ty: &TensorType| {
            ty.rank().checked_sub(back).map_or(Dim::Fixed(1), |at| ty.dims[at].clone())
        };
        dims.push(match (of(left), of(right)) {
            (a, b) if b.is_one() => a,
            (a, b) if a.is_one() => b,
            (mut a, b) if a.may_equal(&b) => {
                refine(&mut a, &b);
                a
            }
            _ => {
                let (left, right) = (left.clone(), right.clone());
                return Err(ShapeError::Broadcast { left, right });
            }
        });
    }
    Ok(TensorType { dtype: left.dtype, dims })
}

/// Checks what both convolutions ask of their operands, and returns height and width.
fn conv_operands<'a>(
    inputs: &[&'a TensorType],
    weight: &'static str,
) -> Result<[&'a Dim; 2], ShapeError> {
    let x = inputs[0];
    rank_is("input", x, 4)?;
    rank_is(weight, inputs[1], 4)?;
    float("input", x)?;
    same_dtype(weight, x, inputs[1])?;
    Ok([&x.dims[2], &x.dims[3]])
}

fn conv_channels(groups: Groups, channels: &Dim, weight: &[Dim]) -> Result<(), ShapeError> {
    let name = "input channels";
    match groups {
        Groups::Dense => equal(name, "weight", &weight[1], "input", channels),
        Groups::Grouped(count) => {
            let seen = weight[1].product(&Dim::Fixed(count))?;
            equal(name, "the weight with its groups", &seen, "input", channels)?;
            let filters = known(&weight[0])?;
            if count < 2 || filters % count != 0 {
                let what = format!("{filters} output channels do not divide into {count} groups");
                return Err(ShapeError::Setting(what));
            }
            Ok(())
        }
        Groups::Depthwise => {
            equal(name, "a depthwise weight", &weight[1], "each group", &Dim::Fixed(1))?;
            let (filters, channels) = (known(&weight[0])?, known(channels)?);
            if channels == 0 || filters % channels != 0 {
                let what =
                    format!("{filters} filters do not divide among {channels} input channels");
                return Err(ShapeError::Setting(what));
            }
            Ok(())
        }
    }
}

/// Checks the optional third operand of convolutions and linear layers.
fn bias(inputs: &[&TensorType], what: &'static str, channels: &Dim) -> Result<(), ShapeError> {
    let Some(operand) = inputs.get(2) else { return Ok(()) };
    rank_is("bias", operand, 1)?;
    same_dtype("bias", inputs[0], operand)?;
    equal(what, "bias", &operand.dims[0], "weight", channels)
}

/// How far a window of `kernel` taps reaches.
fn extent(kernel: usize, dilation: usize) -> Result<i64, ShapeError> {
    let reach = (kernel - 1).saturating_mul(dilation);
    Ok(int(reach)? + 1)
}

struct Window {
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: [usize; 2],
}

impl Window {
    fn output(&self, size: &Dim, ceil: bool) -> Result<Dim, ShapeError> {
        positive("kernel", self.kernel)?;
        positive("stride", self.stride)?;
        positive("dilation", self.dilation)?;
        let window = extent(self.kernel, self.dilation)?;
        let pad = int(self.pad[0])? + int(self.pad[1])?;
        let stride = int(self.stride)?;
        let free = match size {
            Dim::Fixed(known) => {
                let free = int(*known)? + pad - window;
                // Rounding up counts a window that sticks out, if by less than a step.
                if free < 0 && !(ceil && free + stride > 0) {
                    return Err(ShapeError::Window { window, size: size.clone(), pad });
                }
                if free < 0 {
                    return Ok(Dim::Fixed(1));
                }
                Dim::Fixed(usize::try_from(free).unwrap_or(0))
            }
            size => size.add(pad - window)?,
        };
        let rounded = if ceil { free.add(stride - 1)? } else { free };
        let steps = rounded.floor_div(self.stride)?;
        if !ceil {
            return Ok(steps.add(1)?);
        }
        match (&steps, size) {
            // The last window has to start inside the picture or the padding before it.
            (Dim::Fixed(last), Dim::Fixed(size))
                if last.saturating_mul(self.stride) >= size.saturating_add(self.pad[0]) =>
            {
                Ok(steps)
            }
            (Dim::Fixed(_), _) => Ok(steps.add(1)?),
            _ if stride + int(self.pad[1])? > window => Err(ShapeError::Setting(
                "rounding up with this window and step needs a known picture size".into(),
            )),
            _ => Ok(steps.add(1)?),
        }
    }
}

fn pool(
    x: &TensorType,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pad: [usize; 4],
    ceil: bool,
) -> Result<TensorType, ShapeError> {
    let mut result = x.clone();
    for at in 0..2 {
        let (kernel, stride, dilation) = (kernel[at], stride[at], dilation[at]);
        positive("kernel", kernel)?;
        positive("dilation", dilation)?;
        let window = Window { kernel, stride, dilation, pad: [pad[at], pad[at + 2]] };
        if window.pad.iter().any(|&pad| pad >= kernel.saturating_mul(dilation)) {
            let pad = window.pad;
            let what =
                format!("with padding {pad:?} a window of {kernel} may lie outside the picture");
            return Err(ShapeError::Setting(what));
        }
        result.dims[2 + at] = window.output(&x.dims[2 + at], ceil)?;
    }
    Ok(result)
}

/// The first index, the number of indices and the step of a range over `size` elements, as NumPy
/// and ONNX clamp it.
///
/// # Errors
/// [`ShapeError::Setting`] for a step of 0 or a range without elements.
pub fn resolve_range(range: &Range, size: usize) -> Result<(usize, usize, i64), ShapeError> {
    let written = range.to_attr();
    let empty =
        || ShapeError::Setting(format!("the range {written} takes nothing of {size} elements"));
    if range.step == 0 {
        return Err(ShapeError::Setting(format!("the range {written} has a step of 0")));
    }
    if size == 0 {
        return Err(empty());
    }
    let length = int(size)?;
    let absolute = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let (start, end) = if range.step > 0 {
        let end = if range.end == Range::OPEN { length } else { absolute(range.end) };
        (absolute(range.start).clamp(0, length), end.clamp(0, length))
    } else {
        // Going backwards, the open end lies before the first element.
        let end = if range.end == Range::OPEN { -1 } else { absolute(range.end) };
        (absolute(range.start).clamp(0, length - 1), end.clamp(-1, length - 1))
    };
    let span = (end - start) * range.step.signum();
    if span <= 0 {
        return Err(empty());
    }
    let count = (span - 1) / range.step.saturating_abs() + 1;
    let start = usize::try_from(start).map_err(|_| empty())?;
    Ok((start, usize::try_from(count).map_err(|_| empty())?, range.step))
}

fn slice(range: &Range, size: &Dim) -> Result<Dim, ShapeError> {
    if let Dim::Fixed(size) = size {
        return Ok(Dim::Fixed(resolve_range(range, *size)?.1));
    }
    let written = range.to_attr();
    let step = match usize::try_from(range.step) {
        Ok(step) if step > 0 => step,
        _ => {
            let what =
                format!("the range {written} can only be taken of a known size, not of {size}");
            return Err(ShapeError::Setting(what));
        }
    };
    // Without knowing the size, a range is taken to lie inside it.
    let span =
        match (range.start, range.end) {
            (start, Range::OPEN) if start >= 0 => size.add(-start)?,
            (start, end) if start >= 0 && end < 0 => size.add(end.saturating_sub(start))?,
            (start, end) if start.signum() == end.signum() || start == 0 => {
                let span = end.saturating_sub(start);
                Dim::Fixed(usize::try_from(span).map_err(|_| {
                    ShapeError::Setting(format!("the range {written} takes nothing"))
                })?)
            }
            (start, Range::OPEN) => {
                Dim::Fixed(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX))
            }
            _ => {
                let what =
                    format!("the range {written} can only be taken of a known size, not of {size}");
                return Err(ShapeError::Setting(what));
            }
        };
    let rounded = span.add(int(step)? - 1)?;
    at_least_one(rounded.floor_div(step)?)
}

fn scaled(size: &Dim, scale: f32) -> Result<Dim, ShapeError> {
    if !(scale.is_finite() && scale > 0.0) {
        return Err(ShapeError::Setting(format!("the scale should be above 0, but is {scale}")));
    }
    let result = match size {
        Dim::Fixed(size) => {
            // In f32, as ONNX defines it: 6 times the f32 nearest to 7/3 is 14, in f64 only 13.99...
            let result = (*size as f32 * scale).floor();
            if result > u32::MAX as f32 {
                return Err(ShapeError::Setting(format!("{size} times {scale} is too large")));
            }
            Dim::Fixed(result as usize)
        }
        dynamic if scale >= 1.0 && scale.fract() == 0.0 => {
            dynamic.product(&Dim::Fixed(scale as usize))?
        }
        dynamic if (1.0 / scale).fract() == 0.0 => dynamic.floor_div((1.0 / scale) as usize)?,
        _ => {
            let what = format!("a scale of {scale} needs a known picture size");
            return Err(ShapeError::Setting(what));
        }
    };
    at_least_one(result)
}

fn quantisation(
    axis: usize,
    x: &TensorType,
    scale: &TensorType,
    zero: &TensorType,
) -> Result<(), ShapeError> {
    if scale.dims != zero.dims {
        let what = format!("scale {scale} and zero point {zero} should have one shape");
        return Err(ShapeError::Setting(what));
    }
    match scale.dims.as_slice() {
        [] => Ok(()),
        [count] => match x.dims.get(axis) {
            Some(dim) => equal("values", "scale", count, "the axis", dim),
            None => Err(ShapeError::Axis { axis, operand: x.clone() }),
        },
        _ => Err(ShapeError::Rank {
            operand: "scale",
            expected: "0 or 1".into(),
            found: scale.clone(),
        }),
    }
}
