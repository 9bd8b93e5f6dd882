//! Rust source text taken apart into code and comments, as far as the house rules need it.
//!
//! A rule about notes must see comments and not strings, and a rule about macros must see neither; a
//! search over the plain text would trip over the tests of the rules themselves.

/// Two copies of one source text. Each has the same lines as the original and blanks in place of what
/// belongs to the other; the insides of strings are in neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the compiler sees, with empty strings.
    pub code: String,
    /// Line, block and doc comments.
    pub comments: String,
}

impl Source {
    /// Takes `text` apart. Text that is not valid Rust gives some answer, never a panic.
    pub fn new(text: &str) -> Source {
        let chars: Vec<char> = text.chars().collect();
        let mut splitter =
            Splitter { chars: &chars, at: 0, code: String::new(), comments: String::new() };
        splitter.run();
        Source { code: splitter.code, comments: splitter.comments }
    }

    /// The attributes of the code in order.
    pub fn attributes(&self) -> Vec<Attribute<'_>> {
        let mut found = Vec::new();
        for (start, _) in self.code.match_indices('#') {
            let rest = &self.code[start + 1..];
            let inner = rest.starts_with('!');
            let Some(body) = rest.strip_prefix(if inner { "![" } else { "[" }) else { continue };
            let mut depth = 1;
            let end = body.find(|c| {
                depth += match c {
                    '[' => 1,
                    ']' => -1,
                    _ => 0,
                };
                depth == 0
            });
            if let Some(end) = end {
                let line = self.code[..start].matches('\n').count() + 1;
                found.push(Attribute { line, inner, text: body[..end].trim() });
            }
        }
        found
    }
}

/// An attribute, `#[text]` or `#![text]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The line it begins on, from 1.
    pub line: usize,
    /// Whether it is about what surrounds it (`#!`).
    pub inner: bool,
    /// What stands between the brackets, with empty strings.
    pub text: &'a str,
}

/// Whether `word` stands somewhere in `line` as a word of its own.
pub fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

struct Splitter<'a> {
    chars: &'a [char],
    at: usize,
    code: String,
    comments: String,
}

#[derive(Clone, Copy)]
enum Part {
    Code,
    Comment,
    Text,
}

