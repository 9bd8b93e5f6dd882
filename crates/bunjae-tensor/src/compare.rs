//! Comparison of tensors with a tolerance.

use crate::Tensor;

/// How far two numbers may lie apart: `|a - b| <= absolute + relative * |b|`, b being the
/// reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The absolute part.
    pub absolute: f64,
    /// The part in proportion to the reference.
    pub relative: f64,
}

impl Tolerance {
    /// No difference at all; 0 and -0 count as equal, and so do two NaNs.
    pub const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0 };

    /// Absolute and relative part alike.
    pub const fn both(value: f64) -> Self {
        Tolerance { absolute: value, relative: value }
    }

    fn allows(self, value: f64, reference: f64) -> bool {
        if value.is_nan() || reference.is_nan() {
            return value.is_nan() && reference.is_nan();
        }
        // An infinite reference would make the relative part infinite, and allow everything.
        value == reference
            || reference.is_finite()
                && (value - reference).abs() <= self.absolute + self.relative * reference.abs()
    }
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The largest absolute difference; infinite where one is NaN or infinite and the other not.
    pub largest: f64,
    /// The largest absolute difference over the largest absolute value of the reference.
    pub largest_relative: f64,
    /// The number of elements outside the tolerance.
    pub outside: usize,
    /// The number of elements that are NaN in both. They count as equal, but prove nothing.
    pub undefined: usize,
    /// The first element outside: its flat index, the value, the reference.
    pub first: Option<(usize, f64, f64)>,
}

impl Difference {
    /// True where no element lies outside the tolerance.
    pub fn is_within(&self) -> bool {
        self.outside == 0
    }
}

/// Compares `value` with `reference` element by element.
///
/// # Errors
/// A sentence that names both where the shapes differ.
pub fn compare(
    value: &Tensor,
    reference: &Tensor,
    tolerance: Tolerance,
) -> Result<Difference, String> {
    if value.shape() != reference.shape() {
        return Err(format!("shape {:?} differs from {:?}", value.shape(), reference.shape()));
    }
    let (values, references) = (value.to_f64_vec(), reference.to_f64_vec());
    let mut difference =
        Difference { largest: 0.0, largest_relative: 0.0, outside: 0, undefined: 0, first: None };
    let mut scale = 0f64;
    for (index, (&a, &b)) in values.iter().zip(&references).enumerate() {
        let apart = (a - b).abs();
        if b.is_finite() {
            scale = scale.max(b.abs());
        }
        let undefined = a.is_nan() && b.is_nan();
        difference.undefined += usize::from(undefined);
        let same = a == b || undefined;
        difference.largest = match (same, apart.is_nan()) {
            (true, _) => difference.largest,
            (false, true) => f64::INFINITY,
            (false, false) => difference.largest.max(apart),
        };
        if !tolerance.allows(a, b) {
            difference.outside += 1;
            difference.first.get_or_insert((index, a, b));
        }
    }
    if difference.largest > 0.0 {
        difference.largest_relative = difference.largest / scale.max(f64::MIN_POSITIVE);
    }
    Ok(difference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(values: &[f32]) -> Tensor {
        Tensor::from_slice(&[values.len()], values).unwrap()
    }

    #[test]
    fn nan_and_infinity_are_not_swallowed() {
        let reference = vector(&[1.0, f32::NAN, f32::INFINITY, -0.0]);
        let same = compare(&reference, &reference, Tolerance::EXACT).unwrap();
        assert!(same.is_within() && same.largest == 0.0);
        assert_eq!(same.undefined, 1);
        let broken = vector(&[f32::NAN, 1.0, f32::NEG_INFINITY, 0.0]);
        let found = compare(&broken, &reference, Tolerance::both(1e9)).unwrap();
        assert_eq!(found.outside, 3);
        assert_eq!(found.largest, f64::INFINITY);
    }

    #[test]
    fn tolerance_is_absolute_plus_relative() {
        let reference = vector(&[100.0, 0.0]);
        let tolerance = Tolerance { absolute: 0.5, relative: 0.01 };
        assert!(compare(&vector(&[101.4, 0.4]), &reference, tolerance).unwrap().is_within());
        let found = compare(&vector(&[101.4, 0.6]), &reference, tolerance).unwrap();
        assert_eq!(found.first.map(|(index, ..)| index), Some(1));
        assert!(compare(&vector(&[1.0]), &reference, tolerance).is_err());
    }
}
