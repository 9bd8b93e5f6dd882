//! `bunjae compare`: several models side by side, as a report.

mod training;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bunjae_ir::Bindings;
use bunjae_report::{Model, Report, Run, Step};
use clap::Args;

use crate::annotate::Annotating;
use crate::args::{self, Sizes};
use crate::command::Outcome;
use crate::command::bench::{self, Pace};
use crate::command::evaluate::{Labelled, Scored, Scoring, SplitArg};
use crate::command::predict::quoted;
use crate::failure::{Failure, Fallible};
use crate::interrupt::uninterrupted;
use crate::model;
use crate::number::plural;
use crate::output::Output;
use crate::provenance;
use crate::records;
use crate::runnable::{Compiling, Runnable};

/// Pictures that are scored at a time, where a model leaves that open.
const BATCH: usize = 32;

/// Hold models against each other: accuracy, size, MACs, speed and memory, as a table and a page
///
/// Counts what each model costs, times all of them as `bunjae bench` does, and, with `--data`, scores
/// them as `bunjae evaluate` does. The first model is the base that the others are held against.
/// Training curves are shown of models that were trained here and still have their run beside them.
///
/// `--output` writes the report as one page for a browser that needs nothing else, `--json` for
/// programs, in the form of docs/reference/report.schema.json.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: bunjae compare base.onnx small.onnx --data pictures -o report.html\n  \
    bunjae compare base.onnx cut-0.onnx cut-1.onnx --names base,cut,cut --format markdown"
)]
pub(crate) struct Compare {
    /// ONNX files, or what `bunjae compile` made of them; the first is the base
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// What the models are called; those with the same name are one model made with several seeds,
    /// and shown by their mean and spread [default: the names of the files]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    names: Vec<String>,
    /// The title of the report
    #[arg(long, value_name = "TEXT", default_value = "Models compared")]
    title: String,
    /// Labelled pictures to score the models on: a folder or a CSV manifest
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which pictures; data without splits is scored as a whole
    #[arg(long, value_enum, default_value = "val", requires = "data")]
    split: SplitArg,
    /// The share of pictures that may be corrupt; they are left out
    #[arg(
        long,
        value_name = "SHARE",
        value_parser = args::share,
        default_value = "0.01",
        requires = "data"
    )]
    max_corrupt: f64,
    /// Write the report as a page
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the report for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write accuracy against latency, size and MACs as a picture in SVG
    #[arg(long, value_name = "FILE", requires = "data")]
    chart: Option<PathBuf>,
    /// Write what each model says about each picture as comma-separated values
    #[arg(long, value_name = "FILE", requires = "data")]
    predictions: Option<PathBuf>,
    #[command(flatten)]
    pace: Pace,
    #[command(flatten)]
    compiling: Compiling,
    #[command(flatten)]
    sizes: Sizes,
    #[command(flatten)]
    annotating: Annotating,
}

