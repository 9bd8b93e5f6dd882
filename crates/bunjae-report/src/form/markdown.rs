//! The comparison as a table in Markdown.

use std::fmt::Write;

use super::{MISSING, known, shown};
use crate::record::Report;
use crate::summary::summaries;

/// One table with a row for each model: every figure, and in brackets its change against the first
/// row. Accuracy and F1 change by points, everything else by a share of the base.
pub fn markdown(report: &Report) -> String {
    let rows = summaries(report);
    let measures = known(&rows);
    let mut text = String::from("| model |");
    measures.iter().for_each(|measure| {
        let _ = write!(text, " {} |", measure.label());
    });
    text.push_str("\n|---|");
    measures.iter().for_each(|_| text.push_str("---:|"));
    text.push('\n');
    for row in &rows {
        let _ = write!(text, "| {} |", escaped(&row.model));
        for &measure in &measures {
            let cell = row.figures.get(&measure).map_or(MISSING.to_string(), |figure| {
                let change = figure.change.map(|change| measure.show_change(change));
                let change = change.map(|change| format!(" ({change})"));
                format!("{}{}", shown(measure, row, figure), change.unwrap_or_default())
            });
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

/// A name as text that is nothing else in Markdown: neither markup nor the end of a cell.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            c if c.is_control() => text.extend(c.escape_default()),
            '<' => text.push_str("&lt;"),
            '&' => text.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '!' | '$' => {
                text.push('\\');
                text.push(c);
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn names_are_no_markup() {
        assert_eq!(escaped("a|b"), "a\\|b");
        assert_eq!(escaped("<img src=x>"), "&lt;img src=x>");
        assert_eq!(escaped("[a](b) `c` *d*\n"), "\\[a\\](b) \\`c\\` \\*d\\*\\n");
        assert_eq!(escaped("base 50 %"), "base 50 %");
    }
}
