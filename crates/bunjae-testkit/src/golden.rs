//! Golden tests: files that hold a graph, what to do with it, and what comes of it.
//!
//! A file `*.irt` is a list of cases. A case opens with lines `; test <command> [words]`, goes on with
//! the text of a graph, and closes with what each of its commands printed, in comments after lines
//! `; ---`:
//!
//! ```text
//! ; test print
//! graph @g
//! in %x: f32[2]
//! %7 = relu %x : f32[2]
//! out %7
//! ; ---
//! ; graph @g
//! ; in   %x: f32[2]
//! ; %1 = relu %x                                     : f32[2]
//! ; out  %1
//! ```
//!
//! The output ends at the first line that is no comment. What stands before the first case and
//! between cases is for readers, and is kept.
//!
//! With `BUNJAE_BLESS=1` in the environment the files are rewritten with what the commands print now.
//! The changes are then reviewed like code.

use std::fmt::Write;
use std::path::Path;

use bunjae_ir::Graph;

/// What a golden file may ask for.
///
/// A command is given the words after its name and returns what it prints. An error fails the test
/// however often it is blessed; a message that is the very thing under test is returned as output.
#[derive(Clone, Copy)]
pub enum Command {
    /// Works on the text as it stands.
    Text(fn(&str, &[&str]) -> Result<String, String>),
    /// Works on the graph, after it has been parsed and verified.
    Graph(fn(&Graph, &[&str]) -> Result<String, String>),
}

impl Command {
    fn run(self, input: &str, words: &[&str]) -> Result<String, String> {
        match self {
            Command::Text(run) => run(input, words),
            Command::Graph(run) => {
                let graph = Graph::parse(input).map_err(|error| error.to_string())?;
                graph.verify().map_err(|errors| {
                    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
                })?;
                run(&graph, words)
            }
        }
    }
}

/// The line between input and output, and between outputs.
const RULE: &str = "; ---";

const HEADER: &str = "; test ";

/// Runs the cases of all files `*.irt` of a folder, or rewrites the files if `BUNJAE_BLESS` is `1`,
/// and returns the number of cases.
///
/// # Panics
/// Where an output differs from what the file holds, with the differences of all files; where a
/// command fails or is unknown; where the folder holds no cases; where reading or writing fails.
#[track_caller]
pub fn check(folder: &Path, commands: &[(&str, Command)]) -> usize {
    let bless = std::env::var_os("BUNJAE_BLESS").is_some_and(|value| value == "1");
    let mut problems = String::new();
    let mut cases = 0;
    for path in files(folder) {
        let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let run = run(&text, commands);
        cases += run.cases;
        problems.extend(run.failures.iter().map(|failure| format!("{shown}:{failure}\n")));
        if bless && run.failures.is_empty() && run.text != text {
            if let Err(error) = std::fs::write(&path, &run.text) {
                panic!("{}: {error}", path.display());
            }
        } else if !bless {
            let changes = run.changes.iter().map(|change| format!("{shown}:{change}\n"));
            problems.extend(changes);
        }
    }
    assert!(
        problems.is_empty(),
        "\n{problems}hint: if the new output is right, run again with BUNJAE_BLESS=1"
    );
    assert!(cases > 0, "no golden cases in {}", folder.display());
    cases
}

/// The golden files of a folder, sorted by name.
#[track_caller]
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "irt"))
        .collect();
    files.sort();
    files
}

/// What came of a file.
struct Run {
    /// The file with the new outputs.
    text: String,
    /// The number of cases.
    cases: usize,
    /// For each case that changed: its line, its commands and the difference.
    changes: Vec<String>,
    /// For each command that failed: the line of the case, the command and the reason.
    failures: Vec<String>,
}

/// Runs the cases of the file with the given text.
fn run(text: &str, commands: &[(&str, Command)]) -> Run {
    let lines: Vec<&str> = text.lines().collect();
    let mut run = Run { text: String::new(), cases: 0, changes: vec![], failures: vec![] };
    let mut at = 0;
    while let Some(&line) = lines.get(at) {
        if !line.starts_with(HEADER) {
            put_line(&mut run.text, line);
            at += 1;
            continue;
        }
        let case = Case::read(&lines, at);
        run.cases += 1;
        at = case.end;
        case.run(commands, &mut run);
    }
    if run.cases == 0 {
        run.failures.push(format!("1: no case; one opens with a line `{HEADER}<command>`"));
    }
    run
}

