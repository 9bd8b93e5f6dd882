//! The values of a recipe, each with the place where it stands.
//!
//! The parser is `toml`: it keeps the span of every key and value, goes on after a syntax error so that
//! all of them can be told at once, and needs neither serde nor derived types, which would stop at the
//! first thing that is wrong.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::problem::Problem;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// These bytes of the file.
    File(Range<usize>),
    /// The `--set` with this number.
    Set(usize),
}

/// A value of TOML; what recipes have no use for is kept as [`Node::Other`], to be refused by name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Text(String),
    Integer(i64),
    Number(f64),
    Flag(bool),
    List(Vec<Value>),
    Table(Vec<Entry>),
    Other(&'static str),
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) node: Node,
    pub(crate) place: Place,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) place: Place,
    pub(crate) value: Value,
}

impl Value {
    /// What kind of value this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.node {
            Node::Text(_) => "a text",
            Node::Integer(_) => "a whole number",
            Node::Number(_) => "a number",
            Node::Flag(_) => "true or false",
            Node::List(_) => "a list",
            Node::Table(_) => "a table",
            Node::Other(what) => what,
        }
    }

    /// Whether this is that text.
    pub(crate) fn is_text(&self, text: &str) -> bool {
        matches!(&self.node, Node::Text(own) if own == text)
    }

    /// The value as it would be written, cut short where it is long.
    pub(crate) fn shown(&self) -> String {
        match &self.node {
            Node::Text(text) => format!("\"{text}\""),
            Node::Integer(number) => number.to_string(),
            Node::Number(number) => number.to_string(),
            Node::Flag(flag) => flag.to_string(),
            Node::List(_) | Node::Table(_) | Node::Other(_) => self.kind().to_owned(),
        }
    }
}

/// The tables of a file; what is wrong with its syntax is added to `problems`.
pub(crate) fn parse(text: &str, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        // An error without a span is about the whole; the parser gives one to all that it finds itself.
        let span = error.span().unwrap_or(0..0);
        let message = error.message().lines().next().unwrap_or_default();
        let message = message.trim_end_matches('.');
        problems.push(Problem::new(Place::File(span), format!("this is no TOML: {message}")));
    }
    entries(table.into_inner())
}

/// One value, as `--set` takes it: TOML, or text without quotes.
pub(crate) fn parse_set(text: &str, number: usize) -> Value {
    let node = match DeValue::parse(text) {
        Ok(value) => node(value.into_inner()),
        Err(_) => Node::Text(text.to_owned()),
    };
    let mut value = Value { node, place: Place::Set(number) };
    place_everywhere(&mut value, number);
    value
}

fn place_everywhere(value: &mut Value, number: usize) {
    value.place = Place::Set(number);
    match &mut value.node {
        Node::List(values) => values.iter_mut().for_each(|value| place_everywhere(value, number)),
        Node::Table(entries) => entries.iter_mut().for_each(|entry| {
            entry.place = Place::Set(number);
            place_everywhere(&mut entry.value, number);
        }),
        _ => {}
    }
}

/// The entries in the order of the file.
fn entries(table: DeTable<'_>) -> Vec<Entry> {
    let entry = |(key, value): (toml::Spanned<_>, toml::Spanned<DeValue<'_>>)| {
        let place = Place::File(key.span());
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        Entry { key: key.into_owned(), place, value: spanned(value) }
    };
    let mut entries: Vec<Entry> = table.into_iter().map(entry).collect();
    entries.sort_by_key(|entry| match &entry.place {
        Place::File(span) => span.start,
        Place::Set(number) => *number,
    });
    entries
}

fn spanned(value: toml::Spanned<DeValue<'_>>) -> Value {
    let place = Place::File(value.span());
    Value { node: node(value.into_inner()), place }
}

fn node(value: DeValue<'_>) -> Node {
    match value {
        DeValue::String(text) => Node::Text(text.into_owned()),
        DeValue::Integer(number) => {
            let digits = i64::from_str_radix(number.as_str(), number.radix());
            digits.map_or(Node::Other("a number with too many digits"), Node::Integer)
        }
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or(Node::Other("a number that cannot be read"), Node::Number),
        DeValue::Boolean(flag) => Node::Flag(flag),
        DeValue::Datetime(_) => Node::Other("a date"),
        DeValue::Array(values) => Node::List(values.into_iter().map(spanned).collect()),
        DeValue::Table(table) => Node::Table(entries(table)),
    }
}
