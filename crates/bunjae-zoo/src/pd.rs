//! Diagnosis of partial discharges in high-voltage gear from phase-resolved pulse sequences, grey
//! pictures of 60 x 120.

use bunjae_ir::op::Unary;
use bunjae_ir::{Graph, TensorId};

use crate::ZooError;
use crate::builder::{Conv, Layer, Net, Style, softmax};
use crate::options::Spec;

const LEAKY: Unary = Unary::LeakyRelu { alpha: 0.2 };

/// Four times convolution 3x3 with bias, ReLU and a pool of 2; then three linear layers.
pub(crate) fn full(spec: &Spec) -> Result<Graph, ZooError> {
    spec.standard_width()?;
    let (mut net, mut x) = Net::new(spec, Style::PYTORCH)?;
    for (at, width) in (0..).step_by(3).zip([32, 64, 128, 256]) {
        x = net.conv(&format!("features.{at}"), x, Conv::new(width, 3).bias())?;
        x = net.relu(&format!("features.{}", at + 1), x)?;
        x = net.max_pool(&format!("features.{}", at + 2), x, 2, 2, 0)?;
    }
    x = net.flatten(x)?;
    x = net.linear("classifier.0", x, 64)?;
    x = net.relu("classifier.1", x)?;
    x = net.linear("classifier.2", x, 32)?;
    x = net.dropout("classifier.3", x, 0.5)?;
    x = net.relu("classifier.4", x)?;
    x = net.linear("classifier.5", x, spec.classes)?;
    net.finish(spec, x, Unary::Sigmoid)
}

/// In the manner of MobileNetV2, with leaky ReLU.
pub(crate) fn light(spec: &Spec) -> Result<Graph, ZooError> {
    // Output channels, stride, expansion.
    const BLOCKS: [(usize, usize, usize); 9] = [
        (16, 1, 1),
        (24, 2, 6),
        (24, 1, 6),
        (32, 2, 6),
        (32, 1, 6),
        (32, 1, 6),
        (64, 2, 6),
        (64, 1, 6),
        (64, 1, 6),
    ];
    spec.standard_width()?;
    let (mut net, x) = Net::new(spec, Style::PYTORCH)?;
    let mut x = net.conv_norm_act("stem", x, Conv::new(32, 3).stride(2), LEAKY)?;
    for (at, (out, stride, expand)) in BLOCKS.into_iter().enumerate() {
        x = block(&mut net, &format!("blocks.{at}"), x, out, stride, expand)?;
    }
    x = net.conv_norm_act("head", x, Conv::new(256, 1), LEAKY)?;
    x = net.mean("mean", x)?;
    x = net.linear("fc", x, spec.classes)?;
    net.finish(spec, x, softmax())
}

fn block(
    net: &mut Net,
    path: &str,
    x: TensorId,
    out: usize,
    stride: usize,
    expand: usize,
) -> Layer {
    let (shortcut, channels) = (x, net.channels(x));
    let mut x = x;
    let mut at = 0;
    if expand != 1 {
        x = net.conv(&format!("{path}.c.0"), x, Conv::new(channels * expand, 1))?;
        x = net.batch_norm(&format!("{path}.c.1"), x)?;
        x = net.op(&format!("{path}.c.2"), LEAKY, &[x])?;
        at = 3;
    }
    let depthwise = Conv::new(channels * expand, 3).stride(stride).depthwise();
    x = net.conv(&format!("{path}.c.{at}"), x, depthwise)?;
    x = net.batch_norm(&format!("{path}.c.{}", at + 1), x)?;
    x = net.op(&format!("{path}.c.{}", at + 2), LEAKY, &[x])?;
    x = net.conv(&format!("{path}.c.{}", at + 3), x, Conv::new(out, 1))?;
    x = net.batch_norm(&format!("{path}.c.{}", at + 4), x)?;
    if stride == 1 && channels == out {
        net.add(&format!("{path}.add"), shortcut, x)
    } else {
        Ok(x)
    }
}
