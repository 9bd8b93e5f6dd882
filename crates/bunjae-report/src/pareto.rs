//! Which models are worth choosing: those that no other one beats.

/// What a model costs and what it is good for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The less the better.
    pub cost: f64,
    /// The more the better.
    pub gain: f64,
}

impl Point {
    /// Whether this point is at least as good in both and better in one.
    pub fn beats(self, other: Point) -> bool {
        self.cost <= other.cost
            && self.gain >= other.gain
            && (self.cost < other.cost || self.gain > other.gain)
    }
}

/// For each point, whether it is on the Pareto front: no other point beats it. Points that lie on
/// each other do not beat each other. A point that holds no number is on no front.
///
/// ```
/// use bunjae_report::pareto::{Point, front};
///
/// let points = [(1.0, 0.90), (2.0, 0.95), (3.0, 0.94)].map(|(cost, gain)| Point { cost, gain });
/// assert_eq!(front(&points), [true, true, false]);
/// ```
pub fn front(points: &[Point]) -> Vec<bool> {
    // Two zeros are one number, but `total_cmp` tells them apart.
    let plain = |point: &Point| Point { cost: point.cost + 0.0, gain: point.gain + 0.0 };
    let points: Vec<Point> = points.iter().map(plain).collect();
    let known = |at: &usize| !points[*at].cost.is_nan() && !points[*at].gain.is_nan();
    let mut order: Vec<usize> = (0..points.len()).filter(known).collect();
    // By cost, and of equal costs the best first: whoever does not exceed the best gain before it is
    // beaten, unless it lies on that point.
    order.sort_by(|&a, &b| {
        let (a, b) = (points[a], points[b]);
        a.cost.total_cmp(&b.cost).then(b.gain.total_cmp(&a.gain))
    });
    let mut on = vec![false; points.len()];
    let mut best: Option<Point> = None;
    for at in order {
        let point = points[at];
        on[at] = best.is_none_or(|best| point.gain > best.gain || point == best);
        if on[at] {
            best = Some(point);
        }
    }
    on
}
