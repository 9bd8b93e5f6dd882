//! Convolutions, linear layers and matrix products.

use bunjae_ir::op::{
    Conv2d, Conv2dWeightGrad, ConvTranspose2d, Flatten, Groups, Range, Reduction, Slice, Squeeze,
    Transpose, Unsqueeze,
};
use bunjae_ir::{Dim, Op, TensorId};

use super::DifferentiateError;
use super::rules::{Rule, Share, Shares};
use crate::formula::Formula;

impl Rule<'_> {
    /// The transpose of a convolution is the transposed convolution with the same weight; rows that
    /// the stride dropped had no part, and come back as `output_pad`.
    pub(super) fn conv2d(&self, f: &mut Formula<'_>, op: &Conv2d, dy: TensorId) -> Shares {
        let (x, weight) = (self.input(0), self.input(1));
        let kernel = self.kernel(f, weight)?;
        let mut shares = vec![None; self.wanted.len()];
        if self.wants(0) {
            let mut output_pad = [0; 2];
            for (axis, rest) in output_pad.iter_mut().enumerate() {
                if op.stride[axis] > 1 {
                    let size = f.ty(x).dims[2 + axis].fixed();
                    let size = size.ok_or_else(|| self.refused(UNKNOWN_PICTURE))?;
                    let reach = (kernel[axis] - 1) * op.dilation[axis] + 1;
                    // Inference has seen that the window fits.
                    let free = (size + op.pad[axis] + op.pad[axis + 2]).saturating_sub(reach);
                    *rest = free % op.stride[axis];
                }
            }
            let transposed = ConvTranspose2d {
                stride: op.stride,
                dilation: op.dilation,
                pad: op.pad,
                output_pad,
                groups: self.transposed_groups(f, op.groups, x, weight)?,
            };
            shares[0] = Some(f.push(Op::ConvTranspose2d(transposed), &[dy, weight])?);
        }
        if self.wants(1) {
            let Conv2d { stride, dilation, pad, groups } = *op;
            let grad = Conv2dWeightGrad { kernel, stride, dilation, pad, groups };
            shares[1] = Some(f.push(Op::Conv2dWeightGrad(grad), &[x, dy])?);
        }
        if self.wants(2) {
            shares[2] = Some(f.reduce(Reduction::Sum, dy, vec![0, 2, 3], false)?);
        }
        Ok(shares)
    }

    /// The transpose of a transposed convolution is the convolution over dy, once the rows that
    /// `output_pad` added are taken off again: by less padding, or by a slice.
    pub(super) fn conv_transpose2d(
        &self,
        f: &mut Formula<'_>,
        op: &ConvTranspose2d,
        dy: TensorId,
    ) -> Shares {
        let (x, weight) = (self.input(0), self.input(1));
        let kernel = self.kernel(f, weight)?;
        let mut pad = op.pad;
        let mut ranges = Vec::new();
        for axis in 0..2 {
            let extra = op.output_pad[axis];
            let beyond = extra.saturating_sub(pad[axis + 2]);
            pad[axis + 2] = pad[axis + 2].saturating_sub(extra);
            if beyond > 0 {
                let end = -i64::try_from(beyond).unwrap_or(i64::MAX);
                ranges.push(Range { axis: 2 + axis, start: 0, end, step: 1 });
            }
        }
        let mut seen = dy;
        if !ranges.is_empty() && (self.wants(0) || self.wants(1)) {
            seen = f.push(Op::Slice(Slice { ranges }), &[dy])?;
        }
        // In the convolution's view x and dy change places.
        let groups = match op.groups {
            Groups::Depthwise if !f.ty(weight).dims[1].is_one() => {
                grouped(self.known(f, x, 1, UNKNOWN_CHANNELS)?)
            }
            groups => groups,
        };
        let (stride, dilation) = (op.stride, op.dilation);
        let mut shares = vec![None; self.wanted.len()];
        if self.wants(0) {
            let conv = Conv2d { stride, dilation, pad, groups };
            shares[0] = Some(f.push(Op::Conv2d(conv), &[seen, weight])?);
        }
        if self.wants(1) {
            let grad = Conv2dWeightGrad { kernel, stride, dilation, pad, groups };
            shares[1] = Some(f.push(Op::Conv2dWeightGrad(grad), &[seen, x])?);
        }
        if self.wants(2) {
            shares[2] = Some(f.reduce(Reduction::Sum, dy, vec![0, 2, 3], false)?);
        }
        Ok(shares)
    }

    fn kernel(&self, f: &Formula<'_>, weight: TensorId) -> Result<[usize; 2], DifferentiateError> {
        let why = "the size of its kernel has to be known";
        Ok([self.known(f, weight, 2, why)?, self.known(f, weight, 3, why)?])
    }

    fn known(
        &self,
        f: &Formula<'_>,
        id: TensorId,
        axis: usize,
        why: &'static str,
    ) -> Result<usize, DifferentiateError> {
        f.ty(id).dims.get(axis).and_then(Dim::fixed).ok_or_else(|| self.refused(why))
    }

    /// The groups of the transposed convolution: a depthwise one has as many channels on both sides
    /// only where each channel has one filter.
    fn transposed_groups(
        &self,
        f: &Formula<'_>,
        groups: Groups,
        x: TensorId,
        weight: TensorId,
    ) -> Result<Groups, DifferentiateError> {
        if groups != Groups::Depthwise {
            return Ok(groups);
        }
        let channels = self.known(f, x, 1, UNKNOWN_CHANNELS)?;
        let filters = self.known(f, weight, 0, UNKNOWN_CHANNELS)?;
        Ok(if channels == filters { Groups::Depthwise } else { grouped(channels) })
    }

    /// With y = x W^T + b: dx = dy W, dW = dy^T x over all rows, db = the sum of the rows.
    pub(super) fn linear(&self, f: &mut Formula<'_>, dy: TensorId) -> Shares {
        let (x, weight) = (self.input(0), self.input(1));
        let last = f.ty(x).rank() - 1;
        let mut shares = vec![None; self.wanted.len()];
        if self.wants(0) {
            let rows = if last == 0 { row(f, dy)? } else { dy };
            let product = f.push(Op::MatMul, &[rows, weight])?;
            shares[0] = Some(match last {
                0 => f.push(Op::Squeeze(Squeeze { axes: vec![0] }), &[product])?,
                _ => product,
            });
        }
        if self.wants(1) {
            let rows = |f: &mut Formula<'_>, id| match last {
                0 => row(f, id),
                1 => Ok(id),
                _ => Ok(f.push(Op::Flatten(Flatten { axis: last }), &[id])?),
            };
            let (x, dy) = (rows(f, x)?, rows(f, dy)?);
            let turned = f.push(Op::Transpose(Transpose { perm: vec![1, 0] }), &[dy])?;
            shares[1] = Some(f.push(Op::MatMul, &[turned, x])?);
        }
        if self.wants(2) {
            shares[2] = Some(match last {
                0 => dy,
                _ => f.reduce(Reduction::Sum, dy, (0..last).collect(), false)?,
            });
        }
        Ok(shares)
    }

    /// With y = a b: da = dy b^T, db = a^T dy, each summed over the axes that repeated it.
    pub(super) fn matmul(&self, f: &mut Formula<'_>, dy: TensorId) -> Shares {
        let (a, b) = (self.input(0), self.input(1));
        let mut shares = vec![None, None];
        if self.wants(0) {
            let turned = turned(f, b)?;
            let product = f.push(Op::MatMul, &[dy, turned])?;
            shares[0] = Some(f.sum_to(product, a)?);
        }
        if self.wants(1) {
            let turned = turned(f, a)?;
            let product = f.push(Op::MatMul, &[turned, dy])?;
            shares[1] = Some(f.sum_to(product, b)?);
        }
        Ok(shares)
    }
}

const UNKNOWN_PICTURE: &str =
    "which rows its stride drops depends on the size of the picture; bind height and width first";

const UNKNOWN_CHANNELS: &str = "the number of its channels has to be known";

/// So many groups, of which one is none.
fn grouped(count: usize) -> Groups {
    if count > 1 { Groups::Grouped(count) } else { Groups::Dense }
}

/// A vector as a matrix of one row.
fn row(f: &mut Formula<'_>, id: TensorId) -> Share {
    Ok(f.push(Op::Unsqueeze(Unsqueeze { axes: vec![0] }), &[id])?)
}

/// The last two axes exchanged.
fn turned(f: &mut Formula<'_>, id: TensorId) -> Share {
    let rank = f.ty(id).rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    Ok(f.push(Op::Transpose(Transpose { perm }), &[id])?)
}
