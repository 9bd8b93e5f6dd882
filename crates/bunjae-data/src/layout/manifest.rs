//! A CSV file with a line per picture.
//!
//! The first line names the columns, in any order and case: `file` (or `path`, `image`, `filename`)
//! relative to the manifest, `class` (or `label`), and if wanted `split` and `group`. Other columns
//! are passed over.

use std::fs;
use std::path::Path;

use super::csv;
use crate::dataset::{Dataset, Item, Source, Split};
use crate::error::{DataError, LineProblem};

/// The largest manifest that is read, in bytes.
const MAX_BYTES: u64 = 4 << 30;

const FILE: &[&str] = &["file", "path", "image", "filename"];
const CLASS: &[&str] = &["class", "label"];
const SPLIT: &[&str] = &["split"];
const GROUP: &[&str] = &["group"];

pub(super) fn open(path: &Path) -> Result<Dataset, DataError> {
    let size = path.metadata().map_err(DataError::read(path))?.len();
    if size > MAX_BYTES {
        return Err(DataError::format(path, format!("{size} bytes, the limit is {MAX_BYTES}")));
    }
    let text = fs::read_to_string(path).map_err(DataError::read(path))?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Dataset, DataError> {
    let one_problem = |line: usize, what: String| DataError::Manifest {
        path: path.to_path_buf(),
        problems: vec![LineProblem { line, what }],
    };
    let rows = csv::rows(text)
        .map_err(|line| one_problem(line, "a quote that is never closed".to_owned()))?;
    let Some((header, rows)) = rows.split_first() else {
        return Err(one_problem(1, "the manifest is empty".to_owned()));
    };
    let column = |names: &[&str]| {
        header
            .fields
            .iter()
            .position(|field| names.iter().any(|name| field.trim().eq_ignore_ascii_case(name)))
    };
    let missing = |name: &str| one_problem(header.line, format!("no column `{name}`"));
    let file = column(FILE).ok_or_else(|| missing("file"))?;
    let class = column(CLASS).ok_or_else(|| missing("class"))?;
    let (split, group) = (column(SPLIT), column(GROUP));

    let folder = path.parent().unwrap_or(Path::new(""));
    let mut problems = Vec::new();
    let mut found: Vec<(String, Item)> = Vec::with_capacity(rows.len());
    for row in rows {
        let field = |column: usize| row.fields.get(column).map(|field| field.trim());
        let given =
            |column: Option<usize>| column.and_then(field).filter(|value| !value.is_empty());
        let mut problem = |what: String| problems.push(LineProblem { line: row.line, what });
        let Some(name) = given(Some(file)) else {
            problem("no file".to_owned());
            continue;
        };
        let Some(class) = given(Some(class)) else {
            problem(format!("`{name}` has no class"));
            continue;
        };
        let split = match given(split).map(str::parse::<Split>).transpose() {
            Ok(split) => split,
            Err(what) => {
                problem(what);
                continue;
            }
        };
        let group = given(group).map(str::to_owned);
        let source = Source::File(folder.join(name));
        found.push((class.to_owned(), Item { source, label: None, split, group }));
    }
    if !problems.is_empty() {
        return Err(DataError::Manifest { path: path.to_path_buf(), problems });
    }
    if found.is_empty() {
        return Err(DataError::nothing(path, "a manifest without pictures"));
    }
    let mut classes: Vec<String> = found.iter().map(|(class, _)| class.clone()).collect();
    classes.sort_unstable();
    classes.dedup();
    let mut items: Vec<Item> = found
        .into_iter()
        .map(|(class, item)| Item { label: classes.binary_search(&class).ok(), ..item })
        .collect();
    items.sort_by(|a, b| match (&a.source, &b.source) {
        (Source::File(a), Source::File(b)) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    });
    Ok(Dataset { classes, items, skipped: Vec::new() })
}
