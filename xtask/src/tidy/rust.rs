//! Rules for Rust sources: every file introduces itself, stays readable in length and keeps its word.

use crate::source::{Attribute, Source, has_word};

use super::Problem;

/// Files from this many lines on want to be two.
const MAX_LINES: usize = 1200;

/// Macros that stand for code which is not there.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!"];

/// Notes that promise to come back.
const PROMISES: &[&str] = &["FIXME", "TODO", "XXX"];

/// Checks one source file.
///
/// ```
/// let problems = xtask::tidy::rust::check("src/a.rs", "fn a() {\n    todo!()\n}\n");
/// let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
/// assert_eq!(lines[0], "src/a.rs:1: the first line must be module documentation (`//!`)");
/// assert_eq!(lines[1], "src/a.rs:2: `todo!` stands for code that is not there");
/// ```
pub fn check(path: &str, content: &str) -> Vec<Problem> {
    let source = Source::new(content);
    let mut problems = Vec::new();
    if !content.starts_with("//!") {
        problems.push(Problem::line(
            path,
            1,
            "the first line must be module documentation (`//!`)",
        ));
    }
    let lines = content.lines().count();
    if lines >= MAX_LINES {
        let message = format!("{lines} lines; hint: split files before they reach {MAX_LINES}");
        problems.push(Problem::file(path, message));
    }
    for (number, line) in (1..).zip(source.code.lines()) {
        for call in UNFINISHED {
            if has_word(line, call) {
                let message = format!("`{call}` stands for code that is not there");
                problems.push(Problem::line(path, number, message));
            }
        }
    }
    for (number, line) in (1..).zip(source.comments.lines()) {
        for word in PROMISES {
            if has_word(line, word) {
                let message = format!("`{word}`: do it now, or file an issue and leave no note");
                problems.push(Problem::line(path, number, message));
            }
        }
    }
    let attributes = source.attributes();
    problems.extend(attributes.iter().filter_map(|attribute| {
        refuse(attribute).map(|message| Problem::line(path, attribute.line, message))
    }));
    problems
}

/// What is wrong with an attribute, if anything.
fn refuse(attribute: &Attribute<'_>) -> Option<&'static str> {
    let name = attribute.text.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    // An attribute inside `cfg_attr` is one all the same.
    let is =
        |wanted: &str| name == wanted || (name == "cfg_attr" && has_word(attribute.text, wanted));
    if is("ignore") {
        return Some("an ignored test checks nothing; hint: mend it or delete it");
    }
    if (is("allow") || is("expect")) && !attribute.text.contains("reason =") {
        return Some("a lint is silenced without saying why; hint: add `reason = \"...\"`");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &str) -> Vec<String> {
        check("a.rs", content).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_tidy_file_passes() {
        let text = "//! Tidy.\n#![allow(dead_code, reason = \"shared\")]\n\n#[test]\nfn f() {\n    \
                    let s = \"todo!() FIXME #[ignore]\";\n}\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn the_module_doc_comes_first() {
        for text in ["", "\n//! Late.\n", "/// Wrong kind.\nfn f() {}\n", "use a;\n//! Late.\n"] {
            let problems = found(text);
            assert_eq!(problems.len(), 1, "{text:?}");
            assert!(problems[0].starts_with("a.rs:1: the first line"), "{problems:?}");
        }
    }

    #[test]
    fn long_files_are_refused() {
        let file = |lines: usize| format!("//! Long.\n{}", "\n".repeat(lines - 1));
        assert_eq!(found(&file(MAX_LINES - 1)), [""; 0]);
        assert!(found(&file(MAX_LINES))[0].starts_with("a.rs: 1200 lines"));
    }

    #[test]
    fn missing_code_is_refused() {
        for line in ["todo!()", "    unimplemented!(\"later\")", "std::todo!()"] {
            let problems = found(&format!("//! A.\n{line}\n"));
            assert_eq!(problems.len(), 1, "{line}");
            assert!(problems[0].starts_with("a.rs:2: "), "{problems:?}");
        }
        assert_eq!(found("//! A.\nnot_todo!();\n"), [""; 0]);
    }

    #[test]
    fn promises_in_comments_are_refused() {
        for line in ["// FIXME: x", "/* TODO */", "/// XXX", "let a = 1; // TODO(me)"] {
            assert_eq!(found(&format!("//! A.\n{line}\n")).len(), 1, "{line}");
        }
        assert_eq!(found("//! A.\n// xxx, mastodon, TODOS\n"), [""; 0]);
    }

    #[test]
    fn ignored_tests_are_refused() {
        for line in ["#[ignore]", "#[ignore = \"slow\"]", "#[cfg_attr(windows, ignore)]"] {
            let problems = found(&format!("//! A.\n#[test]\n{line}\nfn f() {{}}\n"));
            assert_eq!(problems.len(), 1, "{line}");
            assert!(problems[0].starts_with("a.rs:3: an ignored test"), "{problems:?}");
        }
        assert_eq!(found("//! A.\n#[arg(ignore_case)]\n"), [""; 0]);
    }

    #[test]
    fn silenced_lints_need_a_reason() {
        for line in [
            "#[allow(dead_code)]",
            "#![allow(dead_code)]",
            "#[expect(dead_code)]",
            "#[cfg_attr(test, allow(dead_code))]",
        ] {
            let problems = found(&format!("//! A.\n{line}\n"));
            assert_eq!(problems.len(), 1, "{line}");
            assert!(problems[0].contains("without saying why"), "{problems:?}");
        }
        assert_eq!(found("//! A.\n#[allow(\n    dead_code,\n    reason = \"x\"\n)]\n"), [""; 0]);
        assert_eq!(found("//! A.\n#[cfg(feature = \"allow\")]\n"), [""; 0]);
    }
}
