//! Face-mask classifiers: a picture of a face, with or without a mask.
//!
//! Three times convolution 3x3 with bias, batch normalisation and ReLU, a pool of 2 after the first
//! and the second; then the mean over the picture, dropout in the larger ones, and a linear layer.

use bunjae_ir::Graph;

use crate::ZooError;
use crate::builder::{Conv, Net, Style, softmax};
use crate::options::Spec;

pub(crate) fn base(spec: &Spec) -> Result<Graph, ZooError> {
    mask(spec, [32, 64, 128], Some(0.2))
}

pub(crate) fn medium(spec: &Spec) -> Result<Graph, ZooError> {
    mask(spec, [24, 48, 96], Some(0.1))
}

pub(crate) fn small(spec: &Spec) -> Result<Graph, ZooError> {
    mask(spec, [8, 16, 32], None)
}

fn mask(spec: &Spec, widths: [usize; 3], dropout: Option<f32>) -> Result<Graph, ZooError> {
    let (mut net, mut x) = Net::new(spec, Style::PYTORCH)?;
    // The places of the layers in `features`: four for each width, with its pool.
    for (at, width) in (0..).step_by(4).zip(spec.stages(widths)?) {
        x = net.conv(&format!("features.{at}"), x, Conv::new(width, 3).bias())?;
        x = net.batch_norm(&format!("features.{}", at + 1), x)?;
        x = net.relu(&format!("features.{}", at + 2), x)?;
        if at < 8 {
            x = net.max_pool(&format!("features.{}", at + 3), x, 2, 2, 0)?;
        }
    }
    x = net.global_pool("features.11", x)?;
    x = net.flatten(x)?;
    if let Some(ratio) = dropout {
        x = net.dropout("drop", x, ratio)?;
    }
    x = net.linear("fc", x, spec.classes)?;
    net.finish(spec, x, softmax())
}
