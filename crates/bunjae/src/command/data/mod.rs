//! `bunjae data`: look at a data set, or make one.

mod generate;
mod inspect;

use bunjae_data::DataError;
use clap::{Args, Subcommand};

use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::output::Output;

/// Look at a data set, or make one
///
/// A data set is a folder with a folder of pictures per class, such folders under train, val and
/// test, a CSV manifest with the columns file and class, or a folder with MNIST's IDX or CIFAR's
/// binary files.
#[derive(Debug, Args)]
pub(crate) struct Data {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    Inspect(inspect::Inspect),
    Generate(generate::Generate),
}

impl Data {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        match &self.command {
            DataCommand::Inspect(inspect) => inspect.run(output),
            DataCommand::Generate(generate) => generate.run(output),
        }
    }
}

/// What is wrong with the data, and the way out.
impl From<DataError> for Failure {
    fn from(error: DataError) -> Failure {
        Failure::new(&error).maybe_hint(error.hint())
    }
}
