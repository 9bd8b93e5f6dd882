//! What a run came to, as the report of its work folder.
//!
//! Everything in it was found out by a stage and stands in its record, but for what is counted from
//! the models here: sizes of files and costs of graphs.

use std::fs;
use std::path::Path;

use bunjae_ir::Graph;
use bunjae_recipe::{Argument, RUN, Source, Stage};
use bunjae_report::{
    ClassQuality, DataSet, Model, Protocol, Quality, Report, Run, Step, Timing, Training,
};
use bunjae_train::log::EpochRecord;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::execute::End;
use super::recipe_file::command_line;
use super::stage::{arguments, made};
use super::state::Plan;
use super::work::{Record, Work};
use crate::args::Sizes;
use crate::failure::Fallible;
use crate::output::Output;
use crate::records;
use crate::runnable::{Compiling, Runnable};

/// The page for people, in the work folder.
pub(super) const HTML: &str = "report.html";
/// The same for programs.
pub(super) const JSON: &str = "report.json";

/// The report on all that is done; none where no model was measured.
pub(super) fn report(
    plan: &Plan,
    work: &Work,
    ends: &[End],
    title: &str,
    output: &Output,
) -> Fallible<Option<Report>> {
    let finished = Finished { plan, work, ends };
    let mut models: Vec<Model> = Vec::new();
    for at in finished.shown() {
        let Some(run) = finished.run(at, output)? else { continue };
        let group = &plan.recipe.stages[at].group;
        match models.iter_mut().find(|model| model.name == *group) {
            Some(model) => model.runs.push(run),
            None => models.push(Model::new(group, vec![run])),
        }
    }
    if models.is_empty() {
        return Ok(None);
    }
    let mut report = Report::new(plan.recipe.title.as_deref().unwrap_or(title));
    report.models = models;
    report.steps = finished.steps();
    report.data = finished.data();
    let benches: Vec<&Record> = finished.of_kind("bench").map(|(_, record)| record).collect();
    report.protocol = benches.first().and_then(|record| protocol(&record.report));
    let rows = benches.iter().flat_map(|record| rows(&record.report));
    let mut threads: Vec<usize> =
        rows.filter_map(|row| usize::try_from(row["threads"].as_u64()?).ok()).collect();
    threads.sort_unstable();
    threads.dedup();
    let isa = benches.first().and_then(|record| record.report["isa"].as_str());
    report.environment = records::environment(isa, &threads);
    Ok(Some(report))
}

/// Writes the report in both forms.
pub(super) fn save(work: &Work, report: &Report) -> Fallible<()> {
    records::save_json(&work.path(JSON), report)?;
    records::save_html(&work.path(HTML), report)
}

/// A plan and what became of it.
struct Finished<'a> {
    plan: &'a Plan,
    work: &'a Work,
    ends: &'a [End],
}

