//! Names that must not occur twice.

use std::collections::{BTreeMap, BTreeSet};

/// The names taken so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    taken: BTreeSet<String>,
    /// For a name that was asked for again, the number to try next.
    next: BTreeMap<String, u64>,
}

impl Names {
    /// Takes `name` where it is free.
    pub(crate) fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_owned())
    }

    /// Takes `name` or, where it is taken, the first free one of `name_2`, `name_3`, ...
    pub(crate) fn unique(&mut self, name: &str) -> String {
        if self.take(name) {
            return name.to_owned();
        }
        let next = self.next.entry(name.to_owned()).or_insert(2);
        loop {
            let candidate = format!("{name}_{next}");
            *next += 1;
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_taken_get_a_number() {
        let mut names = Names::default();
        assert!(names.take("x_2"));
        let given: Vec<String> = (0..4).map(|_| names.unique("x")).collect();
        assert_eq!(given, ["x", "x_3", "x_4", "x_5"]);
        assert!(!names.take("x_4"));
    }
}
