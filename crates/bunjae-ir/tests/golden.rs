//! Runs the golden files of this crate.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bunjae_ir::{Bindings, Graph, Op, Source, Weights};
use bunjae_testkit::golden::{self, Command};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn golden_files_hold() {
    let commands = [
        ("print", Command::Graph(print)),
        ("error", Command::Text(error)),
        ("infer", Command::Graph(infer)),
    ];
    golden::check(&folder(), &commands);
}

/// The canonical text, which has to parse back to the same graph; after `elided` without the values
/// of long weights.
fn print(graph: &Graph, words: &[&str]) -> Result<String, String> {
    let text = graph.to_string();
    match Graph::parse(&text) {
        Ok(back) if back == *graph && back.to_string() == text => {}
        Ok(_) => return Err(format!("the text parses to another graph:\n{text}")),
        Err(error) => return Err(format!("the text does not parse: {error}\n{text}")),
    }
    match words {
        [] => Ok(text),
        ["elided"] => Ok(graph.to_text(Weights::Elided)),
        words => Err(format!("what is {words:?}?")),
    }
}

/// What the parser or the verifier has to say. Text without faults has no place here.
fn error(text: &str, _: &[&str]) -> Result<String, String> {
    let graph = match Graph::parse(text) {
        Ok(graph) => graph,
        Err(error) => return Ok(error.to_string()),
    };
    match graph.verify() {
        Ok(()) => Err("the graph is sound".into()),
        Err(errors) => Ok(errors.iter().map(|error| format!("{error}\n")).collect()),
    }
}

/// The types of all results: as they depend on symbols, and, for the sizes given as `H=33`, as they
/// are. Both ways to them have to agree: inference on symbols, then the sizes; the sizes, then
/// inference on numbers.
fn infer(graph: &Graph, sizes: &[&str]) -> Result<String, String> {
    let mut bindings = Bindings::new();
    for size in sizes {
        let (name, value) = size.split_once('=').ok_or("a size is written as `H=33`")?;
        bindings.insert(name.into(), value.parse().map_err(|_| format!("`{value}` is no size"))?);
    }
    let bound = graph.bind(&bindings).map_err(|error| error.to_string())?;
    let mut text = String::new();
    for (id, value) in graph.values() {
        if !matches!(value.source, Source::Node { .. }) {
            continue;
        }
        let from_symbols = value.ty.shape(&bindings).map_err(|error| error.to_string())?;
        let from_numbers = bound.ty(id).fixed_shape();
        let label = graph.label(id);
        if from_numbers.as_ref() != Some(&from_symbols) {
            let found = format!("{from_symbols:?} from symbols, {from_numbers:?} from numbers");
            return Err(format!("{label}: {found}"));
        }
        writeln!(text, "{label}: {} = {from_symbols:?}", value.ty).map_err(|e| e.to_string())?;
    }
    Ok(text)
}

#[test]
fn every_operator_is_printed() {
    let path = folder().join("print_operators.irt");
    let text = std::fs::read_to_string(path).unwrap();
    let printed = |name: &str| {
        text.lines().any(|line| line.starts_with("; %") && line.contains(&format!(" = {name} ")))
    };
    let missing: Vec<&str> = Op::names().filter(|name| !printed(name)).collect();
    assert_eq!(missing, [""; 0]);
}
