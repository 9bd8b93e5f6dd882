//! A cascade laid out over integral images of one stride: every corner of every rectangle as an
//! offset from the place of a window.

use super::integral::{Layout, REACH};
use super::model::{Block, Cascade, Child, Features, HaarFeature, Test};

/// How many neighbouring windows of a row are taken together.
pub(super) const LANES: usize = 16;

/// The numbers that the corners of neighbouring windows are looked up in. An offset of 16 bits and a
/// lane are always inside, which spares every look-up its check.
pub(super) type View = [i32; REACH + LANES];

/// One number for each of the windows.
pub(super) type Lanes<T> = [T; LANES];

/// Neighbouring windows of a row.
pub(super) struct Windows<'a> {
    pub sums: &'a View,
    pub tilted: &'a View,
    /// What weighted sums are multiplied with, to make up for brightness and contrast.
    pub norms: Lanes<f32>,
}

/// A node of a tree with its offsets.
pub(super) trait Planned {
    /// Whether the test holds for one of the windows, so that it goes on to the first child.
    fn holds(&self, windows: &Windows<'_>, lane: usize) -> bool;

    /// Chooses for each window between what the two children give for it.
    fn choose(&self, windows: &Windows<'_>, children: [Lanes<f32>; 2]) -> Lanes<f32>;

    fn children(&self) -> [Child; 2];
}

/// Nodes of either kind, in the order of the cascade's.
pub(super) enum Nodes {
    Haar(Vec<HaarNode>),
    Lbp(Vec<LbpNode>),
}

pub(super) struct Plan {
    pub layout: Layout,
    pub nodes: Nodes,
    /// The corners of the part of a window whose contrast counts, and its area in pixels.
    pub contrast: [u16; 4],
    pub area: f64,
}

#[derive(Clone, Copy)]
pub(super) struct HaarNode {
    /// Upper left, upper right, lower left, lower right; of turned rectangles upper, left, right,
    /// lower.
    corners: [[u16; 4]; 3],
    weights: [f32; 3],
    threshold: f32,
    tilted: bool,
    children: [Child; 2],
}

#[derive(Clone, Copy)]
pub(super) struct LbpNode {
    /// Four by four corners, row after row.
    corners: [u16; 16],
    among: [u32; 8],
    children: [Child; 2],
}

impl Plan {
    /// Where a row of the layout, times the rows of a window, is no more than [`REACH`].
    pub(super) fn new(cascade: &Cascade, layout: Layout) -> Plan {
        let [width, height] = cascade.window;
        let inner = Block { left: 1, top: 1, width: width - 2, height: height - 2 };
        let nodes = cascade.nodes.iter();
        let nodes = match &cascade.features {
            Features::Haar(features) => Nodes::Haar(
                nodes
                    .map(|node| {
                        let threshold = match node.test {
                            Test::Below(threshold) => threshold,
                            Test::Among(_) => 0.0,
                        };
                        HaarNode::new(&features[node.feature], threshold, node.children, layout)
                    })
                    .collect(),
            ),
            Features::Lbp(features) => Nodes::Lbp(
                nodes
                    .map(|node| {
                        let among = match node.test {
                            Test::Among(among) => among,
                            Test::Below(_) => [0; 8],
                        };
                        let corners = grid(&features[node.feature], layout);
                        LbpNode { corners, among, children: node.children }
                    })
                    .collect(),
            ),
        };
        let area = (inner.width * inner.height) as f64;
        Plan { layout, nodes, contrast: corners(&inner, layout), area }
    }
}

fn offset(layout: Layout, x: usize, y: usize) -> u16 {
    layout.place(x, y) as u16
}

fn corners(block: &Block, layout: Layout) -> [u16; 4] {
    let (right, bottom) = (block.left + block.width, block.top + block.height);
    [(block.left, block.top), (right, block.top), (block.left, bottom), (right, bottom)]
        .map(|(x, y)| offset(layout, x, y))
}

fn tilted_corners(block: &Block, layout: Layout) -> [u16; 4] {
    let &Block { left, top, width, height } = block;
    if width == 0 {
        return [0; 4];
    }
    let right = left + width;
    [
        (left, top),
        (left - height, top + height),
        (right, top + width),
        (right - height, top + width + height),
    ]
    .map(|(x, y)| offset(layout, x, y))
}

/// The corners of three by three blocks.
fn grid(block: &Block, layout: Layout) -> [u16; 16] {
    std::array::from_fn(|at| {
        let (x, y) = (block.left + at % 4 * block.width, block.top + at / 4 * block.height);
        offset(layout, x, y)
    })
}

/// The least factor, times the area, at which a window counts as flat: it says nothing.
const FLAT: f64 = 1e-1;

/// What a corner holds for each window.
#[inline(always)]
fn run(view: &View, at: u16) -> &Lanes<i32> {
    const NONE: &Lanes<i32> = &[0; LANES];
    // Always there, as the view's length says.
    view[usize::from(at)..].first_chunk().unwrap_or(NONE)
}

/// The sum over a rectangle, for each window.
#[inline(always)]
fn sums(view: &View, [a, b, c, d]: [u16; 4]) -> Lanes<i32> {
    let (a, b, c, d) = (run(view, a), run(view, b), run(view, c), run(view, d));
    let mut sums = [0; LANES];
    for lane in 0..LANES {
        sums[lane] = a[lane].wrapping_sub(b[lane]).wrapping_sub(c[lane]).wrapping_add(d[lane]);
    }
    sums
}

/// The sum over a rectangle, for one window.
#[inline(always)]
fn sum(view: &View, [a, b, c, d]: [u16; 4], lane: usize) -> i32 {
    let number = |at: u16| view[usize::from(at) + lane % LANES];
    number(a).wrapping_sub(number(b)).wrapping_sub(number(c)).wrapping_add(number(d))
}

/// The contrast of each window: the factor for its weighted sums, and whether there is any.
pub(super) fn contrasts(
    plan: &Plan,
    sums_view: &View,
    squares: &View,
) -> (Lanes<f32>, Lanes<bool>) {
    let (sums, squares) = (sums(sums_view, plan.contrast), sums(squares, plan.contrast));
    let (mut norms, mut counts) = ([0.0; LANES], [false; LANES]);
    for lane in 0..LANES {
        let sum = f64::from(sums[lane]);
        let spread = plan.area * f64::from(squares[lane] as u32) - sum * sum;
        // Where there is none, whatever the square root gives is not used.
        let norm = (1.0 / spread.max(1e-9).sqrt()) as f32;
        norms[lane] = norm;
        counts[lane] = spread > 0.0 && plan.area * f64::from(norm) < FLAT;
    }
    (norms, counts)
}

impl HaarNode {
    fn new(
        feature: &HaarFeature,
        threshold: f32,
        children: [Child; 2],
        layout: Layout,
    ) -> HaarNode {
        let corners = feature.parts.map(|(block, _)| match feature.tilted {
            true => tilted_corners(&block, layout),
            false => corners(&block, layout),
        });
        let weights = feature.parts.map(|(_, weight)| weight);
        HaarNode { corners, weights, threshold, tilted: feature.tilted, children }
    }
}

impl Planned for HaarNode {
    #[inline]
    fn holds(&self, windows: &Windows<'_>, lane: usize) -> bool {
        let view = if self.tilted { windows.tilted } else { windows.sums };
        let [first, second, third] = self.corners;
        let mut value = self.weights[0] * sum(view, first, lane) as f32;
        value += self.weights[1] * sum(view, second, lane) as f32;
        if self.weights[2] != 0.0 {
            value += self.weights[2] * sum(view, third, lane) as f32;
        }
        value * windows.norms[lane % LANES] < self.threshold
    }

    #[inline]
    fn choose(&self, windows: &Windows<'_>, [first, second]: [Lanes<f32>; 2]) -> Lanes<f32> {
        let view = if self.tilted { windows.tilted } else { windows.sums };
        let [w0, w1, w2] = self.weights;
        let (s0, s1) = (sums(view, self.corners[0]), sums(view, self.corners[1]));
        let mut values = [0.0; LANES];
        for lane in 0..LANES {
            values[lane] = w0 * s0[lane] as f32 + w1 * s1[lane] as f32;
        }
        if w2 != 0.0 {
            let s2 = sums(view, self.corners[2]);
            for lane in 0..LANES {
                values[lane] += w2 * s2[lane] as f32;
            }
        }
        for lane in 0..LANES {
            let holds = values[lane] * windows.norms[lane] < self.threshold;
            values[lane] = if holds { first[lane] } else { second[lane] };
        }
        values
    }

    fn children(&self) -> [Child; 2] {
        self.children
    }
}

/// The upper left corners of the eight blocks around the middle one, among four by four corners, from
/// the lowest bit of a pattern to the highest: counter-clockwise from the left one.
const AROUND: [usize; 8] = [4, 8, 9, 10, 6, 2, 1, 0];

/// The corners of the block of a grid that begins at one of them.
fn block(corners: &[u16; 16], at: usize) -> [u16; 4] {
    [corners[at], corners[at + 1], corners[at + 4], corners[at + 5]]
}

#[inline]
fn among(set: &[u32; 8], code: u32) -> bool {
    set[(code >> 5) as usize & 7] >> (code & 31) & 1 == 1
}

impl Planned for LbpNode {
    #[inline]
    fn holds(&self, windows: &Windows<'_>, lane: usize) -> bool {
        let mut numbers = [0i32; 16];
        for (number, at) in numbers.iter_mut().zip(self.corners) {
            *number = windows.sums[usize::from(at) + lane % LANES];
        }
        let sum = |at: usize| {
            let (upper, lower) = (&numbers[at..at + 2], &numbers[at + 4..at + 6]);
            upper[0].wrapping_sub(upper[1]).wrapping_sub(lower[0]).wrapping_add(lower[1])
        };
        let middle = sum(5);
        let mut code = 0;
        for (bit, at) in AROUND.into_iter().enumerate() {
            code |= u32::from(sum(at) >= middle) << bit;
        }
        among(&self.among, code)
    }

    #[inline]
    fn choose(&self, windows: &Windows<'_>, [first, second]: [Lanes<f32>; 2]) -> Lanes<f32> {
        let middle = sums(windows.sums, block(&self.corners, 5));
        let mut codes = [0; LANES];
        for (bit, at) in AROUND.into_iter().enumerate() {
            let sums = sums(windows.sums, block(&self.corners, at));
            for lane in 0..LANES {
                codes[lane] |= u32::from(sums[lane] >= middle[lane]) << bit;
            }
        }
        let mut values = [0.0; LANES];
        for lane in 0..LANES {
            let holds = among(&self.among, codes[lane]);
            values[lane] = if holds { first[lane] } else { second[lane] };
        }
        values
    }

    fn children(&self) -> [Child; 2] {
        self.children
    }
}
