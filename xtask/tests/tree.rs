//! The house rules on the real tree, so that plain `cargo test` enforces them.

use std::io::Write as _;

use xtask::tidy::{self, Platforms};

#[test]
fn the_tree_is_tidy() {
    let root = xtask::workspace_root();
    if !root.join(".git").exists() {
        // The rules are about what git tracks, which a source archive does not tell.
        assert!(!xtask::is_ci(), "CI must run in a git checkout");
        // Not `eprintln!`, which libtest hides when a test passes.
        let place = root.display();
        writeln!(std::io::stderr(), "skipped: the_tree_is_tidy: {place} is no git checkout")
            .unwrap();
        return;
    }
    let problems = tidy::check(&root, Platforms::Host).unwrap();
    assert!(problems.is_empty(), "{}", tidy::listing(&problems));
}
