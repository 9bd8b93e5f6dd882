//! Reading one line of the text form from left to right.

use super::error::{ParseError, ParseProblem};
use super::{is_plain_char, is_plain_input};
use crate::types::TensorType;

/// A place in a line. Offsets are bytes and always lie between characters.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    number: usize,
    line: &'a str,
    at: usize,
}

/// What stands for a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// `%1`
    Result(u64),
    /// `%x`
    Input(String),
    /// `@c1.w`
    Weight(String),
}

/// The longest reason for which a type is refused, in characters.
const MAX_REASON: usize = 200;

type Parsed<T> = Result<T, ParseError>;

impl<'a> Cursor<'a> {
    /// The beginning of the line of the given number, counted from 1.
    pub(super) fn new(number: usize, line: &'a str) -> Self {
        Cursor { number, line, at: 0 }
    }

    /// The rest of the line.
    pub(super) fn rest(&self) -> &'a str {
        self.line.get(self.at..).unwrap_or("")
    }

    /// Skips blanks and returns the offset behind them, for the place of an error.
    pub(super) fn place(&mut self) -> usize {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.at
    }

    /// Skips blanks and says whether that was all.
    pub(super) fn at_end(&mut self) -> bool {
        self.place();
        self.rest().is_empty()
    }

    /// Skips blanks and looks at the next character.
    pub(super) fn peek(&mut self) -> Option<char> {
        self.place();
        self.rest().chars().next()
    }

    /// An error at the given offset.
    pub(super) fn error_at(&self, at: usize, problem: impl Into<ParseProblem>) -> ParseError {
        ParseError::new(self.number, self.line, at, problem.into())
    }

    /// The error that something else should stand here.
    pub(super) fn expected(&mut self, what: impl Into<String>) -> ParseError {
        let at = self.place();
        // A word, a sign, or a sign and the name after it.
        let mut chars = self.rest().chars();
        let found = match chars.next() {
            None => "the end of the line".into(),
            Some(c) if is_plain_char(c) || matches!(c, '%' | '@') => {
                let word = chars.take_while(|&c| is_plain_char(c)).take(40);
                format!("`{c}{}`", word.collect::<String>())
            }
            Some(c) => format!("`{c}`"),
        };
        self.error_at(at, ParseProblem::Expected { expected: what.into(), found })
    }

    /// Skips blanks and then `symbol`, where it stands there.
    pub(super) fn eat(&mut self, symbol: char) -> bool {
        let found = self.peek() == Some(symbol);
        if found {
            self.at += symbol.len_utf8();
        }
        found
    }

    /// Takes `symbol`, which has to stand here; `role` says what for.
    pub(super) fn expect(&mut self, symbol: char, role: &str) -> Parsed<()> {
        if self.eat(symbol) { Ok(()) } else { Err(self.expected(format!("`{symbol}` {role}"))) }
    }

    /// Takes the characters that `accept` accepts, after blanks; possibly none.
    pub(super) fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        self.place();
        let rest = self.rest();
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Takes a word of letters, digits and `_`; possibly empty.
    pub(super) fn word(&mut self) -> &'a str {
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// Takes everything up to the first of `ends`, which has to come.
    pub(super) fn until(&mut self, ends: [char; 2], expected: &str) -> Parsed<&'a str> {
        self.place();
        let rest = self.rest();
        let Some(end) = rest.find(ends) else {
            self.at = self.line.len();
            return Err(self.expected(expected));
        };
        self.at += end;
        Ok(rest[..end].trim_end())
    }

    /// Takes a name, plain or quoted, right after its sign.
    fn name(&mut self, what: &str) -> Parsed<String> {
        if self.rest().starts_with('"') {
            return self.string(what);
        }
        if !self.rest().starts_with(is_plain_char) {
            return Err(self.expected(what));
        }
        Ok(self.take_while(is_plain_char).to_string())
    }

    /// Takes `@` and a name.
    pub(super) fn global(&mut self, what: &str) -> Parsed<String> {
        if self.eat('@') { self.name(what) } else { Err(self.expected(format!("`@` and {what}"))) }
    }

    /// Takes what stands for a tensor; nothing where none does.
    pub(super) fn tensor(&mut self) -> Parsed<Option<Name>> {
        if self.peek() == Some('@') {
            return self.global("the weight's name").map(|name| Some(Name::Weight(name)));
        }
        let at = self.place();
        if !self.eat('%') {
            return Ok(None);
        }
        let quoted = self.rest().starts_with('"');
        let name = self.name("the number of a result or an input's name")?;
        if quoted || is_plain_input(&name) {
            return Ok(Some(Name::Input(name)));
        }
        match name.parse() {
            Ok(number) if name.bytes().all(|c| c.is_ascii_digit()) => {
                Ok(Some(Name::Result(number)))
            }
            _ => {
                let expected = "the number of a result, or an input's name, which has to be in \
                                quotes if it begins with a digit";
                let (expected, found) = (expected.into(), format!("`%{name}`"));
                Err(self.error_at(at, ParseProblem::Expected { expected, found }))
            }
        }
    }

    /// Takes a quoted text; `expected` says what it is, where there is none.
    pub(super) fn string(&mut self, expected: &str) -> Parsed<String> {
        let start = self.place();
        if !self.eat('"') {
            return Err(self.expected(expected));
        }
        let mut text = String::new();
        let rest = self.rest();
        let mut chars = rest.char_indices();
        while let Some((offset, c)) = chars.next() {
            let escape = || self.error_at(self.at + offset, ParseProblem::Escape);
            text.push(match c {
                '"' => {
                    self.at += offset + 1;
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(c @ ('"' | '\\')) => c,
                    Some('u') => {
                        let after = chars.as_str();
                        let digits = after
                            .strip_prefix('{')
                            .and_then(|after| after.split_once('}'))
                            .map(|(digits, _)| digits)
                            .filter(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))
                            .ok_or_else(escape)?;
                        chars.nth(digits.len() + 1);
                        u32::from_str_radix(digits, 16)
                            .ok()
                            .and_then(char::from_u32)
                            .ok_or_else(escape)?
                    }
                    _ => return Err(escape()),
                },
                c => c,
            });
        }
        Err(self.error_at(start, ParseProblem::Unclosed))
    }

    /// Takes a type.
    pub(super) fn tensor_type(&mut self) -> Parsed<TensorType> {
        let at = self.place();
        if !self.rest().starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(self.expected("a type such as f32[N,3,8,8]"));
        }
        let rest = self.rest();
        let Some(end) = rest.find(']').map(|end| end + 1) else {
            let mut start = self.clone();
            let dtype = self.word();
            if !rest[dtype.len()..].starts_with('[') {
                return Err(start.expected("a type such as f32[N,3,8,8]"));
            }
            self.at = self.line.len();
            return Err(self.expected("`]` at the end of the type"));
        };
        self.at += end;
        TensorType::parse(&rest[..end]).map_err(|why| {
            // The reason quotes the type, whatever its length.
            let short: String = why.chars().take(MAX_REASON).collect();
            let cut = if short.len() < why.len() { "..." } else { "" };
            self.error_at(at, ParseProblem::Type(short + cut))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let name = |text| Cursor::new(1, text).tensor();
        assert_eq!(name("%12"), Ok(Some(Name::Result(12))));
        assert_eq!(name(" %x-0: f32"), Ok(Some(Name::Input("x-0".into()))));
        assert_eq!(name("%x:f32[2]"), Ok(Some(Name::Input("x".into()))));
        assert_eq!(name("%\"12\""), Ok(Some(Name::Input("12".into()))));
        assert_eq!(name("@1/w-a,"), Ok(Some(Name::Weight("1/w-a".into()))));
        assert_eq!(name("x"), Ok(None));
        for bad in ["%", "% x", "%1x", "%99999999999999999999", "@", "%\"", "@:"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quoted_text_reads_its_escapes() {
        let read = |text| Cursor::new(1, text).string("a name");
        assert_eq!(read(r#""a\"\\\n\r\t\u{1f}é" b"#).unwrap(), "a\"\\\n\r\t\u{1f}é");
        for (bad, column) in
            [(r#""a\x""#, 3), (r#""\u{110000}""#, 2), (r#""\u{12""#, 2), (r#""\u{é}""#, 2)]
        {
            let error = read(bad).unwrap_err();
            assert_eq!((error.column, *error.problem), (column, ParseProblem::Escape), "{bad}");
        }
        assert_eq!(*read("\"a").unwrap_err().problem, ParseProblem::Unclosed);
        assert_eq!(*read("\"a\\").unwrap_err().problem, ParseProblem::Escape);
    }
}
