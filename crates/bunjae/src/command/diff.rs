//! `bunjae diff`: where two models differ, in what they are and in what they compute.

mod input;
mod structure;

use std::path::{Path, PathBuf};

use bunjae_interp::run;
use bunjae_ir::Graph;
use bunjae_passes::sample_inputs;
use bunjae_tensor::{Tensor, Tolerance, compare};
use clap::Args;
use serde::Serialize;

use crate::args::Sizes;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::model::{self, Model};
use crate::number::{difference, element, percent, thousands};
use crate::output::{Output, Report};
use crate::page::{Align, Page, Table, Tone};
use structure::Structure;

/// Compare two models: their structure, and their outputs on the same input
///
/// Nodes, weights, inputs and outputs are compared by name. Both models then run on seeded random
/// input, or on that of a file. Inputs and outputs are matched by name or, where the names differ, by
/// place.
///
/// The exit code is 0 when all outputs agree within the tolerance, whatever the structure, and 1 when
/// they do not. With --structure nothing runs, and it is 0 when the structure is the same.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: bunjae diff original.onnx exported.onnx --batch 4 --tolerance 1e-4"
)]
pub(crate) struct Diff {
    /// An ONNX file
    a: PathBuf,
    /// Another, which the first is compared with
    b: PathBuf,
    /// Compare the structure alone
    #[arg(long, conflicts_with_all = ["input", "tolerance", "batch", "sizes"])]
    structure: bool,
    /// Show every difference in structure, not just the first few of each kind
    #[arg(long)]
    all: bool,
    /// Take the input from a safetensors file whose tensors are named as the inputs of A
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "sizes"])]
    input: Option<PathBuf>,
    /// The seed of the random input
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How far two numbers may lie apart: |a - b| <= T + T |b|
    #[arg(long, value_name = "T", value_parser = tolerance, default_value = "1e-5", allow_negative_numbers = true)]
    tolerance: f64,
    #[command(flatten)]
    sizes: Sizes,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value >= 0.0 && value.is_finite() => Ok(value),
        _ => Err("expected a number of at least 0, such as 1e-5".to_string()),
    }
}

#[derive(Serialize)]
struct DiffReport {
    a: String,
    b: String,
    structure: Structure,
    #[serde(skip)]
    all: bool,
    /// None with --structure.
    computed: Option<Computed>,
    same: bool,
}

/// What both models compute on the same input.
#[derive(Serialize)]
struct Computed {
    /// "random, seed 0", or the file.
    input: String,
    tolerance: f64,
    /// False where names did not match up, so that places decided.
    matched_by_name: bool,
    outputs: Vec<ComparedOutput>,
}

#[derive(Serialize)]
struct ComparedOutput {
    name: String,
    shape: Vec<usize>,
    /// Why it cannot be compared, where it cannot.
    incomparable: Option<String>,
    /// The largest absolute difference; in JSON null where it is infinite.
    largest_difference: f64,
    /// The same over the largest absolute value in B.
    largest_relative: f64,
    /// The number of elements outside the tolerance.
    outside: usize,
    /// The first of them.
    first: Option<Element>,
    /// For rows of class scores, the share of rows with the same best class.
    same_class: Option<f64>,
    /// Whether every element lies within the tolerance.
    agrees: bool,
}

#[derive(Serialize)]
struct Element {
    index: usize,
    a: f64,
    b: f64,
}

impl Diff {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let (a, b) = (model::load(&self.a, output)?, model::load(&self.b, output)?);
        let structure = Structure::compare(&a.graph, &b.graph);
        let computed = match self.structure {
            true => None,
            false => Some(self.compute(output, &a, &b)?),
        };
        let same = match &computed {
            Some(computed) => computed.outputs.iter().all(|output| output.agrees),
            None => structure.is_same(),
        };
        output.report(&DiffReport {
            a: a.path.display().to_string(),
            b: b.path.display().to_string(),
            structure,
            all: self.all,
            computed,
            same,
        })?;
        Ok(if same { Outcome::Done } else { Outcome::CheckFailed })
    }

    fn compute(&self, output: &Output, a: &Model, b: &Model) -> Fallible<Computed> {
        let names = |graph: &Graph| -> Vec<String> {
            graph.inputs().iter().map(|&id| graph.label(id)).collect()
        };
        let (names_a, names_b) = (names(&a.graph), names(&b.graph));
        let order = matched("input", &names_a, &names_b)?;
        let (source, inputs) = match &self.input {
            Some(path) => (path.display().to_string(), input::read(path, &a.graph)?),
            None => {
                let bindings = self.sizes.bindings(&[&a.graph, &b.graph])?;
                let inputs = sample_inputs(&a.graph, &bindings, self.seed);
                (format!("random, seed {}", self.seed), inputs.map_err(Failure::new)?)
            }
        };
        let inputs_b: Vec<Tensor> =
            order.places.iter().filter_map(|&place| inputs.get(place).cloned()).collect();
        output.progress("running both models");
        let found = run_model(&self.a, &a.graph, &inputs)?;
        let expected = run_model(&self.b, &b.graph, &inputs_b)?;

        let names = |graph: &Graph| -> Vec<String> {
            graph.outputs().iter().map(|output| output.name.clone()).collect()
        };
        let (names_a, names_b) = (names(&a.graph), names(&b.graph));
        let outputs = matched("output", &names_a, &names_b)?;
        let compared = outputs.places.iter().zip(&expected).filter_map(|(&place, expected)| {
            Some(self.compare(names_a.get(place)?, found.get(place)?, expected))
        });
        Ok(Computed {
            input: source,
            tolerance: self.tolerance,
            matched_by_name: order.by_name && outputs.by_name,
            outputs: compared.collect(),
        })
    }

    fn compare(&self, name: &str, a: &Tensor, b: &Tensor) -> ComparedOutput {
        let tolerance = Tolerance::both(self.tolerance);
        let mut compared = ComparedOutput {
            name: name.to_string(),
            shape: a.shape().to_vec(),
            incomparable: None,
            largest_difference: f64::INFINITY,
            largest_relative: f64::INFINITY,
            outside: 0,
            first: None,
            same_class: None,
            agrees: false,
        };
        match compare(a, b, tolerance) {
            Ok(found) => {
                compared.largest_difference = found.largest;
                compared.largest_relative = found.largest_relative;
                compared.outside = found.outside;
                compared.first = found.first.map(|(index, a, b)| Element { index, a, b });
                compared.same_class = same_class(a, b);
                compared.agrees = found.outside == 0;
            }
            Err(why) => compared.incomparable = Some(why),
        }
        compared
    }
}

