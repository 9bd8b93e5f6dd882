//! How a cut is spread over several steps.

use serde::Serialize;

/// The share of the whole cut that is done after each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Course {
    /// All at once, in the first step.
    OneShot,
    /// The same share in every step: `t / n`.
    Linear,
    /// Much at first, while much is redundant, and less and less: `1 - (1 - t / n)^3` (automated
    /// gradual pruning, Zhu and Gupta 2017, arXiv:1710.01878).
    Agp,
}

impl Course {
    /// The share that is done after step `step` of `steps`, from 0 before the first to 1 after the
    /// last.
    pub fn done(self, step: usize, steps: usize) -> f64 {
        let time = step.min(steps) as f64 / steps.max(1) as f64;
        match self {
            Course::OneShot if step == 0 => 0.0,
            Course::OneShot => 1.0,
            Course::Linear => time,
            Course::Agp => 1.0 - (1.0 - time).powi(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept_width;

    /// Measured with torch-pruning 1.6.1: 0.7 in five steps (semantics of the peers, "Widths").
    #[test]
    fn linear_steps_have_the_widths_of_torch_pruning() {
        for (channels, widths) in [(16, [13, 11, 9, 7, 4]), (24, [20, 17, 13, 10, 7])] {
            let kept = |step| kept_width(channels, Course::Linear.done(step, 5) * 0.7);
            assert_eq!([1, 2, 3, 4, 5].map(kept), widths);
        }
    }

    #[test]
    fn all_courses_end_with_the_whole_cut() {
        for course in [Course::OneShot, Course::Linear, Course::Agp] {
            assert_eq!([course.done(0, 4), course.done(4, 4), course.done(9, 4)], [0.0, 1.0, 1.0]);
        }
        assert_eq!([1, 2, 3].map(|t| Course::OneShot.done(t, 4)), [1.0; 3]);
        // 1 - 27/64, 1 - 8/64, 1 - 1/64
        assert_eq!([1, 2, 3].map(|t| Course::Agp.done(t, 4)), [0.578125, 0.875, 0.984375]);
    }
}
