//! From the tables of a file to declared stages: names, keys and where each value comes from.

use std::collections::BTreeMap;

use crate::problem::{Problem, closest};
use crate::schema::{KINDS, Kind};
use crate::value::{Entry, Node, Place, Value};

/// A stage as it is written down, before its lists fan out.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) kind: &'static Kind,
    pub(crate) name: String,
    pub(crate) place: Place,
    /// The values that count for it, by key.
    pub(crate) values: BTreeMap<String, Given>,
}

/// A value and which table gave it.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) value: Value,
    /// Where the key stands.
    pub(crate) place: Place,
    /// Empty for the top of the file, `train` for that table, `train.NAME` for a stage's own.
    pub(crate) table: String,
}

/// What a recipe says beside its stages.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) title: Option<String>,
    pub(crate) report: BTreeMap<String, Given>,
}

/// Keys that are no settings and no tables.
const TITLE: &str = "title";
const REPORT: &str = "report";
/// The keys of the table `report`.
pub(crate) const REPORT_KEYS: [&str; 2] = ["base", "models"];

/// The stages and the rest; what is wrong is added to `problems`.
pub(crate) fn declared(entries: &[Entry], problems: &mut Vec<Problem>) -> (Head, Vec<Declared>) {
    let mut head = Head::default();
    let mut top: Vec<&Entry> = Vec::new();
    let mut tables: Vec<(&'static Kind, &Entry)> = Vec::new();
    for entry in entries {
        let is_table = matches!(entry.value.node, Node::Table(_));
        match Kind::find(&entry.key) {
            Some(kind) if is_table => tables.push((kind, entry)),
            Some(kind) => problems.push(no_table(kind, entry)),
            None if entry.key == TITLE => match &entry.value.node {
                Node::Text(text) => head.title = Some(text.clone()),
                _ => {
                    let what = format!("`title` is a text, not {}", entry.value.kind());
                    problems.push(Problem::new(entry.value.place.clone(), what));
                }
            },
            None if entry.key == REPORT => report(entry, &mut head, problems),
            None if is_table => problems.push(unknown_table(entry, entries)),
            None if from_top(&entry.key) => top.push(entry),
            None => problems.push(unknown_at_top(entry)),
        }
    }
    let mut stages = Vec::new();
    for (kind, table) in &tables {
        stages_of(kind, table, &top, &mut stages, problems);
    }
    if stages.is_empty() && problems.is_empty() {
        let end = entries.last().map_or(Place::File(0..0), |entry| entry.place.clone());
        problems.push(
            Problem::new(end, "the recipe has no stage").hint(
                "a table such as `[train.NAME]` is one; the kinds are ".to_owned() + &kinds(),
            ),
        );
    }
    unused(&top, &tables, &stages, problems);
    duplicates(&stages, problems);
    (head, stages)
}

fn from_top(key: &str) -> bool {
    KINDS.iter().any(|kind| kind.takes_from_top(key))
}

fn kinds() -> String {
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    names.join(", ")
}

fn no_table(kind: &Kind, entry: &Entry) -> Problem {
    let (name, found) = (kind.name, entry.value.kind());
    Problem::new(entry.value.place.clone(), format!("`{name}` is a table of stages, not {found}"))
        .hint(format!("a stage is written as `[{name}.NAME]`, with its settings below"))
}

fn unknown_table(entry: &Entry, all: &[Entry]) -> Problem {
    let key = &entry.key;
    let problem = Problem::new(entry.place.clone(), format!("no kind of stage is called `{key}`"));
    let names = KINDS.iter().map(|kind| kind.name).chain([REPORT]);
    if let Some(similar) = closest(key, names) {
        return problem.hint(format!("did you mean `{similar}`?"));
    }
    // `--set base.epochs=1` for `train.base.epochs`.
    let stage = all.iter().find_map(|other| match &other.value.node {
        Node::Table(stages) => stages.iter().any(|s| s.key == *key).then_some(&other.key),
        _ => None,
    });
    match stage {
        Some(kind) => problem.hint(format!("the stage is `{kind}.{key}`")),
        None => problem.hint(format!("the kinds are {}", kinds())),
    }
}

fn unknown_at_top(entry: &Entry) -> Problem {
    let key = &entry.key;
    let known: Vec<&str> = KINDS.iter().flat_map(Kind::keys).collect();
    let owner = KINDS.iter().find(|kind| kind.keys().any(|known| known == key));
    if let Some(kind) = owner {
        let what = format!("`{key}` does not stand at the top of a recipe");
        return Problem::new(entry.place.clone(), what)
            .hint(format!("say it below `[{0}]` or `[{0}.NAME]`", kind.name));
    }
    let similar =
        closest(key, known.into_iter().filter(|key| from_top(key)).chain([TITLE, REPORT]));
    let similar = similar.or_else(|| closest(key, KINDS.iter().map(|kind| kind.name)));
    Problem::new(entry.place.clone(), format!("there is no setting `{key}`")).hint(match similar {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => "what stands at the top counts for every stage that has such a setting".to_owned(),
    })
}

fn report(entry: &Entry, head: &mut Head, problems: &mut Vec<Problem>) {
    let Node::Table(entries) = &entry.value.node else {
        let what = format!("`report` is a table, not {}", entry.value.kind());
        problems.push(Problem::new(entry.value.place.clone(), what));
        return;
    };
    for entry in entries {
        if REPORT_KEYS.contains(&entry.key.as_str()) {
            head.report.insert(entry.key.clone(), given(entry, REPORT));
        } else {
            let what = format!("`report` has no setting `{}`", entry.key);
            let similar = closest(&entry.key, REPORT_KEYS);
            problems.push(Problem::new(entry.place.clone(), what).hint(match similar {
                Some(similar) => format!("did you mean `{similar}`?"),
                None => format!("it has {}", REPORT_KEYS.join(" and ")),
            }));
        }
    }
}

fn given(entry: &Entry, table: &str) -> Given {
    let (value, place) = (entry.value.clone(), entry.place.clone());
    Given { value, place, table: table.to_owned() }
}

/// The stages of one kind: its tables; what stands beside them counts for all of them.
fn stages_of(
    kind: &'static Kind,
    table: &Entry,
    top: &[&Entry],
    stages: &mut Vec<Declared>,
    problems: &mut Vec<Problem>,
) {
    let Node::Table(entries) = &table.value.node else { return };
    let is_stage = |entry: &&Entry| matches!(entry.value.node, Node::Table(_));
    let mut common: BTreeMap<String, Given> = BTreeMap::new();
    for entry in top.iter().filter(|entry| kind.takes_from_top(&entry.key)) {
        common.insert(entry.key.clone(), given(entry, ""));
    }
    for entry in entries.iter().filter(|entry| !is_stage(entry)) {
        match known(kind, entry) {
            Ok(()) => drop(common.insert(entry.key.clone(), given(entry, kind.name))),
            Err(problem) => problems.push(problem),
        }
    }
    for entry in entries.iter().filter(is_stage) {
        let Node::Table(own) = &entry.value.node else { continue };
        problems.extend(wrong_name(entry));
        let mut values = common.clone();
        for own in own {
            match known(kind, own) {
                Ok(()) => {
                    let table = format!("{}.{}", kind.name, entry.key);
                    values.insert(own.key.clone(), given(own, &table));
                }
                Err(problem) => problems.push(problem),
            }
        }
        // A teacher of its own replaces those of all stages, and the other way round.
        one_of(&mut values, ["teacher", "teachers"]);
        let (name, place) = (entry.key.clone(), entry.place.clone());
        stages.push(Declared { kind, name, place, values });
    }
}

/// Of two keys that exclude each other, keeps the one of the inner table.
fn one_of(values: &mut BTreeMap<String, Given>, keys: [&str; 2]) {
    let depth = |key: &str| values.get(key).map(|given| given.table.len());
    let [a, b] = keys.map(depth);
    if let (Some(a), Some(b)) = (a, b)
        && a != b
    {
        values.remove(if a < b { keys[0] } else { keys[1] });
    }
}

fn known(kind: &Kind, entry: &Entry) -> Result<(), Problem> {
    if kind.keys().any(|key| key == entry.key) {
        return Ok(());
    }
    let (name, key) = (kind.name, &entry.key);
    let problem = Problem::new(entry.place.clone(), format!("`{name}` has no setting `{key}`"));
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    Err(match closest(key, kind.keys()) {
        Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
        None => problem.hint(format!(
            "the settings of {article} `{name}` are the options of `bunjae {}`",
            kind.command.join(" ")
        )),
    })
}

/// Names become parts of file names.
fn wrong_name(entry: &Entry) -> Option<Problem> {
    let name = &entry.key;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = !name.is_empty() && name.len() <= 60 && name.chars().all(plain);
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    // `[train.base.epochs]`, or a value that is a table.
    (!fits || !starts).then(|| {
        Problem::new(entry.place.clone(), format!("`{name}` cannot be the name of a stage"))
            .hint("a name has letters without accents, digits, `-`, `_` and `.`, at most 60, and begins with a letter or digit")
    })
}

/// Settings for several stages that none of them has, or that each has otherwise.
fn unused(
    top: &[&Entry],
    tables: &[(&Kind, &Entry)],
    stages: &[Declared],
    problems: &mut Vec<Problem>,
) {
    if stages.is_empty() {
        return;
    }
    let mut shared: Vec<(&str, &Entry)> = top.iter().map(|entry| ("", *entry)).collect();
    for (kind, table) in tables {
        let Node::Table(entries) = &table.value.node else { continue };
        if !stages.iter().any(|stage| stage.kind.name == kind.name) {
            let what = format!("there is no stage of the kind `{}`", kind.name);
            let place = table.place.clone();
            problems.push(
                Problem::new(place, what)
                    .hint(format!("a stage is a table `[{}.NAME]`", kind.name)),
            );
            continue;
        }
        let settings = entries.iter().filter(|entry| known(kind, entry).is_ok());
        let settings = settings.filter(|entry| !matches!(entry.value.node, Node::Table(_)));
        shared.extend(settings.map(|entry| (kind.name, entry)));
    }
    for (table, entry) in shared {
        let given = |stage: &&Declared| table.is_empty() || stage.kind.name == table;
        let given = stages.iter().filter(given).filter_map(|stage| stage.values.get(&entry.key));
        let given: Vec<&Given> = given.collect();
        if given.iter().any(|given| given.table == table) {
            continue;
        }
        let what = format!("no stage takes `{}` from here", entry.key);
        let problem = Problem::new(entry.place.clone(), what);
        problems.push(match given.first() {
            Some(given) => problem.hint(format!("`[{}]` has a value of its own", given.table)),
            None => problem.hint("leave it out"),
        });
    }
}

/// Names are for all kinds together.
fn duplicates(stages: &[Declared], problems: &mut Vec<Problem>) {
    for (at, stage) in stages.iter().enumerate() {
        let same = |other: &&Declared| other.name.eq_ignore_ascii_case(&stage.name);
        if let Some(first) = stages[..at].iter().find(same) {
            let what = format!(
                "there is a stage `{}` already, of the kind `{}`",
                first.name, first.kind.name
            );
            problems.push(
                Problem::new(stage.place.clone(), what)
                    .hint("stages are called by their names alone, whatever their kind and case"),
            );
        }
    }
}
