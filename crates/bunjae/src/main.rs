//! The program `bunjae`: look at image networks, count what they cost, cut them, compare them, run
//! them.
//!
//! Owns the command line: arguments ([`args`]), one module for each command ([`command`]), how
//! reports are laid out ([`page`]) and printed ([`output`]), what an error says ([`failure`]), and
//! the exit codes: 0 done, 1 a check that was asked for failed, 2 an error.
//!
//! Never here: anything that computes with a model. A command wires the crates below it and shows
//! what they return; what another program could want lives in one of them.
#![forbid(unsafe_code)]

mod annotate;
mod args;
mod command;
mod detector;
mod failure;
mod interrupt;
mod model;
mod number;
mod output;
mod page;
mod payload;
mod provenance;
mod records;
#[cfg(test)]
mod reference;
mod runnable;

use std::process::ExitCode;

use command::Outcome;
use output::Output;

fn main() -> ExitCode {
    let brought = std::env::current_exe().ok().map(|own| (payload::find(&own), own));
    let (output, outcome) = match brought {
        // An executable that brings a model along takes pictures, not commands.
        Some((Ok(Some(part)), own)) => {
            let asked: command::Standalone = args::parse();
            let output = Output::new(asked.global());
            let outcome = asked.run(&own, part, &output);
            (output, outcome)
        }
        Some((Err(failure), _)) => (Output::default(), Err(failure)),
        Some((Ok(None), _)) | None => {
            // Wrong arguments and `--help` end the program in here, with exit codes 2 and 0.
            let cli: args::Cli = args::parse();
            let output = Output::new(&cli.global);
            let outcome = interrupt::install().and_then(|()| command::run(&cli.command, &output));
            (output, outcome)
        }
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(interrupt::INTERRUPTED),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(2)
        }
    }
}
