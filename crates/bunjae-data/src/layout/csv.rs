//! Comma-separated values as RFC 4180 has them: fields may be quoted, quotes inside are doubled,
//! lines end in CR LF or LF. A byte order mark is passed over.

/// A row and the number of the line it starts on, counted from 1.
pub(super) struct Row {
    pub(super) line: usize,
    pub(super) fields: Vec<String>,
}

/// The rows of a text; blank lines are left out.
///
/// # Errors
/// The line of a quote that is never closed.
pub(super) fn rows(text: &str) -> Result<Vec<Row>, usize> {
    let mut rows = Vec::new();
    let mut characters = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    let (mut line, mut start) = (1, 1);
    let mut fields: Vec<String> = Vec::new();
    let mut field = String::new();
    // The line on which the open quote stands.
    let mut quoted: Option<usize> = None;
    loop {
        let character = characters.next();
        if quoted.is_some() {
            match character {
                Some('"') if characters.peek() == Some(&'"') => {
                    characters.next();
                    field.push('"');
                }
                Some('"') => quoted = None,
                Some(other) => {
                    line += usize::from(other == '\n');
                    field.push(other);
                }
                None => return Err(quoted.unwrap_or(line)),
            }
            continue;
        }
        match character {
            Some('"') if field.is_empty() => quoted = Some(line),
            Some(',') => fields.push(std::mem::take(&mut field)),
            Some('\r') if characters.peek() == Some(&'\n') => {}
            Some('\n') | None => {
                fields.push(std::mem::take(&mut field));
                let fields = std::mem::take(&mut fields);
                if fields.iter().any(|field| !field.is_empty()) {
                    rows.push(Row { line: start, fields });
                }
                line += 1;
                start = line;
                if character.is_none() {
                    return Ok(rows);
                }
            }
            Some(other) => field.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(usize, Vec<String>)> {
        rows(text).unwrap().into_iter().map(|row| (row.line, row.fields)).collect()
    }

    #[test]
    fn quotes_line_ends_and_marks_are_understood() {
        let text = "\u{feff}a,b\r\n\"x, \"\"y\"\"\",\"two\nlines\"\n\n,last";
        let expected: &[(usize, &[&str])] =
            &[(1, &["a", "b"]), (2, &["x, \"y\"", "two\nlines"]), (5, &["", "last"])];
        let found = fields(text);
        assert_eq!(found.len(), expected.len());
        for ((line, fields), (expected_line, expected)) in found.iter().zip(expected) {
            assert_eq!((line, fields.as_slice()), (expected_line, &expected.map_owned()[..]));
        }
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }
    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn an_open_quote_is_reported_with_its_line() {
        assert_eq!(rows("a,b\nc,\"d\n\n").err(), Some(2));
    }
}