struct Case<'a> {
    /// The number of its first line, from 1.
    line: usize,
    /// What stands after `; test `.
    headers: Vec<&'a str>,
    input: Vec<&'a str>,
    /// The comment lines of each output.
    outputs: Vec<Vec<&'a str>>,
    /// The index of the first line after it.
    end: usize,
}

impl<'a> Case<'a> {
    /// Reads the case that begins at the line of index `start`.
    fn read(lines: &[&'a str], start: usize) -> Case<'a> {
        let take_while = |from: usize, accept: &dyn Fn(&str) -> bool| {
            lines[from..].iter().copied().take_while(|line| accept(line)).collect::<Vec<&str>>()
        };
        let headers = take_while(start, &|line| line.starts_with(HEADER));
        let mut end = start + headers.len();
        let mut input = take_while(end, &|line| line != RULE && !line.starts_with(HEADER));
        if lines.get(end + input.len()) != Some(&RULE) {
            // Without an output the blank lines belong to what follows.
            while input.last().is_some_and(|line| line.trim().is_empty()) {
                input.pop();
            }
        }
        end += input.len();
        let mut outputs = Vec::new();
        while lines.get(end) == Some(&RULE) {
            let output = take_while(end + 1, &|line| line.starts_with(';') && line != RULE);
            end += 1 + output.len();
            outputs.push(output);
        }
        let headers = headers.iter().filter_map(|line| line.strip_prefix(HEADER)).collect();
        Case { line: start + 1, headers, input, outputs, end }
    }

    /// Runs the commands and adds what came of them to `run`.
    fn run(&self, commands: &[(&str, Command)], run: &mut Run) {
        let Case { line, headers, input, outputs, .. } = self;
        let input_text: String = input.iter().map(|line| format!("{line}\n")).collect();
        headers.iter().for_each(|header| put_line(&mut run.text, &format!("{HEADER}{header}")));
        input.iter().for_each(|line| put_line(&mut run.text, line));
        let mut found = Vec::new();
        for header in headers {
            match output(header, &input_text, commands) {
                Ok(output) => found.push(output),
                Err(reason) => run.failures.push(format!("{line}: {header}: {reason}")),
            }
        }
        for (at, new) in found.iter().enumerate() {
            put_line(&mut run.text, RULE);
            let new: Vec<String> = new.lines().map(comment).collect();
            new.iter().for_each(|line| put_line(&mut run.text, line));
            let old = outputs.get(at).map(Vec::as_slice).unwrap_or_default();
            if !new.iter().eq(old) {
                let header = headers.get(at).copied().unwrap_or_default();
                run.changes.push(format!("{line}: {header}\n{}", difference(old, &new)));
            }
        }
        if found.len() == headers.len() && outputs.len() > headers.len() {
            let (more, commands) = (outputs.len(), headers.len());
            run.changes.push(format!("{line}: {more} outputs, but {commands} commands\n"));
        }
    }
}

/// What the command of a header prints.
fn output(header: &str, input: &str, commands: &[(&str, Command)]) -> Result<String, String> {
    let words: Vec<&str> = header.split_whitespace().collect();
    let (name, words) = words.split_first().ok_or("no command is named")?;
    let (_, command) = commands.iter().find(|(known, _)| known == name).ok_or_else(|| {
        let known: Vec<&str> = commands.iter().map(|(name, _)| *name).collect();
        format!("there is no command `{name}`, only {}", known.join(", "))
    })?;
    let output = command.run(input, words)?;
    match output.lines().any(|line| comment(line) == RULE) {
        true => Err(format!("the output holds a line `{RULE}`, which ends an output")),
        false => Ok(output),
    }
}

fn comment(line: &str) -> String {
    if line.is_empty() { ";".into() } else { format!("; {line}") }
}

fn put_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// The longest common subsequence is looked for in at most so many pairs of lines.
const MAX_PAIRS: usize = 4_000_000;

/// The lines of both texts, with `-` before those that are only in the old one and `+` before those
/// that are only in the new one.
fn difference(old: &[&str], new: &[String]) -> String {
    let (rows, columns) = (old.len() + 1, new.len() + 1);
    let pairs = rows.saturating_mul(columns);
    // longest[i][j] is the length of the longest common subsequence of old[i..] and new[j..].
    let mut longest = vec![0u32; if pairs <= MAX_PAIRS { pairs } else { 0 }];
    if !longest.is_empty() {
        for i in (0..old.len()).rev() {
            for j in (0..new.len()).rev() {
                longest[i * columns + j] = if old[i] == new[j] {
                    1 + longest[(i + 1) * columns + j + 1]
                } else {
                    longest[(i + 1) * columns + j].max(longest[i * columns + j + 1])
                };
            }
        }
    }
    let length = |i: usize, j: usize| longest.get(i * columns + j).copied().unwrap_or(0);
    let (mut i, mut j) = (0, 0);
    let mut text = String::new();
    let mut put = |sign: char, line: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{sign} {line}");
    };
    while i < old.len() || j < new.len() {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                put(' ', a);
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || length(i + 1, j) >= length(i, j + 1) => {
                put('-', a);
                i += 1;
            }
            (_, Some(b)) => {
                put('+', b);
                j += 1;
            }
            (_, None) => break,
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: &[(&str, Command)] = &[
        ("count", Command::Graph(|graph, words| Ok(format!("{} {words:?}", graph.nodes().len())))),
        ("lines", Command::Text(|text, _| Ok(text.lines().rev().collect::<Vec<_>>().join("\n")))),
        ("empty", Command::Text(|_, _| Ok("a\n\nb".into()))),
        ("fail", Command::Text(|_, _| Err("no luck".into()))),
        ("rule", Command::Text(|_, _| Ok("---".into()))),
    ];

    const GRAPH: &str = "graph @g\nin %x: f32[2]\n%1 = relu %x : f32[2]\nout %1\n";

    #[test]
    fn a_file_that_agrees_is_left_as_it_is() {
        let text = format!(
            "; Some words.\n\n; test count a b\n; test empty\n{GRAPH}; ---\n; 1 [\"a\", \"b\"]\n\
             ; ---\n; a\n;\n; b\n\n; More words.\n; test lines\nx\ny\n; ---\n; y\n; x\n"
        );
        let run = run(&text, COMMANDS);
        assert_eq!((run.cases, run.text == text), (2, true), "{}", run.text);
        assert_eq!(run.changes.len() + run.failures.len(), 0, "{:?}", run.changes);
    }

    #[test]
    fn a_change_is_shown_line_by_line() {
        let text = "; test lines\na\nb\nc\n; ---\n; c\n; x\n; a\n; z\n";
        let run = run(text, COMMANDS);
        assert_eq!(run.changes, ["1: lines\n  ; c\n- ; x\n+ ; b\n  ; a\n- ; z\n"]);
        assert_eq!(run.text, "; test lines\na\nb\nc\n; ---\n; c\n; b\n; a\n");
    }

    #[test]
    fn missing_outputs_are_put_in_their_place() {
        let text = "; test lines\na\n\n; test lines\n; test empty\nb\n";
        let run = run(text, COMMANDS);
        assert_eq!(run.changes.len(), 3);
        assert_eq!(
            run.text,
            "; test lines\na\n; ---\n; a\n\n; test lines\n; test empty\nb\n; ---\n; b\n; ---\n; a\n;\n; b\n"
        );
        assert!(super::run(&run.text, COMMANDS).changes.is_empty());
    }

    #[test]
    fn a_surplus_output_is_noticed() {
        let found = run("; test lines\na\n; ---\n; a\n; ---\n; a\n", COMMANDS);
        assert_eq!(found.changes, ["1: 2 outputs, but 1 commands\n"]);
        assert_eq!(found.text, "; test lines\na\n; ---\n; a\n");
    }

    #[test]
    fn what_cannot_be_blessed_fails() {
        let invalid = GRAPH.replace("out %1\n", "");
        for (text, reason) in [
            ("; test fail\na\n".to_string(), "1: fail: no luck"),
            ("; test unknown x\n".to_string(), "there is no command `unknown`, only count, lines"),
            ("; test rule\n".to_string(), "the output holds a line `; ---`"),
            ("; test count\ngraph g\n".to_string(), "1: count: 1:7: expected `@`"),
            (format!("; test count\n{invalid}"), "1: count: the graph has no outputs"),
            ("graph @g\n".to_string(), "1: no case"),
        ] {
            let found = run(&text, COMMANDS).failures;
            assert!(found.len() == 1 && found[0].contains(reason), "{found:?}");
        }
    }

    #[test]
    fn large_differences_are_shown_without_search() {
        let old: Vec<String> = (0..3000).map(|line| format!("; {line}")).collect();
        let new: Vec<String> = (1..3001).map(|line| format!("; {line}")).collect();
        let old: Vec<&str> = old.iter().map(String::as_str).collect();
        let shown = difference(&old, &new);
        let count = |sign: char| shown.lines().filter(|line| line.starts_with(sign)).count();
        assert_eq!(count('-') + count(' '), 3000);
        assert_eq!(count('+') + count(' '), 3000);
    }
}
