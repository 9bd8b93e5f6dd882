//! Many windows around one thing become one box.

/// A window that passed all stages, or the mean of several, in whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// The first column.
    pub left: i32,
    /// The first row.
    pub top: i32,
    /// Columns.
    pub width: i32,
    /// Rows.
    pub height: i32,
}

/// Windows that were taken for one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Their mean.
    pub window: Window,
    /// How many they are.
    pub count: usize,
}

impl Window {
    /// Whether no side is further away from that of the other than `likeness` times the mean of the
    /// smaller sides.
    fn like(&self, other: &Window, likeness: f64) -> bool {
        let sides = self.width.min(other.width) + self.height.min(other.height);
        let apart = likeness * f64::from(sides) * 0.5;
        let near = |a: i32, b: i32| f64::from((a - b).abs()) <= apart;
        near(self.left, other.left)
            && near(self.top, other.top)
            && near(self.left + self.width, other.left + other.width)
            && near(self.top + self.height, other.top + other.height)
    }
}

/// Groups windows as OpenCV's `groupRectangles` does: windows that are alike, or are connected by
/// others that are, make a group, whose box is their mean. Groups of no more than `min_neighbours`
/// are dropped, and so is one inside of a larger group's box that is better supported. With 0
/// neighbours every window stays as it is.
///
/// The order of the windows does not change the groups, only their order. Sides below a million
/// pixels are expected.
pub fn group(windows: &[Window], min_neighbours: usize, likeness: f64) -> Vec<Group> {
    if min_neighbours == 0 {
        return windows.iter().map(|&window| Group { window, count: 1 }).collect();
    }
    let mut groups = means(windows, likeness);
    groups.retain(|group| group.count > min_neighbours);
    let inside = |one: &Group, other: &Group| {
        let (a, b) = (&one.window, &other.window);
        let [across, down] = [b.width, b.height].map(|side| rounded(f64::from(side) * likeness));
        let within = a.left >= b.left - across
            && a.top >= b.top - down
            && a.left + a.width <= b.left + b.width + across
            && a.top + a.height <= b.top + b.height + down;
        within && (other.count > one.count.max(3) || one.count < 3)
    };
    let hidden = |at: usize| {
        let one = &groups[at];
        groups.iter().enumerate().any(|(other_at, other)| other_at != at && inside(one, other))
    };
    (0..groups.len()).filter(|&at| !hidden(at)).map(|at| groups[at]).collect()
}

/// The means of connected windows, in the order of each group's first window.
fn means(windows: &[Window], likeness: f64) -> Vec<Group> {
    // By the left side, so that only windows in reach are compared.
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by_key(|&at| windows[at].left);
    let mut parents: Vec<usize> = (0..windows.len()).collect();
    for (place, &one) in order.iter().enumerate() {
        let window = &windows[one];
        // Nothing that is alike is further away, as the smaller sides count.
        let reach = likeness * f64::from(window.width + window.height) * 0.5;
        for &other in &order[place + 1..] {
            if f64::from(windows[other].left - window.left) > reach {
                break;
            }
            if window.like(&windows[other], likeness) {
                let (a, b) = (root(&mut parents, one), root(&mut parents, other));
                // The first window stands for its group.
                parents[a.max(b)] = a.min(b);
            }
        }
    }
    let mut sums: Vec<([i64; 4], usize)> = vec![([0; 4], 0); windows.len()];
    for (at, window) in windows.iter().enumerate() {
        let (sum, count) = &mut sums[root(&mut parents, at)];
        let sides = [window.left, window.top, window.width, window.height];
        for (sum, side) in sum.iter_mut().zip(sides) {
            *sum += i64::from(side);
        }
        *count += 1;
    }
    let mean = |(sums, count): ([i64; 4], usize)| {
        // In f32 by the reciprocal, as OpenCV has it.
        let share = 1.0 / count as f32;
        let [left, top, width, height] = sums.map(|sum| rounded(f64::from(sum as f32 * share)));
        Group { window: Window { left, top, width, height }, count }
    };
    sums.into_iter().filter(|(_, count)| *count > 0).map(mean).collect()
}

