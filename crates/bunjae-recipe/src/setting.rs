//! The values of settings: whether they are of the right form, and what they are on a command line.

use std::path::{Path, PathBuf};

use crate::problem::{Problem, closest};
use crate::schema::{Form, Setting, is_share, share_of};
use crate::value::{Node, Place, Value};

/// What a setting is on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The option alone, or nothing.
    Flag(bool),
    /// The option with each of these values.
    Texts(Vec<String>),
    /// The option with each of these files or folders.
    Paths(Vec<PathBuf>),
}

impl Argument {
    /// The one value that a setting without lists has.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Argument::Texts(texts) => texts.first().map(String::as_str),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        self.text()?.parse().ok()
    }
}

/// One of the values that a setting takes in turn, and what it adds to the name of a stage.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) argument: Argument,
    pub(crate) label: String,
}

/// What paths are relative to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base<'a> {
    /// The folder of the recipe. Paths in `--set` are relative to where the program runs.
    pub(crate) folder: &'a Path,
    /// The names of the architectures.
    pub(crate) architectures: &'a [&'a str],
}

impl Base<'_> {
    /// The path that a text at this place means.
    pub(crate) fn path(&self, text: &str, place: &Place) -> PathBuf {
        match place {
            Place::File(_) => self.folder.join(text),
            Place::Set(_) => PathBuf::from(text),
        }
    }
}

/// The values of a setting: one, or several where a list fans out. The second result says whether it
/// does.
pub(crate) fn choices(
    setting: &Setting,
    value: &Value,
    base: Base<'_>,
    problems: &mut Vec<Problem>,
) -> (Vec<Choice>, bool) {
    let is_list = |value: &Value| matches!(value.node, Node::List(_));
    let alternatives = match &value.node {
        Node::List(values) if takes_list(setting.form) => {
            values.iter().any(is_list).then_some(values)
        }
        Node::List(values) => Some(values),
        _ => None,
    };
    let Some(values) = alternatives else {
        let choice = argument(setting, value, base).map_err(|problem| problems.push(problem));
        return (choice.ok().map(labelled).into_iter().collect(), false);
    };
    if values.is_empty() {
        let what = format!("`{}` is an empty list, which leaves no stage", setting.name);
        problems.push(Problem::new(value.place.clone(), what));
    }
    let mut choices = Vec::new();
    for value in values {
        match argument(setting, value, base) {
            Ok(argument) => choices.push(labelled(argument)),
            Err(problem) => problems.push(problem),
        }
    }
    twice(setting.name, choices.iter().map(|choice| &*choice.label), values, problems);
    (choices, true)
}

/// Says where an entry of a list is there twice.
pub(crate) fn twice<'a>(
    what: &str,
    labels: impl Iterator<Item = &'a str>,
    values: &[Value],
    problems: &mut Vec<Problem>,
) {
    let labels: Vec<&str> = labels.collect();
    // Entries that were refused have no label, and then places would be wrong.
    if labels.len() != values.len() {
        return;
    }
    for (at, (label, value)) in labels.iter().zip(values).enumerate() {
        if labels[..at].contains(label) {
            let what = format!("`{what}` has {} twice", value.shown());
            problems.push(Problem::new(value.place.clone(), what).hint("leave one out"));
        }
    }
}

fn takes_list(form: Form) -> bool {
    matches!(form, Form::Numbers { .. } | Form::Texts { .. })
}

fn labelled(argument: Argument) -> Choice {
    let text = match &argument {
        Argument::Flag(flag) => flag.to_string(),
        Argument::Texts(texts) => texts.join("+"),
        Argument::Paths(paths) => {
            let names = paths.iter().map(|path| path.file_stem().unwrap_or_default());
            names.map(|name| name.to_string_lossy()).collect::<Vec<_>>().join("+")
        }
    };
    Choice { argument, label: label(&text) }
}

/// A text as a part of a file's name.
pub(crate) fn label(text: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+') {
        true => c,
        false => '_',
    };
    text.chars().map(plain).collect()
}

