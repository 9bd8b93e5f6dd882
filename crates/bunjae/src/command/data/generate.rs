//! `bunjae data generate`: pictures for whoever has none.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use bunjae_data::DataError;
use bunjae_data::generate::prps::{Defect, Prps};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::args::{self, positive};
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::number::thousands;
use crate::output::{Output, Report};
use crate::page::Page;

/// Make a data set
///
/// Pictures are written as PNG files, a folder for each class. They depend on the seed alone, so
/// that the same command makes the same files.
#[derive(Debug, Args)]
#[command(after_help = "Example: bunjae data generate prps -o prps --per-class 500")]
pub(crate) struct Generate {
    /// What is on the pictures
    #[arg(value_enum)]
    kind: Kind,
    /// The folder to write; it must not exist, or be empty
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Pictures of each class
    #[arg(long, value_name = "N", value_parser = positive, default_value = "200")]
    per_class: NonZeroUsize,
    /// From 0 (a laboratory) to 1 (hardly to be told apart)
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0.5")]
    difficulty: f64,
    /// What everything random follows from
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Phase-resolved pulse sequences of partial discharge, six kinds of defect, 120x60 grey
    Prps,
}

#[derive(Serialize)]
struct Generated {
    kind: Kind,
    output: String,
    classes: Vec<&'static str>,
    per_class: usize,
    pictures: usize,
    difficulty: f64,
    seed: u64,
}

impl Report for Generated {
    const COMMAND: &'static str = "data generate";

    fn write(&self, page: &mut Page) {
        page.fields([
            ("written", self.output.clone()),
            ("pictures", thousands(self.pictures as u64)),
            ("classes", self.classes.join(", ")),
            ("difficulty", self.difficulty.to_string()),
            ("seed", self.seed.to_string()),
        ]);
    }
}

impl Generate {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let shown = self.output.display();
        match std::fs::read_dir(&self.output).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => {
                return Err(Failure::new(format!("{shown} is not empty"))
                    .hint("give a folder that is empty or does not exist yet"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(format!("cannot write {shown}: {error}"))),
        }
        let prps =
            Prps { per_class: self.per_class.get(), difficulty: self.difficulty, seed: self.seed };
        let pictures = prps.per_class.saturating_mul(Defect::ALL.len());
        let bar = output.bar(pictures, "pictures");
        let written = prps.write(&self.output, 0, &|done| bar.set_position(done as u64));
        bar.finish_and_clear();
        written.map_err(|error| match error {
            // The generator reports the system's reason with the path that it could not write.
            DataError::Read { path, source } => {
                Failure::new(format!("cannot write {}: {source}", path.display()))
            }
            error => error.into(),
        })?;
        output.report(&Generated {
            kind: self.kind,
            output: self.output.display().to_string(),
            classes: Defect::ALL.map(Defect::name).to_vec(),
            per_class: prps.per_class,
            pictures,
            difficulty: prps.difficulty,
            seed: prps.seed,
        })?;
        Ok(Outcome::Done)
    }
}
