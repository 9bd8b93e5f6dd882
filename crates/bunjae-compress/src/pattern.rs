//! Patterns for the names of layers.

use std::fmt;

use wildmatch::WildMatch;

/// A pattern for a layer's name in which `*` stands for any text and `?` for one character.
///
/// It matches the whole name or everything below it: `layer1` matches `layer1.0.conv1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    text: String,
    whole: WildMatch,
    below: WildMatch,
}

impl Pattern {
    /// The pattern written as `text`.
    pub fn new(text: &str) -> Self {
        Pattern {
            text: text.to_string(),
            whole: WildMatch::new(text),
            below: WildMatch::new(&format!("{text}.*")),
        }
    }

    /// True where the pattern fits the name of a layer.
    pub fn matches(&self, name: &str) -> bool {
        self.whole.matches(name) || self.below.matches(name)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_what_lies_below() {
        for (pattern, name, expected) in [
            ("layer1", "layer1", true),
            ("layer1", "layer1.0.conv1", true),
            ("layer1", "layer10.0", false),
            ("*.conv2", "layer1.0.conv2", true),
            ("layer?.0", "layer2.0.conv1", true),
            ("conv", "layer1.0.conv", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} on {name}");
        }
    }
}
