//! `bunjae run`: a whole pipeline from one file.

mod execute;
pub(super) mod figures;
pub(super) mod hashes;
pub(super) mod recipe_file;
mod report;
#[cfg(test)]
mod schema_tests;
mod stage;
pub(super) mod state;
pub(super) mod work;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::args::positive;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::interrupt;
use crate::number::duration;
use crate::output::{Output, Report};
use crate::page::{Align, Page, Table};
use crate::records;
use execute::{End, How};
use figures::figures;
use hashes::Hashes;
use recipe_file::{RecipeFile, command_line};
use state::{Plan, State};
use work::Work;

/// Run a whole pipeline from one file
///
/// A recipe names stages (generate, new, train, distill, prune, finetune, compile, evaluate, bench)
/// and says which takes what from which. It is checked as a whole before anything runs. Each stage is
/// a command of this program, and `--dry-run` shows them.
///
/// A stage is known by everything that its result depends on: settings, inputs, what the pictures
/// hold, the program's version. What is done is not done again, a training that was stopped goes on
/// after its last epoch, and a changed setting runs anew only what follows from it. A stage that fails
/// ends what needs it and nothing else. One run at a time writes into a work folder. At the end
/// `report.html` and `report.json` there compare all models that were measured.
#[derive(Debug, Args)]
#[command(after_help = "Examples: bunjae run recipes/demo.toml\n  \
    bunjae run recipes/face-mask.toml --set data=pictures --dry-run\n  \
    bunjae run recipe.toml --set epochs=1 --work trial")]
pub(crate) struct Run {
    #[command(flatten)]
    file: RecipeFile,
    /// Show what is done, what would run and why, with the commands; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Run so many stages beside each other, with a part of the threads each. What is measured runs
    /// alone
    #[arg(long, value_name = "N", value_parser = positive, default_value = "1")]
    jobs: NonZeroUsize,
    /// Run a stage anew even if it is done, and what follows from it if it comes out otherwise; may be
    /// repeated. The name in the recipe stands for all that a list made of it
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Write the comparison of the models as a table in Markdown
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Wait where another run writes into the work folder, rather than fail
    #[arg(long)]
    wait: bool,
}

/// What is said of a stage.
#[derive(Serialize)]
struct Line {
    name: String,
    kind: &'static str,
    /// `done`, `ran`, `failed`, `not run`, or, in a dry run, `runs`.
    state: &'static str,
    /// Why it runs.
    why: Option<String>,
    key: String,
    folder: String,
    command: Vec<String>,
    seconds: Option<f64>,
    passed: Option<bool>,
    figures: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct RunReport {
    recipe: String,
    title: Option<String>,
    work: String,
    dry_run: bool,
    stages: Vec<Line>,
    /// The page with what came out, where something was measured.
    report: Option<String>,
    /// The comparison of the models, for people.
    #[serde(skip)]
    comparison: Option<String>,
}

impl Run {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        if let Some(table) = &self.table {
            crate::model::check_target(table, Some(&self.file.recipe))?;
        }
        let recipe = self.file.read()?;
        let work = Work::new(self.file.work());
        let forced = self.forced(&recipe)?;
        if self.dry_run {
            work.marker()?;
            let mut hashes = Hashes::open(&work, output);
            let plan = Plan::of(recipe, &work, &mut hashes)?;
            output.report(&self.planned(&plan, &work, &forced))?;
            return Ok(Outcome::Done);
        }
        let _lock = work.lock(&self.file.again("run"), self.wait, output)?;
        work.mark(&self.file.recipe, &self.file.set)?;
        let mut hashes = Hashes::open(&work, output);
        let plan = Plan::of(recipe, &work, &mut hashes)?;
        hashes.save(&work)?;
        self.announce(&plan, &forced, output);
        interrupt::farewell(Some(format!("stopped; this goes on: {}", self.file.again("run"))));
        let how = How { jobs: self.jobs.get(), forced };
        let ends = execute::execute(&plan, &work, &how, output);
        interrupt::farewell(None);
        let title = self.file.recipe.file_stem().unwrap_or_default().to_string_lossy();
        let found = report::report(&plan, &work, &ends, &title, output)?;
        let mut told = self.finished(&plan, &work, &ends);
        if let Some(found) = &found {
            report::save(&work, found)?;
            told.report = Some(work.path(report::HTML).display().to_string());
            told.comparison = Some(bunjae_report::text(found));
        }
        output.report(&told)?;
        if let Some(table) = &self.table {
            let found = found.as_ref().ok_or_else(|| {
                Failure::new("no model was measured, so there is no table")
                    .hint("`[evaluate.NAME]` and `[bench.NAME]` measure models")
            })?;
            records::save(table, bunjae_report::markdown(found))?;
        }
        execute::failure(&plan, &work, &ends)?;
        let passed = ends.iter().filter_map(End::record).all(|record| record.passed);
        Ok(if passed { Outcome::Done } else { Outcome::CheckFailed })
    }

    /// For each stage whether `--force` names it.
    fn forced(&self, recipe: &bunjae_recipe::Recipe) -> Fallible<Vec<bool>> {
        let mut forced = vec![false; recipe.stages.len()];
        for name in &self.force {
            let stages = recipe.named(name);
            if stages.is_empty() {
                let similar = recipe.closest(name);
                return Err(Failure::new(format!("`--force {name}`: no stage is called so"))
                    .maybe_hint(similar.map(|similar| format!("did you mean `{similar}`?")))
                    .hint("`--dry-run` lists the stages"));
            }
            stages.into_iter().for_each(|at| forced[at] = true);
        }
        Ok(forced)
    }

