//! ShuffleNetV2 x1.0 (Ma et al., 2018): half of the channels pass by each block, and a shuffle mixes
//! them with the others.

use bunjae_ir::op::{self, Op, Unary};
use bunjae_ir::{Factor, FactorGroup, Factors, Graph, TensorId};

use crate::ZooError;
use crate::builder::{Conv, Layer, Net, Style, softmax};
use crate::options::Spec;

pub(crate) fn v2(spec: &Spec) -> Result<Graph, ZooError> {
    // The stage's number, its output channels and blocks.
    const STAGES: [(usize, usize, usize); 3] = [(2, 116, 4), (3, 232, 8), (4, 464, 4)];
    spec.standard_width()?;
    let (mut net, x) = Net::new(spec, Style::PYTORCH)?;
    let mut x = net.conv_norm_act("conv1", x, Conv::new(24, 3).stride(2), Unary::Relu)?;
    x = net.max_pool("maxpool", x, 3, 2, 1)?;
    for (stage, out, depth) in STAGES {
        for at in 0..depth {
            let path = format!("stage{stage}.{at}");
            let parts = if at == 0 {
                [left_branch(&mut net, &path, x, out / 2)?, branch(&mut net, &path, x, out / 2, 2)?]
            } else {
                let [passed, x] = halves(&mut net, &path, x)?;
                [passed, branch(&mut net, &path, x, out / 2, 1)?]
            };
            x = net.concat(&format!("{path}.cat"), &parts)?;
            x = shuffle(&mut net, &path, x)?;
        }
    }
    x = net.conv_norm_act("conv5", x, Conv::new(1024, 1), Unary::Relu)?;
    x = net.mean("mean", x)?;
    x = net.linear("fc", x, spec.classes)?;
    net.finish(spec, x, softmax())
}

/// Depthwise and pointwise: what the first block of a stage does to the channels that the others
/// pass by.
fn left_branch(net: &mut Net, path: &str, x: TensorId, out: usize) -> Layer {
    let depthwise = Conv::new(net.channels(x), 3).stride(2).depthwise();
    let x = net.conv_norm(&format!("{path}.branch1"), x, depthwise)?;
    let x = net.conv(&format!("{path}.branch1.2"), x, Conv::new(out, 1))?;
    let x = net.batch_norm(&format!("{path}.branch1.3"), x)?;
    net.relu(&format!("{path}.branch1.4"), x)
}

/// Pointwise, depthwise and pointwise.
fn branch(net: &mut Net, path: &str, x: TensorId, out: usize, stride: usize) -> Layer {
    let path = format!("{path}.branch2");
    let x = net.conv_norm_act(&path, x, Conv::new(out, 1), Unary::Relu)?;
    let x = net.conv(&format!("{path}.3"), x, Conv::new(out, 3).stride(stride).depthwise())?;
    let x = net.batch_norm(&format!("{path}.4"), x)?;
    let x = net.conv(&format!("{path}.5"), x, Conv::new(out, 1))?;
    let x = net.batch_norm(&format!("{path}.6"), x)?;
    net.relu(&format!("{path}.7"), x)
}

fn halves(net: &mut Net, path: &str, x: TensorId) -> Result<[TensorId; 2], ZooError> {
    let half = net.channels(x) / 2;
    let split = Op::Split(op::Split { axis: 1, sizes: vec![half; 2] });
    net.pair(&format!("{path}.chunk"), split, x)
}

/// Takes a channel of the first half and one of the second in turn.
fn shuffle(net: &mut Net, path: &str, x: TensorId) -> Layer {
    let keep = || FactorGroup { axes: 1, out: vec![Factor::Rest] };
    let reshape = |channels| {
        Op::Reshape(op::Reshape { map: Factors(vec![keep(), channels, keep(), keep()]) })
    };
    let apart = FactorGroup { axes: 1, out: vec![Factor::Fixed(2), Factor::Rest] };
    let joined = FactorGroup { axes: 2, out: vec![Factor::Rest] };
    let turned = Op::Transpose(op::Transpose { perm: vec![0, 2, 1, 3, 4] });
    let x = net.op(&format!("{path}.shuffle.apart"), reshape(apart), &[x])?;
    let x = net.op(&format!("{path}.shuffle.turn"), turned, &[x])?;
    net.op(&format!("{path}.shuffle.join"), reshape(joined), &[x])
}
