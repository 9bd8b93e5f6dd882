//! The order in which a kernel reads its weights, as data.
//!
//! Two kernels whose packings are equal read the same packed weights, whatever else differs between
//! them (the batch, the size of the picture), so that a model for several batch sizes, or one that
//! was stored in a file, needs only one copy.

mod strided;

use std::fmt;

use crate::conv::POSITIONS;

pub use strided::{Axis, WeightLayout};

/// How weights given as `[outputs][products]` are packed: `groups` groups of outputs, each of which
/// is divided alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packing {
    groups: usize,
    /// Products per output.
    products: usize,
    order: Order,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Order {
    /// As they are given; the outputs of a group.
    Plain(usize),
    /// Blocks of outputs: for each product, the weights of all outputs of the block.
    Blocks(Vec<usize>),
    /// As blocks, each filled up with zeros to a width.
    Panels(Vec<Panel>),
    /// Kernels of 3 x 3, transformed; blocks of outputs: position by position, input by input, the
    /// weights of all outputs of the block.
    Winograd(Vec<usize>),
}

/// Some outputs, and the width they are filled up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Panel {
    outputs: usize,
    width: usize,
}

impl Packing {
    /// Weights as they are given.
    pub(crate) fn plain(outputs: usize, products: usize) -> Packing {
        Packing { groups: 1, products, order: Order::Plain(outputs) }
    }

    /// Blocks of so many outputs.
    pub(crate) fn blocks(
        groups: usize,
        products: usize,
        blocks: impl Iterator<Item = usize>,
    ) -> Packing {
        Packing { groups, products, order: Order::Blocks(blocks.collect()) }
    }

    /// Blocks of at most so many outputs, each filled up to that number.
    pub(crate) fn panels(
        groups: usize,
        products: usize,
        outputs: usize,
        widths: impl Iterator<Item = usize>,
    ) -> Packing {
        let mut rest = outputs;
        let panels = widths.map(|width| {
            let outputs = rest.min(width);
            rest -= outputs;
            Panel { outputs, width }
        });
        Packing { groups, products, order: Order::Panels(panels.collect()) }
    }

    /// Transformed kernels of 3 x 3 in blocks of so many outputs.
    pub(crate) fn winograd(inputs: usize, blocks: impl Iterator<Item = usize>) -> Packing {
        Packing { groups: 1, products: 9 * inputs, order: Order::Winograd(blocks.collect()) }
    }

    /// Whether packed weights are the weights as they are given.
    pub fn is_plain(&self) -> bool {
        matches!(self.order, Order::Plain(_))
    }

    /// Elements of the weights as they are given.
    pub fn weights_len(&self) -> usize {
        let outputs: usize = match &self.order {
            Order::Plain(outputs) => *outputs,
            Order::Blocks(blocks) | Order::Winograd(blocks) => blocks.iter().sum(),
            Order::Panels(panels) => panels.iter().map(|panel| panel.outputs).sum(),
        };
        self.groups * outputs * self.products
    }

    /// Elements of the packed weights.
    pub fn packed_len(&self) -> usize {
        match &self.order {
            Order::Plain(_) | Order::Blocks(_) => self.weights_len(),
            Order::Panels(panels) => {
                let columns: usize = panels.iter().map(|panel| panel.width).sum();
                self.groups * columns * self.products
            }
            Order::Winograd(_) => self.weights_len() / 9 * POSITIONS,
        }
    }
}

impl fmt::Display for Packing {
    /// A line that tells packings apart: equal text, equal packing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packing { groups, products, order } = self;
        match order {
            Order::Plain(outputs) => write!(f, "plain {groups}x{outputs}x{products}"),
            Order::Blocks(blocks) => write!(f, "blocks {groups}x{blocks:?}x{products}"),
            Order::Panels(panels) => {
                write!(f, "panels {groups}x[")?;
                for (at, Panel { outputs, width }) in panels.iter().enumerate() {
                    write!(f, "{}{outputs}/{width}", if at == 0 { "" } else { ", " })?;
                }
                write!(f, "]x{products}")
            }
            Order::Winograd(blocks) => write!(f, "winograd {groups}x{blocks:?}x{products}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|i| i as f32).collect()
    }

    #[test]
    fn weights_come_in_the_order_of_blocks_and_panels() {
        let blocks = Packing::blocks(2, 2, [1, 2].into_iter());
        let packed = blocks.pack(&numbers(12)).unwrap();
        assert_eq!(packed, [0.0, 1.0, 2.0, 4.0, 3.0, 5.0, 6.0, 7.0, 8.0, 10.0, 9.0, 11.0]);
        let panels = Packing::panels(1, 2, 3, [2, 2].into_iter());
        let packed = panels.pack(&numbers(6)).unwrap();
        assert_eq!(packed, [0.0, 2.0, 1.0, 3.0, 4.0, 0.0, 5.0, 0.0]);
        assert_eq!(Packing::plain(3, 2).pack(&numbers(6)).unwrap(), numbers(6));
    }

    #[test]
    fn lengths_are_as_foretold_and_wrong_ones_are_refused() {
        let packings = [
            Packing::plain(3, 9),
            Packing::blocks(2, 9, [4, 3].into_iter()),
            Packing::panels(2, 9, 7, [4, 4].into_iter()),
            Packing::winograd(4, [2, 3].into_iter()),
        ];
        let mut names = std::collections::BTreeSet::new();
        for packing in packings {
            let len = packing.weights_len();
            assert_eq!(packing.pack(&numbers(len)).unwrap().len(), packing.packed_len());
            assert!(packing.pack(&numbers(len + 1)).is_err());
            assert!(names.insert(packing.to_string()), "{packing} is not alone");
        }
    }
}
