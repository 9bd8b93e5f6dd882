//! The steps of `cargo xtask`, each a check that passes, fails or says why it was skipped.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{TEST_COMMAND, aarch64, cargo, command_line, is_ci, memory, tidy, workspace_root};

/// One check of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The sources are formatted as rustfmt would.
    Fmt,
    /// The house rules of [`tidy`] hold.
    Tidy,
    /// Clippy has nothing to say about any target.
    Clippy,
    /// The documentation builds without a warning.
    Doc,
    /// cargo-deny accepts every dependency on every platform.
    Deny,
    /// The kernels and whole networks compute on aarch64, under qemu, what they compute here.
    Aarch64,
    /// AddressSanitizer finds nothing in the kernels and the engine.
    Asan,
    /// All tests pass.
    Test,
    /// ThreadSanitizer finds nothing in the engine's threads.
    Tsan,
    /// Miri finds no undefined behaviour in the portable kernels and the runner.
    Miri,
}

impl Step {
    /// The steps of `cargo xtask ci` in the order it runs them: quick ones first, the tests last.
    pub const CI: [Step; 8] = [
        Step::Fmt,
        Step::Tidy,
        Step::Clippy,
        Step::Doc,
        Step::Deny,
        Step::Aarch64,
        Step::Asan,
        Step::Test,
    ];

    /// The steps that need a nightly toolchain, and run only where they are named.
    pub const NIGHTLY: [Step; 2] = [Step::Tsan, Step::Miri];

    /// Every step there is.
    pub fn all() -> impl Iterator<Item = Step> {
        Step::CI.into_iter().chain(Step::NIGHTLY)
    }

    /// The word that selects the step on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Step::Fmt => "fmt",
            Step::Tidy => "tidy",
            Step::Clippy => "clippy",
            Step::Doc => "doc",
            Step::Deny => "deny",
            Step::Aarch64 => "aarch64",
            Step::Asan => "asan",
            Step::Test => "test",
            Step::Tsan => "tsan",
            Step::Miri => "miri",
        }
    }

    /// What the step runs, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Step::Fmt => "cargo fmt --all --check",
            Step::Tidy => "the house rules: crate arrows, module docs, licences, links",
            Step::Clippy => "cargo clippy --workspace --all-targets -- -D warnings",
            Step::Doc => "cargo doc --workspace --no-deps, warnings denied",
            Step::Deny => "cargo deny check licenses bans sources",
            Step::Aarch64 => "kernels and networks for aarch64, under qemu",
            Step::Asan => "kernels, engine and tensors under AddressSanitizer",
            Step::Test => TEST_COMMAND,
            Step::Tsan => "the engine's threads under ThreadSanitizer (nightly, rust-src)",
            Step::Miri => "portable kernels and small sessions under Miri (nightly, miri)",
        }
    }

    /// The steps that `words` name, `ci` standing for [`Step::CI`], or the first word that names none.
    pub fn parse_all(words: &[String]) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        for word in words {
            if word == "ci" {
                steps.extend(Step::CI);
            } else {
                let known = Step::all().find(|step| step.name() == word);
                steps.push(known.ok_or_else(|| word.clone())?);
            }
        }
        Ok(steps)
    }

    /// Runs the step; what it starts writes to this process's own streams.
    pub fn run(self) -> Report {
        let started = Instant::now();
        let outcome = match self {
            Step::Fmt => run_cargo("fmt --all --check"),
            Step::Tidy => run_tidy(),
            Step::Clippy => run_cargo("clippy --workspace --all-targets -- -D warnings"),
            Step::Doc => run_doc(),
            Step::Deny => run_deny(),
            Step::Aarch64 => run_all(aarch64::commands(&workspace_root())),
            Step::Asan => run_all(memory::asan(&workspace_root())),
            Step::Tsan => run_all(memory::tsan(&workspace_root())),
            Step::Miri => run_all(memory::miri(&workspace_root())),
            Step::Test => run_cargo(TEST_COMMAND.trim_start_matches("cargo ")),
        };
        Report { step: self, outcome, time: started.elapsed() }
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The check ran and found nothing.
    Passed,
    /// The check ran and found something, or could not run; the text says what.
    Failed(String),
    /// The check could not run here, which is no failure outside CI; the text says why.
    Skipped(String),
}

impl Outcome {
    /// The word for the summary.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed(_) => "FAILED",
            Outcome::Skipped(_) => "skipped",
        }
    }

    /// What there is to say beyond the word.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Outcome::Passed => None,
            Outcome::Failed(why) | Outcome::Skipped(why) => Some(why),
        }
    }

    /// Whether the whole run has failed because of this step.
    pub fn is_failure(&self) -> bool {
        matches!(self, Outcome::Failed(_))
    }
}

