//! How well two rankings agree.

use serde::Serialize;

/// Two coefficients of rank correlation, each from -1 to 1; none where one of the rankings has no
/// order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Correlation {
    /// Spearman's rho: Pearson's coefficient of the ranks, equal values sharing the mean of theirs.
    pub spearman: Option<f64>,
    /// Kendall's tau-b, which takes ties into account.
    pub kendall: Option<f64>,
}

impl Correlation {
    /// Of pairs of values, in the same order.
    pub fn of(a: &[f64], b: &[f64]) -> Correlation {
        Correlation { spearman: pearson(&ranks(a), &ranks(b)), kendall: kendall(a, b) }
    }

    /// The mean of several, of those that have an order.
    pub fn mean(all: &[Correlation]) -> Correlation {
        let mean = |get: fn(&Correlation) -> Option<f64>| {
            let known: Vec<f64> = all.iter().filter_map(get).collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        Correlation { spearman: mean(|own| own.spearman), kendall: mean(|own| own.kendall) }
    }
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|&at| ranks[at] = mean);
        before += equal.len();
    }
    ranks
}

fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        ab += (a - mean_a) * (b - mean_b);
        aa += (a - mean_a) * (a - mean_a);
        bb += (b - mean_b) * (b - mean_b);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// `(concordant - discordant) / sqrt(pairs without a tie in a * pairs without a tie in b)`.
fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    let sign = |x: f64, y: f64| i64::from(x > y) - i64::from(x < y);
    let (mut sum, mut untied_a, mut untied_b) = (0i64, 0i64, 0i64);
    for i in 0..a.len().min(b.len()) {
        for j in 0..i {
            let (in_a, in_b) = (sign(a[i], a[j]), sign(b[i], b[j]));
            sum += in_a * in_b;
            untied_a += in_a.abs();
            untied_b += in_b.abs();
        }
    }
    let product = untied_a as f64 * untied_b as f64;
    (product > 0.0).then(|| sum as f64 / product.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &[f64], b: &[f64], spearman: f64, kendall: f64) {
        let found = Correlation::of(a, b);
        let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
        assert!(near(found.spearman, spearman) && near(found.kendall, kendall), "{found:?}");
    }

    #[test]
    fn equal_orders_agree_and_opposite_ones_do_not() {
        check(&[1.0, 2.0, 9.0], &[-3.0, 0.0, 0.5], 1.0, 1.0);
        check(&[1.0, 2.0, 9.0], &[3.0, 0.0, -0.5], -1.0, -1.0);
    }

    /// `1 - 6 * sum of d^2 / (n (n^2 - 1))` with the differences of ranks 2, 0, 1, 3, 0; of the ten
    /// pairs four are in the other order: (6 - 4) / 10. Then 2, 0, 2, 0, 0, and three pairs.
    #[test]
    fn coefficients_are_those_of_their_formulas() {
        check(
            &[1.0, 2.0, 3.0, 4.0, 5.0],
            &[3.0, 2.0, 4.0, 1.0, 5.0],
            1.0 - 6.0 * 14.0 / 120.0,
            0.2,
        );
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], &[3.0, 2.0, 1.0, 4.0, 5.0], 1.0 - 6.0 * 8.0 / 120.0, 0.4);
    }

    /// Ranks 1.5, 1.5, 3, 4 and 1, 2.5, 2.5, 4: Pearson's sums 3.75, 4.5 and 4.5. Of six pairs five
    /// are untied in each, and four in both, all in the same order.
    #[test]
    fn ties_share_a_rank() {
        check(&[1.0, 1.0, 2.0, 3.0], &[0.0, 5.0, 5.0, 6.0], 3.75 / 4.5, 4.0 / 5.0);
    }

    #[test]
    fn without_an_order_there_is_no_correlation() {
        assert_eq!(Correlation::of(&[1.0, 1.0], &[1.0, 2.0]), Correlation::default());
        assert_eq!(Correlation::of(&[], &[]), Correlation::default());
        let mean = Correlation::mean(&[
            Correlation { spearman: Some(0.5), kendall: None },
            Correlation { spearman: Some(1.0), kendall: None },
            Correlation::default(),
        ]);
        assert_eq!(mean, Correlation { spearman: Some(0.75), kendall: None });
    }
}
