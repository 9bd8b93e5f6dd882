//! The canonical text form.

use std::fmt::Write;

use super::value::write_elements;
use super::{is_plain, is_plain_input};
use crate::graph::{Graph, Node, Source, TensorId, Value};
use bunjae_tensor::Tensor;

/// Whether weights are printed with their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// All values, so that the text parses back.
    Full,
    /// Only the values of weights with at most 16 elements, and a hash of the others: text for
    /// people, which does not parse back.
    Elided,
}

/// The most elements that [`Weights::Elided`] prints.
const SHORT: usize = 16;

/// Where the types and the names of nodes stand, unless the line is longer: fixed, so that a change
/// of one line leaves the others alone.
const TYPE_COLUMN: usize = 48;
const NAME_COLUMN: usize = 72;

/// Writing to a string cannot fail.
macro_rules! put {
    ($text:expr, $($arg:tt)*) => {{ let _ = write!($text, $($arg)*); }};
}

/// Prints a graph.
pub(super) fn graph(graph: &Graph, weights: Weights) -> String {
    graph_with(graph, |tensor, text| {
        if weights == Weights::Full || tensor.len() <= SHORT {
            write_elements(tensor, text);
        } else {
            put!(text, "elided(hash={:016x})", hash(tensor));
        }
    })
}

/// Prints a graph whose weights' elements are kept elsewhere.
pub(super) fn graph_apart(graph: &Graph, mut place: impl FnMut(&Tensor) -> u64) -> String {
    graph_with(graph, |tensor, text| put!(text, "at({})", place(tensor)))
}

/// Prints a graph; `value` writes the values of a weight.
fn graph_with(graph: &Graph, mut value: impl FnMut(&Tensor, &mut String)) -> String {
    let mut text = String::new();
    put!(text, "graph @{}\n", quoted_unless(is_plain(&graph.name), &graph.name));
    for (key, value) in &graph.metadata {
        put!(text, "meta {} = {}\n", quoted(key), quoted(value));
    }
    // The order of the tensors is the order in which the graph was built, which is what parses back
    // to the same ids. Only results are numbered.
    let mut numbers = vec![0u64; graph.value_count()];
    let mut results = 0;
    for (id, Value { ty, source }) in graph.values() {
        match source {
            Source::Input { name } => {
                put!(text, "in   {}: {ty}\n", input(name));
            }
            Source::Weight { name, tensor, trainable } => {
                let frozen = if *trainable { "" } else { " frozen" };
                put!(text, "w    {}: {ty}{frozen} = ", weight(name));
                value(tensor, &mut text);
                text.push('\n');
            }
            Source::Node { node, slot } => {
                results += 1;
                if let Some(number) = numbers.get_mut(id.index()) {
                    *number = results;
                }
                let node = graph.node(*node);
                if slot + 1 == node.outputs.len() {
                    node_line(graph, node, &numbers, &mut text);
                }
            }
        }
    }
    for output in graph.outputs() {
        let mut line = format!("out  {}", name(graph, output.tensor, &numbers));
        if !output.name.is_empty() {
            put!(line, " ; {}", quoted(&output.name));
        }
        put!(text, "{line}\n");
    }
    text
}

fn node_line(graph: &Graph, node: &Node, numbers: &[u64], text: &mut String) {
    let names = |ids: &[TensorId]| {
        ids.iter().map(|&id| name(graph, id, numbers)).collect::<Vec<_>>().join(", ")
    };
    let mut line = format!("{} = {}", names(&node.outputs), node.op.name());
    if !node.inputs.is_empty() {
        put!(line, " {}", names(&node.inputs));
    }
    let attrs = node.op.attrs();
    if !attrs.is_empty() {
        let attrs: Vec<String> =
            attrs.iter().map(|(name, attr)| format!("{name}={attr}")).collect();
        put!(line, " {{{}}}", attrs.join(", "));
    }
    let types: Vec<String> = node.outputs.iter().map(|&id| graph.ty(id).to_string()).collect();
    line = format!("{line:TYPE_COLUMN$} : {}", types.join(", "));
    if !node.name.is_empty() {
        line = format!("{line:NAME_COLUMN$} ; {}", quoted(&node.name));
    }
    put!(text, "{line}\n");
}

/// What stands for a tensor.
fn name(graph: &Graph, id: TensorId, numbers: &[u64]) -> String {
    match &graph.value(id).source {
        Source::Input { name } => input(name),
        Source::Weight { name, .. } => weight(name),
        Source::Node { .. } => {
            format!("%{}", numbers.get(id.index()).copied().unwrap_or_default())
        }
    }
}

fn input(name: &str) -> String {
    format!("%{}", quoted_unless(is_plain_input(name), name))
}

fn weight(name: &str) -> String {
    format!("@{}", quoted_unless(is_plain(name), name))
}

fn quoted_unless(plain: bool, text: &str) -> String {
    if plain { text.to_string() } else { quoted(text) }
}

/// The text in quotes, with escapes for what would end the quotes or the line.
fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            '\n' => result.push_str("\\n"),
            '\r' => result.push_str("\\r"),
            '\t' => result.push_str("\\t"),
            c if c.is_control() => put!(result, "\\u{{{:x}}}", u32::from(c)),
            c => result.push(c),
        }
    }
    result.push('"');
    result
}

/// FNV-1a over the bytes of a tensor, 64 bits: enough to see that a weight has changed.
fn hash(tensor: &Tensor) -> u64 {
    tensor.bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
