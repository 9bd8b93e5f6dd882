//! The commands, one module each: its arguments, its report, and how it comes about.

mod annotate;
mod bench;
mod camera;
mod clean;
mod compare;
mod compile;
mod data;
mod detect;
mod diff;
mod evaluate;
mod inspect;
mod new;
mod predict;
mod profile;
mod prune;
mod run;
mod shell;
mod status;
mod train;

use clap::Subcommand;

pub(crate) use predict::Standalone;

use crate::failure::{Failure, Fallible};
use crate::output::Output;

/// One verb each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Inspect(inspect::Inspect),
    Profile(profile::Profile),
    Prune(Box<prune::Prune>),
    Diff(diff::Diff),
    New(new::New),
    Bench(Box<bench::Bench>),
    Compile(Box<compile::Compile>),
    Annotate(Box<annotate::Annotate>),
    Predict(Box<predict::Predict>),
    Data(data::Data),
    Train(Box<train::Train>),
    Finetune(Box<train::Finetune>),
    Distill(Box<train::Distill>),
    Evaluate(Box<evaluate::Evaluate>),
    Run(run::Run),
    Status(status::Status),
    Clean(clean::Clean),
    Compare(Box<compare::Compare>),
    Detect(Box<detect::Detect>),
    Camera(Box<camera::Camera>),
    Completions(shell::Completions),
    #[command(name = "man")]
    Manual(shell::Manual),
}

/// How a command that did not fail came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done as asked.
    Done,
    /// A check that was asked for failed.
    CheckFailed,
    /// Ended by a signal, in order.
    Interrupted,
}

impl Command {
    /// Whether its report is a comparison, which has a form in Markdown.
    fn compares(&self) -> bool {
        matches!(self, Command::Compare(_))
    }
}

/// Runs a command.
pub(crate) fn run(command: &Command, output: &Output) -> Fallible<Outcome> {
    if output.is_markdown() && !command.compares() {
        return Err(Failure::new("this command has no report in Markdown")
            .hint("`--format text` and `--format json` are there"));
    }
    match command {
        Command::Inspect(inspect) => inspect.run(output),
        Command::Profile(profile) => profile.run(output),
        Command::Prune(prune) => prune.run(output),
        Command::Diff(diff) => diff.run(output),
        Command::New(new) => new.run(output),
        Command::Bench(bench) => bench.run(output),
        Command::Compile(compile) => compile.run(output),
        Command::Annotate(annotate) => annotate.run(output),
        Command::Predict(predict) => predict.run(output),
        Command::Data(data) => data.run(output),
        Command::Train(train) => train.run(output),
        Command::Finetune(finetune) => finetune.run(output),
        Command::Distill(distill) => distill.run(output),
        Command::Evaluate(evaluate) => evaluate.run(output),
        Command::Run(run) => run.run(output),
        Command::Status(status) => status.run(output),
        Command::Clean(clean) => clean.run(output),
        Command::Compare(compare) => compare.run(output),
        Command::Detect(detect) => detect.run(output),
        Command::Camera(camera) => camera.run(output),
        Command::Completions(completions) => completions.run(output),
        Command::Manual(manual) => manual.run(output),
    }
}
