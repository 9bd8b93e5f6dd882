//! Rules for the Markdown pages: links lead somewhere, and what they promise about the tree is so.

use crate::TEST_COMMAND;

use super::Problem;

/// The page that maps the workspace.
pub const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

/// The files that must name the one test command: what users are told is what CI runs.
pub const NAMES_TEST_COMMAND: [&str; 2] = ["README.md", ".ci/run"];

/// Checks that every relative link of the page at `path` leads to something in the repository, which
/// `exists` looks up by its path from the root.
pub fn check_links(path: &str, content: &str, exists: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, target) in links(content) {
        let file = target.split('#').next().unwrap_or(target);
        if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
            continue;
        }
        let found = resolve(path, file).is_some_and(|file| exists(&file));
        if !found {
            let message = format!("the link `{target}` leads nowhere in this repository");
            problems.push(Problem::line(path, number, message));
        }
    }
    problems
}

/// Checks that the architecture page is there and names every crate.
pub fn check_architecture(content: Option<&str>, crates: &[&str]) -> Vec<Problem> {
    let Some(content) = content else {
        return vec![Problem::file(ARCHITECTURE, "the page is missing")];
    };
    let missing = crates.iter().filter(|name| !content.contains(&format!("`{name}`")));
    let problem = |name| Problem::file(ARCHITECTURE, format!("does not name the crate `{name}`"));
    missing.map(problem).collect()
}

/// The list of the book's pages.
pub const SUMMARY: &str = "docs/SUMMARY.md";

/// Checks that the book's list has every page of `docs/` once, and nothing from elsewhere, as a reader
/// of the book finds no other page.
pub fn check_summary(content: Option<&str>, tracked: &[String]) -> Vec<Problem> {
    let Some(content) = content else {
        return vec![Problem::file(SUMMARY, "the list of the book's pages is missing")];
    };
    let mut problems = Vec::new();
    let mut listed: Vec<String> = Vec::new();
    for (number, target) in links(content) {
        let page = resolve(SUMMARY, target).filter(|page| page.starts_with("docs/"));
        match page {
            None => {
                let message = format!("`{target}` is no page of the book");
                problems.push(Problem::line(SUMMARY, number, message));
            }
            Some(page) if listed.contains(&page) => {
                let message = format!("lists `{target}` a second time");
                problems.push(Problem::line(SUMMARY, number, message));
            }
            Some(page) => listed.push(page),
        }
    }
    let pages = tracked
        .iter()
        .filter(|path| path.starts_with("docs/") && path.ends_with(".md") && *path != SUMMARY);
    for page in pages.filter(|page| !listed.contains(page)) {
        problems.push(Problem::file(page, format!("is not in {SUMMARY}, so the book lacks it")));
    }
    problems
}

/// Checks that the file gives the test command.
pub fn check_test_command(path: &str, content: &str) -> Vec<Problem> {
    if content.lines().any(|line| line.trim() == TEST_COMMAND) {
        Vec::new()
    } else {
        vec![Problem::file(path, format!("needs the line `{TEST_COMMAND}`"))]
    }
}

/// The targets of the links in a page with their lines, code left out.
fn links(content: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (number, line) in (1..).zip(content.lines()) {
        let trimmed = line.trim_start();
        if let Some(open) = fence {
            if trimmed.starts_with(open) {
                fence = None;
            }
            continue;
        }
        fence = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        if fence.is_some() {
            continue;
        }
        // `[name]: target` on a line of its own.
        if let Some((_, target)) = trimmed.strip_prefix('[').and_then(|rest| rest.split_once("]: "))
        {
            found.push((number, destination(target)));
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let in_code = line[..at].matches('`').count() % 2 == 1;
            let rest = &line[at + 2..];
            if let (false, Some(end)) = (in_code, rest.find(')')) {
                found.push((number, destination(&rest[..end])));
            }
        }
    }
    found
}