impl Splitter<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn looking_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c))
    }

    /// Moves one character on, which belongs to `part`.
    fn take(&mut self, part: Part) {
        let Some(c) = self.peek(0) else { return };
        self.at += 1;
        let blank = if c == '\n' { '\n' } else { ' ' };
        self.code.push(if matches!(part, Part::Code) { c } else { blank });
        self.comments.push(if matches!(part, Part::Comment) { c } else { blank });
    }

    fn run(&mut self) {
        let mut previous = ' ';
        while let Some(c) = self.peek(0) {
            let in_name = previous.is_alphanumeric() || previous == '_';
            if self.looking_at("//") {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.take(Part::Comment);
                }
            } else if self.looking_at("/*") {
                self.block_comment();
            } else if c == '"' {
                self.string();
            } else if c == '\'' && self.is_char_literal() {
                self.char_literal();
            } else if let Some(hashes) = self.raw_string_hashes(in_name) {
                self.raw_string(hashes);
            } else {
                self.take(Part::Code);
            }
            previous = c;
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.peek(0).is_some() {
            if self.looking_at("/*") {
                depth += 1;
            } else if self.looking_at("*/") {
                depth -= 1;
            } else {
                self.take(Part::Comment);
                continue;
            }
            self.take(Part::Comment);
            self.take(Part::Comment);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.take(Part::Code);
        while let Some(c) = self.peek(0) {
            match c {
                '"' => return self.take(Part::Code),
                '\\' => {
                    self.take(Part::Text);
                    self.take(Part::Text);
                }
                _ => self.take(Part::Text),
            }
        }
    }

    /// A quote opens a character unless it opens a lifetime or a label.
    fn is_char_literal(&self) -> bool {
        self.peek(1) == Some('\\') || self.peek(2) == Some('\'')
    }

    fn char_literal(&mut self) {
        self.take(Part::Code);
        if self.peek(0) == Some('\\') {
            self.take(Part::Text);
        }
        self.take(Part::Text);
        while self.peek(0).is_some_and(|c| c != '\'' && c != '\n') {
            self.take(Part::Text);
        }
        self.take(Part::Code);
    }

    /// The number of hashes of the raw string that begins here (`r"`, `br#"`, `cr##"`), if one does.
    fn raw_string_hashes(&self, in_name: bool) -> Option<usize> {
        if in_name {
            return None;
        }
        let prefix = ["r", "br", "cr"].into_iter().find(|prefix| self.looking_at(prefix))?;
        let hashes = (prefix.len()..).take_while(|&i| self.peek(i) == Some('#')).count();
        (self.peek(prefix.len() + hashes) == Some('"')).then_some(hashes)
    }

    fn raw_string(&mut self, hashes: usize) {
        while self.peek(0).is_some_and(|c| c != '"') {
            self.take(Part::Code);
        }
        self.take(Part::Code);
        let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
        while self.peek(0).is_some() && !self.looking_at(&close) {
            self.take(Part::Text);
        }
        for _ in close.chars() {
            self.take(Part::Code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new(text).code
    }

    #[test]
    fn comments_and_code_part_ways_and_keep_their_lines() {
        let source = Source::new(
            "let a = 1; // one\n/* two /* deep */\nstill */ let b;\n/// doc\nfn f() {}",
        );
        let code: Vec<&str> = source.code.lines().map(str::trim).collect();
        let comments: Vec<&str> = source.comments.lines().map(str::trim).collect();
        assert_eq!(code, ["let a = 1;", "", "let b;", "", "fn f() {}"]);
        assert_eq!(comments, ["// one", "/* two /* deep */", "still */", "/// doc", ""]);
    }

    #[test]
    fn the_insides_of_strings_vanish() {
        assert_eq!(code(r#"f("a \" // b", 'x')"#), r#"f("         ", ' ')"#);
        assert_eq!(code(r##"f(r#"a " // b"#, 1)"##), r##"f(r#"        "#, 1)"##);
        assert_eq!(code(r#"f(br"\", b"\"")"#), r#"f(br" ", b"  ")"#);
        assert_eq!(Source::new(r#"f("// no comment")"#).comments.trim(), "");
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        let text =
            r#"fn f<'a>(x: &'a str) { g('"', '\'', '\u{7f}', b'"'); 'l: loop { break 'l } } // c"#;
        let source = Source::new(text);
        assert_eq!(source.comments.trim(), "// c");
        assert!(source.code.contains("'l: loop { break 'l } }"), "{}", source.code);
    }

    #[test]
    fn names_that_end_in_r_open_no_raw_string() {
        assert_eq!(code(r#"pr"x" r#type bar"#), r#"pr" " r#type bar"#);
    }

    #[test]
    fn unfinished_text_ends_quietly() {
        for text in ["\"abc", "r#\"abc", "/* abc", "'\\", "'", "b'", "#[allow("] {
            let source = Source::new(text);
            assert_eq!(source.code.chars().count(), text.chars().count(), "{text}");
        }
    }

    #[test]
    fn attributes_are_found_with_their_line() {
        let source = Source::new(
            "//! x\n#![forbid(unsafe_code)]\n// #[no]\n#[cfg(a = \"]\")]\nfn f(x: [u8; 2]) {}",
        );
        let found = source.attributes();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Attribute { line: 2, inner: true, text: "forbid(unsafe_code)" });
        assert_eq!(found[1], Attribute { line: 4, inner: false, text: "cfg(a = \" \")" });
    }

    #[test]
    fn a_word_is_not_a_part_of_a_word() {
        assert!(has_word("a FIXME: b", "FIXME"));
        assert!(!has_word("FIXMES _FIXME", "FIXME"));
    }
}
