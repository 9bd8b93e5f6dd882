//! `bunjae annotate`: writes into a model what its pictures and classes are.

use std::path::PathBuf;

use bunjae_data::Annotations;
use clap::Args;
use serde::Serialize;

use crate::annotate::{Annotated, Annotating, check_labels, input_dims};
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::model::{self, Model};
use crate::number::bytes;
use crate::output::{Output, Report};
use crate::page::Page;
use crate::provenance::{self, Step};

/// Write into a model how pictures become its input, and what its classes are called
///
/// The records go into the file's metadata under `bunjae.`, where `predict` and `compile` find them
/// and other programs ignore them. Without an option, shows what a model says about itself.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: bunjae annotate net.onnx -o named.onnx --labels names.txt --preprocess imagenet"
)]
pub(crate) struct Annotate {
    /// The ONNX file
    model: PathBuf,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    annotating: Annotating,
}

#[derive(Serialize)]
struct Records {
    model: String,
    #[serde(flatten)]
    annotated: Annotated,
    output: Option<String>,
    file_bytes: Option<u64>,
}

impl Report for Records {
    const COMMAND: &'static str = "annotate";

    fn write(&self, page: &mut Page) {
        let mut fields = vec![("model", self.model.clone())];
        fields.extend(self.annotated.fields());
        if let (Some(output), Some(size)) = (&self.output, self.file_bytes) {
            fields.push(("written", format!("{output}, {}", bytes(size))));
        }
        page.fields(fields);
    }
}

impl Annotate {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        match (&self.output, self.annotating.is_empty()) {
            (None, false) => {
                return Err(Failure::new("there is no file to write the records to")
                    .hint("name one with `--output`"));
            }
            (Some(_), true) => {
                return Err(Failure::new("there is nothing to write into the model")
                    .hint("give `--labels`, `--preprocess` or `--scores`"));
            }
            (Some(target), false) => model::check_target(target, Some(&self.model))?,
            (None, true) => {}
        }
        let Model { path, mut graph, .. } = model::load(&self.model, output)?;
        let found = Annotations::read(&graph.metadata).map_err(Failure::new)?;
        let annotations = self.annotating.annotations(found, &input_dims(&graph))?;
        check_labels(&graph, &annotations)?;
        if let Some(target) = &self.output {
            let parent = Some(model::sha256(&path)?);
            annotations.record(&mut graph.metadata).map_err(Failure::new)?;
            let command = format!("annotate{}", self.annotating.command());
            let step = Step {
                command,
                seed: 0,
                parent,
                before: None,
                after: None,
                check: None,
                data: None,
                metrics: None,
            };
            provenance::record(&mut graph, step);
            model::save(target, &graph)?;
        }
        output.report(&Records {
            annotated: Annotated::new(annotations, &graph),
            model: graph.name,
            output: self.output.as_ref().map(|target| target.display().to_string()),
            file_bytes: self.output.as_deref().map(model::file_bytes).transpose()?,
        })?;
        Ok(Outcome::Done)
    }
}
