//! Residual networks (He et al., 2015), for ImageNet and for CIFAR.

use bunjae_ir::op::{self, Op};
use bunjae_ir::{Graph, TensorId};

use crate::ZooError;
use crate::builder::{Conv, Fill, Layer, Net, Style, softmax};
use crate::options::Spec;

const STYLE: Style = Style { conv: Fill::HeNormalOut, ..Style::PYTORCH };

/// What the members of the family differ in.
#[derive(Clone, Copy)]
struct Variant {
    /// Blocks of 1x1, 3x3 and 1x1 to four times the width, rather than of two 3x3.
    bottleneck: bool,
    /// The D variant (He et al., 2018): pooled shortcuts. The last gamma of a block starts at 0, as
    /// timm has it, so that each block starts as its shortcut.
    d: bool,
}

const BASIC: Variant = Variant { bottleneck: false, d: false };

pub(crate) fn resnet18(spec: &Spec) -> Result<Graph, ZooError> {
    let widths = spec.stages([64, 128, 256, 512])?;
    let (mut net, x) = Net::new(spec, STYLE)?;
    let x = stem(&mut net, x, widths[0])?;
    let x = stages(&mut net, x, &widths, &[2, 2, 2, 2], BASIC)?;
    head(net, spec, x)
}

pub(crate) fn resnet50(spec: &Spec) -> Result<Graph, ZooError> {
    let widths = spec.stages([64, 128, 256, 512])?;
    let (mut net, x) = Net::new(spec, STYLE)?;
    let x = stem(&mut net, x, widths[0])?;
    let x = stages(&mut net, x, &widths, &[3, 4, 6, 3], Variant { bottleneck: true, d: false })?;
    head(net, spec, x)
}

pub(crate) fn resnet18d(spec: &Spec) -> Result<Graph, ZooError> {
    let widths = spec.stages([64, 128, 256, 512])?;
    let (mut net, x) = Net::new(spec, STYLE)?;
    let half = widths[0].div_ceil(2);
    let x = net.conv_norm_act("conv1", x, Conv::new(half, 3).stride(2), op::Unary::Relu)?;
    let x = net.conv("conv1.3", x, Conv::new(half, 3))?;
    let x = net.batch_norm("conv1.4", x)?;
    let x = net.relu("conv1.5", x)?;
    let x = net.conv("conv1.6", x, Conv::new(widths[0], 3))?;
    let x = net.batch_norm("bn1", x)?;
    let x = net.relu("act1", x)?;
    let x = net.max_pool("maxpool", x, 3, 2, 1)?;
    let x = stages(&mut net, x, &widths, &[2, 2, 2, 2], Variant { bottleneck: false, d: true })?;
    head(net, spec, x)
}

pub(crate) fn resnet20(spec: &Spec) -> Result<Graph, ZooError> {
    cifar(spec, 3)
}

pub(crate) fn resnet56(spec: &Spec) -> Result<Graph, ZooError> {
    cifar(spec, 9)
}

/// Three stages for small pictures, each of `depth` blocks; shortcuts between stages are 1x1
/// convolutions. The last pool is a window as large as the picture then is, as the references have
/// it: counters of operations tell it from an adaptive pool.
fn cifar(spec: &Spec, depth: usize) -> Result<Graph, ZooError> {
    let widths = spec.stages([16, 32, 64])?;
    let (mut net, x) = Net::new(spec, STYLE)?;
    let x = net.conv("conv1", x, Conv::new(widths[0], 3))?;
    let x = net.batch_norm("bn1", x)?;
    let x = net.relu("relu", x)?;
    let x = stages(&mut net, x, &widths, &[depth; 3], BASIC)?;
    let picture = [net.size(x, 2), net.size(x, 3)];
    let x = net.average_pool("avgpool", x, picture, picture)?;
    classify(net, spec, x)
}

fn stem(net: &mut Net, x: TensorId, width: usize) -> Layer {
    let x = net.conv("conv1", x, Conv::new(width, 7).stride(2))?;
    let x = net.batch_norm("bn1", x)?;
    let x = net.relu("relu", x)?;
    net.max_pool("maxpool", x, 3, 2, 1)
}

fn head(mut net: Net, spec: &Spec, x: TensorId) -> Result<Graph, ZooError> {
    let x = net.global_pool("avgpool", x)?;
    classify(net, spec, x)
}

fn classify(mut net: Net, spec: &Spec, x: TensorId) -> Result<Graph, ZooError> {
    let x = net.flatten(x)?;
    let x = net.linear("fc", x, spec.classes)?;
    net.finish(spec, x, softmax())
}

/// All blocks: each stage but the first halves the picture.
fn stages(
    net: &mut Net,
    mut x: TensorId,
    widths: &[usize],
    depths: &[usize],
    variant: Variant,
) -> Layer {
    for (stage, (&width, &depth)) in (1..).zip(widths.iter().zip(depths)) {
        for at in 0..depth {
            let stride = if stage > 1 && at == 0 { 2 } else { 1 };
            x = block(net, &format!("layer{stage}.{at}"), x, width, stride, variant)?;
        }
    }
    Ok(x)
}

fn block(
    net: &mut Net,
    path: &str,
    input: TensorId,
    width: usize,
    stride: usize,
    variant: Variant,
) -> Layer {
    // The stride sits in the 3x3 convolution, which makes ResNet-50 version 1.5.
    let layers = if variant.bottleneck {
        vec![Conv::new(width, 1), Conv::new(width, 3).stride(stride), Conv::new(4 * width, 1)]
    } else {
        vec![Conv::new(width, 3).stride(stride), Conv::new(width, 3)]
    };
    let count = layers.len();
    let mut x = input;
    for (at, conv) in (1..).zip(layers) {
        x = net.conv(&format!("{path}.conv{at}"), x, conv)?;
        let scale = if variant.d && at == count { 0.0 } else { 1.0 };
        x = net.scaled_batch_norm(&format!("{path}.bn{at}"), x, scale)?;
        if at < count {
            x = net.relu(&format!("{path}.relu{at}"), x)?;
        }
    }
    let mut shortcut = input;
    if stride != 1 || net.channels(input) != net.channels(x) {
        let path = format!("{path}.downsample");
        shortcut = project(net, &path, input, net.channels(x), stride, variant)?;
    }
    x = net.add(&format!("{path}.add"), x, shortcut)?;
    net.relu(&format!("{path}.relu{count}"), x)
}

/// The shortcut of a block that changes the shape.
fn project(
    net: &mut Net,
    path: &str,
    x: TensorId,
    out: usize,
    stride: usize,
    variant: Variant,
) -> Layer {
    if !variant.d {
        return net.conv_norm(path, x, Conv::new(out, 1).stride(stride));
    }
    let mut x = x;
    if stride != 1 {
        let (kernel, stride) = ([2; 2], [stride; 2]);
        let pool = op::AveragePool { kernel, stride, ceil: true, ..Default::default() };
        x = net.op(&format!("{path}.0"), Op::AveragePool(pool), &[x])?;
    }
    x = net.conv(&format!("{path}.1"), x, Conv::new(out, 1))?;
    net.batch_norm(&format!("{path}.2"), x)
}
