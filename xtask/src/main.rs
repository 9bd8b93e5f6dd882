//! The command line of the workspace's checks; `cargo xtask help` lists them.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints")]

use std::process::ExitCode;

use xtask::steps::{self, Step};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() || arguments.iter().any(|word| word == "help" || word == "--help") {
        println!("{}", steps::usage());
        return ExitCode::SUCCESS;
    }
    match Step::parse_all(&arguments) {
        Ok(chosen) => run(&chosen),
        Err(unknown) => {
            eprintln!("error: there is no step `{unknown}`\n\n{}", steps::usage());
            ExitCode::from(2)
        }
    }
}

/// Runs the steps in turn, all of them even when one fails, and closes with a table of the results.
fn run(chosen: &[Step]) -> ExitCode {
    let mut reports = Vec::new();
    for step in chosen {
        eprintln!("--- {}: {}", step.name(), step.about());
        let report = step.run();
        if let Some(detail) = report.outcome.detail() {
            eprintln!("{detail}");
        }
        reports.push(report);
    }
    eprint!("\n{}", steps::summary(&reports));
    if reports.iter().any(|report| report.outcome.is_failure()) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
