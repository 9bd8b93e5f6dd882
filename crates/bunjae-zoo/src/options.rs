//! What can be asked of an architecture.

use std::fmt;

use crate::{Architecture, ZooError};

/// What can be chosen about an architecture; the default leaves all to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The number of classes.
    pub classes: Option<usize>,
    /// The size of a picture: channels, height, width.
    pub input: Option<[usize; 3]>,
    /// How wide the layers are.
    pub width: Width,
    /// What the graph ends in.
    pub head: Head,
    /// From which the weights are drawn.
    pub seed: u64,
}

/// How wide the layers are.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Width {
    /// As the architecture defines it.
    #[default]
    Standard,
    /// All widths times a factor over 0 and up to 64. MobileNets round to a multiple of 8 as their
    /// references do (version 1 cuts off), the other families to the nearest.
    Scaled(f64),
    /// The width of each stage, 1 to 65,536: three for mask-* and the ResNets for CIFAR, four for
    /// the other ResNets, six for vgg16, whose last is that of its hidden linear layers.
    Stages(Vec<usize>),
}

/// What the graph ends in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Head {
    /// The last linear layer's result, `logits`, which is what losses take.
    #[default]
    Logits,
    /// `probabilities`: the softmax of the logits; for pd, whose classes are independent, their
    /// sigmoid.
    Probabilities,
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Width::Standard => f.write_str("its standard widths"),
            Width::Scaled(factor) => write!(f, "widths times {factor}"),
            Width::Stages(widths) => write!(f, "stages of widths {widths:?}"),
        }
    }
}

const LARGEST_FACTOR: f64 = 64.0;
const LARGEST_WIDTH: usize = 1 << 16;

/// The options of one architecture, with its defaults filled in.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) classes: usize,
    pub(crate) input: [usize; 3],
    pub(crate) head: Head,
    pub(crate) seed: u64,
    width: Width,
}

impl Spec {
    pub(crate) fn new(architecture: &Architecture, options: &Options) -> Result<Spec, ZooError> {
        let classes = options.classes.unwrap_or(architecture.classes);
        let input = options.input.unwrap_or(architecture.input);
        if classes == 0 {
            return Err(ZooError::NoClasses);
        }
        if input.contains(&0) {
            return Err(ZooError::EmptyInput(input));
        }
        let (head, seed, width) = (options.head, options.seed, options.width.clone());
        Ok(Spec { name: architecture.name, classes, input, head, seed, width })
    }

    fn refuse<T>(&self, takes: impl Into<String>) -> Result<T, ZooError> {
        let (architecture, takes, found) = (self.name, takes.into(), self.width.clone());
        Err(ZooError::Width { architecture, takes, found })
    }

    /// The widths of the stages, for an architecture that is defined by them.
    pub(crate) fn stages<const N: usize>(
        &self,
        standard: [usize; N],
    ) -> Result<[usize; N], ZooError> {
        let takes = format!(
            "a factor over 0 and up to {LARGEST_FACTOR}, or {N} widths of 1 to {LARGEST_WIDTH}"
        );
        match &self.width {
            Width::Standard => Ok(standard),
            Width::Scaled(factor) if is_factor(*factor) => {
                Ok(standard.map(|width| (width as f64 * factor).round().max(1.0) as usize))
            }
            Width::Stages(widths) if widths.iter().all(|w| (1..=LARGEST_WIDTH).contains(w)) => {
                widths.as_slice().try_into().or_else(|_| self.refuse(takes))
            }
            _ => self.refuse(takes),
        }
    }

    /// The factor of all widths, for an architecture that is defined by one.
    pub(crate) fn factor(&self) -> Result<f64, ZooError> {
        match self.width {
            Width::Standard => Ok(1.0),
            Width::Scaled(factor) if is_factor(factor) => Ok(factor),
            _ => self.refuse(format!("a factor over 0 and up to {LARGEST_FACTOR}")),
        }
    }

    /// For an architecture whose widths are fixed.
    pub(crate) fn standard_width(&self) -> Result<(), ZooError> {
        match self.width {
            Width::Standard => Ok(()),
            _ => self.refuse(Width::Standard.to_string()),
        }
    }
}

fn is_factor(factor: f64) -> bool {
    factor > 0.0 && factor <= LARGEST_FACTOR
}