/// One value as an argument.
fn argument(setting: &Setting, value: &Value, base: Base<'_>) -> Result<Argument, Problem> {
    let name = setting.name;
    let wrong = |expected: &str| {
        let what = format!("`{name}` is {expected}, not {}", value.shown());
        Problem::new(value.place.clone(), what)
    };
    let one = |text: String| Ok(Argument::Texts(vec![text]));
    match (setting.form, &value.node) {
        (Form::Flag, Node::Flag(flag)) => Ok(Argument::Flag(*flag)),
        (Form::Flag, _) => Err(wrong("true or false")),
        (Form::Count { least }, Node::Integer(number))
            if *number >= 0 && *number as u64 >= least =>
        {
            one(number.to_string())
        }
        (Form::Count { least }, _) => Err(wrong(&format!("a whole number from {least} on"))),
        (Form::Number { least, over, most }, Node::Integer(_) | Node::Number(_)) => {
            let number = number(value);
            let fits = number >= least && !(over && number <= least) && number <= most;
            match fits && number.is_finite() {
                true => one(number.to_string()),
                false => Err(wrong(&range(least, over, most))),
            }
        }
        (Form::Number { least, over, most }, _) => Err(wrong(&range(least, over, most))),
        (Form::Share, Node::Integer(_) | Node::Number(_)) => share(number(value), &wrong),
        (Form::Share, Node::Text(text)) if is_share(text) => {
            one(share_of(text).unwrap_or(0.0).to_string())
        }
        (Form::Share, _) => Err(wrong("a share between 0 and 1, such as 0.3 or \"30%\"")),
        (Form::Word(words), Node::Text(text)) => {
            word(words, text, &wrong).map(|()| text.clone()).and_then(one)
        }
        (Form::Word(words), _) => Err(wrong(&format!("one of {}", words.join(", ")))),
        (Form::Words(words), Node::Text(text)) => {
            text.split(',').try_for_each(|part| word(words, part.trim(), &wrong))?;
            one(text.split(',').map(str::trim).collect::<Vec<_>>().join(","))
        }
        (Form::Words(words), _) => Err(wrong(&format!("one or more of {}", words.join(", ")))),
        (Form::Architecture, Node::Text(text)) => match base.architectures.contains(&text.as_str())
        {
            true => one(text.clone()),
            false => Err(Problem::new(
                value.place.clone(),
                format!("no architecture is called `{text}`"),
            )
            .hint(match closest(text, base.architectures.iter().copied()) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => "`bunjae new --list` shows the architectures".to_owned(),
            })),
        },
        (Form::Architecture, _) => Err(wrong("the name of an architecture")),
        (Form::Text { example, check }, node) => match scalar(node) {
            Some(text) if check(&text) => one(text),
            _ => Err(wrong(&format!("written as {example}"))),
        },
        (Form::Numbers { whole }, node) => {
            let numbers = match node {
                Node::List(values) => values.iter().map(|value| listed(value, whole)).collect(),
                _ => listed(value, whole).map(|number| vec![number]),
            };
            let kind = if whole { "whole numbers from 1 on" } else { "numbers" };
            let numbers: Vec<String> = numbers.ok_or_else(|| {
                let fits = |value: &Value| listed(value, whole).is_some();
                in_list(name, value, &format!("a list of {kind}"), fits)
            })?;
            length(name, numbers.len()).map_err(|expected| {
                let what = format!("`{name}` is {expected}, not {}", numbers.len());
                Problem::new(value.place.clone(), what)
            })?;
            one(numbers.join(","))
        }
        (Form::Texts { example, check }, node) => {
            let texts: Option<Vec<String>> = match node {
                Node::List(values) => values.iter().map(|value| scalar(&value.node)).collect(),
                _ => scalar(node).map(|text| vec![text]),
            };
            match texts {
                Some(texts) if texts.iter().all(|text| check(text)) => Ok(Argument::Texts(texts)),
                _ => {
                    let fits = |value: &Value| scalar(&value.node).is_some_and(|text| check(&text));
                    Err(in_list(
                        name,
                        value,
                        &format!("a list of texts such as \"{example}\""),
                        fits,
                    ))
                }
            }
        }
        (Form::File, Node::Text(text)) => {
            let path = base.path(text, &value.place);
            match path.is_file() {
                true => Ok(Argument::Paths(vec![path])),
                false => Err(missing(&path, "file", &value.place)),
            }
        }
        (Form::File, _) => Err(wrong("the name of a file")),
    }
}

