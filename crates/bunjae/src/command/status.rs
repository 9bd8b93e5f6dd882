//! `bunjae status`: how far the stages of a recipe are.

use clap::Args;
use serde::Serialize;

use crate::command::Outcome;
use crate::command::run::figures::figures;
use crate::command::run::hashes::Hashes;
use crate::command::run::recipe_file::RecipeFile;
use crate::command::run::state::{Plan, State};
use crate::command::run::work::Work;
use crate::failure::Fallible;
use crate::number::duration;
use crate::output::{Output, Report};
use crate::page::{Align, Page, Table};

/// Show how far the stages of a recipe are
///
/// A stage is done, stopped (a training with the epochs that it has), failed, outdated (there are
/// results, of other settings or inputs), or open. Give the same `--set` as to `bunjae run`. This may
/// be asked while a run is at work.
#[derive(Debug, Args)]
#[command(after_help = "Example: bunjae status recipes/demo.toml")]
pub(crate) struct Status {
    #[command(flatten)]
    file: RecipeFile,
}

#[derive(Serialize)]
struct StatusReport {
    recipe: String,
    work: String,
    stages: Vec<Line>,
    done: usize,
}

#[derive(Serialize)]
struct Line {
    name: String,
    kind: &'static str,
    /// `done`, `stopped`, `failed`, `outdated` or `open`.
    state: &'static str,
    /// Epochs done of a training, and all.
    epoch: Option<u64>,
    epochs: Option<u64>,
    seconds: Option<f64>,
    /// What is to be said beside: figures, a message, what has changed.
    note: String,
    folder: String,
}

impl Status {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let recipe = self.file.read()?;
        let work = Work::new(self.file.work());
        let marker = work.marker()?;
        let plan = Plan::of(recipe, &work, &mut Hashes::open(&work, output))?;
        if let Some(marker) = marker
            && marker.set != self.file.set
        {
            let sets: Vec<String> = marker.set.iter().map(|set| format!(" --set {set}")).collect();
            let how = if sets.is_empty() { " no --set".to_owned() } else { sets.concat() };
            output.note(&format!("note: the latest run had{how}"));
        }
        let lines = (0..plan.recipe.stages.len()).map(|at| line(&plan, &work, at));
        let stages: Vec<Line> = lines.collect();
        output.report(&StatusReport {
            recipe: self.file.recipe.display().to_string(),
            work: work.root.display().to_string(),
            done: stages.iter().filter(|line| line.state == "done").count(),
            stages,
        })?;
        Ok(Outcome::Done)
    }
}

fn line(plan: &Plan, work: &Work, at: usize) -> Line {
    let (stage, key) = (&plan.recipe.stages[at], &plan.keys[at]);
    let epochs = Plan::epochs(stage);
    let line = Line {
        name: stage.name.clone(),
        kind: stage.kind.name,
        state: "open",
        epoch: None,
        epochs,
        seconds: None,
        note: String::new(),
        folder: work.partial(stage, key).display().to_string(),
    };
    match &plan.states[at] {
        State::Done(record) => {
            let figures =
                figures(record).into_iter().map(|(name, value)| format!("{name} {value}"));
            Line {
                state: "done",
                seconds: Some(record.seconds),
                note: figures.collect::<Vec<_>>().join(", "),
                folder: work.finished(stage, key).display().to_string(),
                ..line
            }
        }
        State::Begun { epoch } => Line {
            state: "stopped",
            epoch: *epoch,
            note: match (epoch, epochs) {
                (Some(epoch), Some(epochs)) => format!("epoch {epoch} of {epochs}"),
                _ => String::new(),
            },
            ..line
        },
        State::Failed { message, epoch } => {
            let first = message.lines().next().unwrap_or_default().to_owned();
            Line { state: "failed", epoch: *epoch, note: first, ..line }
        }
        State::Open { earlier: Some(_) } => {
            Line { state: "outdated", note: plan.reason(at), ..line }
        }
        State::Open { earlier: None } => line,
    }
}

impl Report for StatusReport {
    const COMMAND: &'static str = "status";

    fn write(&self, page: &mut Page) {
        page.fields([
            ("recipe", self.recipe.clone()),
            ("work", self.work.clone()),
            ("done", format!("{} of {}", self.done, self.stages.len())),
        ]);
        page.gap();
        let mut table = Table::new([
            ("stage", Align::Left),
            ("kind", Align::Left),
            ("state", Align::Left),
            ("time", Align::Right),
            ("", Align::Left),
        ]);
        for line in &self.stages {
            table.row([
                line.name.clone(),
                line.kind.to_owned(),
                line.state.to_owned(),
                line.seconds.map_or(String::new(), duration),
                line.note.clone(),
            ]);
        }
        page.table(&table);
    }
}