    fn announce(&self, plan: &Plan, forced: &[bool], output: &Output) {
        let all = plan.states.len();
        let states = plan.states.iter().zip(forced);
        let done = states.filter(|(state, forced)| matches!(state, State::Done(_)) && !*forced);
        match done.count() {
            0 => output.note(&format!("{all} stages")),
            done if done == all => output.note(&format!("all {all} stages are done already")),
            done => output.note(&format!("{done} of {all} stages are done already")),
        }
    }

    fn line(&self, plan: &Plan, work: &Work, at: usize) -> Line {
        let (stage, key) = (&plan.recipe.stages[at], &plan.keys[at]);
        let folder = work.finished(stage, key);
        Line {
            name: stage.name.clone(),
            kind: stage.kind.name,
            state: "runs",
            why: None,
            key: key.digest.clone(),
            command: stage::arguments(work, &plan.recipe.stages, &plan.keys, stage, &folder),
            folder: folder.display().to_string(),
            seconds: None,
            passed: None,
            figures: BTreeMap::new(),
        }
    }

    fn report(&self, plan: &Plan, work: &Work, stages: Vec<Line>) -> RunReport {
        RunReport {
            recipe: self.file.recipe.display().to_string(),
            title: plan.recipe.title.clone(),
            work: work.root.display().to_string(),
            dry_run: self.dry_run,
            stages,
            report: None,
            comparison: None,
        }
    }

    fn planned(&self, plan: &Plan, work: &Work, forced: &[bool]) -> RunReport {
        let mut stages: Vec<Line> = Vec::new();
        // What comes before a stage and is forced may come out otherwise.
        let mut after_forced: Vec<Option<usize>> = Vec::new();
        for (at, state) in plan.states.iter().enumerate() {
            let needs = plan.recipe.stages[at].needs();
            let earlier = needs.iter().find_map(|&need| match forced[need] {
                true => Some(need),
                false => after_forced.get(need).copied().flatten(),
            });
            after_forced.push(earlier);
            let line = self.line(plan, work, at);
            stages.push(match state {
                _ if forced[at] => Line { why: Some("forced".to_owned()), ..line },
                State::Done(record) => {
                    let name = earlier.map(|earlier| &plan.recipe.stages[earlier].name);
                    let why = name.map(|name| format!("unless `{name}` comes out otherwise"));
                    let passed = Some(record.passed);
                    Line {
                        state: "done",
                        why,
                        passed,
                        figures: figures(record).into_iter().collect(),
                        ..line
                    }
                }
                _ => Line { why: Some(plan.reason(at)), ..line },
            });
        }
        self.report(plan, work, stages)
    }

    fn finished(&self, plan: &Plan, work: &Work, ends: &[End]) -> RunReport {
        let line = |(at, end): (usize, &End)| {
            let line = self.line(plan, work, at);
            match end {
                End::Cached(record) | End::Ran(record) => Line {
                    state: if matches!(end, End::Ran(_)) { "ran" } else { "done" },
                    seconds: Some(record.seconds),
                    passed: Some(record.passed),
                    figures: figures(record).into_iter().collect(),
                    ..line
                },
                End::Failed(failure) => {
                    Line { state: "failed", why: Some(failure.what.clone()), ..line }
                }
                End::NotRun => Line { state: "not run", ..line },
            }
        };
        self.report(plan, work, ends.iter().enumerate().map(line).collect())
    }
}

impl Report for RunReport {
    const COMMAND: &'static str = "run";

    fn write(&self, page: &mut Page) {
        let mut fields = vec![("recipe", self.recipe.clone())];
        fields.extend(self.title.clone().map(|title| ("title", title)));
        fields.push(("work", self.work.clone()));
        page.fields(fields);
        page.gap();
        if self.dry_run {
            self.write_plan(page);
        } else {
            self.write_ends(page);
        }
    }
}

impl RunReport {
    fn write_plan(&self, page: &mut Page) {
        let mut table = Table::new([
            ("stage", Align::Left),
            ("kind", Align::Left),
            ("state", Align::Left),
            ("why", Align::Left),
        ]);
        for line in &self.stages {
            let why = line.why.clone().unwrap_or_default();
            table.row([line.name.clone(), line.kind.to_owned(), line.state.to_owned(), why]);
        }
        page.table(&table);
        let runs: Vec<&Line> = self.stages.iter().filter(|line| line.state == "runs").collect();
        if !runs.is_empty() {
            page.heading("commands");
        }
        for line in runs {
            page.line(&command_line(&line.command));
        }
    }

    fn write_ends(&self, page: &mut Page) {
        let mut table = Table::new([
            ("stage", Align::Left),
            ("kind", Align::Left),
            ("state", Align::Left),
            ("time", Align::Right),
            ("figures", Align::Left),
        ]);
        for line in &self.stages {
            let figures = line.figures.iter().map(|(name, value)| format!("{name} {value}"));
            let time = line.seconds.map_or(String::new(), duration);
            let figures: Vec<String> = figures.collect();
            let state = line.state.to_owned();
            table.row([line.name.clone(), line.kind.to_owned(), state, time, figures.join(", ")]);
        }
        page.table(&table);
        if let Some(comparison) = &self.comparison {
            page.gap();
            page.raw(comparison);
        }
        if let Some(report) = &self.report {
            page.gap();
            page.line(&format!("report: {report}"));
        }
    }
}
