//! A folder to run the program in, and the models that tests need.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bunjae_ir::Graph;
use bunjae_onnx::ExportOptions;
use tempfile::TempDir;

/// A temporary folder.
pub(crate) struct Folder {
    dir: TempDir,
}

/// Two convolutions with batch normalisation between, an addition, a classifier: small enough to
/// read, with one group of two layers.
pub(crate) const TINY: &str = "graph @tiny
in   %x: f32[N,3,8,8]
w    @c1.w: f32[4,3,3,3] = rand(seed=1)
w    @c1.b: f32[4] = rand(seed=2)
%1 = conv2d %x, @c1.w, @c1.b {pad=[1,1,1,1]} : f32[N,4,8,8] ; \"c1\"
%2 = relu %1 : f32[N,4,8,8] ; \"relu\"
w    @c2.w: f32[4,4,3,3] = rand(seed=3)
%3 = conv2d %2, @c2.w {pad=[1,1,1,1]} : f32[N,4,8,8] ; \"c2\"
%4 = add %2, %3 : f32[N,4,8,8] ; \"add\"
%5 = global_pool %4 {kind=mean} : f32[N,4,1,1] ; \"pool\"
%6 = flatten %5 {axis=1} : f32[N,4] ; \"flatten\"
w    @fc.w: f32[3,4] = rand(seed=4)
%7 = linear %6, @fc.w : f32[N,3] ; \"fc\"
out  %7 ; \"scores\"
";

/// A convolution over pictures of any size.
pub(crate) const ANY_SIZE: &str = "graph @any-size
in   %image: f32[N,3,height,width]
w    @c1.w: f32[4,3,3,3] = rand(seed=1)
%1 = conv2d %image, @c1.w {pad=[1,1,1,1]} : f32[N,4,height,width] ; \"c1\"
w    @c2.w: f32[2,4,1,1] = rand(seed=2)
%2 = conv2d %1, @c2.w : f32[N,2,height,width] ; \"c2\"
out  %2 ; \"map\"
";

impl Folder {
    pub(crate) fn new() -> Self {
        Folder { dir: tempfile::tempdir().unwrap() }
    }

    /// A folder that holds [`TINY`] as `tiny.onnx`.
    pub(crate) fn with_tiny() -> Self {
        let folder = Folder::new();
        folder.model("tiny.onnx", TINY);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Writes a model that is given in the text form.
    pub(crate) fn model(&self, name: &str, text: &str) {
        let graph = Graph::parse(text).unwrap();
        bunjae_onnx::save(&self.path(name), &graph, &ExportOptions::default()).unwrap();
    }

    /// The names of the files, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The program with the arguments that a line of words gives, in this folder.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bunjae"));
        command.current_dir(self.dir.path()).args(line.split_whitespace());
        for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
            command.env_remove(variable);
        }
        command
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a line that has to succeed and returns what it printed.
    #[track_caller]
    pub(crate) fn done(&self, line: &str) -> String {
        let output = self.run(line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "bunjae {line}\n{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// As [`Folder::done`], for JSON.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        let report: serde_json::Value =
            serde_json::from_str(&self.done(&format!("{line} --format json"))).unwrap();
        assert_eq!(report["schema_version"], 1);
        report
    }

    /// Each line with its exit code and what it wrote, for a snapshot.
    pub(crate) fn session(&self, lines: &[&str]) -> String {
        let mut text = String::new();
        for line in lines {
            let output = self.run(line);
            let _ = writeln!(text, "$ bunjae {line}");
            text.push_str(&String::from_utf8_lossy(&output.stdout));
            if !output.stderr.is_empty() {
                let _ = write!(text, "[stderr]\n{}", String::from_utf8_lossy(&output.stderr));
            }
            let code = output.status.code().map_or("signal".to_string(), |code| code.to_string());
            let _ = write!(text, "[exit code {code}]\n\n");
        }
        // The names of temporary folders, in messages that give whole paths.
        text.replace(&self.dir.path().display().to_string(), "[FOLDER]")
    }
}

/// Compares with a snapshot, but for what may change without anybody caring.
macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        insta::with_settings!({
            omit_expression => true,
            filters => vec![
                // The size of a file depends on how names and shapes are written.
                (r"\.onnx, [\d,]+ bytes( \([^)]*\))?", ".onnx, [SIZE]"),
                (r"(bytes on disk +).*", "$1[SIZES]"),
                (r"byte \d+: (.*) needs \d+ bytes, but \d+ are left", "byte [AT]: $1 is cut off"),
                // How much a model takes depends on what the engine makes of it.
                (r"needs \d+ bytes for its", "needs [SIZE] bytes for its"),
                (r#""file_bytes": \d+"#, r#""file_bytes": [SIZE]"#),
                (r#"(sha256\W+)[0-9a-f]{16,64}"#, "$1[HASH]"),
                (r#"(version\W+)\d+\.\d+\.\d+"#, "$1[VERSION]"),
                // Machines differ, and so does what is packed for them.
                (r"available: [^)]*", "available: [NAMES]"),
                (r"this machine has .*", "this machine has [NAMES]"),
                (r"is [0-9a-f]{8}, not [0-9a-f]{8}", "is [HASH], not [HASH]"),
                (r"written by engine [\d.]+", "written by engine [VERSION]"),
                // Windows has other words for what the operating system refuses.
                (r"\(os error \d+\)", "(os error [CODE])"),
                (r"bunjae\.exe", "bunjae"),
            ],
        }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}
pub(crate) use snapshot;

/// The sizes in the report of a prune.
pub(crate) fn sizes(report: &serde_json::Value, when: &str) -> [u64; 2] {
    ["parameters", "macs"].map(|what| report[when][what].as_u64().unwrap())
}

/// The path of a file for an argument.
pub(crate) fn argument(path: &Path) -> String {
    let text = path.display().to_string();
    assert!(!text.contains(char::is_whitespace), "{text} needs quotes");
    text
}
