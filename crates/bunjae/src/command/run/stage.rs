//! One stage: a command of the program, run in this process as if it had been typed.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bunjae_recipe::{Key, PREDICTIONS, RUN, Source, Stage};
use clap::Parser;
use serde_json::Value;

use super::recipe_file::command_line;
use super::state::trainings;
use super::work::{LOG, Made, Record, Work, finish, forget_failure, write_failed};
use crate::args::Cli;
use crate::command::{self, Outcome};
use crate::failure::{Failure, Fallible};
use crate::output::Output;

/// What a stage is run with.
pub(super) struct Context<'a> {
    pub(super) work: &'a Work,
    pub(super) stages: &'a [Stage],
    pub(super) keys: &'a [Key],
    /// How many run beside each other at most.
    pub(super) jobs: usize,
    pub(super) output: &'a Output,
}

impl Context<'_> {
    /// The command of a stage with its results in `folder`.
    pub(super) fn arguments(&self, stage: &Stage, folder: &Path) -> Vec<String> {
        arguments(self.work, self.stages, self.keys, stage, folder)
    }

    /// Runs a stage to its end. What it made so far stays where it is if it fails, or is stopped.
    pub(super) fn run(&self, at: usize, afresh: bool) -> Fallible<Record> {
        let (Some(stage), Some(key)) = (self.stages.get(at), self.keys.get(at)) else {
            return Err(Failure::new(format!("there is no stage {at}")));
        };
        let partial = self.work.partial(stage, key);
        if partial.exists() && (afresh || !stage.resumes()) {
            fs::remove_dir_all(&partial).map_err(|error| {
                Failure::new(format!("cannot remove {}: {error}", partial.display()))
            })?;
        }
        fs::create_dir_all(&partial).map_err(|error| {
            Failure::new(format!("cannot make the folder {}: {error}", partial.display()))
        })?;
        forget_failure(&partial);
        self.logged(stage, key, &partial).inspect_err(|failure| {
            // The message is told in any case; without the file it is only not there later.
            let _unwritten = write_failed(&partial, &failure.what);
        })
    }

    fn logged(&self, stage: &Stage, key: &Key, partial: &Path) -> Fallible<Record> {
        let path = partial.join(LOG);
        let log =
            fs::File::options().create(true).append(true).open(&path).map_err(|error| {
                Failure::new(format!("cannot write {}: {error}", path.display()))
            })?;
        let output = self.output.captured(&stage.name, log, self.jobs == 1);
        let mut arguments = self.arguments(stage, partial);
        let kept = |folder: PathBuf| folder.join(bunjae_train::LAST).exists();
        let resumed = stage.resumes() && trainings(&partial.join(RUN)).any(kept);
        if resumed {
            arguments.push("--resume".to_owned());
        }
        let counts_threads = stage.kind.settings.iter().copied().flatten().any(|setting| {
            setting.name == "threads" && setting.effect == bunjae_recipe::schema::Effect::Pace
        });
        if self.jobs > 1 && counts_threads && stage.setting("threads").is_none() {
            let all = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
            arguments.push(format!("--threads={}", (all / self.jobs).max(1)));
        }
        output.log(&format!("$ {}", command_line(&arguments)));
        let began = Instant::now();
        let outcome = run_here(&arguments, &output).inspect_err(|failure| {
            output.log(&format!("error: {}", failure.what));
            failure.hints.iter().for_each(|hint| output.log(&format!("hint: {hint}")));
        })?;
        let seconds = began.elapsed().as_secs_f64();
        tidy(partial)?;
        let finished = self.work.finished(stage, key);
        let outputs = stage.output().into_iter();
        let outputs =
            outputs.chain((stage.kind.name == "evaluate").then(|| PREDICTIONS.to_owned()));
        let mut report = output.into_reports().pop().unwrap_or(Value::Null);
        replace(&mut report, &partial.display().to_string(), &finished.display().to_string());
        let record = Record {
            schema_version: 1,
            name: stage.name.clone(),
            kind: stage.kind.name.to_owned(),
            key: key.clone(),
            command: self.arguments(stage, &finished),
            resumed,
            seconds,
            passed: outcome == Outcome::Done,
            outputs: outputs.map(|name| Made::of(partial, &name)).collect::<Fallible<_>>()?,
            report,
        };
        finish(partial, &finished, &record)?;
        Ok(record)
    }
}

/// The command of a stage with its results in `folder`.
pub(super) fn arguments(
    work: &Work,
    stages: &[Stage],
    keys: &[Key],
    stage: &Stage,
    folder: &Path,
) -> Vec<String> {
    let place = |source: &Source| match source {
        Source::File(path) => path.clone(),
        Source::Stage(at) => match (stages.get(*at), keys.get(*at)) {
            (Some(stage), Some(key)) => made(work, stage, key),
            _ => PathBuf::new(),
        },
    };
    stage.arguments(&place, folder)
}

/// Where the result of a finished stage lies.
pub(super) fn made(work: &Work, stage: &Stage, key: &Key) -> PathBuf {
    let folder = work.finished(stage, key);
    stage.output().map_or(folder.clone(), |name| folder.join(name))
}

/// Runs a command of the program, as its arguments say.
fn run_here(arguments: &[String], output: &Output) -> Fallible<Outcome> {
    let words = std::iter::once("bunjae").chain(arguments.iter().map(String::as_str));
    let cli = Cli::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        Failure::new(first.trim_start_matches("error: "))
    })?;
    command::run(&cli.command, output)
}

/// Removes what only a training that goes on needs, and what a killed one left half-written.
fn tidy(folder: &Path) -> Fallible<()> {
    let training = folder.join(RUN);
    for folder in std::iter::once(folder.to_path_buf()).chain(trainings(&training)) {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_temporary = name.starts_with('.') && name.ends_with(".tmp");
            let is_state = folder.starts_with(&training) && name.ends_with(".safetensors");
            if is_temporary || is_state {
                fs::remove_file(entry.path()).map_err(|error| {
                    Failure::new(format!("cannot remove {}: {error}", entry.path().display()))
                })?;
            }
        }
    }
    Ok(())
}

/// Replaces a path in every text of a report.
fn replace(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) if text.contains(from) => *text = text.replace(from, to),
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, from, to)),
        Value::Object(fields) => fields.values_mut().for_each(|value| replace(value, from, to)),
        _ => {}
    }
}
