//! Reports as text: headings, aligned fields, tables.

use anstyle::{AnsiColor, Style};

/// The style of headings and of the heads of tables.
const HEADING: Style = Style::new().bold();

/// Where a cell's text stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text; also what gives way where a table is too wide for the terminal.
    Left,
    /// Numbers.
    Right,
}

/// How a line or cell is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Changed,
}

impl Tone {
    fn style(self) -> Style {
        let color = match self {
            Tone::Good => AnsiColor::Green,
            Tone::Bad => AnsiColor::Red,
            Tone::Changed => AnsiColor::Yellow,
        };
        Style::new().fg_color(Some(color.into()))
    }
}

/// A table whose columns are as wide as their widest cell.
pub(crate) struct Table {
    columns: Vec<Align>,
    /// The head, then the rows; every row has a cell for each column.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_string()).collect();
        Table { columns: columns.iter().map(|(_, align)| *align).collect(), rows: vec![head] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The lines without styles, the head first.
    fn lines(&self, terminal: Option<usize>) -> Vec<String> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|at| self.rows.iter().map(|row| width(&row[at])).max().unwrap_or(0))
            .collect();
        if let Some(terminal) = terminal {
            self.narrow(&mut widths, terminal);
        }
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.columns).map(|((cell, &size), align)| {
                let cell = shorten(cell, size);
                match align {
                    Align::Left => format!("{cell:<size$}"),
                    Align::Right => format!("{cell:>size$}"),
                }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
        };
        self.rows.iter().map(line).collect()
    }

    /// Takes from the widest columns of text until the table fits, or they are as narrow as is
    /// still legible.
    fn narrow(&self, widths: &mut [usize], terminal: usize) {
        const LEGIBLE: usize = 12;
        let gaps = 2 * widths.len().saturating_sub(1);
        let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(terminal);
        while over > 0 {
            let text = widths.iter_mut().zip(&self.columns).filter(|(_, a)| **a == Align::Left);
            match text.map(|(width, _)| width).max() {
                Some(widest) if *widest > LEGIBLE => *widest -= 1,
                _ => return,
            }
            over -= 1;
        }
    }
}

/// The number of characters, which is the width of a name in all but East Asian scripts.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// At most `size` characters; what is too long loses its middle, since names differ at both ends.
fn shorten(text: &str, size: usize) -> String {
    let length = width(text);
    if length <= size {
        return text.to_string();
    }
    let kept = size.saturating_sub(1);
    let head: String = text.chars().take(kept.div_ceil(2)).collect();
    let tail: String = text.chars().skip(length - kept / 2).collect();
    format!("{head}…{tail}")
}

/// Text from a file as one line that cannot control a terminal.
pub(crate) fn printable(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// A report in the making.
#[derive(Default)]
pub(crate) struct Page {
    text: String,
    /// The width of the terminal, where the page goes to one.
    terminal: Option<usize>,
}

impl Page {
    pub(crate) fn new(terminal: Option<usize>) -> Self {
        Page { text: String::new(), terminal }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Text as it is, without a line break of its own.
    pub(crate) fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(crate) fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    pub(crate) fn toned(&mut self, tone: Tone, text: &str) {
        let style = tone.style();
        self.line(&format!("{style}{text}{style:#}"));
    }

    /// A blank line between parts.
    pub(crate) fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// A part of its own, under a heading.
    pub(crate) fn heading(&mut self, text: &str) {
        self.gap();
        self.line(&format!("{HEADING}{text}{HEADING:#}"));
    }

    /// Names and values in two columns.
    pub(crate) fn fields<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        fields: impl IntoIterator<Item = (N, V)>,
    ) {
        let fields: Vec<(N, V)> = fields.into_iter().collect();
        let widest = fields.iter().map(|(name, _)| width(name.as_ref())).max().unwrap_or(0);
        for (name, value) in fields {
            let (name, value) = (printable(name.as_ref()), printable(value.as_ref()));
            self.line(&format!("{name:<widest$}  {value}"));
        }
    }

    pub(crate) fn table(&mut self, table: &Table) {
        let mut lines = table.lines(self.terminal).into_iter();
        if let Some(head) = lines.next() {
            self.line(&format!("{HEADING}{head}{HEADING:#}"));
        }
        lines.for_each(|line| self.line(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([("layer", Align::Left), ("MACs", Align::Right)]);
        table.row(["layer4.1.conv2.with.a.long.name".to_string(), "1".to_string()]);
        table.row(["fc\u{1b}[2J".to_string(), "123,456".to_string()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut_without_a_terminal() {
        assert_eq!(
            table().lines(None),
            [
                "layer                               MACs",
                "layer4.1.conv2.with.a.long.name        1",
                "fc\\u{1b}[2J                      123,456",
            ]
        );
    }

    #[test]
    fn a_terminal_cuts_names_in_the_middle_but_never_numbers() {
        assert_eq!(table().lines(Some(26))[1], "layer4.1…ong.name        1");
        assert_eq!(table().lines(Some(4))[1], "layer4….name        1");
    }

    #[test]
    fn fields_stand_under_each_other() {
        let mut page = Page::default();
        page.fields([("a", "1"), ("long", "2\n3")]);
        assert_eq!(page.into_text(), "a     1\nlong  2\\n3\n");
    }
}