/// For each item of B, its place in A.
struct Order {
    places: Vec<usize>,
    by_name: bool,
}

fn matched(what: &str, a: &[String], b: &[String]) -> Fallible<Order> {
    let places: Option<Vec<usize>> =
        b.iter().map(|name| a.iter().position(|other| other == name)).collect();
    match places {
        _ if a.len() != b.len() => {
            let count = |names: &[String]| crate::number::plural(names.len(), what);
            let what = format!(
                "A has {} ({}), B has {} ({}), so they cannot run side by side",
                count(a),
                a.join(", "),
                count(b),
                b.join(", ")
            );
            Err(Failure::new(what).hint("`--structure` compares without running"))
        }
        Some(places) => Ok(Order { places, by_name: true }),
        None => Ok(Order { places: (0..b.len()).collect(), by_name: false }),
    }
}

fn run_model(path: &Path, graph: &Graph, inputs: &[Tensor]) -> Fallible<Vec<Tensor>> {
    run(graph, inputs).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// The share of rows with the same best class; none for what does not look like class scores.
fn same_class(a: &Tensor, b: &Tensor) -> Option<f64> {
    let &[rows, classes] = a.shape() else { return None };
    if rows == 0 || classes < 2 || !a.dtype().is_float() {
        return None;
    }
    let best = |tensor: &Tensor| -> Vec<usize> {
        let values = tensor.to_f64_vec();
        let largest = |row: &[f64]| {
            // Of equals the first one.
            let better = |best: usize, at: usize| if row[at] > row[best] { at } else { best };
            (0..row.len()).fold(0, better)
        };
        values.chunks(classes).map(largest).collect()
    };
    let same = best(a).iter().zip(&best(b)).filter(|(a, b)| a == b).count();
    Some(same as f64 / rows as f64)
}

impl Report for DiffReport {
    const COMMAND: &'static str = "diff";

    fn write(&self, page: &mut Page) {
        page.fields([("A", &self.a), ("B", &self.b)]);
        self.structure.write(page, self.all);
        let Some(computed) = &self.computed else { return };
        page.heading("outputs");
        page.line(&format!(
            "input: {}; tolerance: {:e}{}",
            computed.input,
            computed.tolerance,
            if computed.matched_by_name { "" } else { "; matched by place, as names differ" }
        ));
        let mut table = Table::new([
            ("output", Align::Left),
            ("shape", Align::Left),
            ("largest difference", Align::Right),
            ("relative", Align::Right),
            ("outside tolerance", Align::Right),
            ("same class", Align::Right),
        ]);
        for output in &computed.outputs {
            let shape: Vec<String> = output.shape.iter().map(usize::to_string).collect();
            let compared = |text: String| match output.incomparable {
                Some(_) => "-".to_string(),
                None => text,
            };
            table.row([
                output.name.clone(),
                shape.join("x"),
                compared(difference(output.largest_difference)),
                compared(difference(output.largest_relative)),
                compared(thousands(output.outside as u64)),
                output.same_class.map_or("-".to_string(), percent),
            ]);
        }
        page.table(&table);
        for output in &computed.outputs {
            if let Some(why) = &output.incomparable {
                page.line(&format!("{}: {why}", output.name));
            }
            if let Some(Element { index, a, b }) = output.first {
                let (a, b) = (element(a), element(b));
                page.line(&format!("{}: element {index} is {a} in A, {b} in B", output.name));
            }
        }
        if self.same {
            page.toned(Tone::Good, "the outputs agree");
        } else {
            page.toned(Tone::Bad, "the outputs differ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_agreement_counts_rows() {
        let a = Tensor::from_slice(&[2, 3], &[0f32, 1., 2., 5., 5., 1.]).unwrap();
        let b = Tensor::from_slice(&[2, 3], &[0f32, 3., 2., 9., 5., 1.]).unwrap();
        assert_eq!(same_class(&a, &b), Some(0.5));
        assert_eq!(same_class(&a.clone().reshaped(&[6]).unwrap(), &b), None);
    }

    #[test]
    fn names_match_in_any_order_and_places_where_names_differ() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let order = matched("input", &names(&["x", "y"]), &names(&["y", "x"])).unwrap();
        assert_eq!((order.places, order.by_name), (vec![1, 0], true));
        let order = matched("input", &names(&["x", "y"]), &names(&["y", "z"])).unwrap();
        assert_eq!((order.places, order.by_name), (vec![0, 1], false));
        assert!(matched("input", &names(&["x", "y"]), &names(&["x"])).is_err());
    }
}
