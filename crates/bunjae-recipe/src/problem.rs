//! What is wrong with a recipe, where, and the way out.

use std::fmt;
use std::ops::Range;

use crate::value::Place;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, beginning in lower case and without a full stop.
    pub what: String,
    /// Ways out, a sentence each.
    pub hints: Vec<String>,
}

impl Problem {
    pub(crate) fn new(place: Place, what: impl Into<String>) -> Problem {
        Problem { place, what: what.into(), hints: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn maybe_hint(self, hint: Option<impl Into<String>>) -> Problem {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }
}

/// All that is wrong with a recipe, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// At least one.
    pub problems: Vec<Problem>,
    /// The name of the file, for messages.
    pub file: String,
    /// Its text.
    pub text: String,
    /// The texts after `--set`.
    pub sets: Vec<String>,
}

/// How much of a long line is shown.
const SHOWN: usize = 100;

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let things = if count == 1 { "problem" } else { "problems" };
        writeln!(f, "{}: {count} {things}", self.file)?;
        for problem in &self.problems {
            writeln!(f)?;
            self.show(problem, f)?;
        }
        Ok(())
    }
}

impl Problems {
    fn show(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &problem.place {
            Place::File(span) => {
                let at = Line::of(&self.text, span);
                let Line { number, column, .. } = at;
                writeln!(f, "{}:{number}:{column}: {}", self.file, problem.what)?;
                let (text, start) = at.window();
                let margin = number.to_string();
                let blank = " ".repeat(margin.len());
                writeln!(f, "{margin} | {}", text.trim_end())?;
                let marks = "^".repeat(at.length.clamp(1, SHOWN));
                writeln!(f, "{blank} | {}{marks}", " ".repeat(start))?;
            }
            Place::Set(number) => {
                let set = self.sets.get(*number).map_or("", String::as_str);
                writeln!(f, "--set {set}: {}", problem.what)?;
            }
        }
        problem.hints.iter().try_for_each(|hint| writeln!(f, "hint: {hint}"))
    }
}

/// A line of the file and a part of it.
struct Line<'t> {
    /// From 1.
    number: usize,
    /// In characters, from 1.
    column: usize,
    text: &'t str,
    /// Characters of the part that lie in this line.
    length: usize,
}

impl<'t> Line<'t> {
    fn of(text: &'t str, span: &Range<usize>) -> Line<'t> {
        let boundary =
            |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
        let start = boundary(span.start).unwrap_or(0);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = boundary(span.end).unwrap_or(0).clamp(start, line_end);
        Line {
            number: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: &text[line_start..line_end],
            length: text[start..end].chars().count(),
        }
    }

    /// At most [`SHOWN`] characters around the part, without tabs, and where in them it begins.
    fn window(&self) -> (String, usize) {
        let characters: Vec<char> = self.text.chars().collect();
        let at = self.column - 1;
        let first = at.saturating_sub(SHOWN / 2).min(characters.len().saturating_sub(SHOWN));
        let clean = |c: &char| if c.is_control() { ' ' } else { *c };
        let shown: String = characters.iter().skip(first).take(SHOWN).map(clean).collect();
        let cut = if first > 0 { "…" } else { "" };
        (format!("{cut}{shown}"), at - first + usize::from(first > 0))
    }
}

/// The name that was probably meant, where one is similar enough.
pub(crate) fn closest<'a>(
    asked: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Below this similarity (of 1) a suggestion misleads more often than it helps.
    const SIMILAR: f64 = 0.6;
    // The commonest slip is the other dash.
    let dashed = asked.replace('_', "-").to_lowercase();
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&dashed, name);
    let similar = known.into_iter().map(|name| (likeness(name), name));
    let similar = similar.filter(|(likeness, _)| *likeness >= SIMILAR);
    // Of equals the first one.
    let best = similar.fold(None, |best: Option<(f64, &str)>, found| match best {
        Some(best) if best.0 >= found.0 => Some(best),
        _ => Some(found),
    });
    best.map(|(_, name)| name)
}