/// The window that stands for the group of this one; shortens the way to it.
fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

/// The nearest whole number, and of two the even one.
fn rounded(value: f64) -> i32 {
    value.round_ties_even() as i32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(left: i32, top: i32, side: i32) -> Window {
        Window { left, top, width: side, height: side }
    }

    #[test]
    fn enough_neighbours_make_a_box_of_their_mean() {
        let windows = [window(10, 10, 40), window(12, 10, 40), window(13, 12, 42)];
        // 35 / 3 = 11.67, 32 / 3 = 10.67, 122 / 3 = 40.67
        let mean = Group { window: window(12, 11, 41), count: 3 };
        assert_eq!(group(&windows, 2, 0.2), [mean]);
        assert_eq!(group(&windows, 3, 0.2), []);
        assert_eq!(group(&windows, 0, 0.2).len(), 3);
    }

    #[test]
    fn neighbours_of_neighbours_belong_together() {
        // 8 pixels are 0.2 of 40; the ends are 14 apart.
        let windows = [window(0, 0, 40), window(14, 0, 40), window(7, 0, 40)];
        assert_eq!(group(&windows, 2, 0.2), [Group { window: window(7, 0, 40), count: 3 }]);
        let apart = [window(0, 0, 40), window(9, 0, 40)];
        assert_eq!(group(&apart, 1, 0.2), []);
    }

    #[test]
    fn a_small_box_in_a_better_large_one_is_dropped() {
        let mut windows = vec![window(0, 0, 100); 5];
        windows.extend([window(30, 30, 30); 2]);
        assert_eq!(group(&windows, 1, 0.2), [Group { window: window(0, 0, 100), count: 5 }]);
        // Better supported than the large one, it stays.
        windows.extend([window(30, 30, 30); 4]);
        assert_eq!(group(&windows, 1, 0.2).len(), 2);
    }

    /// As it is written down, without an order that saves comparisons.
    fn plain(windows: &[Window], likeness: f64) -> Vec<usize> {
        let mut labels: Vec<usize> = (0..windows.len()).collect();
        loop {
            let before = labels.clone();
            for a in 0..windows.len() {
                for b in 0..windows.len() {
                    if windows[a].like(&windows[b], likeness) {
                        let least = labels[a].min(labels[b]);
                        (labels[a], labels[b]) = (least, least);
                    }
                }
            }
            if labels == before {
                return labels;
            }
        }
    }

    proptest! {
        #[test]
        fn groups_are_the_classes_of_likeness_in_any_order(
            sides in prop::collection::vec((0i32..120, 0i32..60, 10i32..60), 1..40),
            turn in 0usize..40,
        ) {
            let mut windows: Vec<Window> =
                sides.iter().map(|&(left, top, side)| window(left, top, side)).collect();
            let labels = plain(&windows, 0.2);
            let mut counts: Vec<usize> = (0..windows.len())
                .map(|label| labels.iter().filter(|&&other| other == label).count())
                .filter(|&count| count > 0)
                .collect();
            let found = means(&windows, 0.2);
            prop_assert_eq!(found.iter().map(|group| group.count).collect::<Vec<_>>(), counts.clone());
            let turn = turn % windows.len();
            windows.rotate_left(turn);
            let mut turned: Vec<usize> =
                means(&windows, 0.2).iter().map(|group| group.count).collect();
            turned.sort_unstable();
            counts.sort_unstable();
            prop_assert_eq!(turned, counts);
            // Fewer neighbours ask for less.
            let boxes = |neighbours| group(&windows, neighbours, 0.2);
            prop_assert!(boxes(3).iter().all(|group| group.count > 3));
            prop_assert_eq!(boxes(0).len(), windows.len());
        }
    }
}
