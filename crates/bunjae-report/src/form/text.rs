//! The comparison for a terminal: a table for quality, one for size, one for speed.

use unicode_width::UnicodeWidthStr;

use super::{MISSING, known, shown};
use crate::measure::{Better, Group, Measure};
use crate::record::Report;
use crate::summary::{Summary, summaries};

/// Tables of the comparison with each change against the first row, and what was not measured as
/// `-`. Empty where there is nothing to compare. FLOPs are left out, as lines are long and they are
/// twice the MACs.
///
/// Names cannot control the terminal: their control characters are written as escapes.
pub fn text(report: &Report) -> String {
    let rows = summaries(report);
    let mut known = known(&rows);
    known.retain(|measure| *measure != Measure::Flops);
    let table = |group: Group| {
        let measures: Vec<Measure> =
            known.iter().copied().filter(|measure| measure.group() == group).collect();
        (!measures.is_empty()).then(|| aligned(&table(&rows, &measures)))
    };
    let tables: Vec<String> =
        [Group::Quality, Group::Size, Group::Speed].into_iter().filter_map(table).collect();
    tables.join("\n")
}

/// The head and a row for each model: a cell for each measure, and one for each change.
fn table(rows: &[Summary], measures: &[Measure]) -> Vec<Vec<String>> {
    let compared = rows.len() > 1;
    let changes = |measure: Measure| compared && measure.better() != Better::Neither;
    let mut head = vec!["model".to_string()];
    for &measure in measures {
        head.push(measure.label().to_string());
        if changes(measure) {
            head.push("change".to_string());
        }
    }
    let mut table = vec![head];
    for row in rows {
        let mut cells = vec![printable(&row.model)];
        for &measure in measures {
            let figure = row.figures.get(&measure);
            cells.push(figure.map_or(MISSING.into(), |figure| shown(measure, row, figure)));
            if changes(measure) {
                let change = figure.and_then(|figure| figure.change);
                cells.push(change.map_or(String::new(), |change| measure.show_change(change)));
            }
        }
        table.push(cells);
    }
    table
}

/// Names to the left, figures to the right, columns as wide as their widest cell.
fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |at: usize| table.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            line.push_str(if at == 0 { "" } else { "  " });
            line.push_str(&if at == 0 {
                format!("{cell}{blanks}")
            } else {
                format!("{blanks}{cell}")
            });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Text from a file as one line that cannot control a terminal.
fn printable(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}
