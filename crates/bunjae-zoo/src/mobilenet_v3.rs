//! MobileNetV3-Small (Howard et al., 2019): inverted residuals with squeeze-and-excite.

use bunjae_ir::op::{Binary, Unary};
use bunjae_ir::{Graph, TensorId};

use crate::ZooError;
use crate::builder::{Conv, Layer, Net, Style, softmax};
use crate::mobilenet::{STYLE, divisible};
use crate::options::Spec;

struct Block {
    kernel: usize,
    expanded: usize,
    out: usize,
    excite: bool,
    activation: Unary,
    stride: usize,
}

const fn block(
    kernel: usize,
    expanded: usize,
    out: usize,
    excite: bool,
    activation: Unary,
    stride: usize,
) -> Block {
    Block { kernel, expanded, out, excite, activation, stride }
}

const BLOCKS: [Block; 11] = [
    block(3, 16, 16, true, Unary::Relu, 2),
    block(3, 72, 24, false, Unary::Relu, 2),
    block(3, 88, 24, false, Unary::Relu, 1),
    block(5, 96, 40, true, Unary::HardSwish, 2),
    block(5, 240, 40, true, Unary::HardSwish, 1),
    block(5, 240, 40, true, Unary::HardSwish, 1),
    block(5, 120, 48, true, Unary::HardSwish, 1),
    block(5, 144, 48, true, Unary::HardSwish, 1),
    block(5, 288, 96, true, Unary::HardSwish, 2),
    block(5, 576, 96, true, Unary::HardSwish, 1),
    block(5, 576, 96, true, Unary::HardSwish, 1),
];

pub(crate) fn small(spec: &Spec) -> Result<Graph, ZooError> {
    let factor = spec.factor()?;
    let scaled = |width: usize| divisible(width as f64 * factor);
    let (mut net, x) = Net::new(spec, Style { eps: 1e-3, ..STYLE })?;
    let stem = Conv::new(scaled(16), 3).stride(2);
    let mut x = net.conv_norm_act("features.0", x, stem, Unary::HardSwish)?;
    for (at, block) in (1..).zip(BLOCKS) {
        let Block { expanded, out, .. } = block;
        let block = Block { expanded: scaled(expanded), out: scaled(out), ..block };
        x = residual(&mut net, &format!("features.{at}"), x, &block)?;
    }
    let last = Conv::new(6 * net.channels(x), 1);
    x = net.conv_norm_act("features.12", x, last, Unary::HardSwish)?;
    x = net.global_pool("avgpool", x)?;
    x = net.flatten(x)?;
    x = net.linear("classifier.0", x, scaled(1024))?;
    x = net.op("classifier.1", Unary::HardSwish, &[x])?;
    x = net.dropout("classifier.2", x, 0.2)?;
    x = net.linear("classifier.3", x, spec.classes)?;
    net.finish(spec, x, softmax())
}

fn residual(net: &mut Net, path: &str, input: TensorId, block: &Block) -> Layer {
    let Block { kernel, expanded, out, excite, stride, .. } = *block;
    let channels = net.channels(input);
    let mut parts = (0..).map(|at| format!("{path}.block.{at}"));
    let mut next = || parts.next().unwrap_or_default();
    let mut x = input;
    if expanded != channels {
        x = net.conv_norm_act(&next(), x, Conv::new(expanded, 1), block.activation.clone())?;
    }
    let depthwise = Conv::new(expanded, kernel).stride(stride).depthwise();
    x = net.conv_norm_act(&next(), x, depthwise, block.activation.clone())?;
    if excite {
        x = squeeze_and_excite(net, &next(), x)?;
    }
    x = net.conv_norm(&next(), x, Conv::new(out, 1))?;
    if stride == 1 && channels == out { net.add(&format!("{path}.add"), x, input) } else { Ok(x) }
}

/// Weighs each channel by what the means of all channels say.
fn squeeze_and_excite(net: &mut Net, path: &str, input: TensorId) -> Layer {
    let channels = net.channels(input);
    let squeezed = divisible((channels / 4) as f64);
    let hard_sigmoid = Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };
    let x = net.global_pool(&format!("{path}.avgpool"), input)?;
    let x = net.conv(&format!("{path}.fc1"), x, Conv::new(squeezed, 1).bias())?;
    let x = net.relu(&format!("{path}.activation"), x)?;
    let x = net.conv(&format!("{path}.fc2"), x, Conv::new(channels, 1).bias())?;
    let scale = net.op(&format!("{path}.scale_activation"), hard_sigmoid, &[x])?;
    net.op(&format!("{path}.mul"), Binary::Mul, &[scale, input])
}
