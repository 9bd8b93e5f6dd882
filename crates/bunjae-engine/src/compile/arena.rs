//! Which buffers share memory.
//!
//! Every buffer is needed from its first step to its last. Those whose spans meet must not overlap
//! in memory; the others may. Buffers are placed from the largest to the smallest, each into the
//! smallest gap between the buffers already placed that live at the same time, or behind them all.
//! (Placing the large ones first leaves the gaps to the small ones; the bound is the largest sum of
//! buffers alive at one step, and on chains of layers it is met.)

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

/// The place of each buffer, at multiples of `align`, and the bytes needed in all.
pub(super) fn place(buffers: &[Lifetime], align: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(buffers[index].len), index));
    let mut starts = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
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
            let (starts, total) = place(&buffers, 64);
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
        assert_eq!(place(&buffers, 64).1, 1000 * 64);
    }
}
