//! Crate roots and manifests: the front page of every crate, and who may be unsafe.

use std::path::Path;

use crate::metadata::Package;
use crate::source::Source;

use super::Problem;

/// The crates that may contain `unsafe`; all others forbid it in their root.
const MAY_BE_UNSAFE: &[&str] = &["bunjae-tensor", "bunjae-kernels", "bunjae-engine", "bunjae-capi"];

/// What a crate root is the root of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKind {
    /// The crate that readers of the documentation see first: the library, or the program where
    /// there is none. It carries the front page.
    Front,
    /// A program beside a library.
    Program,
}

/// The roots of the library and the programs of `package`.
pub fn of(package: &Package) -> Vec<(&Path, RootKind)> {
    let roots = |kind: &'static str| {
        let targets = package.targets.iter();
        targets.filter(move |target| target.kind.iter().any(|name| name == kind))
    };
    // A library for other languages lists its own kinds, and `rlib` where Rust may link it too.
    let library = |target: &&crate::metadata::Target| {
        let is = |kind: &String| ["lib", "rlib", "cdylib", "staticlib"].contains(&kind.as_str());
        target.kind.iter().any(is)
    };
    let has_library = package.targets.iter().any(|target| library(&target));
    let program = if has_library { RootKind::Program } else { RootKind::Front };
    let libraries = package.targets.iter().filter(library);
    let libraries = libraries.map(|target| (target.src_path.as_path(), RootKind::Front));
    libraries.chain(roots("bin").map(|target| (target.src_path.as_path(), program))).collect()
}

/// Checks a crate root for its front page and its promise about `unsafe`.
pub fn check_root(package: &str, kind: RootKind, path: &str, content: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let source = Source::new(content);
    let forbids = source
        .attributes()
        .iter()
        .any(|attribute| attribute.inner && attribute.text == "forbid(unsafe_code)");
    if !forbids && !MAY_BE_UNSAFE.contains(&package) {
        problems.push(Problem::file(path, "the crate root needs `#![forbid(unsafe_code)]`"));
    }
    if kind == RootKind::Front {
        let page = front_page(content);
        if !page.iter().any(|paragraph| paragraph.starts_with("Owns") || paragraph.contains("owns"))
        {
            problems.push(Problem::file(
                path,
                "the front page (`//!`) needs a paragraph that says what the crate owns",
            ));
        }
        if !page.iter().any(|paragraph| paragraph.contains("Never here:")) {
            problems.push(Problem::file(
                path,
                "the front page (`//!`) needs a paragraph `Never here:` that says what must stay out",
            ));
        }
    }
    problems
}

/// Checks that a manifest opts in to the workspace's lints, which cargo does not do by itself.
pub fn check_manifest(path: &str, content: &str) -> Vec<Problem> {
    let mut lines = content.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    if lines.next() == Some("workspace = true") {
        Vec::new()
    } else {
        vec![Problem::file(path, "needs `[lints]` followed by `workspace = true`")]
    }
}

/// The paragraphs of the module documentation at the top of a file.
fn front_page(content: &str) -> Vec<String> {
    let lines: Vec<&str> =
        content.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    lines.split(|line| line.is_empty()).map(|paragraph| paragraph.join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::metadata::Target;

    const GOOD: &str = "//! Shapes.\n//!\n//! Owns shapes.\n//!\n//! Never here: files.\n\
                        #![forbid(unsafe_code)]\n\nmod a;\n";

    fn messages(package: &str, kind: RootKind, content: &str) -> Vec<String> {
        check_root(package, kind, "lib.rs", content).into_iter().map(|p| p.message).collect()
    }

    #[test]
    fn a_good_root_passes() {
        assert_eq!(messages("bunjae-ir", RootKind::Front, GOOD), [""; 0]);
        let other = GOOD.replace("Owns shapes", "This crate owns shapes");
        assert_eq!(messages("bunjae-ir", RootKind::Front, &other), [""; 0]);
    }

    #[test]
    fn unsafe_is_forbidden_but_for_four_crates() {
        for bad in [
            GOOD.replace("#![forbid(unsafe_code)]", ""),
            GOOD.replace("#![forbid(unsafe_code)]", "#![deny(unsafe_code)]"),
            GOOD.replace("#![forbid(unsafe_code)]", "// #![forbid(unsafe_code)]"),
            GOOD.replace("#![forbid(unsafe_code)]", "#[forbid(unsafe_code)]"),
        ] {
            let found = messages("bunjae-ir", RootKind::Front, &bad);
            assert_eq!(found, ["the crate root needs `#![forbid(unsafe_code)]`"], "{bad}");
            assert_eq!(messages("bunjae-kernels", RootKind::Front, &bad), [""; 0]);
        }
    }

    #[test]
    fn the_front_page_says_what_is_owned_and_what_stays_out() {
        let no_owner = GOOD.replace("Owns", "Has");
        let found = messages("bunjae-ir", RootKind::Front, &no_owner);
        assert!(found.len() == 1 && found[0].contains("what the crate owns"), "{found:?}");
        let no_never = GOOD.replace("Never here:", "Elsewhere:");
        let found = messages("bunjae-ir", RootKind::Front, &no_never);
        assert!(found.len() == 1 && found[0].contains("Never here:"), "{found:?}");
    }

    #[test]
    fn comments_further_down_are_no_front_page() {
        let late =
            "//! Shapes.\n#![forbid(unsafe_code)]\n//! Owns shapes.\n//!\n//! Never here: files.\n";
        assert_eq!(messages("bunjae-ir", RootKind::Front, late).len(), 2);
    }

    #[test]
    fn a_program_beside_a_library_needs_no_front_page_of_its_own() {
        let short = "//! The command line.\n#![forbid(unsafe_code)]\nfn main() {}\n";
        assert_eq!(messages("bunjae", RootKind::Program, short), [""; 0]);
        assert_eq!(messages("bunjae", RootKind::Front, short).len(), 2);
    }

    #[test]
    fn roots_are_the_library_and_the_programs() {
        let target = |kind: &str, path: &str| Target {
            kind: vec![kind.to_owned()],
            src_path: PathBuf::from(path),
        };
        let mut package = Package {
            name: "bunjae".to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            source: None,
            dependencies: Vec::new(),
            targets: vec![
                target("test", "t.rs"),
                target("bin", "main.rs"),
                target("lib", "lib.rs"),
            ],
            manifest_path: PathBuf::new(),
        };
        let lib = (Path::new("lib.rs"), RootKind::Front);
        assert_eq!(of(&package), [lib, (Path::new("main.rs"), RootKind::Program)]);
        package.targets[2].kind = vec!["cdylib".to_owned(), "rlib".to_owned()];
        assert_eq!(of(&package), [lib, (Path::new("main.rs"), RootKind::Program)]);
        package.targets.pop();
        assert_eq!(of(&package), [(Path::new("main.rs"), RootKind::Front)]);
    }

    #[test]
    fn manifests_take_the_workspace_lints() {
        assert_eq!(check_manifest("Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n"), []);
        for bad in ["[package]\nworkspace = true\n", "[lints]\nworkspace = false\n", "[lints]\n"] {
            assert_eq!(check_manifest("Cargo.toml", bad).len(), 1, "{bad}");
        }
    }
}
