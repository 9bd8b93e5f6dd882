//! Reading the text form, statement by statement.

use std::collections::BTreeMap;

use super::cursor::{Cursor, Name};
use super::error::{ParseError, ParseProblem};
use super::value::{self, Reader};
use crate::attr::{Attr, AttrError, AttrMap};
use crate::graph::{Graph, TensorId};
use crate::op::Op;
use crate::types::TensorType;

/// Settings are lists of lists at most; more is no operator's.
const MAX_NESTING: usize = 8;

type Parsed<T> = Result<T, ParseError>;

/// Reads a graph. Where there is a reader, the elements of weights are kept elsewhere.
pub(super) fn graph(text: &str, mut apart: Option<Reader<'_>>) -> Parsed<Graph> {
    let mut parser: Option<Parser<'_>> = None;
    let mut last = (1, "");
    for (number, line) in (1..).zip(text.lines()) {
        let mut cursor = Cursor::new(number, line);
        last = (number, line);
        if cursor.at_end() || cursor.peek() == Some(';') {
            continue;
        }
        match &mut parser {
            Some(parser) => parser.statement(&mut cursor)?,
            None => parser = Some(Parser::new(&mut cursor, apart.take())?),
        }
    }
    match parser {
        Some(parser) => Ok(parser.graph),
        None => {
            let (number, line) = last;
            let (expected, found) = ("`graph @name`".into(), "the end of the text".into());
            Err(ParseError::new(
                number,
                line,
                line.len(),
                ParseProblem::Expected { expected, found },
            ))
        }
    }
}

struct Parser<'r> {
    graph: Graph,
    results: BTreeMap<u64, TensorId>,
    inputs: BTreeMap<String, TensorId>,
    weights: BTreeMap<String, TensorId>,
    /// The number of elements that generators have made.
    generated: usize,
    apart: Option<Reader<'r>>,
}