impl Compare {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        self.check()?;
        let names = self.names()?;
        let opened = self
            .models
            .iter()
            .map(|path| Runnable::open(path, &self.compiling, output))
            .collect::<Fallible<Vec<Runnable>>>()?;
        let mut runs =
            opened.iter().map(|runnable| self.run_of(runnable)).collect::<Fallible<Vec<Run>>>()?;
        let mut report = Report::new(&self.title);
        let command = typed(std::env::args_os().skip(1));
        report.steps.push(Step { name: "compare".into(), command, ..Step::default() });
        if let Some(data) = &self.data {
            let labelled = Labelled::open(data, self.split, output)?;
            self.score(&opened, &labelled, data, &names, &mut runs, output)?;
            let Labelled { dataset, split } = &labelled;
            report.data.push(records::data_set("evaluation", data, split, dataset));
        }
        drop(opened);
        let how = (&self.compiling, &self.sizes);
        let timings = bench::timings(&self.models, &self.pace, how, output)?;
        for (run, timings) in runs.iter_mut().zip(timings.of_models) {
            run.timings = timings;
        }
        let threads: Vec<usize> = self.pace.threads.iter().map(|threads| threads.get()).collect();
        report.environment = records::environment(timings.isa, &threads);
        report.protocol = Some(records::protocol(&self.pace.protocol(), self.pace.seed));
        report.models = rows(names, runs);
        if let Some(path) = &self.output {
            records::save_html(path, &report)?;
            output.note(&format!("the report is in {}", path.display()));
        }
        if let Some(path) = &self.json {
            records::save_json(path, &report)?;
        }
        if let Some(path) = &self.chart {
            records::save_picture(path, &report)?;
        }
        output.comparison(&report)?;
        Ok(Outcome::Done)
    }

    /// Refuses what cannot be written before anything is measured.
    fn check(&self) -> Fallible<()> {
        let targets = [&self.output, &self.json, &self.chart, &self.predictions];
        for target in targets.into_iter().flatten() {
            for source in &self.models {
                model::check_target(target, Some(source))?;
            }
        }
        Ok(())
    }

    /// A name for each model: those given, or the files', as far as they tell them apart.
    fn names(&self) -> Fallible<Vec<String>> {
        if !self.names.is_empty() {
            if self.names.len() != self.models.len() {
                let names = plural(self.names.len(), "name");
                let models = plural(self.models.len(), "model");
                let what = format!("`--names` gives {names} to {models}");
                return Err(Failure::new(what).hint("a name for each, with commas between them"));
            }
            return Ok(self.names.clone());
        }
        let stem = |path: &Path| {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            stem.unwrap_or_else(|| path.display().to_string())
        };
        let stems: Vec<String> = self.models.iter().map(|path| stem(path)).collect();
        let mut names = Vec::new();
        for (at, (path, stem)) in self.models.iter().zip(&stems).enumerate() {
            let alone = stems.iter().filter(|other| *other == stem).count() == 1;
            let name = if alone { stem.clone() } else { path.display().to_string() };
            // One file given twice is two models all the same.
            let name = if names.contains(&name) { format!("{name} ({})", at + 1) } else { name };
            names.push(name);
        }
        Ok(names)
    }

    /// What is known of a model without running it.
    fn run_of(&self, runnable: &Runnable) -> Fallible<Run> {
        let graph = runnable.graph();
        let cost = match runnable.is_onnx() {
            true => {
                let mut sizes: Bindings = self.sizes.bindings(&[graph])?;
                let open = graph.symbols();
                sizes.retain(|name, _| open.contains(name));
                Some(records::cost(graph, &sizes)?)
            }
            // What was compiled is simplified, and its counts are not those of the network.
            false => None,
        };
        Ok(Run {
            seed: provenance::seed(&graph.metadata),
            file: Some(records::model_file(&runnable.path)?),
            history: provenance::commands(&graph.metadata),
            cost,
            training: training::beside(&runnable.path, &graph.metadata),
            ..Run::default()
        })
    }

    /// Scores all models, and writes down what they say.
    fn score(
        &self,
        opened: &[Runnable],
        labelled: &Labelled,
        data: &Path,
        names: &[String],
        runs: &mut [Run],
        output: &Output,
    ) -> Fallible<()> {
        let scoring = Scoring {
            compiling: &self.compiling,
            annotating: &self.annotating,
            batch: BATCH,
            threads: 0,
            max_corrupt: self.max_corrupt,
        };
        let mut table = String::from("model,file,picture,label,predicted,probability\n");
        for ((runnable, name), run) in opened.iter().zip(names).zip(runs) {
            let scored = scoring.score(runnable, &labelled.dataset, output)?;
            add_predictions(&mut table, name, &runnable.path, &scored);
            let Scored { names, scores, corrupt, .. } = &scored;
            let quality = records::quality(scores, names, (data, labelled.split), *corrupt);
            run.quality = Some(quality);
        }
        if let Some(target) = &self.predictions {
            uninterrupted(|| bunjae_files::write(target, table.as_bytes()))
                .map_err(Failure::new)?;
        }
        Ok(())
    }
}

/// A line for each picture: what the model takes it for.
fn add_predictions(table: &mut String, name: &str, path: &Path, scored: &Scored) {
    let (name, file) = (quoted(name), quoted(&path.display().to_string()));
    for prediction in scored.predictions() {
        let _ = writeln!(
            table,
            "{name},{file},{},{},{},{}",
            quoted(&prediction.picture),
            quoted(prediction.label),
            quoted(prediction.predicted),
            prediction.probability
        );
    }
}

/// A row for each name, in the order of their first models.
fn rows(names: Vec<String>, runs: Vec<Run>) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for (name, run) in names.into_iter().zip(runs) {
        match models.iter_mut().find(|model| model.name == name) {
            Some(model) => model.runs.push(run),
            None => models.push(Model::new(name, vec![run])),
        }
    }
    models
}

/// The command as one could type it.
fn typed(arguments: impl Iterator<Item = std::ffi::OsString>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+%@".contains(c);
    let word = |word: std::ffi::OsString| {
        let word = word.to_string_lossy().into_owned();
        match !word.is_empty() && word.chars().all(plain) {
            true => word,
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    };
    let words: Vec<String> = arguments.map(word).collect();
    format!("bunjae {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_typed_again() {
        let words = ["compare", "a b.onnx", "it's", "--names=x,y", ""];
        let typed = typed(words.iter().map(std::ffi::OsString::from));
        assert_eq!(typed, "bunjae compare 'a b.onnx' 'it'\\''s' --names=x,y ''");
    }

    #[test]
    fn equal_names_are_one_model_of_several_seeds() {
        let names = ["base", "cut", "cut"].map(str::to_string).to_vec();
        let seed = |seed| Run { seed: Some(seed), ..Run::default() };
        let rows = rows(names, vec![seed(0), seed(1), seed(2)]);
        let seeds: Vec<Vec<Option<u64>>> =
            rows.iter().map(|row| row.runs.iter().map(|run| run.seed).collect()).collect();
        assert_eq!(seeds, [vec![Some(0)], vec![Some(1), Some(2)]]);
    }
}
