//! `--set key=value`: settings from the command line, in the place of those in the file.

use crate::problem::Problem;
use crate::value::{Entry, Node, Place, Value, parse_set};

/// Puts a value where it would stand in the file.
pub(crate) fn apply(
    entries: &mut Vec<Entry>,
    number: usize,
    text: &str,
    problems: &mut Vec<Problem>,
) {
    let place = Place::Set(number);
    let Some((path, value)) = text.split_once('=') else {
        problems.push(
            Problem::new(place, "this has no value")
                .hint("expected KEY=VALUE, such as `epochs=1` or `train.teacher.epochs=1`"),
        );
        return;
    };
    let value = parse_set(value.trim(), number);
    let (keys, last) = match keys(path) {
        Some(keys) => keys,
        None => {
            problems.push(Problem::new(place, format!("`{}` is no key", path.trim())).hint(
                "a key is a setting, such as `epochs`, or one of a stage, such as \
                 `train.teacher.epochs`",
            ));
            return;
        }
    };
    let mut tables = entries;
    for key in keys {
        let at = match tables.iter().position(|entry| entry.key == key) {
            Some(at) => at,
            None => {
                let value = Value { node: Node::Table(Vec::new()), place: place.clone() };
                tables.push(Entry { key: key.clone(), place: place.clone(), value });
                tables.len() - 1
            }
        };
        match &mut tables[at].value.node {
            Node::Table(entries) => tables = entries,
            _ => {
                let what = format!("`{key}` is a setting and has none of its own");
                problems.push(Problem::new(place, what));
                return;
            }
        }
    }
    let new = Entry { key: last, place, value };
    match tables.iter_mut().find(|entry| entry.key == new.key) {
        Some(entry) => *entry = new,
        None => tables.push(new),
    }
}

/// The tables and the key that a path leads to. The name of a stage may have points; no kind and no
/// setting has.
fn keys(path: &str) -> Option<(Vec<String>, String)> {
    let parts: Vec<&str> = path.split('.').map(str::trim).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let (last, tables) = parts.split_last()?;
    let tables = match tables {
        [] => Vec::new(),
        [kind] => vec![(*kind).to_owned()],
        [kind, name @ ..] => vec![(*kind).to_owned(), name.join(".")],
    };
    Some((tables, (*last).to_owned()))
}
