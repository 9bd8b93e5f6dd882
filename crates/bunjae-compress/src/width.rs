//! How many channels stay.

/// The number of channels that stay of `channels` at a pruning ratio of `ratio`:
/// `int(channels * (1 - ratio))` in f64, at least 1.
///
/// The arithmetic is that of torch-pruning, to the bit: 24 channels at 0.7 keep 7, because
/// `24 * (1 - 0.7)` is 7.199999999999999.
pub fn kept_width(channels: usize, ratio: f64) -> usize {
    let kept = (channels as f64 * (1.0 - ratio)) as usize;
    kept.clamp(1.min(channels), channels)
}

/// Rounds the number of channels that stay, so that `kept * unit` is a multiple of `multiple`.
///
/// `unit` is the number of indices that one channel takes on an axis: the number of groups of a
/// grouped convolution, 1 elsewhere. The nearest multiple is taken, the lower one of two. Where
/// that would remove nothing although something was to be removed, the next lower multiple is
/// taken, and where there is none the number stays as it was: rounding never turns a cut into no
/// cut, nor into an empty layer.
pub(crate) fn round_width(channels: usize, kept: usize, unit: usize, multiple: usize) -> usize {
    let step = multiple / gcd(multiple, unit.max(1));
    if step <= 1 || kept >= channels {
        return kept;
    }
    let lower = kept / step * step;
    let nearest = if kept - lower > step / 2 { lower + step } else { lower };
    match nearest.max(step) {
        rounded if rounded < channels => rounded,
        _ => match (channels - 1) / step * step {
            0 => kept,
            lower => lower,
        },
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_torch_pruning() {
        // Measured: semantics of the peers, "Widths".
        for (channels, ratio, kept) in [
            (16, 0.3, 11),
            (16, 0.5, 8),
            (16, 0.7, 4),
            (24, 0.3, 16),
            (24, 0.5, 12),
            (24, 0.7, 7),
            (128, 0.3, 89),
            (32, 0.3, 22),
        ] {
            assert_eq!(kept_width(channels, ratio), kept, "{channels} at {ratio}");
        }
        assert_eq!(kept_width(1, 0.9), 1);
        assert_eq!(kept_width(0, 0.9), 0);
        assert_eq!(kept_width(8, 0.0), 8);
    }

    #[test]
    fn rounding_never_removes_nothing() {
        // The peer leaves all three alone: its remainder falls to zero.
        assert_eq!(round_width(24, 7, 1, 8), 8);
        assert_eq!(round_width(24, 16, 1, 8), 16);
        assert_eq!(round_width(24, 23, 1, 8), 16);
        // Four groups of eight: a multiple of 8 in all is a multiple of 2 in each group.
        assert_eq!(round_width(8, 6, 4, 8), 6);
        assert_eq!(round_width(8, 5, 4, 8), 4);
        assert_eq!(round_width(8, 2, 4, 8), 2);
        assert_eq!(round_width(8, 2, 4, 16), 4);
        // No multiple of 16 lies under 12.
        assert_eq!(round_width(12, 7, 1, 16), 7);
        assert_eq!(round_width(12, 12, 1, 8), 12);
        assert_eq!(round_width(12, 1, 1, 8), 8);
    }
}
