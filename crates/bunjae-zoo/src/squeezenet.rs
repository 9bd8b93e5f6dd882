//! SqueezeNet 1.1 (Iandola et al., 2016): fire modules squeeze the channels and expand them again
//! by convolutions of 1x1 and 3x3 side by side.

use bunjae_ir::op::{self, Op};
use bunjae_ir::{Graph, TensorId};

use crate::ZooError;
use crate::builder::{Conv, Fill, Layer, Net, Style, softmax};
use crate::options::Spec;

const STYLE: Style =
    Style { conv: Fill::HeUniform, conv_bias: Fill::Constant(0.0), ..Style::PYTORCH };

/// The fire modules by their place in `features`: channels squeezed to, and expanded to by each of
/// the two convolutions. Pools stand in between.
const FIRES: [(usize, usize, usize); 8] = [
    (3, 16, 64),
    (4, 16, 64),
    (6, 32, 128),
    (7, 32, 128),
    (9, 48, 192),
    (10, 48, 192),
    (11, 64, 256),
    (12, 64, 256),
];

pub(crate) fn v1_1(spec: &Spec) -> Result<Graph, ZooError> {
    spec.standard_width()?;
    let (mut net, x) = Net::new(spec, STYLE)?;
    let mut x = net.conv("features.0", x, Conv::new(64, 3).stride(2).pad(0).bias())?;
    x = net.relu("features.1", x)?;
    for (at, squeezed, expanded) in FIRES {
        if [3, 6, 9].contains(&at) {
            let pool = op::MaxPool { kernel: [3; 2], ceil: true, ..Default::default() };
            x = net.op(&format!("features.{}", at - 1), Op::MaxPool(pool), &[x])?;
        }
        x = fire(&mut net, &format!("features.{at}"), x, squeezed, expanded)?;
    }
    x = net.dropout("classifier.0", x, 0.5)?;
    let last = Conv::new(spec.classes, 1).bias().fill(Fill::Normal(0.01));
    x = net.conv("classifier.1", x, last)?;
    x = net.relu("classifier.2", x)?;
    x = net.global_pool("classifier.3", x)?;
    x = net.flatten(x)?;
    net.finish(spec, x, softmax())
}

fn fire(net: &mut Net, path: &str, x: TensorId, squeezed: usize, expanded: usize) -> Layer {
    let x = net.conv(&format!("{path}.squeeze"), x, Conv::new(squeezed, 1).bias())?;
    let x = net.relu(&format!("{path}.squeeze_activation"), x)?;
    let mut expand = |name: &str, kernel: usize| {
        let path = format!("{path}.{name}");
        let x = net.conv(&path, x, Conv::new(expanded, kernel).bias())?;
        net.relu(&format!("{path}_activation"), x)
    };
    let parts = [expand("expand1x1", 1)?, expand("expand3x3", 3)?];
    net.concat(&format!("{path}.cat"), &parts)
}
