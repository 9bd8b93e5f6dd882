//! What can be wrong with what was asked for.

use bunjae_ir::GraphError;
use bunjae_tensor::TensorError;
use thiserror::Error;

use crate::ARCHITECTURES;
use crate::options::Width;

/// Why an architecture cannot be built.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ZooError {
    /// No architecture has the name.
    #[error("no architecture is called `{name}`{}; known are {}", did_you_mean(*.similar), known())]
    Unknown {
        /// The name asked for.
        name: String,
        /// The one that was probably meant.
        similar: Option<&'static str>,
    },
    /// A classifier for no classes.
    #[error("a network needs at least one class")]
    NoClasses,
    /// Pictures without pixels or channels.
    #[error("pictures of {0:?} (channels, height, width) are empty")]
    EmptyInput([usize; 3]),
    /// The architecture cannot be made that wide.
    #[error("`{architecture}` takes {takes}, not {found}")]
    Width {
        /// The architecture's name.
        architecture: &'static str,
        /// What it takes.
        takes: String,
        /// What was asked for.
        found: Width,
    },
    /// A layer does not accept its operands: the pictures are too small, or too large.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weight that cannot be made.
    #[error("{name}: {source}")]
    Weight {
        /// The weight's name.
        name: String,
        /// The reason.
        source: TensorError,
    },
}

impl ZooError {
    pub(crate) fn unknown(name: &str) -> ZooError {
        let closest = ARCHITECTURES
            .iter()
            .map(|architecture| (distance(name, architecture.name), architecture.name))
            .min_by_key(|(distance, _)| *distance);
        let similar = closest.filter(|(distance, close)| distance * 3 <= close.len());
        ZooError::Unknown { name: name.to_string(), similar: similar.map(|(_, close)| close) }
    }
}

fn did_you_mean(similar: Option<&str>) -> String {
    similar.map_or(String::new(), |name| format!(" (did you mean `{name}`?)"))
}

fn known() -> String {
    ARCHITECTURES.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", ")
}

/// The number of letters to add, drop or change to make one name of the other (Levenshtein).
fn distance(asked: &str, name: &str) -> usize {
    let name: Vec<char> = name.chars().collect();
    // Distances from the letters of `asked` so far to each beginning of `name`.
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (at, letter) in asked.chars().enumerate() {
        let mut diagonal = at;
        row[0] = at + 1;
        for (column, other) in name.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_letters() {
        for (asked, name, expected) in [
            ("", "", 0),
            ("", "vgg16", 5),
            ("vgg16", "vgg16", 0),
            ("vgg19", "vgg16", 1),
            ("gg16", "vgg16", 1),
            ("vgg-16", "vgg16", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(asked, name), expected, "{asked} {name}");
            assert_eq!(distance(name, asked), expected, "{name} {asked}");
        }
    }
}