/// What became of a step.
#[derive(Debug, Clone)]
pub struct Report {
    /// The step.
    pub step: Step,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub time: Duration,
}

/// The text of `cargo xtask help`.
pub fn usage() -> String {
    let mut text = String::from(
        "Checks the workspace.\n\n\
         Usage: cargo xtask STEP...\n\n\
         Steps, which all run even when an earlier one fails:\n",
    );
    // Writing to a String cannot fail.
    for step in Step::CI {
        let _ = writeln!(text, "  {:<8} {}", step.name(), step.about());
    }
    text.push_str("  ci       all of the above in this order\n\nOnly by name:\n");
    for step in Step::NIGHTLY {
        let _ = writeln!(text, "  {:<8} {}", step.name(), step.about());
    }
    text.push_str(
        "\n\
         Exit code: 0 all passed or were skipped, 1 a step failed, 2 no such step.\n\
         With CI=true a step that cannot run fails instead of being skipped.",
    );
    text
}

/// The closing table: step, result and seconds, a line each.
pub fn summary(reports: &[Report]) -> String {
    let mut text = String::new();
    for Report { step, outcome, time } in reports {
        let seconds = time.as_secs_f64();
        let _ = writeln!(text, "{:<8} {:<8} {seconds:>7.1} s", step.name(), outcome.name());
    }
    text
}

fn run_cargo(arguments: &str) -> Outcome {
    let mut command = cargo();
    command.args(arguments.split_whitespace());
    run_command(&mut command)
}

fn run_command(command: &mut Command) -> Outcome {
    command.current_dir(workspace_root());
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => Outcome::Failed(format!("`{}`: {status}", command_line(command))),
        Err(error) => Outcome::Failed(format!("cannot start `{}`: {error}", command_line(command))),
    }
}

/// Runs commands in turn up to the first that fails; what they need and is missing, with a hint,
/// stands in the error.
fn run_all(commands: Result<Vec<Command>, String>) -> Outcome {
    match commands {
        Ok(mut commands) => {
            let mut outcomes = commands.iter_mut().map(run_command);
            outcomes.find(|outcome| *outcome != Outcome::Passed).unwrap_or(Outcome::Passed)
        }
        Err(missing) => unavailable(missing),
    }
}

/// The outcome of a step whose tools are missing.
fn unavailable(missing: String) -> Outcome {
    if is_ci() { Outcome::Failed(missing) } else { Outcome::Skipped(missing) }
}

fn run_tidy() -> Outcome {
    match tidy::check(&workspace_root(), tidy::Platforms::All) {
        Ok(problems) if problems.is_empty() => Outcome::Passed,
        Ok(problems) => Outcome::Failed(tidy::listing(&problems)),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn run_doc() -> Outcome {
    let mut flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    flags.push_str(" -D warnings");
    let mut command = cargo();
    command.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", flags);
    run_command(&mut command)
}

fn run_deny() -> Outcome {
    let installed = cargo().args(["deny", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        let missing = "cargo-deny is not installed; hint: cargo install cargo-deny --locked";
        return unavailable(missing.to_owned());
    }
    // Advisories are left out: they need a database from the network, so the same commit would pass
    // one day and fail the next.
    run_cargo("deny --all-features check --hide-inclusion-graph licenses bans sources")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn steps_are_found_by_name_and_in_the_order_given() {
        assert_eq!(Step::parse_all(&words("doc fmt")), Ok(vec![Step::Doc, Step::Fmt]));
        assert_eq!(Step::parse_all(&words("ci")), Ok(Step::CI.to_vec()));
        assert_eq!(Step::parse_all(&words("miri")), Ok(vec![Step::Miri]));
    }

    #[test]
    fn an_unknown_step_is_named() {
        assert_eq!(Step::parse_all(&words("fmt bench")), Err("bench".to_owned()));
    }

    #[test]
    fn the_usage_names_every_step() {
        for step in Step::all() {
            assert!(usage().contains(&format!("\n  {} ", step.name())), "{step:?}");
        }
    }

    #[test]
    fn the_summary_shows_each_result() {
        let report = |step, outcome| Report { step, outcome, time: Duration::from_millis(1260) };
        let text = summary(&[
            report(Step::Fmt, Outcome::Passed),
            report(Step::Deny, Outcome::Skipped("not installed".to_owned())),
            report(Step::Test, Outcome::Failed("exit code 101".to_owned())),
        ]);
        assert_eq!(
            text,
            "fmt      passed       1.3 s\n\
             deny     skipped      1.3 s\n\
             test     FAILED       1.3 s\n"
        );
    }

    #[test]
    fn only_a_failed_step_fails_the_run() {
        assert!(Outcome::Failed(String::new()).is_failure());
        assert!(!Outcome::Skipped(String::new()).is_failure());
        assert!(!Outcome::Passed.is_failure());
    }
}
