//! The zoo: known architectures as functions that return a graph.
//!
//! Owns the list of [`ARCHITECTURES`], the layers each is made of, and the values that its weights
//! start from.
//!
//! Never here: trained weights, files, training, and anything that changes a graph once it stands.
//!
//! # Names
//! A node with weights has the path that its module has in the PyTorch implementation of reference,
//! and its weights are `<path>.weight`, `<path>.bias`, `<path>.running_mean` and
//! `<path>.running_var`, so that a state dict of the reference fits. So has a node without weights,
//! unless the reference calls a function there or one module several times (`layer1.0.add`,
//! `layer1.0.relu2`). The input is called `input`, the output `logits`, or `probabilities` with that
//! [`Head`]. The batch is the symbol `N`.
//!
//! # Initial weights
//! As in the implementation of reference; gamma starts at 1, beta and the running mean at 0, the
//! running variance at 1. `fan_in` and `fan_out` are the weight's elements per output and per input
//! channel.
//!
//! | architectures | convolution | linear | reference |
//! |---|---|---|---|
//! | mask-*, pd, pd-light, shufflenet-v2 | U(±1/√fan_in), bias too | U(±1/√fan_in), bias too | PyTorch's own default, torchvision |
//! | resnet* | N(0, 2/fan_out) | U(±1/√fan_in), bias too | torchvision, RepDistiller (CIFAR); resnet18d: timm, whose blocks' last gamma starts at 0 |
//! | mobilenet-*, vgg16 | N(0, 2/fan_out), bias 0 | N(0, 0.01²), bias 0 | torchvision; v1 like v2 |
//! | squeezenet1.1 | U(±√(6/fan_in)), the last N(0, 0.01²), bias 0 | none | torchvision |
//! | densenet-tiny | N(0, 2/fan_in) | U(±1/√fan_in), bias 0 | torchvision |
//!
//! A weight is drawn from the seed and its own name, so a layer starts from the same values whatever
//! stands before or behind it.
#![forbid(unsafe_code)]

mod builder;
mod densenet;
mod error;
mod mask;
mod mobilenet;
mod mobilenet_v3;
mod options;
mod pd;
mod resnet;
mod shufflenet;
mod squeezenet;
mod vgg;

use bunjae_ir::Graph;

pub use error::ZooError;
pub use options::{Head, Options, Width};

use options::Spec;

/// An architecture of the zoo.
#[derive(Clone, Copy, Debug)]
pub struct Architecture {
    /// The name it is asked for by.
    pub name: &'static str,
    /// What it is, in a line.
    pub description: &'static str,
    /// The size of a picture where none is asked for: channels, height, width.
    pub input: [usize; 3],
    /// The number of classes where none is asked for.
    pub classes: usize,
    build: fn(&Spec) -> Result<Graph, ZooError>,
}

impl Architecture {
    /// The architecture called `name`.
    ///
    /// # Errors
    /// [`ZooError::Unknown`] lists those that there are.
    pub fn find(name: &str) -> Result<&'static Architecture, ZooError> {
        let found = ARCHITECTURES.iter().find(|architecture| architecture.name == name);
        found.ok_or_else(|| ZooError::unknown(name))
    }

    /// Builds the graph, with initial weights.
    ///
    /// # Errors
    /// [`ZooError`] where an option does not suit the architecture, or the pictures are too small
    /// for it.
    pub fn build(&self, options: &Options) -> Result<Graph, ZooError> {
        (self.build)(&Spec::new(self, options)?)
    }
}

/// Builds the architecture called `name`.
///
/// # Errors
/// As [`Architecture::find`] and [`Architecture::build`].
pub fn build(name: &str, options: &Options) -> Result<Graph, ZooError> {
    Architecture::find(name)?.build(options)
}

const fn architecture(
    name: &'static str,
    description: &'static str,
    input: [usize; 3],
    classes: usize,
    build: fn(&Spec) -> Result<Graph, ZooError>,
) -> Architecture {
    Architecture { name, description, input, classes, build }
}

const IMAGENET: [usize; 3] = [3, 224, 224];
const CIFAR: [usize; 3] = [3, 32, 32];

/// Every architecture, by family.
pub const ARCHITECTURES: &[Architecture] = &[
    architecture(
        "mask-base",
        "face-mask classifier, three convolutions of 32, 64 and 128 channels",
        [3, 128, 128],
        2,
        mask::base,
    ),
    architecture(
        "mask-medium",
        "face-mask classifier, 24, 48 and 96 channels",
        [3, 128, 128],
        2,
        mask::medium,
    ),
    architecture(
        "mask-small",
        "face-mask classifier, 8, 16 and 32 channels",
        [3, 128, 128],
        2,
        mask::small,
    ),
    architecture(
        "pd",
        "partial-discharge diagnosis, four convolutions and three linear layers",
        [1, 60, 120],
        6,
        pd::full,
    ),
    architecture(
        "pd-light",
        "partial-discharge diagnosis, inverted residuals",
        [1, 60, 120],
        6,
        pd::light,
    ),
    architecture("resnet18", "ResNet-18 as in torchvision", IMAGENET, 1000, resnet::resnet18),
    architecture(
        "resnet18d",
        "ResNet-18-D as in timm: a stem of three convolutions, pooled shortcuts",
        IMAGENET,
        1000,
        resnet::resnet18d,
    ),
    architecture("resnet50", "ResNet-50 v1.5 as in torchvision", IMAGENET, 1000, resnet::resnet50),
    architecture(
        "resnet20",
        "ResNet-20 for CIFAR, with projection shortcuts",
        CIFAR,
        10,
        resnet::resnet20,
    ),
    architecture(
        "resnet56",
        "ResNet-56 for CIFAR, with projection shortcuts",
        CIFAR,
        10,
        resnet::resnet56,
    ),
    architecture(
        "mobilenet-v1",
        "MobileNet: depthwise and pointwise convolutions",
        IMAGENET,
        1000,
        mobilenet::v1,
    ),
    architecture(
        "mobilenet-v2",
        "MobileNetV2 as in torchvision: inverted residuals",
        IMAGENET,
        1000,
        mobilenet::v2,
    ),
    architecture(
        "mobilenet-v3-small",
        "MobileNetV3-Small as in torchvision: squeeze-and-excite, hard swish",
        IMAGENET,
        1000,
        mobilenet_v3::small,
    ),
    architecture("vgg16", "VGG-16 as in torchvision", IMAGENET, 1000, vgg::vgg16),
    architecture(
        "squeezenet1.1",
        "SqueezeNet 1.1 as in torchvision: fire modules",
        IMAGENET,
        1000,
        squeezenet::v1_1,
    ),
    architecture(
        "shufflenet-v2",
        "ShuffleNetV2 x1.0 as in torchvision: split, concat, channel shuffle",
        IMAGENET,
        1000,
        shufflenet::v2,
    ),
    architecture(
        "densenet-tiny",
        "a small DenseNet: three blocks of four layers, growth 12",
        CIFAR,
        10,
        densenet::tiny,
    ),
];