impl<'r> Parser<'r> {
    /// Reads `graph @name`.
    fn new(cursor: &mut Cursor<'_>, apart: Option<Reader<'r>>) -> Parsed<Parser<'r>> {
        let mut start = cursor.clone();
        if cursor.word() != "graph" {
            return Err(start.expected("`graph @name` as the first statement"));
        }
        let name = cursor.global("the graph's name")?;
        end(cursor)?;
        Ok(Parser {
            graph: Graph::new(&name),
            results: BTreeMap::new(),
            inputs: BTreeMap::new(),
            weights: BTreeMap::new(),
            generated: 0,
            apart,
        })
    }

    fn statement(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        if cursor.peek() == Some('%') {
            return self.node(cursor);
        }
        let mut start = cursor.clone();
        match cursor.word() {
            "in" => self.input(cursor),
            "w" => self.weight(cursor),
            "out" => self.output(cursor),
            "meta" => self.metadata(cursor),
            _ => Err(start.expected("`in`, `w`, `out`, `meta` or the results of a node")),
        }
    }

    /// Reads `"key" = "value"`.
    fn metadata(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        let at = cursor.place();
        let key = cursor.string("the key in quotes")?;
        cursor.expect('=', "after the key")?;
        let value = cursor.string("the value in quotes")?;
        end(cursor)?;
        if self.graph.metadata.contains_key(&key) {
            return Err(cursor.error_at(at, ParseProblem::Duplicate { what: "the key", name: key }));
        }
        self.graph.metadata.insert(key, value);
        Ok(())
    }

    /// Reads `%x: f32[N,3,8,8]`.
    fn input(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        let at = cursor.place();
        let name = match cursor.tensor()? {
            Some(Name::Input(name)) => name,
            Some(Name::Result(number)) => {
                let expected = format!("an input's name; this one needs quotes: `%\"{number}\"`");
                let found = format!("`%{number}`");
                return Err(cursor.error_at(at, ParseProblem::Expected { expected, found }));
            }
            Some(Name::Weight(_)) | None => {
                return Err(Cursor::clone(cursor).expected("`%` and the input's name"));
            }
        };
        cursor.expect(':', "and the input's type")?;
        let ty = cursor.tensor_type()?;
        end(cursor)?;
        let id = self.graph.input(&name, ty).map_err(|error| cursor.error_at(at, error))?;
        self.inputs.insert(name, id);
        Ok(())
    }

    /// Reads `@c1.w: f32[4,3,3,3] frozen = [...]`.
    fn weight(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        let at = cursor.place();
        let name = cursor.global("the weight's name")?;
        cursor.expect(':', "and the weight's type")?;
        let ty = cursor.tensor_type()?;
        let mut start = cursor.clone();
        let trainable = match cursor.word() {
            "" => true,
            "frozen" => false,
            _ => return Err(start.expected("`frozen` or `=`")),
        };
        cursor.expect('=', "and the weight's value")?;
        let tensor = match &mut self.apart {
            Some(read) => value::read_apart(cursor, &ty, read)?,
            None => value::read(cursor, &ty, &mut self.generated)?,
        };
        end(cursor)?;
        let added = self.graph.add_weight(&name, tensor, trainable);
        let id = added.map_err(|error| cursor.error_at(at, error))?;
        self.weights.insert(name, id);
        Ok(())
    }

    /// Reads `%2 ; "logits"`.
    fn output(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        let at = cursor.place();
        let Some(tensor) = self.operand(cursor)? else {
            return Err(cursor.expected("the tensor that is an output"));
        };
        let name = trailing_name(cursor)?;
        self.graph.output(&name, tensor).map_err(|error| cursor.error_at(at, error))
    }

    /// Reads `%2, %3 = split %1 {sizes=[2,2]} : f32[N,2,8,8], f32[N,2,8,8] ; "name"`.
    fn node(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        let mut numbers = Vec::new();
        loop {
            let at = cursor.place();
            let mut start = cursor.clone();
            match cursor.tensor()? {
                Some(Name::Result(number)) => {
                    let taken = numbers.iter().any(|&(_, other)| other == number);
                    if taken || self.results.contains_key(&number) {
                        let name = format!("%{number}");
                        return Err(cursor
                            .error_at(at, ParseProblem::Duplicate { what: "the result", name }));
                    }
                    numbers.push((at, number));
                }
                _ => return Err(start.expected("the number of a result, such as `%1`")),
            }
            if !cursor.eat(',') {
                break;
            }
        }
        cursor.expect('=', "and an operator")?;
        let op_at = cursor.place();
        let name = cursor.word();
        if name.is_empty() {
            return Err(cursor.expected("an operator"));
        }
        let mut operands = Vec::new();
        if let Some(first) = self.operand(cursor)? {
            operands.push(first);
            while cursor.eat(',') {
                match self.operand(cursor)? {
                    Some(operand) => operands.push(operand),
                    None => return Err(cursor.expected("another operand")),
                }
            }
        }
        let op = operator(cursor, op_at, name)?;
        if !cursor.eat(':') {
            let types = self.inferred(&op, &operands);
            let types = types.map_err(|problem| cursor.error_at(op_at, problem))?;
            return Err(cursor.expected(format!("`: {}`", listed(&types))));
        }
        let types_at = cursor.place();
        let mut types = Vec::new();
        loop {
            types.push((cursor.place(), cursor.tensor_type()?));
            if !cursor.eat(',') {
                break;
            }
        }
        let node_name = trailing_name(cursor)?;
        let inferred = self.inferred(&op, &operands);
        let inferred = inferred.map_err(|problem| cursor.error_at(op_at, problem))?;
        if inferred.len() != numbers.len() {
            let at = numbers.first().map_or(0, |&(at, _)| at);
            let (op, found, named) = (op.name(), inferred.len(), numbers.len());
            return Err(cursor.error_at(at, ParseProblem::Results { op, found, named }));
        }
        if inferred.len() != types.len() {
            let (expected, found) = (format!("`{}`", listed(&inferred)), types.len());
            let found = if found == 1 { "1 type".into() } else { format!("{found} types") };
            return Err(cursor.error_at(types_at, ParseProblem::Expected { expected, found }));
        }
        for (inferred, (at, written)) in inferred.into_iter().zip(types) {
            if inferred != written {
                return Err(cursor.error_at(at, ParseProblem::ResultType { inferred, written }));
            }
        }
        let results = self.graph.push_multi(&node_name, op, &operands);
        let results = results.map_err(|error| cursor.error_at(op_at, error))?;
        self.results.extend(numbers.iter().map(|&(_, number)| number).zip(results));
        Ok(())
    }

    /// The types of the results of `op`.
    fn inferred(&self, op: &Op, operands: &[TensorId]) -> Result<Vec<TensorType>, ParseProblem> {
        let operands: Vec<&TensorType> = operands.iter().map(|&id| self.graph.ty(id)).collect();
        let inferred = op.infer_sized(&operands);
        inferred.map_err(|source| ParseProblem::Operands { op: op.name(), source })
    }

    /// Reads what stands for a tensor that was added above; nothing where none stands here.
    fn operand(&self, cursor: &mut Cursor<'_>) -> Parsed<Option<TensorId>> {
        let at = cursor.place();
        let Some(name) = cursor.tensor()? else { return Ok(None) };
        let (what, id, name) = match name {
            Name::Result(number) => ("result", self.results.get(&number), format!("%{number}")),
            Name::Input(name) => ("input", self.inputs.get(&name), format!("%{name}")),
            Name::Weight(name) => ("weight", self.weights.get(&name), format!("@{name}")),
        };
        match id {
            Some(&id) => Ok(Some(id)),
            None => Err(cursor.error_at(at, ParseProblem::Unknown { what, name })),
        }
    }
}

