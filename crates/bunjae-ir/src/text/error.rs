//! What can be wrong with the text of a graph, and where.

use std::fmt;

use thiserror::Error;

use crate::attr::AttrError;
use crate::error::{GraphError, ShapeError};
use crate::types::TensorType;

/// Why a text is no graph: the problem, its place and the line.
///
/// Prints as `line:column: problem`, followed by the line with a caret under the place, so that a
/// path may be put before it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: usize,
    /// The character of the line, counted from 1; one past the last where something is missing.
    pub column: usize,
    /// What is wrong.
    #[source]
    pub problem: Box<ParseProblem>,
    /// The line, or the part of a long one around the place.
    pub excerpt: String,
    /// The characters of the excerpt before the place.
    pub caret: usize,
}

/// The longest part of a line that is quoted on each side of the place, in characters: weights of a
/// million elements stand on one line.
const EXCERPT: usize = 60;

impl ParseError {
    /// The error for the byte offset `at` of the line of the given number.
    pub(super) fn new(number: usize, line: &str, at: usize, problem: ParseProblem) -> Self {
        let (before, after) = line.split_at_checked(at).unwrap_or((line, ""));
        let column = before.chars().count() + 1;
        let head: Vec<char> = before.chars().rev().take(EXCERPT).collect();
        let tail: String = after.chars().take(EXCERPT).collect();
        let cut = |shown: usize, whole: &str| if shown < whole.len() { "..." } else { "" };
        let first = cut(head.iter().map(|c| c.len_utf8()).sum(), before);
        let caret = first.len() + head.len();
        let last = cut(tail.len(), after);
        let shown = head.into_iter().rev().chain(tail.chars());
        // A tab or an escape would move the caret away from its place.
        let shown: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        let excerpt = format!("{first}{shown}{last}").trim_end().to_string();
        ParseError { line: number, column, problem: Box::new(problem), excerpt, caret }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseError { line, column, problem, excerpt, caret } = self;
        let margin = line.to_string().len();
        writeln!(f, "{line}:{column}: {problem}")?;
        let quoted = format!(" {line} | {excerpt}");
        writeln!(f, "{}", quoted.trim_end())?;
        write!(f, " {:margin$} | {:caret$}^", "", "")
    }
}

/// What can be wrong with the text of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseProblem {
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What should stand here, in words.
        expected: String,
        /// What does.
        found: String,
    },
    /// A quoted text that never ends.
    #[error("the quoted text has no closing `\"`")]
    Unclosed,
    /// An escape that quoted text does not know.
    #[error("no escape begins like this; there are \\\" \\\\ \\n \\r \\t and \\u{{...}}")]
    Escape,
    /// A type that does not parse.
    #[error("{0}")]
    Type(String),
    /// A name that nothing above has.
    #[error("no {what} above is called `{name}`")]
    Unknown {
        /// "result", "input" or "weight".
        what: &'static str,
        /// The name, with its sign.
        name: String,
    },
    /// A name that was given before.
    #[error("{what} `{name}` is given twice")]
    Duplicate {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The operator or a setting does not exist, or does not fit.
    #[error(transparent)]
    Attr(#[from] AttrError),
    /// The operator does not accept its operands.
    #[error("{op}: {source}")]
    Operands {
        /// The operator's name.
        op: &'static str,
        /// The reason.
        source: ShapeError,
    },
    /// More or fewer results are named than there are.
    #[error("{op} has {}, but {named} {} named", results(*.found), if *.named == 1 { "is" } else { "are" })]
    Results {
        /// The operator's name.
        op: &'static str,
        /// The number of its results.
        found: usize,
        /// The number of names.
        named: usize,
    },
    /// The type on the line is not the one that inference gives.
    #[error("the result is {inferred}, not {written}")]
    ResultType {
        /// The type by inference.
        inferred: TensorType,
        /// The type on the line.
        written: TensorType,
    },
    /// Whatever else a graph refuses.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weight whose type holds symbols.
    #[error("the sizes of a weight have to be numbers, but this is {0}")]
    SymbolicWeight(TensorType),
    /// A weight that is too large for the text form.
    #[error("a weight of {count} elements; the text form takes at most {limit}")]
    TooLarge {
        /// The number of elements.
        count: usize,
        /// The largest number there may be.
        limit: usize,
    },
    /// A short text that asks for a lot of memory.
    #[error("the generated weights hold {count} elements together; there may be {limit}")]
    TooMuchGenerated {
        /// The number of elements of all generated weights so far.
        count: usize,
        /// The largest number there may be.
        limit: usize,
    },
    /// An element that is no number of the weight's type.
    #[error("`{text}` is no {dtype} value")]
    Element {
        /// What stands there.
        text: String,
        /// The weight's element type.
        dtype: bunjae_tensor::DType,
    },
    /// A weight with too many or too few elements.
    #[error("{ty} holds {expected} elements, but {found} are given")]
    Count {
        /// The weight's type.
        ty: TensorType,
        /// The number of elements of that type.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// A generator that does not make elements of the weight's type.
    #[error(
        "`rand` makes fractions, not {0}; for whole numbers there is `randint(seed=1, low=-3, high=3)`"
    )]
    Fractions(bunjae_tensor::DType),
    /// A range of which the lower end is above the upper one.
    #[error("`low` is {low}, above `high`, which is {high}")]
    Range {
        /// The lower end.
        low: i64,
        /// The upper end.
        high: i64,
    },
    /// A text that was printed without its values.
    #[error(
        "the values of this weight are elided: the text was printed for reading, not for parsing"
    )]
    Elided,
    /// A text whose values are kept elsewhere.
    #[error(
        "the values of this weight are kept apart from the text, in the file it was taken from"
    )]
    Apart,
    /// Lists in lists in lists.
    #[error("lists nest more than {0} deep")]
    TooDeep(usize),
}

fn results(count: usize) -> String {
    if count == 1 { "1 result".into() } else { format!("{count} results") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        let error = ParseError::new(12, "w @é\t: f32", 6, ParseProblem::Unclosed);
        assert_eq!(error.column, 6);
        assert_eq!(
            error.to_string(),
            "12:6: the quoted text has no closing `\"`\n 12 | w @é : f32\n    |      ^"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = "é".repeat(200) + "!" + &"b".repeat(200);
        let error = ParseError::new(1, &line, 400, ParseProblem::Unclosed);
        assert_eq!(error.column, 201);
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().collect();
        let place = lines[1].chars().position(|c| c == '!');
        assert_eq!(lines[2].chars().position(|c| c == '^'), place);
        assert!(lines[1].starts_with(" 1 | ...é") && lines[1].ends_with("b..."), "{text}");
        assert!(lines[1].chars().count() < 140);
    }

    #[test]
    fn a_place_past_the_end_is_at_the_end() {
        let error = ParseError::new(3, "out", 99, ParseProblem::Unclosed);
        assert_eq!((error.column, error.caret), (4, 3));
    }
}
