//! All windows of a picture against all stages of a cascade.

use bunjae_data::Picture;

use super::group::Window;
use super::integral::{Integral, Layout, REACH, Strip, Wanted};
use super::model::{Cascade, Child, Features};
use super::plan::{LANES, Lanes, Nodes, Plan, Planned, View, Windows, contrasts};
use super::pyramid::{Shrinker, rounded};
use crate::detection::DetectError;

/// Where so many of the neighbouring windows are left, a stage is evaluated for all of them, which costs
/// about as much as for so many one by one.
const DENSE: usize = 3;

/// A cascade with the memory to look through pictures.
pub(super) struct Search {
    cascade: Cascade,
    shrinker: Shrinker,
    integral: Integral,
    /// For windows one pixel apart and two pixels apart.
    plans: [Option<Plan>; 2],
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    /// For each node of a tree, what it gives for each of neighbouring windows.
    values: Vec<Lanes<f32>>,
    /// Whether a row's next window is left out.
    skips: Vec<bool>,
    /// The windows of a row that passed.
    passed: Vec<usize>,
}

impl Search {
    pub(super) fn new(cascade: Cascade) -> Search {
        Search {
            cascade,
            shrinker: Shrinker::default(),
            integral: Integral::default(),
            plans: [None, None],
            scratch: Scratch::default(),
        }
    }

    pub(super) fn cascade(&self) -> &Cascade {
        &self.cascade
    }

    /// The windows that pass, in the order of scales, rows and columns.
    pub(super) fn windows(
        &mut self,
        grey: &Picture,
        scales: &[f32],
        limit: usize,
    ) -> Result<Vec<Window>, DetectError> {
        let mut passed = Vec::new();
        let sizes: Vec<[usize; 2]> = scales
            .iter()
            .map(|scale| [grey.width(), grey.height()].map(|side| rounded(side as f32 / scale)))
            .collect();
        let Some(&[first_width, _]) = sizes.first() else { return Ok(passed) };
        let stride = self.stride(first_width);
        let [width, _] = self.cascade.window;
        // OpenCV shares the rows out in so many equal parts, which may leave the last row to nobody.
        let parts = (first_width + 1).saturating_sub(width).div_ceil(32).max(1);
        for (&scale, &size) in scales.iter().zip(&sizes) {
            let step = if scale >= 2.0 { 1 } else { 2 };
            let layout = Layout { stride, step };
            let plan = &mut self.plans[step - 1];
            if plan.as_ref().is_none_or(|plan| plan.layout != layout) {
                *plan = Some(Plan::new(&self.cascade, layout));
            }
            self.scale(grey, size, scale, parts, &mut passed);
            if passed.len() > limit {
                return Err(DetectError::TooMany { limit });
            }
        }
        Ok(passed)
    }

    /// Numbers in a row of the integral images: enough for the whole width, unless a window would
    /// then reach further than offsets do. Multiples of 32 let pictures of nearly the same size
    /// share a plan; odd ones keep the rows out of each other's way in the cache.
    fn stride(&self, width: usize) -> usize {
        let [_, rows] = self.cascade.window;
        let most = REACH / (rows + 1) / 2 * 2;
        let wanted = (width + 1).next_multiple_of(32);
        let wanted = if wanted.is_multiple_of(64) { wanted + 32 } else { wanted };
        wanted.min(most)
    }

    fn scale(
        &mut self,
        grey: &Picture,
        [width, height]: [usize; 2],
        scale: f32,
        parts: usize,
        passed: &mut Vec<Window>,
    ) {
        let [columns, rows] = self.cascade.window;
        let step = if scale >= 2.0 { 1 } else { 2 };
        let Some(plan) = &self.plans[step - 1] else { return };
        // How many places there are for a window, in pixels.
        let across = (width + 1).saturating_sub(columns);
        let down = (height + 1).saturating_sub(rows);
        if across == 0 || down == 0 {
            return;
        }
        let per_part = (down / step).div_ceil(parts).max(1) * step;
        let down = down.min(per_part.saturating_mul(parts));
        let wanted = Wanted {
            squares: matches!(self.cascade.features, Features::Haar(_)),
            tilted: self.cascade.is_tilted(),
        };
        let samples = self.shrinker.shrunk(grey, width, height);
        let first = passed.len();
        self.scratch.skips.clear();
        self.scratch.skips.resize(down.div_ceil(step), false);
        let span = ((plan.layout.stride - columns) / 2 * 2).max(2);
        for left in (0..across).step_by(span) {
            let places = span.min(across - left);
            let strip = Strip { samples, width, left, columns: places - 1 + columns };
            self.integral.fill(strip, plan.layout, wanted);
            let count = places.div_ceil(step);
            for (row, top) in (0..down).step_by(step).enumerate() {
                let base = top * plan.layout.stride;
                let pass =
                    Pass { cascade: &self.cascade, plan, integral: &self.integral, base, count };
                match &plan.nodes {
                    Nodes::Haar(nodes) => pass.run(nodes, &mut self.scratch, row),
                    Nodes::Lbp(nodes) => pass.run(nodes, &mut self.scratch, row),
                }
                for &at in &self.scratch.passed {
                    let x = left + at * step;
                    let place = |pixel: usize| (pixel as f32 * scale).round_ties_even() as i32;
                    let [columns, rows] = [columns, rows].map(place);
                    passed.push(Window {
                        left: place(x),
                        top: place(top),
                        width: columns,
                        height: rows,
                    });
                }
            }
        }
        // Strips come one after the other.
        passed[first..].sort_unstable_by_key(|window| (window.top, window.left));
    }
}

