//! Which buffers share memory.
//!
//! Every buffer is needed from its first step to its last. Those whose spans meet must not overlap
//! in memory; the others may. Buffers are placed one after the other, each into the smallest gap
//! between the buffers already placed that live at the same time, or behind them all. Two orders are
//! tried. The largest first leaves the gaps to the small ones: on chains of layers that meets the
//! bound, the largest sum of buffers alive at one step. Those that live longest first suits a step of
//! training, where what the forward pass keeps is needed in reverse order. Some buffers have their
//! places already; they count as placed before all others.

/// A buffer as the planner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// The first step that writes it.
    pub first: usize,
    /// The last step that uses it.
    pub last: usize,
    /// Bytes.
    pub len: usize,
}

impl Lifetime {
    fn meets(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The place of each buffer, at multiples of `align`, and the bytes needed in all. `fixed` are buffers
/// with the places that they have already; of those that meet none overlap.
pub(super) fn place(
    buffers: &[Lifetime],
    fixed: &[(usize, usize)],
    align: usize,
) -> (Vec<usize>, usize) {
    let by_size = place_by(buffers, fixed, align, |own| own.len);
    let by_span = place_by(buffers, fixed, align, |own| own.last.saturating_sub(own.first));
    if by_span.1 < by_size.1 { by_span } else { by_size }
}

/// The same, the buffers of the greatest `rank` first.
fn place_by(
    buffers: &[Lifetime],
    fixed: &[(usize, usize)],
    align: usize,
    rank: impl Fn(&Lifetime) -> usize,
) -> (Vec<usize>, usize) {
    let mut starts = vec![0; buffers.len()];
    let mut free = vec![true; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for &(index, start) in fixed {
        starts[index] = start;
        free[index] = false;
        total = total.max(start + buffers[index].len.next_multiple_of(align));
        placed.push(index);
    }
    let mut order: Vec<usize> = (0..buffers.len()).filter(|index| free[*index]).collect();
    order.sort_by_key(|&index| {
        let own = &buffers[index];
        (std::cmp::Reverse((rank(own), own.len)), index)
    });
    for index in order {
        let own = &buffers[index];
        let len = own.len.next_multiple_of(align);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| own.meets(&buffers[other]))
            .map(|&other| (starts[other], starts[other] + buffers[other].len))
            .collect();
        taken.sort_unstable();
        let mut best: Option<(usize, usize)> = None;
        let mut end = 0usize;
        for (start, stop) in taken {
            let begin = end.next_multiple_of(align);
            if start >= begin + len && best.is_none_or(|(gap, _)| start - begin < gap) {
                best = Some((start - begin, begin));
            }
            end = end.max(stop);
        }
        starts[index] = best.map_or(end.next_multiple_of(align), |(_, begin)| begin);
        total = total.max(starts[index] + len);
        placed.push(index);
    }
    (starts, total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunjae_tensor::Random;

    fn overlaps(a: (usize, usize), b: (usize, usize)) -> bool {
        a.0 < b.0 + b.1 && b.0 < a.0 + a.1
    }

    #[test]
    fn buffers_that_live_together_never_overlap() {
        let mut shared = 0;
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let buffers: Vec<Lifetime> = (0..1 + random.below(40))
                .map(|_| {
                    let first = random.below(30);
                    let last = first + random.below(8);
                    Lifetime { first, last, len: 1 + random.below(2000) }
                })
                .collect();
            // In every second try two of them have their places.
            let fixed: Vec<(usize, usize)> = match seed % 2 {
                0 => Vec::new(),
                _ => (0..buffers.len().min(2)).map(|at| (at, at * 2048)).collect(),
            };
            let (starts, total) = place(&buffers, &fixed, 64);
            for &(index, start) in &fixed {
                assert_eq!(starts[index], start);
            }
            for (i, a) in buffers.iter().enumerate() {
                assert_eq!(starts[i] % 64, 0);
                assert!(starts[i] + a.len <= total);
                for (j, b) in buffers.iter().enumerate().take(i) {
                    let overlap = overlaps((starts[i], a.len), (starts[j], b.len));
                    assert!(!(overlap && a.meets(b)), "seed {seed}: {i} {a:?} and {j} {b:?}");
                    shared += usize::from(overlap);
                }
            }
        }
        assert!(shared > 1000, "hardly anything is shared: {shared}");
    }

    #[test]
    fn a_chain_takes_its_two_largest_neighbours() {
        let lens = [100, 700, 300, 300, 64, 900];
        let buffers: Vec<Lifetime> = lens
            .iter()
            .enumerate()
            .map(|(at, &len)| Lifetime { first: at, last: at + 1, len: len * 64 })
            .collect();
        assert_eq!(place(&buffers, &[], 64).1, 1000 * 64);
    }
}
