//! VGG-16 (Simonyan and Zisserman, 2014).
//!
//! torchvision brings the features of any picture to 7 x 7 with an adaptive pool, which has no
//! operator here. Instead, features of 7 x 7 (from pictures of 224 x 224) go on as they are, larger
//! ones through the average pool whose result is 7 x 7 (equal to the adaptive one for pictures of
//! 256 and of multiples of 224), and smaller ones as they are, so that the first linear layer is
//! smaller too: for 32 x 32 it sees 512 features, not 25,088.

use bunjae_ir::Graph;

use crate::ZooError;
use crate::builder::{Conv, Net, softmax};
use crate::mobilenet::STYLE;
use crate::options::Spec;

/// The convolutions of each stage.
const DEPTHS: [usize; 5] = [2, 2, 3, 3, 3];

/// Height and width of the features that the linear layers were designed for.
const SIDE: usize = 7;

pub(crate) fn vgg16(spec: &Spec) -> Result<Graph, ZooError> {
    let [widths @ .., hidden] = spec.stages([64, 128, 256, 512, 512, 4096])?;
    let (mut net, mut x) = Net::new(spec, STYLE)?;
    let mut at = 0;
    for (width, depth) in widths.into_iter().zip(DEPTHS) {
        for _ in 0..depth {
            x = net.conv(&format!("features.{at}"), x, Conv::new(width, 3).bias())?;
            x = net.relu(&format!("features.{}", at + 1), x)?;
            at += 2;
        }
        x = net.max_pool(&format!("features.{at}"), x, 2, 2, 0)?;
        at += 1;
    }
    let sides = [net.size(x, 2), net.size(x, 3)];
    let stride = sides.map(|side| (side / SIDE).max(1));
    let kernel = [0, 1].map(|axis| sides[axis].saturating_sub((SIDE - 1) * stride[axis]).max(1));
    if kernel != [1, 1] {
        x = net.average_pool("avgpool", x, kernel, stride)?;
    }
    x = net.flatten(x)?;
    for at in [0, 3] {
        x = net.linear(&format!("classifier.{at}"), x, hidden)?;
        x = net.relu(&format!("classifier.{}", at + 1), x)?;
        x = net.dropout(&format!("classifier.{}", at + 2), x, 0.5)?;
    }
    x = net.linear("classifier.6", x, spec.classes)?;
    net.finish(spec, x, softmax())
}
