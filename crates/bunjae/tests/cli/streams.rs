//! What goes where: stdout for data, stderr for the rest, colour, quiet, closed pipes.

use std::process::Stdio;

use crate::support::{Folder, snapshot};

#[test]
fn help_is_complete() {
    let folder = Folder::new();
    snapshot!("help", folder.session(&["--help", "prune -h", "--version"]));
}

#[test]
fn colour_is_for_terminals_unless_asked() {
    let folder = Folder::with_tiny();
    let colour = |line: &str, variable: Option<(&str, &str)>| {
        let mut command = folder.command(line);
        if let Some((name, value)) = variable {
            command.env(name, value);
        }
        let output = command.output().unwrap();
        [output.stdout, output.stderr].concat().contains(&0x1b)
    };
    for line in ["profile tiny.onnx", "inspect nowhere.onnx", "inspect --no-such-flag"] {
        assert!(!colour(line, None), "{line}");
        assert!(colour(&format!("{line} --color always"), None), "{line}");
        // What was asked for in so many words outweighs the variable.
        assert!(colour(&format!("{line} --color=always"), Some(("NO_COLOR", "1"))), "{line}");
        assert!(!colour(&format!("{line} --color never"), Some(("CLICOLOR_FORCE", "1"))), "{line}");
    }
}

#[test]
fn json_is_never_coloured() {
    let folder = Folder::with_tiny();
    let text = folder.done("profile tiny.onnx --format json --color always");
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = Folder::new();
    folder.done("new mask-base -o m.onnx");
    // Enough text to fill any pipe.
    let mut child = folder
        .command("inspect m.onnx --dump --weights")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let folder = Folder::with_tiny();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = folder.command("inspect tiny.onnx").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: cannot write to stdout: "), "{stderr}");
}

#[test]
fn quiet_leaves_errors() {
    let folder = Folder::with_tiny();
    let output = folder.run("prune tiny.onnx -o a.onnx --ratio 0.5 --quiet");
    assert!(output.stderr.is_empty() && !output.stdout.is_empty());
    let output = folder.run("inspect nowhere.onnx --quiet");
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}

#[test]
fn names_are_whole_without_a_terminal() {
    let folder = Folder::new();
    folder.done("new resnet20 -o r.onnx");
    let text = folder.done("profile r.onnx");
    assert!(!text.contains('…'));
    assert!(text.contains("layer3.2.conv2"));
}
