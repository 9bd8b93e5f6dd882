//! What the pipeline did, at its end.

use bunjae_camera::{ModelSummary, Summary, Timing};
use serde::Serialize;

use crate::failure::{Failure, Fallible};
use crate::number::thousands;
use crate::output::{Output, Report, SCHEMA_VERSION};
use crate::page::{Align, Page, Table};

/// The report of a pipeline.
#[derive(Serialize)]
struct Seen<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip)]
    comparing: bool,
}

/// The last of the lines of JSON.
#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    command: &'static str,
    event: &'static str,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// Prints the summary: for people, or as the last line of JSON.
pub(super) fn print(summary: &Summary, comparing: bool, output: &Output) -> Fallible<()> {
    if !output.is_json() {
        return output.report(&Seen { summary, comparing });
    }
    let (schema_version, command, event) = (SCHEMA_VERSION, Seen::COMMAND, "summary");
    let line = serde_json::to_string(&Line { schema_version, command, event, summary });
    output.stream(&(line.map_err(Failure::new)? + "\n")).map(|_| ())
}

/// Milliseconds with as many digits as say something.
fn ms(value: f64) -> String {
    match value {
        0.0..0.1 => format!("{value:.4}"),
        0.1..10.0 => format!("{value:.2}"),
        _ => format!("{value:.1}"),
    }
}

fn figures(timing: &Timing) -> [String; 4] {
    [timing.mean_ms, timing.p50_ms, timing.p95_ms, timing.max_ms].map(ms)
}

const COLUMNS: [(&str, Align); 4] = [
    ("mean ms", Align::Right),
    ("median", Align::Right),
    ("95 %", Align::Right),
    ("largest", Align::Right),
];

impl Report for Seen<'_> {
    const COMMAND: &'static str = "camera";

    fn write(&self, page: &mut Page) {
        let Summary { source, seconds, frames_read, frames_labelled, faces, .. } = self.summary;
        let rate = self.summary.frames_per_second;
        let mut fields = vec![
            ("source", source.clone()),
            ("read", format!("{} frames", thousands(*frames_read))),
            (
                "labelled",
                format!(
                    "{} frames in {seconds:.1} s, {rate:.1} per second",
                    thousands(*frames_labelled)
                ),
            ),
            ("faces", thousands(*faces)),
        ];
        let dropped: Vec<String> = self
            .summary
            .dropped
            .iter()
            .filter(|dropped| dropped.frames > 0)
            .map(|dropped| format!("{} before {}", thousands(dropped.frames), dropped.before))
            .collect();
        if !dropped.is_empty() {
            fields.push(("left out for newer ones", dropped.join(", ")));
        }
        for (name, count) in [
            ("corrupt", self.summary.frames_corrupt),
            ("times the source was lost", self.summary.source_lost),
        ] {
            if count > 0 {
                fields.push((name, thousands(count)));
            }
        }
        for output in &self.summary.outputs {
            if let Some(left) = &output.left {
                fields.push(("written", left.clone()));
            }
        }
        page.fields(fields);
        self.stages(page);
        self.models(page);
    }
}

impl Seen<'_> {
    fn stages(&self, page: &mut Page) {
        let [mean, median, most, largest] = COLUMNS;
        let columns =
            [("stage", Align::Left), ("frames", Align::Right), mean, median, most, largest];
        let mut table = Table::new(columns);
        let mut row = |name: String, timing: &Timing| {
            let [mean, median, most, largest] = figures(timing);
            table.row([name, thousands(timing.count), mean, median, most, largest]);
        };
        for stage in &self.summary.stages {
            row(stage.stage.name().to_owned(), &stage.timing);
        }
        for output in &self.summary.outputs {
            if let Some(timing) = &output.work {
                row(output.output.clone(), timing);
            }
        }
        for output in &self.summary.outputs {
            if let Some(timing) = &output.age {
                row(format!("age at {}", output.output), timing);
            }
        }
        if !table.is_empty() {
            page.gap();
            page.table(&table);
        }
    }

    fn models(&self, page: &mut Page) {
        let models = &self.summary.models;
        if models.is_empty() || (models.len() == 1 && !self.comparing) {
            return;
        }
        let mut table = Table::new([
            ("model", Align::Left),
            ("frames", Align::Right),
            ("faces", Align::Right),
            ("inference ms", Align::Right),
            ("with preparation", Align::Right),
            ("frames per second", Align::Right),
        ]);
        for model in models {
            let ModelSummary { infer, prepare, .. } = model;
            let whole = infer.zip(*prepare).map(|(infer, more)| infer.mean_ms + more.mean_ms);
            let some = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), ms);
            table.row([
                model.model.clone(),
                thousands(model.frames),
                thousands(model.faces),
                some(infer.map(|infer| infer.mean_ms)),
                some(whole),
                model.frames_per_second.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            ]);
        }
        page.gap();
        page.table(&table);
    }
}
