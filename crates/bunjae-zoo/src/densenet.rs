//! A small DenseNet (Huang et al., 2016): every layer sees the results of all before it.
//!
//! densenet-tiny is ours, for pictures of about 32 x 32: a convolution 3x3 to 24 channels, three
//! blocks of four layers that add 12 channels each by way of a bottleneck of 48, and between the
//! blocks a 1x1 convolution to half the channels and an average pool of 2. Its layers are
//! torchvision's.

use bunjae_ir::{Graph, TensorId};

use crate::ZooError;
use crate::builder::{Conv, Fill, Layer, Net, Style, softmax};
use crate::options::Spec;

const STYLE: Style =
    Style { conv: Fill::HeNormalIn, linear_bias: Fill::Constant(0.0), ..Style::PYTORCH };

const GROWTH: usize = 12;
const BLOCKS: usize = 3;
const LAYERS: usize = 4;

pub(crate) fn tiny(spec: &Spec) -> Result<Graph, ZooError> {
    spec.standard_width()?;
    let (mut net, x) = Net::new(spec, STYLE)?;
    let mut x = net.conv("features.conv0", x, Conv::new(2 * GROWTH, 3))?;
    x = net.batch_norm("features.norm0", x)?;
    x = net.relu("features.relu0", x)?;
    for block in 1..=BLOCKS {
        x = dense_block(&mut net, &format!("features.denseblock{block}"), x)?;
        if block < BLOCKS {
            x = transition(&mut net, &format!("features.transition{block}"), x)?;
        }
    }
    x = net.batch_norm("features.norm5", x)?;
    x = net.relu("relu", x)?;
    x = net.global_pool("avgpool", x)?;
    x = net.flatten(x)?;
    x = net.linear("classifier", x, spec.classes)?;
    net.finish(spec, x, softmax())
}

fn dense_block(net: &mut Net, path: &str, x: TensorId) -> Layer {
    let mut features = vec![x];
    for at in 1..=LAYERS {
        let path = format!("{path}.denselayer{at}");
        let mut x = x;
        if at > 1 {
            x = net.concat(&format!("{path}.cat"), &features)?;
        }
        x = net.batch_norm(&format!("{path}.norm1"), x)?;
        x = net.relu(&format!("{path}.relu1"), x)?;
        x = net.conv(&format!("{path}.conv1"), x, Conv::new(4 * GROWTH, 1))?;
        x = net.batch_norm(&format!("{path}.norm2"), x)?;
        x = net.relu(&format!("{path}.relu2"), x)?;
        features.push(net.conv(&format!("{path}.conv2"), x, Conv::new(GROWTH, 3))?);
    }
    net.concat(&format!("{path}.cat"), &features)
}

fn transition(net: &mut Net, path: &str, x: TensorId) -> Layer {
    let half = net.channels(x) / 2;
    let x = net.batch_norm(&format!("{path}.norm"), x)?;
    let x = net.relu(&format!("{path}.relu"), x)?;
    let x = net.conv(&format!("{path}.conv"), x, Conv::new(half, 1))?;
    net.average_pool(&format!("{path}.pool"), x, [2; 2], [2; 2])
}
