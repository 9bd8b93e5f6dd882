//! An axis: where values lie, linear or by their logarithm, with ticks at round numbers.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::number;

/// Figures that are further apart than this factor are shown by their logarithm.
const WIDE: f64 = 8.0;

/// How numbers at ticks are written.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// With a prefix: `10 M`.
    Count,
    /// As a percentage.
    Share,
    /// In binary units: `4 KiB`.
    Bytes,
}

/// One axis of a chart.
#[derive(Clone)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
    unit: Unit,
}

impl Axis {
    /// An axis over all values with some room around them; by the logarithm where they are positive
    /// and far apart.
    pub(crate) fn around(values: impl Iterator<Item = f64> + Clone, unit: Unit) -> Axis {
        let (low, high) = extent(values);
        let logarithmic = low > 0.0 && high / low > WIDE;
        let room = 0.12;
        let (low, high) = match logarithmic {
            true => {
                let factor = (high / low).powf(room);
                (low / factor, high * factor)
            }
            false => {
                let span = if high > low { high - low } else { (0.1 * high.abs()).max(1e-3) };
                let below = low - room * span;
                // No room for what cannot be.
                let below = if low >= 0.0 { below.max(0.0) } else { below };
                (below, high + room * span)
            }
        };
        let high = match unit {
            Unit::Share if high > 1.0 && low < 1.0 => 1.0 + 0.03 * (1.0 - low),
            _ => high,
        };
        Axis::new(low, high, logarithmic, unit)
    }

    /// An axis from zero to a bit over the largest value.
    pub(crate) fn from_zero(values: impl Iterator<Item = f64> + Clone, unit: Unit) -> Axis {
        let (_, high) = extent(values);
        let high = if high > 0.0 { high } else { 1.0 };
        Axis::new(0.0, 1.05 * high, false, unit)
    }

    /// An axis from one whole number to another.
    pub(crate) fn whole(first: f64, last: f64) -> Axis {
        let last = if last > first { last } else { first + 1.0 };
        let mut axis = Axis::new(first, last, false, Unit::Count);
        axis.ticks.retain(|tick| tick.fract() == 0.0);
        axis
    }

    fn new(low: f64, high: f64, logarithmic: bool, unit: Unit) -> Axis {
        let mut axis = Axis { low, high, logarithmic, ticks: Vec::new(), unit };
        axis.ticks = match logarithmic {
            true => logarithmic_ticks(low, high, unit),
            false => linear_ticks(low, high, unit),
        };
        axis
    }

    /// The place of a value between two places.
    pub(crate) fn place(&self, value: f64, start: i32, end: i32) -> i32 {
        self.map(&value, (start, end))
    }

    /// Whether distances are factors.
    pub(crate) fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }
}

/// The smallest and the largest value; of none, 0 and 1.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let extent = finite.fold(None, |extent: Option<(f64, f64)>, value| match extent {
        Some((low, high)) => Some((low.min(value), high.max(value))),
        None => Some((value, value)),
    });
    extent.unwrap_or((0.0, 1.0))
}

/// Ticks at 1, 2 or 5 times a power of ten, or at a power of two for bytes, as close as makes no more
/// than seven of them.
fn linear_ticks(low: f64, high: f64, unit: Unit) -> Vec<f64> {
    const GAPS: f64 = 6.0;
    let least = (high - low) / GAPS;
    let step = match unit {
        Unit::Bytes => least.log2().ceil().exp2(),
        _ => {
            let ten = 10f64.powf(least.log10().floor());
            let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * ten >= least);
            step.unwrap_or(10.0) * ten
        }
    };
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|tick| tick as f64 * step).collect()
}

/// Ticks at powers of ten, and at 2 and 5 between them where there are few.
fn logarithmic_ticks(low: f64, high: f64, unit: Unit) -> Vec<f64> {
    if let Unit::Bytes = unit {
        return powers_of_two(low, high);
    }
    let decades = || (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let at = |factors: &'static [f64]| -> Vec<f64> {
        let ticks = decades().flat_map(|power| factors.iter().map(move |f| f * 10f64.powi(power)));
        ticks.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let all = [&[1.0][..], &[1.0, 3.0], &[1.0, 2.0, 5.0]].map(at);
    let enough = all.iter().find(|ticks| ticks.len() >= 3);
    enough.or(all.last()).cloned().unwrap_or_default()
}

/// Ticks at powers of two, all as far apart as makes no more than six of them.
fn powers_of_two(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log2().ceil() as i32, high.log2().floor() as i32);
    let apart = usize::try_from((last - first) / 6 + 1).unwrap_or(1);
    (first..=last).step_by(apart).map(|power| f64::from(power).exp2()).collect()
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let scale = |value: f64| match self.logarithmic {
            true => value.max(f64::MIN_POSITIVE).ln(),
            false => value,
        };
        let (low, high) = (scale(self.low), scale(self.high));
        let share = if high > low { (scale(*value) - low) / (high - low) } else { 0.5 };
        start + (share * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        match self.unit {
            Unit::Count => number::scaled(*value),
            Unit::Share => format!("{} %", number::digits(100.0 * value, 4)),
            Unit::Bytes => number::bytes(*value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|tick| axis.format_ext(tick)).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        let shares = Axis::around([0.91, 0.985].into_iter(), Unit::Share);
        assert_eq!(labels(&shares), ["92 %", "94 %", "96 %", "98 %"]);
        let times = Axis::from_zero([2.31].into_iter(), Unit::Count);
        assert_eq!(labels(&times), ["0", "0.5", "1", "1.5", "2"]);
        let counts = Axis::around([6e3, 165e6].into_iter(), Unit::Count);
        assert!(counts.is_logarithmic());
        assert_eq!(labels(&counts), ["10 k", "100 k", "1 M", "10 M", "100 M"]);
        let sizes = Axis::around([95e3, 860e3].into_iter(), Unit::Bytes);
        assert_eq!(labels(&sizes), ["128 KiB", "256 KiB", "512 KiB", "1 MiB"]);
        let near = Axis::around([1.0, 9.0].into_iter(), Unit::Count);
        assert_eq!(labels(&near), ["1", "3", "10"]);
        assert_eq!(labels(&Axis::whole(1.0, 10.0)), ["2", "4", "6", "8", "10"]);
        assert_eq!(labels(&Axis::whole(1.0, 2.0)), ["1", "2"]);
    }

    #[test]
    fn shares_end_at_one_and_counts_begin_at_zero() {
        let shares = Axis::around([0.5, 1.0].into_iter(), Unit::Share);
        assert!(shares.high < 1.03, "{}", shares.high);
        let counts = Axis::around([1.0, 2.0].into_iter(), Unit::Count);
        assert!(counts.low >= 0.0);
    }

    #[test]
    fn one_value_none_and_strange_ones_have_an_axis() {
        for values in [vec![], vec![0.0], vec![3.0], vec![f64::NAN, f64::INFINITY], vec![-1.0, 1.0]]
        {
            for unit in [Unit::Count, Unit::Share, Unit::Bytes] {
                for axis in [
                    Axis::around(values.iter().copied(), unit),
                    Axis::from_zero(values.iter().copied(), unit),
                ] {
                    assert!(axis.low < axis.high, "{values:?}");
                    let ends = [axis.low, axis.high].map(|value| axis.place(value, 0, 100));
                    assert_eq!(ends, [0, 100], "{values:?}");
                    assert!(axis.ticks.len() < 20, "{:?}", axis.ticks);
                }
            }
        }
    }
}
