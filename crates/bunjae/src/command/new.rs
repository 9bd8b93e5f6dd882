//! `bunjae new`: a network of the zoo as a file.

use std::path::PathBuf;

use bunjae_ir::Convention;
use bunjae_zoo::{ARCHITECTURES, Architecture, Head, Options, Width, ZooError};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::args::Sizes;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::model::{self, Tensor};
use crate::number::{bytes, thousands};
use crate::output::{Output, Report};
use crate::page::{Align, Page, Table};
use crate::provenance::{self, Step};

/// Make a network of a known architecture, with initial weights
///
/// The weights are drawn as the reference implementation of the architecture draws them, from the
/// seed; the same command writes the same file.
#[derive(Debug, Args)]
#[command(after_help = "Example: bunjae new mask-base --classes 2 -o mask.onnx")]
pub(crate) struct New {
    /// The architecture, one of those that `--list` shows
    #[arg(required_unless_present = "list")]
    architecture: Option<String>,
    /// The file to write
    #[arg(long, short, value_name = "FILE", required_unless_present = "list")]
    output: Option<PathBuf>,
    /// Show the architectures, and stop
    #[arg(long, conflicts_with_all = ["architecture", "output"])]
    list: bool,
    /// The number of classes [default: the architecture's]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// The size of a picture [default: the architecture's]
    #[arg(long, value_name = "CxHxW", value_parser = picture)]
    input: Option<[usize; 3]>,
    /// The width of the layers: a factor such as 0.5, or the width of each stage such as 16,32,64
    /// [default: the architecture's]
    #[arg(long, value_name = "FACTOR|WIDTHS", value_parser = width)]
    width: Option<Width>,
    /// What the network ends in
    #[arg(long, value_enum, default_value = "logits")]
    head: HeadArg,
    /// Where the weights are drawn from
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HeadArg {
    /// The last layer's result, which is what losses take
    Logits,
    /// One number between 0 and 1 for each class
    Probabilities,
}

fn picture(text: &str) -> Result<[usize; 3], String> {
    let sizes: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    sizes
        .ok()
        .and_then(|sizes| sizes.try_into().ok())
        .ok_or_else(|| "expected channels, height and width, such as 3x224x224".to_string())
}

fn width(text: &str) -> Result<Width, String> {
    let wrong = || "expected a factor such as 0.5, or widths such as 16,32,64".to_string();
    if text.contains(',') {
        let widths: Result<_, _> = text.split(',').map(str::parse).collect();
        return widths.map(Width::Stages).map_err(|_| wrong());
    }
    text.parse().map(Width::Scaled).map_err(|_| wrong())
}

#[derive(Serialize)]
struct Zoo {
    architectures: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    description: &'static str,
    input: [usize; 3],
    classes: usize,
}

impl Entry {
    fn of(architecture: &Architecture) -> Self {
        let Architecture { name, description, input, classes, .. } = *architecture;
        Entry { name, description, input, classes }
    }
}

impl Report for Zoo {
    const COMMAND: &'static str = "new";

    fn write(&self, page: &mut Page) {
        let mut table = Table::new([
            ("architecture", Align::Left),
            ("input", Align::Left),
            ("classes", Align::Right),
            ("what it is", Align::Left),
        ]);
        for entry in &self.architectures {
            table.row([
                entry.name.to_string(),
                entry.input.map(|size| size.to_string()).join("x"),
                entry.classes.to_string(),
                entry.description.to_string(),
            ]);
        }
        page.table(&table);
    }
}

#[derive(Serialize)]
struct Made {
    architecture: &'static str,
    output: String,
    file_bytes: u64,
    parameters: u64,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    seed: u64,
}

impl Report for Made {
    const COMMAND: &'static str = "new";

    fn write(&self, page: &mut Page) {
        let each = |tensors: &[Tensor]| {
            tensors.iter().map(Tensor::to_string).collect::<Vec<_>>().join(", ")
        };
        page.fields([
            ("architecture", self.architecture.to_string()),
            ("written", format!("{}, {}", self.output, bytes(self.file_bytes))),
            ("parameters", thousands(self.parameters)),
            ("input", each(&self.inputs)),
            ("output", each(&self.outputs)),
            ("seed", self.seed.to_string()),
        ]);
    }
}

impl New {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let (Some(name), Some(path)) = (&self.architecture, &self.output) else {
            let architectures = ARCHITECTURES.iter().map(Entry::of).collect();
            output.report(&Zoo { architectures })?;
            return Ok(Outcome::Done);
        };
        model::check_target(path, None)?;
        let architecture = Architecture::find(name).map_err(failure)?;
        let options = Options {
            classes: self.classes,
            input: self.input,
            width: self.width.clone().unwrap_or_default(),
            head: match self.head {
                HeadArg::Logits => Head::Logits,
                HeadArg::Probabilities => Head::Probabilities,
            },
            seed: self.seed,
        };
        let mut graph = architecture.build(&options).map_err(failure)?;
        provenance::record(
            &mut graph,
            Step {
                command: self.command(architecture),
                seed: self.seed,
                parent: None,
                before: None,
                after: None,
                check: None,
                data: None,
                metrics: None,
            },
        );
        let bindings = Sizes::default().bindings(&[&graph])?;
        let cost = graph.cost(&bindings, Convention::Exact).map_err(Failure::new)?;
        model::save(path, &graph)?;
        output.report(&Made {
            architecture: architecture.name,
            output: path.display().to_string(),
            file_bytes: model::file_bytes(path)?,
            parameters: cost.parameters.total,
            inputs: model::inputs(&graph),
            outputs: model::outputs(&graph),
            seed: self.seed,
        })?;
        Ok(Outcome::Done)
    }

    /// The command with every setting that counts.
    fn command(&self, architecture: &Architecture) -> String {
        let input = self.input.unwrap_or(architecture.input).map(|size| size.to_string()).join("x");
        let classes = self.classes.unwrap_or(architecture.classes);
        let width = match &self.width {
            None | Some(Width::Standard) => String::new(),
            Some(Width::Scaled(factor)) => format!(" --width {factor}"),
            Some(Width::Stages(widths)) => {
                let widths: Vec<String> = widths.iter().map(usize::to_string).collect();
                format!(" --width {}", widths.join(","))
            }
        };
        let head = match self.head {
            HeadArg::Logits => "logits",
            HeadArg::Probabilities => "probabilities",
        };
        format!(
            "new {} --classes {classes} --input {input}{width} --head {head} --seed {}",
            architecture.name, self.seed
        )
    }
}

fn failure(error: ZooError) -> Failure {
    match &error {
        ZooError::Unknown { name, similar } => {
            Failure::new(format!("no architecture is called `{name}`"))
                .maybe_hint(similar.map(|similar| format!("did you mean `{similar}`?")))
                .hint("`bunjae new --list` shows the architectures")
        }
        ZooError::Graph(_) => Failure::new(&error).hint("choose another size with `--input`"),
        _ => Failure::new(&error),
    }
}
