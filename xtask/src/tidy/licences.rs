//! The licences of the workspace and of everything that is built into it.

use crate::metadata::Package;

use super::Problem;

/// The licence of every crate of the workspace.
const OURS: &str = "MIT OR Apache-2.0";

/// Checks that our packages carry our licence and that every other one may be used under a licence
/// that `deny_toml` allows.
pub fn check(packages: &[Package], deny_toml: &str) -> Vec<Problem> {
    let allowed = allowed_licences(deny_toml);
    let mut problems = Vec::new();
    if allowed.is_empty() {
        problems.push(Problem::file("deny.toml", "no list `allow = [...]` under [licenses]"));
    }
    for package in packages {
        let licence = package.license.as_deref();
        if package.is_ours() {
            if licence != Some(OURS) {
                problems.push(Problem::file(
                    "Cargo.toml",
                    format!("the crate `{}` needs `license.workspace = true`", package.name),
                ));
            }
        } else if !licence.is_some_and(|licence| is_allowed(licence, &allowed))
            && !licence.is_some_and(|licence| is_excepted(&package.name, licence, deny_toml))
        {
            problems.push(Problem::file(
                "Cargo.lock",
                format!(
                    "`{} {}` comes under {}, which the list in deny.toml does not allow",
                    package.name,
                    package.version,
                    licence.map_or("no stated licence".to_owned(), |text| format!("`{text}`"))
                ),
            ));
        }
    }
    problems
}

/// The strings of `allow = [...]` in the table `[licenses]`. A full TOML reader would be the largest
/// dependency of this tool; cargo-deny reads the same file and objects to any syntax error.
fn allowed_licences(deny_toml: &str) -> Vec<String> {
    let lines = deny_toml.lines().map(|line| line.split('#').next().unwrap_or(line).trim());
    let table = lines.skip_while(|line| *line != "[licenses]").skip(1);
    let table = table.take_while(|line| !(line.starts_with('[') && line.ends_with(']')));
    let list = table.skip_while(|line| !line.starts_with("allow = ["));
    let mut licences = Vec::new();
    for line in list {
        licences.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
        if line.ends_with(']') {
            break;
        }
    }
    licences
}

/// Whether a line `{ crate = "name", allow = ["licence"] }` among the exceptions of the table
/// `[licenses]` allows this one package its licence.
fn is_excepted(name: &str, licence: &str, deny_toml: &str) -> bool {
    let lines = deny_toml.lines().map(|line| line.split('#').next().unwrap_or(line).trim());
    let table = lines.skip_while(|line| *line != "[licenses]").skip(1);
    let mut table = table.take_while(|line| !(line.starts_with('[') && line.ends_with(']')));
    let start = format!("{{ crate = \"{name}\", allow = [");
    table.any(|line| {
        line.strip_prefix(start.as_str()).is_some_and(|rest| {
            let allowed: Vec<String> =
                rest.split('"').skip(1).step_by(2).map(str::to_owned).collect();
            is_allowed(licence, &allowed)
        })
    })
}

/// Whether the SPDX `expression` can be satisfied with `allowed` licences alone. An expression that
/// does not parse is not allowed.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    // Old manifests write `MIT/Apache-2.0`.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut parser = Expression { words: spaced.split_whitespace().peekable(), allowed };
    parser.any() == Some(true) && parser.words.next().is_none()
}

/// Reads an expression and answers it as it goes; `None` is a syntax error.
struct Expression<'a, I: Iterator<Item = &'a str>> {
    words: std::iter::Peekable<I>,
    allowed: &'a [String],
}