/// A link's target without its title and angle brackets.
fn destination(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((inside, _)) => inside,
        None => text.split_whitespace().next().unwrap_or(text),
    }
}

/// The path from the root of what `target` means on the page at `page`; `None` outside of the root.
fn resolve(page: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &str) -> Vec<String> {
        let exists = |path: &str| ["README.md", "docs/STYLE.md", "docs/a b.md", ""].contains(&path);
        check_links("docs/ARCHITECTURE.md", content, exists)
            .iter()
            .map(Problem::to_string)
            .collect()
    }

    #[test]
    fn links_that_resolve_pass() {
        let text = "[a](STYLE.md), [b](../README.md#build \"title\"), [c](#here), \
                    [d](https://example.org/x), ![e](<a b.md>), [f](./STYLE.md), [g](..)\n\
                    [h]: STYLE.md\n[i]: mailto:a@example.org\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn links_to_nowhere_are_refused() {
        for text in [
            "[a](MISSING.md)",
            "[a](STYLE.md) and [b](missing.md)",
            "[a]: missing.md",
            "![a](missing)",
            "[a](/docs/STYLE.md)",
            "[a](../../docs/STYLE.md)",
        ] {
            let problems = found(&format!("first\n{text}\n"));
            assert_eq!(problems.len(), 1, "{text}");
            assert!(problems[0].starts_with("docs/ARCHITECTURE.md:2: the link `"), "{problems:?}");
        }
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(found("`a[0](x)`\n```rust\nf[1](y)\n```\n~~~\n[a](z)\n~~~\n"), [""; 0]);
        assert_eq!(found("```\n[a](x)\n```\n[b](y)\n").len(), 1);
    }

    #[test]
    fn the_architecture_page_names_every_crate() {
        let page = "`bunjae-ir` holds the graph, `bunjae` the arguments.";
        assert_eq!(check_architecture(Some(page), &["bunjae", "bunjae-ir"]), []);
        let problems = check_architecture(Some(page), &["bunjae-ir", "bunjae-zoo"]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("`bunjae-zoo`"));
        // A name inside another one does not count.
        assert_eq!(check_architecture(Some("`bunjae-ir`"), &["bunjae"]).len(), 1);
        assert_eq!(check_architecture(None, &[]).len(), 1);
    }

    #[test]
    fn the_book_lists_every_page_once() {
        let tracked = ["README.md", "docs/SUMMARY.md", "docs/a.md", "docs/in/b.md", "docs/x.json"];
        let tracked = tracked.map(str::to_owned);
        let found = |text: &str| -> Vec<String> {
            check_summary(Some(text), &tracked).iter().map(Problem::to_string).collect()
        };
        assert_eq!(found("# Summary\n\n- [A](a.md)\n  - [B](in/b.md)\n"), [""; 0]);
        let lacks = found("- [A](a.md)\n");
        assert!(lacks.len() == 1 && lacks[0].starts_with("docs/in/b.md: is not in"), "{lacks:?}");
        let twice = found("- [A](a.md)\n- [B](in/b.md)\n- [again](./a.md)\n");
        assert!(twice.len() == 1 && twice[0].starts_with("docs/SUMMARY.md:3:"), "{twice:?}");
        let outside = found("- [A](a.md)\n- [B](in/b.md)\n- [R](../README.md)\n");
        assert!(outside.len() == 1 && outside[0].starts_with("docs/SUMMARY.md:3:"), "{outside:?}");
        assert_eq!(check_summary(None, &tracked).len(), 1);
    }

    #[test]
    fn the_test_command_stands_on_a_line_of_its_own() {
        assert_eq!(check_test_command("a", &format!("x\n  {TEST_COMMAND}\n")), []);
        assert_eq!(check_test_command("a", "cargo test\n").len(), 1);
        assert_eq!(check_test_command("a", &format!("# {TEST_COMMAND}\n")).len(), 1);
    }
}
