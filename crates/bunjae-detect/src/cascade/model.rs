//! What a cascade is: features, trees over them, and stages of trees.

use std::ops::Range;

/// A cascade as its file says it. [`Cascade::read`] and [`Cascade::parse`] make one.
#[derive(Clone, Debug, PartialEq)]
pub struct Cascade {
    /// Width and height of its windows.
    pub(super) window: [usize; 2],
    pub(super) features: Features,
    pub(super) stages: Vec<Stage>,
    pub(super) trees: Vec<Tree>,
    pub(super) nodes: Vec<Node>,
}

/// What is measured in a window. All of it lies inside of the window.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Features {
    /// Weighted sums over rectangles.
    Haar(Vec<HaarFeature>),
    /// Local binary patterns: three by three blocks, of which this is the upper left one.
    Lbp(Vec<Block>),
}

/// A rectangle in a window, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct HaarFeature {
    /// Turned by 45 degrees: `width` goes down to the right from (left, top), `height` down to the
    /// left.
    pub tilted: bool,
    /// Rectangles and their weights; those that are not there weigh nothing.
    pub parts: [(Block, f32); 3],
}

/// Windows pass where the leaves of its trees add up to at least the threshold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stage {
    pub threshold: f32,
    /// Places in [`Cascade::trees`].
    pub trees: Range<usize>,
}

/// Places in [`Cascade::nodes`], the root first.
pub(super) type Tree = Range<usize>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Node {
    /// A place in the features.
    pub feature: usize,
    pub test: Test,
    /// Where it goes on if the test holds, and if not.
    pub children: [Child; 2],
}

/// What is asked of a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Test {
    /// Is it below the threshold?
    Below(f32),
    /// Is its code, 0 to 255, among these?
    Among([u32; 8]),
}

/// What follows a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Child {
    /// Another node of the same tree, further on, counted from the root.
    Node(usize),
    /// The tree's value.
    Leaf(f32),
}

impl Cascade {
    /// Width and height of its windows, in pixels: the smallest things that it finds.
    pub fn window(&self) -> [usize; 2] {
        self.window
    }

    /// How many stages a window has to pass.
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// `Haar` or `LBP`.
    pub fn kind(&self) -> &'static str {
        match self.features {
            Features::Haar(_) => "Haar",
            Features::Lbp(_) => "LBP",
        }
    }

    /// Whether any rectangle is turned.
    pub(super) fn is_tilted(&self) -> bool {
        match &self.features {
            Features::Haar(features) => features.iter().any(|feature| feature.tilted),
            Features::Lbp(_) => false,
        }
    }

    /// The most nodes of any tree.
    pub(super) fn largest_tree(&self) -> usize {
        self.trees.iter().map(|tree| tree.len()).max().unwrap_or(0)
    }
}
