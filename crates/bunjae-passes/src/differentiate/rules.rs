//! Which gradient belongs to which operator: an exhaustive match. Element-wise rules stand here, the
//! others in their files.

use bunjae_ir::op::{Binary, Cast, Reduce, Unary};
use bunjae_ir::{Node, Op, TensorId};

use super::DifferentiateError;
use crate::formula::Formula;

/// For each operand, the nodes' share in its gradient.
pub(super) type Shares = Result<Vec<Option<TensorId>>, DifferentiateError>;

/// A share by itself.
pub(super) type Share = Result<TensorId, DifferentiateError>;

/// A node whose operands' gradients are asked for.
pub(super) struct Rule<'a> {
    pub(super) node: &'a Node,
    pub(super) label: String,
    /// For each operand, whether it is asked of it.
    pub(super) wanted: &'a [bool],
    /// The gradient of each result, where the loss depends on it; of one at least.
    pub(super) gradients: Vec<Option<TensorId>>,
}

impl Rule<'_> {
    /// Writes the gradients of the operands. Where one was not asked for, it may be missing.
    pub(super) fn shares(&self, f: &mut Formula<'_>) -> Shares {
        let op = &self.node.op;
        if let Op::Split(split) = op {
            return self.split(f, split);
        }
        if let Op::BatchNormTrain(norm) = op {
            return self.batch_norm_train(f, norm);
        }
        let Some(dy) = self.gradients.iter().flatten().next().copied() else {
            return Ok(vec![None; self.wanted.len()]);
        };
        let x = self.input(0);
        match op {
            Op::Unary(Unary::Identity) | Op::Dropout(_) => one(Ok(dy)),
            Op::Unary(Unary::Neg) => one(Ok(f.neg(dy)?)),
            Op::Unary(op) => one(Ok(f.push(Op::UnaryGrad(op.clone()), &[x, dy])?)),
            Op::Binary(op) => self.binary(f, op, dy),
            Op::PRelu => self.prelu(f, dy),
            Op::Conv2d(op) => self.conv2d(f, op, dy),
            Op::ConvTranspose2d(op) => self.conv_transpose2d(f, op, dy),
            Op::Linear => self.linear(f, dy),
            Op::MatMul => self.matmul(f, dy),
            Op::BatchNorm(op) => self.batch_norm(f, op, dy),
            Op::LayerNorm(op) => self.layer_norm(f, op, dy),
            Op::L2Norm(op) => one(self.l2_norm(f, op, dy)),
            Op::Softmax(op) => one(self.softmax(f, op.axis, dy)),
            Op::LogSoftmax(op) => one(self.log_softmax(f, op.axis, dy)),
            Op::MaxPool(op) => one(Ok(f.push(Op::MaxPoolGrad(op.clone()), &[x, dy])?)),
            Op::AveragePool(op) => one(Ok(f.push(Op::AveragePoolGrad(op.clone()), &[x, dy])?)),
            Op::GlobalPool(op) => {
                let axes = (2..f.ty(x).rank()).collect();
                let reduce = Reduce { kind: op.kind, axes, keep: true };
                one(Ok(f.push(Op::ReduceGrad(reduce), &[x, dy])?))
            }
            Op::Reduce(op) => one(Ok(f.push(Op::ReduceGrad(op.clone()), &[x, dy])?)),
            Op::Resize(op) => one(Ok(f.push(Op::ResizeGrad(op.clone()), &[x, dy])?)),
            Op::Concat(op) => self.concat(f, op, dy),
            Op::Slice(op) => one(Ok(f.push(Op::SliceGrad(op.clone()), &[x, dy])?)),
            Op::Pad(op) => one(self.pad(f, op, dy)),
            Op::Reshape(_) | Op::Flatten(_) => one(self.regrouped(f, dy)),
            Op::Transpose(op) => one(self.transpose(f, &op.perm, dy)),
            Op::Squeeze(op) => {
                let op = bunjae_ir::op::Unsqueeze { axes: op.axes.clone() };
                one(Ok(f.push(Op::Unsqueeze(op), &[dy])?))
            }
            Op::Unsqueeze(op) => {
                let op = bunjae_ir::op::Squeeze { axes: op.axes.clone() };
                one(Ok(f.push(Op::Squeeze(op), &[dy])?))
            }
            Op::DepthToSpace(op) => one(self.depth_to_space(f, op, dy)),
            Op::Cast(op) if op.to.is_float() => {
                let cast = Cast { to: f.ty(x).dtype };
                one(Ok(f.push(Op::Cast(cast), &[dy])?))
            }
            Op::Cast(_) => self.refuse("integers have no gradient"),
            Op::Quantize(_) | Op::Dequantize(_) => {
                self.refuse("it passes through integers; train the graph before it is quantised")
            }
            Op::UnaryGrad(_)
            | Op::BatchNormTrain(_)
            | Op::BatchNormGrad(_)
            | Op::Conv2dWeightGrad(_)
            | Op::MaxPoolGrad(_)
            | Op::AveragePoolGrad(_)
            | Op::ReduceGrad(_)
            | Op::ResizeGrad(_)
            | Op::PadGrad(_)
            | Op::SliceGrad(_) => self.refuse("second derivatives are not computed"),
            Op::Split(_) => self.refuse("its results have their own gradients"),
        }
    }

    pub(super) fn input(&self, at: usize) -> TensorId {
        self.node.inputs[at]
    }

    pub(super) fn output(&self) -> TensorId {
        self.node.outputs[0]
    }

    pub(super) fn wants(&self, at: usize) -> bool {
        self.wanted.get(at).copied().unwrap_or(false)
    }

    pub(super) fn refused(&self, why: &'static str) -> DifferentiateError {
        let (node, op) = (self.label.clone(), self.node.op.name());
        DifferentiateError::NoGradient { node, op, why }
    }

    pub(super) fn refuse<T>(&self, why: &'static str) -> Result<T, DifferentiateError> {
        Err(self.refused(why))
    }

    fn binary(&self, f: &mut Formula<'_>, op: &Binary, dy: TensorId) -> Shares {
        let operands = [self.input(0), self.input(1)];
        let [a, b] = operands;
        let mut shares = vec![None, None];
        for (at, &operand) in operands.iter().enumerate().filter(|(at, _)| self.wants(*at)) {
            let whole = match (op, at) {
                (Binary::Add, _) | (Binary::Sub, 0) => dy,
                (Binary::Sub, _) => f.neg(dy)?,
                (Binary::Mul, 0) => f.mul(dy, b)?,
                (Binary::Mul, _) => f.mul(dy, a)?,
                (Binary::Div, 0) => f.div(dy, b)?,
                (Binary::Div, _) => {
                    let product = f.mul(dy, self.output())?;
                    let quotient = f.div(product, b)?;
                    f.neg(quotient)?
                }
                (Binary::Max, _) => self.winner(f, operand, operands[1 - at], dy)?,
                (Binary::Min, _) => self.winner(f, operands[1 - at], operand, dy)?,
                // b a^(b - 1) dy
                (Binary::Pow, 0) => {
                    let less = f.plus(b, -1.0)?;
                    let power = f.push(Binary::Pow, &[a, less])?;
                    let slope = f.mul(b, power)?;
                    f.mul(slope, dy)?
                }
                // a^b ln(a) dy
                (Binary::Pow, _) => {
                    let log = f.push(Unary::Log, &[a])?;
                    let slope = f.mul(self.output(), log)?;
                    f.mul(slope, dy)?
                }
            };
            shares[at] = Some(f.sum_to(whole, operand)?);
        }
        Ok(shares)
    }

    /// dy where `high` is above `low`, half of it where they are equal (as in PyTorch), else 0.
    fn winner(&self, f: &mut Formula<'_>, high: TensorId, low: TensorId, dy: TensorId) -> Share {
        let step = Op::UnaryGrad(Unary::Relu);
        let above = f.sub(high, low)?;
        let below = f.neg(above)?;
        let above = f.push(step.clone(), &[above, dy])?;
        let below = f.push(step, &[below, dy])?;
        let not_below = f.sub(dy, below)?;
        let both = f.add(above, not_below)?;
        Ok(f.scaled(both, 0.5)?)
    }

    /// Above 0 all of dy goes to x; elsewhere the slope decides.
    fn prelu(&self, f: &mut Formula<'_>, dy: TensorId) -> Shares {
        let (x, slope) = (self.input(0), self.input(1));
        let above = f.push(Op::UnaryGrad(Unary::Relu), &[x, dy])?;
        let below = f.sub(dy, above)?;
        let mut shares = vec![None, None];
        if self.wants(0) {
            let sloped = f.mul(below, slope)?;
            shares[0] = Some(f.add(above, sloped)?);
        }
        if self.wants(1) {
            let product = f.mul(below, x)?;
            shares[1] = Some(f.sum_to(product, slope)?);
        }
        Ok(shares)
    }
}

/// The share of the only operand.
pub(super) fn one(share: Share) -> Shares {
    Ok(vec![Some(share?)])
}