impl<'a, I: Iterator<Item = &'a str>> Expression<'a, I> {
    /// `all OR all OR ...`
    fn any(&mut self) -> Option<bool> {
        let mut result = self.all()?;
        while self.words.next_if_eq(&"OR").is_some() {
            result |= self.all()?;
        }
        Some(result)
    }

    /// `one AND one AND ...`
    fn all(&mut self) -> Option<bool> {
        let mut result = self.one()?;
        while self.words.next_if_eq(&"AND").is_some() {
            result &= self.one()?;
        }
        Some(result)
    }

    /// A licence, a licence with an exception, or an expression in parentheses.
    fn one(&mut self) -> Option<bool> {
        let word = self.words.next()?;
        if word == "(" {
            let result = self.any()?;
            return (self.words.next() == Some(")")).then_some(result);
        }
        if [")", "OR", "AND", "WITH"].contains(&word) {
            return None;
        }
        let mut licence = word.to_owned();
        if self.words.next_if_eq(&"WITH").is_some() {
            licence = format!("{licence} WITH {}", self.words.next()?);
        }
        Some(self.allowed.contains(&licence))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const DENY: &str = "[bans]\nallow = [\"nothing\"]\n\n[licenses]\n# allow = [\"GPL-3.0\"]\n\
                        allow = [\n    \"MIT\", # short\n    \"Apache-2.0\",\n    \
                        \"Apache-2.0 WITH LLVM-exception\",\n]\nother = [\"ISC\"]\n\n[sources]\n";

    fn package(license: Option<&str>, source: Option<&str>) -> Package {
        Package {
            name: "thing".to_owned(),
            version: "1.2.3".to_owned(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
            dependencies: Vec::new(),
            targets: Vec::new(),
            manifest_path: PathBuf::new(),
        }
    }

    #[test]
    fn the_list_is_read_from_its_own_table() {
        let expected = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
        assert_eq!(allowed_licences(DENY), expected);
        assert_eq!(allowed_licences("[licenses]\nallow = [\"MIT\", \"ISC\"]\n"), ["MIT", "ISC"]);
        assert_eq!(allowed_licences("[sources]\nallow = [\"MIT\"]\n"), [""; 0]);
    }

    #[test]
    fn an_exception_is_for_one_package() {
        let deny = DENY.replace(
            "other =",
            "exceptions = [\n    { crate = \"tool\", allow = [\"MPL-2.0\"] },\n]\nother =",
        );
        assert!(is_excepted("tool", "MPL-2.0", &deny));
        assert!(!is_excepted("tool", "GPL-3.0", &deny));
        assert!(!is_excepted("too", "MPL-2.0", &deny));
        assert!(!is_excepted("tool", "MPL-2.0", DENY));
        let expected = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
        assert_eq!(allowed_licences(&deny), expected);
    }

    #[test]
    fn expressions_are_weighed() {
        let allowed = allowed_licences(DENY);
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Apache-2.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT AND (GPL-3.0 OR LGPL-3.0)",
            "MIT WITH something",
            "mit",
            "",
            "MIT OR",
            "OR MIT",
            "(MIT",
            "MIT)",
            "MIT Apache-2.0",
        ] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn dependencies_without_an_allowed_licence_are_named() {
        assert_eq!(check(&[package(Some("MIT"), Some("registry"))], DENY), []);
        for (licence, said) in [(Some("AGPL-3.0"), "`AGPL-3.0`"), (None, "no stated licence")] {
            let problems = check(&[package(licence, Some("registry"))], DENY);
            assert_eq!(problems.len(), 1);
            let text = problems[0].to_string();
            assert!(text.contains("`thing 1.2.3`") && text.contains(said), "{text}");
        }
    }

    #[test]
    fn our_own_crates_carry_our_licence() {
        assert_eq!(check(&[package(Some(OURS), None)], DENY), []);
        assert_eq!(check(&[package(None, None)], DENY).len(), 1);
        assert_eq!(check(&[package(Some("MIT"), None)], DENY).len(), 1);
    }

    #[test]
    fn an_empty_list_is_a_problem_in_itself() {
        let problems = check(&[], "[licenses]\n");
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "deny.toml");
    }
}
