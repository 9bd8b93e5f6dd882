//! Normalisations and softmax.

use bunjae_ir::op::{
    BatchNorm, BatchNormGrad, BatchNormTrain, L2Norm, LayerNorm, Reduce, Reduction, Unary,
    Unsqueeze,
};
use bunjae_ir::{Op, TensorId};

use super::rules::{Rule, Share, Shares};
use crate::formula::Formula;

/// All axes but that of the channels.
fn but_channels(rank: usize) -> Vec<usize> {
    (0..rank).filter(|&axis| axis != 1).collect()
}

/// A vector over the channels in the shape that broadcasts over a tensor of the given rank.
fn over_channels(f: &mut Formula<'_>, vector: TensorId, rank: usize) -> Share {
    if rank == 2 {
        return Ok(vector);
    }
    Ok(f.push(Op::Unsqueeze(Unsqueeze { axes: (1..rank - 1).collect() }), &[vector])?)
}

impl Rule<'_> {
    /// With r = 1 / sqrt(variance + eps) and normal = (x - mean) r: dx = dy gamma r,
    /// dgamma = sum(dy normal), dbeta = sum(dy), dmean = -gamma r dbeta,
    /// dvariance = -gamma r^2 dgamma / 2.
    pub(super) fn batch_norm(&self, f: &mut Formula<'_>, op: &BatchNorm, dy: TensorId) -> Shares {
        let [x, gamma, _, mean, variance] = [0, 1, 2, 3, 4].map(|at| self.input(at));
        let rank = f.ty(x).rank();
        let safe = f.plus(variance, f64::from(op.eps))?;
        let deviation = f.push(Unary::Sqrt, &[safe])?;
        let scale = f.div(gamma, deviation)?;
        let mut shares = vec![None; 5];
        if self.wants(0) {
            let scale = over_channels(f, scale, rank)?;
            shares[0] = Some(f.mul(dy, scale)?);
        }
        if self.wants(1) || self.wants(4) {
            let means = over_channels(f, mean, rank)?;
            let centred = f.sub(x, means)?;
            let product = f.mul(dy, centred)?;
            let sum = f.reduce(Reduction::Sum, product, but_channels(rank), false)?;
            let dgamma = f.div(sum, deviation)?;
            shares[1] = Some(dgamma);
            if self.wants(4) {
                let product = f.mul(dgamma, scale)?;
                let slope = f.div(product, deviation)?;
                shares[4] = Some(f.scaled(slope, -0.5)?);
            }
        }
        if self.wants(2) || self.wants(3) {
            let dbeta = f.reduce(Reduction::Sum, dy, but_channels(rank), false)?;
            shares[2] = Some(dbeta);
            if self.wants(3) {
                let product = f.mul(dbeta, scale)?;
                shares[3] = Some(f.neg(product)?);
            }
        }
        Ok(shares)
    }

    /// The gradient of y by an operator of its own; those of the mean and the variance, where a loss
    /// looks at them, are those of the means that they are.
    pub(super) fn batch_norm_train(&self, f: &mut Formula<'_>, op: &BatchNormTrain) -> Shares {
        let (x, gamma) = (self.input(0), self.input(1));
        let [mean, variance] = [1, 2].map(|at| self.node.outputs[at]);
        let rank = f.ty(x).rank();
        let mut shares = vec![None; 3];
        if let Some(dy) = self.gradients[0] {
            let grad = Op::BatchNormGrad(BatchNormGrad { eps: op.eps });
            let results = f.push_multi(grad, &[x, dy, gamma, mean, variance])?;
            shares = results.into_iter().map(Some).collect();
        }
        let mut parts: Vec<TensorId> = shares[0].into_iter().collect();
        let means =
            Op::ReduceGrad(Reduce { kind: Reduction::Mean, axes: but_channels(rank), keep: false });
        if let Some(dmean) = self.gradients[1].filter(|_| self.wants(0)) {
            parts.push(f.push(means.clone(), &[x, dmean])?);
        }
        if let Some(dvariance) = self.gradients[2].filter(|_| self.wants(0)) {
            let shared = f.push(means, &[x, dvariance])?;
            let mean = over_channels(f, mean, rank)?;
            let centred = f.sub(x, mean)?;
            let product = f.mul(centred, shared)?;
            parts.push(f.scaled(product, 2.0)?);
        }
        let mut parts = parts.into_iter();
        shares[0] = parts.next();
        for part in parts {
            shares[0] = shares[0].map(|sum| f.add(sum, part)).transpose()?;
        }
        Ok(shares)
    }

    /// With normal = (x - mean) / deviation over the normalised axes and g = dy gamma:
    /// dx = (g - mean(g) - normal mean(g normal)) / deviation, dgamma = sum(dy normal),
    /// dbeta = sum(dy).
    pub(super) fn layer_norm(&self, f: &mut Formula<'_>, op: &LayerNorm, dy: TensorId) -> Shares {
        let (x, gamma) = (self.input(0), self.input(1));
        let axes: Vec<usize> = (op.axis..f.ty(x).rank()).collect();
        let mut shares = vec![None; self.wanted.len()];
        if self.wants(2) {
            shares[2] = Some(f.sum_to(dy, self.input(2))?);
        }
        if !self.wants(0) && !self.wants(1) {
            return Ok(shares);
        }
        let mean = |f: &mut Formula<'_>, x| f.reduce(Reduction::Mean, x, axes.clone(), true);
        let centre = mean(f, x)?;
        let centred = f.sub(x, centre)?;
        let square = f.mul(centred, centred)?;
        let variance = mean(f, square)?;
        let safe = f.plus(variance, f64::from(op.eps))?;
        let deviation = f.push(Unary::Sqrt, &[safe])?;
        let normal = f.div(centred, deviation)?;
        if self.wants(0) {
            let scaled = f.mul(dy, gamma)?;
            let product = f.mul(scaled, normal)?;
            let (shift, slope) = (mean(f, scaled)?, mean(f, product)?);
            let along = f.mul(normal, slope)?;
            let shifted = f.sub(scaled, shift)?;
            let rest = f.sub(shifted, along)?;
            shares[0] = Some(f.div(rest, deviation)?);
        }
        if self.wants(1) {
            let product = f.mul(dy, normal)?;
            shares[1] = Some(f.sum_to(product, gamma)?);
        }
        Ok(shares)
    }

    /// y = x / m with m = max(|x|, eps): dx = dy / m, and where the norm is above eps the norm's own
    /// gradient for dm = -sum(dy x) / m^2.
    pub(super) fn l2_norm(&self, f: &mut Formula<'_>, op: &L2Norm, dy: TensorId) -> Share {
        let x = self.input(0);
        let norm = Reduce { kind: Reduction::L2, axes: vec![op.axis], keep: true };
        let length = f.push(Op::Reduce(norm.clone()), &[x])?;
        let eps = f.number(f64::from(op.eps), f.ty(x).dtype)?;
        let safe = f.push(bunjae_ir::op::Binary::Max, &[length, eps])?;
        let direct = f.div(dy, safe)?;
        // sum(dy y) / m is sum(dy x) / m^2 without the square of a small number.
        let product = f.mul(dy, self.output())?;
        let sum = f.reduce(Reduction::Sum, product, vec![op.axis], true)?;
        let quotient = f.div(sum, safe)?;
        let above = f.sub(length, eps)?;
        let passed = f.push(Op::UnaryGrad(Unary::Relu), &[above, quotient])?;
        let along = f.push(Op::ReduceGrad(norm), &[x, passed])?;
        Ok(f.sub(direct, along)?)
    }

    /// dx = y (dy - sum(dy y)).
    pub(super) fn softmax(&self, f: &mut Formula<'_>, axis: usize, dy: TensorId) -> Share {
        let y = self.output();
        let product = f.mul(dy, y)?;
        let sum = f.reduce(Reduction::Sum, product, vec![axis], true)?;
        let rest = f.sub(dy, sum)?;
        Ok(f.mul(y, rest)?)
    }

    /// dx = dy - exp(y) sum(dy).
    pub(super) fn log_softmax(&self, f: &mut Formula<'_>, axis: usize, dy: TensorId) -> Share {
        let probabilities = f.push(Unary::Exp, &[self.output()])?;
        let sum = f.reduce(Reduction::Sum, dy, vec![axis], true)?;
        let shared = f.mul(probabilities, sum)?;
        Ok(f.sub(dy, shared)?)
    }
}