/// One row of windows.
struct Pass<'a> {
    cascade: &'a Cascade,
    plan: &'a Plan,
    integral: &'a Integral,
    base: usize,
    /// Windows in it.
    count: usize,
}

impl Pass<'_> {
    /// Leaves the windows that pass in `scratch.passed`.
    fn run<N: Planned>(&self, nodes: &[N], scratch: &mut Scratch, row: usize) {
        let Scratch { values, skips, passed } = scratch;
        values.resize(self.cascade.largest_tree(), [0.0; LANES]);
        passed.clear();
        // The first window that is not left out.
        let mut next = usize::from(skips[row]);
        for first in (0..self.count).step_by(LANES) {
            let place = self.base + first;
            let Integral { sums, squares, tilted, .. } = self.integral;
            let Some(sums) = view(sums, place) else { break };
            let (norms, counts) = match &self.plan.nodes {
                Nodes::Haar(_) => match view(squares, place) {
                    Some(squares) => contrasts(self.plan, sums, squares),
                    None => break,
                },
                Nodes::Lbp(_) => ([1.0; LANES], [true; LANES]),
            };
            let windows = Windows { sums, tilted: view(tilted, place).unwrap_or(sums), norms };
            let end = self.count.min(first + LANES);
            let mut alive: Lanes<u8> = [0; LANES];
            let mut left = 0;
            let totals = self.totals(nodes, 0, &windows, values);
            let threshold = self.threshold(0);
            while next < end {
                let lane = next - first;
                let fails = totals[lane] < threshold;
                if counts[lane] && !fails {
                    alive[left] = lane as u8;
                    left += 1;
                }
                // Where a window fails right away, the next one is left out.
                next += if counts[lane] && fails { 2 } else { 1 };
            }
            let mut stage = 1;
            let stages = self.cascade.stages.len();
            while stage < stages && left >= DENSE {
                let totals = self.totals(nodes, stage, &windows, values);
                let threshold = self.threshold(stage);
                let mut kept = 0;
                for at in 0..left {
                    let lane = alive[at];
                    if totals[usize::from(lane) % LANES] >= threshold {
                        alive[kept] = lane;
                        kept += 1;
                    }
                }
                left = kept;
                stage += 1;
            }
            for &lane in &alive[..left] {
                if self.passes(nodes, stage, &windows, usize::from(lane)) {
                    passed.push(first + usize::from(lane));
                }
            }
        }
        skips[row] = next > self.count;
    }

    fn threshold(&self, stage: usize) -> f64 {
        f64::from(self.cascade.stages[stage].threshold)
    }

    /// What the trees of a stage add up to, for each of neighbouring windows.
    fn totals<N: Planned>(
        &self,
        nodes: &[N],
        stage: usize,
        windows: &Windows<'_>,
        values: &mut [Lanes<f32>],
    ) -> Lanes<f64> {
        let mut totals = [0.0; LANES];
        for tree in &self.cascade.trees[self.cascade.stages[stage].trees.clone()] {
            let tree = &nodes[tree.clone()];
            // Children come after their parents, so that they are known before them here.
            for (at, node) in tree.iter().enumerate().rev() {
                let given = |child: Child| match child {
                    Child::Leaf(value) => [value; LANES],
                    Child::Node(next) => values[next],
                };
                let [first, second] = node.children();
                values[at] = node.choose(windows, [given(first), given(second)]);
            }
            for (total, &value) in totals.iter_mut().zip(&values[0]) {
                *total += f64::from(value);
            }
        }
        totals
    }

    /// Whether one window passes this stage and all after it.
    fn passes<N: Planned>(
        &self,
        nodes: &[N],
        first: usize,
        windows: &Windows<'_>,
        lane: usize,
    ) -> bool {
        self.cascade.stages[first..].iter().all(|stage| {
            let mut sum = 0.0;
            for tree in &self.cascade.trees[stage.trees.clone()] {
                sum += f64::from(value(&nodes[tree.clone()], windows, lane));
            }
            sum >= f64::from(stage.threshold)
        })
    }
}

/// What windows at a place see.
fn view(numbers: &[i32], place: usize) -> Option<&View> {
    numbers.get(place..)?.first_chunk()
}

/// What a tree gives for a window.
#[inline]
fn value<N: Planned>(tree: &[N], windows: &Windows<'_>, lane: usize) -> f32 {
    let mut at = 0;
    loop {
        let node = &tree[at];
        let [first, second] = node.children();
        match if node.holds(windows, lane) { first } else { second } {
            Child::Leaf(value) => return value,
            // Always further on.
            Child::Node(next) => at = next,
        }
    }
}