/// That there is nothing at a path, and what there is that looks like it.
pub(crate) fn missing(path: &Path, what: &str, place: &Place) -> Problem {
    let problem = Problem::new(place.clone(), format!("there is no {what} {}", path.display()));
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut beside: Vec<String> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    beside.sort_unstable();
    let similar = closest(name, beside.iter().map(String::as_str));
    problem.maybe_hint(similar.map(|similar| format!("did you mean {similar}?"))).hint(
        match place {
            Place::File(_) => "paths in a recipe are relative to its folder",
            Place::Set(_) => "paths in `--set` are relative to the folder where the program runs",
        },
    )
}

/// That an entry of a list, or a value in the place of a list, is not what it should be.
fn in_list(name: &str, value: &Value, expected: &str, fits: impl Fn(&Value) -> bool) -> Problem {
    let wrong = match &value.node {
        Node::List(values) => values.iter().find(|value| !fits(value)).unwrap_or(value),
        _ => value,
    };
    let what = format!("`{name}` is {expected}, and this is {}", wrong.shown());
    Problem::new(wrong.place.clone(), what)
}

fn number(value: &Value) -> f64 {
    match value.node {
        Node::Integer(number) => number as f64,
        Node::Number(number) => number,
        _ => f64::NAN,
    }
}

fn range(least: f64, over: bool, most: f64) -> String {
    let from = if over { format!("over {least}") } else { format!("from {least} on") };
    match most.is_finite() {
        true => format!("a number {from} and up to {most}"),
        false => format!("a number {from}"),
    }
}

fn share(number: f64, wrong: &dyn Fn(&str) -> Problem) -> Result<Argument, Problem> {
    if (0.0..=1.0).contains(&number) {
        return Ok(Argument::Texts(vec![number.to_string()]));
    }
    let problem = wrong("a share between 0 and 1");
    Err(match (2.0..=100.0).contains(&number) {
        true => problem.hint(format!("did you mean {} or \"{number}%\"?", number / 100.0)),
        false => problem,
    })
}

fn word(words: &[&str], text: &str, wrong: &dyn Fn(&str) -> Problem) -> Result<(), Problem> {
    if words.contains(&text) {
        return Ok(());
    }
    let problem = wrong(&format!("one of {}", words.join(", ")));
    let similar = closest(text, words.iter().copied());
    Err(problem.maybe_hint(similar.map(|similar| format!("did you mean \"{similar}\"?"))))
}

/// A text, or a number as text.
fn scalar(node: &Node) -> Option<String> {
    match node {
        Node::Text(text) => Some(text.clone()),
        Node::Integer(number) => Some(number.to_string()),
        Node::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn listed(value: &Value, whole: bool) -> Option<String> {
    match value.node {
        Node::Integer(number) if !whole || number > 0 => Some(number.to_string()),
        Node::Number(number) if !whole && number.is_finite() => Some(number.to_string()),
        _ => None,
    }
}

/// How many numbers a list may have.
fn length(name: &str, found: usize) -> Result<(), &'static str> {
    match name {
        "range" | "rand-augment" if found != 2 => Err("two numbers"),
        "mean" | "std" if !matches!(found, 1 | 3) => Err("one number or three"),
        "drops" | "threads" if found == 0 => Err("a list of at least one number"),
        _ => Ok(()),
    }
}