impl Finished<'_> {
    fn record(&self, at: usize) -> Option<&Record> {
        self.ends.get(at).and_then(End::record)
    }

    /// The stages of a kind that are done.
    fn of_kind(&self, kind: &str) -> impl Iterator<Item = (&Stage, &Record)> {
        let stages = self.plan.recipe.stages.iter().enumerate();
        stages
            .filter(move |(_, stage)| stage.kind.name == kind)
            .filter_map(|(at, stage)| Some((stage, self.record(at)?)))
    }

    /// The stages whose models are shown, the base first: those that the recipe names, or all that
    /// were scored or timed.
    fn shown(&self) -> Vec<usize> {
        let wish = &self.plan.recipe.report;
        let measured = |at: &usize| {
            let source = Source::Stage(*at);
            let stages = self.of_kind("evaluate").chain(self.of_kind("bench"));
            let mut inputs = stages.flat_map(|(stage, _)| stage.inputs.iter());
            inputs.any(|(input, sources)| input.name != "data" && sources.contains(&source))
        };
        let mut shown: Vec<usize> = match wish.models.as_slice() {
            [] => (0..self.plan.recipe.stages.len()).filter(measured).collect(),
            named => named.to_vec(),
        };
        if let Some(base) = wish.base {
            // All seeds of the base, as they are one row.
            let group = &self.plan.recipe.stages[base].group;
            let is_base = |at: &usize| self.plan.recipe.stages[*at].group == *group;
            if !shown.iter().any(is_base) {
                shown.insert(0, base);
            }
            shown.sort_by_key(|at| !is_base(at));
        }
        shown
    }

    /// What is known of the model of a stage; none where the stage is not done.
    fn run(&self, at: usize, output: &Output) -> Fallible<Option<Run>> {
        let Some(record) = self.record(at) else { return Ok(None) };
        let (stage, key) = (&self.plan.recipe.stages[at], &self.plan.keys[at]);
        let path = made(self.work, stage, key);
        let runnable = Runnable::open(&path, &Compiling::default(), output)?;
        let graph: &Graph = runnable.graph();
        let cost = match runnable.is_onnx() {
            true => {
                let sizes = Sizes::default().bindings(&[graph])?;
                Some(records::cost(graph, &sizes)?)
            }
            false => None,
        };
        Ok(Some(Run {
            seed: seed(stage),
            file: Some(records::model_file(&path)?),
            history: self.history(at),
            quality: self.quality(at),
            cost,
            timings: self.timings(&path),
            training: training(&record.kind, &self.work.finished(stage, key).join(RUN)),
        }))
    }

    /// The scores of the first evaluation of a model.
    fn quality(&self, at: usize) -> Option<Quality> {
        let asked = [Source::Stage(at)];
        let mut evaluations = self.of_kind("evaluate");
        let (_, record) = evaluations.find(|(stage, _)| stage.input("model") == asked)?;
        quality(&record.report)
    }

    /// The times of a model in all that was timed.
    fn timings(&self, path: &Path) -> Vec<Timing> {
        let shown = path.display().to_string();
        let rows = self.of_kind("bench").flat_map(|(_, record)| rows(&record.report));
        rows.filter(|row| row["model"] == *shown).filter_map(timing).collect()
    }

    /// The commands that led to a model, the first one first.
    fn history(&self, at: usize) -> Vec<String> {
        let stages = &self.plan.recipe.stages;
        let mut history = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next {
            history.extend(self.record(at).map(|record| command_line(&record.command)));
            next = match stages[at].input("model").first() {
                Some(Source::Stage(earlier)) => Some(*earlier),
                Some(Source::File(_)) | None => None,
            };
        }
        history.reverse();
        history
    }

    fn steps(&self) -> Vec<Step> {
        let stages = &self.plan.recipe.stages;
        let step = |(at, stage): (usize, &Stage)| {
            let record = self.record(at)?;
            let folder = self.work.finished(stage, &self.plan.keys[at]);
            let words = arguments(self.work, stages, &self.plan.keys, stage, &folder);
            Some(Step {
                name: stage.name.clone(),
                command: command_line(&words),
                seed: seed(stage),
                cached: matches!(self.ends[at], End::Cached(_)),
                seconds: Some(record.seconds),
            })
        };
        stages.iter().enumerate().filter_map(step).collect()
    }

    /// Each data set once for learning and once for each part that models were scored on.
    fn data(&self) -> Vec<DataSet> {
        let mut sets: Vec<DataSet> = Vec::new();
        let mut add = |set: DataSet| {
            if !sets.contains(&set) {
                sets.push(set);
            }
        };
        for (stage, record) in
            ["train", "distill", "finetune"].iter().flat_map(|kind| self.of_kind(kind))
        {
            add(DataSet {
                role: "training".to_owned(),
                path: self.data_path(stage),
                sha256: text(&record.report, "data_sha256"),
                ..DataSet::default()
            });
        }
        for (stage, _) in self.of_kind("distill") {
            for source in stage.input("unlabelled") {
                add(DataSet {
                    role: "training, without labels".to_owned(),
                    path: self.source_path(source),
                    ..DataSet::default()
                });
            }
        }
        for (stage, record) in self.of_kind("evaluate") {
            let report = &record.report;
            add(DataSet {
                role: "evaluation".to_owned(),
                path: self.data_path(stage),
                split: text(report, "split"),
                classes: parsed(report, "labels").unwrap_or_default(),
                pictures: report["pictures"].as_u64(),
                sha256: None,
            });
        }
        sets
    }

    fn data_path(&self, stage: &Stage) -> String {
        stage.input("data").first().map(|source| self.source_path(source)).unwrap_or_default()
    }

    fn source_path(&self, source: &Source) -> String {
        match source {
            Source::File(path) => path.display().to_string(),
            Source::Stage(at) => {
                let (stages, keys) = (&self.plan.recipe.stages, &self.plan.keys);
                made(self.work, &stages[*at], &keys[*at]).display().to_string()
            }
        }
    }
}

