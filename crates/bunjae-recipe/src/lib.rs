//! Recipes: a whole pipeline as one file, checked before anything runs.
//!
//! Owns the format of a recipe, its check, and the plan that comes out: stages in the order in which
//! they can run, the command that each is, and its key, the hash of everything that its result
//! depends on. [`read`] tells all problems at once, each with its line.
//!
//! A recipe is TOML. A table such as `[train.teacher]` is a stage: its kind is a command of the
//! program, its keys are the options of that command and the stages that its inputs come from. What
//! stands in `[train]` counts for all stages of that kind, what stands at the top for all that have
//! such a setting. A list fans out into a stage for each of its values.
//!
//! Never here: running a stage, training, measuring, printing, writing files. Folders and files that
//! a recipe names are looked up, never opened.
#![forbid(unsafe_code)]

mod checks;
mod expand;
mod problem;
mod read;
mod recipe;
pub mod schema;
mod set;
mod setting;
mod value;

use std::path::Path;

pub use problem::{Problem, Problems};
pub use recipe::{Key, PREDICTIONS, RUN, Recipe, ReportWish, Source, Stage, Surroundings, Wanted};
pub use setting::Argument;
pub use value::Place;

use expand::Expander;
use read::{Declared, Head};
use setting::Base;
use value::{Node, Value};

/// A recipe as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The name of the file, for messages.
    pub name: &'a str,
    /// The folder that paths in it are relative to.
    pub folder: &'a Path,
    /// What it says.
    pub text: &'a str,
    /// Settings that replace others, as `key=value`; paths in them are relative to the folder where
    /// the program runs.
    pub sets: &'a [String],
    /// The names of the architectures that `new` makes.
    pub architectures: &'a [&'a str],
}

/// Reads and checks a recipe.
///
/// # Errors
/// [`Problems`]: all that is wrong with it.
pub fn read(source: Text<'_>) -> Result<Recipe, Problems> {
    let mut problems = Vec::new();
    let mut entries = value::parse(source.text, &mut problems);
    // What a broken file seems to say would only bring follow-up problems.
    let mut recipe = None;
    if problems.is_empty() {
        for (number, text) in source.sets.iter().enumerate() {
            set::apply(&mut entries, number, text, &mut problems);
        }
        let base = Base { folder: source.folder, architectures: source.architectures };
        let (head, declared) = read::declared(&entries, &mut problems);
        recipe = Some(plan(head, &declared, base, &mut problems));
    }
    match recipe {
        Some(recipe) if problems.is_empty() => Ok(recipe),
        _ => {
            problems.sort_by_key(|problem| match &problem.place {
                Place::File(span) => (0, span.start),
                Place::Set(number) => (1, *number),
            });
            problems.dedup();
            Err(Problems {
                problems,
                file: source.name.to_owned(),
                text: source.text.to_owned(),
                sets: source.sets.to_vec(),
            })
        }
    }
}

fn plan(head: Head, declared: &[Declared], base: Base<'_>, problems: &mut Vec<Problem>) -> Recipe {
    let stages = Expander::new(declared, base, problems).run();
    // Where stages are missing, so may be those that the report names.
    let is_there = |declared: &Declared| stages.iter().any(|stage| stage.declared == declared.name);
    let is_whole = declared.iter().all(is_there);
    let mut recipe = Recipe { title: head.title, stages, report: ReportWish::default() };
    let named = |key: &str| -> Vec<&Value> {
        match head.report.get(key).map(|given| &given.value) {
            Some(Value { node: Node::List(values), .. }) => values.iter().collect(),
            Some(value) => vec![value],
            None => Vec::new(),
        }
    };
    let mut wish = ReportWish::default();
    for key in read::REPORT_KEYS {
        for value in named(key) {
            let found = match &value.node {
                Node::Text(name) => recipe.named(name),
                _ => {
                    let what = format!("`{key}` is the name of a stage, not {}", value.kind());
                    problems.push(Problem::new(value.place.clone(), what));
                    continue;
                }
            };
            let stages = found.iter().filter_map(|&at| recipe.stages.get(at));
            let is_model = |stage: &Stage| matches!(stage.kind.makes, schema::Makes::Model);
            let group = |at: &usize| recipe.stages.get(*at).map(|stage| &stage.group);
            let is_row = |one: &usize, other: &usize| group(one) == group(other);
            let problem = match found.as_slice() {
                [] if !is_whole => continue,
                [] => "no stage is called so",
                _ if !stages.clone().all(is_model) => "this stage makes no model",
                // Models that differ in their seed alone are one row.
                [first, rest @ ..] if key == "base" && !rest.iter().all(|at| is_row(first, at)) => {
                    "the base is one model, and these are several"
                }
                _ => {
                    if key == "base" {
                        wish.base = found.first().copied();
                    } else {
                        wish.models.extend(found);
                    }
                    continue;
                }
            };
            let similar = match &value.node {
                Node::Text(name) if found.is_empty() => recipe.closest(name),
                _ => None,
            };
            let hint = similar.map(|similar| format!("did you mean `{similar}`?"));
            problems.push(Problem::new(value.place.clone(), problem).maybe_hint(hint));
        }
    }
    recipe.report = wish;
    recipe
}
