//! What is said when something cannot be done: what was wrong, where, and the way out.

use std::fmt::Display;

/// An error on its way to the user.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What was wrong and where; may have several lines.
    pub(crate) what: String,
    /// Ways out, a sentence each.
    pub(crate) hints: Vec<String>,
}

/// What a step of a command returns.
pub(crate) type Fallible<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(what: impl Display) -> Self {
        Failure { what: what.to_string(), hints: Vec::new() }
    }

    /// Adds a way out.
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// Adds a way out where there is one.
    pub(crate) fn maybe_hint(self, hint: Option<impl Display>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }
}

/// The name that was probably meant, where one is similar enough.
pub(crate) fn closest<'a>(
    asked: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Below this similarity (of 1) a suggestion misleads more often than it helps.
    const SIMILAR: f64 = 0.6;
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(asked, name);
    known
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        // Of equals the first one.
        .fold(None, |best: Option<(f64, &str)>, found| match best {
            Some(best) if best.0 >= found.0 => Some(best),
            _ => Some(found),
        })
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn only_similar_names_are_suggested() {
        let known = ["layer1.0.conv1", "layer1.0.conv2", "fc"];
        assert_eq!(closest("layer1.0.conv3", known), Some("layer1.0.conv1"));
        assert_eq!(closest("layer1.conv2", known), Some("layer1.0.conv2"));
        assert_eq!(closest("stem", known), None);
    }
}
