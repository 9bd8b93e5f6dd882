//! Rules for every tracked file: text, small, and free of the machine it was written on.

use std::path::Path;

use super::Problem;

/// Larger files do not belong into the history of a source repository.
const MAX_BYTES: usize = 200_000;

/// Models, pictures and arrays: tests generate what they need or read it from the data folder.
const DATA_EXTENSIONS: &[&str] = &[
    "onnx",
    "safetensors",
    "pt",
    "pth",
    "npy",
    "npz",
    "jpg",
    "jpeg",
    "png",
    "gif",
    "webp",
    "bmp",
    "mp4",
    "zip",
    "gz",
];

/// Hand-written text, where blanks at the end of a line and tabs are accidents.
const WRITTEN_EXTENSIONS: &[&str] = &["rs", "md", "toml", "py", "sh"];

/// Folders of one machine. A path in the repository is relative, or comes from the environment.
const HOST_FOLDERS: &[&str] = &["/work/", "/tmp/", "/home/", "/root/", "/Users/"];

/// Hosts of package registries: a client knows its registry, and a user's may be another one.
const REGISTRIES: &[&str] =
    &["crates.io", "pypi.org", "pythonhosted.org", "npmjs.org", "npmjs.com", "deb.debian.org"];

/// Files that may name a registry or a host's folder, each with the reason.
const EXEMPT: &[(&str, &str)] = &[
    ("Cargo.lock", "cargo writes the address of its index into every entry"),
    ("xtask/src/tidy/text.rs", "names what it forbids"),
];

/// Checks that a file is small text of an allowed kind.
pub fn check_bytes(path: &str, bytes: &[u8]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if extension(path).is_some_and(|found| DATA_EXTENSIONS.contains(&found)) {
        let message =
            "data is not tracked; hint: generate it in the test or read it from BUNJAE_DATA";
        problems.push(Problem::file(path, message));
    } else if bytes.contains(&0) || std::str::from_utf8(bytes).is_err() {
        problems.push(Problem::file(path, "binary files are not tracked"));
    }
    if bytes.len() > MAX_BYTES {
        let message =
            format!("{} bytes; files over {MAX_BYTES} bytes are not tracked", bytes.len());
        problems.push(Problem::file(path, message));
    }
    problems
}

/// Checks the lines of a text file.
pub fn check(path: &str, content: &str) -> Vec<Problem> {
    let written = path == ".ci/run"
        || extension(path).is_some_and(|found| WRITTEN_EXTENSIONS.contains(&found));
    let exempt = EXEMPT.iter().any(|(exempt, _)| *exempt == path);
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(content.split('\n')) {
        let mut push = |message: String| problems.push(Problem::line(path, number, message));
        if written && line.ends_with(char::is_whitespace) {
            push("trailing whitespace".to_owned());
        }
        if written && line.contains('\t') {
            push("a tab; hint: spaces, or `\\t` in a string".to_owned());
        }
        if exempt {
            continue;
        }
        for folder in HOST_FOLDERS.iter().filter(|folder| has_path(line, folder)) {
            push(format!("`{folder}` is a folder of one machine; hint: a relative path"));
        }
        for host in REGISTRIES.iter().filter(|host| line.contains(**host)) {
            push(format!("names the package registry `{host}`; hint: name the package alone"));
        }
    }
    problems
}

/// Whether an absolute path under `folder` begins somewhere in `line`.
fn has_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        // After any of these it is the middle of a longer path, a URL or a variable.
        !before.is_some_and(|c| c.is_alphanumeric() || "_.-~/})>".contains(c))
    })
}

fn extension(path: &str) -> Option<&str> {
    Path::new(path).extension()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, content: &str) -> Vec<String> {
        check(path, content).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn plain_text_passes() {
        let text = "//! A.\nlet a = \"../shared/data\"; // see https://example.org/home/a\n";
        assert_eq!(found("a.rs", text), [""; 0]);
        assert_eq!(check_bytes("a.rs", text.as_bytes()), []);
    }

    #[test]
    fn data_and_binaries_are_refused() {
        for (path, bytes) in [
            ("a/model.onnx", &b"text"[..]),
            ("face.jpg", b"text"),
            ("w.safetensors", b"text"),
            ("tool", b"\x7fELF\0"),
            ("latin1.txt", b"caf\xe9"),
        ] {
            assert_eq!(check_bytes(path, bytes).len(), 1, "{path}");
        }
    }

    #[test]
    fn large_files_are_refused() {
        assert_eq!(check_bytes("a.txt", &vec![b'a'; MAX_BYTES]), []);
        assert_eq!(check_bytes("a.txt", &vec![b'a'; MAX_BYTES + 1]).len(), 1);
    }

    #[test]
    fn stray_blanks_are_refused_in_hand_written_text() {
        assert_eq!(found("a.rs", "a \nb\n"), ["a.rs:1: trailing whitespace"]);
        assert_eq!(found("a.md", "a\r\n"), ["a.md:1: trailing whitespace"]);
        assert_eq!(found(".ci/run", "a\n\tb\n").len(), 1);
        // Golden output keeps what the program printed.
        assert_eq!(found("a.snap", "a \n\tb\n"), [""; 0]);
    }

    #[test]
    fn paths_of_one_machine_are_refused() {
        for text in
            ["see /work/data", "\"/tmp/x\"", "(/home/me/a)", "PATH=/root/bin", "x:/Users/me"]
        {
            assert_eq!(found("a.md", text).len(), 1, "{text}");
        }
        for text in ["../work/data", "$DIR/tmp/x", "${DIR}/tmp/x", "network/work/x", "<dir>/tmp/x"]
        {
            assert_eq!(found("a.md", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn registries_are_refused_but_where_a_tool_writes_them() {
        let text = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        assert_eq!(found("docs/a.md", text).len(), 1);
        assert_eq!(found("Cargo.lock", text), [""; 0]);
    }
}
