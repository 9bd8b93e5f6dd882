//! What shells complete, and the manual.

use crate::support::Folder;

#[test]
fn every_shell_gets_completions_that_know_the_commands() {
    let folder = Folder::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = folder.done(&format!("completions {shell}"));
        for word in ["distill", "recalibrate-bn", "camera"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn the_manual_has_a_page_for_each_command_and_those_below_it() {
    let folder = Folder::new();
    folder.done("man pages");
    let read = |name: &str| std::fs::read_to_string(folder.path("pages").join(name)).unwrap();
    assert!(read("bunjae.1").contains("bunjae\\-prune(1)"), "{}", read("bunjae.1"));
    assert!(read("bunjae-prune.1").contains("\\-\\-keep\\-macs"));
    assert!(read("bunjae-data-generate.1").contains("\\-\\-per\\-class"));
}
