//! MobileNet (Howard et al., 2017) and MobileNetV2 (Sandler et al., 2018).

use bunjae_ir::op::Unary;
use bunjae_ir::{Graph, TensorId};

use crate::ZooError;
use crate::builder::{Conv, Fill, Layer, Net, Style, softmax};
use crate::options::Spec;

/// What torchvision starts its MobileNets and VGGs from.
pub(crate) const STYLE: Style = Style {
    conv: Fill::HeNormalOut,
    conv_bias: Fill::Constant(0.0),
    linear: Fill::Normal(0.01),
    linear_bias: Fill::Constant(0.0),
    ..Style::PYTORCH
};

const RELU6: Unary = Unary::Clip { min: 0.0, max: 6.0 };

/// `width` to the nearest multiple of 8, at least 8, and not less than nine tenths of it.
pub(crate) fn divisible(width: f64) -> usize {
    let nearest = ((width + 4.0) as usize / 8 * 8).max(8);
    if (nearest as f64) < 0.9 * width { nearest + 8 } else { nearest }
}

/// Thirteen pairs of depthwise and pointwise convolution. Widths are cut off after the factor but
/// not below 8, and activations are ReLU6, as in TensorFlow's original; padding is symmetric, as in
/// PyTorch.
pub(crate) fn v1(spec: &Spec) -> Result<Graph, ZooError> {
    // Output channels and stride.
    const PAIRS: [(usize, usize); 13] = [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (1024, 2),
        (1024, 1),
    ];
    let factor = spec.factor()?;
    let scaled = |width: usize| ((width as f64 * factor) as usize).max(8);
    let (mut net, x) = Net::new(spec, STYLE)?;
    let mut x = net.conv_norm_act("features.0", x, Conv::new(scaled(32), 3).stride(2), RELU6)?;
    for (at, (out, stride)) in (1..).zip(PAIRS) {
        let depthwise = Conv::new(net.channels(x), 3).stride(stride).depthwise();
        x = net.conv_norm_act(&format!("features.{at}.0"), x, depthwise, RELU6)?;
        let pointwise = Conv::new(scaled(out), 1);
        x = net.conv_norm_act(&format!("features.{at}.1"), x, pointwise, RELU6)?;
    }
    x = net.global_pool("avgpool", x)?;
    x = net.flatten(x)?;
    x = net.linear("classifier", x, spec.classes)?;
    net.finish(spec, x, softmax())
}

pub(crate) fn v2(spec: &Spec) -> Result<Graph, ZooError> {
    // Expansion, output channels, repeats, stride of the first.
    const STAGES: [(usize, usize, usize, usize); 7] = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    let factor = spec.factor()?;
    let scaled = |width: usize| divisible(width as f64 * factor);
    let (mut net, x) = Net::new(spec, STYLE)?;
    let mut x = net.conv_norm_act("features.0", x, Conv::new(scaled(32), 3).stride(2), RELU6)?;
    let mut at = 1;
    for (expand, out, repeats, stride) in STAGES {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { stride } else { 1 };
            x = block(&mut net, &format!("features.{at}"), x, scaled(out), stride, expand)?;
            at += 1;
        }
    }
    // A narrow network keeps its last layer.
    let last = divisible(1280.0 * factor.max(1.0));
    x = net.conv_norm_act(&format!("features.{at}"), x, Conv::new(last, 1), RELU6)?;
    x = net.global_pool("avgpool", x)?;
    x = net.flatten(x)?;
    x = net.dropout("classifier.0", x, 0.2)?;
    x = net.linear("classifier.1", x, spec.classes)?;
    net.finish(spec, x, softmax())
}

fn block(
    net: &mut Net,
    path: &str,
    input: TensorId,
    out: usize,
    stride: usize,
    expand: usize,
) -> Layer {
    let channels = net.channels(input);
    let mut x = input;
    let mut at = 0;
    if expand != 1 {
        x = net.conv_norm_act(
            &format!("{path}.conv.0"),
            x,
            Conv::new(channels * expand, 1),
            RELU6,
        )?;
        at = 1;
    }
    let depthwise = Conv::new(channels * expand, 3).stride(stride).depthwise();
    x = net.conv_norm_act(&format!("{path}.conv.{at}"), x, depthwise, RELU6)?;
    x = net.conv(&format!("{path}.conv.{}", at + 1), x, Conv::new(out, 1))?;
    x = net.batch_norm(&format!("{path}.conv.{}", at + 2), x)?;
    if stride == 1 && channels == out { net.add(&format!("{path}.add"), input, x) } else { Ok(x) }
}

#[cfg(test)]
mod tests {
    use super::divisible;

    #[test]
    fn widths_round_to_multiples_of_eight_but_not_far_down() {
        // 0.9 * 12 is more than 8, and so 12 goes up.
        let rounded = [1.0, 8.0, 11.9, 12.0, 16.0, 18.0, 22.0, 27.9].map(divisible);
        assert_eq!(rounded, [8, 8, 16, 16, 16, 24, 24, 32]);
    }
}
