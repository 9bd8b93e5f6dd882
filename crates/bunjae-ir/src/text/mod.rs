//! The text form of a graph: what people read, what golden tests are written in, and what parses
//! back to the same graph.
//!
//! One statement a line. Canonical text is what [`Graph::to_text`] prints; the parser also takes
//! other blanks, other result numbers, comments and the generators below.
//!
//! ```text
//! graph @tiny
//! meta "bunjae.labels" = "cat,dog"
//! in   %x: f32[N,3,8,8]
//! w    @c1.w: f32[4,3,3,3] = rand(seed=1)
//! w    @bn.mean: f32[4] frozen = [0, 0.5, -1, 2]
//! %1 = conv2d %x, @c1.w {pad=[1,1,1,1]} : f32[N,4,8,8] ; "layer1.0"
//! %2, %3 = split %1 {sizes=[2,2]} : f32[N,2,8,8], f32[N,2,8,8]
//! out  %2 ; "logits"
//! ```
//!
//! - The first statement is `graph @name`.
//! - `meta "key" = "value"` is text that travels with the model.
//! - `in` is an input, `w` a weight; `frozen` is a weight that training leaves alone. A weight's
//!   value is the list of its elements in row-major order, or a generator: `zeros`, `ones`,
//!   `full(0.5)`, `rand(seed=1)` (uniform in [-1, 1)), `randint(seed=1, low=-3, high=3)` (both ends
//!   included). A printed graph never holds generators. In a file that keeps the elements beside the
//!   text, the value is the place where they are: `at(128)` ([`Graph::parse_apart`]).
//! - A node names its results by numbers, then stand its operator, operands, settings that differ
//!   from the defaults, the types of its results, which have to be what inference gives, and its
//!   name.
//! - `out` is an output and, after `;`, its name.
//! - Inputs, weights and nodes are listed in the order in which they were added to the graph, and
//!   used only after that.
//! - Names of other characters than letters, digits and `_ . / -`, and names of inputs that begin
//!   with a digit, are quoted: `%"1"`. Quoted text knows the escapes `\"`, `\\`, `\n`, `\r`, `\t` and
//!   `\u{1f}`.
//! - A line that begins with `;` is a comment.

mod cursor;
mod error;
mod parse;
mod print;
mod value;

pub use error::{ParseError, ParseProblem};
pub use print::Weights;

use bunjae_tensor::{DType, Tensor, TensorError};

use crate::graph::Graph;

impl Graph {
    /// Reads the text form.
    ///
    /// Every node is inferred and checked as by [`Graph::push_multi`]. What is wrong with a graph
    /// only as a whole, such as that it has no outputs, is left to [`Graph::verify`].
    ///
    /// # Errors
    /// [`ParseError`] says what is wrong where; reading stops at the first problem.
    pub fn parse(text: &str) -> Result<Graph, ParseError> {
        parse::graph(text, None)
    }

    /// Reads a text form in which weights stand as `at(128)`, their elements being kept elsewhere:
    /// `read` finds those of a type and shape at a place. Other values are refused, so that the
    /// text asks for no memory of its own.
    ///
    /// # Errors
    /// As [`Graph::parse`]; and what `read` returns.
    pub fn parse_apart(
        text: &str,
        mut read: impl FnMut(DType, &[usize], u64) -> Result<Tensor, TensorError>,
    ) -> Result<Graph, ParseError> {
        parse::graph(text, Some(&mut read))
    }

    /// The text form for [`Graph::parse_apart`]: `place` says where the elements of a weight are
    /// kept, and is asked in the order of the weights.
    pub fn to_text_apart(&self, place: impl FnMut(&Tensor) -> u64) -> String {
        print::graph_apart(self, place)
    }

    /// The canonical text form, with the weights' values or without.
    pub fn to_text(&self, weights: Weights) -> String {
        print::graph(self, weights)
    }
}

impl std::fmt::Display for Graph {
    /// The canonical text form with the values of all weights.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text(Weights::Full))
    }
}

/// True for a character of a name that needs no quotes.
fn is_plain_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

/// True for a name that needs no quotes.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_plain_char)
}

/// True for an input's name that needs no quotes; numbers stand for results.
fn is_plain_input(name: &str) -> bool {
    is_plain(name) && !name.starts_with(|c: char| c.is_ascii_digit())
}