/// Reads the settings, if there are any, and makes the operator.
fn operator(cursor: &mut Cursor<'_>, op_at: usize, name: &str) -> Parsed<Op> {
    let mut map = AttrMap::default();
    let mut places = BTreeMap::new();
    if cursor.eat('{') && !cursor.eat('}') {
        loop {
            let at = cursor.place();
            let attribute = cursor.word();
            if attribute.is_empty() {
                return Err(cursor.expected("the name of a setting"));
            }
            cursor.expect('=', "and the value of the setting")?;
            if !map.insert(attribute, setting(cursor, 0)?) {
                let (what, name) = ("the setting", attribute.to_string());
                return Err(cursor.error_at(at, ParseProblem::Duplicate { what, name }));
            }
            places.insert(attribute, at);
            if !cursor.eat(',') {
                break;
            }
        }
        cursor.expect('}', "or `,` after a setting")?;
    }
    Op::from_attrs(name, map).map_err(|error| {
        let at = match &error {
            AttrError::Operator(_) => None,
            AttrError::Attribute { attribute, .. } => places.get(attribute.as_str()),
            AttrError::Value { attribute, .. } => places.get(attribute),
        };
        cursor.error_at(at.copied().unwrap_or(op_at), error)
    })
}

/// Reads the value of a setting.
fn setting(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<Attr> {
    let at = cursor.place();
    if depth > MAX_NESTING {
        return Err(cursor.error_at(at, ParseProblem::TooDeep(MAX_NESTING)));
    }
    if cursor.eat('[') {
        let mut items = Vec::new();
        if cursor.eat(']') {
            return Ok(Attr::List(items));
        }
        loop {
            items.push(setting(cursor, depth + 1)?);
            if !cursor.eat(',') {
                cursor.expect(']', "or `,` in the list")?;
                return Ok(Attr::List(items));
            }
        }
    }
    let mut start = cursor.clone();
    let word =
        cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-'));
    Ok(match word {
        "" => return Err(start.expected("a number, a word or a list")),
        "true" => Attr::Bool(true),
        "false" => Attr::Bool(false),
        word => match word.parse() {
            Ok(whole) => Attr::Int(whole),
            // What begins like a word is one, among them `inf` and `NaN`.
            Err(_) => match word.parse() {
                Ok(number) if word.contains(|c: char| c.is_ascii_digit()) => Attr::Float(number),
                _ => Attr::Word(word.to_string()),
            },
        },
    })
}

/// Reads `; "name"`, if it stands there, and the end of the line.
fn trailing_name(cursor: &mut Cursor<'_>) -> Parsed<String> {
    let name = if cursor.eat(';') {
        cursor.string("a name in quotes (comments stand on lines of their own)")?
    } else {
        String::new()
    };
    end(cursor)?;
    Ok(name)
}

fn end(cursor: &mut Cursor<'_>) -> Parsed<()> {
    match cursor.peek() {
        None => Ok(()),
        Some(';') => {
            Err(cursor.expected("the end of the line (comments stand on lines of their own)"))
        }
        Some(_) => Err(cursor.expected("the end of the line")),
    }
}

fn listed(types: &[TensorType]) -> String {
    types.iter().map(TensorType::to_string).collect::<Vec<_>>().join(", ")
}