/// The seed that a recipe gives a stage.
fn seed(stage: &Stage) -> Option<u64> {
    match stage.setting("seed") {
        Some(Argument::Texts(texts)) => texts.first()?.parse().ok(),
        _ => None,
    }
}

fn parsed<T: DeserializeOwned>(value: &Value, key: &str) -> Option<T> {
    serde_json::from_value(value[key].clone()).ok()
}

fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

fn rows(report: &Value) -> &[Value] {
    report["results"].as_array().map_or(&[], Vec::as_slice)
}

/// The scores as `bunjae evaluate` reports them.
fn quality(report: &Value) -> Option<Quality> {
    let classes = report["classes"].as_array()?.iter().map(|class| {
        Some(ClassQuality {
            pictures: class["pictures"].as_u64()?,
            predicted: class["predicted"].as_u64()?,
            precision: class["precision"].as_f64()?,
            recall: class["recall"].as_f64()?,
            f1: class["f1"].as_f64()?,
        })
    });
    Some(Quality {
        data: text(report, "data")?,
        split: text(report, "split")?,
        pictures: report["pictures"].as_u64()?,
        corrupt: report["corrupt"].as_u64()?,
        accuracy: report["accuracy"].as_f64()?,
        macro_f1: report["macro"]["f1"].as_f64()?,
        macro_precision: report["macro"]["precision"].as_f64()?,
        macro_recall: report["macro"]["recall"].as_f64()?,
        log_loss: report["log_loss"].as_f64()?,
        roc_auc: report["roc_auc"].as_f64(),
        calibration_error: report["calibration"]["error"].as_f64()?,
        labels: parsed(report, "labels")?,
        classes: classes.collect::<Option<_>>()?,
        confusion: parsed(report, "confusion")?,
    })
}

/// A row as `bunjae bench` reports it.
fn timing(row: &Value) -> Option<Timing> {
    Some(Timing {
        engine: text(row, "engine")?,
        threads: row["threads"].as_u64()?,
        batch: row["batch"].as_u64()?,
        runs: row["runs"].as_u64()?,
        median_ms: row["median_ms"].as_f64()?,
        mean_ms: row["mean_ms"].as_f64()?,
        p90_ms: row["p90_ms"].as_f64()?,
        p99_ms: row["p99_ms"].as_f64()?,
        minimum_ms: row["minimum_ms"].as_f64()?,
        frames_per_second: row["pictures_per_second"].as_f64(),
        arena_bytes: row["arena_bytes"].as_u64(),
        peak_resident_bytes: row["peak_resident_bytes"].as_u64(),
    })
}

fn protocol(report: &Value) -> Option<Protocol> {
    let protocol = &report["protocol"];
    Some(Protocol {
        warmup: protocol["warmup"].as_u64()?,
        runs: protocol["runs"].as_u64()?,
        seconds: protocol["seconds"].as_f64()?,
        seed: report["seed"].as_u64()?,
    })
}

/// The epochs in the folder of a training.
fn training(kind: &str, folder: &Path) -> Vec<Training> {
    let Ok(text) = fs::read_to_string(folder.join("metrics.jsonl")) else { return Vec::new() };
    let epochs: Vec<EpochRecord> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    vec![records::training(kind, &epochs)]
}
